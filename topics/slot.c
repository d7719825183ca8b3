/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writers' side of a node's subscribers. Under the tree's lock. */
#include "topics/slot_int.h"

static uint64_t get(const struct node_value *s) { return atomic_load_explicit(&s->who, memory_order_relaxed); }
static void set(struct node_value *s, uint64_t who) { atomic_store_explicit(&s->who, who, memory_order_release); }

static void set_how(struct node_value *s, uint64_t how)
{
	uint64_t old = atomic_load_explicit(&s->how, memory_order_relaxed);
	how = (how & ~HOW_CHANGES) | ((old + 0x100) & HOW_CHANGES);
	atomic_store_explicit(&s->how, how, memory_order_release);
}

static struct slot_table *table_of(uint64_t who) { return who_kind(who) == WHO_TABLE ? who_object(who) : NULL; }

static size_t table_size(uint32_t cap) { return sizeof(struct slot_table) + cap * sizeof(struct node_value); }

/* Places for n: few up to SLOT_SCAN, where they are searched one by one; above, two thirds full. */
static uint32_t table_cap(uint32_t n)
{
	if (n <= 4)
		return n < 2 ? 2 : n;
	return n <= SLOT_SCAN ? (n + 1) & ~1u : n + n / 2;
}

static bool table_has_room(const struct slot_table *s)
{
	return s->cap <= SLOT_SCAN ? s->live < s->cap : s->used < s->cap - s->cap / 8;
}

/* Where the search for who begins. The broker, not strangers, makes handles: a fixed odd factor spreads them. */
static uint32_t table_home(const struct slot_table *s, uint64_t who)
{
	return s->cap <= SLOT_SCAN ? 0 : hash_place((uint32_t)(who * UINT64_C(0x9e3779b97f4a7c15) >> 32), s->cap);
}

static uint32_t table_next(const struct slot_table *s, uint32_t i) { return i + 1 == s->cap ? 0 : i + 1; }

static bool is_free(uint64_t who) { return who == 0 || who_kind(who) == WHO_GONE; }

/* Puts who into a table that has room. */
static void table_put(struct slot_table *s, uint64_t who, uint64_t how)
{
	uint32_t i = table_home(s, who);
	while (!is_free(get(&s->slots[i])))
		i = table_next(s, i);
	s->used += get(&s->slots[i]) == 0;
	s->live++;
	set_how(&s->slots[i], how);
	set(&s->slots[i], who);
}

/* A new table with everybody who is at the place, and room for extra. */
static struct slot_table *table_new(struct tree *t, const struct node_value *at, uint32_t extra)
{
	uint64_t who = get(at);
	const struct slot_table *old = table_of(who);
	uint32_t cap = table_cap((old ? old->live : who != 0) + extra);
	struct slot_table *s = tree_alloc(t, table_size(cap));
	if (!s)
		return NULL;
	s->cap = cap;
	if (!old && who != 0)
		table_put(s, who, atomic_load_explicit(&at->how, memory_order_relaxed));
	for (uint32_t i = 0; old && i < old->cap; i++) {
		if (!is_free(get(&old->slots[i])))
			table_put(s, get(&old->slots[i]), atomic_load_explicit(&old->slots[i].how, memory_order_relaxed));
	}
	return s;
}

static void table_publish(struct tree *t, int thread, struct node_value *at, struct slot_table *s)
{
	struct slot_table *old = table_of(get(at));
	set(at, s ? who_pointer(WHO_TABLE, s) : 0);
	if (old)
		tree_retire(t, thread, &old->limbo, table_size(old->cap));
}

enum err slot_add(struct tree *t, int thread, struct node_value *at, uint64_t who, uint64_t how)
{
	struct slot_table *s = table_of(get(at));
	if (get(at) == 0) {
		set_how(at, how);
		set(at, who);
		return ERR_OK;
	}
	if (s && table_has_room(s)) {
		table_put(s, who, how);
		return ERR_OK;
	}
	s = table_new(t, at, 1);
	if (!s)
		return ERR_NOMEM;
	table_put(s, who, how);
	table_publish(t, thread, at, s);
	return ERR_OK;
}

const struct node_value *slot_find(const struct node_value *at, uint64_t who)
{
	uint64_t here = atomic_load_explicit(&at->who, memory_order_acquire);
	if (who_kind(here) != WHO_TABLE)
		return here == who ? at : NULL;
	const struct slot_table *s = who_object(here);
	uint32_t i = table_home(s, who);
	for (uint32_t left = s->cap; left > 0; left--, i = table_next(s, i)) {
		here = atomic_load_explicit(&s->slots[i].who, memory_order_acquire);
		if (here == who)
			return &s->slots[i];
		if (here == 0 && s->cap > SLOT_SCAN)
			return NULL;
	}
	return NULL;
}

static struct node_value *find_mutable(struct node_value *at, uint64_t who)
{
	struct slot_table *s = table_of(get(at));
	const struct node_value *found = slot_find(at, who);
	return !s || !found ? (found ? at : NULL) : &s->slots[found - s->slots];
}

void slot_change(struct node_value *at, uint64_t who, uint64_t how) { set_how(find_mutable(at, who), how); }

/* Empties place i; where the chain of probing ends behind it, so does it and the places given up before it. */
static void table_take(struct slot_table *s, uint32_t i)
{
	s->live--;
	if (s->cap > SLOT_SCAN && get(&s->slots[table_next(s, i)]) != 0) {
		set(&s->slots[i], (uint64_t)WHO_GONE << WHO_KIND_SHIFT);
		return;
	}
	do {
		set(&s->slots[i], 0);
		s->used--;
		i = i == 0 ? s->cap - 1 : i - 1;
	} while (s->used > 0 && who_kind(get(&s->slots[i])) == WHO_GONE);
}

/* Back into the node when one is left. */
static void table_dissolve(struct tree *t, int thread, struct node_value *at)
{
	struct slot_table *s = table_of(get(at));
	uint32_t i = 0;
	while (is_free(get(&s->slots[i])))
		i++;
	set_how(at, atomic_load_explicit(&s->slots[i].how, memory_order_relaxed));
	set(at, get(&s->slots[i]));
	tree_retire(t, thread, &s->limbo, table_size(s->cap));
}

void slot_remove(struct tree *t, int thread, struct node_value *at, uint64_t who)
{
	struct slot_table *s = table_of(get(at));
	if (!s) {
		set(at, 0);
		return;
	}
	table_take(s, (uint32_t)(find_mutable(at, who) - s->slots));
	if (s->live == 0) {
		table_publish(t, thread, at, NULL);
	} else if (s->live * 3 < s->cap) {
		struct slot_table *smaller;
		if (s->live == 1)
			table_dissolve(t, thread, at);
		else if ((smaller = table_new(t, at, 0)) != NULL) /* without memory it stays large */
			table_publish(t, thread, at, smaller);
	}
}

bool slot_check(struct node_value *at, uint64_t *n)
{
	const struct slot_table *s = table_of(get(at));
	*n = get(at) != 0;
	if (!s)
		return !is_free(get(at)) || get(at) == 0;
	uint32_t used = 0, live = 0;
	for (uint32_t i = 0; i < s->cap; i++) {
		uint64_t who = get(&s->slots[i]);
		used += who != 0;
		live += !is_free(who);
		if (!is_free(who) && slot_find(at, who) != &s->slots[i])
			return false;
	}
	*n = live;
	return used == s->used && live == s->live && live > 0;
}
