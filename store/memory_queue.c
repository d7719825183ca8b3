/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A queue in memory: entries in order of record id, and gaps where some are gone. Writer thread. */
#include "store/memory_int.h"

#include <assert.h>
#include <stdlib.h>

static void queue_pack(struct queue *q)
{
	size_t to = 0;
	for (size_t i = q->start; i < q->end; i++)
		if (!q->entries[i].gone)
			q->entries[to++] = q->entries[i];
	q->start = q->queued = 0;
	q->end = to;
}

/* Makes room for one more at the end. */
enum err mem_queue_reserve(struct queue *q)
{
	if (q->end < q->room)
		return ERR_OK;
	if (q->n < q->room / 2) {
		queue_pack(q);
		return ERR_OK;
	}
	size_t room = q->room ? 2 * q->room : 8;
	struct entry *bigger = realloc(q->entries, room * sizeof *bigger);
	if (!bigger)
		return ERR_NOMEM;
	q->entries = bigger;
	q->room = room;
	return ERR_OK;
}

/* Index of the first entry whose record is > after. */
size_t mem_queue_after(const struct queue *q, uint64_t after)
{
	size_t low = q->start, high = q->end;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (q->entries[mid].record > after)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

struct entry *mem_queue_find(const struct queue *q, uint64_t record)
{
	size_t i = record ? mem_queue_after(q, record - 1) : q->end;
	return i < q->end && q->entries[i].record == record && !q->entries[i].gone ? &q->entries[i] : NULL;
}

void mem_entry_drop_msg(struct queue *q, struct entry *e)
{
	if (!e->msg)
		return;
	q->messages--;
	q->bytes -= msg_size(e->msg);
	msg_unref(e->msg);
	e->msg = NULL;
}

void mem_queue_remove(struct queue *q, struct entry *e)
{
	mem_entry_drop_msg(q, e);
	e->gone = 1;
	q->n--;
	while (q->start < q->end && q->entries[q->start].gone)
		q->start++;
	if (q->start == q->end)
		q->start = q->end = q->queued = 0;
}

/* A session that has caught up keeps nothing of its backlog. */
void mem_queue_trim(struct queue *q)
{
	if (q->n > 0 || q->room <= 64)
		return;
	free(q->entries);
	q->entries = NULL;
	q->room = q->start = q->end = q->queued = 0;
}

void mem_queue_append(struct queue *q, const struct entry *e)
{
	assert(q->end < q->room);
	q->entries[q->end++] = *e;
	q->n++;
	q->messages++;
	q->bytes += msg_size(e->msg);
}

void mem_queue_free(struct queue *q)
{
	for (size_t i = q->start; i < q->end; i++)
		msg_unref(q->entries[i].msg);
	free(q->entries);
}
