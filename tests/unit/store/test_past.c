/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How far a replay has come: what a restart finds of it, and the queue entries of its QoS 2 messages. */
#include "tests/unit/base/suite.h"
#include "tests/unit/store/dir.h"
#include "tests/unit/store/rig.h"

#define FILTER "$HISTORY/3/t"

struct found {
	unsigned n;
	char filter[64];
	struct store_past past;
};

static enum err found_past(void *arg, store_session number, const uint8_t *filter, size_t len, const struct store_past *p)
{
	struct found *f = arg;
	(void)number;
	f->n++;
	snprintf(f->filter, sizeof f->filter, "%.*s", (int)len, (const char *)filter);
	f->past = *p;
	return ERR_OK;
}

static void restart(struct rig *r, const struct store_options *options, struct found *f)
{
	static const struct store_loader loader = { .past = found_past };
	char error[256] = "";
	struct store_options o = *options;
	rig_end(r);
	FILE *out = tmpfile();
	ck_assert(out != NULL);
	ck_assert_int_eq(store_check(options->dir, NULL, out), ERR_OK);
	fclose(out);
	*f = (struct found){ 0 };
	rig_loop_init(r);
	r->store = store_open(&o, error, sizeof error);
	ck_assert_msg(r->store != NULL, "%s", error);
	ck_assert_int_eq(store_load(r->store, &loader, f), ERR_OK);
	ck_assert_int_eq(store_start(r->store), ERR_OK);
}

static uint64_t put(struct rig *r, const char *text)
{
	struct msg *m = make_msg("t", text, strlen(text));
	struct store_op op = op_publish(m, NULL, 0);
	op.u.publish.history = true;
	ck_assert_int_eq(rig_do(r, &op), ERR_OK);
	msg_unref(m);
	return op.u.publish.record;
}

static enum err subscribe(struct rig *r, store_session a, const struct store_past *p)
{
	struct store_op op = op_subscription(STORE_SUBSCRIBE, a, FILTER, 2);
	op.u.subscription.past = p;
	return rig_do(r, &op);
}

static struct store_op op_past(enum store_verb verb, store_session a)
{
	return (struct store_op){ .verb = verb, .u.past = { .session = a, .filter = (const uint8_t *)FILTER, .filter_len = strlen(FILTER) } };
}

static enum err move(struct rig *r, store_session a, uint64_t after, bool over)
{
	struct store_op op = op_past(STORE_PAST, a);
	op.u.past.after = after;
	op.u.past.over = over;
	return rig_do(r, &op);
}

static enum err send(struct rig *r, store_session a, uint64_t record, uint16_t packet_id)
{
	struct store_op op = op_past(STORE_PAST_SENT, a);
	op.u.past.record = record;
	op.u.past.packet_id = packet_id;
	op.u.past.size = 50;
	return rig_do(r, &op);
}

static struct store_options options(void)
{
	return (struct store_options){ .dir = dir_fresh("past"), .max_size = 64u << 20 };
}

START_TEST(a_restart_finds_how_far_it_has_come)
{
	struct store_options o = options();
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	put(&r, "1");
	uint64_t second = put(&r, "2");
	ck_assert_int_eq(subscribe(&r, a, &(struct store_past){ .newest = 3 }), ERR_OK);
	uint64_t third = put(&r, "3");
	restart(&r, &o, &f);
	ck_assert_uint_eq(f.n, 1);
	ck_assert_str_eq(f.filter, FILTER);
	ck_assert_uint_eq(f.past.newest, 3);
	ck_assert_uint_eq(f.past.upto, second);
	ck_assert_uint_eq(f.past.after, 0);
	ck_assert_int_eq(move(&r, a, second, false), ERR_OK);
	ck_assert_int_eq(subscribe(&r, a, NULL), ERR_OK); /* repeated: it goes on */
	ck_assert_int_eq(send(&r, a, third, 9), ERR_OK);
	restart(&r, &o, &f);
	ck_assert_uint_eq(f.n, 1);
	ck_assert_uint_eq(f.past.after, second);
	ck_assert_uint_eq(f.past.sent, third);
	ck_assert_int_eq(move(&r, a, 0, true), ERR_OK);
	ck_assert_int_eq(move(&r, a, 0, true), ERR_OK);
	ck_assert_int_eq(move(&r, a, third, false), ERR_NOT_FOUND);
	restart(&r, &o, &f);
	ck_assert_uint_eq(f.n, 0);
	rig_end(&r);
}
END_TEST

START_TEST(it_goes_with_its_subscription_and_its_session)
{
	struct store_options o = options();
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	ck_assert_int_eq(subscribe(&r, a, &(struct store_past){ .since_ms = 5 }), ERR_OK);
	struct store_op op = op_subscription(STORE_UNSUBSCRIBE, a, FILTER, 0);
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	restart(&r, &o, &f);
	ck_assert_uint_eq(f.n, 0);
	ck_assert_int_eq(subscribe(&r, a, &(struct store_past){ .since_ms = 5 }), ERR_OK);
	restart(&r, &o, &f);
	ck_assert_uint_eq(f.n, 1);
	ck_assert_uint_eq(f.past.since_ms, 0); /* nothing was stored before it: all comes */
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, a), ERR_OK);
	restart(&r, &o, &f);
	ck_assert_uint_eq(f.n, 0);
	rig_end(&r);
}
END_TEST

START_TEST(a_qos2_message_of_the_past_is_an_entry_of_the_queue)
{
	struct store_options o = options();
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t record = put(&r, "kept twice");
	ck_assert_int_eq(send(&r, a + 1, record, 9), ERR_NOT_FOUND);
	ck_assert_int_eq(send(&r, a, record + 1, 9), ERR_NOT_FOUND);
	ck_assert_int_eq(send(&r, a, record, 9), ERR_OK); /* unsubscribed: the entry alone */
	ck_assert_int_eq(send(&r, a, record, 10), ERR_OK);
	restart(&r, &o, &f);
	struct store_op page = do_page(&r, a, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	const struct store_entry *e = page.u.page.entries;
	ck_assert_uint_eq(e->packet_id, 10);
	ck_assert_uint_eq(e->state, STORE_INFLIGHT);
	ck_assert_uint_eq(e->qos, 2);
	ck_assert_uint_eq(e->retain, 1);
	ck_assert_mem_eq(msg_payload(e->msg), "kept twice", 10);
	page_free(&page);
	ck_assert_int_eq(do_delivery(&r, STORE_RELEASED, a, record, 10), ERR_OK);
	ck_assert_int_eq(send(&r, a, record, 11), ERR_INVALID); /* its end is on its way */
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, record, 10), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, a), 0);
	struct store_op past = { .verb = STORE_HISTORY, .u.history = { .topic = (const uint8_t *)"t", .topic_len = 1, .max_entries = 10,
		.max_bytes = 1000 } };
	ck_assert_int_eq(rig_do(&r, &past), ERR_OK);
	ck_assert_uint_eq(past.u.history.n_entries, 1); /* the history keeps it */
	msg_unref(past.u.history.entries->msg);
	pool_free(past.u.history.entries);
	restart(&r, &o, &f);
	rig_end(&r);
}
END_TEST

int main(void)
{
	siphash_init();
	Suite *suite = suite_create("store/past");
	TCase *t = tcase_create("past");
	tcase_add_test(t, a_restart_finds_how_far_it_has_come);
	tcase_add_test(t, it_goes_with_its_subscription_and_its_session);
	tcase_add_test(t, a_qos2_message_of_the_past_is_an_entry_of_the_queue);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
