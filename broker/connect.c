/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CONNECT: whose it is, where it belongs, and which session it opens, resumes or discards. Owner loop. */
#include "base/log.h"
#include "base/pool.h"
#include "base/random.h"
#include "broker/audit_flood.h"
#include "broker/clientid.h"
#include "broker/expiry.h"
#include "broker/limits.h"
#include "broker/packet.h"
#include "broker/quota.h"
#include "broker/recheck.h"
#include "broker/sessions.h"
#include "broker/will.h"
#include "mqtt/encode.h"

#include <stdio.h>
#include <string.h>

/* Answers with a return code where 3.1.1 has one, and ends the connection. */
static void refuse(struct conn *c, enum mqtt_reason reason, const char *why)
{
	uint8_t *p = conn_ctl(c, MQTT_ACK_SIZE);
	size_t n = p ? mqtt_encode_connack(p, (enum mqtt_version)c->version, false, reason) : 0;
	if (n > 0)
		conn_ctl_add(c, n);
	conn_end(c, LOG_NOTICE, false, "CONNECT refused: %s", why);
}

/* The same, and the audit log hears of it. client_id: what it asked for. */
static void refuse_client(struct conn *c, enum mqtt_reason reason, const char *why, struct mqtt_bytes client_id)
{
	struct audit_who who = audit_conn(c);
	who.client_id = client_id.p;
	who.client_id_len = client_id.len;
	audit_flood(c->loop, AUDIT_CONNECT_REFUSED, &who, why, AUDIT_NO_PAIRS);
	refuse(c, reason, why);
}

/* ---- after the store has answered ---- */

static void audit_connected(struct conn *c, bool present)
{
	const struct audit_who who = audit_conn(c);
	const char *tls = c->transport.tls ? tls_conn_version(c->transport.tls) : "none";
	const char *cipher = c->transport.tls ? tls_conn_cipher(c->transport.tls) : "none";
	const char *session = c->session->persistent ? "persistent" : "clean";
	audit_event(AUDIT_CONNECTED, &who, "", AUDIT_PAIRS(AUDIT_PAIR("tls", tls, strlen(tls)), AUDIT_PAIR("cipher", cipher, strlen(cipher)),
	            AUDIT_PAIR("session", session, strlen(session)), AUDIT_NUMBER("resumed", present)));
}

static void up(struct conn *c, bool present)
{
	struct session *s = c->session;
	uint8_t *p = conn_ctl(c, MQTT_ACK_SIZE);
	if (!p)
		return;
	conn_ctl_add(c, mqtt_encode_connack(p, (enum mqtt_version)c->version, present, MQTT_OK));
	conn_up(c);
	log_notice("%s: connected, %s%s%s, %s session%s", conn_name(c), c->transport.tls ? tls_conn_version(c->transport.tls) : "plain text",
	           c->transport.tls ? " " : "", c->transport.tls ? tls_conn_cipher(c->transport.tls) : "",
	           s->persistent ? "persistent" : "clean", present ? ", resumed" : "");
	if (c->loop->wills)
		wills_cancel(s);
	audit_connected(c, present);
	session_resume(s);
	if (c->state == CONN_UP)
		expiry_track(c);
}

struct open_op {
	struct store_op op;
	sub_handle handle;
	uint32_t serial;
	bool present;
	bool regardless; /* only the will was stored, or not: the connection is up all the same */
	char text[];     /* client id, CN */
};

static void on_opened(struct store_op *op, void *owner)
{
	struct open_op *o = (struct open_op *)op;
	struct loop *l = owner;
	loop_answered(l);
	struct session *s = sessions_get(l->sessions, o->handle);
	struct conn *c = s ? s->conn : NULL;
	if (o->regardless)
		op->result = ERR_OK;
	bool waits = c && c->state == CONN_OPENING, not_there = (op->verb == STORE_SESSION_NEW && op->result != ERR_OK) ||
	                                                        op->result == ERR_NOT_FOUND;
	if (waits && c->serial == o->serial && op->result == ERR_OK) {
		up(c, o->present);
		conn_release(c, HOLD_OPENING);
	} else if (waits && op->result != ERR_OK && (not_there || c->serial == o->serial)) {
		refuse(c, MQTT_SERVER_UNAVAILABLE, "the store failed");
	}
	if (s && not_there && !s->conn) /* else it could never be opened again, nor keep a message */
		sessions_end(s, "the store does not have it");
	pool_free(o);
}

