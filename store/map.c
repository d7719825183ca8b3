/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Owns nothing but buckets; runs on the thread of whoever owns the table. */
#include "store/map_int.h"

#include <stdlib.h>

#define BUCKETS_MIN 16u

enum err map_create(struct map *m)
{
	m->buckets = calloc(BUCKETS_MIN, sizeof *m->buckets);
	m->mask = BUCKETS_MIN - 1;
	m->n = 0;
	return m->buckets ? ERR_OK : ERR_NOMEM;
}

void map_destroy(struct map *m)
{
	free(m->buckets);
	m->buckets = NULL;
	m->n = 0;
}

/* Without memory the table stays as it is: slower, still right. */
static void map_grow(struct map *m)
{
	size_t mask = m->mask * 2 + 1;
	struct map_node **buckets = calloc(mask + 1, sizeof *buckets);
	if (!buckets)
		return;
	for (size_t i = 0; i <= m->mask; i++) {
		struct map_node *node = m->buckets[i];
		while (node) {
			struct map_node *next = node->next;
			node->next = buckets[node->hash & mask];
			buckets[node->hash & mask] = node;
			node = next;
		}
	}
	free(m->buckets);
	m->buckets = buckets;
	m->mask = mask;
}

void map_insert(struct map *m, struct map_node *node, uint64_t hash)
{
	if (m->n > m->mask)
		map_grow(m);
	node->hash = hash;
	node->next = m->buckets[hash & m->mask];
	m->buckets[hash & m->mask] = node;
	m->n++;
}

void map_remove(struct map *m, struct map_node *node)
{
	struct map_node **at = &m->buckets[node->hash & m->mask];
	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	m->n--;
}

struct map_node *map_first(const struct map *m, uint64_t hash)
{
	struct map_node *node = m->buckets[hash & m->mask];
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct map_node *map_next(const struct map_node *node)
{
	uint64_t hash = node->hash;
	struct map_node *next = node->next;
	while (next && next->hash != hash)
		next = next->next;
	return next;
}

struct map_node *map_pop(struct map *m, size_t *at)
{
	if (!m->buckets)
		return NULL;
	for (; *at <= m->mask; (*at)++) {
		struct map_node *node = m->buckets[*at];
		if (!node)
			continue;
		m->buckets[*at] = node->next;
		m->n--;
		return node;
	}
	return NULL;
}

void map_each(const struct map *m, void (*f)(struct map_node *node, void *arg), void *arg)
{
	for (size_t i = 0; i <= m->mask; i++)
		for (struct map_node *node = m->buckets[i]; node; node = node->next)
			f(node, arg);
}
