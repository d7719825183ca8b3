/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writers' side of a tree: making, linking and pruning nodes, and limbo, where what was unlinked waits until no reader can see it.
 * All under the tree's lock. */
#include "topics/node_int.h"

#include "base/random.h"

#include <stdlib.h>

/* ---- limbo: one per epoch thread. Things are collected in "open"; as a batch they become "flight" and wait for the epoch; then
 * they are freed, at most LIMBO_BATCH at a time so that no loop stalls. Retiring so allocates nothing and cannot fail. ---- */

#define LIMBO_BATCH 4096u

struct limbo {
	struct epoch_item item; /* in the epoch while armed */
	struct limbo_set *set;
	node_ref open_nodes, flight_nodes; /* linked by parent */
	struct limbo_link *open, *flight;
	int thread;
	bool armed;
};

struct limbo_set {
	struct tree *tree; /* NULL: the tree is gone, the last armed item frees this */
	unsigned armed;
	struct limbo of[EPOCH_THREADS_MAX];
};

static void *node_long_level(const struct node *n)
{
	void *level;
	memcpy(&level, n->level, sizeof level);
	return level;
}

static void node_free(struct tree *t, node_ref ref)
{
	const struct node *n = tree_at(t, ref);
	size_t before = t->pool.bytes, level_bytes = 0;
	if (n->level_len > LEVEL_INLINE_MAX) {
		free(node_long_level(n));
		level_bytes = n->level_len;
	}
	node_pool_free(&t->pool, ref);
	tree_bytes_sub(t, before - t->pool.bytes + level_bytes);
}

static void limbo_free_flight(struct tree *t, struct limbo *l, unsigned max)
{
	for (; l->flight && max > 0; max--) {
		struct limbo_link *next = l->flight->next;
		free(l->flight);
		l->flight = next;
	}
	for (; l->flight_nodes != 0 && max > 0; max--) {
		node_ref next = tree_at(t, l->flight_nodes)->parent;
		node_free(t, l->flight_nodes);
		l->flight_nodes = next;
	}
}

static void limbo_expired(struct epoch_item *item);

static void limbo_arm(struct tree *t, struct limbo *l)
{
	if (!l->flight && l->flight_nodes == 0) {
		l->flight = l->open;
		l->flight_nodes = l->open_nodes;
		l->open = NULL;
		l->open_nodes = 0;
	}
	if (!l->flight && l->flight_nodes == 0)
		return;
	l->armed = true;
	l->set->armed++;
	epoch_retire(t->epoch, l->thread, &l->item, limbo_expired);
}

/* Called by the thread's epoch_reclaim: the flight is safe. */
static void limbo_expired(struct epoch_item *item)
{
	struct limbo *l = (struct limbo *)(void *)item; /* first member */
	struct limbo_set *set = l->set;
	struct tree *t = set->tree;
	if (!t) {
		if (--set->armed == 0)
			free(set);
		return;
	}
	lock_take(&t->lock);
	set->armed--;
	l->armed = false;
	limbo_free_flight(t, l, LIMBO_BATCH);
	limbo_arm(t, l); /* what is left of a large flight waits once more */
	lock_release(&t->lock);
}

void tree_retire_node(struct tree *t, int thread, node_ref ref)
{
	struct limbo *l = &t->limbo->of[thread];
	tree_at(t, ref)->parent = l->open_nodes; /* readers don't look at parent */
	l->open_nodes = ref;
	atomic_fetch_sub_explicit(&t->nodes, 1, memory_order_relaxed);
	if (!l->armed)
		limbo_arm(t, l);
}

void tree_retire(struct tree *t, int thread, struct limbo_link *block, size_t size)
{
	struct limbo *l = &t->limbo->of[thread];
	block->next = l->open;
	l->open = block;
	tree_bytes_sub(t, size);
	if (!l->armed)
		limbo_arm(t, l);
}

