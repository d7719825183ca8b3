/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Matching: the readers' side of the subscription trie. No lock; any thread that is online in the epoch.
 *
 * The walk goes level by level over all nodes at once that the topic has led to (the frontier), so that their cache misses overlap.
 * What bounds it: every node of the frontier is on the path of an existing filter whose beginning matches, and is reached once; two on
 * one level differ in which levels before them were '+'. So one publish looks at no more nodes on a level than there are shapes of filters
 * (shapes_int.h), of which a session may have few, and at most 2^k at level k. What it looked at is in match.visited. */
#include "topics/slot_int.h"
#include "topics/trie_int.h"

#include <stdlib.h>

#define ON_STACK 32u

/* ---- nodes still to be looked at ---- */

struct frontier {
	struct node **v; /* here, or malloced */
	size_t n, cap;
	struct node *here[ON_STACK];
};

static void frontier_init(struct frontier *f)
{
	f->v = f->here;
	f->n = 0;
	f->cap = ON_STACK;
}

static void frontier_free(struct frontier *f)
{
	if (f->v != f->here)
		free(f->v);
}

/* Forgets what is in it and makes room for n. */
static bool frontier_reset(struct frontier *f, size_t n)
{
	f->n = 0;
	if (n <= f->cap)
		return true;
	struct node **v = malloc(2 * n * sizeof(struct node *));
	if (!v)
		return false;
	frontier_free(f);
	f->v = v;
	f->cap = 2 * n;
	return true;
}

static void frontier_push(struct frontier *f, struct node *n)
{
	__builtin_prefetch(n);
	f->v[f->n++] = n;
}

/* ---- what has been found ---- */

struct found {
	struct target *v; /* here, or malloced */
	size_t n, cap;
	bool unordered;   /* not yet sorted by handle and unique */
	struct share_group **groups; /* malloced; NULL while there are none */
	size_t n_groups, cap_groups;
	size_t visited;
	size_t n_nodes;
	struct node *nodes[ON_STACK]; /* being fetched from memory; their subscribers are taken when it is full */
	struct target here[2 * ON_STACK];
};

static bool found_group(struct found *f, struct share_group *g)
{
	if (f->n_groups == f->cap_groups) {
		size_t cap = f->cap_groups * 2 + 8;
		struct share_group **groups = realloc(f->groups, cap * sizeof(struct share_group *));
		if (!groups)
			return false;
		f->groups = groups;
		f->cap_groups = cap;
	}
	f->groups[f->n_groups++] = g;
	return true;
}

static bool found_room(struct found *f, size_t more)
{
	if (f->cap - f->n >= more)
		return true;
	size_t cap = f->cap * 2 > f->n + more ? f->cap * 2 : f->n + more;
	struct target *v = f->v == f->here ? malloc(cap * sizeof *v) : realloc(f->v, cap * sizeof *v);
	if (!v)
		return false;
	if (f->v == f->here)
		memcpy(v, f->here, f->n * sizeof *v);
	f->v = v;
	f->cap = cap;
	return true;
}

/* One place's subscriber; the room for it is there. False when out of memory (groups). */
static bool found_one(struct found *f, uint64_t who, uint64_t how)
{
	if (who == 0 || who_kind(who) == WHO_GONE)
		return true;
	if (who_kind(who) == WHO_GROUP)
		return found_group(f, who_object(who));
	f->unordered |= f->n > 0 && f->v[f->n - 1].handle >= who;
	f->v[f->n++] = (struct target){ .handle = who, .sub_id = how_sub_id(how), .options = how_options(how) };
	return true;
}

/* The subscribers of one node. */
static bool found_node(struct found *f, const struct node *n)
{
	uint64_t how, who = slot_read(&n->value, &how);
	if (who_kind(who) != WHO_TABLE)
		return found_room(f, 1) && found_one(f, who, how);
	const struct slot_table *table = who_object(who);
	if (!found_room(f, table->cap))
		return false;
	for (uint32_t i = 0; i < table->cap; i++) {
		who = slot_read(&table->slots[i], &how);
		if (!found_one(f, who, how))
			return false;
	}
	return true;
}

/* The subscribers of the nodes that wait. */
static bool found_take(struct found *f)
{
	for (size_t i = 0; i < f->n_nodes; i++) {
		if (!found_node(f, f->nodes[i]))
			return false;
	}
	f->n_nodes = 0;
	return true;
}

