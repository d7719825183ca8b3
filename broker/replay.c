/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/replay.h"

#include "base/log.h"
#include "base/pool.h"
#include "broker/conn.h"
#include "broker/entry_ring.h"
#include "broker/sealing.h"
#include "broker/sessions.h"
#include "broker/spaces.h"
#include "topics/topic.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_BELOW 512U  /* a page is asked for when fewer messages wait for the client */
#define PAGE_ENTRIES 1024U
#define PAGE_BYTES (1024U * 1024)
#define HELD_MAX 4096U   /* live copies kept during the last page; more, and another page brings them */
#define HELD_BYTES (4U * 1024 * 1024)

enum replay_state {
	REPLAY_READING,
	REPLAY_CLOSING, /* live (but see draining); late copies of what it brought are dropped */
};

struct kept { /* a retained message, by topic */
	UT_hash_handle hh;
	struct msg *msg; /* one reference */
};

struct replay {
	struct replay *next;      /* in order of SUBSCRIBE; one reads at a time */
	uint32_t id;              /* names it in answers */
	uint8_t state, qos;
	bool started, page_pending, holding;
	bool barrier_known;       /* barrier is */
	bool at_end;              /* nothing more is read until the barrier is known */
	bool draining;            /* closing, of a persistent session: its queue waits until all is acknowledged, and the store knows */
	bool closed;              /* no late copy can be on its way */
	bool saving;              /* the store has not answered yet how far it has come */
	bool forgotten;           /* by the store: unsubscribed, or subscribed again */
	unsigned round_left;      /* loops that have not answered */
	bool origin_known;        /* upto is */
	uint64_t upto;            /* what was stored before the subscription has records up to this; later messages all come, and are not past */
	uint64_t newest, since_ms;/* where among these the first page begins */
	uint64_t after;           /* records up to here have been read */
	uint64_t saved;           /* … and acknowledged, as the store was told */
	uint64_t sent;            /* QoS 2 up to here was sent before the restart */
	uint64_t barrier;         /* what was matched without the subscription has a record up to here */
	uint64_t ignored;         /* highest live record that was ignored */
	uint64_t first_ignored;   /* the lowest; 0: none was */
	uint64_t floor;           /* closing: everything up to here was brought */
	struct entry_ring held;
	size_t held_bytes;
	struct kept *retained;    /* uthash */
	const uint8_t *filter;    /* within text */
	size_t len, text_len;
	size_t skip;              /* bytes of "$SEALED/" before the filter of topics */
	uint8_t text[];           /* as subscribed */
};

static void no_memory(struct session *s)
{
	if (s->conn)
		conn_fail(s->conn, "out of memory");
}

static struct replay *find(const struct session *s, uint32_t id)
{
	for (struct replay *r = s->replays; r; r = r->next)
		if (r->id == id)
			return r;
	return NULL;
}

static bool has_text(const struct replay *r, const uint8_t *text, size_t len)
{
	return r->text_len == len && memcmp(r->text, text, len) == 0;
}

/* The one whose turn it is. */
static struct replay *reading(const struct session *s)
{
	struct replay *r = s->replays;
	while (r && r->state != REPLAY_READING && !r->draining)
		r = r->next;
	return r;
}

bool replay_runs(const struct session *s)
{
	return reading(s) != NULL;
}

/* ---- retained messages */

static void forget_retained(struct replay *r, struct kept *k)
{
	HASH_DELETE(hh, r->retained, k);
	msg_unref(k->msg);
	pool_free(k);
}

bool replay_keep_retained(struct replay *r, struct msg *m)
{
	struct kept *k = pool_alloc(sizeof *k);
	if (!k)
		return false;
	*k = (struct kept){.msg = msg_ref(m)};
	HASH_ADD_KEYPTR(hh, r->retained, msg_topic(m), m->topic_len, k);
	if (k->hh.tbl)
		return true;
	msg_unref(m);
	pool_free(k);
	return false;
}

/* The past has this message: the retained one of its topic, or one that came after it. */
static void retained_came(struct replay *r, const struct msg *m)
{
	struct kept *k;
	if (!(m->flags & MSG_RETAIN) || !r->retained)
		return;
	HASH_FIND(hh, r->retained, msg_topic(m), m->topic_len, k);
	if (k && m->time_ms >= k->msg->time_ms)
		forget_retained(r, k);
}

static uint8_t effective_qos(const struct replay *r, const struct msg *m)
{
	return (m->qos < r->qos ? m->qos : r->qos) & 3U;
}

