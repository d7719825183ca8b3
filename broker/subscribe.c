/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/subscribe.h"

#include "base/log.h"
#include "base/pool.h"
#include "broker/access.h"
#include "broker/audit_flood.h"
#include "broker/packet.h"
#include "broker/replay.h"
#include "broker/retained_read.h"
#include "broker/sealing.h"
#include "broker/session.h"
#include "broker/sessions.h"
#include "broker/spaces.h"
#include "broker/special.h"
#include "mqtt/encode.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define RETAINED_QUEUE_MAX (1U << 20) /* entries: a session that has so many gets no more before it takes some */

/* A packet on its way: its filters are taken one by one. */
struct subscribing {
	struct subscribing *next;    /* in loop->subscribing */
	sub_handle handle;
	uint32_t serial;             /* of the connection */
	uint32_t i;                  /* filters that were taken */
	struct mqtt_subscribe list, rest; /* within body; rest: to be taken */
	bool judging;                /* a persistent session's: they are subscribed and stored first, then taken again for what is retained */
	bool any_granted;
	bool reading;                /* filter's retained messages */
	struct mqtt_filter filter;   /* the last that was granted; judging: it is not stored yet */
	struct retained_read read;
	uint64_t upto;               /* of a persistent session: for all of them */
	uint8_t *suback;             /* encoded; NULL once it is owed */
	size_t head;                 /* bytes of it before the codes */
	bool *granted;               /* by filter; behind body */
	uint8_t body[];
};

static void begin_past(struct session *s, struct subscribing *w, uint64_t upto)
{
	struct topic_share share;
	struct special_filter f = special_inner(w->filter.filter.p, w->filter.filter.len);
	bool shared = !topic_share_parse(f.p, f.len, &share) || share.group;
	if (!shared && s->queue.count >= RETAINED_QUEUE_MAX)
		conn_fail(s->conn, "it subscribes again and again, and takes none of the retained messages");
	retained_read_begin(&w->read, upto);
	w->read.walked = shared;
	w->reading = true;
}

/* The subscription to w->filter holds, SUBACK is on its way. True: all of its past is, too. */
static bool send_past(struct session *s, struct subscribing *w)
{
	const struct mqtt_filter *text = &w->filter;
	struct special_filter f = special_inner(text->filter.p, text->filter.len);
	struct replay *r = replay_unstarted(s, text->filter.p, text->filter.len);
	bool sealed = spaces_has_prefix((struct mqtt_bytes){f.p, f.len}, SPACES_SEALED); /* they are kept under their topics */
	size_t skip = sealed ? sizeof SPACES_SEALED - 1 : 0;
	if (!retained_read_step(&w->read, s, f.p + skip, f.len - skip, text->options & SUB_QOS, sealed ? SUB_ID_SEALED : 0, r))
		return false;
	w->reading = false;
	spaces_subscribed(s, f.p, f.len, text->options & SUB_QOS);
	if (r && s->conn && !s->conn->failed)
		replay_start(s, r);
	return true;
}

/* ---- the store's part, for persistent sessions ---- */

struct subscription_op {
	struct store_op op;
	sub_handle handle;
	uint32_t serial, seq;
	bool last;         /* of its packet: the acknowledgement follows */
	struct subscribing *then; /* … and what is retained; NULL: nothing */
	struct store_past past;
	uint8_t filter[];
};

static void subscribing_free(struct subscribing *w);
static void go_on(struct conn *c, struct subscribing *take_w);

static void on_subscription_stored(struct store_op *op, void *owner)
{
	struct subscription_op *o = (struct subscription_op *)op;
	struct loop *l = owner;
	loop_answered(l);
	struct session *s = sessions_get(l->sessions, o->handle);
	if (s && s->conn && s->conn->serial == o->serial) {
		if (op->result != ERR_OK) {
			conn_fail(s->conn, "its subscription cannot be stored");
		} else {
			if (o->last)
				conn_ack_ready(s->conn, o->seq);
			if (o->then)
				go_on(s->conn, o->then);
			o->then = NULL;
		}
	}
	subscribing_free(o->then);
	pool_free(o);
}

