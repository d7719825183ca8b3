/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/topics/fixture.h"

#include <stdlib.h>

static sub_handle handle(unsigned loop, uint32_t slot) { return sub_handle_make(loop, slot, slot + 1); }

static struct sub_set set_of(sub_handle h)
{
	struct sub_set set;
	sub_set_init(&set, h);
	return set;
}

START_TEST(an_empty_trie_matches_nobody)
{
	struct fixture f = fixture_open();
	static const char *const topics[] = { "", "a", "a/b", "/", "$SYS/x" };
	for (size_t i = 0; i < sizeof topics / sizeof *topics; i++)
		ck_assert_uint_eq(reach(&f, topics[i]), 0);
	fixture_close(&f);
}
END_TEST

START_TEST(a_subscriber_is_found_and_after_unsubscribe_is_not)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(3, 7));
	bool added = false;
	ck_assert_int_eq(trie_subscribe(f.trie, f.thread, &a, bytes("a/+/c"), 5, 1 | SUB_NO_LOCAL, 77, &added), ERR_OK);
	ck_assert(added);
	ck_assert_uint_eq(a.count, 1);
	struct match *m = match(&f, "a/b/c");
	ck_assert_uint_eq(m->n_targets, 1);
	ck_assert_uint_eq(m->n_groups, 0);
	ck_assert_uint_eq(m->n_persistent, 0);
	ck_assert(m->targets[0].handle == handle(3, 7));
	ck_assert_uint_eq(m->targets[0].options, 1 | SUB_NO_LOCAL);
	ck_assert_uint_eq(m->targets[0].sub_id, 77);
	fixture_check(&f);
	ck_assert_int_eq(unsubscribe(&f, &a, "a/+/c"), ERR_OK);
	ck_assert_uint_eq(a.count, 0);
	ck_assert_ptr_null(a.index);
	ck_assert_uint_eq(reach(&f, "a/b/c"), 0);
	ck_assert_uint_eq(m->n_targets, 1); /* a result does not change */
	match_unref(m);
	fixture_close(&f);
}
END_TEST

START_TEST(unsubscribing_compares_literally)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1)), b = set_of(handle(0, 2));
	ck_assert_int_eq(subscribe(&f, &a, "a/b/c", 0, 0), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &b, "a/b", 0, 0), ERR_OK);
	static const char *const others[] = { "a/+/c", "#", "a/b/c/", "a/b", "a", "", "x", "$share/g/a/b/c", "$share//x", "a/b/c/#" };
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		ck_assert_int_eq(unsubscribe(&f, &a, others[i]), ERR_NOT_FOUND);
	ck_assert_uint_eq(reach(&f, "a/b/c"), 1);
	ck_assert_uint_eq(reach(&f, "a/b"), 1);
	trie_clear(f.trie, f.thread, &a);
	trie_clear(f.trie, f.thread, &b);
	fixture_close(&f);
}
END_TEST

START_TEST(subscribing_again_changes_the_options_alone)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1)), b = set_of(handle(0, 2)), c = set_of(handle(0, 3));
	struct sub_set *sets[] = { &a, &b, &c };
	for (unsigned i = 0; i < 3; i++) { /* alone in the node, then in a table */
		bool added = true;
		ck_assert_int_eq(subscribe(&f, sets[i], "a", 0, 5), ERR_OK);
		ck_assert_int_eq(trie_subscribe(f.trie, f.thread, sets[i], bytes("a"), 1, 2, 6 + i, &added), ERR_OK);
		ck_assert(!added);
		ck_assert_uint_eq(sets[i]->count, 1);
	}
	struct match *m = match(&f, "a");
	ck_assert_uint_eq(m->n_targets, 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(m->targets[i].options, 2);
		ck_assert_uint_eq(m->targets[i].sub_id, 6 + i);
	}
	match_unref(m);
	for (unsigned i = 0; i < 3; i++)
		trie_clear(f.trie, f.thread, sets[i]);
	fixture_close(&f);
}
END_TEST

