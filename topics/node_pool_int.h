/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The memory of a tree's nodes: slabs by size class, and 32-bit references instead of pointers (half the size of a child
 * table; a million subscriptions stay near a cache). Allocating and freeing under the tree's writer lock; node_at by any thread that
 * got the reference from the tree. */
#ifndef TOPICS_NODE_POOL_INT_H
#define TOPICS_NODE_POOL_INT_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_UNIT 8u
#define CHUNK_BYTES ((size_t)1 << 16)
#define CHUNK_UNITS_SHIFT 13 /* units of a chunk: a reference is chunk number << 13 | unit */
#define CHUNKS_MAX ((size_t)1 << 19) /* 32 GiB of nodes */
#define POOL_SIZE_MIN 32u
#define POOL_SIZE_MAX 320u
#define POOL_CLASSES (POOL_SIZE_MAX / POOL_UNIT + 1)

typedef uint32_t node_ref; /* 0: none */

struct chunk;
struct block;

struct node_pool {
	/* Chunk number → its memory. Written under the lock before a reference into the chunk is published, which orders it for readers.
	 * A free number holds the next free one (<< 1 | 1). */
	_Atomic(uintptr_t) *dir;
	uint32_t dir_used, dir_free;        /* writer lock, as all below; numbers ever used; first free number + 1 */
	uint32_t chunks;                    /* in use */
	struct chunk *room[POOL_CLASSES];   /* chunks that have room, by class */
	struct block *blocks;               /* blocks that have a free chunk */
	size_t bytes;                       /* of objects that are allocated */
};

bool node_pool_init(struct node_pool *p) MUST_CHECK;
void node_pool_destroy(struct node_pool *p); /* with everything in it */

/* size <= POOL_SIZE_MAX bytes. NULL when out of memory. */
void *node_pool_alloc(struct node_pool *p, size_t size, node_ref *ref) MUST_CHECK;
void node_pool_free(struct node_pool *p, node_ref ref);

/* The reference of an allocated object. */
node_ref node_pool_ref(const void *object);

static inline void *node_pool_at(const struct node_pool *p, node_ref ref)
{
	uintptr_t base = atomic_load_explicit(&p->dir[ref >> CHUNK_UNITS_SHIFT], memory_order_relaxed);
	/* The directory holds addresses as integers, because a free number holds an integer. */
	return (void *)(base + (ref & ((1u << CHUNK_UNITS_SHIFT) - 1)) * (uintptr_t)POOL_UNIT);
}

#endif
