/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/pool.h"
#include "broker/pidset.h"
#include "tests/unit/base/suite.h"

#include <string.h>

START_TEST(an_empty_set_owns_nothing)
{
	struct pidset s = { 0 };
	ck_assert(!pidset_has(&s, 1));
	ck_assert(!pidset_remove(&s, 1));
	ck_assert_int_eq(pidset_add(&s, 65535), ERR_OK);
	ck_assert(pidset_remove(&s, 65535));
	ck_assert_ptr_null(s.words);
}
END_TEST

START_TEST(what_is_there_is_not_added_twice)
{
	struct pidset s = { 0 };
	ck_assert_int_eq(pidset_add(&s, 7), ERR_OK);
	ck_assert_int_eq(pidset_add(&s, 7), ERR_EXISTS);
	ck_assert_uint_eq(s.count, 1);
	pidset_clear(&s);
	ck_assert(!pidset_has(&s, 7));
}
END_TEST

/* A client's window, ascending and over the end of the identifiers, released in and out of order. */
START_TEST(a_window_that_moves_stays_small)
{
	struct pidset s = { 0 };
	enum { WINDOW = 400 };
	uint16_t ids[WINDOW];
	uint16_t next = 65000;
	for (unsigned i = 0; i < 200000; i++) {
		unsigned slot = i % WINDOW ^ (i / WINDOW % 2 ? 7U : 0U);
		if (i >= WINDOW)
			ck_assert(pidset_remove(&s, ids[slot]));
		next = next == 65535 ? 1 : (uint16_t)(next + 1);
		ids[slot] = next;
		ck_assert_int_eq(pidset_add(&s, next), ERR_OK);
		ck_assert_uint_eq(s.mask, 7);
		ck_assert(!pidset_has(&s, (uint16_t)(next + 512)));
	}
	ck_assert_uint_eq(s.count, WINDOW);
	for (unsigned i = 0; i < WINDOW; i++)
		ck_assert(pidset_has(&s, ids[i]));
	pidset_clear(&s);
}
END_TEST

/* One that takes the lowest identifier that is free goes back. */
START_TEST(a_window_moves_back_too)
{
	struct pidset s = { 0 };
	for (uint16_t id = 640; id <= 700; id++)
		ck_assert_int_eq(pidset_add(&s, id), ERR_OK);
	for (uint16_t id = 640; id < 700; id++)
		ck_assert(pidset_remove(&s, id));
	ck_assert_int_eq(pidset_add(&s, 300), ERR_OK);
	ck_assert_uint_eq(s.mask, 7);
	ck_assert(pidset_has(&s, 300) && pidset_has(&s, 700) && !pidset_has(&s, 640));
	ck_assert_int_eq(pidset_add(&s, 1), ERR_OK); /* 700 and 1 do not fit together */
	ck_assert_uint_gt(s.mask, 7);
	ck_assert(pidset_has(&s, 1) && pidset_has(&s, 300) && pidset_has(&s, 700) && s.count == 3);
	pidset_clear(&s);
}
END_TEST

/* Against a plain table, close together and all over, both ways. */
START_TEST(behaves_as_a_table_of_flags)
{
	static bool model[65536];
	struct pidset s = { 0 };
	uint32_t count = 0;
	srand(1);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned span = i / 50000 % 2 ? 40 : 65536;
		uint16_t id = (uint16_t)((unsigned)rand() % span);
		if ((unsigned)rand() % 3 == 0) {
			ck_assert(pidset_remove(&s, id) == model[id]);
			count -= model[id];
			model[id] = false;
		} else {
			ck_assert_int_eq(pidset_add(&s, id), model[id] ? ERR_EXISTS : ERR_OK);
			count += !model[id];
			model[id] = true;
		}
		ck_assert_uint_eq(s.count, count);
	}
	for (unsigned id = 0; id < 65536; id++)
		ck_assert(pidset_has(&s, (uint16_t)id) == model[id]);
	pidset_clear(&s);
}
END_TEST

START_TEST(holds_all_65536)
{
	struct pidset s = { 0 };
	for (unsigned id = 0; id < 65536; id++)
		ck_assert_int_eq(pidset_add(&s, (uint16_t)id), ERR_OK);
	ck_assert_uint_eq(s.count, 65536);
	for (unsigned id = 0; id < 65536; id++)
		ck_assert(pidset_remove(&s, (uint16_t)id));
	ck_assert_ptr_null(s.words);
}
END_TEST

SUITE_MAIN("broker/pidset", an_empty_set_owns_nothing, what_is_there_is_not_added_twice, a_window_that_moves_stays_small, a_window_moves_back_too,
           behaves_as_a_table_of_flags, holds_all_65536)
