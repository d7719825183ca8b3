/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Access control: mosquitto's semantics, groups, subscriptions, errors, and agreement with a plain reference. */
#include "topics/acl.h"

#include "topics/topic.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

static struct acl *acl;
static char *messages;
static size_t messages_len;

static void forget(void)
{
	acl_unref(acl);
	acl = NULL;
	free(messages);
	messages = NULL;
}

static struct acl *parse(const char *text)
{
	forget();
	FILE *f = open_memstream(&messages, &messages_len);
	ck_assert_ptr_nonnull(f);
	acl = acl_parse(text, strlen(text), "acl", f);
	ck_assert_int_eq(fclose(f), 0);
	return acl;
}

static void good(const char *text)
{
	ck_assert_msg(parse(text) != NULL, "refused: %s", messages);
	ck_assert_str_eq(messages, "");
}

static void warned(const char *text, const char *expected)
{
	ck_assert_msg(parse(text) != NULL, "refused: %s", messages);
	ck_assert_str_eq(messages, expected);
}

static void bad(const char *text, const char *expected)
{
	ck_assert_ptr_null(parse(text));
	ck_assert_str_eq(messages, expected);
}

static bool allows_as(const char *cn, const char *id, enum acl_access access, const char *topic, struct acl_reason *why)
{
	struct acl_subject s = { (const uint8_t *)cn, strlen(cn), (const uint8_t *)id, id ? strlen(id) : 0 };
	struct acl_reason reason;
	bool fast = acl_allows(acl, &s, access, (const uint8_t *)topic, strlen(topic), NULL);
	bool full = acl_allows(acl, &s, access, (const uint8_t *)topic, strlen(topic), &reason);
	ck_assert_int_eq(fast, full);
	ck_assert_int_eq(full, reason.allowed);
	if (why)
		*why = reason;
	return full;
}

static bool allows(const char *cn, enum acl_access access, const char *topic) { return allows_as(cn, "id", access, topic, NULL); }
static bool reads(const char *cn, const char *topic) { return allows(cn, ACL_READ, topic); }
static bool writes(const char *cn, const char *topic) { return allows(cn, ACL_WRITE, topic); }
static bool subscribes(const char *cn, const char *filter) { return allows(cn, ACL_SUBSCRIBE, filter); }

START_TEST(without_a_file_everything_but_dollar_topics)
{
	forget();
	ck_assert(reads("a", "x") && writes("a", "x/y") && subscribes("a", "#") && subscribes("a", "+/x"));
	ck_assert(reads("a", "$SYS/broker/uptime") && reads("a", "$SYS") && subscribes("a", "$SYS/#") && subscribes("a", "$SYS/+/x"));
	ck_assert(writes("a", "$SYS/health"));
	ck_assert(!writes("a", "$SYS/health/a") && !writes("a", "$SYS/broker/uptime") && !writes("a", "$SYS") && !writes("a", "$x"));
	ck_assert(!reads("a", "$SYSTEM/x") && !subscribes("a", "$other/#") && !subscribes("a", "$/x") && !subscribes("a", "$SY"));
	ck_assert(subscribes("a", "$share/g/x/#") && subscribes("a", "$share/g/$SYS/#"));
	ck_assert(!subscribes("a", "$share/g/$other/x") && !subscribes("a", "$share//x") && !subscribes("a", "$share/g/"));
}
END_TEST

START_TEST(an_empty_file_allows_nothing)
{
	good("");
	ck_assert(!reads("a", "x") && !writes("a", "x") && !subscribes("a", "x") && !subscribes("a", "#") && !reads("a", "$SYS/x"));
}
END_TEST

START_TEST(rules_belong_to_the_user_above)
{
	good("# all of it\nuser alice\ntopic read in/#\ntopic write out/+\ntopic both\n\nuser Bob Smith  # the boss\ntopic readwrite with space\n");
	ck_assert(reads("alice", "in") && reads("alice", "in/a/b") && !reads("alice", "into") && !writes("alice", "in/a"));
	ck_assert(writes("alice", "out/x") && !writes("alice", "out") && !writes("alice", "out/x/y") && !reads("alice", "out/x"));
	ck_assert(reads("alice", "both") && writes("alice", "both"));
	ck_assert(reads("Bob Smith", "with space") && writes("Bob Smith", "with space"));
	ck_assert(!reads("Bob", "with space") && !reads("Bob Smith", "in/x") && !reads("", "in/x"));
}
END_TEST

