/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory at every place in turn: what fails has changed nothing; what frees never fails. Linked with
 * --wrap (Makefile), so that the allocations of the code under test come by here. */
#include "base/pages.h"
#include "tests/unit/topics/fixture.h"
#include "topics/match_cache.h"
#include "topics/retained.h"

/* 0: none fails; n: the n-th from now fails, and all after it. */
static unsigned fail_at;

static bool fails(void)
{
	if (fail_at > 1)
		fail_at--;
	else if (fail_at == 1)
		return true;
	return false;
}

#include "tests/unit/base/nomem.h" /* asks fails() */

enum { SESSIONS = 12 };
static struct sub_set sets[SESSIONS];

struct digest { uint64_t n, sum; };

static void digest_one(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	struct digest *d = arg;
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ filter[i]) * 1099511628211u;
	d->n++;
	d->sum += h ^ options ^ (uint64_t)sub_id << 8;
}

static struct digest digest(const struct fixture *f)
{
	struct digest d = { 0 };
	struct trie_stats s;
	for (unsigned i = 0; i < SESSIONS; i++)
		sub_set_each(&sets[i], digest_one, &d);
	trie_stats(f->trie, &s);
	ck_assert_uint_eq(d.n, s.subscriptions);
	d.n += s.nodes << 32;
	return d;
}

static void random_filter(uint64_t *r, char *buf)
{
	static const char *const words[] = { "a", "b", "", "+", "c", "level-of-some-length" };
	unsigned levels = 1 + rnd(r) % 4;
	strcpy(buf, rnd(r) % 4 == 0 ? (rnd(r) % 2 ? "$share/g/" : "$share/h/") : "");
	for (unsigned i = 0; i < levels; i++) {
		strcat(buf, i > 0 ? "/" : "x");
		strcat(buf, i + 1 == levels && rnd(r) % 4 == 0 ? "/#" : words[rnd(r) % 6]);
	}
}

START_TEST(a_subscribe_without_memory_changes_nothing)
{
	struct fixture f = fixture_open();
	uint64_t r = 11;
	unsigned failures = 0, deepest = 0;
	for (unsigned i = 0; i < SESSIONS; i++)
		sub_set_init(&sets[i], sub_handle_make(0, i, i + 1));
	for (unsigned step = 0; step < 3000; step++) {
		struct sub_set *s = &sets[rnd(&r) % SESSIONS];
		char buf[128];
		random_filter(&r, buf);
		if (step % 5 == 0)
			strcpy(buf, "$share/g/x"); /* so that a group and a node get full */
		if (step % 5 == 1)
			strcpy(buf, "x");
		if (rnd(&r) % 10 < (step < 2000 ? 3 : 8)) {
			fail_at = 1; /* taking away needs no memory */
			enum err e = unsubscribe(&f, s, buf);
			fail_at = 0;
			ck_assert_int_ne(e, ERR_NOMEM);
		} else {
			struct digest before = digest(&f);
			for (unsigned n = 1;; n++) {
				bool added;
				fail_at = n;
				enum err e = trie_subscribe(f.trie, f.thread, s, bytes(buf), strlen(buf), (uint8_t)(step % 3), step, &added);
				fail_at = 0;
				deepest = n > deepest ? n : deepest;
				if (e == ERR_OK)
					break;
				ck_assert_int_eq(e, ERR_NOMEM);
				struct digest after = digest(&f);
				ck_assert(after.n == before.n && after.sum == before.sum);
				ck_assert((s->count > 0) == (s->index != NULL));
				failures++;
			}
		}
		if (step % 50 == 0)
			fixture_check(&f);
		if (step % 7 == 0) {
			epoch_quiescent(f.epoch, f.thread);
			(void)epoch_reclaim(f.epoch, f.thread);
		}
	}
	ck_assert_uint_gt(failures, 300);
	ck_assert_uint_gt(deepest, 4);
	fail_at = 1;
	for (unsigned i = 0; i < SESSIONS; i++)
		trie_clear(f.trie, f.thread, &sets[i]);
	fail_at = 0;
	fixture_close(&f);
}
END_TEST

