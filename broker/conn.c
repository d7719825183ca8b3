/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/conn.h"

#include "base/log.h"
#include "base/pool.h"
#include "base/secmem.h"
#include "base/textbytes.h"
#include "broker/access.h"
#include "broker/audit_flood.h"
#include "broker/expiry.h"
#include "broker/limits.h"
#include "broker/packet.h"
#include "broker/publish.h"
#include "broker/quota.h"
#include "broker/registrar.h"
#include "broker/sealing.h"
#include "broker/session.h"
#include "broker/sessions.h"
#include "broker/subscribe.h"
#include "broker/will.h"
#include "mqtt/encode.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOPBACK_CN "(loopback)" /* who speaks plain text; no certificate's CN gives rights by this name but the ACL's author's */
#define GATHER_MAX (LOOP_PLAIN_SIZE - LOOP_READ_SIZE - TLS_RECORD_MAX) /* a kept packet up to here is joined in the loop's buffer */
#define CTL_MIN 64U
#define PENDING_MAX (2U * LOOP_CIPHER_SIZE)
#define CTL_HIGH (64U * 1024) /* bytes of answers that a client has not taken: it is not read until it has */

/* ---- names and states ---- */

const char *conn_name(const struct conn *c)
{
	static _Thread_local char name[IDENTITY_CN_MAX + 256];
	char address[INET6_ADDRSTRLEN];
	const uint8_t *client_id = c->session ? (const uint8_t *)c->session->client_id : NULL;
	int client_id_len = c->session ? c->session->client_id_len : 0;
	bool v6 = c->family == AF_INET6;
	inet_ntop(c->family, c->peer, address, sizeof address);
	snprintf(name, sizeof name, "%s%s%s%s%.*s%s%s%s%s:%u", c->identity ? "CN '" : "", c->identity ? c->identity->cn : "",
	         c->identity ? "' " : "", client_id ? "client '" : "", client_id_len > 64 ? 64 : client_id_len,
	         client_id ? (const char *)client_id : "", client_id ? "' " : "", v6 ? "[" : "", address, v6 ? "]" : "", c->peer_port);
	return name;
}

static void conn_enter(struct conn *c, enum conn_state to)
{
	static const uint8_t allowed[] = {
		[CONN_HANDSHAKE] = 1U << CONN_CONNECT | 1U << CONN_CLOSING,
		[CONN_CONNECT] = 1U << CONN_OPENING | 1U << CONN_UP | 1U << CONN_CLOSING,
		[CONN_OPENING] = 1U << CONN_UP | 1U << CONN_CLOSING,
		[CONN_UP] = 1U << CONN_CLOSING,
		[CONN_CLOSING] = 0,
	};
	assert(allowed[c->state] & 1U << to);
	(void)allowed; /* used by debug builds alone */
	c->state = (uint8_t)to;
}

static void update_io(struct conn *c)
{
	int want = (c->hold & ~HOLD_BACKLOG) == 0 && c->state != CONN_CLOSING ? EV_READ : 0;
	if (c->pending)
		want |= EV_WRITE;
	if (ev_is_active(&c->io) ? want == (c->io.events & (EV_READ | EV_WRITE)) : want == 0)
		return;
	ev_io_stop(c->loop->ev, &c->io);
	ev_io_set(&c->io, c->io.fd, want);
	if (want)
		ev_io_start(c->loop->ev, &c->io);
}

static void link_conn(struct loop *l, struct conn *c)
{
	c->loop = l;
	c->next = l->conns;
	c->prev = &l->conns;
	if (c->next)
		c->next->prev = &c->next;
	l->conns = c;
}

static void unlink_conn(struct conn *c)
{
	if (c->loop->recheck.conn == c)
		c->loop->recheck.conn = c->next;
	*c->prev = c->next;
	if (c->next)
		c->next->prev = c->prev;
}

void conn_mark_dirty(struct conn *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	CONN_LIST_PUSH(&c->loop->dirty, c, dirty_next);
}

static void queue_backlog(struct conn *c)
{
	if (c->in_backlog)
		return;
	c->in_backlog = true;
	CONN_LIST_PUSH(&c->loop->backlog, c, backlog_next);
}

void conn_hold(struct conn *c, uint16_t why)
{
	c->hold |= why;
	if (why == HOLD_BACKLOG)
		queue_backlog(c);
	if (why == HOLD_STARVED && !c->in_starved) {
		c->in_starved = true;
		CONN_LIST_PUSH(&c->loop->starved, c, starved_next);
	}
	update_io(c);
}

