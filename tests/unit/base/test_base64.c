/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/base64.h"
#include "tests/unit/base/suite.h"

#include <string.h>

START_TEST(the_vectors_of_rfc_4648_decode)
{
	const char *cases[][2] = { { "", "" }, { "Zg==", "f" }, { "Zm8=", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" }, { "Zm9vYmE=", "fooba" },
		{ "Zm9vYmFy", "foobar" } };
	uint8_t out[8];
	size_t len;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		ck_assert(base64_decode(cases[i][0], strlen(cases[i][0]), out, &len));
		ck_assert_uint_eq(len, strlen(cases[i][1]));
		ck_assert(memcmp(out, cases[i][1], len) == 0);
	}
}
END_TEST

START_TEST(everything_else_is_refused)
{
	const char *cases[] = { "Z", "Zg", "Zg=", "Zg==Zg==", "Zh==", "Zm9=", "Z===", "====", "Zm9\n", "Zm-_", "Zm 9" };
	uint8_t out[16];
	size_t len;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		ck_assert_msg(!base64_decode(cases[i], strlen(cases[i]), out, &len), "%s", cases[i]);
}
END_TEST

SUITE_MAIN("base64", the_vectors_of_rfc_4648_decode, everything_else_is_refused)
