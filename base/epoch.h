/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Quiescent-state reclamation: what readers may still see is freed when every
 * registered thread has passed a quiescent state. C11 atomics only (make tsan). */
#ifndef BASE_EPOCH_H
#define BASE_EPOCH_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define EPOCH_THREADS_MAX 16

struct epoch; /* the domain; one per broker */

/* Embedded in what is retired, so that retiring cannot fail. */
struct epoch_item {
	struct epoch_item *next;
	void (*free_fn)(struct epoch_item *item);
	uint64_t tag;
};

struct epoch *epoch_new(void) MUST_CHECK;
/* Frees everything that is still retired. No thread may be online. */
void epoch_free(struct epoch *e);

/* Takes a thread id (0 <= id < EPOCH_THREADS_MAX) for the calling thread, which starts offline.
 * Returns < 0 when none is left. */
int epoch_register(struct epoch *e) MUST_CHECK;
void epoch_unregister(struct epoch *e, int id);

/* Owner thread only. Between online and offline the thread may hold pointers to shared nodes, but
 * none over a call of epoch_quiescent. A thread that blocks goes offline first. */
void epoch_online(struct epoch *e, int id);
void epoch_offline(struct epoch *e, int id);
void epoch_quiescent(struct epoch *e, int id);

/* Hands item over; free_fn runs later, in a call of epoch_reclaim of this thread. The item must already be unreachable
 * for new readers. Owner thread of id only (online or not). */
void epoch_retire(struct epoch *e, int id, struct epoch_item *item, void (*free_fn)(struct epoch_item *item));
/* Frees what has become safe among the items that this thread retired; returns how many remain. Cheap when nothing is retired. */
unsigned epoch_reclaim(struct epoch *e, int id);

/* A barrier: passed once every thread that was online at the time of epoch_barrier has been quiescent or offline since. Any thread. */
uint64_t epoch_barrier(struct epoch *e);
bool epoch_passed(struct epoch *e, uint64_t barrier);

#endif