START_TEST(overlapping_subscriptions_are_one_target_with_the_highest_qos)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(1, 1)), b = set_of(handle(0, 9));
	ck_assert_int_eq(subscribe(&f, &a, "a/#", 1 | SUB_NO_LOCAL, 11), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &a, "a/+", 2 | SUB_RETAIN_AS_PUBLISHED, 12), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &a, "a/b", 0, 13), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &b, "+/b", 0, 0), ERR_OK);
	struct match *m = match(&f, "a/b");
	ck_assert_uint_eq(m->n_targets, 2);
	ck_assert(m->targets[0].handle == b.handle); /* loop 0 first */
	ck_assert(m->targets[1].handle == a.handle);
	ck_assert_uint_eq(m->targets[1].options, 2 | SUB_RETAIN_AS_PUBLISHED); /* No Local only when all say so */
	ck_assert_uint_eq(m->targets[1].sub_id, 12);
	match_unref(m);
	trie_clear(f.trie, f.thread, &a);
	trie_clear(f.trie, f.thread, &b);
	fixture_close(&f);
}
END_TEST

START_TEST(persistent_targets_are_counted)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(sub_handle_make(0, 1, 5 | SUB_PERSISTENT)), b = set_of(sub_handle_make(0, 2, 6));
	ck_assert(sub_handle_persistent(a.handle));
	ck_assert(!sub_handle_persistent(b.handle));
	ck_assert_int_eq(subscribe(&f, &a, "a", 1, 0), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &b, "a", 1, 0), ERR_OK);
	struct match *m = match(&f, "a");
	ck_assert_uint_eq(m->n_targets, 2);
	ck_assert_uint_eq(m->n_persistent, 1);
	match_unref(m);
	trie_clear(f.trie, f.thread, &a);
	trie_clear(f.trie, f.thread, &b);
	fixture_close(&f);
}
END_TEST

/* n levels "x". */
static size_t deep(char *buf, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf[2 * i] = 'x';
		buf[2 * i + 1] = '/';
	}
	return 2 * n - 1;
}

START_TEST(two_hundred_levels_and_no_more)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1));
	char buf[2 * 202], shared[2 * 202 + 9] = "$share/g/";
	bool added;
	size_t len = deep(buf, TOPIC_LEVELS_MAX);
	ck_assert_int_eq(trie_subscribe(f.trie, f.thread, &a, bytes(buf), len, 0, 0, &added), ERR_OK);
	memcpy(shared + 9, buf, len); /* the group's two levels are not the filter's */
	ck_assert_int_eq(trie_subscribe(f.trie, f.thread, &a, bytes(shared), len + 9, 0, 0, &added), ERR_OK);
	struct match *m = trie_match(f.trie, bytes(buf), len);
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_eq(m->n_targets, 1);
	ck_assert_uint_eq(m->n_groups, 1);
	match_unref(m);

	ck_assert_int_eq(subscribe(&f, &a, "#", 0, 0), ERR_OK);
	len = deep(buf, TOPIC_LEVELS_MAX + 1);
	ck_assert_int_eq(trie_subscribe(f.trie, f.thread, &a, bytes(buf), len, 0, 0, &added), ERR_INVALID);
	ck_assert_int_eq(trie_unsubscribe(f.trie, f.thread, &a, bytes(buf), len), ERR_NOT_FOUND);
	m = trie_match(f.trie, bytes(buf), len);
	ck_assert_ptr_nonnull(m);
	ck_assert_uint_eq(m->n_targets, 0); /* not even '#' */
	match_unref(m);
	ck_assert_uint_eq(a.count, 3);
	trie_clear(f.trie, f.thread, &a);
	fixture_close(&f);
}
END_TEST

