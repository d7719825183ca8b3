/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A chained hash table of nodes that live inside what they find, so that inserting cannot fail. The caller hashes and compares.
 * Thread local: one thread at a time. */
#ifndef STORE_MAP_INT_H
#define STORE_MAP_INT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct map_node {
	struct map_node *next;
	uint64_t hash;
};

struct map {
	struct map_node **buckets;   /* NULL: not created */
	size_t mask;                 /* buckets - 1; a power of two less one */
	size_t n;
};

/* The struct of type whose member is node. */
#define MAP_OF(node, type, member) ((type *)(void *)((char *)(node) - offsetof(type, member)))

enum err map_create(struct map *m) MUST_CHECK;
void map_destroy(struct map *m); /* the nodes are the caller's */

void map_insert(struct map *m, struct map_node *node, uint64_t hash);
void map_remove(struct map *m, struct map_node *node); /* node is in m */

/* The nodes of that hash, one after the other; NULL at the end. */
struct map_node *map_first(const struct map *m, uint64_t hash);
struct map_node *map_next(const struct map_node *node);

/* Takes any node out; NULL when empty. *at: 0 at first, then as left (a full sweep costs the buckets once). */
struct map_node *map_pop(struct map *m, size_t *at);

/* Calls f for every node; f must not change the map. */
void map_each(const struct map *m, void (*f)(struct map_node *node, void *arg), void *arg);

/* Spreads numbers that are drawn in sequence (nobody outside chooses them: no key needed). */
static inline uint64_t map_hash_u64(uint64_t v)
{
	v ^= v >> 32;
	v *= UINT64_C(0x9e3779b97f4a7c15);
	return v ^ (v >> 29);
}

#endif
