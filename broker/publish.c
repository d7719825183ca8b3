/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/publish.h"

#include "base/log.h"
#include "base/pool.h"
#include "base/siphash.h"
#include "broker/access.h"
#include "broker/audit_flood.h"
#include "broker/packet.h"
#include "broker/refused.h"
#include "broker/registrar.h"
#include "broker/route.h"
#include "broker/sealing.h"
#include "broker/sessions.h"
#include "broker/spaces.h"
#include "broker/will.h"
#include "mqtt/encode.h"

#include <string.h>

#define DELIVERIES_PER_STEP 20000U /* one connection's share of a turn */
#define VISITS_PER_STEP 200000U    /* … in nodes of the trie: some ms, when its topics are new and others' filters many */
#define HOPS_MAX 16U               /* members of a shared subscription that may not read a message, before it is given up */

/* ---- order ---- */

/* A receiver gets what a publisher sent to one topic in the order of sending, over QoS levels too. So what need not wait for the store
 * does wait when it could overtake what does. */
static uint8_t topic_bit(const struct msg *m)
{
	return (uint8_t)(1U << (siphash13(&siphash_process_key, msg_topic(m), m->topic_len) & 7));
}

static void defer(struct session *s, const struct msg *m)
{
	s->deferred++;
	s->deferred_bytes += msg_size(m);
	if (m->qos > 0)
		s->deferred_topics |= topic_bit(m);
	if (m->qos == 2)
		s->deferred_qos2_topics |= topic_bit(m);
}

static void undefer(struct session *s, const struct msg *m)
{
	s->deferred_bytes -= msg_size(m);
	if (--s->deferred == 0)
		s->deferred_topics = s->deferred_qos2_topics = 0;
}

struct behind { /* is a message of this topic deferred? */
	bool any, qos2;
};

static struct behind behind_of(const struct publish_origin *from, const struct msg *m)
{
	const struct session *s = from ? from->session : NULL;
	if (!s || s->deferred_topics == 0)
		return (struct behind){false, false};
	return (struct behind){(s->deferred_topics & topic_bit(m)) != 0, (s->deferred_qos2_topics & topic_bit(m)) != 0};
}

/* ---- with the store ---- */

struct pick { /* a member chosen for a shared subscription */
	struct target target;
	struct share_group *group; /* in a publish_op: one reference; before, borrowed from the match */
};

struct publish_op {
	struct store_op op;
	struct msg *msg;      /* one reference */
	struct match *match;  /* one reference; NULL: only picks */
	sub_handle publisher; /* 0: nobody waits */
	uint32_t serial;      /* of its connection */
	uint32_t ack_seq;
	uint32_t n_picks;
	enum route_phase phase; /* who gets it when it is stored: ROUTE_COMMITTED when the others have it, else nobody has */
	struct pick *picks;   /* behind the receivers, in this allocation */
	struct store_receiver receivers[];
};

static void release_op(struct publish_op *p)
{
	for (uint32_t i = 0; i < p->n_picks; i++)
		share_unref(p->picks[i].group);
	if (p->match)
		match_unref(p->match);
	msg_unref(p->msg);
	pool_free(p);
}

/* s no longer waits for the store's answer. */
static void settle(struct session *s, const struct publish_op *p, bool kept)
{
	uint16_t qos2_id = p->op.u.publish.packet_id;
	undefer(s, p->msg);
	if (!kept && qos2_id)
		(void)pidset_remove(&s->received, qos2_id); /* its repetition is the first that we keep */
}

static void answer_publisher(struct session *s, const struct publish_op *p, enum err result)
{
	struct conn *c = s->conn;
	bool kept = result == ERR_OK || result == ERR_EXISTS, same = c && c->serial == p->serial;
	uint16_t qos2_id = p->op.u.publish.packet_id;
	settle(s, p, kept);
	if (p->msg->qos > 0 && kept && same)
		conn_ack_ready(c, p->ack_seq);
	else if (p->msg->qos > 0 && !kept && (same || (c && qos2_id))) /* a later connection may wait for the PUBREC of its repetition */
		conn_end(c, LOG_WARNING, true, "its message cannot be kept: %s", err_text(result));
	if (c)
		conn_release_acks(c);
}

