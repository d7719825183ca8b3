/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What every backend must do alike: the test program of a backend defines behaviour_options() and adds these cases. */
#ifndef TESTS_UNIT_STORE_BEHAVIOUR_H
#define TESTS_UNIT_STORE_BEHAVIOUR_H

#include "tests/unit/store/rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* A fresh, empty store each time. */
static struct store_options behaviour_options(void);

/* ---- completions */

#define ORDER_THREADS 4
#define ORDER_OPS 2000

struct order_thread {
	struct rig rig;
	pthread_t thread;
	uint32_t next;
	bool wrong;
	uint64_t last_record;
};

struct order_op {
	struct store_op op;
	uint32_t number;
};

static void order_done(struct store_op *op, void *owner)
{
	struct order_thread *t = (struct order_thread *)owner;
	struct order_op *o = (struct order_op *)op;
	t->wrong |= o->number != t->next++ || op->result != ERR_OK;
	if (op->verb == STORE_BARRIER) { /* no less than what this thread has published before */
		t->wrong |= op->u.barrier.last_record < t->last_record;
	} else {
		t->wrong |= op->u.publish.record <= t->last_record;
		t->last_record = op->u.publish.record;
		msg_unref(op->u.publish.msg);
	}
	t->rig.done++;
	free(o);
}

static void *order_main(void *arg)
{
	struct order_thread *t = arg;
	for (uint32_t i = 0; i < ORDER_OPS; i++) {
		struct order_op *o = calloc(1, sizeof *o);
		o->number = i;
		o->op = (i % 5 == 4) ? (struct store_op){ .verb = STORE_BARRIER } : op_publish(make_msg("t", "x", 1), NULL, 0);
		o->op.reply = &t->rig.inbox;
		o->op.done = order_done;
		store_submit(t->rig.store, &o->op);
		if (i % 97 == 0)
			mailbox_run(&t->rig.inbox, t);
	}
	while (mailbox_run(&t->rig.inbox, t), t->rig.done < ORDER_OPS)
		sem_wait(&t->rig.woken);
	pool_drain();
	return NULL;
}

START_TEST(completions_of_a_submitter_come_in_order_of_submission)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	static struct order_thread threads[ORDER_THREADS];
	memset(threads, 0, sizeof threads);
	for (int i = 0; i < ORDER_THREADS; i++) {
		rig_loop_init(&threads[i].rig);
		threads[i].rig.store = r.store;
		ck_assert_int_eq(pthread_create(&threads[i].thread, NULL, order_main, &threads[i]), 0);
	}
	for (int i = 0; i < ORDER_THREADS; i++) {
		pthread_join(threads[i].thread, NULL);
		ck_assert(!threads[i].wrong);
		ck_assert_uint_eq(threads[i].next, ORDER_OPS);
		sem_destroy(&threads[i].rig.woken);
	}
	struct store_stats stats;
	store_stats(r.store, &stats);
	ck_assert_uint_eq(stats.operations, ORDER_THREADS * ORDER_OPS);
	ck_assert_uint_eq(stats.messages, ORDER_THREADS * ORDER_OPS * 4 / 5);
	ck_assert_uint_le(stats.commits, stats.operations);
	rig_end(&r);
}
END_TEST

static atomic_uint freed;

static void count_free(struct store_op *op)
{
	atomic_fetch_add(&freed, 1);
	free(op);
}

START_TEST(an_operation_without_reply_is_freed_by_the_store)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	atomic_store(&freed, 0);
	for (int i = 0; i < 10; i++) {
		struct store_op *op = calloc(1, sizeof *op);
		*op = (struct store_op){ .verb = STORE_BARRIER, .free_op = count_free };
		store_submit(r.store, op);
	}
	struct store_op last = { .verb = STORE_BARRIER };
	ck_assert_int_eq(rig_do(&r, &last), ERR_OK);
	ck_assert_uint_eq(atomic_load(&freed), 10);
	rig_end(&r);
}
END_TEST

START_TEST(stop_commits_and_answers_what_was_submitted)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	static struct store_op ops[500];
	struct msg *m = make_msg("t", "x", 1);
	for (int i = 0; i < 500; i++) {
		ops[i] = op_publish(m, NULL, 0);
		rig_submit(&r, &ops[i]);
	}
	store_stop(r.store);
	rig_wait(&r, 500); /* would block for ever if one were missing */
	for (int i = 0; i < 500; i++)
		ck_assert_int_eq(ops[i].result, ERR_OK);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

