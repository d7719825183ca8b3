/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Topic → match, for one loop. Two places per set. A topic pushes another out only when it comes a second time, so that a stream of topics that
 * never repeat costs no copies and leaves what is useful. Owner loop. */
#include "topics/match_cache.h"

#include "base/pages.h"
#include "topics/trie_int.h"

#include <stdlib.h>

#define TOPIC_INLINE 96u
#define TOPIC_CACHED_MAX 1024u /* bytes; longer topics are matched each time */

struct entry {
	uint64_t hash;
	uint64_t generation;
	struct match *match; /* one reference; NULL: empty */
	uint16_t len;        /* bytes of the topic */
	uint16_t stripe;     /* which generation counts for it */
	uint32_t used_at;    /* tick of the last use */
	union {
		uint8_t here[TOPIC_INLINE];
		uint8_t *there; /* malloced, when it is longer */
	} topic;
};
_Static_assert(sizeof(struct entry) == 128, "two cache lines");

struct match_cache {
	struct trie *trie;
	uint32_t sets_mask;
	uint32_t tick;
	struct entry *last;   /* of the last call; NULL: it left none */
	struct match *loose;  /* what the last call returned, when no entry holds it */
	uint32_t *seen;       /* one per set: half of the hash of a topic that was not let in */
	uint32_t *tags;       /* one per entry: half of its topic's hash; 0: empty. A topic that is not there touches none of the entries */
	struct match_cache_stats stats;
	uint64_t visited;
	struct entry *entries;
};

#define WAYS 2u
#define PAGE 4096u

struct match_cache *match_cache_new(struct trie *t, unsigned entries)
{
	unsigned n = entries < WAYS ? WAYS : entries;
	struct match_cache *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->trie = t;
	c->sets_mask = n / WAYS - 1;
	c->seen = calloc(n / WAYS, sizeof *c->seen);
	c->tags = calloc(n, sizeof *c->tags);
	/* Pages: aligned to cache lines, and only those that are used cost memory. */
	c->entries = pages_alloc(n * sizeof *c->entries, PAGE);
	if (!c->seen || !c->tags || !c->entries) {
		match_cache_free(c);
		return NULL;
	}
	return c;
}

static const uint8_t *entry_topic(const struct entry *e)
{
	return e->len > TOPIC_INLINE ? e->topic.there : e->topic.here;
}

static uint32_t tag_of(uint64_t hash) { return (uint32_t)(hash >> 32) | 1; }

static void entry_clear(struct match_cache *c, struct entry *e)
{
	if (!e->match)
		return;
	c->tags[e - c->entries] = 0;
	match_unref(e->match);
	e->match = NULL;
	if (e->len > TOPIC_INLINE)
		free(e->topic.there);
}

void match_cache_free(struct match_cache *c)
{
	if (!c)
		return;
	uint32_t n = (c->sets_mask + 1) * WAYS;
	for (uint32_t i = 0; c->entries && c->tags && i < n; i++)
		entry_clear(c, &c->entries[i]);
	pages_free(c->entries, n * sizeof *c->entries);
	match_unref(c->loose);
	free(c->seen);
	free(c->tags);
	free(c);
}

static bool entry_is(const struct entry *e, const uint8_t *topic, size_t len)
{
	return e->match && e->len == len && memcmp(entry_topic(e), topic, len) == 0;
}

/* The match of an entry's topic, matched again when the generation has moved. Read before matching: a change meanwhile is then seen next time. */
static struct match *entry_get(struct match_cache *c, struct entry *e)
{
	uint64_t generation = trie_generation_of(c->trie, e->stripe);
	e->used_at = ++c->tick;
	c->last = e;
	if (generation == e->generation) {
		c->stats.hits++;
		return e->match;
	}
	c->stats.misses++;
	struct match *m = trie_match(c->trie, entry_topic(e), e->len);
	if (!m) {
		entry_clear(c, e);
		c->last = NULL;
		return NULL;
	}
	c->visited += m->visited;
	match_unref(e->match);
	e->match = m;
	e->generation = generation;
	return m;
}

static struct entry *entry_find(struct match_cache *c, uint64_t hash, const uint8_t *topic, size_t len)
{
	size_t set = (hash & c->sets_mask) * WAYS;
	for (unsigned i = 0; i < WAYS; i++) {
		struct entry *e = &c->entries[set + i];
		if (c->tags[set + i] == tag_of(hash) && e->hash == hash && entry_is(e, topic, len))
			return e;
	}
	return NULL;
}

static bool entry_is_stale(const struct match_cache *c, const struct entry *e)
{
	return e->generation != trie_generation_of(c->trie, e->stripe);
}

/* The entry that gives way to a topic with this hash; NULL when it is the first time and both are in use. */
static struct entry *entry_victim(struct match_cache *c, uint64_t hash)
{
	size_t at = (hash & c->sets_mask) * WAYS;
	struct entry *set = &c->entries[at];
	for (unsigned i = 0; i < WAYS; i++) {
		if (c->tags[at + i] == 0)
			return &set[i];
	}
	uint32_t *seen = &c->seen[hash & c->sets_mask];
	if (*seen != (uint32_t)(hash >> 32)) {
		*seen = (uint32_t)(hash >> 32);
		return NULL;
	}
	for (unsigned i = 0; i < WAYS; i++) {
		if (entry_is_stale(c, &set[i]))
			return &set[i];
	}
	return (int32_t)(set[0].used_at - set[1].used_at) < 0 ? &set[0] : &set[1];
}

/* Files a match; false when it can't (the match stays the caller's). */
static bool entry_fill(struct match_cache *c, uint64_t hash, const uint8_t *topic, size_t len, unsigned stripe, uint64_t generation,
    struct match *m)
{
	struct entry *e = len <= TOPIC_CACHED_MAX ? entry_victim(c, hash) : NULL;
	uint8_t *copy = e && len > TOPIC_INLINE ? malloc(len) : NULL;
	if (!e || (len > TOPIC_INLINE && !copy))
		return false;
	entry_clear(c, e);
	if (copy) {
		memcpy(copy, topic, len);
		e->topic.there = copy;
	} else if (len > 0) {
		memcpy(e->topic.here, topic, len);
	}
	c->tags[e - c->entries] = tag_of(hash);
	e->hash = hash;
	e->generation = generation;
	e->match = m;
	e->len = (uint16_t)len;
	e->stripe = (uint16_t)stripe;
	e->used_at = ++c->tick;
	c->last = e;
	return true;
}

struct match *match_cache_get(struct match_cache *c, const uint8_t *topic, size_t len)
{
	if (c->last && entry_is(c->last, topic, len))
		return entry_get(c, c->last);
	uint64_t hash = level_hash64(&c->trie->tree.key, topic, len);
	struct entry *e = entry_find(c, hash, topic, len);
	if (e)
		return entry_get(c, e);
	c->stats.misses++;
	c->last = NULL;
	match_unref(c->loose);
	unsigned stripe = trie_stripe(c->trie, topic, len);
	uint64_t generation = trie_generation_of(c->trie, stripe);
	struct match *m = trie_match(c->trie, topic, len);
	c->loose = NULL;
	c->visited += m ? m->visited : 0;
	if (m && !entry_fill(c, hash, topic, len, stripe, generation, m))
		c->loose = m;
	return m;
}

uint64_t match_cache_visited(const struct match_cache *c) { return c->visited; }

void match_cache_stats(const struct match_cache *c, struct match_cache_stats *out) { *out = c->stats; }
