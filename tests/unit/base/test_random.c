/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/random.h"
#include "tests/unit/base/suite.h"

#include <stdint.h>
#include <string.h>

START_TEST(two_draws_differ)
{
	uint8_t a[32], b[32];
	random_bytes(a, sizeof a);
	random_bytes(b, sizeof b);
	ck_assert_mem_ne(a, b, sizeof a);
}
END_TEST

START_TEST(exactly_the_asked_bytes_are_written)
{
	uint8_t buf[64];
	for (size_t len = 0; len <= 32; len++) {
		memset(buf, 0xA5, sizeof buf);
		random_bytes(buf + 16, len);
		for (size_t i = 0; i < sizeof buf; i++)
			if (i < 16 || i >= 16 + len)
				ck_assert_uint_eq(buf[i], 0xA5);
	}
}
END_TEST

START_TEST(a_long_request_is_filled_to_its_end)
{
	enum { LEN = 1 << 20 };
	uint8_t *buf = calloc(1, LEN);
	ck_assert_ptr_nonnull(buf);
	random_bytes(buf, LEN);
	unsigned zeros = 0;
	for (size_t i = LEN - 64; i < LEN; i++)
		zeros += buf[i] == 0;
	ck_assert_uint_lt(zeros, 32); /* chance: below 2^-190 */
	free(buf);
}
END_TEST

SUITE_MAIN("random", two_draws_differ, exactly_the_asked_bytes_are_written, a_long_request_is_filled_to_its_end)
