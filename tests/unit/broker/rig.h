/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The loops of a broker without threads (one, unless the settings say more): connections are socket pairs, turns are run by hand, and the store
 * answers when it is told to. The store is the memory backend behind an interface of our own: defining all of store.c's functions here keeps store.c out of the
 * program. To be included once by each program. */
#ifndef TESTS_UNIT_BROKER_RIG_H
#define TESTS_UNIT_BROKER_RIG_H

#include "base/log.h"
#include "base/pool.h"
#include "broker/conn.h"
#include "broker/entry_ring.h"
#include "broker/loop.h"
#include "broker/sessions.h"
#include "conf/conf.h"
#include "store/store_int.h"
#include "tests/unit/base/suite.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the store ---- */

#define RIG_UNREAD ERR_EXISTS /* a page never gives it */

struct rig_store {
	struct store store;           /* what the backend sees */
	struct mail *first, *last;    /* submitted and not applied, oldest first */
	struct mail *pages, *last_page; /* held back by hold_pages: a reader thread may be late */
	bool hold, hold_pages;        /* hold: nothing is applied until rig_store_run */
	bool read_early;              /* pages that are held back are read already, and only their answers are late */
	enum store_verb fail_verb;    /* the next fail_count ops of this verb get fail_result, and do nothing */
	enum err fail_result;
	unsigned fail_count;
	unsigned submitted[STORE_BARRIER + 1]; /* by verb */
	store_session numbers;
	void *mailbox_owner;          /* the loop */
	void (*watch)(const struct store_op *op); /* sees every op when it is submitted; may be NULL */
};
static struct rig_store rs;

static inline void op_complete(struct mail *m, void *owner)
{
	struct store_op *op = (struct store_op *)(void *)m;
	op->done(op, owner);
}

static inline void rig_append(struct mail **first, struct mail **last, struct mail *m)
{
	m->next = NULL;
	if (*last)
		(*last)->next = m;
	else
		*first = m;
	*last = m;
}

static inline struct store_op *rig_take(struct mail **first, struct mail **last)
{
	struct mail *m = *first;
	if (m && !(*first = m->next))
		*last = NULL;
	return (struct store_op *)(void *)m;
}

void store_submit(struct store *s, struct store_op *op)
{
	(void)s;
	op->mail.run = op_complete;
	rs.submitted[op->verb]++;
	if (rs.watch)
		rs.watch(op);
	rig_append(&rs.first, &rs.last, &op->mail);
}

store_session store_session_number(struct store *s)
{
	(void)s;
	return ++rs.numbers;
}

uint64_t store_will_number(struct store *s)
{
	return atomic_fetch_add(&s->last_will, 1) + 1;
}

void store_number_release(struct store *s, store_session number) { (void)s, (void)number; }
enum err store_number_take(struct store *s, store_session number)
{
	(void)s, (void)number;
	return ERR_OK;
}
void store_note_over_quota(struct store *s, store_session session) { s->options.session_over_quota(s->options.arg, session); }

struct store *store_open(const struct store_options *o, char *error, size_t error_len)
{
	rs = (struct rig_store){ .store.options = *o, .store.backend = &store_memory };
	return store_memory.open(&rs.store, error, error_len) == ERR_OK ? &rs.store : NULL;
}
enum err store_load(struct store *s, const struct store_loader *l, void *arg)
{
	(void)s, (void)l, (void)arg;
	return ERR_OK;
}
enum err store_start(struct store *s)
{
	(void)s;
	return ERR_OK;
}
void store_stop(struct store *s) { (void)s; }
enum err store_meta_get(struct store *s, const char *name, void *value, size_t *len)
{
	return s->backend->meta_get(s, name, value, len);
}
enum err store_meta_put(struct store *s, const char *name, const void *value, size_t len)
{
	struct store_named one = { name, value, len };
	return s->backend->meta_put_all(s, &one, 1);
}
bool store_failing(const struct store *s) { return atomic_load(&s->failing); }
enum err store_meta_each(struct store *s, const char *prefix, enum err (*fn)(void *arg, const char *name, const void *value, size_t len), void *arg)
{
	return s->backend->meta_each(s, prefix, fn, arg);
}
enum err store_meta_put_all(struct store *s, const struct store_named *values, size_t n) { return s->backend->meta_put_all(s, values, n); }
void store_stats(const struct store *s, struct store_stats *out)
{
	(void)s;
	memset(out, 0, sizeof *out);
}
void store_close(struct store *s) { store_memory.close(s); }

