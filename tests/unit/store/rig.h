/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A store and a loop of one thread for tests: submits operations and runs the completions. */
#ifndef TESTS_UNIT_STORE_RIG_H
#define TESTS_UNIT_STORE_RIG_H

#include "base/pool.h"
#include "base/siphash.h"
#include "store/store.h"

#include <check.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

struct rig {
	struct store *store;
	struct mailbox inbox;
	sem_t woken;
	size_t done;                 /* completions run so far */
	store_session over[16];      /* store thread until the completion that follows */
	size_t n_over;
};

static inline void rig_wake(void *arg)
{
	sem_post(&((struct rig *)arg)->woken);
}

static inline void rig_over_quota(void *arg, store_session session)
{
	struct rig *r = arg;
	ck_assert(r->n_over < 16);
	r->over[r->n_over++] = session;
}

static inline void rig_loop_init(struct rig *r)
{
	memset(r, 0, sizeof *r);
	sem_init(&r->woken, 0, 0);
	mailbox_init(&r->inbox, rig_wake, r);
}

static inline void rig_start(struct rig *r, const struct store_options *options)
{
	char error[256] = "";
	struct store_options o = *options;
	o.session_over_quota = rig_over_quota;
	o.arg = r;
	rig_loop_init(r);
	r->store = store_open(&o, error, sizeof error);
	ck_assert_msg(r->store != NULL, "%s", error);
	ck_assert_int_eq(store_start(r->store), ERR_OK);
}

static inline void rig_end(struct rig *r)
{
	store_stop(r->store);
	store_close(r->store);
	mailbox_run(&r->inbox, r);
	sem_destroy(&r->woken);
	pool_drain();
}

static inline void rig_done(struct store_op *op, void *owner)
{
	(void)op;
	((struct rig *)owner)->done++;
}

/* Runs completions until n have come in all. */
static inline void rig_wait(struct rig *r, size_t n)
{
	while (mailbox_run(&r->inbox, r), r->done < n)
		sem_wait(&r->woken);
}

static inline void rig_submit(struct rig *r, struct store_op *op)
{
	op->reply = &r->inbox;
	op->done = rig_done;
	op->result = ERR_AGAIN; /* not an answer */
	store_submit(r->store, op);
}

static inline enum err rig_do(struct rig *r, struct store_op *op)
{
	size_t want = r->done + 1;
	rig_submit(r, op);
	rig_wait(r, want);
	return op->result;
}

/* ---- operations */

static inline struct store_op op_session(enum store_verb verb, store_session number)
{
	static const char id[] = "dev-1", cn[] = "plant";
	return (struct store_op){ .verb = verb, .u.session = { .number = number, .client_id = id, .client_id_len = 5, .cn = cn,
		.cn_len = 5, .expiry_s = 3600, .time_ms = 1700000000000, .connected = true } };
}

static inline struct msg *make_msg(const char *topic, const void *payload, size_t len)
{
	struct msg_spec spec = { .topic = topic, .topic_len = strlen(topic), .publisher = "pub", .publisher_len = 3,
		.payload = payload, .payload_len = len, .qos = 1, .time_ms = 1700000000123 };
	struct msg *m = msg_new(&spec);
	ck_assert(m != NULL);
	return m;
}

static inline struct store_op op_publish(struct msg *m, const struct store_receiver *receivers, uint32_t n)
{
	return (struct store_op){ .verb = STORE_PUBLISH, .u.publish = { .msg = m, .receivers = receivers, .n_receivers = n } };
}

static inline struct store_op op_delivery(enum store_verb verb, store_session session, uint64_t record, uint16_t packet_id)
{
	return (struct store_op){ .verb = verb, .u.delivery = { .session = session, .record = record, .packet_id = packet_id } };
}

static inline struct store_op op_subscription(enum store_verb verb, store_session session, const char *filter, uint8_t options)
{
	return (struct store_op){ .verb = verb, .u.subscription = { .session = session, .filter = (const uint8_t *)filter,
		.filter_len = strlen(filter), .options = options, .sub_id = 7 } };
}

static inline struct store_op op_page(store_session session, uint64_t after, uint32_t max_entries, uint64_t max_bytes)
{
	return (struct store_op){ .verb = STORE_PAGE, .u.page = { .session = session, .after = after, .max_entries = max_entries,
		.max_bytes = max_bytes } };
}

static inline void page_free(struct store_op *op)
{
	for (uint32_t i = 0; i < op->u.page.n_entries; i++)
		msg_unref(op->u.page.entries[i].msg);
	pool_free(op->u.page.entries);
}

/* ---- the same, done at once */

static inline enum err do_session(struct rig *r, enum store_verb verb, store_session number)
{
	struct store_op op = op_session(verb, number);
	return rig_do(r, &op);
}

static inline store_session new_session(struct rig *r)
{
	store_session number = store_session_number(r->store);
	ck_assert_int_eq(do_session(r, STORE_SESSION_NEW, number), ERR_OK);
	return number;
}

static inline enum err do_delivery(struct rig *r, enum store_verb verb, store_session session, uint64_t record, uint16_t packet_id)
{
	struct store_op op = op_delivery(verb, session, record, packet_id);
	return rig_do(r, &op);
}

/* To one session at QoS 1; the record id, or 0 with *result. */
static inline uint64_t do_publish(struct rig *r, store_session session, const char *payload, enum err *result)
{
	struct store_receiver to = { .session = session, .qos = 1, .sub_id = 9 };
	struct msg *m = make_msg("a/b", payload, strlen(payload));
	struct store_op op = op_publish(m, &to, 1);
	enum err rc = rig_do(r, &op);
	msg_unref(m);
	if (result)
		*result = rc;
	else
		ck_assert_int_eq(rc, ERR_OK);
	return rc == ERR_OK ? op.u.publish.record : 0;
}

static inline struct store_op do_page(struct rig *r, store_session session, uint64_t after, uint32_t max_entries, uint64_t max_bytes)
{
	struct store_op op = op_page(session, after, max_entries, max_bytes);
	ck_assert_int_eq(rig_do(r, &op), ERR_OK);
	return op;
}

/* How many entries the session's queue holds. */
static inline uint32_t queue_length(struct rig *r, store_session session)
{
	struct store_op op = do_page(r, session, 0, 100000, UINT64_MAX);
	ck_assert(op.u.page.end);
	uint32_t n = op.u.page.n_entries;
	page_free(&op);
	return n;
}

#endif
