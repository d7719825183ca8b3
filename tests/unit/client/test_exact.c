/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Journals, outboxes, accounts of what was printed: what was written is there again; what is cut off or changed at any byte is noticed. */
#include "client/dedup.h"
#include "client/outbox.h"

#include "base/pool.h"
#include "crypto/tls.h"
#include "tests/unit/crypto/vectors.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char kind[JOURNAL_KIND_LEN] = "test";
static char dir[] = "/tmp/sealmq-exact-XXXXXX", path[64], output[64], error[512];
static struct keypair *rsa, *ec;
static uint64_t torn;
static char seen[4096]; /* the frames or messages that were read, each with a ';' */

static const char *see(void *arg, const uint8_t *bytes, size_t len)
{
	(void)arg;
	size_t n = strlen(seen);
	ck_assert_uint_lt(n + len + 2, sizeof seen);
	memcpy(seen + n, bytes, len);
	strcpy(seen + n + len, ";");
	return NULL;
}

static struct journal *open_journal(void)
{
	seen[0] = '\0';
	return journal_open(path, kind, rsa, see, NULL, &torn, error, sizeof error);
}

static size_t slurp(const char *name, uint8_t *out, size_t cap)
{
	int fd = open(name, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ssize_t n = read(fd, out, cap);
	close(fd);
	ck_assert_int_ge(n, 0);
	return (size_t)n;
}

static void store(const uint8_t *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
	close(fd);
}

static void setup(void)
{
	if (!rsa) {
		rsa = vectors_keypair("rsa");
		ec = vectors_keypair("ec");
	}
	memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/file", dir);
	snprintf(output, sizeof output, "%s/out", dir);
}

static void teardown(void)
{
	(void)unlink(path);
	(void)unlink(output);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* ---- journal */

START_TEST(frames_come_back_in_order)
{
	struct journal *j = open_journal();
	ck_assert_msg(j != NULL, "%s", error);
	ck_assert_int_eq(journal_append(j, "one", 3), ERR_OK);
	ck_assert_int_eq(journal_append(j, "two two", 7), ERR_OK);
	journal_close(j);
	j = open_journal();
	ck_assert_str_eq(seen, "one;two two;");
	ck_assert_int_eq(journal_rewrite(j, "both", 4), ERR_OK);
	ck_assert_int_eq(journal_append(j, "three", 5), ERR_OK);
	journal_close(j);
	j = open_journal();
	ck_assert_str_eq(seen, "both;three;");
	ck_assert_uint_eq(torn, 0);
	ck_assert_ptr_null(open_journal());
	ck_assert_ptr_nonnull(strstr(error, "in use"));
	journal_close(j);
}
END_TEST

/* The first file is linked to its name, and only then loses the other one. */
START_TEST(a_crash_while_a_journal_was_made_does_not_keep_it_from_being_replaced)
{
	char fresh[80];
	snprintf(fresh, sizeof fresh, "%s.new", path);
	struct journal *j = open_journal();
	ck_assert_int_eq(journal_append(j, "one", 3), ERR_OK);
	ck_assert_int_eq(link(path, fresh), 0);
	ck_assert_int_eq(journal_rewrite(j, "all", 3), ERR_OK);
	journal_close(j);
	j = open_journal();
	ck_assert_str_eq(seen, "all;");
	journal_close(j);
	ck_assert(access(fresh, F_OK) != 0);
}
END_TEST

/* Cut anywhere, whole frames stay and the rest goes; changed anywhere, it is an error, or (in the last frame, where a crash may have left anything) a cut. */
START_TEST(every_cut_and_every_changed_byte_is_noticed)
{
	uint8_t whole[2048], copy[2048];
	struct journal *j = open_journal();
	uint64_t head = journal_size(j), first;
	ck_assert_int_eq(journal_append(j, "one", 3), ERR_OK);
	first = journal_size(j);
	ck_assert_int_eq(journal_append(j, "two", 3), ERR_OK);
	journal_close(j);
	size_t len = slurp(path, whole, sizeof whole), sealed_end = first + 8 + 3 + 70;
	for (size_t n = head; n < len; n++) {
		store(whole, n);
		j = open_journal();
		ck_assert_msg(j != NULL, "%s", error);
		ck_assert_str_eq(seen, n < first ? "" : "one;");
		ck_assert_uint_eq(journal_size(j), n < first ? head : first);
		ck_assert_uint_eq(torn, n - journal_size(j));
		journal_close(j);
	}
	for (size_t i = 0; i < sealed_end; i++) {
		if (i >= head + 8 + 3 + 70 && i < first) /* padding */
			continue;
		memcpy(copy, whole, len);
		copy[i] ^= 0x40;
		store(copy, len);
		j = open_journal();
		bool is_last = i >= first + 8;
		ck_assert_msg((j != NULL) == is_last, "byte %zu", i);
		if (!j && i >= head)
			ck_assert_msg(strstr(error, "damaged at byte ") != NULL, "byte %zu: %s", i, error);
		if (j)
			ck_assert_str_eq(seen, "one;");
		journal_close(j);
	}
	memset(whole + first, 0, len - first); /* the file grew, its data had not come yet */
	store(whole, len);
	j = open_journal();
	ck_assert_str_eq(seen, "one;");
	journal_close(j);
}
END_TEST

START_TEST(frames_do_not_change_places)
{
	uint8_t whole[2048], copy[2048];
	struct journal *j = open_journal();
	uint64_t head = journal_size(j);
	ck_assert_int_eq(journal_append(j, "one", 3), ERR_OK);
	uint64_t size = journal_size(j) - head;
	ck_assert_int_eq(journal_append(j, "two", 3), ERR_OK);
	journal_close(j);
	size_t len = slurp(path, whole, sizeof whole);
	memcpy(copy, whole, len);
	memcpy(copy + head, whole + head + size, size);
	store(copy, len);
	ck_assert_ptr_null(open_journal());
}
END_TEST

START_TEST(it_is_one_identitys)
{
	struct journal *j = open_journal();
	ck_assert_int_eq(journal_append(j, "one", 3), ERR_OK);
	journal_close(j);
	ck_assert_ptr_null(journal_open(path, kind, ec, see, NULL, &torn, error, sizeof error));
	ck_assert_ptr_nonnull(strstr(error, "another key"));
	ck_assert_ptr_null(journal_open(path, "else\0\0\0", rsa, see, NULL, &torn, error, sizeof error));
	ck_assert_int_eq(unlink(path), 0);
	j = journal_open(path, kind, ec, see, NULL, &torn, error, sizeof error);
	ck_assert_ptr_nonnull(j);
	journal_close(j);
}
END_TEST

/* ---- outbox */

static const char *see_message(void *arg, const struct outbox_message *m)
{
	uint64_t *last = arg;
	*last = m->number;
	return see(NULL, m->bytes, m->len);
}

static struct outbox *open_outbox(const char *topic)
{
	static uint64_t last;
	seen[0] = '\0';
	return outbox_open(path, topic, rsa, see_message, &last, &torn, error, sizeof error);
}

static struct outbox_message add(struct outbox *o, const char *text)
{
	struct outbox_message m = { .bytes = (const uint8_t *)text, .len = strlen(text), .qos = 1 };
	ck_assert_int_eq(outbox_add(o, &m, 1000), ERR_OK);
	return m;
}

START_TEST(an_outbox_keeps_what_was_committed_and_forgets_what_was_delivered)
{
	struct outbox *o = open_outbox("t");
	ck_assert_msg(o != NULL, "%s", error);
	struct outbox_message a = add(o, "a");
	add(o, "b");
	ck_assert_int_eq(outbox_commit(o), ERR_OK);
	add(o, "never committed");
	outbox_close(o);
	o = open_outbox("t");
	ck_assert_str_eq(seen, "a;b;");
	ck_assert_uint_eq(outbox_taken(o), 2);
	ck_assert_int_eq(outbox_delivered(o, 1), ERR_OK);
	struct outbox_message c = add(o, "c");
	ck_assert_uint_eq(c.number, 2);
	ck_assert_mem_eq(c.stream, a.stream, sizeof a.stream);
	ck_assert_int_eq(outbox_finish(o), ERR_OK);
	outbox_close(o);
	o = open_outbox("t");
	ck_assert_uint_eq(outbox_first(o), 1);
	ck_assert_int_eq(outbox_delivered(o, 3), ERR_OK);
	ck_assert_int_eq(outbox_finish(o), ERR_OK);
	outbox_close(o);
	o = open_outbox("t");
	ck_assert_uint_eq(outbox_first(o), 3);
	ck_assert_uint_eq(outbox_taken(o), 3);
	outbox_close(o);
	ck_assert_ptr_null(open_outbox("u"));
	ck_assert_ptr_nonnull(strstr(error, "another topic's"));
}
END_TEST

START_TEST(an_outbox_that_was_emptied_gets_small_and_its_stream_goes_on)
{
	static char big[70000];
	memset(big, 'x', sizeof big - 1);
	struct outbox *o = open_outbox("t");
	struct outbox_message a = add(o, big);
	ck_assert_int_eq(outbox_commit(o), ERR_OK);
	ck_assert_int_eq(outbox_delivered(o, 1), ERR_OK);
	struct stat st;
	ck_assert(stat(path, &st) == 0 && st.st_size < 1000);
	struct outbox_message b = add(o, "b");
	ck_assert_int_eq(outbox_finish(o), ERR_OK);
	outbox_close(o);
	o = open_outbox("t");
	struct outbox_message c = add(o, "c");
	ck_assert_uint_eq(c.number, 2);
	ck_assert_mem_eq(b.stream, a.stream, sizeof a.stream);
	ck_assert_mem_eq(c.stream, a.stream, sizeof a.stream);
	outbox_close(o);
}
END_TEST

START_TEST(a_full_outbox_takes_nothing_before_all_is_delivered)
{
	size_t len = OUTBOX_SIZE_MAX / 2;
	uint8_t *big = calloc(1, len);
	struct outbox *o = open_outbox("t");
	for (int i = 0; i < 2; i++) {
		struct outbox_message m = { .bytes = big, .len = len, .qos = 1 };
		ck_assert_int_eq(outbox_add(o, &m, 1), ERR_OK);
		ck_assert_int_eq(outbox_commit(o), ERR_OK);
	}
	struct outbox_message m = { .bytes = big, .len = 1, .qos = 1 };
	ck_assert(outbox_is_full(o));
	ck_assert_int_eq(outbox_add(o, &m, 1), ERR_FULL);
	ck_assert_int_eq(outbox_delivered(o, 1), ERR_OK);
	ck_assert(outbox_is_full(o));
	ck_assert_int_eq(outbox_delivered(o, 2), ERR_OK);
	ck_assert(!outbox_is_full(o));
	ck_assert_int_eq(outbox_add(o, &m, 1), ERR_OK);
	outbox_close(o);
	free(big);
}
END_TEST

/* ---- dedup */

static struct dedup *open_dedup(bool with_output)
{
	return dedup_open(path, "f/#", with_output ? output : NULL, rsa, 5000, &torn, error, sizeof error);
}

static struct dedup_id id_of(uint64_t seq, uint64_t time_ms)
{
	return (struct dedup_id){ .sender = "ann", .topic = "f/t", .stream = "stream0", .seq = seq, .time_ms = time_ms };
}

static void print(struct dedup *d, uint64_t seq, const char *line)
{
	struct dedup_id id = id_of(seq, 6000 + seq % 1000);
	ck_assert_int_eq(dedup_add(d, &id, line, strlen(line)), ERR_OK);
}

static enum dedup_verdict judge(const struct dedup *d, uint64_t seq, uint64_t *missing)
{
	struct dedup_id id = id_of(seq, 0);
	return dedup_judge(d, &id, missing);
}

static void expect_output(const char *expected)
{
	uint8_t text[256];
	size_t n = slurp(output, text, sizeof text);
	ck_assert_uint_eq(n, strlen(expected));
	ck_assert_mem_eq(text, expected, n);
}

START_TEST(numbers_are_remembered_and_gaps_of_outboxes_seen)
{
	uint64_t missing, first = OUTBOX_SEQ_FIRST;
	bool is_new;
	struct dedup *d = open_dedup(false);
	ck_assert_msg(d != NULL, "%s", error);
	ck_assert_uint_eq(dedup_since(d, 10, &is_new), 5000);
	ck_assert(is_new);
	ck_assert_int_eq(judge(d, first + 7, &missing), DEDUP_NEW);
	static const uint64_t order[] = { 7, 8, 12, 10, 11, 9 };
	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++)
		print(d, first + order[i], "");
	ck_assert_int_eq(dedup_commit(d), ERR_OK);
	for (int i = 0; i < 3; i++) { /* as it is; read again; made small and read again */
		for (uint64_t n = 7; n <= 12; n++)
			ck_assert_int_eq(judge(d, first + n, &missing), DEDUP_SEEN);
		ck_assert_int_eq(judge(d, first + 6, &missing), DEDUP_NEW);
		ck_assert_int_eq(judge(d, first + 13, &missing), DEDUP_NEW);
		ck_assert_int_eq(judge(d, first + 15, &missing), DEDUP_GAP);
		ck_assert_uint_eq(missing, first + 13);
		struct dedup_id other = id_of(first + 9, 0);
		other.sender = "bob";
		ck_assert_int_eq(dedup_judge(d, &other, &missing), DEDUP_NEW);
		ck_assert_uint_eq(dedup_since(d, 10, &is_new), 6000 + (first + 12) % 1000 - 10);
		ck_assert(!is_new);
		if (i == 1)
			ck_assert_int_eq(dedup_finish(d), ERR_OK);
		dedup_close(d);
		d = open_dedup(false);
	}
	dedup_close(d);
}
END_TEST

START_TEST(streams_of_others_may_have_gaps)
{
	uint64_t missing;
	struct dedup *d = open_dedup(false);
	print(d, 3, "");
	ck_assert_int_eq(judge(d, 9, &missing), DEDUP_NEW);
	ck_assert_int_eq(judge(d, 3, &missing), DEDUP_SEEN);
	dedup_close(d);
}
END_TEST

START_TEST(lines_that_a_crash_kept_from_the_output_are_written_later)
{
	struct dedup *d = open_dedup(true);
	print(d, 0, "zero\n");
	print(d, 1, "one\n");
	ck_assert_int_eq(dedup_commit(d), ERR_OK);
	print(d, 2, "two\n");
	dedup_close(d);
	expect_output("zero\none\n"); /* two was not committed */
	ck_assert_int_eq(truncate(output, 3), 0);
	ck_assert_ptr_null(open_dedup(false));
	d = open_dedup(true);
	ck_assert_msg(d != NULL, "%s", error);
	expect_output("zero\none\n");
	ck_assert_int_eq(dedup_finish(d), ERR_OK);
	dedup_close(d);
	ck_assert_int_eq(truncate(output, 3), 0); /* it was synced: that is no crash */
	ck_assert_ptr_null(open_dedup(true));
	ck_assert_int_eq(unlink(output), 0);
	d = open_dedup(true);
	print(d, 2, "two\n");
	ck_assert_int_eq(dedup_commit(d), ERR_OK);
	dedup_close(d);
	d = open_dedup(true);
	dedup_close(d);
	expect_output("two\n");
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK)
		return 2;
	TCase *c = tcase_create("all");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, frames_come_back_in_order);
	tcase_add_test(c, a_crash_while_a_journal_was_made_does_not_keep_it_from_being_replaced);
	tcase_add_test(c, every_cut_and_every_changed_byte_is_noticed);
	tcase_add_test(c, frames_do_not_change_places);
	tcase_add_test(c, it_is_one_identitys);
	tcase_add_test(c, an_outbox_keeps_what_was_committed_and_forgets_what_was_delivered);
	tcase_add_test(c, an_outbox_that_was_emptied_gets_small_and_its_stream_goes_on);
	tcase_add_test(c, a_full_outbox_takes_nothing_before_all_is_delivered);
	tcase_add_test(c, numbers_are_remembered_and_gaps_of_outboxes_seen);
	tcase_add_test(c, streams_of_others_may_have_gaps);
	tcase_add_test(c, lines_that_a_crash_kept_from_the_output_are_written_later);
	int rc = run_case("exact", c);
	keypair_free(ec);
	keypair_free(rsa);
	return rc;
}
