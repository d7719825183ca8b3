/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Slabs for nodes. A chunk (64 KiB) holds objects of one size; an empty one is given back at once (one is kept, so that a
 * single subscription that comes and goes does not call the system each time). A small tree takes chunks one by one, a large one in
 * blocks of 2 MiB, which can be huge pages. Under the tree's writer lock. */
#include "topics/node_pool_int.h"

#include "base/pages.h"

#include <stdlib.h>

/* AddressSanitizer learns what is allocated, so that it sees a node used after it was freed. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, size) ((void)(p), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(p, size) ((void)(p), (void)(size))
#endif

#define BLOCK_CHUNKS 32u       /* 2 MiB */
#define BLOCKS_FROM_CHUNKS 128u /* in blocks from 8 MiB on: at most a quarter is slack */
#define DIR_BYTES (CHUNKS_MAX * sizeof(uintptr_t))

struct block {
	struct block *next, *prev; /* of those with a free chunk */
	uint8_t *base;
	uint32_t n, used;          /* chunks */
	uint32_t free_mask;        /* not 0: in the list */
};

/* At a chunk's beginning. */
struct chunk {
	struct chunk *next, **prev; /* of those with room; prev NULL when full */
	struct block *block;
	uint32_t number;
	uint32_t size;              /* bytes of an object */
	uint32_t live;              /* objects */
	uint32_t fresh;             /* first unit that was never used */
	uint32_t freed;             /* first unit of the last freed object; 0: none. Its first word leads to the next. */
};
#define CHUNK_HEADER 64u
_Static_assert(sizeof(struct chunk) <= CHUNK_HEADER, "objects begin at the second cache line");

bool node_pool_init(struct node_pool *p)
{
	*p = (struct node_pool){ .dir = pages_alloc(DIR_BYTES, 4096) };
	return p->dir != NULL;
}

static void block_link(struct node_pool *p, struct block *b)
{
	b->next = p->blocks;
	b->prev = NULL;
	if (b->next)
		b->next->prev = b;
	p->blocks = b;
}

static void block_unlink(struct node_pool *p, struct block *b)
{
	if (b->next)
		b->next->prev = b->prev;
	if (b->prev)
		b->prev->next = b->next;
	else
		p->blocks = b->next;
}

/* The list's first, with no chunk in use. */
static void block_free_first(struct node_pool *p)
{
	struct block *b = p->blocks;
	p->blocks = b->next;
	if (b->next)
		b->next->prev = NULL;
	pages_free(b->base, b->n * CHUNK_BYTES);
	free(b);
}

static struct block *block_new(struct node_pool *p)
{
	struct block *b = malloc(sizeof *b);
	if (!b)
		return NULL;
	uint32_t n = p->chunks < BLOCKS_FROM_CHUNKS ? 1 : BLOCK_CHUNKS;
	*b = (struct block){ .n = n, .free_mask = n == 1 ? 1 : UINT32_MAX };
	b->base = pages_alloc(n * CHUNK_BYTES, n * CHUNK_BYTES);
	if (!b->base) {
		free(b);
		return NULL;
	}
	block_link(p, b);
	return b;
}

/* A chunk number, or 0 when all are used: 0 would make a reference of 0 possible, so it is never given. */
static uint32_t number_take(struct node_pool *p)
{
	if (p->dir_free != 0) {
		uint32_t n = p->dir_free;
		p->dir_free = (uint32_t)(atomic_load_explicit(&p->dir[n], memory_order_relaxed) >> 1);
		return n;
	}
	return p->dir_used + 1 < CHUNKS_MAX ? ++p->dir_used : 0;
}

static void number_give(struct node_pool *p, uint32_t n)
{
	atomic_store_explicit(&p->dir[n], (uintptr_t)p->dir_free << 1 | 1, memory_order_relaxed);
	p->dir_free = n;
}

static void chunk_link(struct node_pool *p, struct chunk *c)
{
	struct chunk **head = &p->room[c->size / POOL_UNIT];
	c->next = *head;
	c->prev = head;
	if (c->next)
		c->next->prev = &c->next;
	*head = c;
}

static void chunk_unlink(struct chunk *c)
{
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->prev = NULL;
}

