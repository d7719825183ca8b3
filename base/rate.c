/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A single bucket counts nanoseconds. A table's slot is one word, so that one compare-and-swap changes it: the time in 1/16 ms in its upper 48
 * bits (500 years), below it 16 bits of the hash. */
#include "base/rate.h"

#include <stdlib.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define WAYS 4U
#define TAG_BITS 16U
#define TAG_MASK ((UINT64_C(1) << TAG_BITS) - 1)
#define TICKS_PER_MS 16U
#define TICKS_PER_MINUTE (60000U * TICKS_PER_MS)

struct rate_table {
	size_t sets;
	rate_bucket slots[];
};

/* Moves the time to which the bucket is used up by cost, if it is then at most `most` ahead of now; returns how far ahead, or UINT64_MAX. */
static uint64_t advance(rate_bucket *b, uint64_t cost, uint64_t now, uint64_t most)
{
	uint64_t full = atomic_load_explicit(b, memory_order_relaxed), next;
	do {
		next = (full > now ? full : now) + cost;
		if (next - now > most)
			return UINT64_MAX;
	} while (!atomic_compare_exchange_weak_explicit(b, &full, next, memory_order_relaxed, memory_order_relaxed));
	return next - now;
}

uint64_t rate_charge(rate_bucket *b, uint64_t n, uint64_t rate, uint64_t now_ms)
{
	uint64_t cost = (n * NS_PER_S + rate - 1) / rate; /* n is a packet's size at most: no overflow */
	uint64_t ahead = advance(b, cost, now_ms * NS_PER_MS, UINT64_MAX - 1);
	return ahead > NS_PER_S ? (ahead - NS_PER_S + NS_PER_MS - 1) / NS_PER_MS : 0;
}

bool rate_take(rate_bucket *b, uint32_t rate, uint64_t now_ms)
{
	return advance(b, 60 * NS_PER_S / rate, now_ms * NS_PER_MS, 60 * NS_PER_S) != UINT64_MAX;
}

bool rate_idle(const rate_bucket *b, uint64_t now_ms)
{
	return atomic_load_explicit(b, memory_order_relaxed) <= now_ms * NS_PER_MS;
}

struct rate_table *rate_table_new(size_t slots)
{
	struct rate_table *t = calloc(1, sizeof *t + slots * sizeof t->slots[0]);
	if (t)
		t->sets = slots / WAYS;
	return t;
}

void rate_table_free(struct rate_table *t)
{
	free(t);
}

/* The slot of that tag, or the one to take over. */
static rate_bucket *find(rate_bucket *set, uint64_t tag)
{
	rate_bucket *least = set;
	for (unsigned i = 0; i < WAYS; i++) {
		uint64_t word = atomic_load_explicit(&set[i], memory_order_relaxed);
		if ((word & TAG_MASK) == tag)
			return &set[i];
		if (word < atomic_load_explicit(least, memory_order_relaxed))
			least = &set[i];
	}
	return least;
}

bool rate_table_take(struct rate_table *t, uint64_t hash, uint32_t rate, uint64_t now_ms)
{
	rate_bucket *slot = find(t->slots + hash % t->sets * WAYS, hash >> (64 - TAG_BITS));
	uint64_t tag = hash >> (64 - TAG_BITS), now = now_ms * TICKS_PER_MS, cost = TICKS_PER_MINUTE / rate, next;
	uint64_t word = atomic_load_explicit(slot, memory_order_relaxed);
	do {
		uint64_t full = (word & TAG_MASK) == tag ? word >> TAG_BITS : 0;
		next = (full > now ? full : now) + cost;
		if (next - now > TICKS_PER_MINUTE)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(slot, &word, next << TAG_BITS | tag, memory_order_relaxed, memory_order_relaxed));
	return true;
}
