/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writers' side of the subscription trie: subscribe, unsubscribe, clear. Every change is: take the lock, allocate all that the
 * change needs, publish, count the generation, release. Nothing is held while waiting for anything else. */
#include "topics/trie_int.h"

#include "topics/shapes_int.h"
#include "topics/share_int.h"
#include "topics/sub_set_int.h"

#include <stdlib.h>

struct trie *trie_new(struct epoch *epoch)
{
	struct trie *t = calloc(1, sizeof *t);
	if (t && !tree_init(&t->tree, epoch, true)) {
		free(t);
		return NULL;
	}
	return t;
}

void trie_free(struct trie *t)
{
	if (!t)
		return;
	tree_destroy(&t->tree, NULL);
	free(t);
}

/* ---- generations ---- */

static unsigned stripe_of_level(const struct trie *t, const uint8_t *p, size_t len)
{
	return level_hash(&t->tree.key, p, len) >> 24;
}

unsigned trie_stripe(const struct trie *t, const uint8_t *topic, size_t len)
{
	struct level_cursor c = level_first(topic, len);
	struct level first = { 0 };
	(void)level_next(&c, &first);
	return stripe_of_level(t, first.p, first.len);
}

uint64_t trie_generation(const struct trie *t, const uint8_t *topic, size_t len)
{
	return trie_generation_of(t, trie_stripe(t, topic, len));
}

static unsigned stripe_of_node(const struct trie *t, const struct node *n)
{
	for (const struct node *up; (up = tree_at(&t->tree, n->parent))->parent != 0;)
		n = up;
	kid_key key = tree_kid_key(&t->tree, (struct level){ node_level(n), n->level_len });
	return key == KID_PLUS || key == KID_HASH ? STRIPE_WILD : (unsigned)(key >> 24);
}

/* After the change is published. Release: a reader that loads this count before it matches (acquire) matches with the change in place. One
 * that loads the count before it finds another later, and matches again; what it then holds was true when it matched. */
static void generation_bump(struct trie *t, unsigned stripe)
{
	atomic_fetch_add_explicit(&t->generation[stripe], 1, memory_order_release);
}

/* ---- subscribing ---- */

struct request {
	struct trie *t;
	struct tree *tree;
	int thread;
	struct sub_set *set;
	struct topic_share topic;
	uint64_t how;
};

static bool parse(const uint8_t *filter, size_t len, struct topic_share *out)
{
	return len <= FILTER_MAX && topic_share_parse(filter, len, out) &&
	    topic_levels(out->filter, out->filter_len) <= TOPIC_LEVELS_MAX;
}

static kid_key group_key(const struct tree *t, const struct topic_share *s)
{
	return level_hash(&t->key, s->group, s->group_len) | LEVEL_HASH_GROUP;
}

/* The node of the group at a filter's node; 0: there is none. */
static node_ref group_find(const struct tree *t, const struct node *filter, const struct topic_share *s)
{
	return kids_find(t, node_kids(filter), (uint32_t)group_key(t, s), s->group, s->group_len);
}

static enum err plain_add(const struct request *r, const struct tree_place *at, node_ref *ref)
{
	*ref = at->ref;
	if (at->complete)
		return slot_add(r->tree, r->thread, &at->node->value, r->set->handle, r->how);
	struct tree_chain chain;
	enum err e = tree_chain_new(r->tree, at, &chain);
	if (e != ERR_OK)
		return e;
	*ref = chain.bottom;
	e = slot_add(r->tree, r->thread, &chain.bottom_node->value, r->set->handle, r->how);
	if (e == ERR_OK)
		e = tree_chain_link(r->tree, r->thread, at, &chain);
	if (e != ERR_OK)
		tree_chain_free(r->tree, &chain);
	return e;
}

static struct share_presence *presence_of(const struct request *r)
{
	struct sub_set *set = r->set;
	if (!set->presence && (set->presence = calloc(1, sizeof *set->presence))) {
		atomic_init(&set->presence->state, SHARE_READY);
		tree_bytes_add(r->tree, sizeof *set->presence);
	}
	return set->presence;
}

static void presence_expired(struct epoch_item *item) { free(item); /* first member */ }

/* With the last subscription go the set's index, its shapes and its presence; readers may be looking at the latter. */
static void set_trim(struct trie *t, int thread, struct sub_set *set)
{
	if (set->count > 0)
		return;
	sub_index_free(set);
	shapes_free(set, &t->tree);
	if (!set->presence)
		return;
	tree_bytes_sub(&t->tree, sizeof *set->presence);
	epoch_retire(t->tree.epoch, thread, &set->presence->item, presence_expired);
	set->presence = NULL;
}

/* FNV-1a: the same in every process. */
static uint32_t text_hash(uint32_t h, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * UINT32_C(16777619);
	return h;
}

static uint8_t mark_of(const struct topic_share *s)
{
	uint32_t h = text_hash(UINT32_C(2166136261), s->group, s->group_len);
	return (uint8_t)(1 + text_hash(text_hash(h, (const uint8_t *)"/", 1), s->filter, s->filter_len) % 255);
}