void conn_release(struct conn *c, uint16_t why)
{
	c->hold = (uint16_t)(c->hold & ~why);
	if (c->state == CONN_CLOSING)
		return;
	if ((c->hold & ~HOLD_BACKLOG) == 0 && c->in_len > 0)
		queue_backlog(c);
	update_io(c);
}

static void bury(struct conn *c)
{
	if (c->dead)
		return;
	c->dead = true;
	ev_io_stop(c->loop->ev, &c->io);
	CONN_LIST_PUSH(&c->loop->dead, c, dead_next);
}

/* ---- ending ---- */

static void detach_session(struct conn *c)
{
	struct session *s = c->session;
	if (!s)
		return;
	c->session = NULL;
	ackq_clear(&c->acks);
	if (s->conn != c)
		return;
	s->conn = NULL;
	STATS_SUB(c->loop, connected, c->logged_up ? 1 : 0);
	publish_forget_refused(s);
	if (!s->persistent) {
		sessions_end(s, NULL);
		return;
	}
	session_suspend(s);
	sessions_leave(s);
}

void conn_end(struct conn *c, enum log_level level, bool publish_will, const char *cause, ...)
{
	if (c->state == CONN_CLOSING)
		return;
	loop_assert_here(c->loop);
	char text[512];
	va_list args;
	va_start(args, cause);
	vsnprintf(text, sizeof text, cause, args);
	va_end(args);
	if (log_enabled(level))
		log_write(level, "%s: %s", conn_name(c), text);
	if (c->logged_up) {
		const struct audit_who who = audit_conn(c);
		audit_event(AUDIT_DISCONNECTED, &who, text, AUDIT_NO_PAIRS);
	}

	if (!publish_will || c->state != CONN_UP || atomic_load(&c->loop->broker->stopping)) /* [MQTT-3.1.2-8]: if accepted */
		will_forget(c);
	will_judge(c); /* what is left is published when the connection is buried, so wills cannot nest */
	conn_enter(c, CONN_CLOSING);
	wheel_cancel(c->loop->wheel, &c->timer);
	expiry_forget(c);
	limits_unfinished_remove(c);
	quota_leave(c);
	detach_session(c);
	update_io(c);
	conn_mark_dirty(c);
}

void conn_publish_will(struct conn *c)
{
	if (c->state == CONN_UP && c->loop->conf->wills_at_shutdown)
		will_judge(c);
	else
		will_forget(c);
	will_publish(c);
}

void conn_fail(struct conn *c, const char *cause)
{
	if (c->state == CONN_CLOSING)
		return;
	c->failed = cause;
	conn_mark_dirty(c);
}

void conn_protocol_error(struct conn *c, enum mqtt_reason reason, const char *where)
{
	if (c->state == CONN_CLOSING)
		return;
	STATS_ADD(c->loop, protocol_errors, 1);
	conn_end(c, LOG_NOTICE, true, "protocol error: %s: %s", where, mqtt_reason_text(reason));
}

/* Payloads may be in it. */
static void drop_input(struct conn *c)
{
	if (c->in)
		secmem_wipe(c->in, c->in_cap);
	pool_free(c->in);
	c->in = NULL;
	c->in_len = c->in_cap = 0;
}

void conn_free(struct conn *c)
{
	struct loop *l = c->loop;
	will_publish(c);
	wheel_cancel(l->wheel, &c->timer);
	ev_io_stop(l->ev, &c->io);
	if (c->session) { /* only when the loop itself is freed */
		c->session->conn = NULL;
		c->session = NULL;
	}
	limits_unfinished_remove(c);
	quota_leave(c);
	STATS_SUB(l, partial_bytes, c->in_cap);
	unlink_conn(c);
	close(c->io.fd);
	transport_free(&c->transport);
	ackq_clear(&c->acks);
	drop_input(c);
	pool_free(c->ctl);
	pool_free(c->pending);
	msg_unref(c->big);
	identity_unref(c->identity);
	atomic_fetch_sub_explicit(&l->broker->connections, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&c->listener->connections, 1, memory_order_relaxed);
	STATS_SUB(l, connections, 1);
	free(c);
}

/* ---- output ---- */

uint8_t *conn_ctl(struct conn *c, size_t n)
{
	if (c->ctl_len + n > c->ctl_cap) {
		size_t cap = c->ctl_cap ? (size_t)c->ctl_cap * 2 : CTL_MIN;
		while (cap < c->ctl_len + n)
			cap *= 2;
		uint8_t *p = pool_realloc(c->ctl, cap);
		if (!p) {
			conn_fail(c, "out of memory");
			return NULL;
		}
		c->ctl = p;
		c->ctl_cap = (uint32_t)cap;
	}
	conn_mark_dirty(c);
	return c->ctl + c->ctl_len;
}

