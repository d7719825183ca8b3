/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/textbytes.h"
#include "tests/unit/base/suite.h"

#include <stdint.h>
#include <string.h>

static char text[4096];
static uint8_t bytes[4096];

static void same(enum base64 kind, const char *plain, const char *expect)
{
	size_t len, n = strlen(expect);
	char *end = base64_put(kind, text, plain, strlen(plain));
	ck_assert_uint_eq((size_t)(end - text), n);
	ck_assert_uint_eq(base64_len(kind, strlen(plain)), n);
	ck_assert_mem_eq(text, expect, n);
	ck_assert(base64_get(kind, expect, n, bytes, strlen(plain), &len) && len == strlen(plain) && memcmp(bytes, plain, len) == 0);
	ck_assert(len == 0 || !base64_get(kind, expect, n, bytes, len - 1, &n));
}

/* RFC 4648, section 10. */
START_TEST(the_vectors_of_the_rfc)
{
	same(BASE64_STANDARD, "", "");
	same(BASE64_STANDARD, "f", "Zg==");
	same(BASE64_STANDARD, "fo", "Zm8=");
	same(BASE64_STANDARD, "foo", "Zm9v");
	same(BASE64_STANDARD, "foobar", "Zm9vYmFy");
	same(BASE64_STANDARD, "\xfb\xff", "+/8=");
	same(BASE64_URL, "f", "Zg");
	same(BASE64_URL, "fo", "Zm8");
	same(BASE64_URL, "foob", "Zm9vYg");
	same(BASE64_URL, "\xfb\xff", "-_8");
}
END_TEST

START_TEST(every_byte_and_length_comes_back)
{
	uint8_t in[300];
	size_t len;
	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (uint8_t)(i * 7);
	for (size_t n = 0; n <= sizeof in; n++) {
		ck_assert(hex_put(text, in, n) == text + 2 * n && hex_get(text, 2 * n, bytes, n) && memcmp(bytes, in, n) == 0);
		for (enum base64 k = BASE64_STANDARD; k <= BASE64_URL; k++) {
			size_t m = (size_t)(base64_put(k, text, in, n) - text);
			ck_assert(base64_get(k, text, m, bytes, sizeof bytes, &len) && len == n && memcmp(bytes, in, n) == 0);
		}
	}
}
END_TEST

START_TEST(only_the_one_text_is_read)
{
	static const struct { enum base64 kind; const char *text; } bad[] = {
		{ BASE64_STANDARD, "Zg" }, { BASE64_STANDARD, "Zg=" }, { BASE64_STANDARD, "Zg===" }, { BASE64_STANDARD, "Zh==" }, { BASE64_STANDARD, "====" },
		{ BASE64_STANDARD, "Zm9=" }, { BASE64_STANDARD, "Zm9v\n" }, { BASE64_STANDARD, "Zg==Zg==" }, { BASE64_STANDARD, "-_8=" },
		{ BASE64_STANDARD, "Z===" }, { BASE64_URL, "Z" }, { BASE64_URL, "Zg==" }, { BASE64_URL, "Zh" }, { BASE64_URL, "Zm9" }, { BASE64_URL, "+/8" },
	};
	size_t len;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(!base64_get(bad[i].kind, bad[i].text, strlen(bad[i].text), bytes, sizeof bytes, &len), "%s", bad[i].text);
	ck_assert(!base64_get(BASE64_URL, "Zg\0", 3, bytes, sizeof bytes, &len));
	ck_assert(!hex_get("0g", 2, bytes, 1) && !hex_get("0A", 2, bytes, 1) && !hex_get("0", 1, bytes, 0) && !hex_get("00", 2, bytes, 2));
	ck_assert(!hex_get("0\0", 2, bytes, 1));
}
END_TEST

SUITE_MAIN("textbytes", the_vectors_of_the_rfc, every_byte_and_length_comes_back, only_the_one_text_is_read)