/* Makes the group with its first member and hangs it on filter's node. */
static enum err group_hang(const struct request *r, struct node *filter, node_ref filter_ref, node_ref *ref)
{
	struct tree *tree = r->tree;
	const struct level name = { r->topic.group, r->topic.group_len };
	struct share_group *g = share_new(tree, mark_of(&r->topic));
	struct node *n = g ? tree_node_new(tree, filter_ref, name, false, ref) : NULL;
	if (!n)
		goto no_node;
	if (share_join(tree, r->thread, g, r->set->handle, r->how, r->set->presence) != ERR_OK)
		goto no_link;
	atomic_init(&n->value.who, who_pointer(WHO_MEMBERS, g));
	if (tree_link(tree, r->thread, filter, *ref, group_key(tree, &r->topic)) != ERR_OK)
		goto no_link;
	if (slot_add(tree, r->thread, &filter->value, who_pointer(WHO_GROUP, g), 0) == ERR_OK)
		return ERR_OK;
	/* No reader looks into what is filed under a group's hash. */
	tree_unlink(tree, r->thread, filter, *ref, group_key(tree, &r->topic));
no_link:
	tree_node_unmake(tree, *ref);
no_node:
	if (g)
		share_unmake(tree, g);
	return ERR_NOMEM;
}

/* Takes a group without members off its filter's node. */
static void group_unhang(struct tree *t, int thread, struct node *filter, node_ref ref)
{
	struct node *n = tree_at(t, ref);
	struct share_group *g = share_of_node(n);
	slot_remove(t, thread, &filter->value, who_pointer(WHO_GROUP, g));
	tree_unlink(t, thread, filter, ref, level_hash(&t->key, node_level(n), n->level_len) | LEVEL_HASH_GROUP);
	tree_retire_node(t, thread, ref);
	share_retire(t, thread, g);
}

static enum err shared_add(const struct request *r, const struct tree_place *at, node_ref *ref)
{
	struct tree *tree = r->tree;
	*ref = at->complete ? group_find(tree, at->node, &r->topic) : 0;
	if (!presence_of(r))
		return ERR_NOMEM;
	if (*ref != 0)
		return share_join(tree, r->thread, share_of_node(tree_at(tree, *ref)), r->set->handle, r->how, r->set->presence);
	if (at->complete)
		return group_hang(r, at->node, at->ref, ref);
	struct tree_chain chain;
	enum err e = tree_chain_new(tree, at, &chain);
	if (e != ERR_OK)
		return e;
	e = group_hang(r, chain.bottom_node, chain.bottom, ref);
	if (e == ERR_OK) {
		e = tree_chain_link(tree, r->thread, at, &chain);
		if (e == ERR_OK)
			return ERR_OK;
		group_unhang(tree, r->thread, chain.bottom_node, *ref);
	}
	tree_chain_free(tree, &chain);
	return e;
}

/* The node that stands for the subscription, or 0. */
static node_ref existing(const struct tree *t, const struct tree_place *at, const struct topic_share *topic)
{
	if (!at->complete)
		return 0;
	return topic->group ? group_find(t, at->node, topic) : at->ref;
}

static enum err subscribe(const struct request *r, bool *added)
{
	struct trie *t = r->t;
	struct tree_place at;
	tree_find(r->tree, r->topic.filter, r->topic.filter_len, &at);
	node_ref ref = existing(r->tree, &at, &r->topic);
	*added = ref == 0 || !sub_index_has(r->set, ref);
	if (!*added) {
		struct node *n = tree_at(r->tree, ref);
		if (r->topic.group)
			share_change(share_of_node(n), r->set->handle, r->how);
		else
			slot_change(&n->value, r->set->handle, r->how);
	} else {
		struct shape shape = shape_of_filter(r->topic.filter, r->topic.filter_len);
		if (!sub_index_reserve(r->set, t) || !shapes_reserve(r->set, r->tree, &shape))
			return ERR_NOMEM;
		enum err e = r->topic.group ? shared_add(r, &at, &ref) : plain_add(r, &at, &ref);
		if (e != ERR_OK)
			return e;
		sub_index_add(r->set, ref);
		shapes_add(r->set, &shape);
		atomic_fetch_add_explicit(&t->subscriptions, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&t->shared, r->topic.group != NULL, memory_order_relaxed);
	}
	generation_bump(t, stripe_of_node(t, tree_at(r->tree, ref)));
	return ERR_OK;
}

enum err trie_subscribe(struct trie *t, int thread, struct sub_set *set, const uint8_t *filter, size_t len, uint8_t options,
    uint32_t sub_id, bool *added)
{
	struct request r = { .t = t, .tree = &t->tree, .thread = thread, .set = set, .how = how_make(options, sub_id) };
	if (!parse(filter, len, &r.topic))
		return ERR_INVALID;
	lock_take(&t->tree.lock);
	enum err e = subscribe(&r, added);
	if (e != ERR_OK)
		set_trim(t, thread, set);
	lock_release(&t->tree.lock);
	return e;
}