static void route_stored(struct loop *l, const struct publish_op *p, enum route_phase phase, uint64_t record)
{
	if (p->match)
		route_match(l, p->msg, p->match, phase, record);
	for (uint32_t i = 0; i < p->n_picks; i++)
		if (phase != ROUTE_COMMITTED || route_waits(p->msg, &p->picks[i].target))
			route_one(l, p->msg, &p->picks[i].target, p->picks[i].group, record);
}

static void on_stored(struct store_op *op, void *owner)
{
	struct publish_op *p = (struct publish_op *)op;
	struct loop *l = owner;
	struct session *s = p->publisher ? sessions_get(l->sessions, p->publisher) : NULL;
	struct conn *c = s && s->conn && s->conn->serial == p->serial ? s->conn : NULL;
	loop_answered(l);
	if (op->u.publish.gate && refused_answered(l, op, s, c))
		return;
	if (op->result == ERR_OK) {
		route_stored(l, p, p->phase, op->u.publish.record);
	} else if (op->result != ERR_EXISTS) { /* that: a QoS 2 message that the store knows already; routed long ago */
		log_error("a message on '%.*s' cannot be kept: %s", (int)p->msg->topic_len, (const char *)msg_topic(p->msg),
		          err_text(op->result));
		if (op->u.publish.will)
			will_drop(l, op->u.publish.will);
		if (p->phase != ROUTE_COMMITTED && p->msg->qos == 0)
			route_stored(l, p, ROUTE_ALL, 0); /* goes on without its past */
	}
	if (s)
		answer_publisher(s, p, op->result);
	release_op(p);
}

void publish_forget_refused(struct session *s)
{
	struct store_op *op;
	while ((op = refused_take(s))) {
		struct publish_op *p = (struct publish_op *)op;
		settle(s, p, false);
		release_op(p);
	}
}

static void add_receiver(struct publish_op *p, const struct target *t)
{
	unsigned qos = t->options & SUB_QOS;
	if (p->msg->qos < qos)
		qos = p->msg->qos;
	if (qos == 0 || !sub_handle_persistent(t->handle))
		return;
	struct store_receiver *r = &p->receivers[p->op.u.publish.n_receivers++];
	*r = (struct store_receiver){.session = sub_handle_generation(t->handle) & ~SUB_PERSISTENT, .sub_id = t->sub_id};
	r->qos = (uint8_t)qos;
}

/* A session that is chosen for a shared subscription may be a receiver already: it has one queue entry for the message. */
static void add_pick(struct publish_op *p, const struct pick *pick)
{
	const struct target *t = &pick->target;
	uint32_t n = p->op.u.publish.n_receivers;
	add_receiver(p, t);
	if (p->op.u.publish.n_receivers == n)
		return;
	struct store_receiver *added = &p->receivers[n];
	for (uint32_t i = 0; i < n; i++)
		if (p->receivers[i].session == added->session) {
			if (p->receivers[i].qos < added->qos)
				p->receivers[i].qos = added->qos;
			p->op.u.publish.n_receivers = n;
			return;
		}
	added->share = share_mark(pick->group);
}

static enum err store_message(struct loop *l, struct msg *m, struct match *mt, const struct pick *picks, uint32_t n_picks,
                              enum route_phase phase, const struct publish_origin *from)
{
	size_t n_receivers = (mt ? (size_t)mt->n_persistent : 0) + n_picks;
	struct publish_op *p = pool_alloc(sizeof *p + n_receivers * sizeof *p->receivers + n_picks * sizeof *picks +
	                                  _Alignof(struct pick));
	if (!p)
		return ERR_NOMEM;
	*p = (struct publish_op){.msg = msg_ref(m), .match = mt ? match_ref(mt) : NULL, .n_picks = n_picks, .phase = phase};
	uintptr_t after = (uintptr_t)(p->receivers + n_receivers);
	after = (after + _Alignof(struct pick) - 1) & ~(uintptr_t)(_Alignof(struct pick) - 1);
	p->picks = (struct pick *)after;
	for (uint32_t i = 0; i < n_picks; i++)
		p->picks[i] = (struct pick){picks[i].target, share_ref(picks[i].group)};
	if (l->broker->vault) {
		msg_mark_secret(m);
		l->secrets = true;
	}
	p->op.verb = STORE_PUBLISH;
	p->op.done = on_stored;
	p->op.u.publish.msg = m;
	p->op.u.publish.receivers = p->receivers;
	p->op.u.publish.history = phase == ROUTE_HISTORY;
	p->op.u.publish.retained = mt && (m->flags & MSG_RETAIN) && !(m->flags & MSG_SYS); /* a copy handed on is not news */
	for (uint32_t i = 0; mt && mt->n_persistent > 0 && i < mt->n_targets; i++)
		add_receiver(p, &mt->targets[i]);
	for (uint32_t i = 0; i < n_picks; i++)
		add_pick(p, &picks[i]);
	if (from)
		p->op.u.publish.will = from->will;
	if (from && from->session) {
		p->publisher = from->session->subs.handle;
		p->serial = from->session->conn_serial;
		p->ack_seq = from->ack_seq;
		defer(from->session, m);
		if (from->packet_id) {
			p->op.u.publish.publisher = session_number(from->session);
			p->op.u.publish.packet_id = from->packet_id;
		}
	}
	if (!p->publisher || m->qos == 0) {
		loop_submit(l, &p->op);
	} else if (refused_submit(from->session, &p->op) != ERR_OK) {
		settle(from->session, p, true); /* the caller forgets its packet identifier */
		release_op(p);
		return ERR_NOMEM;
	}
	return ERR_OK;
}