static struct chunk *chunk_new(struct node_pool *p, size_t size)
{
	struct block *b = p->blocks ? p->blocks : block_new(p);
	if (!b)
		return NULL;
	uint32_t number = number_take(p);
	if (number == 0)
		return NULL;
	unsigned i = (unsigned)__builtin_ctz(b->free_mask);
	b->free_mask &= ~(UINT32_C(1) << i);
	b->used++;
	if (b->free_mask == 0)
		block_unlink(p, b);
	struct chunk *c = (struct chunk *)(void *)(b->base + i * CHUNK_BYTES);
	*c = (struct chunk){ .block = b, .number = number, .size = (uint32_t)size, .fresh = CHUNK_HEADER / POOL_UNIT };
	ASAN_POISON_MEMORY_REGION(b->base + i * CHUNK_BYTES + CHUNK_HEADER, CHUNK_BYTES - CHUNK_HEADER);
	atomic_store_explicit(&p->dir[number], (uintptr_t)c, memory_order_relaxed);
	p->chunks++;
	chunk_link(p, c);
	return c;
}

/* Is the first block, which is empty, kept as the next source of chunks? When it is the only one with any; a large one only in a large tree. */
static bool block_is_kept(const struct node_pool *p)
{
	return !p->blocks->next && (p->blocks->n == 1 || p->chunks >= BLOCKS_FROM_CHUNKS);
}

static void chunk_free(struct node_pool *p, struct chunk *c)
{
	struct block *b = c->block;
	chunk_unlink(c);
	ASAN_UNPOISON_MEMORY_REGION(c, CHUNK_BYTES); /* another mapping may come to lie here */
	number_give(p, c->number);
	p->chunks--;
	if (b->free_mask != 0)
		block_unlink(p, b);
	block_link(p, b);
	b->free_mask |= UINT32_C(1) << (unsigned)((size_t)((uint8_t *)c - b->base) / CHUNK_BYTES);
	b->used--;
	/* The second round is for one that was kept while the tree was large. */
	for (int i = 0; i < 2 && p->blocks && p->blocks->used == 0 && !block_is_kept(p); i++)
		block_free_first(p);
}

void *node_pool_alloc(struct node_pool *p, size_t size, node_ref *ref)
{
	size = size < POOL_SIZE_MIN ? POOL_SIZE_MIN : (size + POOL_UNIT - 1) & ~(size_t)(POOL_UNIT - 1);
	struct chunk *c = p->room[size / POOL_UNIT];
	if (!c) {
		c = chunk_new(p, size);
		if (!c)
			return NULL;
	}
	uint32_t unit = c->freed;
	uint8_t *base = (uint8_t *)c;
	uint8_t *object = base + (unit != 0 ? unit : c->fresh) * (size_t)POOL_UNIT;
	ASAN_UNPOISON_MEMORY_REGION(object, size);
	if (unit != 0) {
		c->freed = *(uint32_t *)(void *)object;
	} else {
		unit = c->fresh;
		c->fresh += (uint32_t)(size / POOL_UNIT);
	}
	c->live++;
	if (c->freed == 0 && c->fresh * (size_t)POOL_UNIT + size > CHUNK_BYTES)
		chunk_unlink(c);
	p->bytes += size;
	*ref = c->number << CHUNK_UNITS_SHIFT | unit;
	return object;
}

static struct chunk *chunk_of(const void *object)
{
	return (struct chunk *)((uintptr_t)object & ~(uintptr_t)(CHUNK_BYTES - 1));
}

node_ref node_pool_ref(const void *object)
{
	const struct chunk *c = chunk_of(object);
	return c->number << CHUNK_UNITS_SHIFT | (uint32_t)(((uintptr_t)object - (uintptr_t)c) / POOL_UNIT);
}

void node_pool_free(struct node_pool *p, node_ref ref)
{
	uint8_t *object = node_pool_at(p, ref);
	struct chunk *c = chunk_of(object);
	*(uint32_t *)(void *)object = c->freed;
	c->freed = ref & ((1u << CHUNK_UNITS_SHIFT) - 1);
	p->bytes -= c->size;
	ASAN_POISON_MEMORY_REGION(object, c->size);
	if (!c->prev)
		chunk_link(p, c);
	if (--c->live == 0)
		chunk_free(p, c);
}

void node_pool_destroy(struct node_pool *p)
{
	if (!p->dir)
		return;
	for (uint32_t i = 1; i <= p->dir_used; i++) {
		uintptr_t at = atomic_load_explicit(&p->dir[i], memory_order_relaxed);
		if (at & 1)
			continue;
		struct chunk *c = (struct chunk *)at;
		if (!c->prev) /* chunk_free takes it out of the list of those with room */
			chunk_link(p, c);
		chunk_free(p, c);
	}
	while (p->blocks)
		block_free_first(p);
	pages_free(p->dir, DIR_BYTES);
	p->dir = NULL;
}