/* CONNACK leaves after the commit of what it says about the session. */
static void open_after_store(struct conn *c, enum store_verb verb, bool present, bool regardless)
{
	struct session *s = c->session;
	size_t cn_len = c->identity->cn_len;
	struct open_op *o = pool_alloc(sizeof *o + s->client_id_len + cn_len);
	if (!o) {
		refuse(c, MQTT_SERVER_UNAVAILABLE, "out of memory");
		return;
	}
	*o = (struct open_op){.handle = s->subs.handle, .serial = c->serial, .present = present, .regardless = regardless};
	memcpy(o->text, s->client_id, s->client_id_len);
	memcpy(o->text + s->client_id_len, c->identity->cn, cn_len);
	o->op.verb = verb;
	o->op.done = on_opened;
	if (verb != STORE_BARRIER) {
		o->op.u.session.number = session_number(s);
		o->op.u.session.client_id = o->text;
		o->op.u.session.client_id_len = s->client_id_len;
		o->op.u.session.cn = o->text + s->client_id_len;
		o->op.u.session.cn_len = cn_len;
		o->op.u.session.expiry_s = s->expiry_s;
		o->op.u.session.time_ms = c->loop->wall_ms;
		o->op.u.session.connected = true;
	}
	conn_opening(c);
	conn_hold(c, HOLD_OPENING);
	loop_submit(c->loop, &o->op);
}

/* ---- here, on the loop of its client id ---- */

static bool make_will(struct conn *c, const struct mqtt_connect *m)
{
	if (!m->has_will)
		return true;
	struct msg_spec spec = {
		.topic = m->will_topic.p, /* judged when it is published */
		.topic_len = m->will_topic.len,
		.publisher = c->identity->cn,
		.publisher_len = c->identity->cn_len,
		.payload = m->will_payload.p,
		.payload_len = m->will_payload.len,
		.time_ms = c->loop->wall_ms,
		.qos = m->will_qos,
		.flags = (uint8_t)(MSG_WILL | (m->will_retain ? MSG_RETAIN : 0)),
	};
	c->will = msg_new(&spec);
	return c->will != NULL;
}

static void attach(struct conn *c, struct session *s)
{
	wheel_cancel(c->loop->wheel, &s->timer);
	if (s->persistent)
		STATS_SUB(c->loop, persistent_away, 1);
	s->conn = c;
	c->session = s;
	c->serial = ++s->conn_serial;
	s->window = c->loop->conf->max_inflight_messages;
	s->expiry_s = c->loop->conf->persistent_client_expiration_s;
	identity_unref(s->identity);
	s->identity = identity_ref(c->identity);
}

/* Whatever session the client id had: ends its connection, and the session too if it must go. *discarded: the store has to hear of it.
 * Returns the session to resume, or NULL. */
static struct session *settle_former(struct conn *c, struct session *s, bool clean, bool *discarded)
{
	sub_handle h = s->subs.handle;
	if (s->conn) {
		struct audit_who who = audit_conn(c);
		who.client_id = s->client_id;
		who.client_id_len = s->client_id_len;
		audit_event(AUDIT_SESSION_TAKEN_OVER, &who, "by a new connection from the same identity", AUDIT_NO_PAIRS);
		conn_end(s->conn, LOG_NOTICE, true, "taken over by a new connection from the same identity");
	}
	s = sessions_get(c->loop->sessions, h); /* a clean session has ended with its connection */
	if (!s || !clean)
		return s;
	sessions_end(s, "discarded by a clean session");
	*discarded = true;
	return NULL;
}

/* key: of the limit; "": no memory. */
static void refuse_by_limit(struct conn *c, const char *key, struct mqtt_bytes client_id)
{
	struct audit_who who = audit_conn(c);
	who.client_id = client_id.p;
	who.client_id_len = client_id.len;
	if (strcmp(key, "max_connections_per_identity") == 0)
		STATS_ADD(c->loop, limit_connections, 1);
	else if (*key)
		STATS_ADD(c->loop, limit_connects, 1);
	if (*key)
		limits_reached(c->loop, &who, key);
	refuse(c, MQTT_SERVER_UNAVAILABLE, *key ? key : "out of memory");
}

