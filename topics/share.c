/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The members of a share group. Changed under the tree's lock; picked from by any thread without one. */
#include "topics/share_int.h"

#include <stdlib.h>

struct member {
	struct node_value value;                    /* who and how, as in slot_int.h */
	_Atomic(struct share_presence *) presence;  /* stored between how and who */
};

/* In no order, without holes, so that round robin is fair. Who leaves is replaced by the last. */
struct members {
	struct limbo_link limbo;
	uint32_t cap;        /* immutable */
	_Atomic(uint32_t) n;
	struct member of[];
};

struct share_group {
	struct epoch_item item;
	atomic_uint refs;
	_Atomic(uint32_t) turn;
	_Atomic(uint32_t) changes;          /* of the members */
	uint8_t mark;                       /* immutable after share_new */
	_Atomic(struct members *) members;
	/* Writer lock: where a handle is among the members, plus 1; open addressing with backward shift. NULL while members are few. */
	uint32_t *places;
	uint32_t places_cap;
};
#define MEMBERS_SCAN 8u

static size_t members_size(uint32_t cap) { return sizeof(struct members) + cap * sizeof(struct member); }

static struct members *members_of(const struct share_group *g) { return atomic_load_explicit(&g->members, memory_order_acquire); }
static uint32_t members_n(const struct members *m) { return atomic_load_explicit(&m->n, memory_order_acquire); }
static uint64_t who_at(const struct members *m, uint32_t i)
{
	return atomic_load_explicit(&m->of[i].value.who, memory_order_relaxed);
}

struct share_group *share_new(struct tree *t, uint8_t mark)
{
	struct share_group *g = calloc(1, sizeof *g);
	struct members *m = calloc(1, members_size(2));
	if (!g || !m) {
		free(g);
		free(m);
		return NULL;
	}
	m->cap = 2;
	g->mark = mark;
	atomic_init(&g->refs, 1);
	atomic_init(&g->members, m);
	tree_bytes_add(t, sizeof *g + members_size(2));
	return g;
}

uint8_t share_mark(const struct share_group *g) { return g->mark; }

struct share_group *share_ref(struct share_group *g)
{
	atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
	return g;
}

void share_unref(struct share_group *g)
{
	if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(members_of(g));
	free(g->places);
	free(g);
}

static size_t group_bytes(const struct share_group *g)
{
	return sizeof *g + members_size(members_of(g)->cap) + g->places_cap * sizeof *g->places;
}

void share_unmake(struct tree *t, struct share_group *g)
{
	tree_bytes_sub(t, group_bytes(g));
	share_unref(g);
}

static void expired(struct epoch_item *item) { share_unref((struct share_group *)(void *)item); /* first member */ }

void share_retire(struct tree *t, int thread, struct share_group *g)
{
	tree_bytes_sub(t, group_bytes(g));
	epoch_retire(t->epoch, thread, &g->item, expired);
}

/* ---- who is where ---- */

static uint32_t home(const struct share_group *g, uint64_t who)
{
	return hash_place((uint32_t)(who * UINT64_C(0x9e3779b97f4a7c15) >> 32), g->places_cap);
}

static uint32_t next_place(const struct share_group *g, uint32_t p) { return p + 1 == g->places_cap ? 0 : p + 1; }

/* The place of who, or the empty one where it would go. */
static uint32_t place_of(const struct share_group *g, const struct members *m, uint64_t who)
{
	uint32_t p = home(g, who);
	while (g->places[p] != 0 && who_at(m, g->places[p] - 1) != who)
		p = next_place(g, p);
	return p;
}

/* The index of who among the members; it is there. */
static uint32_t index_of(const struct share_group *g, const struct members *m, uint64_t who)
{
	if (g->places)
		return g->places[place_of(g, m, who)] - 1;
	uint32_t i = 0;
	while (who_at(m, i) != who)
		i++;
	return i;
}