START_TEST(levels_of_any_length_are_kept)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1));
	static char topic[65536];
	memset(topic, 'l', sizeof topic);
	static const size_t lengths[] = { 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 225, 226, 227, 228, 1000, 65535 };
	const size_t n = sizeof lengths / sizeof *lengths;
	for (size_t i = 0; i < n; i++) {
		bool added;
		ck_assert_int_eq(trie_subscribe(f.trie, f.thread, &a, bytes(topic), lengths[i], 0, 0, &added), ERR_OK);
		ck_assert(added);
	}
	fixture_check(&f);
	for (size_t i = 0; i < n; i++) {
		for (size_t d = 0; d < 2; d++) { /* itself, and one byte more */
			struct match *m = trie_match(f.trie, bytes(topic), lengths[i] + d);
			bool is_one = false;
			for (size_t k = 0; k < n; k++)
				is_one |= lengths[k] == lengths[i] + d;
			ck_assert_ptr_nonnull(m);
			ck_assert_uint_eq(m->n_targets, is_one);
			match_unref(m);
		}
	}
	trie_clear(f.trie, f.thread, &a);
	fixture_close(&f);
}
END_TEST

struct listed {
	unsigned n;
	const char *expected;
	unsigned found;
};

static void list(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	struct listed *l = arg;
	l->n++;
	if (len == strlen(l->expected) && memcmp(filter, l->expected, len) == 0) {
		l->found++;
		ck_assert_uint_eq(options, 1);
		ck_assert_uint_eq(sub_id, (uint32_t)len + 1);
	}
}

START_TEST(a_set_lists_its_literal_filters)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1)), b = set_of(handle(0, 2));
	static const char *const filters[] = { "a", "a/b", "", "/", "//", "a/", "/a", "#", "+", "+/+/#", "a/#", "a//b", "$SYS/#",
		"$share/g/a/b", "$share/g/#", "$share/h/a/b", "$share/g//", "x/y/z/+/1", "x/y/z/+/2", "x/y/z/+/3" };
	const size_t n = sizeof filters / sizeof *filters;
	for (size_t i = 0; i < n; i++) {
		ck_assert_int_eq(subscribe(&f, &b, filters[i], 2, 99), ERR_OK);
		ck_assert_int_eq(subscribe(&f, &a, filters[i], 1, (uint32_t)strlen(filters[i]) + 1), ERR_OK);
		fixture_check(&f);
	}
	for (size_t i = 0; i < n; i++) {
		struct listed l = { .expected = filters[i] };
		sub_set_each(&a, list, &l);
		ck_assert_uint_eq(l.n, n);
		ck_assert_uint_eq(l.found, 1);
	}
	for (size_t i = 0; i < n; i++) {
		struct listed l = { .expected = "none" };
		ck_assert_int_eq(unsubscribe(&f, &a, filters[i]), ERR_OK);
		sub_set_each(&a, list, &l);
		ck_assert_uint_eq(l.n, n - 1 - i);
		fixture_check(&f);
	}
	trie_clear(f.trie, f.thread, &b);
	fixture_close(&f);
}
END_TEST

START_TEST(a_malformed_share_is_refused)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1));
	static const char *const filters[] = { "$share/", "$share//a", "$share/g", "$share/g/", "$share/+/a" };
	for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
		ck_assert_int_eq(subscribe(&f, &a, filters[i], 0, 0), ERR_INVALID);
		ck_assert_int_eq(unsubscribe(&f, &a, filters[i]), ERR_NOT_FOUND);
	}
	fixture_close(&f);
}
END_TEST