/* ---- one way for all ---- */

/* QoS 2 to a clean session need not wait by itself; behind another (behind_qos2), it must. */
static bool any_target_waits(const struct msg *m, const struct match *mt, const struct pick *picks, uint32_t n_picks, bool behind_qos2)
{
	if (m->qos == 0)
		return false;
	for (uint32_t i = 0; (mt->n_persistent > 0 || behind_qos2) && i < mt->n_targets; i++)
		if (route_waits(m, &mt->targets[i]) && (behind_qos2 || sub_handle_persistent(mt->targets[i].handle)))
			return true;
	for (uint32_t i = 0; i < n_picks; i++)
		if (route_waits(m, &picks[i].target) && (behind_qos2 || sub_handle_persistent(picks[i].target.handle)))
			return true;
	return false;
}

/* Could m overtake for a receiver for whom it need not wait? Those of QoS 1 and 2 wait for persistent sessions, those of QoS 2 for all. */
static bool could_overtake(const struct msg *m, const struct match *mt, const struct pick *picks, uint32_t n_picks, struct behind behind)
{
	bool persistent = mt->n_persistent > 0;
	for (uint32_t i = 0; behind.any && i < n_picks; i++)
		persistent |= sub_handle_persistent(picks[i].target.handle);
	return (m->qos < 2 && behind.qos2) || (m->qos == 0 && behind.any && persistent);
}

static enum publish_result publish_matched(struct loop *l, struct msg *m, struct match *mt, const struct pick *picks,
                                           uint32_t n_picks, const struct publish_origin *from)
{
	bool keep = (m->flags & MSG_RETAIN) && !(m->flags & MSG_SYS);
	struct behind behind = behind_of(from, m);
	bool history = !(m->flags & MSG_SYS) && (l->spaces ? spaces_history(l, msg_topic(m), m->topic_len)
	                                                   : history_policy_find(l->broker->history, msg_topic(m), m->topic_len));
	bool overtakes = could_overtake(m, mt, picks, n_picks, behind);
	if (!history && !overtakes && !keep && !(from && from->packet_id) && !any_target_waits(m, mt, picks, n_picks, behind.qos2)) {
		route_match(l, m, mt, ROUTE_ALL, 0);
		for (uint32_t i = 0; i < n_picks; i++)
			route_one(l, m, &picks[i].target, picks[i].group, 0);
		if (mt->n_groups == 0)
			run_offer(&l->run, mt);
		return PUBLISH_DONE;
	}
	enum route_phase phase = history ? ROUTE_HISTORY : overtakes || (m->qos > 0 && store_failing(l->broker->store)) ? ROUTE_ALL : ROUTE_COMMITTED;
	if (store_message(l, m, mt, picks, n_picks, phase, from) != ERR_OK)
		return PUBLISH_NOMEM;
	if (phase != ROUTE_COMMITTED)
		return PUBLISH_DEFERRED;
	route_match(l, m, mt, ROUTE_NOW, 0);
	for (uint32_t i = 0; i < n_picks; i++)
		if (!route_waits(m, &picks[i].target))
			route_one(l, m, &picks[i].target, picks[i].group, 0);
	return PUBLISH_DEFERRED;
}