static void add_ctl(struct conn *c, size_t n, size_t packets)
{
	c->ctl_len += (uint32_t)n;
	STATS_ADD(c->loop, packets_sent, packets);
	if (c->ctl_len - c->ctl_off >= CTL_HIGH && !(c->hold & HOLD_OUTPUT))
		conn_hold(c, HOLD_OUTPUT);
}

void conn_ctl_add(struct conn *c, size_t n)
{
	add_ctl(c, n, 1);
}

void conn_send_acks(struct conn *c, enum mqtt_type type, const uint16_t *packet_ids, size_t n)
{
	uint8_t *p = n > 0 ? conn_ctl(c, n * MQTT_ACK_SIZE) : NULL;
	if (p)
		add_ctl(c, mqtt_encode_acks(p, type, packet_ids, n), n);
}

/* ---- answers in order ---- */

/* What waits for the store: a client over a high mark is not read until it is under half of each. */
#define ACKS_HIGH 8192U
#define DEFERRED_BYTES_HIGH (8U * 1024 * 1024)

static bool behind(const struct conn *c, uint32_t share)
{
	const struct session *s = c->session;
	return c->acks.count >= ACKS_HIGH / share ||
	       (s && (s->deferred >= ACKS_HIGH / share || s->deferred_bytes >= DEFERRED_BYTES_HIGH / share));
}

bool conn_behind(const struct conn *c)
{
	return behind(c, 1);
}

void conn_release_acks(struct conn *c)
{
	if (c->hold & HOLD_ACKS && !behind(c, 2))
		conn_release(c, HOLD_ACKS);
}

static void send_answer(struct conn *c, const struct ack *a)
{
	if (!a->bytes) {
		conn_send_acks(c, (enum mqtt_type)a->type, &a->packet_id, 1);
		return;
	}
	uint8_t *p = conn_ctl(c, a->len);
	if (p) {
		memcpy(p, a->bytes, a->len);
		conn_ctl_add(c, a->len);
	}
	pool_free(a->bytes);
}

static void owe(struct conn *c, struct ack a, uint32_t *seq)
{
	uint32_t unused;
	if (a.ready && c->acks.count == 0) {
		send_answer(c, &a);
		return;
	}
	if (ackq_push(&c->acks, &a, seq ? seq : &unused) != ERR_OK)
		conn_fail(c, "out of memory");
	else if (conn_behind(c))
		conn_hold(c, HOLD_ACKS);
}

void conn_owe(struct conn *c, enum mqtt_type type, uint16_t packet_id, bool ready, uint32_t *seq)
{
	owe(c, (struct ack){.type = (uint8_t)type, .packet_id = packet_id, .ready = ready}, seq);
}

void conn_owe_ready(struct conn *c, enum mqtt_type type, const uint16_t *packet_ids, size_t n)
{
	if (c->acks.count == 0)
		conn_send_acks(c, type, packet_ids, n);
	else
		for (size_t i = 0; i < n; i++)
			conn_owe(c, type, packet_ids[i], true, NULL);
}

void conn_owe_bytes(struct conn *c, uint8_t *take_bytes, size_t len, bool ready, uint32_t *seq)
{
	owe(c, (struct ack){.bytes = take_bytes, .len = (uint32_t)len, .ready = ready}, seq);
}

void conn_ack_ready(struct conn *c, uint32_t seq)
{
	struct ack a;
	ackq_ready(&c->acks, seq);
	while (ackq_pop_ready(&c->acks, &a))
		send_answer(c, &a);
	conn_release_acks(c);
}

struct ack_op {
	struct store_op op;
	sub_handle handle;
	uint32_t serial, seq;
};

static void on_ack_stored(struct store_op *op, void *owner)
{
	struct ack_op *a = (struct ack_op *)op;
	struct loop *l = owner;
	loop_answered(l);
	struct session *s = sessions_get(l->sessions, a->handle);
	if (s && s->conn && s->conn->serial == a->serial) {
		if (op->result == ERR_OK)
			conn_ack_ready(s->conn, a->seq);
		else
			conn_fail(s->conn, "the store failed");
	}
	pool_free(a);
}

void conn_ack_after_store(struct conn *c, enum store_verb verb, uint16_t packet_id, uint32_t seq)
{
	struct ack_op *a = pool_alloc(sizeof *a);
	if (!a) {
		conn_fail(c, "out of memory");
		return;
	}
	*a = (struct ack_op){.handle = c->session->subs.handle, .serial = c->serial, .seq = seq};
	a->op.verb = verb;
	a->op.done = on_ack_stored;
	if (verb != STORE_BARRIER) {
		a->op.u.delivery.session = session_number(c->session);
		a->op.u.delivery.packet_id = packet_id;
	}
	loop_submit(c->loop, &a->op);
}