START_TEST(generation_moves_with_the_topics_that_change)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1));
	static const struct { const char *filter, *topic; } rows[] = {
		{ "a/b", "a/b" }, { "a/+", "a/c" }, { "a/#", "a" }, { "#", "x/y" }, { "+/y", "x/y" }, { "$share/g/a/b", "a/b" },
		{ "$share/g/+/b", "z/b" }, { "$SYS/#", "$SYS/x" }, { "", "" }, { "/a", "/a" },
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t len = strlen(rows[i].topic);
		uint64_t g0 = trie_generation(f.trie, bytes(rows[i].topic), len);
		ck_assert_int_eq(subscribe(&f, &a, rows[i].filter, 0, 0), ERR_OK);
		uint64_t g1 = trie_generation(f.trie, bytes(rows[i].topic), len);
		ck_assert_int_eq(subscribe(&f, &a, rows[i].filter, 1, 0), ERR_OK);
		uint64_t g2 = trie_generation(f.trie, bytes(rows[i].topic), len);
		ck_assert_int_eq(unsubscribe(&f, &a, rows[i].filter), ERR_OK);
		uint64_t g3 = trie_generation(f.trie, bytes(rows[i].topic), len);
		ck_assert_msg(g0 != g1 && g1 != g2 && g2 != g3 && g3 != g0, "'%s'", rows[i].filter);
		ck_assert_int_eq(unsubscribe(&f, &a, rows[i].filter), ERR_NOT_FOUND);
		ck_assert_uint_eq(trie_generation(f.trie, bytes(rows[i].topic), len), g3);
	}
	/* Most other topics' generation stands still. */
	unsigned moved = 0;
	for (unsigned i = 0; i < 256; i++) {
		char topic[16];
		size_t len = (size_t)snprintf(topic, sizeof topic, "other%u/x", i);
		uint64_t before = trie_generation(f.trie, bytes(topic), len);
		ck_assert_int_eq(subscribe(&f, &a, "first/+", 0, 0), ERR_OK);
		trie_clear(f.trie, f.thread, &a);
		moved += before != trie_generation(f.trie, bytes(topic), len);
	}
	ck_assert_uint_lt(moved, 16);
	fixture_close(&f);
}
END_TEST

START_TEST(many_sessions_on_one_filter_come_and_go)
{
	enum { N = 20000 };
	struct fixture f = fixture_open();
	static struct sub_set sets[N];
	for (uint32_t i = 0; i < N; i++) {
		sub_set_init(&sets[i], sub_handle_make(i % 4, i, i * 7 + 1));
		ck_assert_int_eq(subscribe(&f, &sets[i], "all/of/us", (uint8_t)(i % 3), 0), ERR_OK);
	}
	fixture_check(&f);
	struct match *m = match(&f, "all/of/us");
	ck_assert_uint_eq(m->n_targets, N);
	for (uint32_t i = 1; i < N; i++)
		ck_assert(m->targets[i - 1].handle < m->targets[i].handle);
	match_unref(m);
	/* in order of arrival, in reverse, and every third */
	for (uint32_t i = 0; i < N / 4; i++)
		ck_assert_int_eq(unsubscribe(&f, &sets[i], "all/of/us"), ERR_OK);
	for (uint32_t i = N - 1; i > N / 4 * 3; i--)
		trie_clear(f.trie, f.thread, &sets[i]);
	for (uint32_t i = N / 4; i < N / 4 * 3; i += 3)
		ck_assert_int_eq(unsubscribe(&f, &sets[i], "all/of/us"), ERR_OK);
	fixture_check(&f);
	struct trie_stats s;
	trie_stats(f.trie, &s);
	ck_assert_uint_eq(reach(&f, "all/of/us"), s.subscriptions);
	for (uint32_t i = 0; i < N; i++)
		trie_clear(f.trie, f.thread, &sets[i]);
	fixture_close(&f);
}
END_TEST

START_TEST(a_large_set_is_cleared_in_parts)
{
	enum { MANY = 5000 };
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1));
	for (unsigned i = 0; i < MANY; i++) {
		char filter[32];
		(void)snprintf(filter, sizeof filter, i % 10 == 0 ? "$share/g/a/%u" : "a/%u", i);
		ck_assert_int_eq(subscribe(&f, &a, filter, 0, 0), ERR_OK);
	}
	ck_assert(!trie_clear_some(f.trie, f.thread, &a, 0));
	for (unsigned left = MANY; left > 0; left -= 100) {
		ck_assert_uint_eq(a.count, left);
		ck_assert_int_eq(trie_clear_some(f.trie, f.thread, &a, 100), left == 100);
		fixture_check(&f);
	}
	ck_assert(trie_clear_some(f.trie, f.thread, &a, 100));
	ck_assert_ptr_null(a.index);
	ck_assert_ptr_null(a.presence);
	fixture_close(&f);
}
END_TEST