START_TEST(a_match_without_memory_is_null)
{
	struct fixture f = fixture_open();
	static struct sub_set many[200];
	for (uint32_t i = 0; i < 200; i++) {
		char filter[64];
		sub_set_init(&many[i], sub_handle_make(0, 200 - i, i + 1));
		(void)snprintf(filter, sizeof filter, "$share/g%u/%s/%s/%s/%s/%s/%s", i % 100, i & 1 ? "+" : "a", i & 2 ? "+" : "a", i & 4 ? "+" : "a",
		    i & 8 ? "+" : "a", i & 16 ? "+" : "a", i & 32 ? "+" : "a");
		ck_assert_int_eq(subscribe(&f, &many[i], filter, 0, 0), ERR_OK);
		ck_assert_int_eq(subscribe(&f, &many[i], strchr(filter + 7, '/') + 1, 0, 0), ERR_OK);
	}
	for (unsigned n = 1;; n++) {
		fail_at = n;
		struct match *m = trie_match(f.trie, bytes("a/a/a/a/a/a"), 11);
		fail_at = 0;
		if (!m)
			continue;
		ck_assert_uint_eq(m->n_targets, 200);
		ck_assert_uint_ge(m->n_groups, 100);
		match_unref(m);
		ck_assert_uint_gt(n, 4);
		break;
	}
	for (unsigned i = 0; i < 200; i++)
		trie_clear(f.trie, f.thread, &many[i]);
	fixture_close(&f);
}
END_TEST

START_TEST(a_cache_without_memory_says_null_and_goes_on)
{
	struct fixture f = fixture_open();
	struct sub_set a;
	char topic[200];
	sub_set_init(&a, sub_handle_make(0, 1, 1));
	memset(topic, 't', sizeof topic);
	struct match_cache *c = NULL;
	for (unsigned n = 1; !c; n++) {
		fail_at = n;
		c = match_cache_new(f.trie, 16);
		fail_at = 0;
		ck_assert_int_eq(c != NULL, n == 5);
	}
	/* First without an entry (match, copy of the topic), then with a stale one (match). */
	static const unsigned allocations[] = { 2, 1, 1 };
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned n = 1; n <= allocations[round]; n++) {
			fail_at = n;
			const struct match *m = match_cache_get(c, bytes(topic), sizeof topic);
			fail_at = 0;
			ck_assert_int_eq(m != NULL, n > 1);
		}
		const struct match *m = match_cache_get(c, bytes(topic), sizeof topic);
		ck_assert_ptr_nonnull(m);
		ck_assert_uint_eq(m->n_targets, round > 0);
		ck_assert_int_eq(subscribe(&f, &a, "#", round, 0), ERR_OK);
	}
	match_cache_free(c);
	trie_clear(f.trie, f.thread, &a);
	fixture_close(&f);
}
END_TEST

static size_t name_two(void *arg, struct topic_bytes *out, size_t max)
{
	(void)arg;
	if (max < 2)
		return 0;
	out[0] = (struct topic_bytes){ bytes("a/2"), 3 };
	out[1] = (struct topic_bytes){ bytes("a/3"), 3 };
	return 2;
}

/* The first is NULL then; the others are matched when they come. */
START_TEST(matching_ahead_without_memory_loses_nothing)
{
	struct fixture f = fixture_open();
	struct sub_set a;
	sub_set_init(&a, sub_handle_make(0, 1, 1));
	ck_assert_int_eq(subscribe(&f, &a, "a/#", 0, 0), ERR_OK);
	for (unsigned n = 1; n <= 4; n++) {
		struct match_cache *c = match_cache_new(f.trie, 16);
		ck_assert_ptr_nonnull(c);
		match_cache_look_ahead(c, name_two, NULL);
		fail_at = n;
		const struct match *m = match_cache_get(c, bytes("a/1"), 3);
		fail_at = 0;
		ck_assert_int_eq(m != NULL, n > 1);
		for (unsigned i = 1; i <= 3; i++) {
			m = match_cache_get(c, (const uint8_t[]){ 'a', '/', (uint8_t)('0' + i) }, 3);
			ck_assert_ptr_nonnull(m);
			ck_assert_uint_eq(m->n_targets, 1);
		}
		match_cache_free(c);
	}
	trie_clear(f.trie, f.thread, &a);
	fixture_close(&f);
}
END_TEST

