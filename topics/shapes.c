/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "topics/shapes_int.h"

#include <stdlib.h>

struct counted {
	struct shape shape;
	uint32_t filters; /* of this shape */
};

struct shapes {
	uint32_t n, cap;
	struct counted v[];
};

static bool is_plus(const uint8_t *p, size_t len) { return len == 1 && p[0] == '+'; }

static void shape_set(struct shape *s, uint32_t level) { s->plus[level / 64] |= UINT64_C(1) << level % 64; }

struct shape shape_of_filter(const uint8_t *filter, size_t len)
{
	struct level_cursor c = level_first(filter, len);
	struct level level;
	struct shape s = { { 0 } };
	for (uint32_t i = 0; i < TOPIC_LEVELS_MAX && level_next(&c, &level); i++) {
		if (is_plus(level.p, level.len))
			shape_set(&s, i);
	}
	return s;
}

struct shape shape_of_node(const struct tree *t, const struct node *filter)
{
	uint32_t depth = 0; /* levels that lead to the filter's node */
	struct shape s = { { 0 } };
	for (const struct node *n = filter; n->parent != 0; n = tree_at(t, n->parent))
		depth++;
	for (const struct node *n = filter; n->parent != 0; n = tree_at(t, n->parent)) {
		depth--;
		if (is_plus(node_level(n), n->level_len))
			shape_set(&s, depth);
	}
	return s;
}

static bool is_counted(const struct shape *s)
{
	unsigned plus = 0;
	for (size_t i = 0; i < 4; i++)
		plus += (unsigned)__builtin_popcountll(s->plus[i]);
	return plus >= 2;
}

static struct counted *find(const struct sub_set *set, const struct shape *s)
{
	for (uint32_t i = 0; set->shapes && i < set->shapes->n; i++) {
		if (memcmp(&set->shapes->v[i].shape, s, sizeof *s) == 0)
			return &set->shapes->v[i];
	}
	return NULL;
}

bool sub_set_shape_fits(const struct sub_set *set, const uint8_t *filter, size_t len, uint32_t max)
{
	struct topic_share topic;
	if (!topic_share_parse(filter, len, &topic))
		return true; /* trie_subscribe refuses it */
	struct shape s = shape_of_filter(topic.filter, topic.filter_len);
	return !is_counted(&s) || !set->shapes || set->shapes->n < max || find(set, &s);
}

static size_t shapes_size(uint32_t cap) { return offsetof(struct shapes, v) + cap * sizeof(struct counted); }

bool shapes_reserve(struct sub_set *set, struct tree *t, const struct shape *s)
{
	struct shapes *x = set->shapes;
	if (!is_counted(s) || (x && x->n < x->cap) || find(set, s))
		return true;
	uint32_t cap = x ? 2 * x->cap : 4;
	struct shapes *bigger = realloc(x, shapes_size(cap));
	if (!bigger)
		return false;
	tree_bytes_add(t, shapes_size(cap));
	if (x)
		tree_bytes_sub(t, shapes_size(cap / 2));
	else
		bigger->n = 0;
	bigger->cap = cap;
	set->shapes = bigger;
	return true;
}

void shapes_add(struct sub_set *set, const struct shape *s)
{
	if (!is_counted(s))
		return;
	struct counted *c = find(set, s);
	if (c)
		c->filters++;
	else
		set->shapes->v[set->shapes->n++] = (struct counted){ *s, 1 };
}

void shapes_remove(struct sub_set *set, struct tree *t, const struct shape *s)
{
	struct counted *c = is_counted(s) ? find(set, s) : NULL;
	if (!c || --c->filters > 0)
		return;
	*c = set->shapes->v[--set->shapes->n];
	if (set->shapes->n == 0)
		shapes_free(set, t);
}

void shapes_free(struct sub_set *set, struct tree *t)
{
	if (set->shapes)
		tree_bytes_sub(t, shapes_size(set->shapes->cap));
	free(set->shapes);
	set->shapes = NULL;
}
