/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/topics/fixture.h"
#include "topics/match_cache.h"

static struct fixture f;
static struct match_cache *cache;
static struct sub_set a;

static void open_cache(unsigned entries)
{
	f = fixture_open();
	cache = match_cache_new(f.trie, entries);
	ck_assert_ptr_nonnull(cache);
	sub_set_init(&a, sub_handle_make(0, 1, 1));
}

static void close_cache(void)
{
	match_cache_free(cache);
	trie_clear(f.trie, f.thread, &a);
	fixture_close(&f);
}

static struct match *get(const char *topic)
{
	struct match *m = match_cache_get(cache, bytes(topic), strlen(topic));
	ck_assert_ptr_nonnull(m);
	return m;
}

static struct match_cache_stats stats(void)
{
	struct match_cache_stats s;
	match_cache_stats(cache, &s);
	return s;
}

START_TEST(a_repeated_topic_is_matched_once)
{
	open_cache(64);
	ck_assert_int_eq(subscribe(&f, &a, "a/#", 0, 0), ERR_OK);
	struct match *m = get("a/b");
	ck_assert_uint_eq(m->n_targets, 1);
	ck_assert_ptr_eq(get("a/b"), m);
	(void)get("a/c");
	ck_assert_ptr_eq(get("a/b"), m);
	ck_assert_uint_eq(stats().hits, 2);
	ck_assert_uint_eq(stats().misses, 2);
	close_cache();
}
END_TEST

START_TEST(a_change_is_seen_at_the_next_call)
{
	open_cache(64);
	ck_assert_uint_eq(get("a/b")->n_targets, 0);
	static const char *const filters[] = { "a/b", "a/+", "#", "+/b", "$share/g/a/b" };
	for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
		ck_assert_int_eq(subscribe(&f, &a, filters[i], 0, 0), ERR_OK);
		ck_assert_uint_eq(get("a/b")->n_targets + get("a/b")->n_groups, 1);
		ck_assert_int_eq(unsubscribe(&f, &a, filters[i]), ERR_OK);
		ck_assert_uint_eq(get("a/b")->n_targets + get("a/b")->n_groups, 0);
	}
	ck_assert_int_eq(subscribe(&f, &a, "a/b", 0, 0), ERR_OK);
	ck_assert_uint_eq(get("a/b")->targets[0].options, 0);
	ck_assert_int_eq(subscribe(&f, &a, "a/b", 2, 0), ERR_OK);
	ck_assert_uint_eq(get("a/b")->targets[0].options, 2);
	close_cache();
}
END_TEST

START_TEST(a_result_that_is_kept_outlives_the_cache)
{
	open_cache(4);
	ck_assert_int_eq(subscribe(&f, &a, "a", 0, 0), ERR_OK);
	struct match *m = match_ref(get("a"));
	ck_assert_int_eq(unsubscribe(&f, &a, "a"), ERR_OK);
	(void)get("a");
	close_cache();
	ck_assert_uint_eq(m->n_targets, 1);
	match_unref(m);
}
END_TEST

START_TEST(topics_of_any_length_are_told_apart)
{
	open_cache(1024);
	static char topic[2001];
	ck_assert_int_eq(subscribe(&f, &a, "+", 0, 0), ERR_OK);
	memset(topic, 'x', sizeof topic - 1);
	static const size_t lengths[] = { 0, 1, 95, 96, 97, 98, 1023, 1024, 1025, 2000 };
	const size_t n = sizeof lengths / sizeof *lengths;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < n; i++) {
			for (int k = 0; k < 2; k++) {
				struct match *m = match_cache_get(cache, bytes(topic), lengths[i]);
				ck_assert_ptr_nonnull(m);
				ck_assert_uint_eq(m->n_targets, 1);
			}
		}
	}
	/* All but the two too long ones were matched once. */
	ck_assert_uint_eq(stats().misses, 8 + 2 * 6);
	close_cache();
}
END_TEST

START_TEST(a_small_cache_stays_right_under_many_topics)
{
	open_cache(8);
	uint64_t r = 3;
	for (unsigned i = 0; i < 100; i++) {
		char filter[32];
		(void)snprintf(filter, sizeof filter, "t/%u", 2 * i);
		ck_assert_int_eq(subscribe(&f, &a, filter, 0, 0), ERR_OK);
	}
	for (unsigned i = 0; i < 20000; i++) {
		char topic[32];
		unsigned k = i % 3 == 0 ? 4 : rnd(&r) % 200;
		(void)snprintf(topic, sizeof topic, "t/%u", k);
		ck_assert_uint_eq(get(topic)->n_targets, k % 2 == 0);
	}
	/* The topic that repeats stays, however many others come once. */
	ck_assert_uint_gt(stats().hits, 20000 / 3 / 2);
	close_cache();
}
END_TEST

/* ---- looking ahead ---- */

static const char *const *named;
static size_t n_named;

static size_t name_topics(void *arg, struct topic_bytes *out, size_t max)
{
	(void)arg;
	size_t n = n_named < max ? n_named : max;
	for (size_t i = 0; i < n; i++)
		out[i] = (struct topic_bytes){ bytes(named[i]), strlen(named[i]) };
	return n;
}