static size_t fill_from_big(struct conn *c, uint8_t *buf, size_t cap)
{
	size_t n = c->big_left < cap ? c->big_left : cap;
	memcpy(buf, msg_payload(c->big) + c->big->payload_len - c->big_left, n);
	c->big_left -= n;
	if (c->big_left == 0) {
		msg_unref(c->big);
		c->big = NULL;
	}
	return n;
}

static size_t fill_from_ctl(struct conn *c, uint8_t *buf, size_t cap)
{
	size_t left = c->ctl_len - c->ctl_off, n = left < cap ? left : cap;
	memcpy(buf, c->ctl + c->ctl_off, n);
	c->ctl_off += (uint32_t)n;
	if (c->ctl_off == c->ctl_len) {
		pool_free(c->ctl);
		c->ctl = NULL;
		c->ctl_off = c->ctl_len = c->ctl_cap = 0;
		if (c->hold & HOLD_OUTPUT)
			conn_release(c, HOLD_OUTPUT);
	}
	return n;
}

/* The next plain bytes for the client: the rest of a large PUBLISH, control packets, queued messages. */
static size_t fill(struct conn *c, uint8_t *buf, size_t cap)
{
	size_t n = 0;
	if (c->big)
		n += fill_from_big(c, buf, cap);
	if (c->ctl && n < cap)
		n += fill_from_ctl(c, buf + n, cap - n);
	if (c->session && c->state == CONN_UP && !c->ctl && !c->big && !subscribe_unanswered(c))
		n += session_encode(c->session, buf + n, cap - n, &c->big, &c->big_left);
	if (c->big && n < cap)
		n += fill_from_big(c, buf + n, cap - n);
	return n;
}

static void keep_pending(struct conn *c, const uint8_t *buf, size_t len)
{
	size_t have = c->pending ? c->pending_len : 0;
	uint8_t *p = have + len <= PENDING_MAX ? pool_realloc(c->pending, have + len) : NULL;
	if (!p) {
		conn_end(c, LOG_ERROR, true, have + len > PENDING_MAX ? "it does not read what it asks for" : "out of memory");
		return;
	}
	memcpy(p + have, buf, len);
	if (have == 0)
		c->pending_off = 0;
	c->pending = p;
	c->pending_len = (uint32_t)(have + len);
	update_io(c);
}

static void after_input(struct conn *c);

/* Sends ciphertext; what the socket does not take is kept until it is writable. */
static void send_cipher(struct conn *c, const uint8_t *buf, size_t len)
{
	if (c->pending) { /* behind what waits: TLS's own records, in answer to input */
		keep_pending(c, buf, len);
		return;
	}
	ssize_t n = send(c->io.fd, buf, len, MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
			conn_end(c, LOG_NOTICE, true, "connection lost: %s", strerror(errno));
			return;
		}
		n = 0;
	}
	STATS_ADD(c->loop, bytes_sent, n);
	size_t left = len - (size_t)n;
	if (left == 0 || c->state == CONN_CLOSING) /* a closing connection does not wait for a full socket */
		return;
	keep_pending(c, buf + n, left);
}

static void send_pending(struct conn *c)
{
	ssize_t n = send(c->io.fd, c->pending + c->pending_off, c->pending_len - c->pending_off, MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			conn_end(c, LOG_NOTICE, true, "connection lost: %s", strerror(errno));
		return;
	}
	STATS_ADD(c->loop, bytes_sent, n);
	c->pending_off += (uint32_t)n;
	if (c->pending_off < c->pending_len)
		return;
	pool_free(c->pending);
	c->pending = NULL;
	update_io(c);
	conn_mark_dirty(c);
}

/* Before close(). What the client sent meanwhile is read away: closing a socket with unread data would reset it, and cut off our last packet. Who has
 * said nothing was told nothing, and may be reset: then the kernel is done with it at once, and does not wait for the other side. */
static void hang_up(struct conn *c)
{
	if (!c->transport.ops) {
		setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
		return;
	}
	shutdown(c->io.fd, SHUT_WR);
	ssize_t n = recv(c->io.fd, c->loop->read_buf, LOOP_READ_SIZE, MSG_DONTWAIT);
	(void)n;
}