START_TEST(a_user_may_come_twice)
{
	good("user a\ntopic read x\nuser b\ntopic read y\nuser a\ntopic read z\n");
	ck_assert(reads("a", "x") && reads("a", "z") && !reads("a", "y"));
}
END_TEST

START_TEST(deny_goes_before_what_allows_wherever_it_stands)
{
	good("user a\ntopic deny p/secret/#\ntopic readwrite p/#\ntopic read q/#\ntopic deny q/+/x\n");
	ck_assert(reads("a", "p/x") && !reads("a", "p/secret") && !writes("a", "p/secret/1"));
	ck_assert(reads("a", "q/1/y") && !reads("a", "q/1/x") && reads("a", "q/1/x/2"));
}
END_TEST

START_TEST(patterns_hold_for_everybody)
{
	good("user a\ntopic read x\npattern read all/#\npattern write dev/%u/up\npattern read dev/%c/%u\npattern readwrite pre-%u-%c-post/%%/%u%u\n");
	ck_assert(reads("a", "all/1") && reads("nobody", "all/1") && !writes("nobody", "all/1"));
	ck_assert(writes("n1", "dev/n1/up") && !writes("n1", "dev/n2/up") && !writes("n1", "dev/%u/up"));
	ck_assert(allows_as("n1", "c1", ACL_READ, "dev/c1/n1", NULL) && !allows_as("n1", "c2", ACL_READ, "dev/c1/n1", NULL));
	ck_assert(allows_as("n", "c", ACL_WRITE, "pre-n-c-post/%%/nn", NULL) && !allows_as("n", "c", ACL_WRITE, "pre-n-c-post/%/nn", NULL));
	ck_assert(!allows_as("n", "c", ACL_WRITE, "pre-n-c-post/%%/nnn", NULL) && !allows_as("n", "c", ACL_WRITE, "pre-n-c-pos/%%/nn", NULL));
}
END_TEST

START_TEST(a_user_rule_decides_before_patterns)
{
	good("user a\ntopic read x/#\npattern deny x/1\npattern read x/2\npattern deny x/+/z\npattern read #\n");
	ck_assert(reads("a", "x/1") && reads("a", "x/y/z"));  /* mosquitto never comes to the pattern */
	ck_assert(!reads("b", "x/1") && reads("b", "x/2") && !reads("b", "x/y/z") && reads("b", "y"));
	good("user a\ntopic deny x\npattern read x\n");
	ck_assert(!reads("a", "x") && reads("b", "x"));
}
END_TEST

START_TEST(client_ids_cannot_widen_patterns)
{
	good("pattern readwrite dev/%c/#\npattern read %c/#\npattern read open\nuser a\ntopic read mine\n");
	ck_assert(allows_as("a", "c1", ACL_READ, "dev/c1/x", NULL));
	ck_assert(!allows_as("a", "+", ACL_READ, "dev/c1/x", NULL) && !allows_as("a", "#", ACL_READ, "open", NULL));
	ck_assert(allows_as("a", "c+1", ACL_READ, "mine", NULL)); /* a user's own rule */
	struct acl_reason why;
	ck_assert(!allows_as("a", "c#", ACL_READ, "open", &why));
	ck_assert_int_eq((int)why.cause, ACL_BAD_CLIENT_ID);
	ck_assert(!allows_as("a", "c1/x", ACL_READ, "dev/c1/x", NULL)); /* %c is one level */
	ck_assert(!allows_as("a", "$SYS", ACL_READ, "$SYS/x", NULL));
	ck_assert(!allows_as("a", NULL, ACL_READ, "dev/c1/x", NULL) && allows_as("a", NULL, ACL_READ, "open", NULL));
	ck_assert(allows_as("a", "c1", ACL_SUBSCRIBE, "dev/+/x", NULL) && !allows_as("a", "c/1", ACL_SUBSCRIBE, "dev/+/x", NULL));
}
END_TEST