/* ---- against the plain reference ---- */

enum { SESSIONS = 12, WORDS = 7 };

struct model_sub {
	unsigned session;
	uint8_t options;
	char filter[64];
};
static struct model_sub model[4096];
static unsigned n_model;

static void make_filter(uint64_t *r, char *buf, bool topic)
{
	static const char *const words[WORDS] = { "a", "b", "", "$s", "level-of-some-length", "c", "x" };
	unsigned levels = 1 + rnd(r) % 5;
	buf[0] = 0;
	for (unsigned i = 0; i < levels; i++) {
		unsigned k = rnd(r) % 10;
		if (i > 0)
			strcat(buf, "/");
		if (!topic && k == 0 && i + 1 == levels)
			strcat(buf, "#");
		else if (!topic && k <= 3)
			strcat(buf, "+");
		else if (strlen(buf) < 40)
			strcat(buf, words[rnd(r) % WORDS]);
	}
}

static void model_compare(const struct match *m, const char *topic)
{
	int qos[SESSIONS];
	unsigned n = 0;
	memset(qos, -1, sizeof qos);
	for (unsigned i = 0; i < n_model; i++) {
		int q = model[i].options & SUB_QOS;
		if (!topic_matches(bytes(model[i].filter), strlen(model[i].filter), bytes(topic), strlen(topic)))
			continue;
		n += qos[model[i].session] < 0;
		if (q > qos[model[i].session])
			qos[model[i].session] = q;
	}
	ck_assert_msg(m->n_targets == n, "'%s' reaches %u, not %u", topic, m->n_targets, n);
	for (uint32_t i = 0; i < m->n_targets; i++) {
		uint32_t session = sub_handle_slot(m->targets[i].handle);
		ck_assert_int_eq(m->targets[i].options & SUB_QOS, qos[session]);
		ck_assert(i == 0 || m->targets[i - 1].handle < m->targets[i].handle);
	}
}

/* One alone, and with others beside it. Returns how many of those were given up. */
static unsigned model_compare_some(struct fixture *f, uint64_t *r)
{
	char topics[TRIE_MATCH_MANY][64];
	struct topic_bytes list[TRIE_MATCH_MANY];
	struct match *out[TRIE_MATCH_MANY], *alone;
	unsigned n = 1 + rnd(r) % TRIE_MATCH_MANY, none = 0;
	for (unsigned i = 0; i < n; i++) {
		make_filter(r, topics[i], true);
		list[i] = (struct topic_bytes){ bytes(topics[i]), strlen(topics[i]) };
	}
	alone = match(f, topics[0]);
	model_compare(alone, topics[0]);
	uint32_t visited = trie_match_many(f->trie, list, n, out);
	ck_assert_ptr_nonnull(out[0]);
	ck_assert_uint_eq(out[0]->visited, alone->visited);
	ck_assert_uint_ge(visited, alone->visited);
	for (unsigned i = 0; i < n; i++) {
		none += out[i] == NULL;
		if (out[i])
			model_compare(out[i], topics[i]);
		match_unref(out[i]);
	}
	match_unref(alone);
	return none;
}

