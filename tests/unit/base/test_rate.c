/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/rate.h"
#include "tests/unit/base/suite.h"

START_TEST(a_bucket_holds_its_period_and_fills_at_its_rate)
{
	rate_bucket b = 0;
	unsigned taken = 0;
	for (unsigned i = 0; i < 100; i++)
		taken += rate_take(&b, 60, 1000);
	ck_assert_uint_eq(taken, 60);
	ck_assert(!rate_idle(&b, 1000));
	for (uint64_t ms = 1000; ms < 11000; ms += 10)
		taken += rate_take(&b, 60, ms);
	ck_assert_uint_eq(taken, 69); /* one a second */
	ck_assert(rate_idle(&b, 11000 + 60000));
}
END_TEST

START_TEST(a_charge_says_how_long_to_wait)
{
	rate_bucket b = 0;
	ck_assert_uint_eq(rate_charge(&b, 1000, 1000, 5000), 0); /* the whole second at once */
	ck_assert_uint_eq(rate_charge(&b, 500, 1000, 5000), 500);
	ck_assert_uint_eq(rate_charge(&b, 1, 1000, 5500), 1);
	ck_assert_uint_eq(rate_charge(&b, 268435460, 1, 5500), (uint64_t)268435460 * 1000 + 1); /* no overflow */
	b = 0;
	for (unsigned i = 0; i < 1000000; i++) /* small packets at a high rate are not free, and not dear */
		ck_assert_uint_eq(rate_charge(&b, 100, 1000000000, 5000 + i / 10000), 0);
	ck_assert(rate_charge(&b, 999999999, 1000000000, 5100) <= 1);
}
END_TEST

START_TEST(addresses_have_buckets_of_their_own)
{
	struct rate_table *t = rate_table_new(64);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert(rate_table_take(t, UINT64_C(1) << 50, 10, 1000));
		ck_assert(rate_table_take(t, UINT64_C(2) << 50, 10, 1000));
	}
	ck_assert(!rate_table_take(t, UINT64_C(1) << 50, 10, 1000));
	ck_assert(!rate_table_take(t, UINT64_C(2) << 50, 10, 1000));
	ck_assert(rate_table_take(t, UINT64_C(3) << 50, 10, 1000));
	ck_assert(rate_table_take(t, UINT64_C(1) << 50, 10, 7000));
	rate_table_free(t);
}
END_TEST

/* More addresses than there are places: nobody is refused what he has not used. */
START_TEST(a_flood_of_addresses_refuses_no_new_one)
{
	struct rate_table *t = rate_table_new(16);
	for (uint64_t i = 1; i < 100000; i++)
		ck_assert(rate_table_take(t, i * UINT64_C(0x9E3779B97F4A7C15), 1000, 1000 + i / 1000));
	rate_table_free(t);
}
END_TEST

START_TEST(the_greatest_rates_and_times_fit)
{
	struct rate_table *t = rate_table_new(16);
	uint64_t year_ms = UINT64_C(100) * 365 * 86400 * 1000;
	ck_assert(rate_table_take(t, UINT64_MAX, 600000, year_ms));
	ck_assert(rate_table_take(t, UINT64_MAX, 1, year_ms + 60000));
	ck_assert(!rate_table_take(t, UINT64_MAX, 1, year_ms + 60001));
	rate_table_free(t);
}
END_TEST

SUITE_MAIN("rate", a_bucket_holds_its_period_and_fills_at_its_rate, a_charge_says_how_long_to_wait, addresses_have_buckets_of_their_own,
	a_flood_of_addresses_refuses_no_new_one, the_greatest_rates_and_times_fit)