static void limbo_close(struct tree *t)
{
	struct limbo_set *set = t->limbo;
	for (int i = 0; i < EPOCH_THREADS_MAX; i++) {
		struct limbo *l = &set->of[i];
		limbo_free_flight(t, l, UINT32_MAX);
		l->flight = l->open;
		l->flight_nodes = l->open_nodes;
		limbo_free_flight(t, l, UINT32_MAX);
	}
	set->tree = NULL;
	if (set->armed == 0)
		free(set);
}

/* ---- the tree ---- */

void tree_bytes_add(struct tree *t, size_t n) { atomic_fetch_add_explicit(&t->bytes, n, memory_order_relaxed); }
void tree_bytes_sub(struct tree *t, size_t n) { atomic_fetch_sub_explicit(&t->bytes, n, memory_order_relaxed); }

bool tree_init(struct tree *t, struct epoch *epoch, bool wildcards)
{
	*t = (struct tree){ .epoch = epoch, .wildcards = wildcards };
	if (!lock_init(&t->lock))
		return false;
	random_bytes(&t->key, sizeof t->key);
	node_ref root;
	t->limbo = calloc(1, sizeof *t->limbo);
	if (t->limbo && node_pool_init(&t->pool) && (t->root = tree_node_new(t, 0, (struct level){ 0 }, &root))) {
		t->limbo->tree = t;
		for (int i = 0; i < EPOCH_THREADS_MAX; i++) {
			t->limbo->of[i].set = t->limbo;
			t->limbo->of[i].thread = i;
		}
		atomic_store_explicit(&t->nodes, 0, memory_order_relaxed);
		return true;
	}
	node_pool_destroy(&t->pool);
	free(t->limbo);
	lock_destroy(&t->lock);
	return false;
}

/* Frees tables and long levels of everything that is linked, children before their parent; the nodes go with the pool. Where the walk
 * has come to is kept in the tables, so that it needs neither recursion nor a stack. */
static void tree_free_linked(struct tree *t, void (*drop)(uint64_t who))
{
	struct node *n = t->root;
	while (n) {
		struct branch *b = node_branch(n);
		node_ref down = 0;
		if (b) {
			down = atomic_exchange_explicit(&b->plus, 0, memory_order_relaxed);
			if (down == 0)
				down = atomic_exchange_explicit(&b->hash, 0, memory_order_relaxed);
			while (down == 0 && b->used > 0) /* "used" is where the walk has come to */
				down = (node_ref)atomic_load_explicit(&b->kids[--b->used], memory_order_relaxed);
		}
		if (down != 0) {
			n = tree_at(t, down);
			if (node_branch(n))
				node_branch(n)->used = node_branch(n)->cap;
			continue;
		}
		free(b);
		uint64_t who = atomic_load_explicit(&n->value.who, memory_order_relaxed);
		if (drop && who != 0)
			drop(who);
		atomic_store_explicit(&n->branch, NULL, memory_order_relaxed);
		node_ref up = n->parent;
		if (n->level_len > LEVEL_INLINE_MAX)
			free(node_long_level(n));
		n = up != 0 ? tree_at(t, up) : NULL;
	}
}