static void place_remove(struct share_group *g, const struct members *m, uint64_t who)
{
	uint32_t gap = place_of(g, m, who), p = gap;
	for (;;) {
		p = next_place(g, p);
		if (g->places[p] == 0)
			break;
		uint32_t h = home(g, who_at(m, g->places[p] - 1));
		if (gap < p ? (h <= gap || h > p) : (h <= gap && h > p)) {
			g->places[gap] = g->places[p];
			gap = p;
		}
	}
	g->places[gap] = 0;
}

/* ---- changes ---- */

static void member_set(struct member *m, uint64_t who, uint64_t how, struct share_presence *presence)
{
	uint64_t old = atomic_load_explicit(&m->value.how, memory_order_relaxed);
	how = (how & ~HOW_CHANGES) | ((old + 0x100) & HOW_CHANGES);
	atomic_store_explicit(&m->value.who, 0, memory_order_relaxed);
	atomic_store_explicit(&m->value.how, how, memory_order_release);
	atomic_store_explicit(&m->presence, presence, memory_order_release);
	atomic_store_explicit(&m->value.who, who, memory_order_release);
}

/* A larger or smaller array, and the places for it. */
static enum err resize(struct tree *t, int thread, struct share_group *g, uint32_t cap)
{
	struct members *old = members_of(g), *m = calloc(1, members_size(cap));
	uint32_t n = members_n(old), places_cap = cap > MEMBERS_SCAN ? cap + cap / 2 : 0;
	uint32_t *places = places_cap > 0 ? calloc(places_cap, sizeof *places) : NULL;
	if (!m || (places_cap > 0 && !places)) {
		free(m);
		free(places);
		return ERR_NOMEM;
	}
	tree_bytes_add(t, members_size(cap) + places_cap * sizeof *places);
	tree_bytes_sub(t, g->places_cap * sizeof *places);
	free(g->places);
	g->places = places;
	g->places_cap = places_cap;
	m->cap = cap;
	for (uint32_t i = 0; i < n; i++) {
		const struct member *o = &old->of[i];
		member_set(&m->of[i], who_at(old, i), atomic_load_explicit(&o->value.how, memory_order_relaxed),
		    atomic_load_explicit(&o->presence, memory_order_relaxed));
		if (places)
			places[place_of(g, m, who_at(m, i))] = i + 1;
	}
	atomic_init(&m->n, n);
	atomic_store_explicit(&g->members, m, memory_order_release);
	tree_retire_malloced(t, thread, &old->limbo, members_size(old->cap));
	return ERR_OK;
}

static void changed(struct share_group *g) { atomic_fetch_add_explicit(&g->changes, 1, memory_order_release); }

enum err share_join(struct tree *t, int thread, struct share_group *g, sub_handle who, uint64_t how, struct share_presence *presence)
{
	uint32_t n = members_n(members_of(g));
	if (n == members_of(g)->cap && resize(t, thread, g, n * 2) != ERR_OK)
		return ERR_NOMEM;
	struct members *m = members_of(g);
	uint32_t place = g->places ? place_of(g, m, who) : 0;
	member_set(&m->of[n], who, how, presence);
	if (g->places)
		g->places[place] = n + 1;
	atomic_store_explicit(&m->n, n + 1, memory_order_release);
	changed(g);
	return ERR_OK;
}

void share_change(struct share_group *g, sub_handle who, uint64_t how)
{
	struct members *m = members_of(g);
	struct member *at = &m->of[index_of(g, m, who)];
	uint64_t old = atomic_load_explicit(&at->value.how, memory_order_relaxed);
	atomic_store_explicit(&at->value.how, (how & ~HOW_CHANGES) | ((old + 0x100) & HOW_CHANGES), memory_order_release);
}