START_TEST(random_subscriptions_match_as_the_reference_says)
{
	struct fixture f = fixture_open();
	struct sub_set sets[SESSIONS];
	uint64_t r = 1;
	unsigned given_up = 0;
	for (unsigned i = 0; i < SESSIONS; i++)
		sub_set_init(&sets[i], handle(i % 3, i));
	n_model = 0;
	for (unsigned step = 0; step < 20000; step++) {
		char buf[64];
		bool growing = step % 10000 < 6000; /* grows to thousands, shrinks to few, twice */
		if (rnd(&r) % 10 < (growing ? 7 : 2) && n_model < 4096) {
			unsigned s = rnd(&r) % SESSIONS, i = 0;
			uint8_t options = (uint8_t)(rnd(&r) % 3);
			bool added;
			make_filter(&r, buf, false);
			while (i < n_model && (model[i].session != s || strcmp(model[i].filter, buf) != 0))
				i++;
			ck_assert_int_eq(trie_subscribe(f.trie, f.thread, &sets[s], bytes(buf), strlen(buf), options, 0, &added), ERR_OK);
			ck_assert_int_eq(added, i == n_model);
			n_model += added;
			model[i].session = s;
			model[i].options = options;
			strcpy(model[i].filter, buf);
		} else if (n_model > 0) {
			unsigned i = rnd(&r) % n_model;
			ck_assert_int_eq(unsubscribe(&f, &sets[model[i].session], model[i].filter), ERR_OK);
			model[i] = model[--n_model];
		}
		if (step % 8 == 0)
			given_up += model_compare_some(&f, &r);
		if (step % 500 == 0) {
			fixture_check(&f);
			epoch_quiescent(f.epoch, f.thread);
			(void)epoch_reclaim(f.epoch, f.thread);
		}
	}
	ck_assert_uint_lt(given_up, 20000 / 8);
	for (unsigned i = 0; i < SESSIONS; i++)
		trie_clear(f.trie, f.thread, &sets[i]);
	fixture_close(&f);
}
END_TEST

/* A filter of k levels, '+' where mask has a bit and 'a' elsewhere: 2k bytes with the NUL. */
static void a_or_plus(char *out, unsigned k, unsigned mask)
{
	for (unsigned i = 0; i < k; i++) {
		out[2 * i] = mask >> i & 1 ? '+' : 'a';
		out[2 * i + 1] = '/';
	}
	out[2 * k - 1] = 0;
}

/* What is matched beside the first topic must not cost much; that one may. */
START_TEST(a_dear_topic_is_given_up_unless_it_is_the_first)
{
	enum { K = 10 };
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1));
	for (unsigned mask = 0; mask < 1u << K; mask++) {
		char buf[2 * K + 2];
		a_or_plus(buf, K, mask);
		ck_assert_int_eq(subscribe(&f, &a, buf, 0, 0), ERR_OK);
	}
	struct topic_bytes dear = { bytes("a/a/a/a/a/a/a/a/a/a"), 2 * K - 1 }, cheap = { bytes("cheap"), 5 };
	struct match *out[3];
	uint32_t visited = trie_match_many(f.trie, (struct topic_bytes[]){ cheap, dear, dear }, 3, out);
	ck_assert_uint_lt(visited, 200);
	ck_assert(out[0] && out[0]->n_targets == 0 && !out[1] && !out[2]);
	match_unref(out[0]);
	visited = trie_match_many(f.trie, (struct topic_bytes[]){ dear, dear, cheap }, 3, out);
	ck_assert_uint_gt(visited, 1u << K);
	ck_assert(out[0] && out[0]->n_targets == 1 && !out[1] && out[2]);
	match_unref(out[0]);
	match_unref(out[2]);
	trie_clear(f.trie, f.thread, &a);
	fixture_close(&f);
}
END_TEST

/* Two different levels with the same hash, which has 31 bits: among 2^18 there are some. Sorted by hash they lie side by side. */
static struct { uint32_t hash, number; } hashed[1u << 18];