START_TEST(dollar_topics_need_a_rule_that_names_them)
{
	good("user a\ntopic readwrite #\ntopic read +/x\nuser b\ntopic read $SYS/#\nuser c\ntopic $SYS/health\ntopic read $x\n");
	ck_assert(!reads("a", "$SYS/x") && !writes("a", "$SYS/health") && reads("a", "SYS/x"));
	ck_assert(reads("b", "$SYS/x") && reads("b", "$SYS") && !reads("b", "x"));
	ck_assert(writes("c", "$SYS/health") && reads("c", "$x"));
	ck_assert(!subscribes("a", "$SYS/#") && subscribes("b", "$SYS/+") && !subscribes("b", "#"));
}
END_TEST

START_TEST(groups_are_rules_of_all_their_members)
{
	good("group ops alice \"Bob Smith\" carl # three\ntopic read plant/#\ntopic deny plant/secret\n"
		"group dev\ntopic write lab/#\nuser alice\ntopic write plant/1\ntopic read plant/secret\n"
		"group dev alice\nuser dora\ntopic read x\ngroup ops dora carl\ntopic read more\n");
	ck_assert(reads("alice", "plant/1") && reads("Bob Smith", "plant/1") && reads("dora", "plant/1") && reads("dora", "x"));
	ck_assert(writes("alice", "plant/1") && !writes("carl", "plant/1"));
	ck_assert(!reads("alice", "plant/secret")); /* a group's deny holds against the member's own rule too */
	ck_assert(reads("carl", "more") && reads("Bob Smith", "more"));
	ck_assert(writes("alice", "lab/1") && !writes("dora", "lab/1") && !reads("ops", "plant/1") && !reads("Bob", "plant/1"));
	struct acl_stats st;
	acl_stats(acl, &st);
	ck_assert_uint_eq(st.rules, 7);
	ck_assert_uint_eq(st.users, 4);
	ck_assert_uint_eq(st.groups, 2);
}
END_TEST

START_TEST(a_subscription_is_refused_when_nothing_could_come_of_it)
{
	good("user a\ntopic read r/#\ntopic write w/#\ntopic deny r/no/#\ntopic read s/+/t\ntopic deny q/+\ntopic read q/#\n");
	ck_assert(subscribes("a", "r/x") && subscribes("a", "r/#") && subscribes("a", "#") && subscribes("a", "+/x") && subscribes("a", "r"));
	ck_assert(!subscribes("a", "w/#") && !subscribes("a", "x") && !subscribes("a", "w") && !subscribes("a", "x/#"));
	ck_assert(!subscribes("a", "r/no/#") && !subscribes("a", "r/no") && !subscribes("a", "r/no/+/x"));
	ck_assert(subscribes("a", "r/+"));  /* r/no is kept back at delivery */
	ck_assert(!reads("a", "r/no") && reads("a", "r/yes"));
	ck_assert(subscribes("a", "s/#") && subscribes("a", "s/1/t") && subscribes("a", "s/1/+") && subscribes("a", "s/1/#") && !subscribes("a", "s/1/u"));
	ck_assert(subscribes("a", "+/+/t") && !subscribes("a", "s/+/t/+"));
	ck_assert(!subscribes("a", "q/+") && !subscribes("a", "q/1") && subscribes("a", "q/#") && subscribes("a", "q/+/+"));
	ck_assert(subscribes("a", "$share/g/r/x") && !subscribes("a", "$share/g/w/x") && !subscribes("a", "$share/g/r/no") && !subscribes("a", "$share//r"));
}
END_TEST

START_TEST(a_deny_of_everything_refuses_every_filter)
{
	good("user a\ntopic deny #\ntopic read #\nuser b\ntopic deny +/#\ntopic read #\nuser c\ntopic deny +/+/#\ntopic read #\n");
	ck_assert(!subscribes("a", "#") && !subscribes("a", "+") && !subscribes("a", "x/+/#"));
	ck_assert(!subscribes("b", "#") && !subscribes("b", "+/x") && !subscribes("b", "+/#"));
	ck_assert(subscribes("c", "#") && subscribes("c", "x") && !subscribes("c", "x/y") && subscribes("c", "x/#"));
}
END_TEST

