/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/will.h"

#include "base/log.h"
#include "base/pool.h"
#include "broker/access.h"
#include "broker/audit_flood.h"
#include "broker/publish.h"
#include "broker/sealing.h"
#include "broker/sessions.h"
#include "broker/uthash_keyed.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define LEFT_PER_STEP 256U /* published at once of what a crash left; a step is a tick of the wheel */

/* ---- in the store ---- */

struct will_op {
	struct store_op op;
	struct msg *msg; /* one reference; NULL of a drop */
	sub_handle handle;
	uint32_t serial;
	uint8_t fingerprint[STORE_FINGERPRINT];
	char client_id[];
};

static void free_will_op(struct store_op *op)
{
	pool_free(op);
}

static void on_kept(struct store_op *op, void *owner)
{
	struct will_op *w = (struct will_op *)op;
	struct loop *l = owner;
	loop_answered(l);
	struct session *s = sessions_get(l->sessions, w->handle);
	struct conn *c = s ? s->conn : NULL;
	if (op->result != ERR_OK && c && c->serial == w->serial) {
		log_warning("%s: its will would not outlive the broker: it cannot be stored: %s", conn_name(c), err_text(op->result));
		c->will_number = 0;
	}
	msg_unref(w->msg);
	pool_free(w);
}

enum err will_keep(struct conn *c)
{
	struct session *s = c->session;
	struct will_op *w = pool_alloc(sizeof *w + s->client_id_len);
	if (!w)
		return ERR_NOMEM;
	if (c->loop->broker->vault) {
		msg_mark_secret(c->will);
		c->loop->secrets = true;
	}
	*w = (struct will_op){.msg = msg_ref(c->will), .handle = s->subs.handle, .serial = c->serial};
	memcpy(w->fingerprint, c->identity->fingerprint, sizeof w->fingerprint);
	memcpy(w->client_id, s->client_id, s->client_id_len);
	c->will_number = store_will_number(c->loop->broker->store);
	w->op.verb = STORE_WILL_PUT;
	w->op.done = on_kept;
	w->op.u.will.number = c->will_number;
	w->op.u.will.client_id = w->client_id;
	w->op.u.will.client_id_len = s->client_id_len;
	w->op.u.will.fingerprint = c->identity->not_after_s ? w->fingerprint : NULL;
	w->op.u.will.msg = w->msg;
	loop_submit(c->loop, &w->op);
	return ERR_OK;
}

void will_drop(struct loop *l, uint64_t number)
{
	struct will_op *w = number ? pool_alloc(sizeof *w) : NULL;
	if (!w)
		return; /* without memory: a crash publishes it, unless the client returns */
	*w = (struct will_op){.op.verb = STORE_WILL_DROP, .op.free_op = free_will_op};
	w->op.u.will.number = number;
	store_submit(l->broker->store, &w->op);
}

/* ---- of a connection ---- */

static struct msg_spec spec_of(const struct loop *l, const struct identity *who, struct mqtt_bytes topic, const struct msg *will)
{
	return (struct msg_spec){
		.topic = topic.p,
		.topic_len = topic.len,
		.publisher = who->cn,
		.publisher_len = who->cn_len,
		.payload = msg_payload(will),
		.payload_len = will->payload_len,
		.time_ms = l->wall_ms,
		.qos = will->qos,
		.flags = will->flags,
	};
}

/* The will as it is published now: under $SYS/health its sender's name, and not at all what the rules forbid. NULL: that, or no memory. */
static struct msg *judged(struct loop *l, const struct identity *who, const char *client_id, size_t client_id_len, struct msg *will)
{
	uint8_t health[PUBLISH_HEALTH_MAX];
	struct mqtt_bytes topic = {msg_topic(will), will->topic_len}, at = publish_topic(who, topic, health);
	if (l->spaces || topic.p[0] == '$') { /* a will in a key space takes the way of any message there */
		struct msg *sealed = NULL;
		const char *why = "out of memory";
		struct msg_spec as_sent = spec_of(l, who, topic, will);
		if (sealing_admit(l, who, &as_sent, &sealed, &why) != ADMIT_ELSEWHERE) {
			if (!sealed)
				log_warning("audit: CN '%s' client '%.*s': its will on '%.*s' is dropped: %s", who->cn, (int)client_id_len, client_id,
				            (int)(topic.len > 200 ? 200 : topic.len), (const char *)topic.p, why);
			return sealed;
		}
	}
	if (!access_will(l, who, client_id, client_id_len, topic)) {
		STATS_ADD(l, publish_denied, 1);
		const struct audit_who whose = {.identity = who, .client_id = client_id, .client_id_len = client_id_len};
		if (audit_flood(l, AUDIT_WILL_DENIED, &whose, "will denied", AUDIT_PAIRS(AUDIT_PAIR("topic", topic.p, topic.len))))
			log_notice("CN '%s' client '%.*s': its will on '%.*s' is denied", who->cn, (int)client_id_len, client_id,
			           (int)(topic.len > 200 ? 200 : topic.len), (const char *)topic.p);
		return NULL;
	}
	struct msg_spec spec = spec_of(l, who, at, will);
	struct msg *m = msg_new(&spec);
	if (!m)
		log_error("out of memory: the will of client '%.*s' is lost", (int)client_id_len, client_id);
	return m;
}

void will_forget(struct conn *c)
{
	msg_unref(c->will);
	c->will = NULL;
	will_drop(c->loop, c->will_number);
	c->will_number = 0;
}

