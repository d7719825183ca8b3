/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The retained tree: a node per level, a message in those where a topic ends. One writer at a time (the tree's lock); readers
 * take none. A message that is replaced keeps the tree's reference until no reader can be looking at it. */
#include "topics/retained.h"

#include "topics/retained_int.h"
#include "topics/topic.h"

#include <stdlib.h>

struct retained *retained_new(struct epoch *epoch)
{
	struct retained *r = calloc(1, sizeof *r);
	if (r && !tree_init(&r->tree, epoch, false)) {
		free(r);
		return NULL;
	}
	return r;
}

static void drop(uint64_t who) { msg_unref(retained_msg(who)); }

void retained_free(struct retained *r)
{
	if (!r)
		return;
	tree_destroy(&r->tree, drop);
	free(r);
}

/* ---- writing ---- */

/* The tree's reference to a message that was replaced. */
struct former {
	struct epoch_item item;
	struct msg *m;
};

static void former_expired(struct epoch_item *item)
{
	struct former *f = (struct former *)(void *)item; /* first member */
	msg_unref(f->m);
	free(f);
}

static void count(struct retained *r, int messages, const struct msg *in, const struct msg *out)
{
	uint64_t bytes = (in ? msg_size(in) : 0) - (out ? msg_size(out) : 0);
	atomic_fetch_add_explicit(&r->messages, (uint64_t)messages, memory_order_relaxed);
	atomic_fetch_add_explicit(&r->bytes, bytes, memory_order_relaxed);
}

/* Whoever sees the message sees its number, or a later one. */
static void value_set(const struct retained *r, struct node *n, struct msg *m)
{
	uint64_t number = atomic_load_explicit(&r->puts, memory_order_relaxed) + 1;
	atomic_store_explicit(&n->value.how, number, memory_order_relaxed);
	atomic_store_explicit(&n->value.who, (uintptr_t)m, memory_order_release);
}

/* The first message of a topic. */
static enum err insert(struct retained *r, int thread, const struct tree_place *at, struct msg *m, uint64_t max)
{
	if (max != 0 && atomic_load_explicit(&r->messages, memory_order_relaxed) >= max)
		return ERR_FULL;
	if (at->complete) {
		value_set(r, at->node, msg_ref(m));
	} else {
		struct tree_chain chain;
		if (tree_chain_new(&r->tree, at, &chain) != ERR_OK)
			return ERR_NOMEM;
		value_set(r, chain.bottom_node, m);
		if (tree_chain_link(&r->tree, thread, at, &chain) != ERR_OK) {
			tree_chain_free(&r->tree, &chain);
			return ERR_NOMEM;
		}
		(void)msg_ref(m);
	}
	count(r, 1, m, NULL);
	return ERR_OK;
}

/* Another message, or none (NULL), instead of the one that is there. */
static enum err replace(struct retained *r, int thread, const struct tree_place *at, struct msg *old, struct msg *m)
{
	struct former *f = malloc(sizeof *f);
	if (!f)
		return ERR_NOMEM;
	f->m = old;
	value_set(r, at->node, m ? msg_ref(m) : NULL);
	count(r, m ? 0 : -1, m, old);
	if (!m)
		tree_prune(&r->tree, thread, at->ref);
	epoch_retire(r->tree.epoch, thread, &f->item, former_expired);
	return ERR_OK;
}

enum err retained_put(struct retained *r, int thread, struct msg *m, uint64_t max)
{
	if (topic_levels(msg_topic(m), m->topic_len) > TOPIC_LEVELS_MAX)
		return ERR_INVALID;
	struct tree_place at;
	enum err e = ERR_OK;
	lock_take(&r->tree.lock);
	tree_find(&r->tree, msg_topic(m), m->topic_len, &at);
	struct msg *old = at.complete ? retained_msg(atomic_load_explicit(&at.node->value.who, memory_order_relaxed)) : NULL;
	if (old)
		e = replace(r, thread, &at, old, m->payload_len > 0 ? m : NULL);
	else if (m->payload_len > 0)
		e = insert(r, thread, &at, m, max);
	atomic_fetch_add_explicit(&r->puts, 1, memory_order_acq_rel); /* behind the change: see retained_number */
	lock_release(&r->tree.lock);
	return e;
}

/* Both sides write the count, so one of the two is first and the other sees what was done before: a put that is counted here is in the tree; one
 * that is not sees, behind its own count, what this thread did before it asked. */
uint64_t retained_number(struct retained *r) { return atomic_fetch_add_explicit(&r->puts, 0, memory_order_acq_rel); }

void retained_stats(const struct retained *r, struct retained_stats *out)
{
	out->messages = atomic_load_explicit(&r->messages, memory_order_relaxed);
	out->bytes = atomic_load_explicit(&r->bytes, memory_order_relaxed);
}
