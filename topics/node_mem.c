/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The memory of a tree: making nodes and tables, and limbo, where what was unlinked waits until no reader can see it. All under the
 * tree's lock. */
#include "topics/node_int.h"

#include <stdlib.h>

void tree_bytes_add(struct tree *t, size_t n) { atomic_fetch_add_explicit(&t->bytes, n, memory_order_relaxed); }
void tree_bytes_sub(struct tree *t, size_t n) { atomic_fetch_sub_explicit(&t->bytes, n, memory_order_relaxed); }

void *tree_alloc(struct tree *t, size_t size)
{
	node_ref ref;
	void *p = size > POOL_SIZE_MAX ? calloc(1, size) : node_pool_alloc(&t->pool, size, &ref);
	if (p && size <= POOL_SIZE_MAX)
		memset(p, 0, size);
	if (p)
		tree_bytes_add(t, size);
	return p;
}

/* Where a table begins that lies in its node. */
static size_t room_at(size_t level_bytes) { return (NODE_HEADER + level_bytes + 7) & ~(size_t)7; }

struct node *tree_node_new(struct tree *t, node_ref parent, struct level level, bool with_room, node_ref *ref)
{
	void *bytes = NULL;
	bool is_long = level.len > LEVEL_INLINE_MAX;
	if (is_long) {
		bytes = malloc(level.len);
		if (!bytes)
			return NULL;
		memcpy(bytes, level.p, level.len);
	}
	size_t before = t->pool.bytes, room = room_at(is_long ? sizeof bytes : level.len);
	struct node *n = node_pool_alloc(&t->pool, room + (with_room ? NODE_BRANCH_ROOM : 0), ref);
	if (!n) {
		free(bytes);
		return NULL;
	}
	branch_word word = 0;
	if (with_room) {
		struct branch *b = (struct branch *)(void *)((uint8_t *)n + room);
		memset(b, 0, NODE_BRANCH_ROOM);
		word = BRANCH_INLINE | (branch_word)BRANCH_INLINE_CAP << BRANCH_CODE_SHIFT | (uintptr_t)b;
	}
	atomic_init(&n->value.who, 0);
	atomic_init(&n->value.how, 0);
	atomic_init(&n->branch, word);
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

void node_free_level(const struct node *n)
{
	void *level;
	if (n->level_len <= LEVEL_INLINE_MAX)
		return;
	memcpy(&level, n->level, sizeof level);
	free(level);
}

static void node_free(struct tree *t, node_ref ref)
{
	const struct node *n = tree_at(t, ref);
	size_t before = t->pool.bytes, level_bytes = 0;
	if (n->level_len > LEVEL_INLINE_MAX)
		level_bytes = n->level_len;
	node_free_level(n);
	node_pool_free(&t->pool, ref);
	tree_bytes_sub(t, before - t->pool.bytes + level_bytes);
}

void tree_node_unmake(struct tree *t, node_ref ref)
{
	atomic_fetch_sub_explicit(&t->nodes, 1, memory_order_relaxed);
	node_free(t, ref);
}

/* ---- limbo: one per epoch thread. Things are collected in "open"; as a batch they become "flight" and wait for the epoch; then they are
 * freed, so many a turn that neither this loop nor, waiting for the lock, another one stalls. Retiring so allocates nothing and cannot
 * fail. ---- */

#define LIMBO_PER_LOCK 256u
#define LIMBO_LOCKS 16u /* per turn */

struct limbo {
	struct epoch_item item; /* in the epoch while armed */
	struct limbo_set *set;
	/* The thread's own, as is flight; written under the lock all the same, since nodes and pool need it. */
	node_ref open_nodes, flight_nodes; /* linked by parent */
	struct limbo_link *open, *flight;     /* from the pool */
	struct limbo_link *open_malloced, *flight_malloced;
	int thread;
	bool armed;
};

struct limbo_set {
	struct tree *tree; /* NULL: the tree is gone, the last armed item frees this */
	unsigned armed;
	struct limbo of[EPOCH_THREADS_MAX];
};

static void limbo_free_flight(struct tree *t, struct limbo *l, unsigned max)
{
	for (; l->flight_malloced && max > 0; max--) {
		struct limbo_link *next = l->flight_malloced->next;
		free(l->flight_malloced);
		l->flight_malloced = next;
	}
	for (; l->flight && max > 0; max--) {
		struct limbo_link *next = l->flight->next;
		node_pool_free(&t->pool, node_pool_ref(l->flight));
		l->flight = next;
	}
	for (; l->flight_nodes != 0 && max > 0; max--) {
		node_ref next = tree_at(t, l->flight_nodes)->parent;
		node_free(t, l->flight_nodes);
		l->flight_nodes = next;
	}
}

static void limbo_expired(struct epoch_item *item);

static bool limbo_flies(const struct limbo *l) { return l->flight || l->flight_malloced || l->flight_nodes != 0; }

static void limbo_take_off(struct limbo *l)
{
	l->flight = l->open;
	l->flight_malloced = l->open_malloced;
	l->flight_nodes = l->open_nodes;
	l->open = l->open_malloced = NULL;
	l->open_nodes = 0;
}

static void limbo_arm(struct tree *t, struct limbo *l)
{
	if (!limbo_flies(l))
		limbo_take_off(l);
	if (!limbo_flies(l))
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
	for (unsigned i = 0; i < LIMBO_LOCKS && limbo_flies(l); i++) {
		lock_take(&t->lock);
		limbo_free_flight(t, l, LIMBO_PER_LOCK);
		lock_release(&t->lock);
	}
	lock_take(&t->lock);
	set->armed--;
	l->armed = false;
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

static void retire(struct tree *t, int thread, struct limbo_link *block, size_t size, bool malloced)
{
	struct limbo *l = &t->limbo->of[thread];
	struct limbo_link **head = malloced ? &l->open_malloced : &l->open;
	block->next = *head;
	*head = block;
	tree_bytes_sub(t, size);
	if (!l->armed)
		limbo_arm(t, l);
}

void tree_retire(struct tree *t, int thread, struct limbo_link *block, size_t size)
{
	retire(t, thread, block, size, size > POOL_SIZE_MAX);
}

void tree_retire_malloced(struct tree *t, int thread, struct limbo_link *block, size_t size)
{
	retire(t, thread, block, size, true);
}

void tree_limbo_close(struct tree *t)
{
	struct limbo_set *set = t->limbo;
	for (int i = 0; i < EPOCH_THREADS_MAX; i++) {
		struct limbo *l = &set->of[i];
		limbo_free_flight(t, l, UINT32_MAX);
		limbo_take_off(l);
		limbo_free_flight(t, l, UINT32_MAX);
	}
	set->tree = NULL;
	if (set->armed == 0)
		free(set);
}

bool tree_limbo_open(struct tree *t)
{
	t->limbo = calloc(1, sizeof *t->limbo);
	if (!t->limbo)
		return false;
	t->limbo->tree = t;
	for (int i = 0; i < EPOCH_THREADS_MAX; i++) {
		t->limbo->of[i].set = t->limbo;
		t->limbo->of[i].thread = i;
	}
	return true;
}