START_TEST(patterns_judge_subscriptions)
{
	good("pattern read dev/%u/#\npattern deny dev/%u/no\nuser own\ntopic read dev/own/no\n");
	ck_assert(subscribes("n", "dev/n/#") && subscribes("n", "dev/+/x") && subscribes("n", "#") && !subscribes("n", "dev/m/#"));
	ck_assert(!subscribes("n", "dev/n/no") && subscribes("n", "dev/n/+"));
	ck_assert(subscribes("own", "dev/own/no") && reads("own", "dev/own/no"));
}
END_TEST

START_TEST(shared_filters_in_rules_are_judged_by_the_inner_filter)
{
	warned("user a\ntopic read $share/g/x/#\n", "acl:2: warning: topic: means \"x/#\": a shared subscription is judged by its inner filter\n");
	ck_assert(reads("a", "x/1") && subscribes("a", "$share/h/x/1") && subscribes("a", "x/#"));
	bad("user a\ntopic read $share//x\n", "acl:2: topic: \"$share//x\" is not a topic filter: expected $share/GROUP/FILTER\n");
}
END_TEST

START_TEST(empty_levels_are_levels)
{
	good("user a\ntopic read /x\ntopic read y/\ntopic read z//+\ntopic read /\n");
	ck_assert(reads("a", "/x") && !reads("a", "x") && reads("a", "y/") && !reads("a", "y") && reads("a", "z//1") && reads("a", "z//") && reads("a", "/"));
	ck_assert(!reads("a", "z/") && !reads("a", "//") && !reads("a", ""));
}
END_TEST

START_TEST(topics_of_200_levels_are_judged_deeper_ones_denied)
{
	char topic[402], text[600];
	for (int i = 0; i < 400; i++)
		topic[i] = i % 2 ? '/' : 'l';
	topic[399] = '\0'; /* 200 levels */
	(void)snprintf(text, sizeof text, "user a\ntopic read %s\nuser b\ntopic read #\n", topic);
	good(text);
	ck_assert(reads("a", topic) && reads("b", topic) && subscribes("a", topic));
	topic[399] = '/', topic[400] = 'l', topic[401] = '\0'; /* 201 */
	ck_assert(!reads("a", topic) && !reads("b", topic) && !subscribes("b", topic));
	(void)snprintf(text, sizeof text, "user a\ntopic read %s\n", topic);
	ck_assert_ptr_null(parse(text));
	ck_assert_ptr_nonnull(strstr(messages, "is not a topic filter: more than 200 levels"));
}
END_TEST

START_TEST(the_first_line_that_decides_is_named)
{
	struct acl_reason why;
	good("user a\ntopic read x/#\ntopic read x/1\ntopic deny x/2\ntopic deny x/+/3\ngroup g a\ntopic deny x/2\n\npattern read p\n");
	ck_assert(allows_as("a", "c", ACL_READ, "x/1", &why));
	ck_assert_uint_eq(why.line, 2);
	ck_assert_int_eq((int)why.cause, ACL_BY_RULE);
	ck_assert(!allows_as("a", "c", ACL_READ, "x/2", &why));
	ck_assert_uint_eq(why.line, 4);
	ck_assert(!allows_as("a", "c", ACL_WRITE, "x/1", &why));
	ck_assert_int_eq((int)why.cause, ACL_NO_RULE);
	ck_assert_uint_eq(why.line, 0);
	ck_assert(allows_as("b", "c", ACL_READ, "p", &why));
	ck_assert_uint_eq(why.line, 9);
	ck_assert(allows_as("a", "c", ACL_SUBSCRIBE, "x/+", &why));
	ck_assert_uint_eq(why.line, 2);
	ck_assert(!allows_as("a", "c", ACL_SUBSCRIBE, "x/9/3", &why));
	ck_assert_uint_eq(why.line, 5);
}
END_TEST

static void explained(const char *cn, const char *id, enum acl_access access, const char *topic, bool allowed, const char *expected)
{
	struct acl_subject s = { (const uint8_t *)cn, strlen(cn), (const uint8_t *)id, id ? strlen(id) : 0 };
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(acl_explain(acl, &s, access, topic, f), allowed);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_str_eq(text, expected);
	free(text);
}