static bool sum(void *arg, struct msg *m)
{
	*(uint64_t *)arg += m->payload_len + 1000;
	return true;
}

START_TEST(a_retained_put_without_memory_changes_nothing)
{
	struct fixture f = fixture_open();
	struct retained *t = retained_new(f.epoch);
	uint64_t r = 4;
	unsigned failures = 0;
	for (unsigned step = 0; step < 2000; step++) {
		char topic[64];
		(void)snprintf(topic, sizeof topic, "%u/%u/%u", rnd(&r) % 3, rnd(&r) % 5, rnd(&r) % 20);
		struct msg_spec spec = { .topic = topic, .topic_len = strlen(topic), .payload = topic };
		spec.payload_len = rnd(&r) % (step < 1000 ? 5 : 2);
		struct msg *m = msg_new(&spec);
		uint64_t before = 0, after = 0;
		retained_match(t, bytes("#"), 1, sum, &before);
		for (unsigned n = 1;; n++) {
			fail_at = n;
			enum err e = retained_put(t, f.thread, m, 0);
			fail_at = 0;
			if (e == ERR_OK)
				break;
			ck_assert_int_eq(e, ERR_NOMEM);
			ck_assert_uint_eq(atomic_load(&m->refs), 1);
			after = 0;
			retained_match(t, bytes("#"), 1, sum, &after);
			ck_assert_uint_eq(before, after);
			failures++;
		}
		msg_unref(m);
		epoch_quiescent(f.epoch, f.thread);
		(void)epoch_reclaim(f.epoch, f.thread);
	}
	ck_assert_uint_gt(failures, 500);
	retained_free(t);
	fixture_close(&f);
}
END_TEST

START_TEST(a_walk_that_cannot_be_left_ends)
{
	struct fixture f = fixture_open();
	struct retained *t = retained_new(f.epoch);
	for (unsigned i = 0; i < 100; i++) {
		char topic[64];
		(void)snprintf(topic, sizeof topic, "%u/%u/%u", i % 2, i % 5, i);
		struct msg *m = msg_new(&(struct msg_spec){ .topic = topic, .topic_len = strlen(topic), .payload = "x", .payload_len = 1 });
		ck_assert_int_eq(retained_put(t, f.thread, m, 0), ERR_OK);
		msg_unref(m);
	}
	unsigned failures = 0;
	for (unsigned n = 1; n < 100; n++) {
		struct retained_part part = { .upto = UINT64_MAX, .most = 10 };
		enum err e;
		uint64_t seen = 0;
		fail_at = n;
		do {
			e = retained_match_part(t, bytes("#"), 1, &part, sum, &seen);
			part.most = 30;
		} while (e == ERR_OK && part.cursor);
		fail_at = 0;
		ck_assert_ptr_null(part.cursor);
		if (e == ERR_OK)
			ck_assert_uint_eq(seen, 100 * 1001);
		else
			ck_assert_int_eq(e, ERR_NOMEM);
		failures += e != ERR_OK;
	}
	ck_assert_uint_gt(failures, 5);
	ck_assert_uint_lt(failures, 99);
	retained_free(t);
	fixture_close(&f);
}
END_TEST

START_TEST(without_memory_no_tree_is_made)
{
	struct epoch *e = epoch_new();
	unsigned made = 0;
	for (unsigned n = 1; made < 2; n++) {
		fail_at = n;
		struct trie *t = trie_new(e);
		fail_at = n;
		struct retained *r = retained_new(e);
		fail_at = 0;
		ck_assert_int_eq(t != NULL, r != NULL);
		made += t != NULL;
		trie_free(t);
		retained_free(r);
	}
	epoch_free(e);
}
END_TEST

SUITE_MAIN("topics_nomem", a_subscribe_without_memory_changes_nothing, a_match_without_memory_is_null,
    a_cache_without_memory_says_null_and_goes_on, matching_ahead_without_memory_loses_nothing,
    a_retained_put_without_memory_changes_nothing, a_walk_that_cannot_be_left_ends, without_memory_no_tree_is_made)