static void connect_here(struct conn *c, const struct mqtt_connect *m, struct mqtt_bytes client_id)
{
	struct loop *l = c->loop;
	struct session *s = sessions_find(l->sessions, client_id.p, client_id.len);
	bool discarded = false;
	if (s && !identity_same(s->identity, c->identity)) {
		struct audit_who who = audit_conn(c);
		who.client_id = client_id.p;
		who.client_id_len = client_id.len;
		audit_flood(l, AUDIT_CLIENT_ID_REFUSED, &who, "client id in use under another identity",
		            AUDIT_PAIRS(AUDIT_PAIR("owner", s->identity->cn, s->identity->cn_len)));
		refuse(c, MQTT_BAD_CLIENT_ID, "client id in use under another identity");
		return;
	}
	const char *limit = quota_enter(c, s && s->conn);
	if (limit) {
		refuse_by_limit(c, limit, client_id);
		return;
	}
	if (!make_will(c, m)) {
		refuse(c, MQTT_SERVER_UNAVAILABLE, "out of memory");
		return;
	}
	if (s)
		s = settle_former(c, s, m->clean_session, &discarded);
	bool present = s != NULL;
	if (!s)
		s = sessions_add(l->sessions, client_id.p, client_id.len, c->identity,
		                 m->clean_session ? 0 : store_session_number(l->broker->store));
	if (!s) {
		refuse(c, MQTT_SERVER_UNAVAILABLE, "out of memory");
		return;
	}
	attach(c, s);
	c->keepalive_ms = m->keepalive_s * 1500U;
	STATS_ADD(l, connects, 1);
	if (c->will && will_keep(c) != ERR_OK) {
		refuse(c, MQTT_SERVER_UNAVAILABLE, "out of memory");
		return;
	}
	if (s->persistent)
		open_after_store(c, present ? STORE_SESSION_STATE : STORE_SESSION_NEW, present, false);
	else if (discarded || c->will)
		open_after_store(c, STORE_BARRIER, false, !discarded);
	else
		up(c, false);
}

/* A name for a client that gave none, chosen so that it stays on this loop. */
static size_t assign_client_id(struct conn *c, char *buf, size_t cap)
{
	const struct broker *b = c->loop->broker;
	const char *prefix = c->loop->conf->auto_id_prefix;
	size_t n;
	do {
		uint64_t r[2];
		random_bytes(r, sizeof r);
		n = (size_t)snprintf(buf, cap, "%s%016llx%016llx", prefix ? prefix : "",
		                     (unsigned long long)r[0], (unsigned long long)r[1]);
		if (n >= cap)
			n = cap - 1;
	} while (broker_loop_of(b, buf, n) != c->loop->index);
	return n;
}

/* What the identity and configuration forbid; NULL: nothing. */
static const char *forbidden(const struct conn *c, const struct mqtt_connect *m, enum mqtt_reason *reason)
{
	const struct conf *conf = c->loop->conf;
	bool other_user = m->has_user && (m->user.len != c->identity->cn_len ||
	                                  memcmp(m->user.p, c->identity->cn, m->user.len) != 0);
	*reason = MQTT_NOT_AUTHORIZED;
	const char *certificate = recheck_certificate(c); /* its handshake may have been before a reload */
	if (certificate)
		return certificate;
	if (other_user && conf->listeners[c->listener->index].require_matching_username && c->transport.tls)
		return "the user name is not the certificate's CN";
	if (m->has_will && m->will_retain && !conf->retain_available)
		return "a retained will, and retain_available is false";
	*reason = MQTT_BAD_CLIENT_ID;
	if (m->keepalive_s > conf->max_keepalive_s || (m->keepalive_s == 0 && conf->max_keepalive_s < UINT16_MAX))
		return "its keepalive is longer than max_keepalive";
	if (m->client_id.len == 0 && !conf->allow_zero_length_clientid)
		return "no client id, and allow_zero_length_clientid is false";
	return NULL;
}

void packet_connect(struct conn *c, const uint8_t *body, size_t len)
{
	struct mqtt_connect m;
	enum mqtt_reason r = mqtt_decode_connect(body, len, &m);
	if (r == MQTT_OK || r == MQTT_UNSUPPORTED_VERSION || r == MQTT_BAD_CLIENT_ID)
		c->version = (uint8_t)m.version;
	if (r == MQTT_UNSUPPORTED_VERSION || r == MQTT_BAD_CLIENT_ID) {
		refuse_client(c, r, mqtt_reason_text(r), m.client_id);
		return;
	}
	if (r != MQTT_OK) {
		conn_protocol_error(c, r, "CONNECT");
		return;
	}
	const char *no = forbidden(c, &m, &r);
	if (!no && m.client_id.len > 0 && !clientid_fits(c->loop->conf, c->identity, m.client_id.p, m.client_id.len))
		no = "the client id does not fit the identity (clientid_pattern)";
	if (no) {
		refuse_client(c, r, no, m.client_id);
		return;
	}
	if (m.has_will && topic_levels(m.will_topic.p, m.will_topic.len) > c->loop->conf->max_topic_levels) {
		conn_protocol_error(c, MQTT_TOPIC_NAME_INVALID, "CONNECT: the will's topic has too many levels");
		return;
	}
	char assigned[256];
	struct mqtt_bytes client_id = m.client_id;
	if (client_id.len == 0)
		client_id = (struct mqtt_bytes){(const uint8_t *)assigned, assign_client_id(c, assigned, sizeof assigned)};
	unsigned owner = broker_loop_of(c->loop->broker, client_id.p, client_id.len);
	if (owner != c->loop->index)
		c->move_to = (uint8_t)(owner + 1);
	else
		connect_here(c, &m, client_id);
}
