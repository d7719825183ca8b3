/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The subscriptions of one session. Owner loop. */
#include "topics/sub_set_int.h"

#include "topics/trie_int.h"
#include "topics/share_int.h"

#include <stdlib.h>

void sub_set_init(struct sub_set *set, sub_handle handle) { *set = (struct sub_set){ .handle = handle }; }

/* References are handed out in order of allocation; a client can choose which of them it holds only by what it subscribes to, and
 * does not see them: a fixed odd factor spreads them. */
static uint32_t home(const struct sub_index *x, node_ref ref)
{
	return hash_place(ref * UINT32_C(0x9e3779b1), x->cap);
}

/* The place of ref, or where it would go. */
static uint32_t place(const struct sub_index *x, uint32_t count, node_ref ref)
{
	uint32_t i = 0;
	if (x->cap <= SUB_INDEX_SCAN) {
		while (i < count && x->refs[i] != ref)
			i++;
		return i;
	}
	for (i = home(x, ref); x->refs[i] != 0 && x->refs[i] != ref; i = i + 1 == x->cap ? 0 : i + 1)
		;
	return i;
}

bool sub_index_has(const struct sub_set *set, node_ref ref)
{
	const struct sub_index *x = set->index;
	if (!x)
		return false;
	uint32_t i = place(x, set->count, ref);
	return i < x->cap && x->refs[i] == ref;
}

static size_t index_size(uint32_t cap) { return offsetof(struct sub_index, refs) + cap * sizeof(node_ref); }

static void index_put(struct sub_index *x, uint32_t count, node_ref ref) { x->refs[place(x, count, ref)] = ref; }

/* 3, 7 and 11 fill malloc's steps; then up to seven eighths full, growing by half. */
static bool index_resize(struct sub_set *set, struct trie *t, uint32_t cap)
{
	struct sub_index *old = set->index, *x = calloc(1, index_size(cap));
	if (!x)
		return false;
	x->trie = t;
	x->cap = cap;
	uint32_t n = 0;
	for (uint32_t i = 0; old && i < old->cap; i++) {
		if (old->refs[i] != 0)
			index_put(x, n++, old->refs[i]);
	}
	tree_bytes_add(&t->tree, index_size(cap));
	if (old)
		tree_bytes_sub(&t->tree, index_size(old->cap));
	free(old);
	set->index = x;
	return true;
}

bool sub_index_reserve(struct sub_set *set, struct trie *t)
{
	const struct sub_index *x = set->index;
	if (!x)
		return index_resize(set, t, 3);
	if (x->cap <= SUB_INDEX_SCAN)
		return set->count < x->cap || index_resize(set, t, x->cap < SUB_INDEX_SCAN ? x->cap + 4 : 2 * x->cap);
	return set->count < x->cap - x->cap / 8 || index_resize(set, t, x->cap + x->cap / 2);
}

void sub_index_add(struct sub_set *set, node_ref ref) { index_put(set->index, set->count++, ref); }

void sub_index_remove(struct sub_set *set, node_ref ref)
{
	struct sub_index *x = set->index;
	uint32_t gap = place(x, set->count, ref), i = gap;
	set->count--;
	if (x->cap <= SUB_INDEX_SCAN) {
		x->refs[gap] = x->refs[set->count];
		x->refs[set->count] = 0;
	} else {
		/* Whatever was filed behind the gap because its home was taken moves up, or the search for it would stop here. */
		for (;;) {
			i = i + 1 == x->cap ? 0 : i + 1;
			if (x->refs[i] == 0)
				break;
			uint32_t h = home(x, x->refs[i]);
			if (gap < i ? (h <= gap || h > i) : (h <= gap && h > i)) {
				x->refs[gap] = x->refs[i];
				gap = i;
			}
		}
		x->refs[gap] = 0;
	}
	struct trie *t = x->trie;
	if (set->count == 0)
		sub_index_free(set);
	else if (x->cap > SUB_INDEX_SCAN && set->count * 3 < x->cap)
		(void)index_resize(set, t, set->count < 8 ? SUB_INDEX_SCAN : set->count + set->count / 2);
}

void sub_index_free(struct sub_set *set)
{
	if (set->index)
		tree_bytes_sub(&set->index->trie->tree, index_size(set->index->cap));
	free(set->index);
	set->index = NULL;
	set->count = 0;
}

/* Writes the filter that ref stands for so that it ends at end; returns its length (at most FILTER_MAX). */
static size_t write_path(const struct tree *t, const struct node *n, uint8_t *end)
{
	uint8_t *p = end;
	for (;;) {
		p -= n->level_len;
		if (n->level_len > 0)
			memcpy(p, node_level(n), n->level_len);
		n = tree_at(t, n->parent);
		if (n->parent == 0)
			return (size_t)(end - p);
		*--p = '/';
	}
}

static uint8_t *write_before(uint8_t *p, const void *bytes, size_t len)
{
	memcpy(p - len, bytes, len);
	return p - len;
}

void sub_set_each(const struct sub_set *set,
    void (*fn)(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id), void *arg)
{
	static const char prefix[] = "$share/";
	uint8_t buf[FILTER_MAX], *end = buf + sizeof buf;
	for (uint32_t i = 0; set->index && i < set->index->cap; i++) {
		if (set->index->refs[i] == 0)
			continue;
		struct tree *t = &set->index->trie->tree;
		const struct node *n = tree_at(t, set->index->refs[i]);
		const struct share_group *group = share_of_node(n);
		uint64_t how = 0;
		uint8_t *p;
		if (group) {
			lock_take(&t->lock);
			how = share_how(group, set->handle);
			lock_release(&t->lock);
			p = end - write_path(t, tree_at(t, n->parent), end);
			p = write_before(p, "/", 1);
			p = write_before(p, node_level(n), n->level_len);
			p = write_before(p, prefix, sizeof prefix - 1);
		} else {
			(void)slot_read(slot_find(&n->value, set->handle), &how);
			p = end - write_path(t, n, end);
		}
		fn(arg, p, (size_t)(end - p), how_options(how), how_sub_id(how));
	}
}
