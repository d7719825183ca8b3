/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which rule decides about a topic, and what $HISTORY/<spec>/<filter> means. */
#include "topics/history_policy.h"
#include "topics/topic.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

static struct history_policy *p;

static const uint8_t *bytes(const char *s) { return (const uint8_t *)s; }

/* count: names the rule. */
static void rule(const char *filter, uint64_t count)
{
	struct history_limits *l = history_policy_rule(p, bytes(filter), strlen(filter));
	ck_assert_ptr_nonnull(l);
	l->count = count;
}

/* 0: no rule. */
static uint64_t decides(const char *topic)
{
	const struct history_limits *l = history_policy_find(p, bytes(topic), strlen(topic));
	return l ? l->count : 0;
}

static void setup(void)
{
	p = history_policy_new();
	ck_assert_ptr_nonnull(p);
}

static void teardown(void) { history_policy_unref(p); }

START_TEST(without_rules_nothing_is_kept)
{
	ck_assert_uint_eq(decides("a"), 0);
	ck_assert_ptr_null(history_policy_find(NULL, bytes("a"), 1));
}
END_TEST

START_TEST(text_goes_before_plus_and_plus_before_hash)
{
	rule("#", 1);
	rule("+/b", 2);
	rule("a/#", 3);
	rule("a/+", 4);
	rule("a/b", 5);
	ck_assert_uint_eq(decides("a/b"), 5);
	ck_assert_uint_eq(decides("a/c"), 4);
	ck_assert_uint_eq(decides("a/c/d"), 3);
	ck_assert_uint_eq(decides("a"), 3); /* the parent level of a/# */
	ck_assert_uint_eq(decides("x/b"), 2);
	ck_assert_uint_eq(decides("x/c"), 1);
	ck_assert_uint_eq(decides("a/"), 4); /* an empty level is a level */
}
END_TEST

START_TEST(the_first_level_that_differs_decides)
{
	rule("a/+/+/d", 1);
	rule("+/b/c/d", 2);
	ck_assert_uint_eq(decides("a/b/c/d"), 1);
	rule("a/b/#", 3);
	ck_assert_uint_eq(decides("a/b/c/d"), 3);
}
END_TEST

START_TEST(a_branch_that_leads_nowhere_is_left_again)
{
	rule("a/b/c/x", 1);
	rule("a/+/c/y", 2);
	rule("+/b/+/z", 3);
	ck_assert_uint_eq(decides("a/b/c/x"), 1);
	ck_assert_uint_eq(decides("a/b/c/y"), 2);
	ck_assert_uint_eq(decides("a/b/c/z"), 3);
	ck_assert_uint_eq(decides("a/b/c/w"), 0);
}
END_TEST

START_TEST(an_exact_filter_goes_before_its_hash)
{
	rule("a/#", 1);
	rule("a", 2);
	ck_assert_uint_eq(decides("a"), 2);
}
END_TEST

START_TEST(leading_wildcards_leave_dollar_topics_alone)
{
	rule("#", 1);
	rule("+/x", 2);
	rule("$SYS/#", 3);
	ck_assert_uint_eq(decides("$other/x"), 0);
	ck_assert_uint_eq(decides("$SYS/x"), 3);
	ck_assert_uint_eq(decides("a/$b"), 1);
}
END_TEST

START_TEST(off_takes_a_part_out)
{
	rule("a/#", 1);
	history_policy_rule(p, bytes("a/private/#"), 11)->off = true;
	ck_assert_uint_eq(decides("a/x"), 1);
	ck_assert_uint_eq(decides("a/private/x"), 0);
}
END_TEST

static bool overlap(const char *filter) { return history_policy_overlaps(p, bytes(filter), strlen(filter)); }

