/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/err.h"
#include "tests/unit/base/suite.h"

#include <string.h>

START_TEST(every_error_has_a_text_of_its_own)
{
	for (unsigned a = ERR_OK; a <= ERR_REFUSED; a++) {
		ck_assert_str_ne(err_text((enum err)a), "unknown error");
		for (unsigned b = ERR_OK; b < a; b++)
			ck_assert_str_ne(err_text((enum err)a), err_text((enum err)b));
	}
}
END_TEST

START_TEST(a_value_outside_the_enum_has_a_text_too)
{
	ck_assert_str_eq(err_text((enum err)(ERR_REFUSED + 1)), "unknown error");
}
END_TEST

SUITE_MAIN("err", every_error_has_a_text_of_its_own, a_value_outside_the_enum_has_a_text_too)