static enum publish_result publish_to(struct loop *l, struct msg *m, struct match *mt, const struct publish_origin *from)
{
	if (mt->n_groups == 0)
		return publish_matched(l, m, mt, NULL, 0, from);

	struct pick few[8], *picks = mt->n_groups <= 8 ? few : pool_alloc(mt->n_groups * sizeof *picks);
	uint32_t n = 0;
	if (!picks)
		return PUBLISH_NOMEM;
	for (uint32_t i = 0; i < mt->n_groups; i++)
		if (share_pick(mt->groups[i], 0, &picks[n].target))
			picks[n++].group = mt->groups[i];
	enum publish_result r = publish_matched(l, m, mt, picks, n, from);
	if (picks != few)
		pool_free(picks);
	return r;
}

/* Subscribers of both views of a sealed message; one reference, NULL: no memory. */
static struct match *match_views(struct loop *l, const struct msg *m)
{
	size_t skip = sizeof SPACES_SEALED - 1;
	uint8_t few[512], *name = skip + m->topic_len <= sizeof few ? few : pool_alloc(skip + m->topic_len);
	struct match *plain = name ? match_cache_get(l->cache, msg_topic(m), m->topic_len) : NULL, *sealed = NULL, *mt = NULL;
	if (plain) {
		match_ref(plain);
		memcpy(name, SPACES_SEALED, skip);
		memcpy(name + skip, msg_topic(m), m->topic_len);
		sealed = match_cache_get(l->cache, name, skip + m->topic_len);
	}
	if (sealed && sealed->n_targets + sealed->n_groups == 0)
		mt = match_ref(plain);
	else if (sealed && plain->n_targets + plain->n_groups == 0)
		mt = match_ref(sealed);
	else if (sealed)
		mt = match_union(plain, sealed);
	match_unref(plain);
	if (name != few)
		pool_free(name);
	return mt;
}

enum publish_result publish_message(struct loop *l, struct msg *m, const struct publish_origin *from)
{
	if (m->flags & MSG_RETAIN) {
		enum err e = retained_put(l->broker->retained, l->epoch_id, m, l->conf->max_retained_messages);
		if (e == ERR_NOMEM)
			return PUBLISH_NOMEM;
		if (e != ERR_OK)
			log_warning("a message on '%.*s' is not retained: %s", (int)m->topic_len, (const char *)msg_topic(m), err_text(e));
	}
	struct match *both = m->flags & MSG_SEALED ? match_views(l, m) : NULL;
	struct match *mt = m->flags & MSG_SEALED ? both : match_cache_get(l->cache, msg_topic(m), m->topic_len);
	enum publish_result r = mt ? publish_to(l, m, mt, from) : PUBLISH_NOMEM;
	if (both)
		match_unref(both);
	return r;
}

void publish_own(struct loop *l, struct msg *m)
{
	if (publish_message(l, m, NULL) == PUBLISH_NOMEM)
		log_error("out of memory: the broker's message on '%.*s' is lost", (int)m->topic_len, (const char *)msg_topic(m));
}

bool publish_to_group(struct loop *l, struct msg *m, struct share_group *g, sub_handle not, unsigned hops)
{
	struct pick pick = {.group = g};
	if (hops > HOPS_MAX || !share_pick(g, not, &pick.target))
		return false;
	pick.target.pad[0] = (uint8_t)hops;
	if (route_waits(m, &pick.target) && sub_handle_persistent(pick.target.handle))
		return store_message(l, m, NULL, &pick, 1, ROUTE_COMMITTED, NULL) == ERR_OK;
	route_one(l, m, &pick.target, g, 0);
	return true;
}

/* ---- from a client ---- */

struct mqtt_bytes publish_topic(const struct identity *who, struct mqtt_bytes topic, uint8_t buf[static PUBLISH_HEALTH_MAX])
{
	static const char health[] = ACCESS_HEALTH_TOPIC "/";
	size_t n = sizeof health - 1;
	if (topic.len != n - 1 || memcmp(topic.p, health, n - 1) != 0)
		return topic;
	memcpy(buf, health, n);
	memcpy(buf + n, who->cn, who->cn_len);
	return (struct mqtt_bytes){buf, n + who->cn_len};
}

