/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A trie with one reader and writer, for tests of topics/. */
#ifndef TESTS_UNIT_TOPICS_FIXTURE_H
#define TESTS_UNIT_TOPICS_FIXTURE_H

#include "tests/unit/base/suite.h"
#include "topics/trie.h"
#include "topics/trie_int.h"

#include <stdio.h>
#include <string.h>

static inline const uint8_t *bytes(const char *s) { return (const uint8_t *)s; }

struct fixture {
	struct epoch *epoch;
	struct trie *trie;
	int thread;
};

static inline struct fixture fixture_open(void)
{
	struct fixture f = { .epoch = epoch_new() };
	ck_assert_ptr_nonnull(f.epoch);
	f.trie = trie_new(f.epoch);
	ck_assert_ptr_nonnull(f.trie);
	f.thread = epoch_register(f.epoch);
	ck_assert_int_ge(f.thread, 0);
	epoch_online(f.epoch, f.thread);
	return f;
}

/* Passes quiescent states until nothing is left to free. */
static inline void fixture_settle(struct fixture *f)
{
	do
		epoch_quiescent(f->epoch, f->thread);
	while (epoch_reclaim(f->epoch, f->thread) > 0);
}

static inline void fixture_check(struct fixture *f)
{
	const char *wrong = trie_check(f->trie);
	ck_assert_msg(wrong == NULL, "%s", wrong ? wrong : "");
}

/* Sets are cleared by the test; then nothing may be left. */
static inline void fixture_close(struct fixture *f)
{
	struct trie_stats s;
	fixture_settle(f);
	fixture_check(f);
	trie_stats(f->trie, &s);
	ck_assert_uint_eq(s.subscriptions, 0);
	ck_assert_uint_eq(s.shared_subscriptions, 0);
	ck_assert_uint_eq(s.nodes, 0);
	ck_assert_uint_le(s.bytes, 32); /* the root */
	epoch_offline(f->epoch, f->thread);
	trie_free(f->trie);
	epoch_unregister(f->epoch, f->thread);
	epoch_free(f->epoch);
}

static inline enum err subscribe(struct fixture *f, struct sub_set *set, const char *filter, unsigned options, uint32_t sub_id)
{
	bool added;
	return trie_subscribe(f->trie, f->thread, set, bytes(filter), strlen(filter), (uint8_t)options, sub_id, &added);
}

static inline enum err unsubscribe(struct fixture *f, struct sub_set *set, const char *filter)
{
	return trie_unsubscribe(f->trie, f->thread, set, bytes(filter), strlen(filter));
}

static inline struct match *match(struct fixture *f, const char *topic)
{
	struct match *m = trie_match(f->trie, bytes(topic), strlen(topic));
	ck_assert_ptr_nonnull(m);
	return m;
}

/* How many sessions topic reaches. */
static inline unsigned reach(struct fixture *f, const char *topic)
{
	struct match *m = match(f, topic);
	unsigned n = m->n_targets;
	match_unref(m);
	return n;
}

/* Same numbers in every run. */
static inline uint32_t rnd(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33);
}

#endif