static void name(const char *const *topics, size_t n)
{
	named = topics;
	n_named = n;
}

START_TEST(what_is_to_come_is_matched_with_what_is_missed)
{
	static const char *const next[] = { "a/2", "a/3", "b/4", "", "a/3", "a/5", "a/6" };
	open_cache(4);
	ck_assert_int_eq(subscribe(&f, &a, "a/+", 0, 0), ERR_OK);
	match_cache_look_ahead(cache, name_topics, NULL);
	name(next, 7);
	ck_assert_uint_eq(get("a/1")->n_targets, 1);
	name(NULL, 0); /* who asks now would be matched alone */
	uint64_t visited = match_cache_visited(cache);
	ck_assert_uint_eq(get("a/2")->n_targets, 1);
	ck_assert_uint_eq(get("a/3")->n_targets, 1);
	ck_assert_uint_eq(get("b/4")->n_targets, 0);
	ck_assert_uint_eq(get("")->n_targets, 0);
	ck_assert_uint_eq(get("a/6")->n_targets, 1); /* one is left out */
	ck_assert_uint_eq(match_cache_visited(cache), visited);
	ck_assert_uint_eq(stats().misses, 6);
	ck_assert_uint_eq(stats().ahead, 5);
	(void)get("a/7");
	ck_assert_uint_gt(match_cache_visited(cache), visited);
	ck_assert_uint_eq(stats().ahead, 5);
	close_cache();
}
END_TEST

START_TEST(a_change_between_is_seen)
{
	static const char *const next[] = { "a/2", "x/2", "a/3" };
	open_cache(64);
	match_cache_look_ahead(cache, name_topics, NULL);
	name(next, 3);
	ck_assert_uint_eq(get("a/1")->n_targets, 0);
	name(NULL, 0);
	ck_assert_int_eq(subscribe(&f, &a, "a/#", 0, 0), ERR_OK);
	ck_assert_uint_eq(get("a/2")->n_targets, 1);
	ck_assert_int_eq(subscribe(&f, &a, "+/2", 0, 0), ERR_OK);
	ck_assert_uint_eq(get("x/2")->n_targets, 1);
	ck_assert_int_eq(unsubscribe(&f, &a, "a/#"), ERR_OK);
	ck_assert_uint_eq(get("a/3")->n_targets, 0);
	ck_assert_uint_eq(stats().ahead, 0);
	close_cache();
}
END_TEST

/* Naming what is in the cache already is of no use, and is not asked for with each miss. */
START_TEST(who_names_what_is_known_is_asked_less_often)
{
	static const char *const known[] = { "k/1", "k/2", "k/3", "k/4" }, *const unknown[] = { "u/1", "u/2" };
	char topic[32];
	open_cache(1024);
	for (int i = 0; i < 4; i++)
		(void)get(known[i]);
	match_cache_look_ahead(cache, name_topics, NULL);
	name(known, 4);
	(void)get("first");
	name(unknown, 2);
	for (int i = 0; i < 16; i++) {
		(void)snprintf(topic, sizeof topic, "alone/%d", i);
		(void)get(topic);
	}
	(void)get("u/1");
	ck_assert_uint_eq(stats().ahead, 0);
	(void)get("u/2");
	ck_assert_uint_eq(stats().ahead, 1);
	close_cache();
}
END_TEST

/* A storm of SUBSCRIBEs costs the publishers to other first levels no match. */
START_TEST(a_subscribe_storm_elsewhere_leaves_what_is_cached)
{
	enum { STORM = 5000, QUIET = 50 };
	char storm[32], topic[32];
	unsigned quiet = 0;
	open_cache(1024);
	while (trie_stripe(f.trie, (const uint8_t *)topic, (size_t)snprintf(topic, sizeof topic, "quiet%u/0", quiet)) == trie_stripe(f.trie, bytes("storm/0"), 7))
		quiet++;
	ck_assert_int_eq(snprintf(topic, sizeof topic, "quiet%u/+", quiet) > 0, 1);
	ck_assert_int_eq(subscribe(&f, &a, topic, 0, 0), ERR_OK);
	for (int step = 0; step < STORM; step++) {
		(void)snprintf(storm, sizeof storm, "storm/%d/%s", step, step % 2 ? "+/x" : "#");
		ck_assert_int_eq(subscribe(&f, &a, storm, 0, 0), ERR_OK);
		(void)snprintf(topic, sizeof topic, "quiet%u/%d", quiet, step % QUIET);
		ck_assert_uint_eq(get(topic)->n_targets, 1);
	}
	ck_assert_uint_lt(stats().misses, STORM / 4); /* all would be missed; some are, where three fall into a set of two places */
	ck_assert_uint_eq(stats().hits + stats().misses, STORM);
	close_cache();
}
END_TEST

SUITE_MAIN("match_cache", a_repeated_topic_is_matched_once, a_change_is_seen_at_the_next_call, a_result_that_is_kept_outlives_the_cache,
    what_is_to_come_is_matched_with_what_is_missed, a_change_between_is_seen, who_names_what_is_known_is_asked_less_often,
    a_subscribe_storm_elsewhere_leaves_what_is_cached, topics_of_any_length_are_told_apart, a_small_cache_stays_right_under_many_topics)