/* record: in the history; 0: the retained message of its topic. */
static void push_past(struct session *s, const struct replay *r, struct msg *take_m, uint64_t record)
{
	struct entry e = {.msg = take_m, .record = s->persistent ? record : 0, .sub_id = r->skip ? SUB_ID_SEALED : 0};
	e.qos = effective_qos(r, take_m) & 3U;
	e.retain = record <= r->upto; /* else published to an established subscription [MQTT-3.3.1-9] */
	e.past = 1;
	session_push(s, &e, false);
}

/* What the past did not bring: it keeps less than the retained tree. */
static void push_retained(struct session *s, struct replay *r)
{
	struct kept *k, *next;
	HASH_ITER(hh, r->retained, k, next)
	{
		push_past(s, r, msg_ref(k->msg), 0); /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
		forget_retained(r, k);
	}
}

/* ---- life */

static void drop_held(struct replay *r)
{
	for (uint32_t i = 0; i < r->held.count; i++)
		msg_unref(ring_at(&r->held, i)->msg);
	ring_free(&r->held);
	r->held_bytes = 0;
}

static void replay_free(struct replay *r)
{
	struct kept *k, *next;
	HASH_ITER(hh, r->retained, k, next)
	{
		forget_retained(r, k); /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
	}
	drop_held(r);
	pool_free(r);
}

static void unlink_and_free(struct session *s, struct replay *r)
{
	struct replay **at = &s->replays;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	replay_free(r);
	session_go_on(s);
}

void replay_free_all(struct session *s)
{
	while (s->replays) {
		struct replay *r = s->replays;
		s->replays = r->next;
		replay_free(r);
	}
}

/* ---- once through all loops: what they had begun when the mail was sent is in the store's queue, or on its way here, when they answer */

struct round_mail {
	struct mail mail;
	sub_handle handle;
	uint32_t id;
	unsigned home;
};

static void round_done(struct session *s, struct replay *r);

static void on_round_back(struct mail *mail, void *owner)
{
	struct round_mail *m = (struct round_mail *)mail;
	struct session *s = sessions_get(((struct loop *)owner)->sessions, m->handle);
	struct replay *r = s ? find(s, m->id) : NULL;
	pool_free(m);
	if (r && --r->round_left == 0)
		round_done(s, r);
}

static void on_round(struct mail *mail, void *owner)
{
	struct loop *l = owner;
	struct round_mail *m = (struct round_mail *)mail;
	if (l->ending) { /* nothing is sent from here any more */
		pool_free(m);
		return;
	}
	mail->run = on_round_back;
	loop_send(l, m->home, mail, 0); /* behind what this loop has for us */
}

static void start_round(struct session *s, struct replay *r)
{
	struct loop *l = s->loop;
	r->round_left = 1;
	for (unsigned i = 0; i < l->broker->n_loops; i++) {
		if (i == l->index)
			continue;
		struct round_mail *m = pool_alloc(sizeof *m);
		if (!m) { /* round_left stays: it never ends, which loses nothing */
			r->round_left++;
			no_memory(s);
			continue;
		}
		*m = (struct round_mail){.mail.run = on_round, .handle = s->subs.handle, .id = r->id, .home = l->index};
		r->round_left++;
		loop_send(l, i, &m->mail, 0);
	}
	if (--r->round_left == 0)
		round_done(s, r);
}

/* ---- the store */

struct replay_op {
	struct store_op op;
	sub_handle handle;
	uint32_t id;
	const uint8_t *filter; /* within text */
	size_t len, skip;
	uint8_t text[];
};

static struct replay_op *new_op(struct session *s, const struct replay *r, enum store_verb verb,
                                void (*done)(struct store_op *op, void *owner))
{
	struct replay_op *o = pool_alloc(sizeof *o + r->text_len);
	if (!o) {
		no_memory(s);
		return NULL;
	}
	*o = (struct replay_op){.op.verb = verb, .op.done = done, .handle = s->subs.handle, .id = r->id, .len = r->len, .skip = r->skip};
	memcpy(o->text, r->text, r->text_len);
	o->filter = o->text + (r->filter - r->text);
	return o;
}

/* The session and the replay, if both are still there. */
static struct session *op_done(struct loop *l, const struct replay_op *o, struct replay **r)
{
	loop_answered(l);
	struct session *s = sessions_get(l->sessions, o->handle);
	*r = s ? find(s, o->id) : NULL;
	return s;
}