START_TEST(decisions_are_explained)
{
	good("user a\n  topic read x/#\r\ntopic deny x/2");
	explained("a", NULL, ACL_READ, "x/1", true, "a may read x/1: acl:2: topic read x/#\n");
	explained("a", NULL, ACL_WRITE, "x/2", false, "a may not write x/2: acl:3: topic deny x/2\n");
	explained("a", NULL, ACL_SUBSCRIBE, "y", false, "a may not subscribe to y: no rule in acl allows it\n");
	explained("a", "+", ACL_WRITE, "x", false, "a may not write x: patterns do not count for a client id that holds + or #\n");
	forget();
	explained("a", NULL, ACL_READ, "x", true, "a may read x: there is no acl_file\n");
	explained("a", NULL, ACL_SUBSCRIBE, "$share//x", false, "a may not subscribe to $share//x: it has more than 200 levels or is not $share/GROUP/FILTER\n");
	explained("a", NULL, ACL_WRITE, "$x", false,
		"a may not write $x: there is no acl_file, so of topics that begin with $ only $SYS can be read and $SYS/health written\n");
}
END_TEST

START_TEST(every_problem_is_reported_with_its_line)
{
	bad("topics x\nuser\nuser # nobody\ntopic\ntopic reed a/b\ntopic read a/#/b\npattern read a+/b\ntopic read a # comment\ngroup\ngroup g \"a\ngroup h a\"b\"\ngroup h \"\"\n"
		"topic read a##\n",
		"acl:1: \"topics\": unknown keyword; expected user, group, topic or pattern\n"
		"acl:2: user: has no name; expected the CN of a certificate\n"
		"acl:3: user: has no name; expected the CN of a certificate\n"
		"acl:4: topic: has no topic; expected [read|write|readwrite|deny] FILTER\n"
		"acl:5: topic: \"reed\" is not an access; expected read, write, readwrite or deny, then the filter\n"
		"acl:6: topic: \"a/#/b\" is not a topic filter: '#' must be the last level\n"
		"acl:7: pattern: \"a+/b\" is not a topic filter: '+' and '#' must be a whole level (and an acl_file has comments on lines of their own)\n"
		"acl:8: topic: \"a # comment\" is not a topic filter: '+' and '#' must be a whole level (and an acl_file has comments on lines of their own)\n"
		"acl:9: group: has no name; expected NAME CN...\n"
		"acl:10: group: bad quotes; expected CNs with white space between, \"in quotes\" where a CN holds some\n"
		"acl:11: group: bad quotes; expected CNs with white space between, \"in quotes\" where a CN holds some\n"
		"acl:12: group: bad quotes; expected CNs with white space between, \"in quotes\" where a CN holds some\n"
		"acl:13: topic: \"a##\" is not a topic filter: '+' and '#' must be a whole level (and an acl_file has comments on lines of their own)\n");
	bad("user a\ntopic read \xC3\n", "acl:2: the line is not valid UTF-8\n");
	ck_assert_ptr_null(acl_parse("x", 1, "acl", NULL));
	ck_assert_ptr_null(acl_load("/nonexistent/acl", NULL));
}
END_TEST

START_TEST(traps_are_warned_of)
{
	warned("topic read x\ntopic read y\nuser a\n", "acl:1: warning: topic: has no effect before the first user or group line: every client has a name here\n");
	warned("user a\ntopic read\n", "acl:2: warning: topic: means the topic \"read\", as in mosquitto; is a filter missing?\n");
	ck_assert(writes("a", "read"));
	warned("user a\ntopic read x/%u\n", "acl:2: warning: topic: %u and %c are replaced in pattern lines alone\n");
	ck_assert(reads("a", "x/%u") && !reads("a", "x/a"));
	warned("user a/b\n", "acl:1: warning: \"a/b\": no certificate with this CN is accepted\n");
	warned("group g a\nuser @g\n", "acl:2: warning: user: \"@g\" is a CN like any other; rules for a group follow its group line\n");
}
END_TEST

START_TEST(a_file_is_read)
{
	char path[] = "/tmp/sealmq-acl-XXXXXX";
	FILE *f = fdopen(mkstemp(path), "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs("user a\ntopic read x\n", f), 0);
	ck_assert_int_eq(fclose(f), 0);
	forget();
	acl = acl_load(path, NULL);
	ck_assert_ptr_nonnull(acl);
	ck_assert(reads("a", "x"));
	struct acl *second = acl_ref(acl);
	acl_unref(acl);
	acl = second;
	ck_assert(reads("a", "x"));
	ck_assert_int_eq(remove(path), 0);
}
END_TEST

/* ---- the plain reference: all rules in a list, one after the other */

struct rule { int owner; unsigned verbs; bool deny; char filter[40]; }; /* owner: 0-2 users, 3-4 groups, 5 everybody (patterns) */
static const char *const cns[] = { "u", "v", "w" };
static bool member[3][2];
static struct rule rules[24];
static size_t n_rules;

static uint32_t random_state = 1;
static unsigned pick(unsigned n) /* xorshift: the same sequence in every run */
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % n;
}

