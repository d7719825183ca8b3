/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/base/suite.h"
#include "topics/topic.h"

#include <string.h>

static const uint8_t *bytes(const char *s) { return (const uint8_t *)s; }
static bool matches(const char *filter, const char *topic)
{
	return topic_matches(bytes(filter), strlen(filter), bytes(topic), strlen(topic));
}

START_TEST(levels_are_counted_with_the_empty_ones)
{
	static const struct { const char *topic; size_t levels; } rows[] = {
		{ "", 1 }, { "a", 1 }, { "/", 2 }, { "a/b", 2 }, { "/a", 2 }, { "a/", 2 }, { "//", 3 }, { "a//b", 3 },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_uint_eq(topic_levels(bytes(rows[i].topic), strlen(rows[i].topic)), rows[i].levels);
	ck_assert_uint_eq(topic_levels(NULL, 0), 1);
}
END_TEST

START_TEST(filters_match_as_section_4_7_says)
{
	static const struct { const char *filter, *topic; bool match; } rows[] = {
		/* the specification's own examples */
		{ "sport/tennis/player1/#", "sport/tennis/player1", true },
		{ "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
		{ "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
		{ "sport/#", "sport", true },
		{ "#", "sport/tennis", true },
		{ "sport/tennis/+", "sport/tennis/player1", true },
		{ "sport/tennis/+", "sport/tennis/player1/ranking", false },
		{ "sport/+", "sport", false },
		{ "sport/+", "sport/", true },
		{ "+/+", "/finance", true },
		{ "/+", "/finance", true },
		{ "+", "/finance", false },
		{ "#", "$SYS/x", false },
		{ "+/monitor/Clients", "$SYS/monitor/Clients", false },
		{ "$SYS/#", "$SYS/", true },
		{ "$SYS/monitor/+", "$SYS/monitor/Clients", true },
		/* literal */
		{ "a", "a", true }, { "a", "A", false }, { "a", "aa", false }, { "aa", "a", false },
		{ "a/b", "a", false }, { "a", "a/b", false }, { "a/", "a", false }, { "a", "a/", false }, { "/a", "a", false },
		{ "/", "/", true }, { "//", "/", false }, { "", "", true }, { "", "a", false },
		/* wildcards and empty levels */
		{ "+", "", true }, { "#", "", true }, { "#", "/", true }, { "+/#", "a", true }, { "+/#", "/", true },
		{ "/#", "/", true }, { "/#", "", true }, { "/#", "a", false }, { "a/+/c", "a//c", true }, { "a/+/c", "a/b/d", false },
		{ "a/#", "ab", false }, { "a/b/#", "a", false }, { "+/b/#", "a/b", true }, { "+/b/#", "a/c", false },
		{ "a/+/#", "a", false }, { "a/+/#", "a/b", true }, { "+/+/+", "a/b", false },
		/* '$' is special as the first byte of a topic alone */
		{ "a/+", "a/$b", true }, { "a/#", "a/$b", true }, { "$a/+", "$a/b", true }, { "+", "$a", false }, { "+/#", "$a", false },
		{ "+", "a$", true },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_msg(matches(rows[i].filter, rows[i].topic) == rows[i].match, "'%s' and '%s'", rows[i].filter, rows[i].topic);
}
END_TEST

START_TEST(a_shared_filter_is_split)
{
	struct topic_share s;
	const char *f = "$share/workers/jobs/+/#";
	ck_assert(topic_share_parse(bytes(f), strlen(f), &s));
	ck_assert_uint_eq(s.group_len, 7);
	ck_assert(memcmp(s.group, "workers", 7) == 0);
	ck_assert_uint_eq(s.filter_len, 8);
	ck_assert(memcmp(s.filter, "jobs/+/#", 8) == 0);
}
END_TEST

START_TEST(other_filters_are_not_shared)
{
	static const char *const rows[] = { "a/b", "", "$share", "$shared/g/a", "$SHARE/g/a", "/$share/g/a", "$SYS/#" };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct topic_share s;
		ck_assert(topic_share_parse(bytes(rows[i]), strlen(rows[i]), &s));
		ck_assert_ptr_null(s.group);
		ck_assert_ptr_eq(s.filter, bytes(rows[i]));
		ck_assert_uint_eq(s.filter_len, strlen(rows[i]));
	}
}
END_TEST

START_TEST(a_malformed_share_is_refused)
{
	static const char *const rows[] = { "$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a", "$share/g#/a", "$share/#" };
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct topic_share s;
		ck_assert_msg(!topic_share_parse(bytes(rows[i]), strlen(rows[i]), &s), "'%s'", rows[i]);
	}
	struct topic_share s;
	const char *slash = "$share/g//"; /* the inner filter is "/" */
	ck_assert(topic_share_parse(bytes(slash), strlen(slash), &s));
	ck_assert_uint_eq(s.filter_len, 1);
}
END_TEST

SUITE_MAIN("topic", levels_are_counted_with_the_empty_ones, filters_match_as_section_4_7_says, a_shared_filter_is_split,
    other_filters_are_not_shared, a_malformed_share_is_refused)
