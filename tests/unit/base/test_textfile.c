/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines, words, quoting and UTF-8 of files that people write. */
#include "base/textfile.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

START_TEST(lines_are_trimmed_and_counted)
{
	static const char text[] = "\n# c\n  a b\t\r\n\t# d\n\nlast";
	struct textfile t;
	struct text_line line;
	textfile_start(&t, text, sizeof text - 1, "f", NULL);
	ck_assert(textfile_next(&t, &line));
	ck_assert(text_is(line, "a b"));
	ck_assert_uint_eq(t.line, 3);
	ck_assert(textfile_next(&t, &line));
	ck_assert(text_is(line, "last"));
	ck_assert_uint_eq(t.line, 6);
	ck_assert(!textfile_next(&t, &line));
	ck_assert_uint_eq(t.n_errors, 0);
}
END_TEST

START_TEST(words_are_cut_from_the_front)
{
	struct text_line line = { "one \t two  ", 11 };
	ck_assert(text_is(text_word(&line), "one"));
	ck_assert(text_is(text_word(&line), "two"));
	ck_assert_uint_eq(line.len, 0);
	ck_assert_uint_eq(text_word(&line).len, 0);
}
END_TEST

START_TEST(quoting_escapes_and_cuts)
{
	char out[TEXT_QUOTED_MAX], bytes[400];
	ck_assert_str_eq(text_quote(out, "a\n\"\\\x7F", 5), "\"a\\x0A\\x22\\x5C\\x7F\"");
	ck_assert_str_eq(text_quote(out, "\xC3\xA9", 2), "\"\xC3\xA9\"");
	ck_assert_str_eq(text_quote(out, "\xC3", 1), "\"\\xC3\"");
	for (int c = 0; c < 256; c++) {
		memset(bytes, c, sizeof bytes);
		for (size_t n = 0; n < sizeof bytes; n++)
			ck_assert_uint_lt(strlen(text_quote(out, bytes, n)), TEXT_QUOTED_MAX);
	}
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = "\xF0\x9F\x90\x9F"[i % 4];
	text_quote(out, bytes, sizeof bytes);
	ck_assert(text_utf8_valid(out, strlen(out)));
	ck_assert_ptr_nonnull(strstr(out, "...\""));
}
END_TEST

START_TEST(utf8_is_checked_by_the_table_of_unicode)
{
	static const char *const yes[] = { "", "a", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF" };
	static const char *const no[] = { "\x80", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF", "\xE2\x82", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
		"\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xF0\x9F\x90", "\xE2\x82\x41" };
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		ck_assert_msg(text_utf8_valid(yes[i], strlen(yes[i])), "%zu", i);
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		ck_assert_msg(!text_utf8_valid(no[i], strlen(no[i])), "%zu", i);
}
END_TEST

START_TEST(files_are_read_whole)
{
	char path[] = "/tmp/sealmq-text-XXXXXX", block[1000];
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	FILE *f = fdopen(fd, "w");
	ck_assert_ptr_nonnull(f);
	size_t len = 1;
	char *buf = textfile_read(path, &len, NULL);
	ck_assert_ptr_nonnull(buf);
	ck_assert_uint_eq(len, 0);
	free(buf);
	for (size_t i = 0; i < 50; i++) {
		memset(block, (int)('a' + i % 26), sizeof block);
		ck_assert_uint_eq(fwrite(block, 1, sizeof block, f), sizeof block);
	}
	ck_assert_int_eq(fclose(f), 0);
	buf = textfile_read(path, &len, NULL);
	ck_assert_ptr_nonnull(buf);
	ck_assert_uint_eq(len, 50000);
	ck_assert_int_eq(buf[49999], 'a' + 49 % 26);
	free(buf);
	ck_assert_int_eq(remove(path), 0);
	ck_assert_ptr_null(textfile_read(path, &len, NULL));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("textfile");
	TCase *t = tcase_create("textfile");
	tcase_add_test(t, lines_are_trimmed_and_counted);
	tcase_add_test(t, words_are_cut_from_the_front);
	tcase_add_test(t, quoting_escapes_and_cuts);
	tcase_add_test(t, utf8_is_checked_by_the_table_of_unicode);
	tcase_add_test(t, files_are_read_whole);
	suite_add_tcase(s, t);
	return run_suite(s);
}