uint32_t share_leave(struct tree *t, int thread, struct share_group *g, sub_handle who)
{
	struct members *m = members_of(g);
	uint32_t i = index_of(g, m, who), last = members_n(m) - 1;
	if (g->places)
		place_remove(g, m, who);
	if (i != last) {
		const struct member *l = &m->of[last];
		if (g->places)
			g->places[place_of(g, m, who_at(m, last))] = i + 1;
		/* A reader may meet the last one twice meanwhile, or (changes tells it) not at all. */
		member_set(&m->of[i], who_at(m, last), atomic_load_explicit(&l->value.how, memory_order_relaxed),
		    atomic_load_explicit(&l->presence, memory_order_relaxed));
	}
	atomic_store_explicit(&m->n, last, memory_order_release);
	changed(g);
	if (last > 0 && last * 4 <= m->cap && m->cap > 2)
		(void)resize(t, thread, g, m->cap / 2); /* without memory it stays large */
	return last;
}

uint64_t share_how(const struct share_group *g, sub_handle who)
{
	const struct members *m = members_of(g);
	return atomic_load_explicit(&m->of[index_of(g, m, who)].value.how, memory_order_relaxed);
}

/* ---- readers ---- */

/* A member's words that were there together (slot_int.h); 0: there was none. */
static uint64_t member_read(const struct member *m, uint64_t *how, struct share_presence **presence)
{
	uint64_t before = atomic_load_explicit(&m->value.how, memory_order_acquire);
	for (;;) {
		uint64_t who = atomic_load_explicit(&m->value.who, memory_order_acquire);
		*presence = atomic_load_explicit(&m->presence, memory_order_acquire);
		*how = atomic_load_explicit(&m->value.how, memory_order_relaxed);
		if (*how == before)
			return who;
		before = atomic_load_explicit(&m->value.how, memory_order_acquire);
	}
}

/* Rank of a member: 3 ready, 2 busy, 1 away but its session waits for it, 0 not to be picked. */
static unsigned rank(uint64_t who, const struct share_presence *presence)
{
	switch ((enum share_state)atomic_load_explicit(&presence->state, memory_order_relaxed)) {
	case SHARE_READY:
		return 3;
	case SHARE_BUSY:
		return 2;
	case SHARE_AWAY:
		return sub_handle_persistent(who) ? 1 : 0;
	}
	return 0;
}

/* One round; O(members) when nobody is ready. */
static bool pick_once(struct share_group *g, sub_handle exclude, struct target *out)
{
	const struct members *m = members_of(g);
	uint32_t n = members_n(m), best_at = 0;
	unsigned best = 0;
	if (n == 0)
		return false;
	uint32_t start = atomic_fetch_add_explicit(&g->turn, 1, memory_order_relaxed) % n;
	for (uint32_t i = 0; i < n && best < 3; i++) {
		uint64_t how;
		struct share_presence *presence;
		uint32_t at = start + i < n ? start + i : start + i - n;
		uint64_t who = member_read(&m->of[at], &how, &presence);
		unsigned r = who == 0 || who == exclude ? 0 : rank(who, presence);
		if (r <= best)
			continue;
		best = r;
		best_at = i;
		*out = (struct target){ .handle = who, .sub_id = how_sub_id(how), .options = how_options(how) };
	}
	/* The next turn begins behind the one picked: those that were passed over don't give theirs to a neighbour. */
	if (best > 0 && best_at > 0)
		atomic_fetch_add_explicit(&g->turn, best_at, memory_order_relaxed);
	return best > 0;
}

bool share_pick(struct share_group *g, sub_handle exclude, struct target *out)
{
	for (;;) {
		uint32_t changes = atomic_load_explicit(&g->changes, memory_order_acquire);
		if (pick_once(g, exclude, out))
			return true;
		/* Somebody moved while we looked, perhaps past us. */
		if (atomic_load_explicit(&g->changes, memory_order_relaxed) == changes)
			return false;
	}
}

void sub_set_presence(struct sub_set *set, enum share_state state)
{
	if (set->presence)
		atomic_store_explicit(&set->presence->state, state, memory_order_relaxed);
}

bool share_check(const struct share_group *g, uint64_t *n)
{
	const struct members *m = members_of(g);
	*n = members_n(m);
	for (uint32_t i = 0; i < *n; i++) {
		if (!who_is_handle(who_at(m, i)) || index_of(g, m, who_at(m, i)) != i)
			return false;
	}
	return *n > 0;
}