static int by_hash(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static void find_alike(const struct fixture *f, char *one, char *other, size_t size)
{
	const size_t n = sizeof hashed / sizeof *hashed;
	for (uint32_t i = 0; i < n; i++) {
		int len = snprintf(one, size, "%u", i);
		hashed[i].hash = level_hash(&f->trie->tree.key, bytes(one), (size_t)len);
		hashed[i].number = i;
	}
	qsort(hashed, n, sizeof *hashed, by_hash);
	size_t i = 1;
	while (i < n && hashed[i].hash != hashed[i - 1].hash)
		i++;
	ck_assert_uint_lt(i, n);
	(void)snprintf(one, size, "%u", hashed[i - 1].number);
	(void)snprintf(other, size, "%u", hashed[i].number);
}

START_TEST(levels_with_one_hash_are_told_apart)
{
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1)), b = set_of(handle(0, 2));
	char one[16], other[16], topics[4][32];
	find_alike(&f, one, other, sizeof one);
	for (unsigned i = 0; i < 4; i++)
		(void)snprintf(topics[i], sizeof topics[i], i < 2 ? "%s" : "%s/below", i % 2 ? other : one);
	ck_assert_int_eq(subscribe(&f, &a, topics[0], 0, 0), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &a, topics[2], 0, 0), ERR_OK);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(reach(&f, topics[i]), i % 2 == 0);
	ck_assert_int_eq(subscribe(&f, &b, topics[1], 0, 0), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &b, topics[3], 0, 0), ERR_OK);
	for (unsigned i = 0; i < 4; i++) {
		struct match *m = match(&f, topics[i]);
		ck_assert_uint_eq(m->n_targets, 1);
		ck_assert_uint_eq(m->targets[0].handle, i % 2 ? b.handle : a.handle);
		match_unref(m);
	}
	trie_clear(f.trie, f.thread, &a);
	trie_clear(f.trie, f.thread, &b);
	fixture_close(&f);
}
END_TEST

START_TEST(hostile_filters_spill_to_the_heap_and_match)
{
	/* All of {a,+}^10, each with and without '#': a topic of a's walks over all of them. */
	enum { K = 10 };
	struct fixture f = fixture_open();
	struct sub_set a = set_of(handle(0, 1)), b = set_of(handle(0, 2));
	for (unsigned mask = 0; mask < 1u << K; mask++) {
		char buf[2 * K + 2];
		a_or_plus(buf, K, mask);
		ck_assert_int_eq(subscribe(&f, &a, buf, 0, 0), ERR_OK);
		strcat(buf, "/#");
		ck_assert_int_eq(subscribe(&f, mask & 1 ? &a : &b, buf, 1, 0), ERR_OK);
	}
	struct match *m = match(&f, "a/a/a/a/a/a/a/a/a/a");
	ck_assert_uint_eq(m->n_targets, 2);
	ck_assert_uint_eq(m->targets[0].options, 1);
	match_unref(m);
	ck_assert_uint_eq(reach(&f, "a/a/a/a/a/a/a/a/a"), 0);
	ck_assert_uint_eq(reach(&f, "b/b/b/b/b/b/b/b/b/b/c"), 1);
	trie_clear(f.trie, f.thread, &a);
	trie_clear(f.trie, f.thread, &b);
	fixture_close(&f);
}
END_TEST

SUITE_MAIN("trie", an_empty_trie_matches_nobody, a_subscriber_is_found_and_after_unsubscribe_is_not, unsubscribing_compares_literally,
    subscribing_again_changes_the_options_alone, overlapping_subscriptions_are_one_target_with_the_highest_qos,
    persistent_targets_are_counted, two_hundred_levels_and_no_more, levels_of_any_length_are_kept, a_set_lists_its_literal_filters,
    a_dear_topic_is_given_up_unless_it_is_the_first, levels_with_one_hash_are_told_apart,
    a_malformed_share_is_refused, generation_moves_with_the_topics_that_change, many_sessions_on_one_filter_come_and_go, a_large_set_is_cleared_in_parts,
    random_subscriptions_match_as_the_reference_says, hostile_filters_spill_to_the_heap_and_match)
