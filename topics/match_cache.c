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

/* What was matched together with a topic that was missed, because it was to come next. */
#define AHEAD_MAX (TRIE_MATCH_MANY - 1)
struct ahead {
	uint64_t hash;
	uint64_t generation;
	struct match *match; /* one reference; NULL: it has come */
	uint16_t len;
	uint16_t stripe;
	uint8_t topic[TOPIC_INLINE];
};

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
	size_t (*next_topics)(void *arg, struct topic_bytes *out, size_t max); /* NULL: nobody knows */
	void *next_arg;
	unsigned n_ahead;
	unsigned alone;       /* so many misses are matched alone: of what was named the last time, most was in the cache */
	struct ahead ahead[AHEAD_MAX];
};
#define ALONE 16u

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

void match_cache_look_ahead(struct match_cache *c, size_t (*fn)(void *arg, struct topic_bytes *out, size_t max), void *arg)
{
	c->next_topics = fn;
	c->next_arg = arg;
}

static void ahead_drop(struct match_cache *c)
{
	for (unsigned i = 0; i < c->n_ahead; i++)
		match_unref(c->ahead[i].match);
	c->n_ahead = 0;
}

void match_cache_free(struct match_cache *c)
{
	if (!c)
		return;
	ahead_drop(c);
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

/* ---- matching ---- */

/* A topic that is about to be matched. The generation is read before: a change meanwhile is then seen next time. */
struct asked {
	struct topic_bytes topic;
	uint64_t hash, generation;
	unsigned stripe;
};

static struct asked ask(const struct match_cache *c, struct topic_bytes topic, uint64_t hash)
{
	unsigned stripe = trie_stripe(c->trie, topic.p, topic.len);
	return (struct asked){ topic, hash, trie_generation_of(c->trie, stripe), stripe };
}

/* What will be asked for next and has to be matched; behind the first of list. Returns how many there are then. */
static size_t ask_ahead(struct match_cache *c, struct asked *list)
{
	struct topic_bytes topics[AHEAD_MAX];
	size_t n = 1, named = 0;
	if (c->alone > 0)
		c->alone--;
	else if (c->next_topics)
		named = c->next_topics(c->next_arg, topics, AHEAD_MAX);
	for (size_t i = 0; i < named; i++) {
		if (topics[i].len > TOPIC_INLINE)
			continue;
		uint64_t hash = level_hash64(&c->trie->tree.key, topics[i].p, topics[i].len);
		const struct entry *e = entry_find(c, hash, topics[i].p, topics[i].len);
		size_t k = 0;
		while (k < n && list[k].hash != hash)
			k++;
		if (k == n && (!e || entry_is_stale(c, e)))
			list[n++] = ask(c, topics[i], hash);
	}
	if (2 * (n - 1) < named)
		c->alone = ALONE;
	return n;
}

static void ahead_keep(struct match_cache *c, const struct asked *a, struct match *take_m)
{
	if (!take_m)
		return;
	struct ahead *x = &c->ahead[c->n_ahead++];
	x->hash = a->hash;
	x->generation = a->generation;
	x->match = take_m;
	x->len = (uint16_t)a->topic.len;
	x->stripe = (uint16_t)a->stripe;
	if (a->topic.len > 0)
		memcpy(x->topic, a->topic.p, a->topic.len);
}

/* Was it matched before it came, and does that still hold? */
static struct match *ahead_take(struct match_cache *c, uint64_t hash, struct topic_bytes topic, struct asked *as)
{
	for (unsigned i = 0; i < c->n_ahead; i++) {
		struct ahead *x = &c->ahead[i];
		if (!x->match || x->hash != hash || x->len != topic.len || (topic.len > 0 && memcmp(x->topic, topic.p, topic.len) != 0))
			continue;
		struct match *m = x->match;
		x->match = NULL;
		*as = (struct asked){ topic, hash, x->generation, x->stripe };
		if (x->generation == trie_generation_of(c->trie, x->stripe)) {
			c->stats.ahead++;
			return m;
		}
		match_unref(m);
		return NULL;
	}
	return NULL;
}

/* The match of a topic that is not in the cache, or changed; one reference, NULL when out of memory. *as: how it was asked for. */
static struct match *match_now(struct match_cache *c, uint64_t hash, struct topic_bytes topic, struct asked *as)
{
	c->stats.misses++;
	struct match *m = ahead_take(c, hash, topic, as);
	if (m)
		return m;
	struct asked list[TRIE_MATCH_MANY];
	struct topic_bytes topics[TRIE_MATCH_MANY];
	struct match *found[TRIE_MATCH_MANY];
	list[0] = ask(c, topic, hash);
	size_t n = ask_ahead(c, list);
	for (size_t i = 0; i < n; i++)
		topics[i] = list[i].topic;
	c->visited += trie_match_many(c->trie, topics, n, found);
	ahead_drop(c);
	for (size_t i = 1; i < n; i++)
		ahead_keep(c, &list[i], found[i]);
	*as = list[0];
	return found[0];
}

/* The match of an entry's topic, matched again when the generation has moved. */
static struct match *entry_get(struct match_cache *c, struct entry *e)
{
	e->used_at = ++c->tick;
	c->last = e;
	if (!entry_is_stale(c, e)) {
		c->stats.hits++;
		return e->match;
	}
	struct asked as;
	struct match *m = match_now(c, e->hash, (struct topic_bytes){ entry_topic(e), e->len }, &as);
	if (!m) {
		entry_clear(c, e);
		c->last = NULL;
		return NULL;
	}
	match_unref(e->match);
	e->match = m;
	e->generation = as.generation;
	return m;
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
static bool entry_fill(struct match_cache *c, const struct asked *as, struct match *m)
{
	size_t len = as->topic.len;
	struct entry *e = len <= TOPIC_CACHED_MAX ? entry_victim(c, as->hash) : NULL;
	uint8_t *copy = e && len > TOPIC_INLINE ? malloc(len) : NULL;
	if (!e || (len > TOPIC_INLINE && !copy))
		return false;
	entry_clear(c, e);
	if (copy) {
		memcpy(copy, as->topic.p, len);
		e->topic.there = copy;
	} else if (len > 0) {
		memcpy(e->topic.here, as->topic.p, len);
	}
	c->tags[e - c->entries] = tag_of(as->hash);
	e->hash = as->hash;
	e->generation = as->generation;
	e->match = m;
	e->len = (uint16_t)len;
	e->stripe = (uint16_t)as->stripe;
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
	struct asked as;
	c->last = NULL;
	match_unref(c->loose);
	c->loose = NULL;
	struct match *m = match_now(c, hash, (struct topic_bytes){ topic, len }, &as);
	if (m && !entry_fill(c, &as, m))
		c->loose = m;
	return m;
}

uint64_t match_cache_visited(const struct match_cache *c) { return c->visited; }

void match_cache_stats(const struct match_cache *c, struct match_cache_stats *out) { *out = c->stats; }
