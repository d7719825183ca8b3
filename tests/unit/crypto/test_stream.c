/* SPDX-License-Identifier: GPL-3.0-or-later */
/* No pair of stream and sequence number comes twice. */
#include "crypto/stream.h"

#include "tests/unit/crypto/vectors.h"

#include <sys/wait.h>
#include <unistd.h>

START_TEST(numbers_rise_by_one_in_a_stream)
{
	struct stream s;
	struct cose_head a = { .seq = 9 }, b = { .seq = 9 };
	stream_start(&s);
	stream_next(&s, &a);
	ck_assert_uint_eq(a.seq, 0);
	for (uint64_t i = 1; i < 100; i++) {
		stream_next(&s, &b);
		ck_assert_uint_eq(b.seq, i);
		ck_assert_mem_eq(a.stream, b.stream, COSE_STREAM_LEN);
	}
}
END_TEST

START_TEST(every_start_draws_another_stream)
{
	uint8_t ids[200][COSE_STREAM_LEN];
	struct stream s;
	for (int i = 0; i < 200; i++) {
		stream_start(&s);
		memcpy(ids[i], s.id, COSE_STREAM_LEN);
		for (int j = 0; j < i; j++)
			ck_assert_mem_ne(ids[i], ids[j], COSE_STREAM_LEN);
	}
}
END_TEST

START_TEST(a_stream_ends_after_its_last_number)
{
	struct stream s;
	struct cose_head a, b;
	stream_start(&s);
	s.next = STREAM_MESSAGES_MAX - 1;
	stream_next(&s, &a);
	stream_next(&s, &b);
	ck_assert_uint_eq(a.seq, STREAM_MESSAGES_MAX - 1);
	ck_assert_uint_eq(b.seq, 0);
	ck_assert_mem_ne(a.stream, b.stream, COSE_STREAM_LEN);
}
END_TEST

START_TEST(a_forked_process_has_a_stream_of_its_own)
{
	struct stream s;
	struct cose_head mine, childs;
	int ends[2];
	stream_start(&s);
	stream_next(&s, &mine);
	ck_assert_int_eq(pipe(ends), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		stream_next(&s, &childs);
		_exit(write(ends[1], &childs, sizeof childs) != sizeof childs);
	}
	ck_assert_int_eq(read(ends[0], &childs, sizeof childs), sizeof childs);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(ends[0]);
	close(ends[1]);
	ck_assert_mem_ne(mine.stream, childs.stream, COSE_STREAM_LEN);
	stream_next(&s, &mine);
	ck_assert_uint_eq(mine.seq, 1);
}
END_TEST

START_TEST(a_stream_goes_on_up_to_where_it_may)
{
	static const uint8_t id[COSE_STREAM_LEN] = { 1, 2, 3 };
	struct stream s;
	struct cose_head h;
	stream_go_on(&s, id, 7, 9);
	for (uint64_t seq = 7; seq < 9; seq++) {
		stream_next(&s, &h);
		ck_assert_mem_eq(h.stream, id, sizeof id);
		ck_assert_uint_eq(h.seq, seq);
	}
	stream_next(&s, &h); /* the next number may be another's */
	ck_assert_mem_ne(h.stream, id, sizeof id);
	ck_assert_uint_eq(h.seq, 0);
	stream_go_on(&s, id, STREAM_MESSAGES_MAX, UINT64_MAX);
	stream_next(&s, &h);
	ck_assert_mem_ne(h.stream, id, sizeof id);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("all");
	tcase_add_test(t, numbers_rise_by_one_in_a_stream);
	tcase_add_test(t, every_start_draws_another_stream);
	tcase_add_test(t, a_stream_ends_after_its_last_number);
	tcase_add_test(t, a_forked_process_has_a_stream_of_its_own);
	tcase_add_test(t, a_stream_goes_on_up_to_where_it_may);
	return run_case("stream", t);
}