/* ---- unsubscribing ---- */

/* Takes the set's session from the node, and the filter's shape from the set; the set's index is the caller's. */
static void leave(struct trie *t, int thread, struct sub_set *set, node_ref ref)
{
	struct tree *tree = &t->tree;
	struct node *n = tree_at(tree, ref);
	struct share_group *g = share_of_node(n);
	unsigned stripe = stripe_of_node(t, n);
	struct shape shape = shape_of_node(tree, g ? tree_at(tree, n->parent) : n);
	shapes_remove(set, tree, &shape);
	if (!g) {
		slot_remove(tree, thread, &n->value, set->handle);
		tree_prune(tree, thread, ref);
	} else if (share_leave(tree, thread, g, set->handle) == 0) {
		node_ref filter = n->parent;
		group_unhang(tree, thread, tree_at(tree, filter), ref);
		tree_prune(tree, thread, filter);
	}
	generation_bump(t, stripe);
	atomic_fetch_sub_explicit(&t->subscriptions, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&t->shared, g != NULL, memory_order_relaxed);
}

enum err trie_unsubscribe(struct trie *t, int thread, struct sub_set *set, const uint8_t *filter, size_t len)
{
	struct topic_share topic;
	struct tree_place at;
	if (!parse(filter, len, &topic))
		return ERR_NOT_FOUND;
	lock_take(&t->tree.lock);
	tree_find(&t->tree, topic.filter, topic.filter_len, &at);
	node_ref ref = existing(&t->tree, &at, &topic);
	bool found = ref != 0 && sub_index_has(set, ref);
	if (found) {
		leave(t, thread, set, ref);
		sub_index_remove(set, ref);
		set_trim(t, thread, set);
	}
	lock_release(&t->tree.lock);
	return found ? ERR_OK : ERR_NOT_FOUND;
}

/* The lock is taken for each one, so that a session with very many does not hold up the other loops. */
bool trie_clear_some(struct trie *t, int thread, struct sub_set *set, uint32_t max)
{
	/* From the end: as it empties the index shrinks, so that little of it is looked at in vain. */
	uint32_t i = 0, cap = 0;
	while (set->count > 0 && max > 0) {
		if (i == 0 || cap != set->index->cap) /* the start, or it has shrunk and lies in another order */
			i = cap = set->index->cap;
		node_ref ref = set->index->refs[--i];
		if (ref == 0)
			continue;
		lock_take(&t->tree.lock);
		leave(t, thread, set, ref);
		sub_index_remove(set, ref);
		set_trim(t, thread, set);
		lock_release(&t->tree.lock);
		i++; /* another may have moved here */
		max--;
	}
	return set->count == 0;
}

void trie_clear(struct trie *t, int thread, struct sub_set *set)
{
	(void)trie_clear_some(t, thread, set, UINT32_MAX);
}

void trie_stats(const struct trie *t, struct trie_stats *out)
{
	*out = (struct trie_stats){
		.subscriptions = atomic_load_explicit(&t->subscriptions, memory_order_relaxed),
		.nodes = atomic_load_explicit(&t->tree.nodes, memory_order_relaxed),
		.shared_subscriptions = atomic_load_explicit(&t->shared, memory_order_relaxed),
		.bytes = atomic_load_explicit(&t->tree.bytes, memory_order_relaxed),
	};
}

/* ---- the checker, for tests ---- */

struct check_counts {
	const struct trie *t;
	uint64_t plain, shared, groups, group_places;
};

static bool check_value(void *arg, struct node *n, node_ref ref)
{
	struct check_counts *c = arg;
	const struct share_group *g = share_of_node(n);
	uint64_t count;
	(void)ref;
	if (g) {
		c->groups++;
		bool ok = share_check(g, &count) && slot_find(&tree_at(&c->t->tree, n->parent)->value, who_pointer(WHO_GROUP, g));
		c->shared += count;
		return ok && !tree_node_has_kids(n);
	}
	if (!slot_check(&n->value, &count))
		return false;
	struct kids k = node_kids(n);
	for (uint32_t i = 0; i < k.cap; i++) {
		uint64_t kid = atomic_load(&k.b->kids[i]);
		bool group = (node_ref)kid != 0 && (kid >> 32 & LEVEL_HASH_GROUP) != 0;
		c->group_places += group;
		count -= group; /* each of them has a place here */
	}
	c->plain += count;
	return true;
}

const char *trie_check(struct trie *t)
{
	struct check_counts c = { .t = t };
	const char *wrong = tree_check(&t->tree, check_value, &c);
	if (wrong)
		return wrong;
	if (c.groups != c.group_places)
		return "a group is linked twice or not";
	if (c.shared != atomic_load(&t->shared) || c.shared + c.plain != atomic_load(&t->subscriptions))
		return "the number of subscriptions is wrong";
	return NULL;
}
