/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Topics' past: what is kept, how it is read, and how it ends. */
#include "tests/unit/store/dir.h"
#include "tests/unit/store/rig.h"

#include "base/clock.h"
#include "tests/unit/base/suite.h"

#include <stdatomic.h>

static struct store_history_limits limits; /* for every topic; set before the store looks */
static atomic_bool keeps;

static bool history_limits(void *arg, const uint8_t *topic, size_t len, struct store_history_limits *out)
{
	(void)arg, (void)topic, (void)len;
	*out = limits;
	return atomic_load(&keeps);
}

static struct store_options history_options(void)
{
	atomic_store(&keeps, true);
	limits = (struct store_history_limits){ 0 };
	return (struct store_options){ .dir = dir_fresh("history"), .max_size = 64u << 20, .history_limits = history_limits };
}

/* Publishes text to topic as of time_ms; the record. */
static uint64_t put_at(struct rig *r, const char *topic, const char *text, uint64_t time_ms)
{
	struct msg *m = make_msg(topic, text, strlen(text));
	m->time_ms = time_ms; /* nobody else has it yet */
	struct store_op op = op_publish(m, NULL, 0);
	op.u.publish.history = true;
	ck_assert_int_eq(rig_do(r, &op), ERR_OK);
	msg_unref(m);
	return op.u.publish.record;
}

static uint64_t put(struct rig *r, const char *topic, const char *text)
{
	return put_at(r, topic, text, clock_wall_ms());
}

struct query {
	const char *topic;           /* NULL: those that begin with prefix */
	const char *prefix;
	uint64_t since_ms, newest;
	uint32_t max_entries;
};

static bool begins(void *arg, const uint8_t *topic, size_t len)
{
	const char *prefix = arg;
	return len >= strlen(prefix) && memcmp(topic, prefix, strlen(prefix)) == 0;
}

/* Reads page by page to the end; the payloads, each followed by a blank. */
static const char *past(struct rig *r, const struct query *q)
{
	static char text[4096];
	uint64_t after = 0, last = 0;
	text[0] = 0;
	for (bool end = false; !end;) {
		struct store_op op = { .verb = STORE_HISTORY, .u.history = { .topic = (const uint8_t *)q->topic,
			.topic_len = q->topic ? strlen(q->topic) : 0, .match = begins, .match_arg = (void *)(uintptr_t)q->prefix,
			.since_ms = q->since_ms, .newest = q->newest, .after = after, .max_entries = q->max_entries, .max_bytes = 1u << 20 } };
		ck_assert_int_eq(rig_do(r, &op), ERR_OK);
		ck_assert_uint_le(op.u.history.n_entries, q->max_entries);
		for (uint32_t i = 0; i < op.u.history.n_entries; i++) {
			struct store_entry *e = &op.u.history.entries[i];
			ck_assert_uint_gt(e->record, last);
			last = e->record;
			size_t len = strlen(text);
			ck_assert(len + e->msg->payload_len + 2 < sizeof text);
			snprintf(text + len, sizeof text - len, "%.*s ", (int)e->msg->payload_len, (const char *)msg_payload(e->msg));
			msg_unref(e->msg);
		}
		pool_free(op.u.history.entries);
		ck_assert_uint_ge(op.u.history.next, last);
		after = op.u.history.next;
		end = op.u.history.end;
	}
	return text;
}

static void is_past(struct rig *r, struct query q, const char *expected)
{
	for (q.max_entries = 1; q.max_entries < 8; q.max_entries++)
		ck_assert_str_eq(past(r, &q), expected);
}

START_TEST(the_past_is_read_oldest_first_by_topic_and_by_filter)
{
	struct store_options o = history_options();
	struct rig r;
	rig_start(&r, &o);
	put_at(&r, "a/x", "1", 1000);
	put_at(&r, "b", "2", 2000);
	put_at(&r, "a/y", "3", 3000);
	put_at(&r, "a/x", "4", 4000);
	put_at(&r, "a/x", "5", 5000);
	do_publish(&r, 1, "not kept", NULL);
	for (int restarted = 0; restarted < 2; restarted++) {
		is_past(&r, (struct query){ .topic = "a/x" }, "1 4 5 ");
		is_past(&r, (struct query){ .topic = "b" }, "2 ");
		is_past(&r, (struct query){ .topic = "none" }, "");
		is_past(&r, (struct query){ .prefix = "a/" }, "1 3 4 5 ");
		is_past(&r, (struct query){ .prefix = "" }, "1 2 3 4 5 ");
		is_past(&r, (struct query){ .prefix = "z" }, "");
		is_past(&r, (struct query){ .topic = "a/x", .newest = 2 }, "4 5 ");
		is_past(&r, (struct query){ .topic = "a/x", .newest = 9 }, "1 4 5 ");
		is_past(&r, (struct query){ .prefix = "a", .newest = 3 }, "3 4 5 ");
		is_past(&r, (struct query){ .topic = "a/x", .since_ms = 1001 }, "4 5 ");
		is_past(&r, (struct query){ .prefix = "", .since_ms = 3000 }, "3 4 5 ");
		is_past(&r, (struct query){ .prefix = "", .since_ms = 9000 }, "");
		is_past(&r, (struct query){ .prefix = "b", .since_ms = 1, .newest = 5 }, "2 ");
		if (!restarted) {
			rig_end(&r);
			rig_start(&r, &o);
		}
	}
	rig_end(&r);
}
END_TEST

