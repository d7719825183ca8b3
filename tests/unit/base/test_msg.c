/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/msg.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <string.h>

static const struct msg_spec spec = {
	.topic = "plant/line1", .topic_len = 11, .publisher = "pump-7", .publisher_len = 6, .props = "\x01\x02", .props_len = 2,
	.payload = "21.5", .payload_len = 4, .time_ms = 1700000000123, .expiry_ms = 1700000001123, .qos = 2, .flags = MSG_RETAIN,
};

START_TEST(a_message_carries_every_part)
{
	struct msg *m = msg_new(&spec);
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_eq(m->topic_len, 11);
	ck_assert_mem_eq(msg_topic(m), "plant/line1", 11);
	ck_assert_uint_eq(m->publisher_len, 6);
	ck_assert_mem_eq(msg_publisher(m), "pump-7", 6);
	ck_assert_uint_eq(m->props_len, 2);
	ck_assert_mem_eq(msg_props(m), "\x01\x02", 2);
	ck_assert_uint_eq(m->payload_len, 4);
	ck_assert_mem_eq(msg_payload(m), "21.5", 4);
	ck_assert_uint_eq(m->time_ms, 1700000000123);
	ck_assert_uint_eq(m->expiry_ms, 1700000001123);
	ck_assert_uint_eq(m->qos, 2);
	ck_assert_uint_eq(m->flags, MSG_RETAIN);
	ck_assert_uint_eq(msg_size(m), sizeof *m + 11 + 6 + 2 + 4);
	msg_unref(m);
}
END_TEST

START_TEST(a_copy_has_every_part_and_a_life_of_its_own)
{
	struct msg *m = msg_new(&spec);
	msg_ref_n(m, 2);
	struct msg *copy = msg_copy(m);
	ck_assert_ptr_nonnull(copy);
	ck_assert_uint_eq(atomic_load(&copy->refs), 1);
	for (int i = 0; i < 3; i++)
		msg_unref(m);
	ck_assert_uint_eq(msg_size(copy), sizeof *m + 11 + 6 + 2 + 4);
	ck_assert_mem_eq(msg_topic(copy), "plant/line1", 11);
	ck_assert_mem_eq(msg_publisher(copy), "pump-7", 6);
	ck_assert_mem_eq(msg_props(copy), "\x01\x02", 2);
	ck_assert_mem_eq(msg_payload(copy), "21.5", 4);
	ck_assert_uint_eq(copy->time_ms, 1700000000123);
	ck_assert_uint_eq(copy->expiry_ms, 1700000001123);
	ck_assert_uint_ne(copy->order, 0);
	ck_assert_uint_eq(copy->qos, 2);
	ck_assert_uint_eq(copy->flags, MSG_RETAIN);
	msg_unref(copy);
}
END_TEST

START_TEST(an_alike_message_has_its_own_payload_and_the_other_parts)
{
	struct msg *m = msg_new(&spec), *second, *empty;
	msg_mark_secret(m);
	second = msg_new_alike(m, "-273.15", 7);
	empty = msg_new_alike(m, NULL, 0);
	ck_assert(second && empty);
	ck_assert_uint_gt(second->order, m->order);
	ck_assert_uint_gt(empty->order, second->order);
	msg_unref(m);
	ck_assert_uint_eq(atomic_load(&second->refs), 1); /* nor is it secret */
	ck_assert_uint_eq(msg_size(second), sizeof *m + 11 + 6 + 2 + 7);
	ck_assert_mem_eq(msg_topic(second), "plant/line1", 11);
	ck_assert_mem_eq(msg_publisher(second), "pump-7", 6);
	ck_assert_mem_eq(msg_props(second), "\x01\x02", 2);
	ck_assert_mem_eq(msg_payload(second), "-273.15", 7);
	ck_assert_uint_eq(second->time_ms, 1700000000123);
	ck_assert_uint_eq(second->expiry_ms, 1700000001123);
	ck_assert_uint_eq(second->qos, 2);
	ck_assert_uint_eq(second->flags, MSG_RETAIN);
	ck_assert_uint_eq(msg_size(empty), sizeof *m + 11 + 6 + 2);
	ck_assert_ptr_null(msg_new_alike(second, "x", 268435456));
	msg_unref(second);
	msg_unref(empty);
}
END_TEST

