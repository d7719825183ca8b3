/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The in-memory backend: the common behaviour, and its delay. */
#include "tests/unit/store/behaviour.h"

#include "base/clock.h"
#include "tests/unit/base/suite.h"

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
	struct store_stats stats = { .waiting = 1 };
	for (int i = 0; i < 5000 && stats.waiting > 0; i++) { /* counted after the answer has left */
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		store_stats(r.store, &stats);
	}
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

static bool two_newest(void *arg, const uint8_t *topic, size_t len, struct store_history_limits *out)
{
	(void)arg, (void)topic, (void)len;
	*out = (struct store_history_limits){ .count = 2 };
	return len > 0 && topic[0] != 'n';
}

static bool any_topic(void *arg, const uint8_t *topic, size_t len)
{
	(void)arg, (void)topic, (void)len;
	return true;
}

/* The payloads of all that is kept, those that session's queue has in brackets. */
static const char *kept(struct rig *r, store_session session, uint64_t newest, uint64_t upto)
{
	static char text[200];
	struct store_op op = { .verb = STORE_HISTORY, .u.history = { .match = any_topic, .session = session, .newest = newest, .upto = upto,
		.max_entries = 100, .max_bytes = 1u << 20 } };
	ck_assert_int_eq(rig_do(r, &op), ERR_OK);
	ck_assert(op.u.history.end);
	text[0] = 0;
	for (uint32_t i = 0; i < op.u.history.n_entries; i++) {
		struct store_entry *e = &op.u.history.entries[i];
		size_t len = strlen(text);
		snprintf(text + len, sizeof text - len, e->state == STORE_ELSEWHERE ? "[%.*s]" : "%.*s", (int)e->msg->payload_len,
			(const char *)msg_payload(e->msg));
		msg_unref(e->msg);
	}
	pool_free(op.u.history.entries);
	return text;
}

START_TEST(topics_keep_their_past_within_limits)
{
	struct store_options o = behaviour_options();
	o.history_limits = two_newest;
	struct rig r;
	rig_start(&r, &o);
	store_session session = new_session(&r);
	const char *const published[] = { "a1", "b2", "a3", "n4", "a5", "b6" };
	uint64_t records[6];
	for (size_t i = 0; i < 6; i++) {
		struct msg *m = make_msg((char[]){ published[i][0], 0 }, published[i], 2);
		struct store_receiver to = { .session = session, .qos = 1 };
		struct store_op op = op_publish(m, &to, i == 4);
		op.u.publish.history = true;
		ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
		records[i] = op.u.publish.record;
		msg_unref(m);
	}
	ck_assert_str_eq(kept(&r, 0, 0, 0), "b2a3a5b6");
	ck_assert_str_eq(kept(&r, session, 0, 0), "b2a3[a5]b6");
	ck_assert_str_eq(kept(&r, 0, 1, 0), "b6");
	ck_assert_str_eq(kept(&r, 0, 1, records[3]), "a3a5b6"); /* the newest of what there was; all that came later */
	rig_end(&r);
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
	tcase_add_test(t, topics_keep_their_past_within_limits);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