/* take_then: of the last one of a SUBSCRIBE. */
static void store_subscription(struct conn *c, enum store_verb verb, const struct mqtt_filter *f, uint32_t seq, bool last,
                               struct subscribing *take_then)
{
	struct session *s = c->session;
	struct subscription_op *o = pool_alloc(sizeof *o + f->filter.len);
	if (!o) {
		subscribing_free(take_then);
		conn_fail(c, "out of memory");
		return;
	}
	*o = (struct subscription_op){.handle = s->subs.handle, .serial = c->serial, .seq = seq, .last = last, .then = take_then};
	memcpy(o->filter, f->filter.p, f->filter.len);
	o->op.verb = verb;
	o->op.done = on_subscription_stored;
	o->op.u.subscription.session = session_number(s);
	o->op.u.subscription.filter = o->filter;
	o->op.u.subscription.filter_len = f->filter.len;
	o->op.u.subscription.options = f->options;
	const struct replay *r = verb == STORE_SUBSCRIBE ? replay_unstarted(s, o->filter, f->filter.len) : NULL;
	if (r) {
		o->past = replay_place(r);
		o->op.u.subscription.past = &o->past;
	}
	loop_submit(c->loop, &o->op);
}

struct forget_op {
	struct store_op op;
	uint8_t filter[];
};

static void free_forget_op(struct store_op *op)
{
	pool_free(op);
}

void session_forget_subscription(struct session *s, const uint8_t *filter, size_t len)
{
	struct forget_op *o = pool_alloc(sizeof *o + len);
	if (!o) {
		log_error("client '%.*s': out of memory: a removed subscription stays in the store", s->client_id_len, s->client_id);
		return;
	}
	*o = (struct forget_op){.op.verb = STORE_UNSUBSCRIBE, .op.free_op = free_forget_op};
	memcpy(o->filter, filter, len);
	o->op.u.subscription.session = session_number(s);
	o->op.u.subscription.filter = o->filter;
	o->op.u.subscription.filter_len = len;
	store_submit(s->loop->broker->store, &o->op);
}

/* ---- SUBSCRIBE ---- */

static bool too_deep(const struct conn *c, const struct mqtt_filter *f)
{
	struct topic_share share;
	struct special_filter inner = special_inner(f->filter.p, f->filter.len);
	uint32_t most = c->loop->conf->max_topic_levels;
	if (!topic_share_parse(inner.p, inner.len, &share))
		return true;
	return share.filter_len >= most && topic_levels(share.filter, share.filter_len) > most;
}

static bool is_shared(struct mqtt_bytes filter)
{
	struct topic_share share;
	return topic_share_parse(filter.p, filter.len, &share) && share.group;
}

/* One filter. False: refused; *code is SUBACK's, which in 3.1 cannot say so. */
static bool subscribe_one(struct conn *c, const struct mqtt_filter *f, uint8_t *code)
{
	struct session *s = c->session;
	const struct conf *conf = c->loop->conf;
	enum mqtt_reason r = MQTT_OK;
	const char *why = "denied";
	bool audit = false;
	struct history_spec spec = {.filter = f->filter.p, .filter_len = f->filter.len};
	bool special = history_is_spec(f->filter.p, f->filter.len);
	bool known = !special || history_spec_parse(f->filter.p, f->filter.len, c->loop->wall_ms, &spec);
	struct mqtt_bytes inner = {spec.filter, spec.filter_len};
	if (!known) {
		r = MQTT_TOPIC_FILTER_INVALID;
		why = "refused: expected $HISTORY/, a count, an age (15m), since-<ms> or all, then a filter";
	} else if (!access_subscribe(s, inner)) {
		r = MQTT_NOT_AUTHORIZED;
		audit = spaces_judge_filter(s, inner) == SPACE_DENIED;
	} else if (conf->max_subscriptions_per_client > 0 && s->subs.count >= conf->max_subscriptions_per_client) {
		r = MQTT_QUOTA_EXCEEDED;
		why = "refused: max_subscriptions_per_client reached";
		STATS_ADD(c->loop, limit_subscriptions, 1);
	} else if (!sub_set_shape_fits(&s->subs, inner.p, inner.len, conf->max_wildcard_shapes)) {
		r = MQTT_QUOTA_EXCEEDED;
		why = "refused: max_wildcard_shapes reached";
		STATS_ADD(c->loop, limit_subscriptions, 1);
	} else {
		bool added;
		struct replay *past = is_shared(inner) ? NULL : replay_new(s, f->filter.p, f->filter.len, &spec, f->options & SUB_QOS); /* started behind SUBACK */
		enum err e = special_subscribe(s, c->loop->epoch_id, f->filter.p, f->filter.len, f->options, 0, &added);
		if (e != ERR_OK) {
			r = MQTT_IMPLEMENTATION_ERROR;
			why = err_text(e);
		} else {
			access_subscribed(s, inner);
		}
		if (past && (e != ERR_OK || !added))
			replay_drop(s, past);
	}
	const struct audit_who who = audit_conn(c);
	const struct audit_pair filter = AUDIT_PAIR("filter", f->filter.p, f->filter.len), qos = AUDIT_NUMBER("qos", f->options & SUB_QOS);
	if (r == MQTT_OK)
		audit_event(AUDIT_SUBSCRIBED, &who, "", AUDIT_PAIRS(filter, qos));
	else if (audit_flood(c->loop, AUDIT_SUBSCRIBE_DENIED, &who, why, AUDIT_PAIRS(filter)))
		log_write(audit ? LOG_WARNING : LOG_NOTICE, "%s%s: SUBSCRIBE to '%.*s' %s", audit ? "audit: " : "", conn_name(c), (int)(f->filter.len > 200 ? 200 : f->filter.len),
		           (const char *)f->filter.p, why);
	*code = mqtt_suback_code((enum mqtt_version)c->version, f->options & SUB_QOS, r);
	return r == MQTT_OK;
}