static inline void rig_answer(struct store_op *op)
{
	if (op->reply)
		mailbox_push(op->reply, &op->mail);
	else
		op->free_op(op);
}

static inline void rig_do(struct store_op *op)
{
	struct store *s = &rs.store;
	if (rs.fail_count > 0 && op->verb == rs.fail_verb) {
		rs.fail_count--;
		op->result = rs.fail_result;
		store_close_gate(op);
	} else if (op->verb == STORE_BARRIER) {
		op->result = ERR_OK;
		op->u.barrier.last_record = s->last_record;
	} else if (op->verb == STORE_PAGE || op->verb == STORE_HISTORY) {
		op->result = s->backend->read(s, op);
	} else {
		store_apply(s, op);
	}
}

static inline void rig_apply(struct store_op *op)
{
	rig_do(op);
	rig_answer(op);
}

/* Applies and answers at most n ops. */
static inline unsigned rig_store_run(unsigned n)
{
	struct store_op *op;
	unsigned done = 0;
	while (done < n && (op = rig_take(&rs.first, &rs.last))) {
		done++;
		if (op->verb != STORE_PAGE || !rs.hold_pages) {
			rig_apply(op);
			continue;
		}
		op->result = RIG_UNREAD;
		if (rs.read_early)
			rig_do(op);
		rig_append(&rs.pages, &rs.last_page, &op->mail);
	}
	return done;
}

static inline void rig_pages_run(void)
{
	struct store_op *op;
	while ((op = rig_take(&rs.pages, &rs.last_page))) {
		if (op->result == RIG_UNREAD)
			rig_do(op);
		rig_answer(op);
	}
}

/* ---- the broker ---- */

struct rig {
	struct conf *conf;
	struct broker *b;
	struct loop *l; /* the first; it accepts */
};
static struct rig rig;

/* settings: lines of configuration. */
static inline void rig_start(const char *settings)
{
	char path[] = "/tmp/sealmq-unit-XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	ck_assert(f != NULL);
	fprintf(f, "allow_plaintext_loopback true\nsys_interval 0\nthreads 1\nstore memory\nbusy_delay_us 0\nlog_type error\n"
		"listener 1 127.0.0.1\n%s\n", settings);
	fclose(f);
	rig.conf = conf_load(path, stderr);
	unlink(path);
	ck_assert(rig.conf != NULL);
	rig.b = broker_new(rig.conf, stderr); /* takes it */
	ck_assert(rig.b != NULL);
	rig.l = rig.b->loops[0];
	for (unsigned i = 0; i < rig.b->n_loops; i++) {
		struct loop *l = rig.b->loops[i];
		l->epoch_id = epoch_register(rig.b->epoch);
		ck_assert_int_ge(l->epoch_id, 0);
		epoch_online(rig.b->epoch, l->epoch_id);
	}
}

/* From now on each of these client ids of one letter belongs to the loop that the digit below it says. */
static inline void rig_place(const char *ids, const char *loops)
{
	for (size_t i = 0; ids[i];) {
		bool there = broker_loop_of(rig.b, &ids[i], 1) == (unsigned)(loops[i] - '0');
		rig.b->client_key.k0 += !there;
		i = there ? i + 1 : 0;
	}
}