static void on_barrier(struct store_op *op, void *owner)
{
	struct replay *r;
	struct session *s = op_done(owner, (struct replay_op *)op, &r);
	if (!r) {
		pool_free(op);
		return;
	}
	if (op->result != ERR_OK) {
		if (s->conn)
			conn_fail(s->conn, "the store failed");
	} else if (r->state == REPLAY_CLOSING) { /* what was brought has been answered to its publishers' loops */
		start_round(s, r);
	} else {
		r->barrier = op->u.barrier.last_record;
		r->barrier_known = true;
		r->at_end = false;
		replay_step(s);
	}
	pool_free(op);
}

static void on_origin(struct store_op *op, void *owner)
{
	struct replay *r;
	struct session *s = op_done(owner, (struct replay_op *)op, &r);
	if (r && op->result != ERR_OK && s->conn)
		conn_fail(s->conn, "the store failed");
	if (r) {
		r->upto = op->u.barrier.last_record;
		if (r->upto == 0) /* nothing was */
			r->newest = r->since_ms = 0;
		r->origin_known = true;
		replay_step(s);
	}
	pool_free(op);
}

static void ask_barrier(struct session *s, struct replay *r)
{
	struct replay_op *o = new_op(s, r, STORE_BARRIER, on_barrier);
	if (o)
		loop_submit(s->loop, &o->op);
}

static void round_done(struct session *s, struct replay *r)
{
	if (r->state == REPLAY_CLOSING && r->draining)
		r->closed = true;
	else if (r->state == REPLAY_CLOSING)
		unlink_and_free(s, r);
	else
		ask_barrier(s, r);
}

/* ---- the end */

static void go_live(struct session *s, struct replay *r, uint64_t floor)
{
	r->state = REPLAY_CLOSING;
	r->floor = floor;
	push_retained(s, r);
	for (uint32_t i = 0; i < r->held.count; i++) {
		struct entry e = *ring_at(&r->held, i);
		uint64_t record = e.record;
		e.record = 0; /* of the order alone: such a copy is not in the session's queue */
		if (record > floor)
			session_push(s, &e, true);
		else
			msg_unref(e.msg);
	}
	ring_free(&r->held);
	r->held_bytes = 0;
	r->draining = s->persistent;
	ask_barrier(s, r);
	if (r->draining)
		replay_progress(s);
	else
		session_go_on(s);
}

/* ---- how far it has come, in the store */

static void drained(struct session *s, struct replay *r)
{
	r->draining = false;
	if (r->closed)
		unlink_and_free(s, r);
	else
		session_go_on(s);
}

static void on_saved(struct store_op *op, void *owner)
{
	struct replay *r;
	struct session *s = op_done(owner, (struct replay_op *)op, &r);
	bool stands = op->result == ERR_OK || op->result == ERR_NOT_FOUND; /* that: unsubscribed meanwhile */
	if (r)
		r->saving = false;
	if (r && !stands && op->u.past.over && s->conn)
		conn_fail(s->conn, "the store failed"); /* else the past would come again after a restart, behind what follows it */
	else if (r && stands && op->u.past.over)
		drained(s, r);
	else if (r && stands)
		replay_progress(s);
	pool_free(op);
}

static void save(struct session *s, struct replay *r, uint64_t after, bool over)
{
	struct replay_op *o = new_op(s, r, STORE_PAST, on_saved);
	if (!o)
		return;
	o->op.u.past.session = session_number(s);
	o->op.u.past.filter = o->text;
	o->op.u.past.filter_len = r->text_len;
	o->op.u.past.after = after;
	o->op.u.past.over = over;
	r->saved = after;
	r->saving = true;
	loop_submit(s->loop, &o->op);
}

void replay_progress(struct session *s)
{
	struct replay *r = s->persistent ? reading(s) : NULL;
	if (!r || !r->started || r->saving)
		return;
	uint64_t oldest = session_oldest_past(s), after = oldest ? oldest - 1 : r->after;
	bool over = r->draining && !oldest;
	if (over && r->forgotten)
		drained(s, r);
	else if (over || (after > r->saved && !r->forgotten))
		save(s, r, after, over);
}

/* ---- pages */

static bool match_filter(void *arg, const uint8_t *topic, size_t len)
{
	const struct replay_op *o = arg;
	return topic_matches(o->filter + o->skip, o->len - o->skip, topic, len);
}

static void take_entry(struct session *s, struct replay *r, struct store_entry *p)
{
	struct msg *m = p->msg;
	p->msg = NULL;
	if (!m)
		return;
	retained_came(r, m);
	bool again = effective_qos(r, m) == 2 && p->record <= r->sent;
	if (p->state == STORE_ELSEWHERE || again || p->record <= r->after) /* the latter: it has been cancelled meanwhile */
		msg_unref(m);
	else
		push_past(s, r, m, p->record);
}

