/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A ring of entries; owns no memory while empty. Owner loop. */
#ifndef BROKER_ENTRY_RING_H
#define BROKER_ENTRY_RING_H

#include "base/pool.h"
#include "broker/session.h"

#define ENTRY_RING_MIN 8U

static inline struct entry *ring_at(const struct entry_ring *r, uint32_t i)
{
	return &r->e[(r->head + i) & (r->cap - 1)];
}

/* Makes room for n entries in all. */
static inline enum err ring_reserve(struct entry_ring *r, uint32_t n)
{
	uint32_t cap = r->cap ? r->cap : ENTRY_RING_MIN;
	while (cap < n && cap < 1U << 31)
		cap *= 2;
	if (n == 0 || cap == r->cap)
		return n <= cap ? ERR_OK : ERR_FULL;
	struct entry *e = pool_alloc((size_t)cap * sizeof *e);
	if (!e)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < r->count; i++)
		e[i] = *ring_at(r, i);
	pool_free(r->e);
	r->e = e;
	r->cap = cap;
	r->head = 0;
	return ERR_OK;
}

/* There is room. */
static inline void ring_append(struct entry_ring *r, const struct entry *e)
{
	*ring_at(r, r->count++) = *e;
}

static inline enum err ring_push(struct entry_ring *r, const struct entry *e)
{
	if (r->count == r->cap && ring_reserve(r, r->count + 1) != ERR_OK)
		return ERR_NOMEM;
	ring_append(r, e);
	return ERR_OK;
}

static inline void ring_reverse(struct entry_ring *r, uint32_t from, uint32_t to)
{
	while (from + 1 < to) {
		struct entry e = *ring_at(r, from);
		*ring_at(r, from++) = *ring_at(r, --to);
		*ring_at(r, to) = e;
	}
}

/* Puts the entries from the mid-th on before those from the from-th on; each part keeps its order. */
static inline void ring_rotate(struct entry_ring *r, uint32_t from, uint32_t mid)
{
	if (from == mid || mid == r->count)
		return;
	ring_reverse(r, from, mid);
	ring_reverse(r, mid, r->count);
	ring_reverse(r, from, r->count);
}

static inline void ring_free(struct entry_ring *r)
{
	pool_free(r->e);
	*r = (struct entry_ring){0};
}

static inline void ring_pop(struct entry_ring *r)
{
	r->head = (r->head + 1) & (r->cap - 1);
	if (--r->count == 0)
		ring_free(r);
}

#endif
