/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log_line.h"
#include "tests/unit/base/suite.h"

#include <string.h>

static char out[LOG_LINE_MAX + 1];

static const char *text_line(uint64_t time_ms, enum log_level level, const char *text, size_t len)
{
	out[log_line_text(out, time_ms, level, text, len)] = '\0';
	return out;
}

static const char *json_line(uint64_t time_ms, enum log_level level, const char *text)
{
	out[log_line_json(out, time_ms, level, text, strlen(text))] = '\0';
	return out;
}

static const char *escaped(const char *text, size_t len)
{
	out[log_line_escape(out, text, len)] = '\0';
	return out;
}

START_TEST(a_text_line_has_time_level_and_text)
{
	ck_assert_str_eq(text_line(1795173133123, LOG_NOTICE, "pump-7: connected", 17),
			 "2026-11-20T11:12:13.123Z notice: pump-7: connected\n");
	ck_assert_str_eq(text_line(0, LOG_ERROR, "", 0), "1970-01-01T00:00:00.000Z error: \n");
	ck_assert_str_eq(text_line(951782399999, LOG_WARNING, "x", 1), "2000-02-28T23:59:59.999Z warning: x\n");
	ck_assert_str_eq(text_line(951782400001, LOG_INFO, "x", 1), "2000-02-29T00:00:00.001Z info: x\n");
	ck_assert_str_eq(text_line(253402300799000, LOG_DEBUG, "x", 1), "9999-12-31T23:59:59.000Z debug: x\n");
}
END_TEST

START_TEST(a_json_line_is_one_object)
{
	ck_assert_str_eq(json_line(1795173133123, LOG_NOTICE, "pump-7: connected"),
			 "{\"ts\":\"2026-11-20T11:12:13.123Z\",\"level\":\"notice\",\"msg\":\"pump-7: connected\"}\n");
}
END_TEST

START_TEST(json_quotes_quotes_and_backslashes)
{
	ck_assert_str_eq(json_line(0, LOG_INFO, "a \"b\" \\ c"),
			 "{\"ts\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"msg\":\"a \\\"b\\\" \\\\ c\"}\n");
}
END_TEST

START_TEST(json_reads_as_the_plain_line_does)
{
	ck_assert_str_eq(json_line(0, LOG_INFO, "a\nb\x80"),
			 "{\"ts\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\",\"msg\":\"a\\\\x0ab\\\\x80\"}\n");
}
END_TEST

START_TEST(no_control_character_gets_through)
{
	ck_assert_str_eq(escaped("a\r\n2026 error: forged", 21), "a\\x0d\\x0a2026 error: forged");
	ck_assert_str_eq(escaped("\x1b[2J\x7f\0\t", 7), "\\x1b[2J\\x7f\\x00\\x09");
	ck_assert_str_eq(escaped("\xc2\x9b" "31m", 5), "\\xc2\\x9b31m"); /* U+009B: CSI in one character */
	ck_assert_str_eq(escaped("\xc2\xa0", 2), "\xc2\xa0");            /* U+00A0, the first that is none */
}
END_TEST

START_TEST(utf8_stays_and_what_is_not_utf8_is_escaped)
{
	ck_assert_str_eq(escaped("gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80", 16), "gr\xc3\xbc\xc3\x9f" "e \xe2\x82\xac \xf0\x9f\x98\x80");
	ck_assert_str_eq(escaped("\xc0\xaf", 2), "\\xc0\\xaf");                             /* overlong '/' */
	ck_assert_str_eq(escaped("\xe0\x9f\xbf", 3), "\\xe0\\x9f\\xbf");                    /* overlong U+07FF */
	ck_assert_str_eq(escaped("\xf0\x8f\xbf\xbf", 4), "\\xf0\\x8f\\xbf\\xbf");           /* overlong U+FFFF */
	ck_assert_str_eq(escaped("\xed\xa0\x80", 3), "\\xed\\xa0\\x80");                    /* surrogate */
	ck_assert_str_eq(escaped("\xf4\x90\x80\x80", 4), "\\xf4\\x90\\x80\\x80");           /* beyond U+10FFFF */
	ck_assert_str_eq(escaped("\xf4\x8f\xbf\xbf", 4), "\xf4\x8f\xbf\xbf");               /* U+10FFFF */
	ck_assert_str_eq(escaped("\xe2\x82", 2), "\\xe2\\x82");                             /* cut off */
	ck_assert_str_eq(escaped("\xe2\x82" "a", 3), "\\xe2\\x82" "a");                     /* broken off */
	ck_assert_str_eq(escaped("\xff\xfe\x80", 3), "\\xff\\xfe\\x80");
}
END_TEST

START_TEST(the_longest_text_fits_its_line_even_if_all_of_it_is_escaped)
{
	char text[LOG_TEXT_MAX];
	memset(text, '\n', sizeof text);
	size_t len = log_line_json(out, UINT64_MAX, LOG_WARNING, text, sizeof text);
	ck_assert_uint_le(len, LOG_LINE_MAX);
	ck_assert_uint_gt(len, 5 * LOG_TEXT_MAX);
	ck_assert_int_eq(out[len - 1], '\n');
}
END_TEST

START_TEST(a_cut_falls_between_characters)
{
	char text[LOG_TEXT_MAX + 8];
	memset(text, 'a', sizeof text);
	ck_assert_uint_eq(log_line_cut(text, 5), 5);
	ck_assert_uint_eq(log_line_cut(text, LOG_TEXT_MAX), LOG_TEXT_MAX);
	ck_assert_uint_eq(log_line_cut(text, LOG_TEXT_MAX + 1), LOG_TEXT_MAX);
	for (size_t inside = 1; inside <= 3; inside++) { /* bytes of the sequence that lie before the cut */
		memset(text, 'a', sizeof text);
		memcpy(text + LOG_TEXT_MAX - inside, "\xf0\x9f\x98\x80", 4);
		ck_assert_uint_eq(log_line_cut(text, LOG_TEXT_MAX + 3), LOG_TEXT_MAX - inside);
	}
	memset(text, 0x80, sizeof text); /* not UTF-8: no reason to lose more */
	ck_assert_uint_ge(log_line_cut(text, LOG_TEXT_MAX + 1), LOG_TEXT_MAX - 3);
}
END_TEST

SUITE_MAIN("log_line", a_text_line_has_time_level_and_text, a_json_line_is_one_object, json_quotes_quotes_and_backslashes,
	   json_reads_as_the_plain_line_does, no_control_character_gets_through, utf8_stays_and_what_is_not_utf8_is_escaped,
	   the_longest_text_fits_its_line_even_if_all_of_it_is_escaped, a_cut_falls_between_characters)
