/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/entry_ring.h"
#include "tests/unit/base/suite.h"

START_TEST(an_empty_ring_owns_nothing)
{
	struct entry_ring r = { 0 };
	ck_assert_int_eq(ring_push(&r, &(struct entry){ .record = 1 }), ERR_OK);
	ck_assert_uint_eq(ring_at(&r, 0)->record, 1);
	ring_pop(&r);
	ck_assert_ptr_null(r.e);
	ck_assert_uint_eq(r.cap, 0);
	ck_assert_int_eq(ring_reserve(&r, 0), ERR_OK);
	ck_assert_ptr_null(r.e);
}
END_TEST

START_TEST(keeps_order_while_it_turns_and_grows)
{
	struct entry_ring r = { 0 };
	uint64_t in = 0, out = 0;
	srand(2);
	for (unsigned i = 0; i < 20000; i++) {
		if (r.count == 0 || (unsigned)rand() % 100 < (i / 1000 % 2 ? 40U : 60U))
			ck_assert_int_eq(ring_push(&r, &(struct entry){ .record = in++ }), ERR_OK);
		else {
			ck_assert_uint_eq(ring_at(&r, 0)->record, out++);
			ring_pop(&r);
		}
		ck_assert_uint_eq(r.count, in - out);
		if (r.count > 0)
			ck_assert_uint_eq(ring_at(&r, r.count - 1)->record, in - 1);
	}
	ring_free(&r);
}
END_TEST

START_TEST(reserving_leaves_room_for_appends)
{
	struct entry_ring r = { 0 };
	ck_assert_int_eq(ring_reserve(&r, 1000), ERR_OK);
	ck_assert_uint_ge(r.cap, 1000);
	struct entry *e = r.e;
	for (uint64_t i = 0; i < 1000; i++)
		ring_append(&r, &(struct entry){ .record = i });
	ck_assert_ptr_eq(r.e, e);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_uint_eq(ring_at(&r, i)->record, i);
	ring_free(&r);
}
END_TEST

START_TEST(what_came_late_goes_behind)
{
	for (uint32_t turned = 0; turned < 8; turned++)
		for (uint32_t from = 0; from <= 6; from++)
			for (uint32_t mid = from; mid <= 6; mid++) {
				struct entry_ring r = { 0 };
				ck_assert_int_eq(ring_reserve(&r, 8), ERR_OK);
				r.head = turned;
				for (uint64_t i = 0; i < 6; i++)
					ring_append(&r, &(struct entry){ .record = i });
				ring_rotate(&r, from, mid);
				for (uint32_t i = 0; i < 6; i++) {
					uint32_t want = i < from ? i : i < from + 6 - mid ? mid + i - from : i - (6 - mid);
					ck_assert_uint_eq(ring_at(&r, i)->record, want);
				}
				ring_free(&r);
			}
}
END_TEST

SUITE_MAIN("broker/entry_ring", an_empty_ring_owns_nothing, keeps_order_while_it_turns_and_grows, reserving_leaves_room_for_appends, what_came_late_goes_behind)