void will_judge(struct conn *c)
{
	struct msg *will = c->will;
	if (!will)
		return;
	c->will = judged(c->loop, c->identity, c->session->client_id, c->session->client_id_len, will);
	msg_unref(will);
	if (!c->will)
		will_forget(c);
}

static void publish(struct loop *l, struct msg *will, uint64_t number)
{
	struct publish_origin from = {.will = number};
	switch (publish_message(l, will, &from)) {
	case PUBLISH_DEFERRED: /* goes with it */
		return;
	case PUBLISH_NOMEM:
		log_error("out of memory: a will on '%.*s' is lost", (int)will->topic_len, (const char *)msg_topic(will));
		break;
	case PUBLISH_DONE:
		break;
	}
	will_drop(l, number);
}

void will_publish(struct conn *c)
{
	if (!c->will)
		return;
	publish(c->loop, c->will, c->will_number);
	msg_unref(c->will);
	c->will = NULL;
	c->will_number = 0;
}

/* ---- what a crash left ---- */

struct left {
	UT_hash_handle hh;     /* by client id: the first of that client's */
	struct left *next;     /* the client's others: it had connected again, and the end of the first was not stored yet */
	uint64_t number;
	struct identity *who;  /* one reference */
	struct msg *msg;       /* one reference */
	size_t client_id_len;
	char client_id[];
};

struct wills {
	struct loop *loop;
	struct left *by_client; /* uthash */
	struct wheel_timer grace;
};

static void free_left(struct left *w)
{
	identity_unref(w->who);
	msg_unref(w->msg);
	free(w);
}

/* Up to max clients' wills, out of the table. */
static struct left *take_some(struct wills *all, unsigned max)
{
	struct left *list = NULL, *w, *next_client;
	HASH_ITER(hh, all->by_client, w, next_client)
	{
		if (max-- == 0)
			break;
		HASH_DEL(all->by_client, w);
		struct left *last = w;
		while (last->next)
			last = last->next;
		last->next = list;
		list = w;
	}
	return list;
}

static void publish_left(struct loop *l, struct left *w)
{
	log_notice("CN '%s' client '%.*s': its will is published: it has not returned since the broker's last end", w->who->cn,
	           (int)w->client_id_len, w->client_id);
	struct msg *m = judged(l, w->who, w->client_id, w->client_id_len, w->msg);
	if (m)
		publish(l, m, w->number);
	else
		will_drop(l, w->number);
	msg_unref(m);
}

static void on_grace(struct wheel_timer *t, void *owner)
{
	struct wills *all = (struct wills *)((char *)t - offsetof(struct wills, grace));
	struct loop *l = owner;
	for (struct left *w = take_some(all, LEFT_PER_STEP), *next; w; w = next) {
		next = w->next;
		publish_left(l, w);
		free_left(w);
	}
	if (all->by_client)
		loop_arm(l, t, l->now_ms + 1);
}

enum err wills_restore(struct loop *l, uint64_t number, const char *client_id, size_t client_id_len, const uint8_t *fingerprint,
                       struct msg *m)
{
	if (!l->wills && !(l->wills = calloc(1, sizeof *l->wills)))
		return ERR_NOMEM;
	struct wills *all = l->wills;
	if (!wheel_armed(&all->grace)) {
		all->loop = l;
		all->grace.fire = on_grace;
		loop_arm(l, &all->grace, l->now_ms + (uint64_t)l->conf->will_grace_s * 1000);
	}
	struct left *w = calloc(1, sizeof *w + client_id_len), *same;
	if (!w || !(w->who = identity_new(msg_publisher(m), m->publisher_len))) {
		free(w);
		return ERR_NOMEM;
	}
	if (fingerprint) /* what it seals, or may write in a key space, is that certificate's */
		memcpy(w->who->fingerprint, fingerprint, sizeof w->who->fingerprint);
	w->number = number;
	w->msg = msg_ref(m);
	w->client_id_len = client_id_len;
	memcpy(w->client_id, client_id, client_id_len);
	HASH_FIND(hh, all->by_client, client_id, (unsigned)client_id_len, same);
	if (same) {
		w->next = same->next;
		same->next = w;
		return ERR_OK;
	}
	HASH_ADD_KEYPTR(hh, all->by_client, w->client_id, (unsigned)client_id_len, w);
	if (w->hh.tbl)
		return ERR_OK;
	free_left(w); /* HASH_NONFATAL_OOM */
	return ERR_NOMEM;
}

void wills_cancel(struct session *s)
{
	struct wills *all = s->loop->wills;
	struct left *w;
	HASH_FIND(hh, all->by_client, s->client_id, s->client_id_len, w);
	if (!w)
		return;
	struct left *others = NULL; /* another identity's: who takes the client id does not silence them */
	HASH_DEL(all->by_client, w);
	for (struct left *next; w; w = next) {
		next = w->next;
		if (identity_same(w->who, s->identity)) {
			will_drop(s->loop, w->number);
			free_left(w);
		} else {
			w->next = others;
			others = w;
		}
	}
	if (others)
		HASH_ADD_KEYPTR(hh, all->by_client, others->client_id, (unsigned)others->client_id_len, others);
}

void wills_free(struct wills *all)
{
	if (!all)
		return;
	if (wheel_armed(&all->grace))
		wheel_cancel(all->loop->wheel, &all->grace);
	for (struct left *w = take_some(all, UINT_MAX), *next; w; w = next) {
		next = w->next;
		free_left(w);
	}
	free(all);
}
