/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/pool.h"
#include "broker/ackq.h"
#include "mqtt/mqtt.h"
#include "tests/unit/base/suite.h"

#include <string.h>

static uint32_t push(struct ackq *q, uint16_t id, bool ready)
{
	uint32_t seq;
	ck_assert_int_eq(ackq_push(q, &(struct ack){ .type = MQTT_PUBACK, .packet_id = id, .ready = ready }, &seq), ERR_OK);
	return seq;
}

static uint16_t pop(struct ackq *q)
{
	struct ack a;
	return ackq_pop_ready(q, &a) ? a.packet_id : 0;
}

START_TEST(what_is_ready_waits_behind_what_is_not)
{
	struct ackq q = { 0 };
	uint32_t first = push(&q, 1, false);
	push(&q, 2, true);
	ck_assert_uint_eq(pop(&q), 0);
	ackq_ready(&q, first);
	ck_assert_uint_eq(pop(&q), 1);
	ck_assert_uint_eq(pop(&q), 2);
	ck_assert_uint_eq(pop(&q), 0);
	ck_assert_ptr_null(q.ring);
}
END_TEST

START_TEST(sequence_numbers_name_the_same_answer_while_the_ring_turns_and_grows)
{
	struct ackq q = { .head_seq = UINT32_MAX - 50 }; /* they wrap meanwhile */
	uint32_t seqs[300];
	uint16_t pushed = 0, popped = 0;
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 3; i++, pushed++)
			seqs[pushed] = push(&q, (uint16_t)(pushed + 1), false);
		for (unsigned i = 0; i < 2 - round % 2; i++, popped++) {
			ackq_ready(&q, seqs[popped]);
			ck_assert_uint_eq(pop(&q), popped + 1U);
		}
		ck_assert_uint_eq(pop(&q), 0);
	}
	while (popped < pushed) {
		ackq_ready(&q, seqs[popped]);
		ck_assert_uint_eq(pop(&q), ++popped);
	}
}
END_TEST

START_TEST(a_number_that_is_gone_or_not_yet_there_marks_nothing)
{
	struct ackq q = { 0 };
	uint32_t first = push(&q, 1, true);
	ck_assert_uint_eq(pop(&q), 1);
	uint32_t second = push(&q, 2, false);
	ackq_ready(&q, first);
	ackq_ready(&q, second + 1);
	ck_assert_uint_eq(pop(&q), 0);
	ackq_clear(&q);
	uint32_t third = push(&q, 3, false);
	ackq_ready(&q, second); /* of before the clear */
	ck_assert_uint_eq(pop(&q), 0);
	ck_assert_uint_ne(second, third);
	ackq_clear(&q);
}
END_TEST

START_TEST(clearing_frees_encoded_answers)
{
	struct ackq q = { 0 };
	uint32_t seq;
	struct ack a = { .bytes = pool_alloc(10), .len = 10, .ready = false };
	ck_assert_int_eq(ackq_push(&q, &a, &seq), ERR_OK);
	ackq_clear(&q); /* LeakSanitizer watches */
	ck_assert_uint_eq(q.count, 0);
}
END_TEST

SUITE_MAIN("broker/ackq", what_is_ready_waits_behind_what_is_not,
	sequence_numbers_name_the_same_answer_while_the_ring_turns_and_grows,
	a_number_that_is_gone_or_not_yet_there_marks_nothing, clearing_frees_encoded_answers)