START_TEST(operations_go_to_the_mailboxes_that_asked)
{
	struct store_options o = behaviour_options();
	struct rig r, other;
	rig_start(&r, &o);
	rig_loop_init(&other);
	other.store = r.store;
	struct store_op a = { .verb = STORE_BARRIER }, b = { .verb = STORE_BARRIER }, c = { .verb = STORE_BARRIER };
	rig_submit(&r, &a);
	rig_submit(&other, &b);
	rig_submit(&r, &c);
	rig_wait(&r, 2);
	rig_wait(&other, 1);
	ck_assert_uint_eq(r.done, 2);
	ck_assert_uint_eq(other.done, 1);
	sem_destroy(&other.woken);
	rig_end(&r);
}
END_TEST

/* ---- sessions and subscriptions */

START_TEST(session_numbers_are_distinct_and_refused_twice)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = store_session_number(r.store), b = store_session_number(r.store);
	ck_assert_uint_ne(a, b);
	ck_assert_uint_ne(a, 0);
	ck_assert_uint_lt(a, UINT32_C(1) << 31);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_NEW, a), ERR_OK);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_NEW, a), ERR_EXISTS);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_STATE, a), ERR_OK);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_STATE, b), ERR_NOT_FOUND);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, a), ERR_OK);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, a), ERR_OK);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_STATE, a), ERR_NOT_FOUND);
	rig_end(&r);
}
END_TEST

START_TEST(subscriptions_are_replaced_by_filter_and_need_a_session)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct store_op op = op_subscription(STORE_SUBSCRIBE, a, "x/+", 1);
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	op = op_subscription(STORE_SUBSCRIBE, a, "x/+", 2);
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	op = op_subscription(STORE_UNSUBSCRIBE, a, "x/+", 0);
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK); /* gone already */
	op = op_subscription(STORE_SUBSCRIBE, a + 1, "x/+", 1);
	ck_assert_int_eq(rig_do(&r, &op), ERR_NOT_FOUND);
	op = op_subscription(STORE_UNSUBSCRIBE, a + 1, "x/+", 1);
	ck_assert_int_eq(rig_do(&r, &op), ERR_NOT_FOUND);
	rig_end(&r);
}
END_TEST

START_TEST(end_of_a_session_takes_its_queue_and_packet_identifiers)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r), b = new_session(&r);
	struct msg *m = make_msg("w", "gone", 4);
	struct store_op sub = op_subscription(STORE_SUBSCRIBE, a, "x/#", 1);
	ck_assert_int_eq(rig_do(&r, &sub), ERR_OK);
	do_publish(&r, a, "one", NULL);
	struct store_op p = op_publish(m, NULL, 0);
	p.u.publish.publisher = a;
	p.u.publish.packet_id = 5;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, a), ERR_OK);
	struct store_op page = op_page(a, 0, 10, 1000);
	ck_assert_int_eq(rig_do(&r, &page), ERR_NOT_FOUND);
	ck_assert_uint_eq(page.u.page.n_entries, 0);
	ck_assert(page.u.page.end);
	/* a message to both: only the living one gets it */
	struct store_receiver both[] = { { .session = a, .qos = 1 }, { .session = b, .qos = 1 } };
	p = op_publish(m, both, 2);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, b), 1);
	/* the same number anew starts empty */
	ck_assert_int_eq(do_session(&r, STORE_SESSION_NEW, a), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, a), 0);
	p = op_publish(m, NULL, 0);
	p.u.publish.publisher = a;
	p.u.publish.packet_id = 5;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

/* ---- publishing and delivering */

START_TEST(record_ids_grow_in_order_of_publishing)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t last = 0;
	for (int i = 0; i < 5; i++) {
		uint64_t record = do_publish(&r, a, "m", NULL);
		ck_assert_uint_gt(record, last);
		last = record;
	}
	struct store_op b = { .verb = STORE_BARRIER };
	ck_assert_int_eq(rig_do(&r, &b), ERR_OK);
	ck_assert_uint_eq(b.u.barrier.last_record, last);
	rig_end(&r);
}
END_TEST

