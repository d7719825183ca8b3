/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writers' side of a tree: child tables, and finding, linking and pruning paths. All under the tree's lock. */
#include "topics/node_int.h"

#include "base/random.h"

#include <stdlib.h>

/* Before tree_free_linked comes to a node: "used" says from now on how many places it has still to look at. */
static void node_kids_rewind(const struct node *n)
{
	struct kids k = node_kids(n);
	if (k.b)
		k.b->used = k.cap;
}

bool tree_init(struct tree *t, struct epoch *epoch, bool wildcards)
{
	*t = (struct tree){ .epoch = epoch, .wildcards = wildcards };
	if (!lock_init(&t->lock))
		return false;
	random_bytes(&t->key, sizeof t->key);
	node_ref root;
	if (tree_limbo_open(t) && node_pool_init(&t->pool) && (t->root = tree_node_new(t, 0, (struct level){ 0 }, false, &root))) {
		atomic_store_explicit(&t->nodes, 0, memory_order_relaxed);
		return true;
	}
	node_pool_destroy(&t->pool);
	free(t->limbo);
	lock_destroy(&t->lock);
	return false;
}

/* Frees malloced tables and long levels of everything that is linked, children before their parent; the rest goes with the pool. Where the
 * walk has come to is kept in the tables, so that it needs neither recursion nor a stack. */
static void tree_free_linked(struct tree *t, void (*drop)(uint64_t who))
{
	struct node *n = t->root;
	node_kids_rewind(n);
	while (n) {
		struct kids k = node_kids(n);
		node_ref down = 0;
		if (k.b) {
			down = atomic_exchange_explicit(&k.b->plus, 0, memory_order_relaxed);
			if (down == 0)
				down = atomic_exchange_explicit(&k.b->hash, 0, memory_order_relaxed);
			while (down == 0 && k.b->used > 0)
				down = (node_ref)atomic_load_explicit(&k.b->kids[--k.b->used], memory_order_relaxed);
		}
		if (down != 0) {
			n = tree_at(t, down);
			node_kids_rewind(n);
			continue;
		}
		if (branch_size(k.cap) > POOL_SIZE_MAX)
			free(k.b);
		uint64_t who = atomic_load_explicit(&n->value.who, memory_order_relaxed);
		if (drop && who != 0)
			drop(who);
		node_free_level(n);
		n = n->parent != 0 ? tree_at(t, n->parent) : NULL;
	}
}

void tree_destroy(struct tree *t, void (*drop)(uint64_t who))
{
	tree_free_linked(t, drop);
	tree_limbo_close(t);
	node_pool_destroy(&t->pool);
	lock_destroy(&t->lock);
}

kid_key tree_kid_key(const struct tree *t, struct level level)
{
	if (t->wildcards && level.len == 1 && level.p[0] == '+')
		return KID_PLUS;
	if (t->wildcards && level.len == 1 && level.p[0] == '#')
		return KID_HASH;
	return level_hash(&t->key, level.p, level.len);
}

static node_ref kid_find(const struct tree *t, struct kids k, struct level level)
{
	kid_key key = tree_kid_key(t, level);
	if (!k.b)
		return 0;
	if (key == KID_PLUS)
		return atomic_load_explicit(&k.b->plus, memory_order_relaxed);
	if (key == KID_HASH)
		return atomic_load_explicit(&k.b->hash, memory_order_relaxed);
	return kids_find(t, k, (uint32_t)key, level.p, level.len);
}

void tree_find(const struct tree *t, const uint8_t *topic, size_t len, struct tree_place *out)
{
	*out = (struct tree_place){ .node = t->root, .rest = level_first(topic, len) };
	out->ref = node_pool_ref(out->node);
	while (level_next(&out->rest, &out->missing)) {
		node_ref kid = kid_find(t, node_kids(out->node), out->missing);
		if (kid == 0)
			return;
		out->ref = kid;
		out->node = tree_at(t, kid);
	}
	out->complete = true;
}