static void ignore(struct replay *r, uint64_t record)
{
	if (record > r->ignored)
		r->ignored = record;
	if (r->first_ignored == 0 || record < r->first_ignored)
		r->first_ignored = record;
}

static void page_came(struct session *s, struct replay *r, struct store_op *op)
{
	bool end = op->u.history.end;
	uint64_t last = op->u.history.last_record;
	for (uint32_t i = 0; i < op->u.history.n_entries; i++)
		take_entry(s, r, &op->u.history.entries[i]);
	uint64_t next = end && last > op->u.history.next ? last : op->u.history.next;
	r->after = next > r->after ? next : r->after;
	r->newest = r->since_ms = 0;
	if (end && r->barrier_known && last >= r->barrier && last >= r->ignored)
		go_live(s, r, last);
	else if (end && r->barrier_known)
		r->holding = true; /* the next page brings all that was ignored */
	else
		r->at_end = end;
	replay_step(s);
}

static void on_page(struct store_op *op, void *owner)
{
	struct replay *r;
	struct session *s = op_done(owner, (struct replay_op *)op, &r);
	if (r)
		r->page_pending = false;
	if (r && op->result != ERR_OK && s->conn)
		conn_fail(s->conn, "the past cannot be read from the store");
	else if (r && op->result == ERR_OK && s->conn)
		page_came(s, r, op); /* else it is read again when the client is back */
	for (uint32_t i = 0; i < op->u.history.n_entries; i++)
		msg_unref(op->u.history.entries[i].msg);
	pool_free(op->u.history.entries);
	pool_free(op);
}

static bool has_wildcard(const struct replay *r)
{
	return memchr(r->filter, '+', r->len) || memchr(r->filter, '#', r->len);
}

void replay_step(struct session *s)
{
	struct replay *r = reading(s);
	if (!r || r->draining || !r->started || !r->origin_known || r->page_pending || r->at_end || !s->conn || s->queue.count >= PAGE_BELOW)
		return;
	struct replay_op *o = new_op(s, r, STORE_HISTORY, on_page);
	if (!o)
		return;
	if (has_wildcard(r)) {
		o->op.u.history.match = match_filter;
		o->op.u.history.match_arg = o;
	} else {
		o->op.u.history.topic = o->filter + o->skip;
		o->op.u.history.topic_len = o->len - o->skip;
	}
	o->op.u.history.after = r->after;
	o->op.u.history.newest = r->newest;
	o->op.u.history.since_ms = r->since_ms;
	o->op.u.history.upto = r->upto;
	o->op.u.history.session = s->persistent ? session_number(s) : 0;
	o->op.u.history.max_entries = PAGE_ENTRIES;
	o->op.u.history.max_bytes = PAGE_BYTES;
	r->page_pending = true;
	loop_submit(s->loop, &o->op);
}

/* ---- live copies */

/* Keeps e for the end of the replay; false: too many, and pages bring them all. */
static bool hold(struct replay *r, struct entry *e, uint64_t record)
{
	e->record = record;
	bool room = r->held.count < HELD_MAX && r->held_bytes < HELD_BYTES;
	if (room && ring_push(&r->held, e) == ERR_OK) {
		r->held_bytes += msg_size(e->msg);
		return true;
	}
	for (uint32_t i = 0; i < r->held.count; i++)
		ignore(r, ring_at(&r->held, i)->record);
	drop_held(r);
	r->holding = false;
	return false;
}

bool replay_has(struct session *s, struct entry *e, uint64_t record)
{
	bool mine = false, kept = false;
	for (struct replay *r = s->replays; r; r = r->next) {
		if (!topic_matches(r->filter + r->skip, r->len - r->skip, msg_topic(e->msg), e->msg->topic_len) ||
			(r->skip > 0) != ((e->sub_id & SUB_ID_SEALED) != 0))
			continue;
		if (r->state == REPLAY_CLOSING) {
			mine |= record <= r->floor;
			continue;
		}
		if (s->persistent && e->qos > 0) /* its queue has it, and the cursor is on */
			continue;
		mine = true;
		if (r->holding && !kept && hold(r, e, record))
			kept = true;
		else
			ignore(r, record);
	}
	if (mine && !kept)
		msg_unref(e->msg);
	return mine;
}

/* ---- subscriptions */

static uint32_t next_id(void)
{
	static _Thread_local uint32_t last_id; /* a session stays on its loop */
	return ++last_id;
}

/* Before the subscription is in the trie: what matches it has a later record. */
static void ask_origin(struct session *s, const struct replay *r)
{
	struct replay_op *o = new_op(s, r, STORE_BARRIER, on_origin);
	if (o)
		loop_submit(s->loop, &o->op);
}

