/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Hierarchical timing wheel [Varghese, Lauck 1987, scheme 6.2]: four levels of 64 slots. A slot of level l spans 64^l ticks; a timer
 * due in fewer than 64^(l+1) ticks stands in level l and moves down when its slot's span begins, so each is touched at most four
 * times (and once more each 12 days when it is due later than that). A bit per occupied slot finds the next event in
 * four steps, however far away it is. Owner loop only. */
#include "base/wheel.h"

#include <stddef.h>
#include <stdlib.h>

#define LEVELS 4u
#define SLOT_BITS 6u
#define SLOTS 64u
#define AHEAD_MAX ((UINT64_C(1) << (LEVELS * SLOT_BITS)) - 1) /* ticks */
#define NEVER UINT64_MAX

struct wheel {
	uint64_t tick;                /* up to and including this one everything has been taken out of the slots */
	uint64_t occupied[LEVELS];    /* bit s: slots[level][s] is not empty */
	struct wheel_timer *slots[LEVELS][SLOTS];
	struct wheel_timer *expired;  /* due and not yet fired, in the order of their ticks */
};

struct wheel *wheel_new(uint64_t now_ms)
{
	struct wheel *w = calloc(1, sizeof *w);
	if (w)
		w->tick = now_ms / WHEEL_TICK_MS;
	return w;
}

void wheel_free(struct wheel *w)
{
	free(w);
}

static void link_timer(struct wheel_timer **at, struct wheel_timer *t)
{
	t->next = *at;
	if (t->next)
		t->next->prev = &t->next;
	*at = t;
	t->prev = at;
}

/* The first tick at or after due_ms. */
static uint64_t tick_of(uint64_t due_ms)
{
	return due_ms / WHEEL_TICK_MS + (due_ms % WHEEL_TICK_MS != 0);
}

/* Puts t into the slot of its tick, but none before earliest. */
static void place(struct wheel *w, struct wheel_timer *t, uint64_t earliest)
{
	uint64_t tick = tick_of(t->due_ms);
	if (tick < earliest)
		tick = earliest;
	uint64_t ahead = tick - w->tick;
	if (ahead > AHEAD_MAX) { /* comes by when that slot moves down, and is placed again by its due_ms */
		ahead = AHEAD_MAX;
		tick = w->tick + AHEAD_MAX;
	}
	unsigned level = ahead < SLOTS ? 0 : (63u - (unsigned)__builtin_clzll(ahead)) / SLOT_BITS;
	unsigned slot = (unsigned)(tick >> (level * SLOT_BITS)) % SLOTS;
	link_timer(&w->slots[level][slot], t);
	w->occupied[level] |= UINT64_C(1) << slot;
}

void wheel_arm(struct wheel *w, struct wheel_timer *t, uint64_t due_ms)
{
	wheel_cancel(w, t);
	t->due_ms = due_ms;
	place(w, t, w->tick + 1); /* what is overdue fires with the next tick, so a timer that always re-arms itself ends no loop */
}

void wheel_cancel(struct wheel *w, struct wheel_timer *t)
{
	struct wheel_timer **at = t->prev;
	if (!at)
		return;
	*at = t->next;
	if (t->next)
		t->next->prev = at;
	t->next = NULL;
	t->prev = NULL;
	/* Was it the last of a slot? at may also lie in another timer, or be the list of the expired. */
	size_t index = ((uintptr_t)at - (uintptr_t)w->slots) / sizeof *at;
	if (!*at && (uintptr_t)at >= (uintptr_t)w->slots && index < (size_t)LEVELS * SLOTS)
		w->occupied[index / SLOTS] &= ~(UINT64_C(1) << index % SLOTS);
}

/* The next tick at which a slot falls due or moves down. */
static uint64_t next_event(const struct wheel *w)
{
	uint64_t next = NEVER;
	for (unsigned level = 0; level < LEVELS; level++) {
		uint64_t bits = w->occupied[level];
		if (bits == 0)
			continue;
		/* In units of the level's span, slots hold the 64 units after the current one, beginning with: */
		uint64_t first = (w->tick >> (level * SLOT_BITS)) + 1;
		unsigned turn = (unsigned)first % SLOTS;
		uint64_t turned = turn == 0 ? bits : (bits >> turn) | (bits << (SLOTS - turn));
		uint64_t tick = (first + (unsigned)__builtin_ctzll(turned)) << (level * SLOT_BITS);
		if (tick < next)
			next = tick;
	}
	return next;
}

static struct wheel_timer *empty_slot(struct wheel *w, unsigned level, uint64_t tick)
{
	unsigned slot = (unsigned)(tick >> (level * SLOT_BITS)) % SLOTS;
	struct wheel_timer *list = w->slots[level][slot];
	w->slots[level][slot] = NULL;
	w->occupied[level] &= ~(UINT64_C(1) << slot);
	return list;
}

/* Comes to tick: moves down the slots whose span begins, then appends what is due to *tail; returns the new tail. */
static struct wheel_timer **come_to(struct wheel *w, uint64_t tick, struct wheel_timer **tail)
{
	w->tick = tick;
	for (unsigned level = LEVELS - 1; level > 0; level--) {
		if (tick % (UINT64_C(1) << (level * SLOT_BITS)) != 0)
			continue;
		for (struct wheel_timer *t = empty_slot(w, level, tick), *next; t; t = next) {
			next = t->next;
			place(w, t, tick);
		}
	}
	*tail = empty_slot(w, 0, tick);
	if (*tail)
		(*tail)->prev = tail;
	while (*tail)
		tail = &(*tail)->next;
	return tail;
}

/* Behind what former calls, or the one that fires just now, have left. */
static void collect(struct wheel *w, uint64_t now)
{
	uint64_t tick = next_event(w);
	struct wheel_timer **tail = &w->expired;
	while (tick <= now && *tail)
		tail = &(*tail)->next;
	for (; tick <= now; tick = next_event(w))
		tail = come_to(w, tick, tail);
	if (w->tick < now)
		w->tick = now;
}

/* First everything due is collected, then fired: so the wheel is whole whenever a timer's function looks at it, and what is armed
 * meanwhile waits for the next call. Cancelling one that is collected takes it out of that list. */
void wheel_advance(struct wheel *w, uint64_t now_ms, void *owner)
{
	collect(w, now_ms / WHEEL_TICK_MS);
	for (unsigned n = 0; w->expired && n < WHEEL_FIRES; n++) {
		struct wheel_timer *t = w->expired;
		wheel_cancel(w, t);
		t->fire(t, owner);
	}
}

uint64_t wheel_next_ms(const struct wheel *w, uint64_t now_ms, uint64_t max_ms)
{
	uint64_t tick = next_event(w);
	if (w->expired)
		return 0;
	if (tick == NEVER)
		return max_ms;
	uint64_t at_ms = tick * WHEEL_TICK_MS;
	if (at_ms <= now_ms)
		return 0;
	return at_ms - now_ms < max_ms ? at_ms - now_ms : max_ms;
}