void conn_flush(struct conn *c)
{
	struct loop *l = c->loop;
	struct tls_io io = {.out = l->cipher_buf, .out_cap = LOOP_CIPHER_SIZE};
	size_t n = 0;
	if (c->dead)
		return;
	if (c->failed)
		conn_end(c, LOG_WARNING, true, "%s", c->failed);
	if (!c->pending) { /* else the socket is full; EV_WRITE brings us back */
		n = fill(c, l->encode_buf, LOOP_ENCODE_SIZE);
		l->encode_used = n > l->encode_used ? n : l->encode_used;
		if (n > 0 && c->transport.ops->write(&c->transport, &io, l->encode_buf, n) != TLS_DONE) {
			conn_end(c, LOG_WARNING, true, "cannot encrypt: %s", tls_cause_text(tls_conn_cause(c->transport.tls)));
			io.out_len = 0;
		}
		if (c->state == CONN_CLOSING && c->transport.ops)
			c->transport.ops->close(&c->transport, &io);
		if (io.out_len > 0)
			send_cipher(c, io.out, io.out_len);
	}
	if (c->state == CONN_CLOSING) {
		hang_up(c);
		bury(c);
	} else if (c->move_to) {
		after_input(c);
	} else if (!c->pending && n > LOOP_ENCODE_SIZE - MQTT_PUBLISH_HEAD_MAX(MQTT_STRING_MAX)) {
		conn_mark_dirty(c); /* the buffer was full, there may be more: next turn, others first */
	}
}

/* ---- input ---- */

/* Keeps buf's bytes (which may lie in c->in) as all that is undecoded. */
static enum err keep_input(struct conn *c, const uint8_t *buf, size_t len)
{
	if (len == 0) {
		if (c->in)
			STATS_SUB(c->loop, partial_bytes, c->in_cap);
		drop_input(c);
		return ERR_OK;
	}
	if (c->in && buf >= c->in && buf < c->in + c->in_cap) {
		memmove(c->in, buf, len);
	} else {
		if (!c->in || len > c->in_cap) {
			if (!limits_keep(c, c->in_cap, len))
				return ERR_FULL;
			uint8_t *p = pool_alloc(len);
			if (!p) {
				STATS_SUB(c->loop, partial_bytes, len - c->in_cap);
				return ERR_NOMEM;
			}
			drop_input(c);
			c->in = p;
			c->in_cap = (uint32_t)len;
		}
		memcpy(c->in, buf, len);
	}
	c->in_len = (uint32_t)len;
	return ERR_OK;
}

/* A large packet grows in the connection's own buffer, as its bytes arrive. */
static enum err grow_input(struct conn *c)
{
	size_t need = (size_t)c->in_len + LOOP_READ_SIZE + TLS_RECORD_MAX;
	if (need <= c->in_cap)
		return ERR_OK;
	size_t cap = (size_t)c->in_cap + c->in_cap / 2;
	if (cap < need)
		cap = need;
	if (!limits_keep(c, c->in_cap, cap))
		return ERR_FULL;
	uint8_t *p = pool_realloc(c->in, cap);
	if (!p) {
		STATS_SUB(c->loop, partial_bytes, cap - c->in_cap);
		return ERR_NOMEM;
	}
	c->in = p;
	c->in_cap = (uint32_t)cap;
	return ERR_OK;
}

static void cannot_keep(struct conn *c, enum err e)
{
	conn_end(c, e == ERR_FULL ? LOG_NOTICE : LOG_ERROR, true, "%s", e == ERR_FULL ? "max_partial_packet_memory reached" : "out of memory");
}

/* Has a packet begun that is not complete? Within TLS, where nothing is decrypted of it yet, too. */
static bool has_partial(const struct conn *c)
{
	return c->in_len > 0 || (c->transport.tls && tls_conn_partial(c->transport.tls));
}

/* It has begun, and its end has to come in time. used: bytes of complete ones before it. The timer is set when there was no such packet for a
 * while: who streams has one nearly always. */
static void watch_partial(struct conn *c, size_t used)
{
	struct loop *l = c->loop;
	if (used > 0 || !c->partial)
		c->partial_ms = (uint32_t)l->now_ms;
	if (c->partial || l->conf->packet_timeout_s == 0 || c->state != CONN_UP)
		return;
	c->partial = true;
	uint64_t due_ms = l->now_ms + (uint64_t)l->conf->packet_timeout_s * 1000;
	if (!wheel_armed(&c->timer) || due_ms < c->timer.due_ms)
		loop_arm(l, &c->timer, due_ms);
}

static void after_input(struct conn *c)
{
	if (c->state == CONN_CLOSING || !c->move_to || c->dirty) /* dirty: the flush at the end of this turn comes here again */
		return;
	unsigned to = c->move_to - 1U;
	c->move_to = 0;
	conn_move(c, to);
}