START_TEST(a_delivery_goes_from_queued_over_inflight_to_acknowledged)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t record = do_publish(&r, a, "hello", NULL);
	struct store_op page = do_page(&r, a, 0, 10, 100000);
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	struct store_entry *e = page.u.page.entries;
	ck_assert_uint_eq(e->record, record);
	ck_assert_uint_eq(e->state, STORE_QUEUED);
	ck_assert_uint_eq(e->packet_id, 0);
	ck_assert_uint_eq(e->qos, 1);
	ck_assert_uint_eq(e->sub_id, 9);
	ck_assert_uint_eq(e->retain, 0);
	ck_assert_uint_eq(e->msg->payload_len, 5);
	ck_assert_mem_eq(msg_payload(e->msg), "hello", 5);
	ck_assert_uint_eq(e->msg->topic_len, 3);
	ck_assert_mem_eq(msg_topic(e->msg), "a/b", 3);
	ck_assert_mem_eq(msg_publisher(e->msg), "pub", 3);
	ck_assert_uint_eq(e->msg->time_ms, 1700000000123);
	page_free(&page);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, record, 17), ERR_OK);
	page = do_page(&r, a, 0, 10, 100000);
	ck_assert_uint_eq(page.u.page.entries->state, STORE_INFLIGHT);
	ck_assert_uint_eq(page.u.page.entries->packet_id, 17);
	ck_assert(page.u.page.entries->msg != NULL);
	page_free(&page);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, record, 17), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, a), 0);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, record, 17), ERR_NOT_FOUND);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, record, 17), ERR_NOT_FOUND);
	ck_assert_int_eq(do_delivery(&r, STORE_RELEASED, a, record, 17), ERR_NOT_FOUND);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a + 1, record, 17), ERR_NOT_FOUND);
	rig_end(&r);
}
END_TEST

START_TEST(sent_and_acknowledged_in_one_batch_leaves_nothing)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	enum { N = 100 };
	static struct store_op publishes[N], acks[N];
	struct store_receiver to = { .session = a, .qos = 1 };
	struct msg *m = make_msg("t", "m", 1);
	size_t before = r.done;
	for (int i = 0; i < N; i++) {
		publishes[i] = op_publish(m, &to, 1);
		rig_submit(&r, &publishes[i]);
	}
	rig_wait(&r, before + N);
	atomic_store(&freed, 0);
	for (int i = 0; i < N; i++) { /* nobody waits for the first; every third is not acknowledged */
		struct store_op *sent = calloc(1, sizeof *sent);
		*sent = op_delivery(STORE_SENT, a, publishes[i].u.publish.record, (uint16_t)(i + 1));
		sent->free_op = count_free;
		store_submit(r.store, sent);
		acks[i] = i % 3 ? op_delivery(STORE_ACKED, a, publishes[i].u.publish.record, (uint16_t)(i + 1))
		    : (struct store_op){ .verb = STORE_BARRIER };
		rig_submit(&r, &acks[i]);
	}
	rig_wait(&r, before + 2 * N);
	ck_assert_uint_eq(atomic_load(&freed), N);
	struct store_op page = do_page(&r, a, 0, N, 1000000);
	ck_assert_uint_eq(page.u.page.n_entries, (N + 2) / 3);
	for (uint32_t i = 0; i < page.u.page.n_entries; i++) {
		ck_assert_uint_eq(page.u.page.entries[i].record, publishes[3 * i].u.publish.record);
		ck_assert_uint_eq(page.u.page.entries[i].state, STORE_INFLIGHT);
		ck_assert_uint_eq(page.u.page.entries[i].packet_id, 3 * i + 1);
	}
	page_free(&page);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

START_TEST(a_released_qos_2_delivery_keeps_its_packet_identifier_without_the_message)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct store_receiver to = { .session = a, .qos = 2, .retain = 1, .sub_id = 3 };
	struct msg *m = make_msg("q", "two", 3);
	struct store_op p = op_publish(m, &to, 1);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	msg_unref(m);
	uint64_t record = p.u.publish.record, later = do_publish(&r, a, "after", NULL);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, record, 99), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_RELEASED, a, record, 99), ERR_OK);
	struct store_op page = do_page(&r, a, 0, 10, 100000);
	ck_assert_uint_eq(page.u.page.n_entries, 2);
	ck_assert_uint_eq(page.u.page.entries[0].record, record);
	ck_assert_uint_eq(page.u.page.entries[0].state, STORE_PUBREL);
	ck_assert_uint_eq(page.u.page.entries[0].packet_id, 99);
	ck_assert_uint_eq(page.u.page.entries[0].qos, 2);
	ck_assert_uint_eq(page.u.page.entries[0].retain, 1);
	ck_assert(page.u.page.entries[0].msg == NULL);
	ck_assert_uint_eq(page.u.page.entries[1].record, later);
	page_free(&page);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, record, 100), ERR_INVALID);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, record, 99), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, a), 1);
	rig_end(&r);
}
END_TEST

