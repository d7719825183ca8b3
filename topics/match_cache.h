/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One loop's memory from topic to match result; an entry is dropped when trie_generation has moved. Owner loop. */
#ifndef TOPICS_MATCH_CACHE_H
#define TOPICS_MATCH_CACHE_H

#include "topics/trie.h"

struct match_cache;

/* entries: power of two; bounded memory, direct-mapped or small-set associative, keyed hash. */
struct match_cache *match_cache_new(struct trie *t, unsigned entries) MUST_CHECK;
void match_cache_free(struct match_cache *c);

/* The match of topic, borrowed until the next call (match_ref it to keep); NULL when out of memory. The common case is one hash, one
 * compare and one generation check; a repeat of the last topic skips the hash. */
struct match *match_cache_get(struct match_cache *c, const uint8_t *topic, size_t len) MUST_CHECK;

/* Who knows what will be asked for next: on a miss fn names up to max topics, which are matched together with the one that is missed. They are
 * copied; naming the wrong ones costs time alone. */
void match_cache_look_ahead(struct match_cache *c, size_t (*fn)(void *arg, struct topic_bytes *out, size_t max), void *arg);

/* Nodes of the trie that its misses have looked at, since ever: a match may cost much more than the average. */
uint64_t match_cache_visited(const struct match_cache *c);

struct match_cache_stats {
	uint64_t hits, misses;
	uint64_t ahead; /* of the misses: matched together with one before */
};
void match_cache_stats(const struct match_cache *c, struct match_cache_stats *out);

#endif