START_TEST(a_filter_overlaps_rules_that_share_a_topic_with_it)
{
	ck_assert(!overlap("#"));
	rule("a/+/c", 1);
	rule("b/#", 2);
	static const char *const yes[] = { "#", "+/#", "a/#", "a/b/c", "a/+/+", "+/x/c", "a/b/c/#", "b", "b/x", "+", "+/x/y/z" };
	static const char *const no[] = { "a", "a/b", "a/b/d", "a/b/c/d", "c/#", "x/b/c", "a/+/d", "" };
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		ck_assert_msg(overlap(yes[i]), "%s", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		ck_assert_msg(!overlap(no[i]), "%s", no[i]);
}
END_TEST

START_TEST(one_filter_is_one_rule)
{
	rule("a/+", 7);
	ck_assert_uint_eq(history_policy_rule(p, bytes("a/+"), 3)->count, 7);
	char deep[2 * TOPIC_LEVELS_MAX + 2];
	memset(deep, '/', sizeof deep);
	ck_assert_ptr_null(history_policy_rule(p, bytes(deep), TOPIC_LEVELS_MAX));
	ck_assert_ptr_nonnull(history_policy_rule(p, bytes(deep), TOPIC_LEVELS_MAX - 1));
}
END_TEST

/* < 0: a decides, > 0: b; both match. The definition, level by level. */
static int specific(const char *a, const char *b)
{
	for (;;) {
		size_t x = strcspn(a, "/"), y = strcspn(b, "/");
		int wx = x == 1 && *a == '#' ? 2 : x == 1 && *a == '+', wy = y == 1 && *b == '#' ? 2 : y == 1 && *b == '+';
		if (wx != wy)
			return wx - wy;
		a += x, b += y;
		if (!*a || !*b)
			return *a ? 1 : *b ? -1 : 0;
		a++, b++;
	}
}

static void random_name(char *out, bool filter)
{
	static const char *const levels[] = { "a", "b", "", "+", "#" };
	int n = 1 + rand() % 4;
	*out = '\0';
	for (int i = 0; i < n; i++) {
		int kind = rand() % (filter ? (i == n - 1 ? 5 : 4) : 3);
		strcat(out, levels[kind]);
		if (i < n - 1)
			strcat(out, "/");
	}
}

START_TEST(agrees_with_the_definition)
{
	srand(5);
	for (int round = 0; round < 300; round++) {
		char filters[20][32], topic[32];
		setup();
		for (uint64_t i = 0; i < 20; i++) {
			random_name(filters[i], true);
			rule(filters[i], i + 1); /* a later one of the same filter overwrites */
		}
		for (int t = 0; t < 50; t++) {
			size_t best = 0;
			random_name(topic, false);
			for (size_t i = 1; i <= 20; i++)
				if (topic_matches(bytes(filters[i - 1]), strlen(filters[i - 1]), bytes(topic), strlen(topic))
				    && (!best || specific(filters[i - 1], filters[best - 1]) <= 0))
					best = i;
			ck_assert_msg(decides(topic) == best, "%s: %llu, not %zu", topic, (unsigned long long)decides(topic), best);
		}
		teardown();
	}
}
END_TEST

/* ---- $HISTORY */

#define NOW UINT64_C(1700000000000)

static bool parse(const char *s, struct history_spec *out) { return history_spec_parse(bytes(s), strlen(s), NOW, out); }

static void is_spec(const char *s, uint64_t newest, uint64_t since_ms, const char *filter)
{
	struct history_spec h;
	ck_assert_msg(parse(s, &h), "refused: %s", s);
	ck_assert_uint_eq(h.newest, newest);
	ck_assert_uint_eq(h.since_ms, since_ms);
	ck_assert_uint_eq(h.filter_len, strlen(filter));
	ck_assert_mem_eq(h.filter, filter, h.filter_len);
}

START_TEST(specs_are_counts_ages_times_and_all)
{
	is_spec("$HISTORY/100/a/b", 100, 0, "a/b");
	is_spec("$HISTORY/90s/a", 0, NOW - 90000, "a");
	is_spec("$HISTORY/15m/#", 0, NOW - 15 * 60000, "#");
	is_spec("$HISTORY/12h/a", 0, NOW - 12 * UINT64_C(3600000), "a");
	is_spec("$HISTORY/7d/+/x", 0, NOW - 7 * UINT64_C(86400000), "+/x");
	is_spec("$HISTORY/2w/a", 0, NOW - 14 * UINT64_C(86400000), "a");
	is_spec("$HISTORY/since-1699999999999/a", 0, NOW - 1, "a");
	is_spec("$HISTORY/since-0/a", 0, 0, "a");
	is_spec("$HISTORY/all//a", 0, 0, "/a");
	is_spec("$HISTORY/999999999d/a", 0, 1, "a"); /* before the beginning */
}
END_TEST

START_TEST(what_is_no_spec_is_refused)
{
	static const char *const bad[] = { "$HISTORY/", "$HISTORY/all", "$HISTORY/all/", "$HISTORY//a", "$HISTORY/0/a", "$HISTORY/0m/a", "$HISTORY/-1/a",
		"$HISTORY/1x/a", "$HISTORY/m/a", "$HISTORY/1mm/a", "$HISTORY/since-/a", "$HISTORY/since-1s/a", "$HISTORY/ALL/a", "$HISTORY/+/a",
		"$HISTORY/99999999999999999999/a", "$HISTORY/all/$share/g/a", "$HISTORY/all/$HISTORY/all/a", "$history/all/a", "a" };
	struct history_spec h;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		ck_assert_msg(!parse(bad[i], &h), "accepted: %s", bad[i]);
	ck_assert(history_is_spec(bytes("$HISTORY/"), 9));
	ck_assert(!history_is_spec(bytes("$HISTORY"), 8));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("history_policy");
	TCase *c = tcase_create("rules"), *alone = tcase_create("definition");
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, without_rules_nothing_is_kept);
	tcase_add_test(c, text_goes_before_plus_and_plus_before_hash);
	tcase_add_test(c, the_first_level_that_differs_decides);
	tcase_add_test(c, a_branch_that_leads_nowhere_is_left_again);
	tcase_add_test(c, an_exact_filter_goes_before_its_hash);
	tcase_add_test(c, leading_wildcards_leave_dollar_topics_alone);
	tcase_add_test(c, off_takes_a_part_out);
	tcase_add_test(c, one_filter_is_one_rule);
	tcase_add_test(c, a_filter_overlaps_rules_that_share_a_topic_with_it);
	tcase_add_test(alone, agrees_with_the_definition);
	tcase_add_test(alone, specs_are_counts_ages_times_and_all);
	tcase_add_test(alone, what_is_no_spec_is_refused);
	suite_add_tcase(s, c);
	suite_add_tcase(s, alone);
	return run_suite(s);
}