void tree_destroy(struct tree *t, void (*drop)(uint64_t who))
{
	if (node_branch(t->root))
		node_branch(t->root)->used = node_branch(t->root)->cap;
	tree_free_linked(t, drop);
	limbo_close(t);
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

static node_ref kid_find(const struct tree *t, const struct branch *b, struct level level)
{
	kid_key key = tree_kid_key(t, level);
	if (!b)
		return 0;
	if (key == KID_PLUS)
		return atomic_load_explicit(&b->plus, memory_order_relaxed);
	if (key == KID_HASH)
		return atomic_load_explicit(&b->hash, memory_order_relaxed);
	return branch_find(t, b, (uint32_t)key, level.p, level.len);
}

void tree_find(const struct tree *t, const uint8_t *topic, size_t len, struct tree_place *out)
{
	*out = (struct tree_place){ .node = t->root, .rest = level_first(topic, len) };
	out->ref = node_pool_ref(out->node);
	while (level_next(&out->rest, &out->missing)) {
		node_ref kid = kid_find(t, node_branch(out->node), out->missing);
		if (kid == 0)
			return;
		out->ref = kid;
		out->node = tree_at(t, kid);
	}
	out->complete = true;
}

struct node *tree_node_new(struct tree *t, node_ref parent, struct level level, node_ref *ref)
{
	void *bytes = NULL;
	bool is_long = level.len > LEVEL_INLINE_MAX;
	if (is_long) {
		bytes = malloc(level.len);
		if (!bytes)
			return NULL;
		memcpy(bytes, level.p, level.len);
	}
	size_t before = t->pool.bytes;
	struct node *n = node_pool_alloc(&t->pool, NODE_HEADER + (is_long ? sizeof bytes : level.len), ref);
	if (!n) {
		free(bytes);
		return NULL;
	}
	atomic_init(&n->value.who, 0);
	atomic_init(&n->value.how, 0);
	atomic_init(&n->branch, NULL);
	n->parent = parent;
	n->level_len = (uint16_t)level.len;
	if (is_long)
		memcpy(n->level, &bytes, sizeof bytes);
	else if (level.len > 0)
		memcpy(n->level, level.p, level.len);
	tree_bytes_add(t, t->pool.bytes - before + (is_long ? level.len : 0));
	atomic_fetch_add_explicit(&t->nodes, 1, memory_order_relaxed);
	return n;
}

void tree_node_unmake(struct tree *t, node_ref ref)
{
	atomic_fetch_sub_explicit(&t->nodes, 1, memory_order_relaxed);
	node_free(t, ref);
}

/* ---- child tables ---- */

static size_t branch_size(uint32_t cap) { return sizeof(struct branch) + cap * sizeof(uint64_t); }

/* How many places for n children: full up to BRANCH_SCAN, two thirds above. Even numbers fill malloc's 16-byte steps. */
static uint32_t branch_cap(uint32_t n)
{
	uint32_t cap = n <= BRANCH_SCAN ? n : n + n / 2;
	return (cap + 1) & ~1u;
}

static bool branch_has_room(const struct branch *b)
{
	return b->cap <= BRANCH_SCAN ? b->live < b->cap : b->used < b->cap - b->cap / 8;
}

/* Files a child in a table that has room for it. */
static void branch_put(struct branch *b, uint64_t kid)
{
	uint32_t i = (uint32_t)((kid >> 32) * b->cap >> 32);
	uint64_t at;
	while ((node_ref)(at = atomic_load_explicit(&b->kids[i], memory_order_relaxed)) != 0)
		i = i + 1 == b->cap ? 0 : i + 1;
	b->used += at == 0;
	b->live++;
	atomic_store_explicit(&b->kids[i], kid, memory_order_release);
}

/* Replaces parent's table by one for extra more children. */
static struct branch *branch_rebuild(struct tree *t, int thread, struct node *parent, uint32_t extra)
{
	struct branch *old = node_branch(parent);
	uint32_t cap = branch_cap((old ? old->live : 0) + extra);
	struct branch *b = calloc(1, branch_size(cap));
	if (!b)
		return NULL;
	b->cap = cap;
	if (old) {
		atomic_init(&b->plus, atomic_load_explicit(&old->plus, memory_order_relaxed));
		atomic_init(&b->hash, atomic_load_explicit(&old->hash, memory_order_relaxed));
		for (uint32_t i = 0; i < old->cap; i++) {
			uint64_t kid = atomic_load_explicit(&old->kids[i], memory_order_relaxed);
			if ((node_ref)kid != 0)
				branch_put(b, kid);
		}
	}
	tree_bytes_add(t, branch_size(cap));
	atomic_store_explicit(&parent->branch, b, memory_order_release);
	if (old)
		tree_retire(t, thread, &old->limbo, branch_size(old->cap));
	return b;
}

enum err tree_link(struct tree *t, int thread, struct node *parent, node_ref child, kid_key key)
{
	struct branch *b = node_branch(parent);
	bool special = key == KID_PLUS || key == KID_HASH;
	if (!b || (!special && !branch_has_room(b))) {
		b = branch_rebuild(t, thread, parent, special ? 0 : 1);
		if (!b)
			return ERR_NOMEM;
	}
	if (key == KID_PLUS)
		atomic_store_explicit(&b->plus, child, memory_order_release);
	else if (key == KID_HASH)
		atomic_store_explicit(&b->hash, child, memory_order_release);
	else
		branch_put(b, key << 32 | child);
	return ERR_OK;
}

/* Empties place i. Where the chain of probing ends behind it, it and the places given up before it become empty again. */
static void branch_take(struct branch *b, uint32_t i)
{
	b->live--;
	uint32_t next = i + 1 == b->cap ? 0 : i + 1;
	if (atomic_load_explicit(&b->kids[next], memory_order_relaxed) != 0) {
		atomic_store_explicit(&b->kids[i], KID_GONE, memory_order_relaxed);
		return;
	}
	do {
		atomic_store_explicit(&b->kids[i], 0, memory_order_relaxed);
		b->used--;
		i = i == 0 ? b->cap - 1 : i - 1;
		uint64_t kid = atomic_load_explicit(&b->kids[i], memory_order_relaxed);
		if (kid == 0 || (node_ref)kid != 0)
			break;
	} while (b->used > 0);
}

void tree_unlink(struct tree *t, int thread, struct node *parent, node_ref child, kid_key key)
{
	struct branch *b = node_branch(parent);
	if (key == KID_PLUS) {
		atomic_store_explicit(&b->plus, 0, memory_order_relaxed);
	} else if (key == KID_HASH) {
		atomic_store_explicit(&b->hash, 0, memory_order_relaxed);
	} else {
		uint64_t kid = key << 32 | child;
		uint32_t i = (uint32_t)(key * b->cap >> 32);
		while (atomic_load_explicit(&b->kids[i], memory_order_relaxed) != kid)
			i = i + 1 == b->cap ? 0 : i + 1;
		branch_take(b, i);
	}
	if (b->live == 0 && atomic_load_explicit(&b->plus, memory_order_relaxed) == 0 &&
	    atomic_load_explicit(&b->hash, memory_order_relaxed) == 0) {
		atomic_store_explicit(&parent->branch, NULL, memory_order_relaxed);
		tree_retire(t, thread, &b->limbo, branch_size(b->cap));
	} else if (b->live * 3 < b->cap) {
		(void)branch_rebuild(t, thread, parent, 0); /* without memory it stays large */
	}
}

/* ---- paths ---- */

enum err tree_chain_new(struct tree *t, const struct tree_place *at, struct tree_chain *out)
{
	*out = (struct tree_chain){ 0 };
	struct level level = at->missing;
	struct level_cursor rest = at->rest;
	do {
		node_ref ref;
		struct node *n = tree_node_new(t, out->bottom != 0 ? out->bottom : at->ref, level, &ref);
		if (!n) {
			tree_chain_free(t, out);
			return ERR_NOMEM;
		}
		/* Nobody sees the chain, so thread 0 retires nothing here: a new node has no table to replace. */
		if (out->bottom != 0 && tree_link(t, 0, out->bottom_node, ref, tree_kid_key(t, level)) != ERR_OK) {
			tree_node_unmake(t, ref);
			tree_chain_free(t, out);
			return ERR_NOMEM;
		}
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
		struct node *n = tree_at(t, c->bottom);
		struct branch *b = node_branch(n);
		if (b)
			tree_bytes_sub(t, branch_size(b->cap));
		free(b);
		node_ref up = c->bottom == c->top ? 0 : n->parent;
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
		if (up == 0 || node_branch(n) || atomic_load_explicit(&n->value.who, memory_order_relaxed) != 0)
			return;
		tree_unlink(t, thread, tree_at(t, up), ref, tree_kid_key(t, (struct level){ node_level(n), n->level_len }));
		tree_retire_node(t, thread, ref);
		ref = up;
	}
}

/* ---- the checker, for tests ---- */

struct check {
	struct tree *t;
	node_ref *todo;
	size_t n, cap;
	uint64_t nodes;
	size_t bytes;
};

static bool check_push(struct check *c, node_ref ref)
{
	if (c->n == c->cap) {
		c->cap = c->cap * 2 + 64;
		node_ref *todo = realloc(c->todo, c->cap * sizeof *todo);
		if (!todo)
			return false;
		c->todo = todo;
	}
	c->todo[c->n++] = ref;
	return true;
}

static const char *check_branch(struct check *c, struct node *n, node_ref ref)
{
	struct branch *b = node_branch(n);
	if (!b)
		return NULL;
	uint32_t used = 0, live = 0;
	node_ref special[2] = { atomic_load(&b->plus), atomic_load(&b->hash) };
	c->bytes += branch_size(b->cap);
	for (uint32_t i = 0; i < b->cap; i++) {
		uint64_t kid = atomic_load(&b->kids[i]);
		used += kid != 0;
		if ((node_ref)kid == 0)
			continue;
		live++;
		const struct node *k = tree_at(c->t, (node_ref)kid);
		uint32_t hash = level_hash(&c->t->key, node_level(k), k->level_len);
		bool group = (kid >> 32 & LEVEL_HASH_GROUP) != 0;
		if ((kid >> 32 & ~(uint64_t)LEVEL_HASH_GROUP) != hash)
			return "a child is filed under another hash";
		if (!group && branch_find(c->t, b, hash, node_level(k), k->level_len) != (node_ref)kid)
			return "a child is not found";
		if (k->parent != ref)
			return "a child has another parent";
		if (!check_push(c, (node_ref)kid))
			return "out of memory";
	}
	for (int i = 0; i < 2; i++) {
		if (special[i] == 0)
			continue;
		const struct node *k = tree_at(c->t, special[i]);
		if (!node_is(k, (const uint8_t *)(i == 0 ? "+" : "#"), 1) || k->parent != ref)
			return "a special child is another";
		if (!check_push(c, special[i]))
			return "out of memory";
	}
	if (used != b->used || live != b->live)
		return "a table's counts are wrong";
	if (live == 0 && special[0] == 0 && special[1] == 0)
		return "an empty table was kept";
	return NULL;
}

const char *tree_check(struct tree *t, bool (*visit)(void *arg, struct node *n, node_ref ref), void *arg)
{
	struct check c = { .t = t };
	const char *wrong = NULL;
	lock_take(&t->lock);
	if (!check_push(&c, node_pool_ref(t->root)))
		wrong = "out of memory";
	while (!wrong && c.n > 0) {
		node_ref ref = c.todo[--c.n];
		struct node *n = tree_at(t, ref);
		c.nodes++;
		if (n->level_len > LEVEL_INLINE_MAX)
			c.bytes += n->level_len;
		if (ref != node_pool_ref(t->root) && !node_branch(n) && atomic_load(&n->value.who) == 0)
			wrong = "a node without use was kept";
		else if (!visit(arg, n, ref))
			wrong = "a value is unsound";
		else
			wrong = check_branch(&c, n, ref);
	}
	if (!wrong && c.nodes - 1 != atomic_load(&t->nodes))
		wrong = "the number of nodes is wrong";
	lock_release(&t->lock);
	free(c.todo);
	return wrong;
}