START_TEST(a_read_tells_the_last_record_and_goes_on_behind_it)
{
	struct store_options o = history_options();
	struct rig r;
	rig_start(&r, &o);
	put(&r, "t", "1");
	uint64_t last = put(&r, "u", "2");
	struct store_op op = { .verb = STORE_HISTORY, .u.history = { .topic = (const uint8_t *)"t", .topic_len = 1, .max_entries = 10,
		.max_bytes = 1000 } };
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	ck_assert_uint_eq(op.u.history.n_entries, 1);
	ck_assert(op.u.history.end);
	ck_assert_uint_eq(op.u.history.last_record, last);
	ck_assert_uint_eq(op.u.history.entries->qos, 1);
	msg_unref(op.u.history.entries->msg);
	pool_free(op.u.history.entries);
	put(&r, "t", "3");
	op.u.history.after = op.u.history.next;
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	ck_assert_uint_eq(op.u.history.n_entries, 1);
	ck_assert_mem_eq(msg_payload(op.u.history.entries->msg), "3", 1);
	msg_unref(op.u.history.entries->msg);
	pool_free(op.u.history.entries);
	rig_end(&r);
}
END_TEST

START_TEST(a_message_lives_as_long_as_history_or_a_queue_needs_it)
{
	struct store_options o = history_options();
	limits.count = 1;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct store_receiver to = { .session = a, .qos = 1 };
	struct msg *m = make_msg("t", "both", 4);
	struct store_op op = op_publish(m, &to, 1);
	op.u.publish.history = op.u.publish.retained = true;
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	msg_unref(m);
	put(&r, "t", "newer"); /* history forgets the first, queue and retained message do not */
	is_past(&r, (struct query){ .topic = "t" }, "newer ");
	struct store_op page = do_page(&r, a, 0, 10, 1000);
	ck_assert_mem_eq(msg_payload(page.u.page.entries->msg), "both", 4);
	page_free(&page);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, op.u.publish.record, 1), ERR_OK);
	rig_end(&r);
	FILE *out = tmpfile();
	ck_assert_int_eq(store_check(o.dir, NULL, out), ERR_OK); /* every count of references is right */
	fclose(out);
}
END_TEST

START_TEST(count_bytes_and_age_limit_a_topic)
{
	struct store_options o = history_options();
	struct rig r;
	limits.count = 3;
	rig_start(&r, &o);
	char text[24];
	for (int i = 0; i < 10; i++) {
		snprintf(text, sizeof text, "%d", i);
		put(&r, "t", text);
	}
	is_past(&r, (struct query){ .topic = "t" }, "7 8 9 ");
	rig_end(&r);

	o = history_options();
	struct msg *m = make_msg("t", "x", 1);
	limits.bytes = 2 * msg_size(m);
	msg_unref(m);
	rig_start(&r, &o);
	for (int i = 0; i < 10; i++) {
		snprintf(text, sizeof text, "%d", i);
		put(&r, "t", text);
	}
	is_past(&r, (struct query){ .topic = "t" }, "8 9 ");
	rig_end(&r);

	o = history_options();
	limits.age_s = 100;
	rig_start(&r, &o);
	uint64_t now = clock_wall_ms();
	put_at(&r, "t", "old", now - 200000);
	put_at(&r, "t", "new", now - 50000);
	put_at(&r, "t", "now", now);
	is_past(&r, (struct query){ .topic = "t" }, "new now ");
	rig_end(&r);
}
END_TEST

START_TEST(topics_that_nobody_publishes_to_are_swept)
{
	struct store_options o = history_options();
	struct rig r;
	rig_start(&r, &o);
	for (int i = 0; i < 5; i++) {
		put(&r, "quiet", "q");
		put(&r, "other", "o");
	}
	rig_end(&r);
	limits.count = 2; /* the configuration has changed */
	rig_start(&r, &o);
	while (strcmp(past(&r, &(struct query){ .prefix = "", .max_entries = 100 }), "q o q o ") != 0)
		usleep(20000);
	rig_end(&r);
	atomic_store(&keeps, false); /* and again: no history at all */
	rig_start(&r, &o);
	while (strcmp(past(&r, &(struct query){ .prefix = "", .max_entries = 100 }), "") != 0)
		usleep(20000);
	put(&r, "quiet", "not kept");
	is_past(&r, (struct query){ .topic = "quiet" }, "");
	atomic_store(&keeps, true);
	put(&r, "quiet", "kept");
	is_past(&r, (struct query){ .topic = "quiet" }, "kept ");
	rig_end(&r);
	char line[256];
	bool empty = false;
	FILE *out = tmpfile();
	ck_assert_int_eq(store_check(o.dir, NULL, out), ERR_OK);
	rewind(out);
	while (fgets(line, sizeof line, out))
		empty |= strcmp(line, "messages 1\n") == 0;
	fclose(out);
	ck_assert(empty);
}
END_TEST

