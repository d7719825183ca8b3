/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/wheel.h"
#include "tests/unit/base/suite.h"

#include <string.h>

#define TICK WHEEL_TICK_MS
static const uint64_t start_ms = 1000 * TICK;

struct probe {
	struct wheel_timer timer; /* first */
	unsigned fired;
};

static void count_fire(struct wheel_timer *t, void *owner)
{
	(void)owner;
	((struct probe *)(void *)t)->fired++;
}

static struct probe probe(void)
{
	return (struct probe){ .timer = { .fire = count_fire } };
}

static struct wheel *wheel(void)
{
	struct wheel *w = wheel_new(start_ms);
	ck_assert_ptr_nonnull(w);
	return w;
}

START_TEST(an_empty_wheel_waits_as_long_as_allowed)
{
	struct wheel *w = wheel();
	ck_assert_uint_eq(wheel_next_ms(w, start_ms, 60000), 60000);
	wheel_advance(w, start_ms + 100000000, NULL);
	ck_assert_uint_eq(wheel_next_ms(w, start_ms + 100000000, UINT64_MAX), UINT64_MAX);
	wheel_free(w);
	wheel_free(NULL);
}
END_TEST

START_TEST(a_timer_fires_once_at_the_first_tick_at_or_after_its_time)
{
	static const uint64_t due[] = { 1, TICK - 1, TICK, TICK + 1, 63 * TICK, 64 * TICK, 64 * TICK + 1, 4095 * TICK, 4096 * TICK, 4097 * TICK,
					262143 * TICK, 262144 * TICK, 262145 * TICK, 16777215ull * TICK, 16777216ull * TICK,
					16777217ull * TICK, 4294967296ull, 4294967297ull, 99999999999ull };
	for (size_t i = 0; i < sizeof due / sizeof *due; i++) {
		struct wheel *w = wheel();
		struct probe p = probe();
		uint64_t at = (start_ms + due[i] + TICK - 1) / TICK * TICK;
		wheel_arm(w, &p.timer, start_ms + due[i]);
		ck_assert(wheel_armed(&p.timer));
		wheel_advance(w, at - 1, NULL);
		ck_assert_uint_eq(p.fired, 0);
		wheel_advance(w, at, NULL);
		ck_assert_uint_eq(p.fired, 1);
		ck_assert(!wheel_armed(&p.timer));
		wheel_advance(w, at * 2, NULL);
		ck_assert_uint_eq(p.fired, 1);
		wheel_free(w);
	}
}
END_TEST

START_TEST(what_is_overdue_fires_with_the_next_tick)
{
	struct wheel *w = wheel();
	struct probe p = probe();
	wheel_arm(w, &p.timer, 0);
	ck_assert_uint_eq(wheel_next_ms(w, start_ms, 1000), TICK);
	wheel_advance(w, start_ms + TICK - 1, NULL);
	ck_assert_uint_eq(p.fired, 0);
	wheel_advance(w, start_ms + TICK, NULL);
	ck_assert_uint_eq(p.fired, 1);
	wheel_free(w);
}
END_TEST

START_TEST(a_time_beyond_all_clocks_never_fires)
{
	struct wheel *w = wheel();
	struct probe p = probe();
	wheel_arm(w, &p.timer, UINT64_MAX);
	wheel_advance(w, start_ms + 1000ull * 365 * 86400 * 1000, NULL);
	ck_assert_uint_eq(p.fired, 0);
	ck_assert(wheel_armed(&p.timer));
	wheel_free(w);
}
END_TEST

START_TEST(arming_again_moves_the_timer)
{
	struct wheel *w = wheel();
	struct probe p = probe();
	wheel_arm(w, &p.timer, start_ms + 10 * TICK);
	wheel_arm(w, &p.timer, start_ms + 20 * TICK);
	wheel_advance(w, start_ms + 19 * TICK, NULL);
	ck_assert_uint_eq(p.fired, 0);
	wheel_arm(w, &p.timer, start_ms + 21 * TICK);
	wheel_advance(w, start_ms + 20 * TICK, NULL);
	ck_assert_uint_eq(p.fired, 0);
	wheel_advance(w, start_ms + 22 * TICK, NULL);
	ck_assert_uint_eq(p.fired, 1);
	wheel_free(w);
}
END_TEST

START_TEST(a_cancelled_timer_neither_fires_nor_wakes)
{
	struct wheel *w = wheel();
	struct probe a = probe(), b = probe();
	wheel_arm(w, &a.timer, start_ms + 10 * TICK);
	wheel_arm(w, &b.timer, start_ms + 10 * TICK);
	wheel_cancel(w, &a.timer);
	wheel_cancel(w, &a.timer); /* fine when not armed */
	ck_assert(!wheel_armed(&a.timer));
	ck_assert_uint_eq(wheel_next_ms(w, start_ms, 1000000), 10 * TICK);
	wheel_cancel(w, &b.timer);
	ck_assert_uint_eq(wheel_next_ms(w, start_ms, 1000000), 1000000);
	wheel_advance(w, start_ms + 100 * TICK, NULL);
	ck_assert_uint_eq(a.fired + b.fired, 0);
	wheel_free(w);
}
END_TEST

