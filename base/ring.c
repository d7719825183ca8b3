/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A producer reserves cells by moving tail (one compare-and-swap), copies, and publishes by setting the length of the record's first
 * cell. The consumer takes in order of reservation, so a producer that is interrupted in between holds up the consumer, but no other
 * producer until the ring is full. Closing is a bit in tail: it falls before or after each reservation, never between. */
#include "base/ring.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define CLOSED (UINT64_C(1) << 63)

struct ring {
	alignas(64) _Atomic uint64_t tail; /* producers: cells reserved so far, and CLOSED */
	alignas(64) _Atomic uint64_t head; /* consumer: cells taken so far; producers read it */
	alignas(64) uint64_t cells;        /* immutable, as the pointers below */
	uint8_t *data;
	_Atomic uint32_t *lengths; /* of the record that begins in a cell; 0: none published */
};

struct ring *ring_new(size_t cells)
{
	assert(cells > 0 && cells <= UINT32_C(1) << 31 && (cells & (cells - 1)) == 0);
	struct ring *r = aligned_alloc(alignof(struct ring), sizeof *r);
	uint8_t *data = malloc(cells * RING_CELL);
	_Atomic uint32_t *lengths = calloc(cells, sizeof *lengths);
	if (!r || !data || !lengths) {
		free(r);
		free(data);
		free(lengths);
		return NULL;
	}
	atomic_init(&r->tail, CLOSED);
	atomic_init(&r->head, 0);
	r->cells = cells;
	r->data = data;
	r->lengths = lengths;
	return r;
}

void ring_free(struct ring *r)
{
	if (!r)
		return;
	free(r->data);
	free(r->lengths);
	free(r);
}

void ring_open(struct ring *r)
{
	atomic_fetch_and_explicit(&r->tail, ~CLOSED, memory_order_release);
}

void ring_close(struct ring *r)
{
	atomic_fetch_or_explicit(&r->tail, CLOSED, memory_order_acq_rel);
}

static uint64_t cells_of(size_t len)
{
	return (len + RING_CELL - 1) / RING_CELL;
}

/* Reserves n cells; *at is the first. */
static enum err reserve(struct ring *r, uint64_t n, uint64_t *at)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	do {
		if (tail & CLOSED)
			return ERR_CLOSED;
		/* Acquire: the consumer is done with the cells that it has given back. A tail that is out of date may lie
		 * behind head: the difference is negative then, and the exchange fails. */
		uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
		if ((int64_t)(tail + n - head) > (int64_t)r->cells)
			return ERR_FULL;
	} while (!atomic_compare_exchange_weak_explicit(&r->tail, &tail, tail + n, memory_order_relaxed, memory_order_relaxed));
	*at = tail;
	return ERR_OK;
}

enum err ring_put(struct ring *r, const void *data, size_t len)
{
	assert(len > 0 && len <= r->cells * RING_CELL / 4);
	uint64_t at;
	enum err e = reserve(r, cells_of(len), &at);
	if (e != ERR_OK)
		return e;
	size_t offset = (size_t)(at % r->cells) * RING_CELL, to_end = r->cells * RING_CELL - offset;
	size_t part = len < to_end ? len : to_end;
	memcpy(r->data + offset, data, part);
	memcpy(r->data, (const uint8_t *)data + part, len - part);
	atomic_store_explicit(&r->lengths[at % r->cells], (uint32_t)len, memory_order_seq_cst);
	return ERR_OK;
}

size_t ring_take(struct ring *r, void *out, size_t cap)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	_Atomic uint32_t *length = &r->lengths[head % r->cells];
	size_t len = atomic_load_explicit(length, memory_order_acquire);
	if (len == 0)
		return 0;
	size_t offset = (size_t)(head % r->cells) * RING_CELL, to_end = r->cells * RING_CELL - offset;
	size_t copied = len < cap ? len : cap, part = copied < to_end ? copied : to_end;
	memcpy(out, r->data + offset, part);
	memcpy((uint8_t *)out + part, r->data, copied - part);
	/* Only a record's first cell has a length, so this is all there is to clean before the cells are given back. */
	atomic_store_explicit(length, 0, memory_order_relaxed);
	atomic_store_explicit(&r->head, head + cells_of(len), memory_order_release);
	return copied;
}

bool ring_ready(const struct ring *r)
{
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	return atomic_load_explicit(&r->lengths[head % r->cells], memory_order_seq_cst) != 0;
}

bool ring_drained(const struct ring *r)
{
	return ring_take_position(r) == ring_put_position(r);
}

uint64_t ring_put_position(const struct ring *r)
{
	return atomic_load_explicit(&r->tail, memory_order_acquire) & ~CLOSED;
}

uint64_t ring_take_position(const struct ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_acquire);
}