/* Decrypts all of io->in and handles the packets in it. */
static void handle_cipher(struct conn *c, struct tls_io *io)
{
	struct loop *l = c->loop;
	enum tls_status status;
	do {
		uint8_t *buf = l->plain_buf;
		size_t cap = LOOP_PLAIN_SIZE, have = c->in_len, got = 0;
		if (have <= GATHER_MAX) {
			if (have > 0)
				memcpy(buf, c->in, have);
		} else {
			enum err e = grow_input(c);
			if (e != ERR_OK) {
				cannot_keep(c, e);
				return;
			}
			buf = c->in;
			cap = c->in_cap;
		}
		status = c->transport.ops->read(&c->transport, io, buf + have, cap - have, &got);
		have += got;
		if (buf == l->plain_buf && have > l->plain_used)
			l->plain_used = have;
		if (io->out_len > 0) { /* TLS 1.3: the answer to a key update */
			send_cipher(c, io->out, io->out_len);
			io->out_len = 0;
		}
		size_t used = c->hold ? 0 : packet_consume(c, buf, have);
		if (c->state == CONN_CLOSING)
			return;
		enum err e = keep_input(c, buf + used, have - used);
		if (e != ERR_OK) {
			cannot_keep(c, e);
			return;
		}
		if (has_partial(c))
			watch_partial(c, used);
	} while (status == TLS_DONE);
	if (status == TLS_FAILED)
		conn_end(c, LOG_NOTICE, true, "TLS: %s %s", tls_cause_text(tls_conn_cause(c->transport.tls)),
		         tls_conn_detail(c->transport.tls));
	else if (status == TLS_CLOSED)
		conn_end(c, LOG_INFO, true, "closed by the client without DISCONNECT");
}

/* One recv() into the loop's buffer. False: nothing to handle, or the connection is ending. */
static bool receive(struct conn *c, struct tls_io *io)
{
	struct loop *l = c->loop;
	ssize_t n = recv(c->io.fd, l->read_buf, LOOP_READ_SIZE, 0);
	if (n < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			conn_end(c, LOG_NOTICE, true, "connection lost: %s", strerror(errno));
		return false;
	}
	if (n == 0) {
		if (c->state == CONN_HANDSHAKE)
			STATS_ADD(l, handshakes_failed, 1);
		conn_end(c, LOG_INFO, true, c->state == CONN_HANDSHAKE ? "closed by the client during the handshake"
		                                                       : "closed by the client without DISCONNECT");
		return false;
	}
	STATS_ADD(l, bytes_received, n);
	*io = (struct tls_io){.in = l->read_buf, .in_len = (size_t)n, .out = l->cipher_buf, .out_cap = LOOP_CIPHER_SIZE};
	return true;
}

/* Whom the certificate names was not proven. */
static void audit_refused(struct conn *c, const char *text, const char *detail)
{
	const struct audit_who who = audit_conn(c);
	const struct identity *id = c->transport.tls ? tls_conn_claimed(c->transport.tls) : NULL;
	char hex[2 * sizeof id->fingerprint];
	if (id)
		hex_put(hex, id->fingerprint, sizeof id->fingerprint);
	audit_flood(c->loop, AUDIT_HANDSHAKE_REFUSED, &who, text,
	            (const struct audit_pair[]){AUDIT_PAIR("detail", detail, strlen(detail)), AUDIT_PAIR("claimed_cn", id ? id->cn : "", id ? id->cn_len : 0),
	                                        AUDIT_PAIR("claimed_cert", hex, sizeof hex)}, id ? 3 : 1);
}

static void handshake_failed(struct conn *c, struct tls_io *io)
{
	enum tls_cause cause = tls_conn_cause(c->transport.tls);
	const char *text = tls_cause_text(cause), *detail = tls_conn_detail(c->transport.tls);
	STATS_ADD(c->loop, handshakes_failed, 1);
	audit_refused(c, text, detail);
	conn_end(c, LOG_NOTICE, false, "handshake refused: %s%s%s", text, *detail ? ": " : "", detail);
	if (io->out_len > 0 && !c->pending)
		send_cipher(c, io->out, io->out_len); /* the alert */
}

static enum err take_identity(struct conn *c)
{
	if (c->transport.tls) {
		size_t len;
		const struct tls_signatures s = tls_conn_signatures(c->transport.tls);
		STATS_ADD(c->loop, signatures_known, s.known);
		STATS_ADD(c->loop, signatures_verified, s.verified);
		uint8_t *leaf = tls_conn_take_leaf(c->transport.tls, &len);
		c->identity = identity_ref(tls_conn_identity(c->transport.tls));
		registrar_certificate(c->loop->broker, c->identity, leaf, len);
	} else
		c->identity = identity_new(LOOPBACK_CN, sizeof LOOPBACK_CN - 1);
	return c->identity ? ERR_OK : ERR_NOMEM;
}