START_TEST(acknowledgements_may_come_in_any_order)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t records[20];
	for (int i = 0; i < 20; i++)
		records[i] = do_publish(&r, a, "m", NULL);
	for (int i = 19; i >= 0; i -= 2)
		ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, records[i], 1), ERR_OK);
	struct store_op page = do_page(&r, a, 0, 100, 100000);
	ck_assert_uint_eq(page.u.page.n_entries, 10);
	for (uint32_t i = 0; i < 10; i++)
		ck_assert_uint_eq(page.u.page.entries[i].record, records[2 * i]);
	page_free(&page);
	for (int i = 0; i < 20; i += 2)
		ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, records[i], 1), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, a), 0);
	do_publish(&r, a, "again", NULL);
	ck_assert_uint_eq(queue_length(&r, a), 1);
	rig_end(&r);
}
END_TEST

START_TEST(a_message_reaches_each_receiver_once_with_its_own_flags)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r), b = new_session(&r);
	struct store_receiver to[] = { { .session = a, .qos = 1, .sub_id = 1 }, { .session = b, .qos = 2, .sub_id = 2, .retain = 1 },
		{ .session = a, .qos = 2, .sub_id = 3 } }; /* a twice: the first counts */
	struct msg *m = make_msg("t", "m", 1);
	struct store_op p = op_publish(m, to, 3);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	msg_unref(m);
	struct store_op page = do_page(&r, a, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	ck_assert_uint_eq(page.u.page.entries->sub_id, 1);
	ck_assert_uint_eq(page.u.page.entries->qos, 1);
	page_free(&page);
	page = do_page(&r, b, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	ck_assert_uint_eq(page.u.page.entries->sub_id, 2);
	ck_assert_uint_eq(page.u.page.entries->qos, 2);
	ck_assert_uint_eq(page.u.page.entries->retain, 1);
	/* one of them acknowledges: the other still has the message */
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, p.u.publish.record, 1), ERR_OK);
	page_free(&page);
	page = do_page(&r, b, 0, 10, 1000);
	ck_assert_mem_eq(msg_payload(page.u.page.entries->msg), "m", 1);
	page_free(&page);
	rig_end(&r);
}
END_TEST

START_TEST(a_qos_2_packet_identifier_is_stored_once_until_done)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session pub = new_session(&r), sub = new_session(&r);
	struct store_receiver to = { .session = sub, .qos = 2 };
	struct msg *m = make_msg("t", "m", 1);
	struct store_op p = op_publish(m, &to, 1);
	p.u.publish.publisher = pub;
	p.u.publish.packet_id = 42;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_int_eq(rig_do(&r, &p), ERR_EXISTS);
	ck_assert_uint_eq(queue_length(&r, sub), 1);
	p.u.publish.packet_id = 43;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_QOS2_DONE, pub, 0, 42), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_QOS2_DONE, pub, 0, 42), ERR_OK);
	p.u.publish.packet_id = 42;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, sub), 3);
	p.u.publish.publisher = sub + 100; /* not stored: nothing to remember */
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

/* Readable, and nothing else, until it is given up. */
START_TEST(a_queue_that_is_handed_on_outlives_its_session)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct msg *m = make_msg("t", "m", 1);
	struct store_receiver to = { .session = a, .qos = 1, .share = 77 };
	for (int i = 0; i < 3; i++) {
		struct store_op p = op_publish(m, &to, 1);
		ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	}
	struct store_op end = op_session(STORE_SESSION_END, a);
	end.u.session.hand_on = true;
	ck_assert_int_eq(rig_do(&r, &end), ERR_OK);
	struct store_op p = op_publish(m, &to, 1);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK); /* for nobody */
	struct store_op page = do_page(&r, a, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 3);
	ck_assert_uint_eq(page.u.page.entries[2].share, 77);
	page_free(&page);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_STATE, a), ERR_NOT_FOUND);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_NEW, a), ERR_EXISTS);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, a), ERR_OK);
	enum err rc;
	do {
		page = op_page(a, 0, 10, 1000);
		rc = rig_do(&r, &page);
		page_free(&page);
	} while (rc == ERR_OK); /* it goes piece by piece */
	ck_assert_int_eq(rc, ERR_NOT_FOUND);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