/* ---- child tables ---- */

/* The code of a table for n children: full up to BRANCH_SCAN; then a power of two at most three quarters full, so that an eighth of it can be
 * filled (kids_have_room) before it is rebuilt again. */
static unsigned branch_code(uint32_t n)
{
	static const uint8_t small[BRANCH_SCAN + 1] = { 0, 1, 2, 3, 4, 6, 6, 8, 8 };
	if (n <= BRANCH_SCAN)
		return small[n];
	unsigned code = BRANCH_SCAN + 1;
	while (branch_cap(code) / 4 * 3 < n)
		code++;
	return code;
}

static bool kids_have_room(struct kids k) { return k.cap <= BRANCH_SCAN ? k.b->live < k.cap : k.b->used < k.cap - k.cap / 8; }

static bool branch_is_empty(const struct branch *b)
{
	return b->live == 0 && atomic_load_explicit(&b->plus, memory_order_relaxed) == 0 &&
	    atomic_load_explicit(&b->hash, memory_order_relaxed) == 0;
}

bool tree_node_has_kids(const struct node *n)
{
	struct kids k = node_kids(n);
	return k.b && !branch_is_empty(k.b);
}

/* Files a child in a table that has room for it. */
static void kids_put(struct kids k, uint64_t kid)
{
	uint32_t i = kids_home(k, (uint32_t)(kid >> 32));
	uint64_t at;
	while ((node_ref)(at = atomic_load_explicit(&k.b->kids[i], memory_order_relaxed)) != 0)
		i = kids_next(k, i);
	k.b->used += at == 0;
	k.b->live++;
	atomic_store_explicit(&k.b->kids[i], kid, memory_order_release);
}

/* Puts a table (0: none) in place of n's. One that lies in the node stays there, unused, as long as the node lives: a
 * reader may be in it. */
static void kids_replace(struct tree *t, int thread, struct node *n, branch_word word)
{
	branch_word old = atomic_load_explicit(&n->branch, memory_order_relaxed);
	struct kids k = kids_of_word(old);
	atomic_store_explicit(&n->branch, word, memory_order_release);
	if (k.b && !(old & BRANCH_INLINE))
		tree_retire(t, thread, &k.b->limbo, branch_size(k.cap));
}

/* Replaces n's table by one for extra more children. */
static bool kids_rebuild(struct tree *t, int thread, struct node *n, uint32_t extra)
{
	struct kids old = node_kids(n);
	unsigned code = branch_code((old.b ? old.b->live : 0) + extra);
	struct kids k = { tree_alloc(t, branch_size(branch_cap(code))), branch_cap(code) };
	if (!k.b)
		return false;
	if (old.b) {
		atomic_init(&k.b->plus, atomic_load_explicit(&old.b->plus, memory_order_relaxed));
		atomic_init(&k.b->hash, atomic_load_explicit(&old.b->hash, memory_order_relaxed));
	}
	for (uint32_t i = 0; i < old.cap; i++) {
		uint64_t kid = atomic_load_explicit(&old.b->kids[i], memory_order_relaxed);
		if ((node_ref)kid != 0)
			kids_put(k, kid);
	}
	kids_replace(t, thread, n, (branch_word)code << BRANCH_CODE_SHIFT | (uintptr_t)k.b);
	return true;
}

/* Links child, for which there is room. */
static void kids_add(struct node *parent, node_ref child, kid_key key)
{
	struct kids k = node_kids(parent);
	if (key == KID_PLUS)
		atomic_store_explicit(&k.b->plus, child, memory_order_release);
	else if (key == KID_HASH)
		atomic_store_explicit(&k.b->hash, child, memory_order_release);
	else
		kids_put(k, key << 32 | child);
}

enum err tree_link(struct tree *t, int thread, struct node *parent, node_ref child, kid_key key)
{
	struct kids k = node_kids(parent);
	bool special = key == KID_PLUS || key == KID_HASH;
	if ((!k.b || (!special && !kids_have_room(k))) && !kids_rebuild(t, thread, parent, special ? 0 : 1))
		return ERR_NOMEM;
	kids_add(parent, child, key);
	return ERR_OK;
}

