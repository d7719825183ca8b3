/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The in-memory backend: the common behaviour, and its delay. */
#include "tests/unit/store/behaviour.h"

#include "base/clock.h"

static struct store_options behaviour_options(void)
{
	return (struct store_options){ .memory = true };
}

START_TEST(a_delay_holds_back_the_answer_and_what_pages_see)
{
	struct store_options o = behaviour_options();
	o.memory_delay_ms = 30;
	struct rig r;
	rig_start(&r, &o);
	uint64_t before = clock_mono_us();
	store_session a = new_session(&r);
	ck_assert_uint_ge(clock_mono_us() - before, 30000);
	before = clock_mono_us();
	do_publish(&r, a, "m", NULL);
	ck_assert_uint_ge(clock_mono_us() - before, 30000);
	ck_assert_uint_eq(queue_length(&r, a), 1);
	struct store_stats stats;
	store_stats(r.store, &stats);
	ck_assert_uint_eq(stats.waiting, 0);
	rig_end(&r);
}
END_TEST

START_TEST(stop_does_not_sit_out_a_long_delay)
{
	struct store_options o = behaviour_options();
	o.memory_delay_ms = 3600000; /* an hour: the test would time out */
	struct rig r;
	rig_start(&r, &o);
	struct store_op op = { .verb = STORE_BARRIER };
	rig_submit(&r, &op);
	store_stop(r.store);
	rig_wait(&r, 1);
	ck_assert_int_eq(op.result, ERR_OK);
	rig_end(&r);
}
END_TEST

static enum err never(void *arg, struct msg *m)
{
	(void)m;
	*(bool *)arg = true;
	return ERR_OK;
}

START_TEST(a_start_finds_nothing)
{
	struct store_options o = behaviour_options();
	char error[256];
	struct store *s = store_open(&o, error, sizeof error);
	ck_assert(s != NULL);
	bool called = false;
	struct store_loader l = { .retained = never };
	ck_assert_int_eq(store_load(s, &l, &called), ERR_OK);
	ck_assert(!called);
	store_close(s); /* never started */
}
END_TEST

int main(void)
{
	siphash_init();
	Suite *suite = suite_create("store/memory");
	behaviour_add(suite);
	TCase *t = tcase_create("memory");
	tcase_add_test(t, a_delay_holds_back_the_answer_and_what_pages_see);
	tcase_add_test(t, stop_does_not_sit_out_a_long_delay);
	tcase_add_test(t, a_start_finds_nothing);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