static void subscribing_free(struct subscribing *w)
{
	if (!w)
		return;
	retained_read_end(&w->read, NULL);
	pool_free(w->suback);
	pool_free(w);
}

/* NULL: out of memory. */
static struct subscribing *subscribing_new(const struct conn *c, const uint8_t *body, size_t len, const struct mqtt_subscribe *list)
{
	struct subscribing *w = pool_alloc(sizeof *w + len + list->count * sizeof *w->granted);
	if (!w)
		return NULL;
	*w = (struct subscribing){.handle = c->session->subs.handle, .serial = c->serial, .list = *list};
	memcpy(w->body, body, len);
	w->list.next = w->body + (list->next - body);
	w->list.end = w->body + (list->end - body);
	w->rest = w->list;
	w->judging = c->session->persistent;
	w->granted = (bool *)(w->body + len);
	w->suback = pool_alloc(MQTT_SUBACK_HEAD_MAX + list->count);
	if (!w->suback) {
		subscribing_free(w);
		return NULL;
	}
	w->head = mqtt_encode_suback_head(w->suback, list->packet_id, list->count);
	return w;
}

static bool turn_is_used_up(const struct loop *l)
{
	return subscribe_visits_left(l) == 0;
}

static void owe_suback(struct conn *c, struct subscribing *w, bool ready, uint32_t *seq)
{
	session_tell_presence(c->session);
	conn_owe_bytes(c, w->suback, w->head + w->rest.count, ready, seq);
	w->suback = NULL;
}

/* The next filter: subscribes, unless a persistent session has. */
static bool take_filter(struct conn *c, struct subscribing *w, struct mqtt_filter *f)
{
	(void)mqtt_next_filter(&w->rest, true, f);
	bool *granted = &w->granted[w->i];
	if (w->suback) {
		*granted = subscribe_one(c, f, &w->suback[w->head + w->i]);
		c->loop->retained_visited += SUBSCRIBE_FILTER_VISITS;
		w->any_granted |= *granted;
	}
	w->i++;
	return *granted;
}

/* As much as this turn allows. In a clean session a filter is subscribed in the turn in which the reading of its retained messages begins, so that no
 * live message gets between them; SUBACK is encoded behind the last, and leaves before what is queued. In a persistent one SUBACK is on its way.
 * True: it is over. */
static bool take_filters(struct conn *c, struct subscribing *w)
{
	struct mqtt_filter f;
	while (!c->failed && (w->reading || w->i < w->rest.count)) {
		if (turn_is_used_up(c->loop))
			return false;
		if (!w->reading && take_filter(c, w, &f)) {
			w->filter = f;
			begin_past(c->session, w, w->suback ? retained_number(c->loop->broker->retained) : w->upto);
		}
		if (w->reading && !c->failed && !send_past(c->session, w))
			return false;
	}
	if (w->suback && !c->failed)
		owe_suback(c, w, true, NULL);
	return true;
}

/* A persistent session's: as much as this turn allows. All are stored but the last that is granted, with which SUBACK goes. True: that is all. */
static bool judge_filters(struct conn *c, struct subscribing *w)
{
	struct mqtt_filter f;
	while (!c->failed && w->i < w->rest.count) {
		if (turn_is_used_up(c->loop))
			return false;
		bool before = w->any_granted;
		if (!take_filter(c, w, &f))
			continue;
		if (before)
			store_subscription(c, STORE_SUBSCRIBE, &w->filter, 0, false, NULL);
		w->filter = f;
	}
	return true;
}

/* All are subscribed: SUBACK and what is retained follow the store's answer. */
static void store_last(struct conn *c, struct subscribing *take_w)
{
	struct subscribing *w = take_w;
	uint32_t seq = 0;
	if (!c->failed)
		owe_suback(c, w, !w->any_granted, &seq);
	if (c->failed || !w->any_granted) {
		subscribing_free(w);
		return;
	}
	struct mqtt_filter last = w->filter;
	w->judging = false;
	w->rest = w->list;
	w->i = 0;
	w->upto = retained_number(c->loop->broker->retained);
	store_subscription(c, STORE_SUBSCRIBE, &last, seq, true, w);
}