START_TEST(every_part_may_be_empty)
{
	struct msg_spec empty = { 0 };
	struct msg *m = msg_new(&empty);
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_eq(msg_size(m), sizeof *m);
	ck_assert_ptr_eq(msg_payload(m), m->data);
	msg_unref(m);
}
END_TEST

START_TEST(a_payload_may_be_filled_in_later)
{
	struct msg_spec s = spec;
	s.payload = NULL;
	s.payload_len = 100000;
	struct msg *m = msg_new(&s);
	ck_assert_ptr_nonnull(m);
	memset(m->data + (msg_payload(m) - m->data), 'x', m->payload_len);
	ck_assert_mem_eq(msg_props(m), "\x01\x02", 2);
	msg_unref(m);
}
END_TEST

START_TEST(lengths_that_the_wire_cannot_carry_are_refused)
{
	char *big = calloc(1, 65536);
	struct msg_spec s = spec;
	s.topic = big;
	s.topic_len = 65536;
	ck_assert_ptr_null(msg_new(&s));
	s.topic_len = 65535;
	struct msg *m = msg_new(&s);
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_eq(m->topic_len, 65535);
	ck_assert_mem_eq(msg_payload(m), "21.5", 4);
	msg_unref(m);

	s = spec;
	s.publisher = big;
	s.publisher_len = 65536;
	ck_assert_ptr_null(msg_new(&s));
	s = spec;
	s.props = big;
	s.props_len = SIZE_MAX;
	ck_assert_ptr_null(msg_new(&s));
	s = spec;
	s.payload = NULL;
	s.payload_len = 268435456;
	ck_assert_ptr_null(msg_new(&s));
	s.payload_len = SIZE_MAX - 8; /* would wrap round the sum */
	ck_assert_ptr_null(msg_new(&s));
	free(big);
}
END_TEST

START_TEST(nothing_can_be_given_back)
{
	msg_unref(NULL);
}
END_TEST

START_TEST(a_message_lives_until_its_last_reference)
{
	struct msg *m = msg_new(&spec);
	msg_ref_n(m, 3);
	ck_assert_ptr_eq(msg_ref(m), m);
	for (int i = 0; i < 4; i++)
		msg_unref(m);
	ck_assert_uint_eq(atomic_load(&m->refs), 1);
	ck_assert_mem_eq(msg_payload(m), "21.5", 4);
	msg_unref(m);
}
END_TEST

START_TEST(a_sealed_message_owns_what_it_is_in_plain_text)
{
	struct msg_spec sealed = spec;
	sealed.flags |= MSG_SEALED;
	struct msg *m = msg_new(&sealed), *plain = msg_new(&spec), *second = msg_new(&spec), *other = msg_new(&spec);
	ck_assert_ptr_null(msg_opened(m));
	ck_assert_ptr_null(msg_opened(other));
	msg_set_opened(m, msg_ref(plain));
	msg_set_opened(m, msg_ref(second)); /* too late: given back */
	ck_assert_ptr_eq(msg_opened(m), plain);
	ck_assert_uint_eq(atomic_load(&second->refs), 1);
	msg_unref(m);
	ck_assert_uint_eq(atomic_load(&plain->refs), 1);
	msg_unref(plain);
	msg_unref(second);
	msg_unref(other);
}
END_TEST

static void *read_and_unref(void *arg)
{
	struct msg *m = arg;
	void *failed = NULL;
	for (int i = 0; i < 1000; i++) {
		if (memcmp(msg_payload(m), "21.5", 4) != 0)
			failed = m;
		msg_unref(m);
	}
	return failed;
}

START_TEST(references_are_counted_across_threads)
{
	for (int round = 0; round < 20; round++) {
		struct msg *m = msg_new(&spec);
		pthread_t threads[3];
		msg_ref_n(m, 3000);
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, read_and_unref, m), 0);
		msg_unref(m); /* any of the four may be the last */
		for (int i = 0; i < 3; i++) {
			void *failed;
			pthread_join(threads[i], &failed);
			ck_assert_ptr_null(failed);
		}
	}
}
END_TEST

SUITE_MAIN("msg", a_message_carries_every_part, a_copy_has_every_part_and_a_life_of_its_own,
	   an_alike_message_has_its_own_payload_and_the_other_parts, every_part_may_be_empty, a_payload_may_be_filled_in_later,
	   lengths_that_the_wire_cannot_carry_are_refused, nothing_can_be_given_back, a_message_lives_until_its_last_reference,
	   a_sealed_message_owns_what_it_is_in_plain_text, references_are_counted_across_threads)
