/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The narrow place of base/epoch: a thread comes online at the very moment at which another one retires and reclaims. */
#include "base/epoch.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Two threads do nothing but come online, look once and go; two do nothing but replace, retire and reclaim. */
enum { ROUNDS = 300000, READERS = 2, WRITERS = 2 };

struct node {
	struct epoch_item item; /* first */
	unsigned alive;         /* 1 until freed */
};

static struct epoch *epoch;
static _Atomic(struct node *) shared;
static atomic_uint made, freed, writing;

static struct node *new_node(void)
{
	struct node *n = calloc(1, sizeof *n);
	if (!n)
		abort();
	n->alive = 1;
	atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
	return n;
}

static void free_node(struct epoch_item *item)
{
	struct node *n = (struct node *)(void *)item;
	n->alive = 0;
	free(n);
	atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

static void *look(void *arg)
{
	unsigned *wrong = arg;
	int id = epoch_register(epoch);
	while (atomic_load_explicit(&writing, memory_order_relaxed) > 0) {
		epoch_online(epoch, id);
		*wrong += atomic_load_explicit(&shared, memory_order_acquire)->alive != 1;
		epoch_offline(epoch, id);
	}
	epoch_unregister(epoch, id);
	return NULL;
}

static void *replace(void *arg)
{
	unsigned *most = arg;
	int id = epoch_register(epoch);
	for (int i = 0; i < ROUNDS; i++) {
		struct node *old = atomic_exchange_explicit(&shared, new_node(), memory_order_acq_rel);
		epoch_retire(epoch, id, &old->item, free_node);
		unsigned left = epoch_reclaim(epoch, id);
		*most = left > *most ? left : *most;
	}
	atomic_fetch_sub(&writing, 1);
	epoch_unregister(epoch, id);
	return NULL;
}

START_TEST(coming_online_races_with_reclaiming)
{
	pthread_t threads[READERS + WRITERS];
	unsigned results[READERS + WRITERS] = { 0 };
	epoch = epoch_new();
	ck_assert_ptr_nonnull(epoch);
	atomic_init(&shared, new_node());
	atomic_store(&writing, WRITERS);
	for (int i = 0; i < READERS + WRITERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i < READERS ? look : replace, &results[i]), 0);
	for (int i = 0; i < READERS + WRITERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < READERS; i++)
		ck_assert_uint_eq(results[i], 0);
	ck_assert_uint_gt(atomic_load(&freed), 0);
	epoch_free(epoch);
	ck_assert_uint_eq(atomic_load(&freed), atomic_load(&made) - 1);
	free(atomic_load(&shared));
}
END_TEST

/* The same as a litmus test (store buffering), without the luck that it takes for memory to be freed in time: either the barrier
 * waits for the reader, or the reader sees what was written before the barrier. With weaker orders in epoch_online this fails. */
enum { LITMUS_ROUNDS = 200000 };

static atomic_uint written, meeting;
static bool passed;

/* Both threads leave together. */
static void meet(unsigned round)
{
	atomic_fetch_add(&meeting, 1);
	for (unsigned spins = 0; atomic_load(&meeting) < 2 * round;)
		if (++spins % 4096 == 0)
			sched_yield();
}

static void *come_online(void *arg)
{
	unsigned *wrong = arg, round = 0;
	int id = epoch_register(epoch);
	for (int i = 0; i < LITMUS_ROUNDS; i++) {
		meet(++round);
		for (volatile int delay = i % 32; delay > 0; delay--) /* so that the narrow place is hit from both sides */
			;
		epoch_online(epoch, id);
		unsigned seen = atomic_load_explicit(&written, memory_order_relaxed);
		meet(++round);
		*wrong += passed && seen == 0;
		epoch_offline(epoch, id);
		atomic_store_explicit(&written, 0, memory_order_relaxed);
		meet(++round);
	}
	epoch_unregister(epoch, id);
	return NULL;
}

static void *put_barrier(void *arg)
{
	unsigned round = 0;
	(void)arg;
	for (int i = 0; i < LITMUS_ROUNDS; i++) {
		meet(++round);
		atomic_store_explicit(&written, 1, memory_order_relaxed);
		uint64_t barrier = epoch_barrier(epoch);
		passed = epoch_passed(epoch, barrier);
		meet(++round);
		meet(++round);
	}
	return NULL;
}

START_TEST(who_comes_online_is_waited_for_or_sees_what_was_written)
{
	pthread_t reader, writer;
	unsigned wrong = 0;
	epoch = epoch_new();
	ck_assert_ptr_nonnull(epoch);
	ck_assert_int_eq(pthread_create(&reader, NULL, come_online, &wrong), 0);
	ck_assert_int_eq(pthread_create(&writer, NULL, put_barrier, NULL), 0);
	pthread_join(reader, NULL);
	pthread_join(writer, NULL);
	ck_assert_uint_eq(wrong, 0);
	epoch_free(epoch);
}
END_TEST

SUITE_MAIN("stress_epoch", coming_online_races_with_reclaiming, who_comes_online_is_waited_for_or_sees_what_was_written)