START_TEST(time_that_stands_or_goes_back_fires_nothing)
{
	struct wheel *w = wheel();
	struct probe p = probe();
	wheel_advance(w, start_ms + 100 * TICK, NULL);
	wheel_arm(w, &p.timer, start_ms + 101 * TICK);
	wheel_advance(w, start_ms, NULL);
	wheel_advance(w, start_ms + 100 * TICK, NULL);
	ck_assert_uint_eq(p.fired, 0);
	wheel_advance(w, start_ms + 101 * TICK, NULL);
	ck_assert_uint_eq(p.fired, 1);
	wheel_free(w);
}
END_TEST

/* Fires, arms itself in the past and cancels its neighbour. */
struct busy {
	struct wheel_timer timer; /* first */
	struct wheel *w;
	struct probe *victim;
	unsigned fired;
};

static void fire_busy(struct wheel_timer *t, void *owner)
{
	struct busy *b = (struct busy *)(void *)t;
	ck_assert_ptr_eq(owner, b);
	ck_assert(!wheel_armed(t));
	b->fired++;
	wheel_arm(b->w, t, 0);
	wheel_cancel(b->w, &b->victim->timer);
}

START_TEST(firing_may_arm_itself_and_cancel_others_that_are_due)
{
	struct wheel *w = wheel();
	struct probe victim = probe();
	struct busy busy = { .timer = { .fire = fire_busy }, .w = w, .victim = &victim };
	wheel_arm(w, &busy.timer, start_ms + 2 * TICK);
	wheel_arm(w, &victim.timer, start_ms + 3 * TICK);
	wheel_advance(w, start_ms + 1000 * TICK, &busy);
	ck_assert_uint_eq(busy.fired, 1); /* once a call, however far it jumps */
	ck_assert_uint_eq(victim.fired, 0);
	ck_assert_uint_eq(wheel_next_ms(w, start_ms + 1000 * TICK, 1000), TICK);
	wheel_advance(w, start_ms + 1000 * TICK, &busy);
	ck_assert_uint_eq(busy.fired, 1);
	wheel_advance(w, start_ms + 1001 * TICK, &busy);
	ck_assert_uint_eq(busy.fired, 2);
	wheel_free(w);
}
END_TEST

START_TEST(a_call_fires_no_more_than_it_may_and_the_next_ones_the_rest_in_order)
{
	enum { MANY = 10 * WHEEL_FIRES };
	static struct probe probes[MANY];
	struct wheel *w = wheel();
	unsigned fired = 0;
	for (unsigned i = 0; i < MANY; i++) {
		probes[i] = probe();
		wheel_arm(w, &probes[i].timer, start_ms + (1 + i / WHEEL_FIRES) * TICK);
	}
	wheel_cancel(w, &probes[MANY / 2 + 5].timer);
	for (unsigned call = 0; call < 10; call++) {
		wheel_advance(w, start_ms + (100 + call) * TICK, NULL);
		if (call == 0) /* of those that wait, one is cancelled */
			wheel_cancel(w, &probes[MANY / 2 + 6].timer);
		for (unsigned i = fired = 0; i < MANY; i++)
			fired += probes[i].fired;
		ck_assert_uint_eq(fired, call < 9 ? (call + 1) * WHEEL_FIRES : MANY - 2);
		ck_assert_uint_eq(probes[call * WHEEL_FIRES].fired, 1);
		ck_assert_uint_eq(wheel_next_ms(w, start_ms + (100 + call) * TICK, 1000), call < 9 ? 0 : 1000);
	}
	wheel_free(w);
}
END_TEST

/* Against a model: per timer the tick at which it must fire, 0 when not armed. */
enum { TIMERS = 300 };

struct model {
	struct wheel *w;
	uint64_t now_ms, tick; /* tick: the wheel's, as it is at arming time */
	uint64_t last_fired;   /* tick of the last one fired in this advance */
	struct modelled { struct wheel_timer timer; uint64_t tick; } timers[TIMERS];
	uint64_t random;
	unsigned fired;
};

static uint64_t draw(struct model *m, uint64_t below)
{
	m->random ^= m->random << 13; /* xorshift64 */
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random % below;
}

/* Spans of all levels and their edges alike. */
static uint64_t draw_span_ms(struct model *m)
{
	uint64_t span = UINT64_C(1) << draw(m, 34);
	return span + draw(m, span) - (draw(m, 4) == 0);
}

static void model_arm(struct model *m, struct modelled *t)
{
	uint64_t due = draw(m, 20) == 0 ? m->now_ms - draw(m, 1000) : m->now_ms + draw_span_ms(m);
	wheel_arm(m->w, &t->timer, due);
	t->tick = (due + TICK - 1) / TICK;
	if (t->tick <= m->tick)
		t->tick = m->tick + 1;
}