/* Empties place i. Where the chain of probing ends behind it, it and the places given up before it become empty again. */
static void kids_take(struct kids k, uint32_t i)
{
	k.b->live--;
	if (atomic_load_explicit(&k.b->kids[kids_next(k, i)], memory_order_relaxed) != 0) {
		atomic_store_explicit(&k.b->kids[i], KID_GONE, memory_order_relaxed);
		return;
	}
	do {
		atomic_store_explicit(&k.b->kids[i], 0, memory_order_relaxed);
		k.b->used--;
		i = i == 0 ? k.cap - 1 : i - 1;
		uint64_t kid = atomic_load_explicit(&k.b->kids[i], memory_order_relaxed);
		if (kid == 0 || (node_ref)kid != 0)
			break;
	} while (k.b->used > 0);
}

void tree_unlink(struct tree *t, int thread, struct node *parent, node_ref child, kid_key key)
{
	struct kids k = node_kids(parent);
	if (key == KID_PLUS) {
		atomic_store_explicit(&k.b->plus, 0, memory_order_relaxed);
	} else if (key == KID_HASH) {
		atomic_store_explicit(&k.b->hash, 0, memory_order_relaxed);
	} else {
		uint64_t kid = key << 32 | child;
		uint32_t i = kids_home(k, (uint32_t)key);
		while (atomic_load_explicit(&k.b->kids[i], memory_order_relaxed) != kid)
			i = kids_next(k, i);
		kids_take(k, i);
	}
	if (atomic_load_explicit(&parent->branch, memory_order_relaxed) & BRANCH_INLINE)
		return;
	if (branch_is_empty(k.b))
		kids_replace(t, thread, parent, 0);
	else if (k.b->live * 4 < k.cap)
		(void)kids_rebuild(t, thread, parent, 0); /* without memory it stays large */
}

/* ---- paths ---- */

enum err tree_chain_new(struct tree *t, const struct tree_place *at, struct tree_chain *out)
{
	*out = (struct tree_chain){ 0 };
	struct level level = at->missing;
	struct level_cursor rest = at->rest;
	do {
		node_ref ref;
		bool is_bottom = !rest.p;
		struct node *n = tree_node_new(t, out->bottom != 0 ? out->bottom : at->ref, level, !is_bottom, &ref);
		if (!n) {
			tree_chain_free(t, out);
			return ERR_NOMEM;
		}
		if (out->bottom != 0) /* which has room in itself */
			kids_add(out->bottom_node, ref, tree_kid_key(t, level));
		if (out->top == 0)
			out->top = ref;
		out->bottom = ref;
		out->bottom_node = n;
	} while (level_next(&rest, &level));
	return ERR_OK;
}

void tree_chain_free(struct tree *t, struct tree_chain *c)
{
	while (c->bottom != 0) {
		node_ref up = c->bottom == c->top ? 0 : tree_at(t, c->bottom)->parent;
		tree_node_unmake(t, c->bottom);
		c->bottom = up;
	}
}

enum err tree_chain_link(struct tree *t, int thread, const struct tree_place *at, const struct tree_chain *c)
{
	return tree_link(t, thread, at->node, c->top, tree_kid_key(t, at->missing));
}

void tree_prune(struct tree *t, int thread, node_ref ref)
{
	for (;;) {
		const struct node *n = tree_at(t, ref);
		node_ref up = n->parent;
		if (up == 0 || tree_node_has_kids(n) || atomic_load_explicit(&n->value.who, memory_order_relaxed) != 0)
			return;
		tree_unlink(t, thread, tree_at(t, up), ref, tree_kid_key(t, (struct level){ node_level(n), n->level_len }));
		tree_retire_node(t, thread, ref);
		ref = up;
	}
}