/* A new one, behind the others. spec's filter lies within text. NULL: no memory. */
static struct replay *append(struct session *s, const uint8_t *text, size_t len, const struct history_spec *spec, uint8_t qos)
{
	struct replay *r = pool_alloc(sizeof *r + len);
	if (!r)
		return NULL;
	*r = (struct replay){.id = next_id(), .qos = qos, .newest = spec->newest, .since_ms = spec->since_ms, .len = spec->filter_len,
	                     .text_len = len};
	if (spaces_has_prefix((struct mqtt_bytes){spec->filter, spec->filter_len}, SPACES_SEALED))
		r->skip = sizeof SPACES_SEALED - 1;
	memcpy(r->text, text, len);
	r->filter = r->text + (spec->filter - text);
	struct replay **at = &s->replays;
	for (; *at; at = &(*at)->next)
		if (has_text(*at, text, len))
			(*at)->forgotten = true; /* the store's row is the new one's */
	*at = r;
	return r;
}

struct replay *replay_new(struct session *s, const uint8_t *text, size_t len, const struct history_spec *spec, uint8_t qos)
{
	size_t skip = spaces_has_prefix((struct mqtt_bytes){spec->filter, spec->filter_len}, SPACES_SEALED) ? sizeof SPACES_SEALED - 1 : 0;
	if (!spaces_history_overlaps(s->loop, spec->filter + skip, spec->filter_len - skip))
		return NULL;
	struct replay *r = append(s, text, len, spec, qos);
	if (!r) {
		no_memory(s);
		return NULL;
	}
	session_wait(s);
	ask_origin(s, r);
	return r;
}

void replay_drop(struct session *s, struct replay *r)
{
	unlink_and_free(s, r);
}

struct replay *replay_unstarted(const struct session *s, const uint8_t *text, size_t len)
{
	for (struct replay *r = s->replays; r; r = r->next)
		if (!r->started && has_text(r, text, len))
			return r;
	return NULL;
}

struct store_past replay_place(const struct replay *r)
{
	return (struct store_past){.upto = r->upto, .newest = r->newest, .since_ms = r->since_ms};
}

enum err replay_restore(struct session *s, const uint8_t *text, size_t len, uint8_t qos, const struct store_past *p)
{
	struct history_spec spec = {.filter = text, .filter_len = len};
	if (history_is_spec(text, len) && !history_spec_parse(text, len, 0, &spec))
		return ERR_CORRUPT;
	spec.newest = p->newest; /* as they were counted at the SUBSCRIBE */
	spec.since_ms = p->since_ms;
	struct replay *r = append(s, text, len, &spec, qos);
	if (!r)
		return ERR_NOMEM;
	r->origin_known = true;
	r->upto = p->upto;
	r->after = r->saved = p->after;
	r->sent = p->sent;
	return ERR_OK;
}

const uint8_t *replay_filter(const struct session *s, size_t *len)
{
	const struct replay *r = reading(s);
	*len = r && !r->forgotten ? r->text_len : 0;
	return r ? r->text : NULL;
}

void replay_start(struct session *s, struct replay *r)
{
	r->started = true;
	start_round(s, r);
	replay_step(s);
}

void replay_resume(struct session *s)
{
	for (struct replay *r = s->replays, *next; r; r = next) {
		next = r->next;
		if (r->state != REPLAY_READING)
			continue;
		r->id = next_id(); /* whatever was asked is asked again: the connection may have ended because it failed */
		r->page_pending = r->saving = false;
		r->started = true;
		if (!r->origin_known)
			ask_origin(s, r);
		if (!r->barrier_known)
			start_round(s, r);
	}
	replay_step(s);
}

/* What was ignored for its sake may be another subscription's too: that much is still brought. */
static void cancel(struct session *s, struct replay *r)
{
	r->forgotten = true;
	if (r->first_ignored == 0 && r->held.count == 0) {
		unlink_and_free(s, r);
		return;
	}
	struct kept *k, *next;
	HASH_ITER(hh, r->retained, k, next)
	{
		forget_retained(r, k); /* cppcheck-suppress uninitvar ; HASH_ITER sets it */
	}
	if (r->first_ignored > r->after + 1)
		r->after = r->first_ignored - 1;
	r->newest = r->since_ms = 0;
}

void replay_cancel(struct session *s, const uint8_t *filter, size_t len)
{
	for (struct replay *r = s->replays, *next; r; r = next) {
		next = r->next;
		if (r->state == REPLAY_READING && r->len == len && memcmp(r->filter, filter, len) == 0)
			cancel(s, r);
	}
}