static bool applies(const struct rule *r, size_t user, bool patterns)
{
	if (patterns || r->owner == 5)
		return patterns && r->owner == 5;
	return r->owner == (int)user || (r->owner >= 3 && member[user][r->owner - 3]);
}

static void expand(const char *pattern, const char *cn, const char *id, char *out)
{
	for (; *pattern; pattern++) {
		const char *insert = pattern[0] == '%' && pattern[1] == 'u' ? cn : pattern[0] == '%' && pattern[1] == 'c' ? id : NULL;
		if (insert) {
			out = stpcpy(out, insert);
			pattern++;
		} else {
			*out++ = *pattern;
		}
	}
	*out = '\0';
}

static bool matches(const char *filter, const char *topic)
{
	return topic_matches((const uint8_t *)filter, strlen(filter), (const uint8_t *)topic, strlen(topic));
}

/* All topics over a small alphabet that a filter of it could tell apart. */
static char universe[6000][24];
static size_t n_universe;
#define N_LETTERS 8u
static const char *const letters[N_LETTERS] = { "a", "b", "", "u", "v", "w", "id", "$SYS" };
static const char *const inner_letters[N_LETTERS] = { "a", "b", "", "u", "v", "w", "id", "other" };

static void make_universe(void)
{
	for (unsigned levels = 1; levels <= 4; levels++) {
		unsigned n = 1;
		for (unsigned i = 0; i < levels; i++)
			n *= N_LETTERS;
		for (unsigned k = 0; k < n; k++) {
			char *p = universe[n_universe++];
			for (unsigned i = 0, m = k; i < levels; i++, m /= N_LETTERS)
				p += sprintf(p, "%s%s", i ? "/" : "", i ? inner_letters[m % N_LETTERS] : letters[m % N_LETTERS]);
		}
	}
}

static bool overlaps(const char *x, const char *y)
{
	for (size_t i = 0; i < n_universe; i++)
		if (matches(x, universe[i]) && matches(y, universe[i]))
			return true;
	return false;
}

static bool covers(const char *x, const char *y)
{
	for (size_t i = 0; i < n_universe; i++)
		if (matches(y, universe[i]) && !matches(x, universe[i]))
			return false;
	return true;
}

/* mosquitto's order: the user's denies, the user's allows, the patterns' denies, the patterns' allows. */
static bool reference(size_t user, const char *id, enum acl_access access, const char *topic)
{
	for (int patterns = 0; patterns < 2; patterns++) {
		for (int deny = 1; deny >= 0; deny--) {
			for (size_t i = 0; i < n_rules; i++) {
				char filter[80];
				if (!applies(&rules[i], user, patterns) || rules[i].deny != deny)
					continue;
				expand(patterns ? rules[i].filter : "", cns[user], id, filter);
				const char *f = patterns ? filter : rules[i].filter;
				if (!deny && !(rules[i].verbs & (access == ACL_WRITE ? ACL_WRITE : ACL_READ)))
					continue;
				if (access != ACL_SUBSCRIBE ? matches(f, topic) : deny ? covers(f, topic) : overlaps(f, topic))
					return !deny;
			}
		}
	}
	return false;
}

static void random_filter(char *out, bool pattern)
{
	static const char *const levels[] = { "a", "b", "", "u", "+", "%u", "%c", "id" };
	unsigned n = 1 + pick(3);
	for (unsigned i = 0; i < n; i++) {
		if (i)
			*out++ = '/';
		if (i + 1 == n && pick(3) == 0)
			out = stpcpy(out, "#");
		else if (i == 0 && pick(8) == 0)
			out = stpcpy(out, "$SYS");
		else
			out = stpcpy(out, levels[pick(pattern ? 8 : 5)]);
	}
	*out = '\0';
}

