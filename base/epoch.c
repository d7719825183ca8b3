/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Quiescent-state reclamation. Threads: each slot belongs to the thread that registered it; `now` and every `seen` are
 * read by all.
 *
 * `now` only grows. A retire increments it and takes the new value as the item's tag. A thread's `seen` is a value of
 * `now` that it has read at a moment when it held no shared pointer, or 0 while it is offline. An item is freed
 * when every thread's `seen` is 0 or at least the tag.
 *
 * Why that is safe. W unlinks item X, increments now to t (seq_cst, so also release), later reads R's `seen` (seq_cst, so
 * also acquire) and frees X. Take what W reads from R's `seen`:
 *
 *  (a) s >= t. R stored s (release) after reading s or more from now (acquire). All writes to now are read-modify-writes, so
 *      what R read belongs to the release sequence of W's increment: X's unlinking happens before everything that R does
 *      after that read, and R cannot find X again. What R did before, it did before the store that W acquired: it
 *      happens before the free. Between the two R held nothing.
 *  (b) 0, stored by R when it went offline (release), and R has not come online since: R's reads happen before the free.
 *  (c) 0 (or an old value >= t, which is (a)), and R is coming online. epoch_online stores seen, then reads now, both
 *      seq_cst. W's increment precedes W's read of seen; that read returned a value older than R's store, so it precedes
 *      R's store in the single order of seq_cst operations; R's store precedes R's read of now. So that read
 *      yields t or more, and as in (a) the unlinking happens before all that R does next.
 *
 * (c) needs no fence, which ThreadSanitizer could not follow; on aarch64 it compiles to stlr/ldar, which keep their order,
 * on x86-64 to one xchg per coming online. */
#include "base/epoch.h"

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CACHE_LINE 64

struct slot {
	alignas(CACHE_LINE) _Atomic uint64_t seen; /* written by the owner, read by all; 0: offline */
	atomic_bool taken;
	unsigned waiting;                          /* owner, as those below: retired and not yet freed */
	struct epoch_item *first, *last;           /* in the order of their tags */
};

struct epoch {
	alignas(CACHE_LINE) _Atomic uint64_t now;
	struct slot slots[EPOCH_THREADS_MAX];
};

struct epoch *epoch_new(void)
{
	struct epoch *e = aligned_alloc(CACHE_LINE, sizeof *e);
	if (!e)
		return NULL;
	atomic_init(&e->now, 1); /* 0 means offline */
	for (size_t i = 0; i < EPOCH_THREADS_MAX; i++) {
		struct slot *s = &e->slots[i];
		atomic_init(&s->seen, 0);
		atomic_init(&s->taken, false);
		s->waiting = 0;
		s->first = s->last = NULL;
	}
	return e;
}

/* Frees what is tagged up to safe. The list is taken off before each call, since free_fn may retire more. */
static void free_upto(struct slot *s, uint64_t safe)
{
	while (s->first && s->first->tag <= safe) {
		struct epoch_item *item = s->first;
		s->first = item->next;
		if (!s->first)
			s->last = NULL;
		s->waiting--;
		item->free_fn(item);
	}
}

void epoch_free(struct epoch *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < EPOCH_THREADS_MAX; i++) {
		assert(atomic_load(&e->slots[i].seen) == 0);
		free_upto(&e->slots[i], UINT64_MAX);
	}
	free(e);
}

int epoch_register(struct epoch *e)
{
	for (int id = 0; id < EPOCH_THREADS_MAX; id++) {
		bool taken = false;
		/* Acquire: what the slot's last owner left in the list is ours now. */
		if (atomic_compare_exchange_strong_explicit(&e->slots[id].taken, &taken, true, memory_order_acquire,
							    memory_order_relaxed))
			return id;
	}
	return -1;
}

/* What is still retired stays in the slot, for its next owner or epoch_free. */
void epoch_unregister(struct epoch *e, int id)
{
	epoch_offline(e, id);
	atomic_store_explicit(&e->slots[id].taken, false, memory_order_release);
}

void epoch_online(struct epoch *e, int id)
{
	struct slot *s = &e->slots[id];
	uint64_t before = atomic_load_explicit(&e->now, memory_order_acquire);
	atomic_store_explicit(&s->seen, before, memory_order_seq_cst);
	uint64_t now = atomic_load_explicit(&e->now, memory_order_seq_cst); /* case (c) above */
	if (now != before)
		atomic_store_explicit(&s->seen, now, memory_order_release); /* it holds nothing yet: not needed, but frees sooner */
}

void epoch_offline(struct epoch *e, int id)
{
	atomic_store_explicit(&e->slots[id].seen, 0, memory_order_release);
}

void epoch_quiescent(struct epoch *e, int id)
{
	struct slot *s = &e->slots[id];
	assert(atomic_load_explicit(&s->seen, memory_order_relaxed) != 0);
	uint64_t now = atomic_load_explicit(&e->now, memory_order_acquire);
	/* Unchanged in the common case: then the line stays shared with those that scan. */
	if (atomic_load_explicit(&s->seen, memory_order_relaxed) != now)
		atomic_store_explicit(&s->seen, now, memory_order_release);
}

void epoch_retire(struct epoch *e, int id, struct epoch_item *item, void (*free_fn)(struct epoch_item *item))
{
	struct slot *s = &e->slots[id];
	item->next = NULL;
	item->free_fn = free_fn;
	item->tag = epoch_barrier(e);
	if (s->last)
		s->last->next = item;
	else
		s->first = item;
	s->last = item;
	s->waiting++;
}

/* The lowest value that an online thread has seen; UINT64_MAX when all are offline. */
static uint64_t oldest_seen(struct epoch *e)
{
	uint64_t oldest = UINT64_MAX;
	for (size_t i = 0; i < EPOCH_THREADS_MAX; i++) {
		uint64_t seen = atomic_load_explicit(&e->slots[i].seen, memory_order_seq_cst);
		if (seen != 0 && seen < oldest)
			oldest = seen;
	}
	return oldest;
}

unsigned epoch_reclaim(struct epoch *e, int id)
{
	struct slot *s = &e->slots[id];
	if (s->first)
		free_upto(s, oldest_seen(e));
	return s->waiting;
}

uint64_t epoch_barrier(struct epoch *e)
{
	return atomic_fetch_add_explicit(&e->now, 1, memory_order_seq_cst) + 1;
}

bool epoch_passed(struct epoch *e, uint64_t barrier)
{
	return oldest_seen(e) >= barrier;
}
