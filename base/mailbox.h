/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Multi-producer, single-consumer mailbox. Push and drain never wait: push is one
 * compare-and-swap, drain one exchange. The wake callback runs in the pushing thread,
 * only when the mailbox was empty. */
#ifndef BASE_MAILBOX_H
#define BASE_MAILBOX_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>

/* Embedded as the first member of what is sent. run() is called by the consumer
 * with the consumer's own pointer (its loop); it owns the item from then on. */
struct mail {
	struct mail *next;
	void (*run)(struct mail *m, void *owner);
};

struct mailbox {
	_Atomic(struct mail *) head; /* newest first */
	atomic_size_t items;         /* pushed and not yet run */
	atomic_size_t bytes;         /* the senders' estimate for the same; see mailbox_push_chain */
	void (*wake)(void *arg);     /* immutable after init; may be NULL */
	void *arg;
};

void mailbox_init(struct mailbox *mb, void (*wake)(void *arg), void *arg);

/* Any thread. */
void mailbox_push(struct mailbox *mb, struct mail *m);

/* Pushes items first..last (linked by next, oldest first) as one, counted as n items and bytes. Any thread. */
void mailbox_push_chain(struct mailbox *mb, struct mail *first, struct mail *last, size_t n, size_t bytes);

/* Takes everything, oldest first, linked by next; NULL when empty. Consumer only.
 * The counters are not touched: the consumer calls mailbox_done as it works. */
struct mail *mailbox_take(struct mailbox *mb);
void mailbox_done(struct mailbox *mb, size_t n, size_t bytes);

/* Takes everything and runs it in order (item count kept; byte count is the runner's). Returns how many ran. Consumer only. */
size_t mailbox_run(struct mailbox *mb, void *owner);

#endif
