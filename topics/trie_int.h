/* SPDX-License-Identifier: GPL-3.0-or-later */
#ifndef TOPICS_TRIE_INT_H
#define TOPICS_TRIE_INT_H

#include "topics/slot_int.h"
#include "topics/trie.h"

#define FILTER_MAX 65535u /* bytes, by the protocol */

/* Generations: topics share a counter by the hash of their first level; one more counts filters that begin with a wildcard. */
#define STRIPES 256u
#define STRIPE_WILD STRIPES

struct trie {
	struct tree tree;
	_Atomic(uint64_t) generation[STRIPES + 1]; /* written under the lock */
	_Atomic(uint64_t) subscriptions, shared;   /* written under the lock */
};

/* Which counter says that the matches of topic may have changed (besides STRIPE_WILD). */
unsigned trie_stripe(const struct trie *t, const uint8_t *topic, size_t len);

/* Both counters only grow, so their sum is the same only when both are. Acquire: see generation_bump. */
static inline uint64_t trie_generation_of(const struct trie *t, unsigned stripe)
{
	return atomic_load_explicit(&t->generation[stripe], memory_order_acquire) +
	    atomic_load_explicit(&t->generation[STRIPE_WILD], memory_order_acquire);
}

/* For tests: NULL, or which invariant does not hold. Takes the lock. */
const char *trie_check(struct trie *t);

#endif