static struct msg_spec spec_of(const struct conn *c, const struct mqtt_publish *p, struct mqtt_bytes topic)
{
	return (struct msg_spec){
		.topic = topic.p,
		.topic_len = topic.len,
		.publisher = c->identity->cn,
		.publisher_len = c->identity->cn_len,
		.payload = p->payload.p,
		.payload_len = p->payload.len,
		.time_ms = c->loop->wall_ms,
		.qos = p->qos,
		.flags = p->retain ? MSG_RETAIN : 0,
	};
}

struct msg *publish_new(struct conn *c, const struct mqtt_publish *p)
{
	uint8_t health[PUBLISH_HEALTH_MAX];
	struct msg_spec spec = spec_of(c, p, publish_topic(c->identity, p->topic, health));
	return msg_new(&spec);
}

void publish_hold_back(struct conn *c)
{
	struct loop *l = c->loop;
	if (conn_behind(c))
		conn_hold(c, HOLD_ACKS);
	if (l->routed >= DELIVERIES_PER_STEP || match_cache_visited(l->cache) - l->visited_before >= VISITS_PER_STEP)
		conn_hold(c, HOLD_BACKLOG);
	for (unsigned i = 0; i < l->broker->n_loops; i++)
		if (i != l->index && loop_overloaded(l, i)) {
			conn_hold(c, HOLD_STARVED);
			return;
		}
}

static void acknowledge(struct conn *c, const struct mqtt_publish *p, bool ready, uint32_t *seq)
{
	if (p->qos > 0)
		conn_owe(c, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id, ready, seq);
}

/* Takes m; NULL: out of memory. */
static void publish_accepted(struct conn *c, const struct mqtt_publish *p, struct msg *m)
{
	struct session *s = c->session;
	struct publish_origin from = {.session = s};
	if (!m) {
		conn_end(c, LOG_ERROR, true, "out of memory");
		return;
	}
	if (p->qos == 2) {
		if (pidset_add(&s->received, p->packet_id) != ERR_OK) {
			msg_unref(m);
			conn_end(c, LOG_ERROR, true, "out of memory");
			return;
		}
		from.packet_id = s->persistent ? p->packet_id : 0;
	}
	from.ack_seq = c->acks.head_seq + c->acks.count; /* what conn_owe will give it */
	switch (publish_message(c->loop, m, &from)) {
	case PUBLISH_DONE:
		acknowledge(c, p, true, NULL);
		break;
	case PUBLISH_DEFERRED:
		acknowledge(c, p, false, &from.ack_seq);
		break;
	case PUBLISH_NOMEM:
		if (p->qos == 2)
			(void)pidset_remove(&s->received, p->packet_id);
		conn_end(c, LOG_ERROR, true, "out of memory");
		break;
	}
	msg_unref(m);
}

/* A QoS 2 message that we have: not routed again [MQTT-4.3.3-2]. PUBREC waits if the first copy still waits for the store. */
static void repeated(struct conn *c, const struct mqtt_publish *p)
{
	uint32_t seq;
	if (c->session->deferred == 0) {
		acknowledge(c, p, true, NULL);
		return;
	}
	acknowledge(c, p, false, &seq);
	conn_ack_after_store(c, STORE_BARRIER, 0, seq);
}

/* A PUBLISH to $CONTROL/topics/v1: acknowledged when it has been done. */
static void command(struct conn *c, const struct mqtt_publish *p)
{
	uint32_t seq = 0;
	if (p->qos == 2 && pidset_add(&c->session->received, p->packet_id) != ERR_OK) {
		conn_end(c, LOG_ERROR, true, "out of memory");
		return;
	}
	acknowledge(c, p, false, &seq);
	if (!registrar_command(c, p->payload.p, p->payload.len, p->qos, seq))
		conn_end(c, LOG_ERROR, true, "out of memory");
}