void conn_handshake_step(struct conn *c)
{
	struct tls_io io;
	if (c->state != CONN_HANDSHAKE)
		return;
	ev_io_start(c->loop->ev, &c->io);
	if (!receive(c, &io))
		return;
	if (!c->transport.ops && transport_open(&c->transport, c->loop->policy->tls[c->listener->index]) != ERR_OK) {
		conn_end(c, LOG_ERROR, false, "out of memory");
		return;
	}
	io.known = c->loop->known;
	enum tls_status status = c->transport.ops->handshake(&c->transport, &io);
	if (status == TLS_FAILED || status == TLS_CLOSED) {
		handshake_failed(c, &io);
		return;
	}
	if (io.out_len > 0) {
		send_cipher(c, io.out, io.out_len);
		io.out_len = 0;
	}
	if (status != TLS_DONE || c->state == CONN_CLOSING)
		return;
	if (take_identity(c) != ERR_OK) {
		conn_end(c, LOG_ERROR, false, "out of memory");
		return;
	}
	STATS_ADD(c->loop, handshakes, 1);
	conn_enter(c, CONN_CONNECT);
	if (io.in_len > 0)
		handle_cipher(c, &io);
	after_input(c);
}

void conn_backlog_step(struct conn *c)
{
	c->hold = (uint16_t)(c->hold & ~HOLD_BACKLOG);
	if (c->hold || c->state == CONN_CLOSING || c->in_len == 0)
		return;
	size_t used = packet_consume(c, c->in, c->in_len);
	if (c->state == CONN_CLOSING)
		return;
	enum err e = keep_input(c, c->in + used, c->in_len - used);
	if (e != ERR_OK) {
		cannot_keep(c, e);
		return;
	}
	if (has_partial(c))
		watch_partial(c, used);
	after_input(c);
}

/* Its socket is not looked at until its turn comes: epoll would tell of thousands that wait, each time. When that is this turn already, libev sees
 * no change, and makes no system call of it. */
static void queue_handshake(struct conn *c)
{
	if (c->in_handshakes)
		return;
	c->in_handshakes = true;
	ev_io_stop(c->loop->ev, &c->io);
	CONN_LIST_PUSH(&c->loop->handshakes, c, handshake_next);
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	struct conn *c = w->data;
	if (revents & EV_WRITE && c->pending)
		send_pending(c);
	if (!(revents & EV_READ) || c->state == CONN_CLOSING)
		return;
	if (c->state == CONN_HANDSHAKE) {
		queue_handshake(c);
		return;
	}
	struct tls_io io;
	if (c->hold || !receive(c, &io))
		return;
	handle_cipher(c, &io);
	after_input(c);
}

/* ---- time ---- */

/* When the packet that has begun has to be complete; UINT64_MAX: there is none. */
static uint64_t packet_due(struct conn *c)
{
	uint32_t passed_ms = (uint32_t)c->loop->now_ms - c->partial_ms;
	c->partial = c->loop->conf->packet_timeout_s > 0 && has_partial(c);
	return c->partial ? c->loop->now_ms - passed_ms + (uint64_t)c->loop->conf->packet_timeout_s * 1000 : UINT64_MAX;
}

static void packet_too_slow(struct conn *c)
{
	const struct audit_who who = audit_conn(c);
	STATS_ADD(c->loop, limit_packets, 1);
	limits_reached(c->loop, &who, "packet_timeout");
	conn_end(c, LOG_NOTICE, true, "packet_timeout: a packet has begun and does not end");
}

static void on_timer(struct wheel_timer *t, void *owner)
{
	struct loop *l = owner;
	struct conn *c = (struct conn *)((char *)t - offsetof(struct conn, timer));
	if (c->state == CONN_HANDSHAKE || c->state == CONN_CONNECT) {
		const char *why = c->state == CONN_HANDSHAKE ? "handshake timed out" : "no CONNECT in time";
		STATS_ADD(l, handshakes_failed, c->state == CONN_HANDSHAKE ? 1 : 0);
		STATS_ADD(l, limit_timeouts, 1);
		audit_refused(c, why, "");
		conn_end(c, LOG_NOTICE, false, "%s", why);
		return;
	}
	if (c->hold & ~HOLD_OUTPUT) { /* we do not read: silence is ours, not the client's */
		c->last_in_ms = l->now_ms;
		c->partial_ms = (uint32_t)l->now_ms;
	}
	uint64_t keepalive_ms = c->keepalive_ms > 0 ? c->last_in_ms + c->keepalive_ms : UINT64_MAX, packet_ms = packet_due(c);
	if (l->now_ms >= keepalive_ms)
		conn_end(c, LOG_NOTICE, true, "keepalive exceeded");
	else if (l->now_ms >= packet_ms)
		packet_too_slow(c);
	else if (keepalive_ms != UINT64_MAX || packet_ms != UINT64_MAX)
		loop_arm(l, t, keepalive_ms < packet_ms ? keepalive_ms : packet_ms);
}