static char *random_file(void)
{
	static const char *const verbs[] = { "", "read", "write", "readwrite" };
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	ck_assert_ptr_nonnull(f);
	n_rules = 1 + pick(24);
	for (size_t i = 0; i < 3; i++)
		for (size_t g = 0; g < 2; g++)
			member[i][g] = pick(3) == 0;
	for (size_t i = 0; i < n_rules; i++) {
		struct rule *r = &rules[i];
		r->owner = (int)pick(6);
		r->deny = pick(4) == 0;
		r->verbs = 1 + pick(3);
		do
			random_filter(r->filter, r->owner == 5);
		while (!*r->filter);
		if (r->owner < 3)
			(void)fprintf(f, "user %s\n", cns[r->owner]);
		else if (r->owner < 5)
			(void)fprintf(f, "group g%d%s%s%s\n", r->owner, member[0][r->owner - 3] ? " u" : "", member[1][r->owner - 3] ? " v" : "",
				member[2][r->owner - 3] ? " w" : "");
		(void)fprintf(f, "%s %s %s\n", r->owner == 5 ? "pattern" : "topic", r->deny ? "deny" : verbs[r->verbs], r->filter);
	}
	ck_assert_int_eq(fclose(f), 0);
	return text;
}

START_TEST(decisions_agree_with_a_plain_reference)
{
	make_universe();
	for (int round = 0; round < 400; round++) {
		char *text = random_file(), filter[40];
		forget();
		acl = acl_parse(text, strlen(text), "acl", NULL);
		ck_assert_msg(acl != NULL, "%s", text);
		for (int i = 0; i < 200; i++) {
			size_t user = pick(3);
			const char *topic = universe[pick((unsigned)n_universe)];
			for (unsigned access = ACL_READ; access <= ACL_WRITE; access++)
				ck_assert_msg(allows_as(cns[user], "id", access, topic, NULL) == reference(user, "id", access, topic), "%s %u %s\n%s", cns[user],
					access, topic, text);
		}
		for (int i = 0; i < 10; i++) {
			size_t user = pick(3);
			random_filter(filter, false);
			ck_assert_msg(allows_as(cns[user], "id", ACL_SUBSCRIBE, filter, NULL) == reference(user, "id", ACL_SUBSCRIBE, filter), "%s subscribe %s\n%s",
				cns[user], filter, text);
		}
		free(text);
	}
}
END_TEST

/* What a refused subscription could have brought, and what a granted one does for a filter without wildcards. */
START_TEST(refused_subscriptions_would_bring_nothing)
{
	for (int round = 0; round < 300; round++) {
		char *text = random_file(), filter[40];
		forget();
		acl = acl_parse(text, strlen(text), "acl", NULL);
		ck_assert_ptr_nonnull(acl);
		for (int i = 0; i < 5; i++) {
			const char *cn = cns[pick(3)];
			random_filter(filter, false);
			bool granted = subscribes(cn, filter), readable = false;
			for (size_t k = 0; k < n_universe && !readable; k++)
				readable = matches(filter, universe[k]) && reads(cn, universe[k]);
			ck_assert_msg(granted || !readable, "%s %s\n%s", cn, filter, text);
			if (!strpbrk(filter, "+#"))
				ck_assert_msg(granted == readable, "%s %s\n%s", cn, filter, text);
		}
		free(text);
	}
}
END_TEST

static bool reads_all(const char *cn, const char *filter)
{
	struct acl_subject s = { (const uint8_t *)cn, strlen(cn), (const uint8_t *)"id", 2 };
	return acl_reads_all(acl, &s, (const uint8_t *)filter, strlen(filter));
}

START_TEST(filters_that_are_readable_whole_are_told)
{
	good("user u\ntopic read a/#\ntopic deny a/secret/#\ntopic b/+\npattern read d/%u/#\npattern deny d/+/no\n");
	ck_assert(reads_all("u", "a/b") && reads_all("u", "b/+") && reads_all("u", "$share/g/b/+") && reads_all("u", "d/u/yes/#"));
	ck_assert(!reads_all("u", "a/#") && !reads_all("u", "a/+/x") && !reads_all("u", "a/secret/x") && !reads_all("u", "b/#"));
	ck_assert(!reads_all("u", "d/u/#") && !reads_all("u", "#") && !reads_all("v", "a/b") && !reads_all("v", "d/u/yes"));
}
END_TEST