static bool found_push(struct found *f, struct node *n)
{
	if (f->n_nodes == ON_STACK && !found_take(f))
		return false;
	__builtin_prefetch(n);
	f->visited++;
	f->nodes[f->n_nodes++] = n;
	return true;
}

/* ---- the walk ---- */

/* Goes on from every node of the frontier cur by one level to next. first: wildcards do not match a topic that begins with '$'
 * [MQTT-4.7.2-1]. */
static bool walk_level(const struct tree *t, struct level level, bool wildcards, const struct frontier *cur, struct frontier *next,
    struct found *found)
{
	if (!frontier_reset(next, 2 * cur->n))
		return false;
	uint32_t hash = level_hash(&t->key, level.p, level.len);
	for (size_t i = 0; i < cur->n; i++) {
		struct kids k = node_kids(cur->v[i]);
		if (k.b)
			kids_prefetch(k, hash);
	}
	for (size_t i = 0; i < cur->n; i++) {
		struct kids k = node_kids(cur->v[i]);
		if (!k.b)
			continue;
		node_ref plus = atomic_load_explicit(&k.b->plus, memory_order_acquire);
		node_ref all = atomic_load_explicit(&k.b->hash, memory_order_acquire);
		node_ref kid = kids_find(t, k, hash, level.p, level.len);
		if (kid != 0)
			frontier_push(next, tree_at(t, kid));
		if (plus != 0 && wildcards)
			frontier_push(next, tree_at(t, plus));
		if (all != 0 && wildcards && !found_push(found, tree_at(t, all)))
			return false;
	}
	return true;
}

/* The nodes where the topic ends, and their '#', which matches the parent level too. */
static bool walk_end(const struct tree *t, const struct frontier *cur, struct found *found)
{
	for (size_t i = 0; i < cur->n; i++) {
		if (!found_push(found, cur->v[i]))
			return false;
		const struct branch *b = node_kids(cur->v[i]).b;
		node_ref all = b ? atomic_load_explicit(&b->hash, memory_order_acquire) : 0;
		if (all != 0 && !found_push(found, tree_at(t, all)))
			return false;
	}
	return true;
}

static bool walk(const struct trie *trie, const uint8_t *topic, size_t len, struct found *found)
{
	const struct tree *t = &trie->tree;
	struct frontier a, b, *cur = &a, *next = &b;
	struct level_cursor c = level_first(topic, len);
	struct level level;
	bool wildcards = len == 0 || topic[0] != '$', ok = true;
	frontier_init(&a);
	frontier_init(&b);
	frontier_push(cur, t->root);
	while (ok && cur->n > 0 && level_next(&c, &level)) {
		found->visited += cur->n;
		ok = walk_level(t, level, wildcards, cur, next, found);
		struct frontier *done = cur;
		cur = next;
		next = done;
		wildcards = true;
	}
	ok = ok && walk_end(t, cur, found) && found_take(found);
	frontier_free(&a);
	frontier_free(&b);
	return ok;
}

/* ---- the result ---- */

/* By handle, least significant byte first; bytes that are the same in all are skipped. tmp: room for n. */
static void sort_radix(struct target *v, struct target *tmp, size_t n)
{
	uint32_t count[8][256] = { 0 };
	for (size_t i = 0; i < n; i++) {
		for (unsigned b = 0; b < 8; b++)
			count[b][(uint8_t)(v[i].handle >> 8 * b)]++;
	}
	struct target *from = v, *to = tmp;
	for (unsigned b = 0; b < 8; b++) {
		uint32_t *at = count[b], sum = 0;
		if (at[(uint8_t)(v[0].handle >> 8 * b)] == n)
			continue;
		for (unsigned k = 0; k < 256; k++) {
			uint32_t here = at[k];
			at[k] = sum;
			sum += here;
		}
		for (size_t i = 0; i < n; i++)
			to[at[(uint8_t)(from[i].handle >> 8 * b)]++] = from[i];
		struct target *done = from;
		from = to;
		to = done;
	}
	if (from != v)
		memcpy(v, from, n * sizeof *v);
}

static void sort_insertion(struct target *v, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct target x = v[i];
		size_t k = i;
		for (; k > 0 && v[k - 1].handle > x.handle; k--)
			v[k] = v[k - 1];
		v[k] = x;
	}
}

#define INSERTION_MAX 24u