/* What key spaces decide about. ELSEWHERE: they have nothing to do with it; OK: *m is to be published; NOMEM; DROP, END: all is done. */
static enum admission publish_in_space(struct conn *c, const struct mqtt_publish *p, struct msg **m)
{
	static const char control[] = SPACES_CONTROL;
	const char *why = NULL;
	if (p->topic.len == sizeof control - 1 && memcmp(p->topic.p, control, p->topic.len) == 0 && c->loop->broker->registrar) {
		command(c, p);
		return ADMIT_DROP;
	}
	struct msg_spec spec = spec_of(c, p, p->topic);
	enum admission a = sealing_admit(c->loop, c->identity, &spec, m, &why);
	int shown = (int)(p->topic.len > 200 ? 200 : p->topic.len);
	const struct audit_who who = audit_conn(c);
	const struct audit_pair topic = AUDIT_PAIR("topic", p->topic.p, p->topic.len);
	switch (a) {
	case ADMIT_ELSEWHERE:
	case ADMIT_OK:
	case ADMIT_NOMEM:
		break;
	case ADMIT_DROP: /* 3.1.1 has no other answer [MQTT-3.3.5-2] */
		STATS_ADD(c->loop, publish_denied, 1);
		if (audit_flood(c->loop, AUDIT_PUBLISH_DENIED, &who, why, AUDIT_PAIRS(topic)))
			log_warning("audit: %s: PUBLISH to '%.*s' dropped: %s", conn_name(c), shown, (const char *)p->topic.p, why);
		acknowledge(c, p, true, NULL);
		break;
	case ADMIT_END:
		STATS_ADD(c->loop, publish_denied, 1);
		audit_event(AUDIT_PUBLISH_DENIED, &who, why, AUDIT_PAIRS(topic));
		conn_end(c, LOG_WARNING, true, "audit: PUBLISH to '%.*s' refused: %s", shown, (const char *)p->topic.p, why);
		break;
	}
	return a;
}

static bool topic_too_deep(const struct conn *c, struct mqtt_bytes topic)
{
	uint32_t most = c->loop->conf->max_topic_levels;
	return topic.len >= most && topic_levels(topic.p, topic.len) > most;
}

void packet_publish(struct conn *c, uint8_t flags, const uint8_t *body, size_t len)
{
	struct mqtt_publish p;
	enum mqtt_reason r = mqtt_decode_publish((enum mqtt_version)c->version, flags, body, len, &p);
	if (r != MQTT_OK) {
		conn_protocol_error(c, r, "PUBLISH");
		return;
	}
	STATS_ADD(c->loop, publish_received, 1);
	STATS_ADD(c->loop, publish_bytes_received, p.payload.len);
	if (topic_too_deep(c, p.topic)) {
		conn_protocol_error(c, MQTT_TOPIC_NAME_INVALID, "PUBLISH: too many topic levels");
		return;
	}
	if (p.retain && !c->loop->conf->retain_available) {
		conn_protocol_error(c, MQTT_RETAIN_NOT_SUPPORTED, "PUBLISH: retain_available is false");
		return;
	}
	if (p.qos == 2 && pidset_has(&c->session->received, p.packet_id)) {
		repeated(c, &p);
		return;
	}
	struct msg *m = NULL;
	enum admission a = c->loop->spaces || p.topic.p[0] == '$' ? publish_in_space(c, &p, &m) : ADMIT_ELSEWHERE;
	bool allowed = a == ADMIT_OK || a == ADMIT_NOMEM || (a == ADMIT_ELSEWHERE && access_publish(c->session, p.topic));
	if (allowed) {
		c->loop->run.offered = NULL;
		publish_accepted(c, &p, a == ADMIT_ELSEWHERE ? publish_new(c, &p) : m);
		if (c->loop->run.offered && a == ADMIT_ELSEWHERE)
			run_begin(c, flags, &p);
	} else if (a == ADMIT_ELSEWHERE) { /* acknowledged and dropped: 3.1.1 has no other answer [MQTT-3.3.5-2] */
		const struct audit_who who = audit_conn(c);
		STATS_ADD(c->loop, publish_denied, 1);
		if (audit_flood(c->loop, AUDIT_PUBLISH_DENIED, &who, "PUBLISH denied", AUDIT_PAIRS(AUDIT_PAIR("topic", p.topic.p, p.topic.len))))
			log_notice("%s: PUBLISH to '%.*s' denied", conn_name(c), (int)(p.topic.len > 200 ? 200 : p.topic.len),
			           (const char *)p.topic.p);
		acknowledge(c, &p, true, NULL);
	}
	if (c->state == CONN_UP)
		publish_hold_back(c);
}
