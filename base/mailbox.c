/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A Treiber stack that is only pushed to and emptied whole, so an address that comes back (ABA) does no harm: a push only
 * needs that head is still what its last item points to.
 *
 * No wake-up is lost: who pushes onto an empty mailbox wakes; who pushes onto a full one found items whose pusher has
 * woken or is about to, and the take that follows that wake-up gets both. */
#include "base/mailbox.h"

#include <assert.h>

void mailbox_init(struct mailbox *mb, void (*wake)(void *arg), void *arg)
{
	atomic_init(&mb->head, NULL);
	atomic_init(&mb->items, 0);
	atomic_init(&mb->bytes, 0);
	mb->wake = wake;
	mb->arg = arg;
}

/* newest..oldest is already in the stack's order. */
static void push(struct mailbox *mb, struct mail *newest, struct mail *oldest)
{
	struct mail *head = atomic_load_explicit(&mb->head, memory_order_relaxed);
	do
		oldest->next = head;
	while (!atomic_compare_exchange_weak_explicit(&mb->head, &head, newest, memory_order_release, memory_order_relaxed));
	/* From here on the items are the consumer's: only head's old value may be looked at. */
	if (!head && mb->wake)
		mb->wake(mb->arg);
}

void mailbox_push(struct mailbox *mb, struct mail *m)
{
	/* Counted before it can be seen, so that mailbox_done never goes below zero. */
	atomic_fetch_add_explicit(&mb->items, 1, memory_order_relaxed);
	push(mb, m, m);
}

/* Turns first..(NULL) round; returns what was last. */
static struct mail *reverse(struct mail *first)
{
	struct mail *turned = NULL;
	while (first) {
		struct mail *next = first->next;
		first->next = turned;
		turned = first;
		first = next;
	}
	return turned;
}

void mailbox_push_chain(struct mailbox *mb, struct mail *first, struct mail *last, size_t n, size_t bytes)
{
	assert(first && last && n > 0);
	atomic_fetch_add_explicit(&mb->items, n, memory_order_relaxed);
	if (bytes > 0)
		atomic_fetch_add_explicit(&mb->bytes, bytes, memory_order_relaxed);
	last->next = NULL;
	push(mb, reverse(first), first);
}

struct mail *mailbox_take(struct mailbox *mb)
{
	/* A look first: an empty mailbox, the common case of a loop turn, costs no locked instruction. */
	if (!atomic_load_explicit(&mb->head, memory_order_relaxed))
		return NULL;
	/* Acquire: pairs with the release of every push in the stack (each later push continues the sequence). */
	return reverse(atomic_exchange_explicit(&mb->head, NULL, memory_order_acquire));
}

void mailbox_done(struct mailbox *mb, size_t n, size_t bytes)
{
	if (n > 0)
		atomic_fetch_sub_explicit(&mb->items, n, memory_order_relaxed);
	if (bytes > 0)
		atomic_fetch_sub_explicit(&mb->bytes, bytes, memory_order_relaxed);
}

size_t mailbox_run(struct mailbox *mb, void *owner)
{
	size_t n = 0;
	for (struct mail *m = mailbox_take(mb), *next; m; m = next, n++) {
		next = m->next; /* run() may free or send on m */
		m->run(m, owner);
	}
	mailbox_done(mb, n, 0); /* once for all: until then the count errs on the high side */
	return n;
}
