/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a conversation shows: text of others, lines, who is here. */
#include "client/chat_people.h"
#include "client/chat_show.h"
#include "client/cli_safe.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

static const struct { const char *in; size_t len; const char *eyes, *parsable; } texts[] = {
	{ "", 0, "", "" },
	{ "plain, \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80", 18, "plain, \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80", "plain, \xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80" },
	{ "C:\\new", 6, "C:\\new", "C:\\\\new" },
	{ "a\tb\nc\rd\0e", 9, "a\\tb\\nc\\rd\\u{0}e", "a\\tb\\nc\\rd\\u{0}e" },
	{ "\x1b[2J\x7f", 5, "\\u{1b}[2J\\u{7f}", "\\u{1b}[2J\\u{7f}" },
	{ "\xc2\x9b" "31m", 5, "\\u{9b}31m", "\\u{9b}31m" },                                            /* CSI in eight bits */
	{ "\xe2\x80\xae\xe2\x81\xa6\xe2\x80\xa8", 9, "\\u{202e}\\u{2066}\\u{2028}", "\\u{202e}\\u{2066}\\u{2028}" }, /* turns the text around; ends a line */
	{ "\xf3\xa0\x80\xa1", 4, "\\u{e0021}", "\\u{e0021}" },                                           /* a tag: not seen */
	{ "\xff\xc3(\xed\xa0\x80\xc0\x80\xf0\x9f", 10, "\\x{ff}\\x{c3}(\\x{ed}\\x{a0}\\x{80}\\x{c0}\\x{80}\\x{f0}\\x{9f}",
	  "\\x{ff}\\x{c3}(\\x{ed}\\x{a0}\\x{80}\\x{c0}\\x{80}\\x{f0}\\x{9f}" },                          /* ill-formed */
};

START_TEST(text_of_others_moves_no_cursor)
{
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		char *eyes = safe_text(texts[i].in, texts[i].len, false), *parsable = safe_text(texts[i].in, texts[i].len, true);
		ck_assert_str_eq(eyes, texts[i].eyes);
		ck_assert_str_eq(parsable, texts[i].parsable);
		free(eyes);
		free(parsable);
	}
}
END_TEST

static void line(bool eyes, const char *what, const char *name, const char *text, const char *expect)
{
	char *got = chat_line(eyes, 1795702507123, what, name, text, strlen(text));
	ck_assert_str_eq(got, expect);
	free(got);
}

START_TEST(each_line_says_what_it_is)
{
	setenv("TZ", "UTC", 1);
	line(false, "live", "ann", "hi\tthere", "2026-11-26T14:15:07.123Z\tlive\tann\thi\\tthere");
	line(false, "joined", "ann", "", "2026-11-26T14:15:07.123Z\tjoined\tann\t");
	line(true, "live", "ann", "hi", "[14:15:07] ann: hi");
	line(true, "past", "ann", "hi", "[past 2026-11-26 14:15:07] ann: hi");
	line(true, "late", "a\nnn", "hi", "[late 2026-11-26 14:15:07] a\\nnn: hi");
	line(true, "joined", "ann", "", "* [14:15:07] ann joined");
	line(true, "here", "ann, bob", "", "* [14:15:07] here: ann, bob");
	line(true, "refused", "", "not signed", "! [14:15:07] not shown, it is not authentic: not signed");
}
END_TEST

#define A "aaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbb"

START_TEST(somebody_is_here_as_long_as_a_console_is)
{
	struct people *p = people_new();
	ck_assert_int_eq(people_note(p, "bob", A, true), PEOPLE_JOINED);
	ck_assert_int_eq(people_note(p, "bob", A, true), PEOPLE_SAME);
	ck_assert_int_eq(people_note(p, "bob", B, true), PEOPLE_SAME);
	ck_assert_int_eq(people_note(p, "ann", A, true), PEOPLE_JOINED);
	ck_assert_str_eq(people_at(p, 0), "ann");
	ck_assert_str_eq(people_at(p, 1), "bob");
	ck_assert_ptr_null(people_at(p, 2));
	ck_assert_int_eq(people_note(p, "bob", A, false), PEOPLE_SAME);
	ck_assert_int_eq(people_note(p, "bob", A, false), PEOPLE_SAME);
	ck_assert_int_eq(people_note(p, "bob", B, false), PEOPLE_LEFT);
	ck_assert_int_eq(people_note(p, "nobody", B, false), PEOPLE_SAME);
	ck_assert(people_is_here(p, "ann") && !people_is_here(p, "bob"));
	people_free(p);
}
END_TEST

START_TEST(of_the_past_the_last_word_counts)
{
	struct people *p = people_new();
	ck_assert_int_eq(people_recall(p, "bob", A, true), PEOPLE_JOINED);
	ck_assert_int_eq(people_recall(p, "bob", B, true), PEOPLE_SAME);
	ck_assert_int_eq(people_note(p, "bob", A, false), PEOPLE_SAME); /* that console was replaced */
	ck_assert_int_eq(people_recall(p, "bob", A, false), PEOPLE_LEFT);
	ck_assert_ptr_null(people_at(p, 0));
	people_free(p);
}
END_TEST

START_TEST(presence_is_one_of_two_texts)
{
	char text[PRESENCE_LEN + 1];
	const char *id;
	bool here;
	presence_text(text, true, "0123456789abcdef");
	ck_assert_str_eq(text, "here 0123456789abcdef");
	ck_assert(presence_read(text, PRESENCE_LEN, &here, &id) && here && memcmp(id, "0123456789abcdef", PEOPLE_ID_LEN) == 0);
	presence_text(text, false, "0123456789abcdef");
	ck_assert(presence_read(text, PRESENCE_LEN, &here, &id) && !here);
	ck_assert(!presence_read(text, PRESENCE_LEN - 1, &here, &id));
	ck_assert(!presence_read("gone 0123456789abcdef", PRESENCE_LEN, &here, &id));
	ck_assert(!presence_read("here 0123456789abcdeF", PRESENCE_LEN, &here, &id));
	ck_assert(!presence_read("", 0, &here, &id));
}
END_TEST

SUITE_MAIN("chat", text_of_others_moves_no_cursor, each_line_says_what_it_is, somebody_is_here_as_long_as_a_console_is, of_the_past_the_last_word_counts,
           presence_is_one_of_two_texts)