/* ---- beginning ---- */

static void keep_peer(struct conn *c, const struct sockaddr *peer)
{
	c->family = (uint8_t)peer->sa_family;
	if (peer->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, peer, sizeof in);
		memcpy(c->peer, &in.sin_addr, 4);
		c->peer_port = ntohs(in.sin_port);
		return;
	}
	struct sockaddr_in6 in6;
	memcpy(&in6, peer, sizeof in6);
	c->peer_port = ntohs(in6.sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
		c->family = AF_INET;
		memcpy(c->peer, in6.sin6_addr.s6_addr + 12, 4);
	} else {
		memcpy(c->peer, &in6.sin6_addr, 16);
	}
}

static bool admit(struct loop *l, const struct listener *listener, struct conn *c, const struct sockaddr *peer)
{
	keep_peer(c, peer);
	const struct audit_who who = audit_conn(c);
	return limits_admit(l, listener, &who);
}

void conn_accept(struct loop *l, struct listener *listener, int fd, const struct sockaddr *peer)
{
	struct conn *c = calloc(1, sizeof *c);
	if (c && !admit(l, listener, c, peer)) {
		free(c);
		close(fd);
		return;
	}
	if (!c) {
		log_error("out of memory for a connection");
		close(fd);
		return;
	}
	c->listener = listener;
	c->version = MQTT_V311;
	c->state = CONN_HANDSHAKE;
	c->last_in_ms = l->now_ms;
	atomic_fetch_add_explicit(&l->broker->connections, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&listener->connections, 1, memory_order_relaxed);
	STATS_ADD(l, connections, 1);
	link_conn(l, c);
	limits_unfinished_add(c);
	ev_io_init(&c->io, on_io, fd, EV_READ);
	c->io.data = c;
	ev_io_start(l->ev, &c->io);
	c->timer.fire = on_timer;
	loop_arm(l, &c->timer, l->now_ms + (uint64_t)l->conf->handshake_timeout_s * 1000);
}

void conn_opening(struct conn *c)
{
	conn_enter(c, CONN_OPENING);
	limits_unfinished_remove(c);
	wheel_cancel(c->loop->wheel, &c->timer);
}

void conn_up(struct conn *c)
{
	struct loop *l = c->loop;
	conn_enter(c, CONN_UP);
	limits_unfinished_remove(c);
	c->logged_up = true;
	STATS_ADD(l, connected, 1);
	wheel_cancel(l->wheel, &c->timer);
	if (c->keepalive_ms > 0)
		loop_arm(l, &c->timer, l->now_ms + c->keepalive_ms);
}

/* ---- moving ---- */

struct move_mail {
	struct mail mail;
	struct conn *conn;
};

static void arrive(struct mail *m, void *owner)
{
	struct loop *l = owner;
	struct conn *c = ((struct move_mail *)m)->conn;
	pool_free(m);
	link_conn(l, c);
	STATS_ADD(l, connections, 1);
	STATS_ADD(l, partial_bytes, c->in_cap);
	c->placed = true;
	loop_arm(l, &c->timer, c->timer.due_ms);
	if (l->stopping)
		conn_hold(c, HOLD_STOPPING);
	update_io(c);
	if (l->ending) {
		conn_end(c, LOG_INFO, false, "the broker is shutting down");
		return;
	}
	queue_backlog(c); /* CONNECT is in c->in: it is decoded again, where its session lives */
}

void conn_move(struct conn *c, unsigned to)
{
	struct loop *l = c->loop;
	assert(!c->dirty && !c->in_handshakes && !c->in_backlog && !c->in_starved && !c->session);
	struct move_mail *m = pool_alloc(sizeof *m);
	if (!m) {
		conn_end(c, LOG_ERROR, false, "out of memory");
		return;
	}
	*m = (struct move_mail){.mail.run = arrive, .conn = c};
	uint64_t due_ms = c->timer.due_ms;
	ev_io_stop(l->ev, &c->io);
	loop_forget_fd(l, c->io.fd);
	wheel_cancel(l->wheel, &c->timer);
	c->timer.due_ms = due_ms;
	limits_unfinished_remove(c);
	STATS_SUB(l, partial_bytes, c->in_cap);
	unlink_conn(c);
	STATS_SUB(l, connections, 1);
	loop_send(l, to, &m->mail, 0);
}