/* rig_start with access rules, which are read once. settings: at most 100 bytes. */
static inline void rig_start_ruled(const char *settings, const char *rules)
{
	char path[] = "/tmp/sealmq-unit-XXXXXX", all[160];
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, rules, strlen(rules)), (ssize_t)strlen(rules));
	close(fd);
	(void)snprintf(all, sizeof all, "acl_file %s\n%s", path, settings);
	rig_start(all);
	unlink(path);
}

/* Turns until nothing moves any more. */
static inline void turn(void)
{
	for (int i = 0; i < 4; i++) {
		for (unsigned k = 0; k < rig.b->n_loops; k++)
			ev_run(rig.b->loops[k]->ev, EVRUN_NOWAIT);
		if (!rs.hold && rig_store_run(UINT32_MAX) > 0)
			i = 0;
	}
}

static inline void rig_end(void)
{
	rs.hold = rs.hold_pages = false;
	atomic_store(&rig.b->stopping, true);
	for (unsigned i = 0; i < rig.b->n_loops; i++)
		for (struct conn *c = rig.b->loops[i]->conns, *next; c; c = next) {
			next = c->next;
			conn_end(c, LOG_INFO, false, "the test ends");
		}
	rig_pages_run();
	turn();
	for (unsigned i = 0; i < rig.b->n_loops; i++) {
		ck_assert_uint_eq(atomic_load(&rig.b->loops[i]->ops), 0);
		epoch_offline(rig.b->epoch, rig.b->loops[i]->epoch_id);
	}
	broker_free(rig.b);
	pool_drain();
}

/* ---- a client ---- */

struct client {
	int fd;
	uint8_t in[1U << 20];
	size_t len;
	bool closed;
};

struct packet {
	uint8_t type, flags;
	size_t len;
	const uint8_t *body; /* until the next packet is asked for */
};

static inline void dial_to(struct client *c, size_t listener)
{
	int fd[2];
	struct sockaddr_in peer = { .sin_family = AF_INET };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) != 0)
		abort(); /* no ck_assert: it allocates, and here allocations may be failing */
	c->fd = fd[0];
	c->len = 0;
	c->closed = false;
	conn_accept(rig.l, &rig.b->listeners[listener], fd[1], (struct sockaddr *)&peer);
}

static inline void dial(struct client *c) { dial_to(c, 0); }