START_TEST(a_sparse_filter_is_read_in_bounded_steps)
{
	struct store_options o = history_options();
	o.durability = STORE_OFF;
	o.max_size = 256u << 20;
	struct rig r;
	enum { N = 230000 };
	rig_start(&r, &o);
	put(&r, "needle", "first");
	struct msg *m = make_msg("noise", "n", 1);
	static struct store_op ops[1000];
	for (uint32_t i = 0; i < N; i += 1000) {
		size_t before = r.done;
		for (uint32_t k = 0; k < 1000; k++) {
			ops[k] = op_publish(m, NULL, 0);
			ops[k].u.publish.history = true;
			rig_submit(&r, &ops[k]);
		}
		rig_wait(&r, before + 1000);
	}
	msg_unref(m);
	put(&r, "needle", "last");
	unsigned steps = 0, found = 0;
	uint64_t after = 0;
	for (bool end = false; !end; steps++) {
		struct store_op op = { .verb = STORE_HISTORY, .u.history = { .match = begins, .match_arg = (void *)(uintptr_t)"need", .after = after,
			.max_entries = 10, .max_bytes = 1000 } };
		ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
		found += op.u.history.n_entries;
		for (uint32_t i = 0; i < op.u.history.n_entries; i++)
			msg_unref(op.u.history.entries[i].msg);
		pool_free(op.u.history.entries);
		after = op.u.history.next;
		end = op.u.history.end;
	}
	ck_assert_uint_eq(found, 2);
	ck_assert_uint_eq(steps, 3); /* 100,000 rows a step */
	is_past(&r, (struct query){ .topic = "needle" }, "first last "); /* which has an index of its own */
	rig_end(&r);
}
END_TEST

static bool read_done;

static void note_read(struct store_op *op, void *owner)
{
	read_done = true;
	rig_done(op, owner);
}

START_TEST(pages_agree_with_what_is_published_meanwhile)
{
	struct store_options o = history_options();
	struct rig r;
	enum { N = 3000 };
	static struct store_op ops[N];
	static struct msg *messages[N];
	rig_start(&r, &o);
	for (uint32_t i = 0; i < N; i++) {
		messages[i] = make_msg(i % 2 ? "odd" : "even", &i, sizeof i);
		ops[i] = op_publish(messages[i], NULL, 0);
		ops[i].u.publish.history = true;
	}
	uint64_t after = 0;
	uint32_t expected = 1, next = 0;
	while (expected < N) {
		for (uint32_t k = 0; k < 40 && next < N; k++)
			rig_submit(&r, &ops[next++]);
		struct store_op op = { .verb = STORE_HISTORY, .u.history = { .topic = (const uint8_t *)"odd", .topic_len = 3, .after = after,
			.max_entries = 50, .max_bytes = 1u << 20 } };
		op.reply = &r.inbox;
		op.done = note_read;
		read_done = false;
		store_submit(r.store, &op);
		while (!read_done)
			rig_wait(&r, r.done + 1);
		ck_assert_int_eq(op.result, ERR_OK);
		for (uint32_t i = 0; i < op.u.history.n_entries; i++, expected += 2) {
			uint32_t number;
			memcpy(&number, msg_payload(op.u.history.entries[i].msg), sizeof number);
			ck_assert_uint_eq(number, expected); /* no gap, no repetition */
			msg_unref(op.u.history.entries[i].msg);
		}
		after = op.u.history.next;
		pool_free(op.u.history.entries);
	}
	rig_end(&r);
	for (uint32_t i = 0; i < N; i++)
		msg_unref(messages[i]);
}
END_TEST

int main(void)
{
	siphash_init();
	Suite *suite = suite_create("store/history");
	TCase *t = tcase_create("history");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, the_past_is_read_oldest_first_by_topic_and_by_filter);
	tcase_add_test(t, a_read_tells_the_last_record_and_goes_on_behind_it);
	tcase_add_test(t, a_message_lives_as_long_as_history_or_a_queue_needs_it);
	tcase_add_test(t, count_bytes_and_age_limit_a_topic);
	tcase_add_test(t, topics_that_nobody_publishes_to_are_swept);
	tcase_add_test(t, a_sparse_filter_is_read_in_bounded_steps);
	tcase_add_test(t, pages_agree_with_what_is_published_meanwhile);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
