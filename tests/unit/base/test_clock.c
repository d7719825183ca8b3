/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/clock.h"
#include "tests/unit/base/suite.h"

#include <time.h>

START_TEST(monotonic_time_never_goes_back)
{
	uint64_t us = clock_mono_us(), ms = clock_mono_ms();
	for (int i = 0; i < 10000; i++) {
		uint64_t us2 = clock_mono_us(), ms2 = clock_mono_ms();
		ck_assert_uint_ge(us2, us);
		ck_assert_uint_ge(ms2, ms);
		us = us2;
		ms = ms2;
	}
}
END_TEST

START_TEST(both_units_read_the_same_clock)
{
	uint64_t before = clock_mono_ms();
	uint64_t between = clock_mono_us() / 1000;
	uint64_t after = clock_mono_ms();
	ck_assert_uint_le(before, between);
	ck_assert_uint_le(between, after);
}
END_TEST

START_TEST(wall_clock_counts_from_1970)
{
	time_t before = time(NULL) - 1; /* time() may read a coarser clock */
	uint64_t s = clock_wall_ms() / 1000;
	ck_assert_uint_ge(s, (uint64_t)before);
	ck_assert_uint_gt(s, 1700000000); /* 2023 */
}
END_TEST

SUITE_MAIN("clock", monotonic_time_never_goes_back, both_units_read_the_same_clock, wall_clock_counts_from_1970)