START_TEST(retained_messages_and_wills_are_replaced_and_removed)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	struct msg *one = make_msg("r", "1", 1), *two = make_msg("r", "22", 2), *none = make_msg("r", "", 0);
	struct msg *sequence[] = { one, two, none, none, two };
	for (size_t i = 0; i < 5; i++) {
		struct store_op p = op_publish(sequence[i], NULL, 0);
		p.u.publish.retained = true;
		ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	}
	struct store_op will = { .verb = STORE_WILL_PUT, .u.will = { .number = 77, .msg = one } };
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	will.u.will.msg = two;
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	will.verb = STORE_WILL_DROP;
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	msg_unref(one);
	msg_unref(two);
	msg_unref(none);
	rig_end(&r);
}
END_TEST

/* ---- pages */

START_TEST(pages_follow_each_other_without_gap_or_repetition)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	char payload[16];
	for (int i = 0; i < 25; i++) {
		snprintf(payload, sizeof payload, "%d", i);
		do_publish(&r, a, payload, NULL);
	}
	for (uint32_t size = 1; size <= 26; size++) {
		uint64_t after = 0;
		uint32_t seen = 0;
		bool end = false;
		while (!end) {
			struct store_op page = do_page(&r, a, after, size, 1000000);
			ck_assert_uint_le(page.u.page.n_entries, size);
			ck_assert_uint_gt(page.u.page.n_entries, 0);
			for (uint32_t i = 0; i < page.u.page.n_entries; i++, seen++) {
				snprintf(payload, sizeof payload, "%d", (int)seen);
				struct msg *m = page.u.page.entries[i].msg;
				ck_assert_uint_eq(m->payload_len, strlen(payload));
				ck_assert_mem_eq(msg_payload(m), payload, strlen(payload));
				after = page.u.page.entries[i].record;
			}
			end = page.u.page.end;
			ck_assert(end == (seen == 25));
			page_free(&page);
		}
	}
	rig_end(&r);
}
END_TEST

START_TEST(a_page_stops_at_its_bytes_but_holds_one_entry_at_least)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	static char big[5000];
	memset(big, 'x', sizeof big - 1);
	uint64_t first = do_publish(&r, a, big, NULL);
	do_publish(&r, a, big, NULL);
	do_publish(&r, a, "s", NULL);
	struct store_op page = do_page(&r, a, 0, 10, 1);
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	ck_assert(!page.u.page.end);
	ck_assert_uint_eq(page.u.page.entries->msg->payload_len, sizeof big - 1);
	ck_assert_mem_eq(msg_payload(page.u.page.entries->msg), big, sizeof big - 1);
	size_t one = msg_size(page.u.page.entries->msg);
	page_free(&page);
	page = do_page(&r, a, 0, 10, 2 * one); /* exactly two */
	ck_assert_uint_eq(page.u.page.n_entries, 2);
	ck_assert(!page.u.page.end);
	page_free(&page);
	page = do_page(&r, a, 0, 10, 2 * one - 1);
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	page_free(&page);
	page = do_page(&r, a, first, 0, 0); /* no entries asked for: one all the same */
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	page_free(&page);
	rig_end(&r);
}
END_TEST

START_TEST(a_page_of_an_empty_queue_is_the_end_and_tells_the_last_record)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r), b = new_session(&r);
	uint64_t last = do_publish(&r, b, "m", NULL);
	struct store_op page = do_page(&r, a, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 0);
	ck_assert(page.u.page.end);
	ck_assert_uint_eq(page.u.page.last_record, last);
	page_free(&page);
	page = do_page(&r, b, last, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 0);
	ck_assert(page.u.page.end);
	page_free(&page);
	rig_end(&r);
}
END_TEST