static void model_cancel(struct model *m, struct modelled *t)
{
	wheel_cancel(m->w, &t->timer);
	t->tick = 0;
}

static void model_fire(struct wheel_timer *timer, void *owner)
{
	struct model *m = owner;
	struct modelled *t = (struct modelled *)(void *)timer;
	ck_assert_uint_ne(t->tick, 0);
	ck_assert_uint_le(t->tick, m->now_ms / TICK);
	ck_assert_uint_ge(t->tick, m->last_fired); /* in order */
	m->last_fired = t->tick;
	m->fired++;
	t->tick = 0;
	struct modelled *other = &m->timers[draw(m, TIMERS)];
	switch (draw(m, 4)) {
	case 0: model_arm(m, t); break;
	case 1: model_arm(m, other); break;
	case 2: model_cancel(m, other); break;
	default: break;
	}
}

static uint64_t model_next_tick(const struct model *m)
{
	uint64_t next = UINT64_MAX;
	for (int i = 0; i < TIMERS; i++)
		if (m->timers[i].tick != 0 && m->timers[i].tick < next)
			next = m->timers[i].tick;
	return next;
}

static void model_advance(struct model *m, uint64_t by_ms)
{
	m->now_ms += by_ms;
	m->tick = m->now_ms / TICK;
	m->last_fired = 0;
	do
		wheel_advance(m->w, m->now_ms, m);
	while (wheel_next_ms(m->w, m->now_ms, 1) == 0);
	unsigned wrong = 0; /* an assertion of Check's each would take longer than the rest */
	for (int i = 0; i < TIMERS; i++) {
		const struct modelled *t = &m->timers[i];
		wrong += (t->tick != 0 && t->tick <= m->tick) || wheel_armed(&t->timer) != (t->tick != 0);
	}
	ck_assert_uint_eq(wrong, 0);
}

static void check_next(const struct model *m)
{
	uint64_t tick = model_next_tick(m), next = wheel_next_ms(m->w, m->now_ms, UINT64_MAX);
	if (tick == UINT64_MAX) {
		ck_assert_uint_eq(next, UINT64_MAX);
		return;
	}
	ck_assert_uint_gt(next, 0);
	ck_assert_uint_le(next, tick * TICK - m->now_ms); /* never late */
	if (tick - m->tick < 64 - m->tick % 64) /* due before any slot moves down: exact */
		ck_assert_uint_eq(next, tick * TICK - m->now_ms);
	ck_assert_uint_eq(wheel_next_ms(m->w, m->now_ms, 5), next < 5 ? next : 5);
}

static void run_model(uint64_t seed, unsigned steps)
{
	static struct model m;
	memset(&m, 0, sizeof m);
	m.random = seed;
	m.now_ms = draw(&m, UINT64_C(1) << 40);
	m.tick = m.now_ms / TICK;
	m.w = wheel_new(m.now_ms);
	ck_assert_ptr_nonnull(m.w);
	for (int i = 0; i < TIMERS; i++)
		m.timers[i].timer.fire = model_fire;
	for (unsigned step = 0; step < steps; step++) {
		struct modelled *t = &m.timers[draw(&m, TIMERS)];
		uint64_t what = draw(&m, 100);
		if (what < 60)
			model_arm(&m, t);
		else if (what < 70)
			model_cancel(&m, t);
		else if (what < 85)
			model_advance(&m, draw(&m, 200));
		else if (what < 95) /* as a loop does: as far as the wheel says */
			model_advance(&m, wheel_next_ms(m.w, m.now_ms, 100000000));
		else
			model_advance(&m, draw_span_ms(&m));
		check_next(&m);
	}
	/* A loop that only ever waits as told ends with nothing armed (firing arms less than it fires). */
	for (unsigned waits = 0; model_next_tick(&m) != UINT64_MAX; waits++) {
		ck_assert_uint_lt(waits, 100000);
		model_advance(&m, wheel_next_ms(m.w, m.now_ms, UINT64_MAX));
	}
	ck_assert_uint_gt(m.fired, steps / 4);
	wheel_free(m.w);
}

START_TEST(random_operations_agree_with_a_naive_model)
{
	for (uint64_t seed = 1; seed <= 20; seed++)
		run_model(seed * UINT64_C(0x9E3779B97F4A7C15), 5000);
}
END_TEST

SUITE_MAIN("wheel", an_empty_wheel_waits_as_long_as_allowed, a_timer_fires_once_at_the_first_tick_at_or_after_its_time,
	   what_is_overdue_fires_with_the_next_tick, a_time_beyond_all_clocks_never_fires, arming_again_moves_the_timer,
	   a_cancelled_timer_neither_fires_nor_wakes, time_that_stands_or_goes_back_fires_nothing,
	   firing_may_arm_itself_and_cancel_others_that_are_due, a_call_fires_no_more_than_it_may_and_the_next_ones_the_rest_in_order,
	   random_operations_agree_with_a_naive_model)
