/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/epoch.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

struct thing {
	struct epoch_item item; /* first */
	unsigned value;
};

static unsigned freed, freed_order[64];

static void free_thing(struct epoch_item *item)
{
	struct thing *t = (struct thing *)(void *)item;
	if (freed < 64)
		freed_order[freed] = t->value;
	freed++;
	free(t);
}

static struct thing *thing(unsigned value)
{
	struct thing *t = calloc(1, sizeof *t);
	ck_assert_ptr_nonnull(t);
	t->value = value;
	return t;
}

static void retire(struct epoch *e, int id, unsigned value)
{
	epoch_retire(e, id, &thing(value)->item, free_thing);
}

static struct epoch *domain(void)
{
	freed = 0;
	struct epoch *e = epoch_new();
	ck_assert_ptr_nonnull(e);
	return e;
}

START_TEST(nothing_retired_nothing_to_reclaim)
{
	struct epoch *e = domain();
	int id = epoch_register(e);
	ck_assert_uint_eq(epoch_reclaim(e, id), 0);
	epoch_free(e);
	epoch_free(NULL);
}
END_TEST

START_TEST(with_everyone_offline_reclaim_frees_at_once)
{
	struct epoch *e = domain();
	int a = epoch_register(e), b = epoch_register(e);
	ck_assert_int_ge(b, 0);
	retire(e, a, 1);
	ck_assert_uint_eq(freed, 0);
	ck_assert_uint_eq(epoch_reclaim(e, a), 0);
	ck_assert_uint_eq(freed, 1);
	epoch_free(e);
}
END_TEST

START_TEST(an_online_thread_holds_what_was_retired_since_it_was_quiescent)
{
	struct epoch *e = domain();
	int a = epoch_register(e), b = epoch_register(e);
	epoch_online(e, b);
	retire(e, a, 1);
	ck_assert_uint_eq(epoch_reclaim(e, a), 1);
	epoch_quiescent(e, b);
	retire(e, a, 2);
	ck_assert_uint_eq(epoch_reclaim(e, a), 1); /* the first only */
	ck_assert_uint_eq(freed, 1);
	epoch_offline(e, b);
	ck_assert_uint_eq(epoch_reclaim(e, a), 0);
	ck_assert_uint_eq(freed, 2);
	epoch_free(e);
}
END_TEST

START_TEST(a_thread_that_comes_online_later_holds_nothing)
{
	struct epoch *e = domain();
	int a = epoch_register(e), b = epoch_register(e);
	retire(e, a, 1);
	epoch_online(e, b);
	ck_assert_uint_eq(epoch_reclaim(e, a), 0);
	ck_assert_uint_eq(freed, 1);
	epoch_offline(e, b);
	epoch_free(e);
}
END_TEST

START_TEST(a_thread_does_not_free_under_itself)
{
	struct epoch *e = domain();
	int a = epoch_register(e);
	epoch_online(e, a);
	retire(e, a, 1);
	ck_assert_uint_eq(epoch_reclaim(e, a), 1);
	epoch_quiescent(e, a);
	ck_assert_uint_eq(epoch_reclaim(e, a), 0);
	epoch_offline(e, a);
	epoch_free(e);
}
END_TEST

START_TEST(items_are_freed_in_the_order_of_retiring)
{
	struct epoch *e = domain();
	int a = epoch_register(e);
	for (unsigned i = 0; i < 10; i++)
		retire(e, a, i);
	ck_assert_uint_eq(epoch_reclaim(e, a), 0);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_uint_eq(freed_order[i], i);
	epoch_free(e);
}
END_TEST

/* A tree node, freed, retires its child. */
static struct epoch *nested_epoch;
static int nested_id;

static void free_and_retire(struct epoch_item *item)
{
	free_thing(item);
	retire(nested_epoch, nested_id, 2);
}

START_TEST(a_free_function_may_retire_more)
{
	struct epoch *e = domain();
	nested_epoch = e;
	nested_id = epoch_register(e);
	epoch_retire(e, nested_id, &thing(1)->item, free_and_retire);
	epoch_online(e, nested_id);
	ck_assert_uint_eq(epoch_reclaim(e, nested_id), 1);
	ck_assert_uint_eq(freed, 1);
	epoch_offline(e, nested_id);
	ck_assert_uint_eq(epoch_reclaim(e, nested_id), 0);
	ck_assert_uint_eq(freed, 2);
	epoch_free(e);
}
END_TEST

START_TEST(freeing_the_domain_frees_what_is_left)
{
	struct epoch *e = domain();
	int a = epoch_register(e), b = epoch_register(e);
	retire(e, a, 1);
	retire(e, b, 2);
	epoch_unregister(e, b);
	epoch_free(e);
	ck_assert_uint_eq(freed, 2);
}
END_TEST

START_TEST(ids_run_out_and_come_back)
{
	struct epoch *e = domain();
	for (int i = 0; i < EPOCH_THREADS_MAX; i++)
		ck_assert_int_eq(epoch_register(e), i);
	ck_assert_int_lt(epoch_register(e), 0);
	epoch_online(e, 5);
	epoch_unregister(e, 5); /* goes offline by itself */
	retire(e, 0, 1);
	ck_assert_uint_eq(epoch_reclaim(e, 0), 0);
	ck_assert_int_eq(epoch_register(e), 5);
	epoch_free(e);
}
END_TEST

START_TEST(the_next_owner_of_an_id_inherits_what_waits_there)
{
	struct epoch *e = domain();
	int a = epoch_register(e), b = epoch_register(e);
	epoch_online(e, b);
	retire(e, a, 1);
	epoch_unregister(e, a);
	ck_assert_int_eq(epoch_register(e), a);
	retire(e, a, 2);
	ck_assert_uint_eq(epoch_reclaim(e, a), 2);
	epoch_offline(e, b);
	ck_assert_uint_eq(epoch_reclaim(e, a), 0);
	ck_assert_uint_eq(freed_order[0], 1);
	epoch_free(e);
}
END_TEST

START_TEST(a_barrier_is_passed_when_all_that_were_online_have_been_quiescent_or_offline)
{
	struct epoch *e = domain();
	int a = epoch_register(e), b = epoch_register(e), c = epoch_register(e);
	uint64_t idle = epoch_barrier(e);
	ck_assert(epoch_passed(e, idle)); /* nobody is online */
	epoch_online(e, a);
	epoch_online(e, b);
	uint64_t barrier = epoch_barrier(e);
	ck_assert(!epoch_passed(e, barrier));
	epoch_quiescent(e, a);
	ck_assert(!epoch_passed(e, barrier));
	epoch_online(e, c); /* after the barrier: does not count */
	epoch_offline(e, b);
	ck_assert(epoch_passed(e, barrier));
	epoch_online(e, b);
	ck_assert(epoch_passed(e, barrier)); /* for good */
	epoch_offline(e, a);
	epoch_offline(e, b);
	epoch_offline(e, c);
	epoch_free(e);
}
END_TEST

SUITE_MAIN("epoch", nothing_retired_nothing_to_reclaim, with_everyone_offline_reclaim_frees_at_once,
	   an_online_thread_holds_what_was_retired_since_it_was_quiescent, a_thread_that_comes_online_later_holds_nothing,
	   a_thread_does_not_free_under_itself, items_are_freed_in_the_order_of_retiring, a_free_function_may_retire_more,
	   freeing_the_domain_frees_what_is_left, ids_run_out_and_come_back, the_next_owner_of_an_id_inherits_what_waits_there,
	   a_barrier_is_passed_when_all_that_were_online_have_been_quiescent_or_offline)