START_TEST(a_page_sees_what_was_submitted_before_it)
{
	struct store_options o = behaviour_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	static struct store_op publishes[200], pages[200];
	struct store_receiver to = { .session = a, .qos = 1 };
	struct msg *m = make_msg("t", "m", 1);
	size_t before = r.done;
	for (int i = 0; i < 200; i++) { /* without waiting: several share a batch */
		publishes[i] = op_publish(m, &to, 1);
		rig_submit(&r, &publishes[i]);
		pages[i] = op_page(a, 0, 1000, UINT64_MAX);
		rig_submit(&r, &pages[i]);
	}
	rig_wait(&r, before + 400);
	for (uint32_t i = 0; i < 200; i++) {
		ck_assert_int_eq(publishes[i].result, ERR_OK);
		ck_assert_int_eq(pages[i].result, ERR_OK);
		ck_assert_uint_gt(pages[i].u.page.n_entries, i);
		ck_assert_uint_ge(pages[i].u.page.last_record, publishes[i].u.publish.record);
		page_free(&pages[i]);
	}
	msg_unref(m);
	rig_end(&r);
}
END_TEST

/* ---- quotas */

START_TEST(reject_stores_nothing_when_one_receiver_is_full)
{
	struct store_options o = behaviour_options();
	o.queue_full = STORE_REJECT;
	o.max_queued_messages = 2;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r), b = new_session(&r);
	uint64_t first = do_publish(&r, a, "1", NULL);
	do_publish(&r, a, "2", NULL);
	enum err rc;
	do_publish(&r, a, "3", &rc);
	ck_assert_int_eq(rc, ERR_FULL);
	struct store_receiver both[] = { { .session = b, .qos = 1 }, { .session = a, .qos = 1 } };
	struct msg *m = make_msg("t", "m", 1);
	struct store_op p = op_publish(m, both, 2);
	p.u.publish.publisher = b;
	p.u.publish.packet_id = 1;
	ck_assert_int_eq(rig_do(&r, &p), ERR_FULL);
	ck_assert_uint_eq(queue_length(&r, b), 0);
	/* room again: the same publish, with the same packet identifier, goes through */
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, first, 0), ERR_OK);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_uint_eq(queue_length(&r, a), 2);
	ck_assert_uint_eq(queue_length(&r, b), 1);
	ck_assert_uint_eq(r.n_over, 0);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

START_TEST(released_deliveries_count_in_no_quota)
{
	struct store_options o = behaviour_options();
	o.queue_full = STORE_REJECT;
	o.max_queued_messages = 1;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t record = do_publish(&r, a, "1", NULL);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, record, 1), ERR_OK);
	enum err rc;
	do_publish(&r, a, "2", &rc);
	ck_assert_int_eq(rc, ERR_FULL);
	ck_assert_int_eq(do_delivery(&r, STORE_RELEASED, a, record, 1), ERR_OK);
	do_publish(&r, a, "2", &rc);
	ck_assert_int_eq(rc, ERR_OK);
	rig_end(&r);
}
END_TEST

START_TEST(bytes_are_a_quota_too)
{
	struct store_options o = behaviour_options();
	o.queue_full = STORE_REJECT;
	struct msg *m = make_msg("a/b", "0123456789", 10);
	o.max_queued_bytes = 2 * msg_size(m); /* room for exactly two */
	msg_unref(m);
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t first = do_publish(&r, a, "0123456789", NULL);
	do_publish(&r, a, "0123456789", NULL);
	enum err rc;
	do_publish(&r, a, "", &rc);
	ck_assert_int_eq(rc, ERR_FULL);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, first, 0), ERR_OK);
	do_publish(&r, a, "0123456789", NULL);
	rig_end(&r);
}
END_TEST

