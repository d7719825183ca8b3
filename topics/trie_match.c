/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Matching: the readers' side of the subscription trie. No lock; any thread that is online in the epoch.
 *
 * The walk goes level by level over all nodes at once that the topic has led to (the frontier), so that their cache misses overlap; so do
 * those of the topics that are matched together. Each level is two rounds, and no round reads what it has only just asked for: the nodes are read,
 * and their tables fetched; the tables are read, and the children fetched that have the level's hash.
 * What bounds it: every node of the frontier is on the path of an existing filter whose beginning matches, and is reached once; two on
 * one level differ in which levels before them were '+'. So one publish looks at no more nodes on a level than there are shapes of filters
 * (shapes_int.h), of which a session may have few, and at most 2^k at level k. What it looked at is in match.visited. */
#include "topics/slot_int.h"
#include "topics/trie_int.h"

#include <stdlib.h>

#define ON_STACK 32u

/* ---- nodes still to be looked at ---- */

struct place {
	struct node *node;
	const struct node *parent; /* in whose table the node was found by its hash: its level is still to be compared. NULL: it is right */
	struct kids kids;          /* once the node has been read, as is what follows */
	uint32_t home;             /* where the search for the next level begins */
};

struct frontier {
	struct place *v; /* here, or malloced */
	size_t n, cap;
	struct place here[ON_STACK];
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
	struct place *v = malloc(2 * n * sizeof *v);
	if (!v)
		return false;
	frontier_free(f);
	f->v = v;
	f->cap = 2 * n;
	return true;
}

