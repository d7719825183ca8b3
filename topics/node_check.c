/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether a tree is what it should be: called from tests. */
#include "topics/node_int.h"

#include <stdlib.h>

struct check {
	struct tree *t;
	node_ref *todo;
	size_t n, cap;
	uint64_t nodes;
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
	struct kids k = node_kids(n);
	struct branch *b = k.b;
	if (!b)
		return NULL;
	uint32_t used = 0, live = 0;
	node_ref special[2] = { atomic_load(&b->plus), atomic_load(&b->hash) };
	for (uint32_t i = 0; i < k.cap; i++) {
		uint64_t kid = atomic_load(&b->kids[i]);
		used += kid != 0;
		if ((node_ref)kid == 0)
			continue;
		live++;
		const struct node *down = tree_at(c->t, (node_ref)kid);
		uint32_t hash = level_hash(&c->t->key, node_level(down), down->level_len);
		bool group = (kid >> 32 & LEVEL_HASH_GROUP) != 0;
		if ((kid >> 32 & ~(uint64_t)LEVEL_HASH_GROUP) != hash)
			return "a child is filed under another hash";
		if (!group && kids_find(c->t, k, hash, node_level(down), down->level_len) != (node_ref)kid)
			return "a child is not found";
		if (down->parent != ref)
			return "a child has another parent";
		if (!check_push(c, (node_ref)kid))
			return "out of memory";
	}
	for (int i = 0; i < 2; i++) {
		if (special[i] == 0)
			continue;
		const struct node *down = tree_at(c->t, special[i]);
		if (!node_is(down, (const uint8_t *)(i == 0 ? "+" : "#"), 1) || down->parent != ref)
			return "a special child is another";
		if (!check_push(c, special[i]))
			return "out of memory";
	}
	if (used != b->used || live != b->live)
		return "a table's counts are wrong";
	if (!tree_node_has_kids(n) && !(atomic_load(&n->branch) & BRANCH_INLINE))
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
		if (ref != node_pool_ref(t->root) && !tree_node_has_kids(n) && atomic_load(&n->value.who) == 0)
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