static inline void send_bytes(struct client *c, const void *bytes, size_t len)
{
	ck_assert_int_eq(send(c->fd, bytes, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Bytes as a string literal, which may hold NULs. */
#define SEND(c, text) send_bytes((c), (text), sizeof(text) - 1)

static inline void hang_up(struct client *c)
{
	close(c->fd);
	c->fd = -1;
	turn();
}

static inline void fill_input(struct client *c)
{
	ssize_t n;
	while ((n = recv(c->fd, c->in + c->len, sizeof c->in - c->len, 0)) > 0)
		c->len += (size_t)n;
	if (n == 0 && c->len < sizeof c->in)
		c->closed = true;
}

/* The next packet that has arrived; false: none. consume of the former one happens here. */
static inline bool next_packet(struct client *c, struct packet *p)
{
	static uint8_t body[1U << 20];
	fill_input(c);
	size_t at = 1, len = 0, shift = 0;
	if (c->len < 2)
		return false;
	do {
		len |= (size_t)(c->in[at] & 127U) << shift;
		shift += 7;
	} while (c->in[at++] & 128U);
	if (c->len - at < len)
		return false;
	memcpy(body, c->in + at, len);
	*p = (struct packet){ .type = c->in[0] >> 4, .flags = c->in[0] & 15U, .len = len, .body = body };
	memmove(c->in, c->in + at + len, c->len - at - len);
	c->len -= at + len;
	return true;
}

/* The next packet is exactly these bytes. */
#define EXPECT(c, text) expect_bytes((c), (text), sizeof(text) - 1)
static inline void expect_bytes(struct client *c, const char *bytes, size_t len)
{
	fill_input(c);
	ck_assert_msg(c->len >= len && memcmp(c->in, bytes, len) == 0, "%zu bytes came, of type %u; wanted type %u", c->len,
		c->len ? c->in[0] >> 4 : 0U, (uint8_t)bytes[0] >> 4);
	memmove(c->in, c->in + len, c->len - len);
	c->len -= len;
}

static inline void expect_nothing(struct client *c)
{
	fill_input(c);
	ck_assert_msg(c->len == 0, "unexpected type %u", c->in[0] >> 4);
	ck_assert(!c->closed);
}

static inline void expect_closed(struct client *c)
{
	turn();
	fill_input(c);
	ck_assert(c->closed);
	close(c->fd);
}

/* CONNECT of 3.1.1, keepalive 0, with a client id of one letter. */
static inline void send_connect(struct client *c, char id, bool clean)
{
	uint8_t p[] = { 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, clean ? 2 : 0, 0, 0, 0, 1, (uint8_t)id };
	send_bytes(c, p, sizeof p);
}

static inline void connect_as(struct client *c, char id, bool clean, bool present)
{
	struct packet p;
	dial(c);
	send_connect(c, id, clean);
	turn();
	ck_assert(next_packet(c, &p));
	ck_assert_uint_eq(p.type, MQTT_CONNACK);
	ck_assert_uint_eq(p.body[1], 0);
	ck_assert_uint_eq(p.body[0], present);
}

/* SUBSCRIBE to one filter, and its SUBACK. */
static inline void subscribe(struct client *c, const char *filter, uint8_t qos)
{
	uint8_t p[64] = { 0x82, 0, 0xff, 0xff, 0, (uint8_t)strlen(filter) };
	size_t n = strlen(filter);
	memcpy(p + 6, filter, n);
	p[6 + n] = qos;
	p[1] = (uint8_t)(5 + n);
	send_bytes(c, p, 7 + n);
	turn();
	uint8_t suback[] = { 0x90, 3, 0xff, 0xff, qos };
	expect_bytes(c, (char *)suback, sizeof suback);
}

/* PUBLISH with topic and payload of one letter each; flags: the fixed header's. Returns its bytes. */
static inline size_t put_publish(uint8_t p[static 8], uint8_t flags, char topic, uint16_t id, char payload)
{
	size_t n = 5;
	p[0] = (uint8_t)(0x30 | flags);
	p[2] = 0;
	p[3] = 1;
	p[4] = (uint8_t)topic;
	if (flags & 6) {
		p[n++] = (uint8_t)(id >> 8);
		p[n++] = (uint8_t)id;
	}
	if (payload)
		p[n++] = (uint8_t)payload;
	p[1] = (uint8_t)(n - 2);
	return n;
}

static inline void send_publish(struct client *c, uint8_t flags, char topic, uint16_t id, char payload)
{
	uint8_t p[8];
	send_bytes(c, p, put_publish(p, flags, topic, id, payload));
}

static inline void send_ack(struct client *c, enum mqtt_type type, uint16_t id)
{
	uint8_t p[] = { (uint8_t)((unsigned)type << 4 | (type == MQTT_PUBREL ? 2U : 0U)), 2, (uint8_t)(id >> 8), (uint8_t)id };
	send_bytes(c, p, sizeof p);
}

/* The next packet is a PUBLISH with this payload letter; its packet identifier (0 for QoS 0). */
static inline uint16_t expect_publish(struct client *c, uint8_t flags, char payload)
{
	struct packet p;
	ck_assert_msg(next_packet(c, &p), "no PUBLISH of '%c'", payload);
	ck_assert_uint_eq(p.type, MQTT_PUBLISH);
	ck_assert_int_eq(p.body[p.len - 1], payload);
	ck_assert_uint_eq(p.flags, flags);
	return flags & 6 ? (uint16_t)((unsigned)p.body[3] << 8 | p.body[4]) : 0;
}

static inline struct session *session_of(char id) { return sessions_find(rig.b->loops[broker_loop_of(rig.b, &id, 1)]->sessions, &id, 1); }

#endif