START_TEST(drop_oldest_spares_what_is_in_flight)
{
	struct store_options o = behaviour_options();
	o.queue_full = STORE_DROP_OLDEST;
	o.max_queued_messages = 3;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t one = do_publish(&r, a, "1", NULL), two = do_publish(&r, a, "2", NULL), three = do_publish(&r, a, "3", NULL);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, one, 1), ERR_OK);
	uint64_t four = do_publish(&r, a, "4", NULL);
	struct store_op page = do_page(&r, a, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 3);
	ck_assert_uint_eq(page.u.page.entries[0].record, one);
	ck_assert_uint_eq(page.u.page.entries[1].record, three);
	ck_assert_uint_eq(page.u.page.entries[2].record, four);
	page_free(&page);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, two, 2), ERR_NOT_FOUND);
	/* all in flight: the new one is the oldest that was never sent */
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, three, 2), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, four, 3), ERR_OK);
	do_publish(&r, a, "5", NULL);
	page = do_page(&r, a, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 3);
	ck_assert_uint_eq(page.u.page.entries[2].record, four);
	page_free(&page);
	struct store_stats stats;
	store_stats(r.store, &stats);
	ck_assert_uint_eq(stats.dropped, 2);
	/* a long row of drops behind an entry in flight */
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, four, 3), ERR_OK);
	uint64_t last = 0;
	for (int i = 0; i < 200; i++)
		last = do_publish(&r, a, "n", NULL);
	page = do_page(&r, a, 0, 10, 1000);
	ck_assert_uint_eq(page.u.page.n_entries, 3);
	ck_assert_uint_eq(page.u.page.entries[0].record, one);
	ck_assert_uint_eq(page.u.page.entries[2].record, last);
	page_free(&page);
	rig_end(&r);
}
END_TEST

START_TEST(end_session_reports_once_and_stores_for_the_others)
{
	struct store_options o = behaviour_options();
	o.queue_full = STORE_END_SESSION;
	o.max_queued_messages = 1;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r), b = new_session(&r);
	uint64_t one = do_publish(&r, a, "1", NULL);
	struct store_receiver both[] = { { .session = a, .qos = 1 }, { .session = b, .qos = 1 } };
	struct msg *m = make_msg("t", "m", 1);
	struct store_op p = op_publish(m, both, 2);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	ck_assert_uint_eq(r.n_over, 1); /* known before the completion */
	ck_assert_uint_eq(r.over[0], a);
	ck_assert_uint_eq(queue_length(&r, a), 1);
	ck_assert_uint_eq(queue_length(&r, b), 1);
	/* what it missed makes the rest useless: not told again, and nothing more is stored for it */
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, one, 0), ERR_OK);
	do_publish(&r, a, "2", NULL);
	ck_assert_uint_eq(r.n_over, 1);
	ck_assert_uint_eq(queue_length(&r, a), 0);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, a), ERR_OK);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

static void behaviour_add(Suite *suite)
{
	TCase *t = tcase_create("behaviour");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, completions_of_a_submitter_come_in_order_of_submission);
	tcase_add_test(t, an_operation_without_reply_is_freed_by_the_store);
	tcase_add_test(t, stop_commits_and_answers_what_was_submitted);
	tcase_add_test(t, operations_go_to_the_mailboxes_that_asked);
	tcase_add_test(t, session_numbers_are_distinct_and_refused_twice);
	tcase_add_test(t, subscriptions_are_replaced_by_filter_and_need_a_session);
	tcase_add_test(t, end_of_a_session_takes_its_queue_and_packet_identifiers);
	tcase_add_test(t, record_ids_grow_in_order_of_publishing);
	tcase_add_test(t, a_delivery_goes_from_queued_over_inflight_to_acknowledged);
	tcase_add_test(t, sent_and_acknowledged_in_one_batch_leaves_nothing);
	tcase_add_test(t, a_released_qos_2_delivery_keeps_its_packet_identifier_without_the_message);
	tcase_add_test(t, acknowledgements_may_come_in_any_order);
	tcase_add_test(t, a_message_reaches_each_receiver_once_with_its_own_flags);
	tcase_add_test(t, a_qos_2_packet_identifier_is_stored_once_until_done);
	tcase_add_test(t, a_queue_that_is_handed_on_outlives_its_session);
	tcase_add_test(t, retained_messages_and_wills_are_replaced_and_removed);
	tcase_add_test(t, pages_follow_each_other_without_gap_or_repetition);
	tcase_add_test(t, a_page_stops_at_its_bytes_but_holds_one_entry_at_least);
	tcase_add_test(t, a_page_of_an_empty_queue_is_the_end_and_tells_the_last_record);
	tcase_add_test(t, a_page_sees_what_was_submitted_before_it);
	tcase_add_test(t, reject_stores_nothing_when_one_receiver_is_full);
	tcase_add_test(t, released_deliveries_count_in_no_quota);
	tcase_add_test(t, bytes_are_a_quota_too);
	tcase_add_test(t, drop_oldest_spares_what_is_in_flight);
	tcase_add_test(t, end_session_reports_once_and_stores_for_the_others);
	suite_add_tcase(suite, t);
}

#endif