START_TEST(what_is_readable_whole_has_no_unreadable_topic)
{
	unsigned whole = 0;
	for (int round = 0; round < 300; round++) {
		char *text = random_file(), filter[40];
		forget();
		acl = acl_parse(text, strlen(text), "acl", NULL);
		ck_assert_ptr_nonnull(acl);
		for (int i = 0; i < 8; i++) {
			const char *cn = cns[pick(3)];
			random_filter(filter, false);
			if (!reads_all(cn, filter))
				continue;
			whole++;
			for (size_t k = 0; k < n_universe; k++)
				ck_assert_msg(!matches(filter, universe[k]) || reads(cn, universe[k]), "%s %s %s\n%s", cn, filter, universe[k], text);
		}
		free(text);
	}
	ck_assert_uint_gt(whole, 100);
}
END_TEST

START_TEST(a_hundred_thousand_rules_cost_as_one)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	ck_assert_ptr_nonnull(f);
	for (unsigned i = 0; i < 100000; i++) {
		if (i % 10 == 0)
			(void)fprintf(f, "user device%u\n", i / 10);
		(void)fprintf(f, "topic %s site%u/line%u/cell%u/#\n", i % 3 ? "read" : "write", i % 100, i % 1000, i);
	}
	ck_assert_int_eq(fclose(f), 0);
	forget();
	acl = acl_parse(text, len, "acl", NULL);
	free(text);
	ck_assert_ptr_nonnull(acl);
	struct acl_stats st;
	acl_stats(acl, &st);
	ck_assert_uint_eq(st.rules, 100000);
	ck_assert_uint_eq(st.users, 10000);
	for (unsigned i = 0; i < 100000; i += 7) {
		char cn[40], topic[80];
		(void)snprintf(cn, sizeof cn, "device%u", i / 10);
		(void)snprintf(topic, sizeof topic, "site%u/line%u/cell%u/x", i % 100, i % 1000, i);
		ck_assert(reads(cn, topic) == (i % 3 != 0) && writes(cn, topic) == (i % 3 == 0));
		ck_assert(!reads("device", topic));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acl");
	TCase *t = tcase_create("acl");
	tcase_add_test(t, without_a_file_everything_but_dollar_topics);
	tcase_add_test(t, an_empty_file_allows_nothing);
	tcase_add_test(t, rules_belong_to_the_user_above);
	tcase_add_test(t, a_user_may_come_twice);
	tcase_add_test(t, deny_goes_before_what_allows_wherever_it_stands);
	tcase_add_test(t, patterns_hold_for_everybody);
	tcase_add_test(t, a_user_rule_decides_before_patterns);
	tcase_add_test(t, client_ids_cannot_widen_patterns);
	tcase_add_test(t, dollar_topics_need_a_rule_that_names_them);
	tcase_add_test(t, groups_are_rules_of_all_their_members);
	tcase_add_test(t, a_subscription_is_refused_when_nothing_could_come_of_it);
	tcase_add_test(t, a_deny_of_everything_refuses_every_filter);
	tcase_add_test(t, patterns_judge_subscriptions);
	tcase_add_test(t, shared_filters_in_rules_are_judged_by_the_inner_filter);
	tcase_add_test(t, empty_levels_are_levels);
	tcase_add_test(t, topics_of_200_levels_are_judged_deeper_ones_denied);
	tcase_add_test(t, the_first_line_that_decides_is_named);
	tcase_add_test(t, decisions_are_explained);
	tcase_add_test(t, every_problem_is_reported_with_its_line);
	tcase_add_test(t, traps_are_warned_of);
	tcase_add_test(t, a_file_is_read);
	tcase_add_test(t, decisions_agree_with_a_plain_reference);
	tcase_add_test(t, refused_subscriptions_would_bring_nothing);
	tcase_add_test(t, filters_that_are_readable_whole_are_told);
	tcase_add_test(t, what_is_readable_whole_has_no_unreadable_topic);
	tcase_add_test(t, a_hundred_thousand_rules_cost_as_one);
	suite_add_tcase(s, t);
	int failed = run_suite(s);
	forget();
	return failed;
}