static void frontier_push(struct frontier *f, struct node *n, const struct node *parent)
{
	__builtin_prefetch(n);
	f->v[f->n].node = n;
	f->v[f->n++].parent = parent;
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

static void found_init(struct found *f)
{
	f->v = f->here;
	f->n = f->n_groups = f->cap_groups = f->n_nodes = f->visited = 0;
	f->cap = sizeof f->here / sizeof f->here[0];
	f->unordered = false;
	f->groups = NULL;
}

static void found_free(struct found *f)
{
	if (f->v != f->here)
		free(f->v);
	free(f->groups);
}

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

struct walk {
	struct level_cursor rest;
	struct level level;       /* that led to cur */
	uint32_t hash;            /* of it */
	bool wildcards;           /* they match the next level */
	bool modest;              /* gives up when it gets large */
	bool ok;                  /* it has not; there was memory */
	bool at_end, over;        /* cur is where the topic ends; it is found */
	struct frontier a, b, *cur, *next;
	struct found found;
};

static void walk_begin(struct walk *w, const struct tree *t, struct topic_bytes topic, bool modest)
{
	w->rest = level_first(topic.p, topic.len);
	w->wildcards = topic.len == 0 || topic.p[0] != '$'; /* those match no leading wildcard [MQTT-4.7.2-1] */
	w->level = (struct level){ 0 };
	w->hash = 0;
	w->modest = modest;
	w->ok = true;
	w->at_end = false;
	w->over = topic.len >= TOPIC_LEVELS_MAX && topic_levels(topic.p, topic.len) > TOPIC_LEVELS_MAX; /* it matches nobody */
	w->cur = &w->a;
	w->next = &w->b;
	frontier_init(&w->a);
	frontier_init(&w->b);
	found_init(&w->found);
	frontier_push(w->cur, t->root, NULL);
}

static void walk_free(struct walk *w)
{
	frontier_free(&w->a);
	frontier_free(&w->b);
	found_free(&w->found);
}

/* Is it the node of the level that it was found by? If another has the same hash, looks for the right one, which there may be. */
static inline bool walk_compare(const struct walk *w, const struct tree *t, struct place *at)
{
	if (!at->parent || node_is(at->node, w->level.p, w->level.len))
		return true;
	node_ref kid = kids_find(t, node_kids(at->parent), w->hash, w->level.p, w->level.len);
	at->node = kid != 0 ? tree_at(t, kid) : NULL;
	return kid != 0;
}

/* The first round of a level: reads the nodes, fetches their tables. */
static void walk_read_nodes(struct walk *w, const struct tree *t)
{
	struct level level;
	bool at_end = !level_next(&w->rest, &level);
	uint32_t hash = at_end ? 0 : level_hash(&t->key, level.p, level.len);
	for (struct place *at = w->cur->v, *end = at + w->cur->n; at < end; at++) {
		at->kids = walk_compare(w, t, at) ? node_kids(at->node) : (struct kids){ 0 };
		at->home = kids_home(at->kids, hash);
		if (at->kids.b) {
			__builtin_prefetch(at->kids.b);
			__builtin_prefetch(&at->kids.b->kids[at->home]);
		}
	}
	w->at_end = at_end;
	w->level = level;
	w->hash = hash;
	w->found.visited += at_end ? 0 : w->cur->n;
}

/* The second: reads the tables, and fetches the nodes that the level leads to. */
static bool walk_read_tables(struct walk *w, const struct tree *t)
{
	struct frontier *cur = w->cur, *next = w->next;
	if ((w->modest && 2 * cur->n > ON_STACK) || !frontier_reset(next, 2 * cur->n))
		return false;
	for (const struct place *at = cur->v, *end = at + cur->n; at < end; at++) {
		const struct branch *b = at->kids.b;
		if (!b)
			continue;
		node_ref plus = atomic_load_explicit(&b->plus, memory_order_acquire);
		node_ref all = atomic_load_explicit(&b->hash, memory_order_acquire);
		node_ref kid = kids_guess(at->kids, at->home, w->hash);
		if (kid != 0)
			frontier_push(next, tree_at(t, kid), at->node);
		if (plus != 0 && w->wildcards)
			frontier_push(next, tree_at(t, plus), NULL);
		if (all != 0 && w->wildcards && !found_push(&w->found, tree_at(t, all)))
			return false;
	}
	w->cur = next;
	w->next = cur;
	w->wildcards = true;
	w->over = next->n == 0;
	return true;
}

/* The nodes where the topic ends, and their '#', which matches the parent level too. */
static bool walk_read_end(struct walk *w, const struct tree *t)
{
	w->over = true;
	for (const struct place *at = w->cur->v, *end = at + w->cur->n; at < end; at++) {
		if (at->node && !found_push(&w->found, at->node))
			return false;
		node_ref all = at->kids.b ? atomic_load_explicit(&at->kids.b->hash, memory_order_acquire) : 0;
		if (all != 0 && !found_push(&w->found, tree_at(t, all)))
			return false;
	}
	return true;
}

/* A level of each, side by side. How many have more. */
static size_t walk_level(struct walk *walks, size_t n, const struct tree *t)
{
	size_t going = 0;
	for (struct walk *w = walks; w < walks + n; w++) {
		if (w->ok && !w->over)
			walk_read_nodes(w, t);
	}
	for (struct walk *w = walks; w < walks + n; w++) {
		if (!w->ok || w->over)
			continue;
		w->ok = w->at_end ? walk_read_end(w, t) : walk_read_tables(w, t);
		going += w->ok && !w->over;
	}
	return going;
}

/* To their ends. */
static void walk_all(struct walk *walks, size_t n, const struct tree *t)
{
	while (walk_level(walks, n, t) > 0)
		;
	for (struct walk *w = walks; w < walks + n; w++)
		w->ok = w->ok && found_take(&w->found);
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

/* NULL: out of memory, or given up. */
static struct match *walk_result(struct walk *w)
{
	struct match *m = w->ok && found_order(&w->found) ? match_new(&w->found) : NULL;
	walk_free(w);
	return m;
}

struct match *trie_match(struct trie *t, const uint8_t *topic, size_t len)
{
	struct walk w;
	walk_begin(&w, &t->tree, (struct topic_bytes){ topic, len }, false);
	walk_all(&w, 1, &t->tree);
	return walk_result(&w);
}

/* Bytes that all begin with, up to and with a '/'; 0: none. */
static size_t common_levels(const struct topic_bytes *topics, size_t n)
{
	size_t common = n > 1 ? topics[0].len : 0;
	for (size_t i = 1; i < n && common > 0; i++) {
		size_t same = 0, most = topics[i].len < common ? topics[i].len : common;
		while (same < most && topics[i].p[same] == topics[0].p[same])
			same++;
		common = same;
	}
	while (common > 0 && topics[0].p[common - 1] != '/')
		common--;
	return common;
}

/* May others join it where it stands? All that it has is in place then. */
static bool walk_can_be_joined(const struct walk *w)
{
	return w->ok && !w->over && w->found.n + w->found.n_groups == 0 && w->cur->n <= ON_STACK;
}

static void walk_join(struct walk *w, const struct walk *from)
{
	w->wildcards = from->wildcards;
	w->level = from->level;
	w->hash = from->hash;
	w->cur->n = from->cur->n;
	memcpy(w->cur->v, from->cur->v, from->cur->n * sizeof *from->cur->v);
	w->found.n_nodes = from->found.n_nodes;
	memcpy(w->found.nodes, from->found.nodes, from->found.n_nodes * sizeof *from->found.nodes);
}

/* Topics of one publisher often begin alike: there one goes ahead, and the others join it. */
static void walk_together(struct walk *w, const struct topic_bytes *topics, size_t n, const struct tree *t)
{
	size_t common = common_levels(topics, n);
	if (common == 0)
		return;
	const uint8_t *end = topics[0].p + common;
	while (walk_can_be_joined(w) && w->rest.p < end)
		(void)walk_level(w, 1, t);
	if (!walk_can_be_joined(w))
		return;
	for (size_t i = 1; i < n; i++) {
		if (w[i].over)
			continue;
		w[i].rest.p += common;
		walk_join(&w[i], &w[0]);
	}
}

uint32_t trie_match_many(struct trie *t, const struct topic_bytes *topics, size_t n, struct match **out)
{
	struct walk w[TRIE_MATCH_MANY];
	uint32_t visited = 0;
	for (size_t i = 0; i < n; i++)
		walk_begin(&w[i], &t->tree, topics[i], i > 0);
	walk_together(w, topics, n, &t->tree);
	walk_all(w, n, &t->tree);
	for (size_t i = 0; i < n; i++) {
		visited += (uint32_t)w[i].found.visited;
		out[i] = walk_result(&w[i]);
	}
	return visited;
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