/* As much as this turn allows; true: w has been taken. */
static bool advance(struct conn *c, struct subscribing *w)
{
	if (w->judging) {
		if (!judge_filters(c, w))
			return false;
		store_last(c, w);
		return true;
	}
	if (!take_filters(c, w))
		return false;
	if (w->reading) /* it failed */
		retained_read_end(&w->read, c->session);
	subscribing_free(w);
	return true;
}

static void push_waiting(struct loop *l, struct subscribing *w)
{
	w->next = NULL;
	if (l->subscribing.first)
		l->subscribing.last->next = w;
	else
		l->subscribing.first = w;
	l->subscribing.last = w;
}

static void go_on(struct conn *c, struct subscribing *take_w)
{
	if (!c->loop->subscribing.first && advance(c, take_w))
		return;
	c->subscribing++;
	conn_hold(c, HOLD_SUBSCRIBE);
	push_waiting(c->loop, take_w);
}

/* The input waits, so its end is not read; who has gone needs none of what is left. */
static bool has_gone(const struct conn *c)
{
	struct pollfd p = {.fd = c->io.fd, .events = POLLRDHUP};
	return poll(&p, 1, 0) > 0;
}

void subscribe_step(struct loop *l)
{
	while (l->subscribing.first && !l->stopping && !turn_is_used_up(l)) {
		struct subscribing *w = l->subscribing.first;
		l->subscribing.first = w->next;
		struct session *s = sessions_get(l->sessions, w->handle);
		struct conn *c = s && s->conn && s->conn->serial == w->serial ? s->conn : NULL;
		if (c && !has_gone(c)) {
			if (!advance(c, w)) {
				push_waiting(l, w);
				continue;
			}
		} else {
			if (c)
				retained_read_end(&w->read, s);
			subscribing_free(w);
		}
		if (c && --c->subscribing == 0) {
			conn_release(c, HOLD_SUBSCRIBE);
			conn_mark_dirty(c);
		}
	}
}

void subscribe_drop_all(struct loop *l)
{
	while (l->subscribing.first) {
		struct subscribing *w = l->subscribing.first;
		l->subscribing.first = w->next;
		subscribing_free(w);
	}
}

void packet_subscribe(struct conn *c, const uint8_t *body, size_t len)
{
	struct mqtt_subscribe list;
	struct mqtt_filter f;
	enum mqtt_reason r = mqtt_decode_subscribe((enum mqtt_version)c->version, body, len, &list);
	if (r != MQTT_OK) {
		conn_protocol_error(c, r, "SUBSCRIBE");
		return;
	}
	for (struct mqtt_subscribe it = list; mqtt_next_filter(&it, true, &f);)
		if (too_deep(c, &f)) {
			conn_protocol_error(c, MQTT_TOPIC_FILTER_INVALID, "SUBSCRIBE: too many levels, or a malformed $share");
			return;
		}
	struct subscribing *w = subscribing_new(c, body, len, &list);
	if (w)
		go_on(c, w);
	else
		conn_fail(c, "out of memory");
}

/* ---- UNSUBSCRIBE ---- */

void packet_unsubscribe(struct conn *c, const uint8_t *body, size_t len)
{
	struct session *s = c->session;
	struct mqtt_subscribe list;
	struct mqtt_filter f;
	enum mqtt_reason r = mqtt_decode_unsubscribe((enum mqtt_version)c->version, body, len, &list);
	if (r != MQTT_OK) {
		conn_protocol_error(c, r, "UNSUBSCRIBE");
		return;
	}
	for (struct mqtt_subscribe it = list; mqtt_next_filter(&it, false, &f);) {
		bool gone;
		struct special_filter inner = special_inner(f.filter.p, f.filter.len);
		enum err e = special_unsubscribe(s, c->loop->epoch_id, f.filter.p, f.filter.len, &gone);
		if (gone) {
			const struct audit_who who = audit_conn(c);
			replay_cancel(s, inner.p, inner.len);
			audit_event(AUDIT_UNSUBSCRIBED, &who, "", AUDIT_PAIRS(AUDIT_PAIR("filter", f.filter.p, f.filter.len)));
		}
		if (e == ERR_NOMEM) {
			conn_fail(c, "out of memory");
			return;
		}
	}
	uint32_t seq, left = list.count;
	conn_owe(c, MQTT_UNSUBACK, list.packet_id, !s->persistent, &seq); /* also when nothing matched [MQTT-3.10.4-5] */
	for (struct mqtt_subscribe it = list; s->persistent && mqtt_next_filter(&it, false, &f);)
		store_subscription(c, STORE_UNSUBSCRIBE, &f, seq, --left == 0, NULL);
}