static bool sort_targets(struct target *v, size_t n)
{
	if (n <= INSERTION_MAX) {
		sort_insertion(v, n);
		return true;
	}
	struct target *tmp = malloc(n * sizeof *tmp);
	if (!tmp)
		return false;
	sort_radix(v, tmp, n);
	free(tmp);
	return true;
}

/* One session's overlapping subscriptions become one: the highest QoS and the identifier that came with it; No Local only if all
 * say so; Retain As Published if any does. */
static struct target merge(struct target a, struct target b)
{
	unsigned qa = a.options & SUB_QOS, qb = b.options & SUB_QOS;
	struct target m = qb > qa || (qb == qa && a.sub_id == 0) ? b : a;
	unsigned no_local = a.options & b.options & SUB_NO_LOCAL, rap = (a.options | b.options) & SUB_RETAIN_AS_PUBLISHED;
	m.options = (uint8_t)((m.options & SUB_QOS) | no_local | rap);
	return m;
}

static bool found_order(struct found *f)
{
	if (!f->unordered)
		return true;
	if (!sort_targets(f->v, f->n))
		return false;
	size_t n = 1;
	for (size_t i = 1; i < f->n; i++) {
		if (f->v[i].handle == f->v[n - 1].handle)
			f->v[n - 1] = merge(f->v[n - 1], f->v[i]);
		else
			f->v[n++] = f->v[i];
	}
	f->n = n;
	return true;
}

static struct match *match_new(const struct found *f)
{
	struct match *m = malloc(sizeof *m + f->n * sizeof *m->targets + f->n_groups * sizeof(struct share_group *));
	if (!m)
		return NULL;
	atomic_init(&m->refs, 1);
	m->n_targets = (uint32_t)f->n;
	m->n_groups = (uint32_t)f->n_groups;
	m->n_persistent = 0;
	m->visited = (uint32_t)f->visited;
	m->groups = (struct share_group **)(void *)(m->targets + f->n);
	for (size_t i = 0; i < f->n; i++) {
		m->targets[i] = f->v[i];
		m->n_persistent += sub_handle_persistent(f->v[i].handle);
	}
	for (size_t i = 0; i < f->n_groups; i++)
		m->groups[i] = share_ref(f->groups[i]);
	return m;
}

struct match *trie_match(struct trie *t, const uint8_t *topic, size_t len)
{
	struct found found;
	found.v = found.here;
	found.n = found.n_groups = found.cap_groups = found.n_nodes = found.visited = 0;
	found.cap = sizeof found.here / sizeof found.here[0];
	found.unordered = false;
	found.groups = NULL;
	struct match *m = NULL;
	bool too_deep = len >= TOPIC_LEVELS_MAX && topic_levels(topic, len) > TOPIC_LEVELS_MAX;
	bool ok = too_deep || walk(t, topic, len, &found);
	if (ok && found_order(&found))
		m = match_new(&found);
	if (found.v != found.here)
		free(found.v);
	free(found.groups);
	return m;
}

static size_t merge_targets(struct target *out, const struct match *a, const struct match *b)
{
	size_t n = 0, i = 0, j = 0;
	while (i < a->n_targets || j < b->n_targets) {
		if (j == b->n_targets || (i < a->n_targets && a->targets[i].handle < b->targets[j].handle)) {
			out[n++] = a->targets[i++];
			continue;
		}
		out[n] = b->targets[j++];
		if (i < a->n_targets && a->targets[i].handle == out[n].handle) {
			if ((a->targets[i].options & SUB_QOS) > (out[n].options & SUB_QOS))
				out[n].options = a->targets[i].options;
			i++;
		}
		n++;
	}
	return n;
}

struct match *match_union(struct match *a, struct match *b)
{
	struct found f = {.n = (size_t)a->n_targets + b->n_targets, .visited = (size_t)a->visited + b->visited};
	f.n_groups = (size_t)a->n_groups + b->n_groups;
	f.v = malloc((f.n + 1) * sizeof *f.v);
	f.groups = malloc((f.n_groups + 1) * sizeof *f.groups);
	struct match *m = NULL;
	if (f.v && f.groups) {
		f.n = merge_targets(f.v, a, b);
		for (size_t i = 0; i < f.n_groups; i++)
			f.groups[i] = i < a->n_groups ? a->groups[i] : b->groups[i - a->n_groups];
		m = match_new(&f);
	}
	free(f.v);
	free(f.groups);
	return m;
}

void match_unref(struct match *m)
{
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < m->n_groups; i++)
		share_unref(m->groups[i]);
	free(m);
}
