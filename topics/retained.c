/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The retained tree: a node per level, a message in those where a topic ends. One writer at a time (the tree's lock); readers
 * take none. A message that is replaced keeps the tree's reference until no reader can be looking at it. */
#include "topics/retained.h"

#include "topics/node_int.h"
#include "topics/topic.h"

#include <stdlib.h>

struct retained {
	struct tree tree;
	_Atomic(uint64_t) messages, bytes; /* written under the lock */
};

struct retained *retained_new(struct epoch *epoch)
{
	struct retained *r = calloc(1, sizeof *r);
	if (r && !tree_init(&r->tree, epoch, false)) {
		free(r);
		return NULL;
	}
	return r;
}

static struct msg *msg_of(uint64_t who) { return (struct msg *)(uintptr_t)who; }

static void drop(uint64_t who) { msg_unref(msg_of(who)); }

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

static void value_set(struct node *n, struct msg *m)
{
	atomic_store_explicit(&n->value.who, (uintptr_t)m, memory_order_release);
}

/* The first message of a topic. */
static enum err insert(struct retained *r, int thread, const struct tree_place *at, struct msg *m, uint64_t max)
{
	if (max != 0 && atomic_load_explicit(&r->messages, memory_order_relaxed) >= max)
		return ERR_FULL;
	if (at->complete) {
		value_set(at->node, msg_ref(m));
	} else {
		struct tree_chain chain;
		if (tree_chain_new(&r->tree, at, &chain) != ERR_OK)
			return ERR_NOMEM;
		value_set(chain.bottom_node, m);
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
	value_set(at->node, m ? msg_ref(m) : NULL);
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
	struct msg *old = at.complete ? msg_of(atomic_load_explicit(&at.node->value.who, memory_order_relaxed)) : NULL;
	if (old)
		e = replace(r, thread, &at, old, m->payload_len > 0 ? m : NULL);
	else if (m->payload_len > 0)
		e = insert(r, thread, &at, m, max);
	lock_release(&r->tree.lock);
	return e;
}

void retained_stats(const struct retained *r, struct retained_stats *out)
{
	out->messages = atomic_load_explicit(&r->messages, memory_order_relaxed);
	out->bytes = atomic_load_explicit(&r->bytes, memory_order_relaxed);
}

/* ---- matching ---- */

/* A walk in depth: one frame for each table that it is iterating over. */
struct frame {
	struct kids kids;
	uint32_t next;  /* place */
	uint32_t depth; /* of the children: how many levels lead to them */
};

struct walk {
	const struct tree *t;
	bool (*fn)(void *arg, struct msg *m);
	void *arg;
	uint32_t n_levels; /* of the filter */
	bool all;          /* it ends with '#', which is not counted */
	uint32_t n_frames;
	uint64_t visited;
	struct level levels[TOPIC_LEVELS_MAX];
	uint32_t hashes[TOPIC_LEVELS_MAX]; /* of levels */
	struct frame frames[TOPIC_LEVELS_MAX];
};

static bool is_plus(struct level l) { return l.len == 1 && l.p[0] == '+'; }

/* False when there are more levels than any topic here has. */
static bool walk_parse(struct walk *w, const uint8_t *filter, size_t len)
{
	struct level_cursor c = level_first(filter, len);
	struct level level;
	w->n_levels = 0;
	w->n_frames = 0;
	w->all = false;
	while (level_next(&c, &level)) {
		if (level.len == 1 && level.p[0] == '#') {
			w->all = true;
			return true;
		}
		if (w->n_levels == TOPIC_LEVELS_MAX)
			return false;
		w->hashes[w->n_levels] = level_hash(&w->t->key, level.p, level.len);
		w->levels[w->n_levels++] = level;
	}
	return true;
}

static bool deliver(const struct walk *w, const struct node *n)
{
	struct msg *m = msg_of(atomic_load_explicit(&n->value.who, memory_order_acquire));
	return !m || w->fn(w->arg, m);
}

/* From node n, that depth levels led to: follows levels without a wildcard, delivers, and leaves a frame where there are several ways
 * on. False when fn said stop. */
static bool walk_down(struct walk *w, const struct node *n, uint32_t depth)
{
	for (; depth < w->n_levels && !is_plus(w->levels[depth]); depth++) {
		struct level level = w->levels[depth];
		w->visited++;
		node_ref kid = kids_find(w->t, node_kids(n), w->hashes[depth], level.p, level.len);
		if (kid == 0)
			return true;
		n = tree_at(w->t, kid);
	}
	if (depth >= w->n_levels && !deliver(w, n))
		return false;
	struct kids k = node_kids(n);
	if (k.cap > 0 && (depth < w->n_levels || w->all))
		w->frames[w->n_frames++] = (struct frame){ k, 0, depth + 1 };
	return true;
}

static const struct node *kid_at(const struct walk *w, struct kids k, uint32_t i)
{
	if (i >= k.cap)
		return NULL;
	node_ref kid = (node_ref)atomic_load_explicit(&k.b->kids[i], memory_order_acquire);
	return kid != 0 ? tree_at(w->t, kid) : NULL;
}

#define AHEAD 6u

/* The children lie anywhere: fetch nodes two strides ahead, and messages one. */
static void look_ahead(const struct walk *w, struct kids k, uint32_t i)
{
	const struct node *far = kid_at(w, k, i + 2 * AHEAD), *near = kid_at(w, k, i + AHEAD);
	if (far)
		__builtin_prefetch(far);
	if (near)
		__builtin_prefetch(msg_of(atomic_load_explicit(&near->value.who, memory_order_relaxed)));
}

/* Bounded by the nodes that the filter's beginning matches, each once. */
uint64_t retained_match(struct retained *r, const uint8_t *filter, size_t len, bool (*fn)(void *arg, struct msg *m), void *arg)
{
	struct walk w;
	w.t = &r->tree;
	w.fn = fn;
	w.arg = arg;
	w.visited = 0;
	if (!walk_parse(&w, filter, len) || !walk_down(&w, r->tree.root, 0))
		return w.visited;
	while (w.n_frames > 0) {
		struct frame *f = &w.frames[w.n_frames - 1];
		if (f->next == f->kids.cap) {
			w.n_frames--;
			continue;
		}
		struct kids k = f->kids;
		uint32_t i = f->next++, depth = f->depth;
		const struct node *n = kid_at(&w, k, i);
		w.visited++;
		look_ahead(&w, k, i);
		/* A leading wildcard does not match '$' [MQTT-4.7.2-1]. */
		if (!n || (depth == 1 && n->level_len > 0 && node_level(n)[0] == '$'))
			continue;
		if (!walk_down(&w, n, depth))
			break;
	}
	return w.visited;
}
