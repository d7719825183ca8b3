/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/ackq.h"

#include "base/pool.h"

#include <string.h>

#define ACKQ_CAP_MIN 16U

static struct ack *at(const struct ackq *q, uint32_t i)
{
	return &q->ring[(q->head + i) & (q->cap - 1)];
}

static enum err grow(struct ackq *q)
{
	uint32_t cap = q->cap ? q->cap * 2 : ACKQ_CAP_MIN;
	struct ack *ring = pool_alloc(cap * sizeof *ring);
	if (!ring)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < q->count; i++)
		ring[i] = *at(q, i);
	pool_free(q->ring);
	q->ring = ring;
	q->head = 0;
	q->cap = cap;
	return ERR_OK;
}

enum err ackq_push(struct ackq *q, const struct ack *a, uint32_t *seq)
{
	if (q->count == q->cap && grow(q) != ERR_OK) {
		pool_free(a->bytes);
		return ERR_NOMEM;
	}
	*seq = q->head_seq + q->count;
	*at(q, q->count++) = *a;
	return ERR_OK;
}

void ackq_ready(struct ackq *q, uint32_t seq)
{
	uint32_t i = seq - q->head_seq; /* wraps as seq does */
	if (i < q->count)
		at(q, i)->ready = true;
}

bool ackq_pop_ready(struct ackq *q, struct ack *out)
{
	if (q->count == 0 || !at(q, 0)->ready)
		return false;
	*out = *at(q, 0);
	q->head = (q->head + 1) & (q->cap - 1);
	q->head_seq++;
	if (--q->count == 0) {
		pool_free(q->ring);
		q->ring = NULL;
		q->cap = q->head = 0;
	}
	return true;
}

void ackq_clear(struct ackq *q)
{
	for (uint32_t i = 0; i < q->count; i++)
		pool_free(at(q, i)->bytes);
	pool_free(q->ring);
	q->head_seq += q->count;
	q->ring = NULL;
	q->head = q->count = q->cap = 0;
}
