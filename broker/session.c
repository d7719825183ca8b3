/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/session.h"

#include "base/log.h"
#include "base/pool.h"
#include "broker/access.h"
#include "broker/conn.h"
#include "broker/entry_ring.h"
#include "broker/publish.h"
#include "broker/replay.h"
#include "broker/sealing.h"
#include "broker/sessions.h"
#include "broker/spaces.h"
#include "mqtt/encode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LIVE_MAX 4096U      /* entries in memory before a persistent session turns to its cursor */
#define PAGE_BELOW 1024U    /* a page is asked for when fewer are left */
#define PAGE_ENTRIES 2048U
#define PAGE_BYTES (1024U * 1024)
#define TELL_SENT_MS 100U   /* how long a QoS 1 message is in flight before the store hears of it */

/* ---- packet identifiers ---- */

/* 0: all 65,535 are in use, or out of memory. */
static uint16_t take_packet_id(struct session *s)
{
	enum err e = ERR_EXISTS;
	if (s->sent_ids.count >= UINT16_MAX)
		return 0;
	while (e == ERR_EXISTS) {
		if (++s->last_packet_id == 0)
			s->last_packet_id = 1;
		e = pidset_add(&s->sent_ids, s->last_packet_id);
	}
	return e == ERR_OK ? s->last_packet_id : 0;
}

/* The entry in flight under packet_id, or NULL. Acknowledgements mostly come in order: look where it then is. */
static struct entry *find_inflight(struct session *s, uint16_t packet_id)
{
	struct entry_ring *r = &s->inflight;
	if (r->count == 0)
		return NULL;
	uint32_t guess = (uint16_t)(packet_id - ring_at(r, 0)->packet_id);
	if (guess < r->count && ring_at(r, guess)->packet_id == packet_id && ring_at(r, guess)->state != ENTRY_DONE)
		return ring_at(r, guess);
	for (uint32_t i = 0; i < r->count; i++)
		if (ring_at(r, i)->packet_id == packet_id && ring_at(r, i)->state != ENTRY_DONE)
			return ring_at(r, i);
	return NULL;
}

/* ---- entries ---- */

static void drop_references(struct entry *e)
{
	msg_unref(e->msg);
	e->msg = NULL;
	if (e->group)
		share_unref(e->group);
	e->group = NULL;
}

static void count_queue(struct session *s, const struct entry *e, int sign)
{
	size_t bytes = e->msg ? msg_size(e->msg) : 0;
	if (sign > 0) {
		s->queue_bytes += bytes;
		STATS_ADD(s->loop, queued, 1);
		STATS_ADD(s->loop, queued_bytes, bytes);
	} else {
		s->queue_bytes -= bytes;
		STATS_SUB(s->loop, queued, 1);
		STATS_SUB(s->loop, queued_bytes, bytes);
	}
}

/* What one session_encode has taken off the queue: counted once, not for each message. */
struct taken {
	uint32_t entries, publishes;
	size_t bytes, payload_bytes; /* of messages; of their payloads */
};

/* Takes the first entry off the queue; its references are the caller's. */
static void pop_queue(struct session *s, struct taken *t)
{
	const struct msg *m = ring_at(&s->queue, 0)->msg;
	t->entries++;
	t->bytes += m ? msg_size(m) : 0;
	if (s->saving > 0)
		s->saving--;
	ring_pop(&s->queue);
}

static void count_taken(struct session *s, const struct taken *t)
{
	s->queue_bytes -= t->bytes;
	STATS_SUB(s->loop, queued, t->entries);
	STATS_SUB(s->loop, queued_bytes, t->bytes);
	STATS_ADD(s->loop, packets_sent, t->entries);
	STATS_ADD(s->loop, publish_sent, t->publishes);
	STATS_ADD(s->loop, publish_bytes_sent, t->payload_bytes);
}

static void drop_message(struct session *s, struct entry *e)
{
	STATS_ADD(s->loop, publish_dropped, 1);
	drop_references(e);
}

void session_tell_presence(struct session *s)
{
	if (!s->subs.presence)
		return;
	s->member = true;
	sub_set_presence(&s->subs, !s->conn                                                              ? SHARE_AWAY
	                           : s->inflight_count + s->queue.count >= s->window || s->conn->pending ? SHARE_BUSY
	                                                                                                 : SHARE_READY);
}

/* ---- the store's queue ---- */

struct delivery_op {
	struct store_op op;
	sub_handle handle;
	uint16_t packet_id;
	uint32_t serial; /* a page's: the connection that asked for it */
	uint64_t *here; /* a page's: sorted records that were in memory when it was asked for */
	size_t n_here;
	uint8_t filter[]; /* of STORE_PAST_SENT */
};

static void free_delivery_op(struct store_op *op)
{
	pool_free(op);
}

/* Tells the store about e; done NULL: no answer is needed. False: out of memory. */
static bool tell_store(struct session *s, enum store_verb verb, uint64_t record, uint16_t packet_id,
                       void (*done)(struct store_op *op, void *owner))
{
	struct delivery_op *d = pool_alloc(sizeof *d);
	if (!d)
		return false;
	*d = (struct delivery_op){.handle = s->subs.handle, .packet_id = packet_id};
	d->op.verb = verb;
	d->op.done = done;
	d->op.free_op = free_delivery_op;
	d->op.u.delivery.session = session_number(s);
	d->op.u.delivery.record = record;
	d->op.u.delivery.packet_id = packet_id;
	if (done)
		loop_submit(s->loop, &d->op);
	else
		store_submit(s->loop->broker->store, &d->op);
	return true;
}

/* Of a replay: the store's queue gets e, in flight under packet_id. */
static bool tell_past_sent(struct session *s, const struct entry *e, uint16_t packet_id, void (*done)(struct store_op *op, void *owner))
{
	size_t len;
	const uint8_t *filter = replay_filter(s, &len);
	struct delivery_op *d = pool_alloc(sizeof *d + len);
	if (!d)
		return false;
	*d = (struct delivery_op){.handle = s->subs.handle, .packet_id = packet_id};
	if (len > 0)
		memcpy(d->filter, filter, len);
	d->op.verb = STORE_PAST_SENT;
	d->op.done = done;
	d->op.u.past.session = session_number(s);
	d->op.u.past.filter = d->filter;
	d->op.u.past.filter_len = len;
	d->op.u.past.record = e->record;
	d->op.u.past.size = (uint32_t)msg_size(e->msg);
	d->op.u.past.packet_id = packet_id;
	loop_submit(s->loop, &d->op);
	return true;
}

static struct session *op_session(struct loop *l, const struct delivery_op *d)
{
	loop_answered(l);
	return sessions_get(l->sessions, d->handle);
}

static void no_memory(struct session *s)
{
	if (s->conn)
		conn_fail(s->conn, "out of memory");
}

static void on_saved(struct store_op *op, void *owner)
{
	struct delivery_op *d = (struct delivery_op *)op;
	struct session *s = op_session(owner, d);
	for (uint32_t i = 0; s && i < s->queue.count; i++) {
		struct entry *e = ring_at(&s->queue, i);
		if (e->packet_id != d->packet_id || e->state != ENTRY_SAVING)
			continue;
		e->state = ENTRY_QUEUED;
		if (e->past && op->result == ERR_OK)
			e->past = 0; /* from now on an entry like others */
		else if (e->past)
			e->record = 0; /* the store has forgotten the message, or keeps nothing */
		if (!s->conn)
			break;
		conn_mark_dirty(s->conn);
		if (op->result != ERR_OK && op->result != ERR_NOT_FOUND) /* that: dropped there for being the oldest; it is here still */
			conn_fail(s->conn, "the store failed");
		break;
	}
	pool_free(d);
}

/* The packet identifiers of QoS 2 messages that the window will let out are stored ahead, in one commit. */
static void save_ahead(struct session *s)
{
	while (s->saving < s->queue.count && s->inflight_count + s->saving < s->window) {
		struct entry *e = ring_at(&s->queue, s->saving);
		if (e->qos == 2 && e->record && e->packet_id == 0 && e->state == ENTRY_QUEUED) {
			uint16_t id = take_packet_id(s);
			if (id == 0)
				return;
			if (!(e->past ? tell_past_sent(s, e, id, on_saved) : tell_store(s, STORE_SENT, e->record, id, on_saved))) {
				pidset_remove(&s->sent_ids, id);
				no_memory(s);
				return;
			}
			e->packet_id = id;
			e->state = ENTRY_SAVING;
		}
		s->saving++;
	}
}

static int compare_records(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* The records that are in memory already, sorted: a page brings them too. Taken when it is asked for, because one that is
 * acknowledged while it is on its way must not come again. */
static enum err records_here(const struct session *s, uint64_t **out, size_t *n)
{
	*n = (size_t)s->inflight.count + s->queue.count;
	if (*n == 0)
		return ERR_OK;
	uint64_t *list = pool_alloc(*n * sizeof *list);
	if (!list)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < s->inflight.count; i++)
		list[i] = ring_at(&s->inflight, i)->record;
	for (uint32_t i = 0; i < s->queue.count; i++)
		list[s->inflight.count + i] = ring_at(&s->queue, i)->record;
	qsort(list, *n, sizeof *list, compare_records);
	*out = list;
	return ERR_OK;
}

static void ask_for_page(struct session *s);

static void take_page_entry(struct session *s, struct store_entry *p)
{
	struct entry e = {.msg = p->msg, .record = p->record, .sub_id = p->sub_id, .packet_id = p->packet_id};
	e.qos = p->qos & 3U;
	e.retain = p->retain & 1U;
	e.dup = p->state == STORE_INFLIGHT;
	e.state = p->state == STORE_PUBREL ? ENTRY_RELEASED : ENTRY_QUEUED;
	p->msg = NULL;
	if (e.packet_id) {
		enum err r = pidset_add(&s->sent_ids, e.packet_id);
		if (r == ERR_NOMEM)
			no_memory(s);
		s->last_packet_id = e.packet_id;
	}
	session_push(s, &e, false);
}

static void on_page(struct store_op *op, void *owner)
{
	struct delivery_op *d = (struct delivery_op *)op;
	struct session *s = op_session(owner, d);
	struct store_entry *entries = op->u.page.entries;
	uint32_t n = op->u.page.n_entries;
	if (s && s->conn_serial != d->serial)
		s = NULL; /* it left out what a former connection had in memory */
	if (s)
		s->page_pending = false;
	if (s && s->conn && s->cursor && op->result == ERR_OK && replay_runs(s)) { /* it is read again behind the replay */
		for (uint32_t i = 0; s->restored && i < n; i++)
			if (entries[i].packet_id)
				take_page_entry(s, &entries[i]); /* but their identifiers must be known before others are given */
		s->restored = false;
	} else if (s && s->conn && s->cursor && op->result == ERR_OK) {
		s->restored = false;
		for (uint32_t i = 0; i < n; i++)
			if (!d->here || !bsearch(&entries[i].record, d->here, d->n_here, sizeof *d->here, compare_records))
				take_page_entry(s, &entries[i]);
		if (n > 0)
			s->page_after = entries[n - 1].record;
		if (op->u.page.end && s->ignored <= op->u.page.last_record) {
			s->cursor = false;
			s->floor = op->u.page.last_record;
		}
		ask_for_page(s);
	} else if (s && s->conn && s->cursor && op->result != ERR_OK) {
		conn_fail(s->conn, "its queue cannot be read from the store");
	}
	for (uint32_t i = 0; i < n; i++)
		msg_unref(entries[i].msg);
	pool_free(entries);
	pool_free(d->here);
	pool_free(d);
}

static void ask_for_page(struct session *s)
{
	if (!s->cursor || s->page_pending || !s->conn || s->queue.count >= PAGE_BELOW || s->queue_bytes >= PAGE_BYTES ||
		(replay_runs(s) && !s->restored))
		return;
	struct delivery_op *d = pool_alloc(sizeof *d);
	if (!d) {
		no_memory(s);
		return;
	}
	*d = (struct delivery_op){.handle = s->subs.handle, .serial = s->conn_serial};
	if (records_here(s, &d->here, &d->n_here) != ERR_OK) {
		pool_free(d);
		no_memory(s);
		return;
	}
	d->op.verb = STORE_PAGE;
	d->op.done = on_page;
	d->op.u.page.session = session_number(s);
	d->op.u.page.after = s->page_after;
	d->op.u.page.max_entries = PAGE_ENTRIES > s->window ? PAGE_ENTRIES : s->window;
	d->op.u.page.max_bytes = PAGE_BYTES;
	if (s->restored) { /* all that can have been in flight; in the order of the store nearly that of sending */
		d->op.u.page.max_entries = PAGE_ENTRIES + 2 * s->window;
		d->op.u.page.max_bytes = UINT64_MAX;
	}
	s->page_pending = true;
	loop_submit(s->loop, &d->op);
}

static void turn_to_cursor(struct session *s, uint64_t after)
{
	s->cursor = true;
	s->page_after = after;
}

void session_wait(struct session *s)
{
	if (s->persistent && !s->cursor)
		turn_to_cursor(s, s->floor);
}

void session_go_on(struct session *s)
{
	ask_for_page(s);
	replay_step(s); /* of the next subscription */
}

/* ---- to the client ---- */

/* Over what a session may hold in memory? A retained or paged message is exempt: its number is bounded elsewhere. */
static bool over_limit(const struct session *s)
{
	const struct conf *conf = s->loop->conf;
	return (conf->max_queued_messages > 0 && s->queue.count >= conf->max_queued_messages) ||
	       (conf->max_queued_memory > 0 && s->queue_bytes >= conf->max_queued_memory);
}

/* Does the cursor bring this live copy anyway, or has it already? */
static bool cursor_has(struct session *s, const struct entry *e)
{
	if (e->record == 0)
		return false;
	if (e->record <= s->floor)
		return true;
	if (s->conn && !s->cursor && (s->queue.count >= LIVE_MAX || over_limit(s)))
		turn_to_cursor(s, s->floor);
	if (s->conn && !s->cursor)
		return false;
	if (e->record > s->ignored)
		s->ignored = e->record;
	return true;
}

static void on_overflow(struct session *s, struct entry *e)
{
	if (!s->overflow_logged) {
		s->overflow_logged = true;
		log_warning("client '%.*s': its queue is full (%u messages, %zu bytes); messages are lost", s->client_id_len,
		            s->client_id, s->queue.count, s->queue_bytes);
	}
	bool lossless = e->qos > 0;
	drop_message(s, e);
	if (lossless && s->conn)
		conn_fail(s->conn, "session ended: its queue is full"); /* a clean session ends with it */
}

void session_withhold(struct session *s, const struct msg *m, uint64_t record)
{
	STATS_ADD(s->loop, publish_withheld, 1);
	log_debug("client '%.*s': a message on '%.*s' is withheld by the access rules", s->client_id_len, s->client_id,
	          m->topic_len > 200 ? 200 : m->topic_len, (const char *)msg_topic(m));
	if (record && !tell_store(s, STORE_ACKED, record, 0, NULL))
		no_memory(s);
}

/* A QoS 2 message that has its packet identifier may have reached the client already: it goes on, for without its end the identifier
 * could not be used for another message. */
static inline bool may_get(struct session *s, const struct entry *e)
{
	const char *why;
	if (!e->msg)
		return true;
	bool sealed = e->msg->flags & MSG_SEALED;
	if (sealed ? !sealing_give(s, e->msg, e->sub_id, &why) : e->sub_id & SUB_ID_SEALED) /* the sealed view brings nothing else */
		return e->qos == 2 && e->packet_id;
	return (e->qos == 2 && e->packet_id) || access_read(s, e->msg);
}

static void withhold(struct session *s, struct entry *e)
{
	if (e->packet_id)
		pidset_remove(&s->sent_ids, e->packet_id);
	session_withhold(s, e->msg, e->past ? 0 : e->record);
	drop_references(e);
}

void session_judge_queue(struct session *s)
{
	struct entry_ring *r = &s->queue;
	uint32_t kept = 0, saving = s->saving, late_from = s->late_from;
	for (uint32_t i = 0; i < r->count; i++) {
		struct entry *e = ring_at(r, i);
		if (may_get(s, e)) {
			*ring_at(r, kept++) = *e;
			continue;
		}
		count_queue(s, e, -1);
		withhold(s, e);
		if (i < s->saving)
			saving--;
		if (i < s->late_from)
			late_from--;
	}
	s->saving = saving;
	s->late_from = late_from;
	r->count = kept;
	if (kept == 0)
		ring_free(r);
}

void session_push(struct session *s, struct entry *e, bool live)
{
	loop_assert_here(s->loop);
	if (live && s->persistent && e->qos > 0 && cursor_has(s, e)) {
		drop_references(e);
		return;
	}
	if (!may_get(s, e)) {
		withhold(s, e);
		return;
	}
	if (live && !s->conn && e->qos == 0) {
		drop_references(e); /* nobody promised it */
		return;
	}
	if (live && over_limit(s)) {
		on_overflow(s, e);
		return;
	}
	if (ring_push(&s->queue, e) != ERR_OK) {
		drop_message(s, e);
		no_memory(s);
		return;
	}
	count_queue(s, e, 1);
	if (s->conn)
		conn_mark_dirty(s->conn);
}

/* Is there room for n more, of size bytes together, and for each one before the last? */
static bool fits(const struct session *s, uint32_t n, size_t size)
{
	const struct conf *conf = s->loop->conf;
	return (conf->max_queued_messages == 0 || s->queue.count + n <= conf->max_queued_messages) &&
	       (conf->max_queued_memory == 0 || s->queue_bytes + size <= conf->max_queued_memory);
}

void session_push_run(struct session *s, struct msg *const *take_msgs, uint32_t n, uint8_t qos, uint32_t sub_id)
{
	size_t bytes = 0;
	for (uint32_t i = 0; i < n; i++)
		bytes += msg_size(take_msgs[i]);
	/* One topic, one decision. Whoever may not get them, is away or has no room: one by one. */
	bool together = s->conn && !(sub_id & SUB_ID_SEALED) && fits(s, n, bytes) && access_read(s, take_msgs[0]) &&
	                ring_reserve(&s->queue, s->queue.count + n) == ERR_OK;
	for (uint32_t i = 0; i < n; i++) {
		struct entry e = {.msg = take_msgs[i], .sub_id = sub_id};
		e.qos = qos & 3U;
		if (together)
			ring_append(&s->queue, &e);
		else
			session_push(s, &e, true);
	}
	if (!together)
		return;
	s->queue_bytes += bytes;
	STATS_ADD(s->loop, queued, n);
	STATS_ADD(s->loop, queued_bytes, bytes);
	conn_mark_dirty(s->conn);
}

/* Moves the first queue entry, just encoded, to where its acknowledgement finds it. */
static enum err to_inflight(struct session *s, struct entry *e)
{
	struct entry_ring *r = &s->inflight;
	if (r->count == r->cap && r->count > 2 * s->inflight_count) { /* mostly gaps: close them instead of growing */
		uint32_t kept = 0;
		for (uint32_t i = 0; i < r->count; i++)
			if (ring_at(r, i)->state != ENTRY_DONE)
				*ring_at(r, kept++) = *ring_at(r, i);
		r->count = kept;
		if (kept == 0)
			ring_free(r);
	}
	if (ring_push(r, e) != ERR_OK)
		return ERR_NOMEM;
	s->inflight_count++;
	return ERR_OK;
}

static size_t encode_pubrel(struct session *s, uint8_t *buf, struct entry e, struct taken *t)
{
	if (to_inflight(s, &e) != ERR_OK) {
		no_memory(s);
		return 0;
	}
	pop_queue(s, t);
	return mqtt_encode_ack(buf, MQTT_PUBREL, e.packet_id);
}

/* May the first entry leave now? Gives it its packet identifier. */
static bool may_send(struct session *s, struct entry *e)
{
	if (e->qos == 0)
		return true;
	if (s->inflight_count >= s->window || (s->restored && e->packet_id == 0))
		return false;
	if (s->persistent && e->qos == 2 && e->record) {
		save_ahead(s);
		if (e->packet_id == 0 || e->state == ENTRY_SAVING) /* none free, out of memory; or the store is being told */
			return false;
	}
	if (e->packet_id != 0)
		return true;
	e->packet_id = take_packet_id(s);
	if (e->record && !wheel_armed(&s->timer))
		loop_arm(s->loop, &s->timer, s->loop->now_ms + TELL_SENT_MS);
	return e->packet_id != 0;
}

size_t session_encode(struct session *s, uint8_t *buf, size_t cap, struct msg **big, size_t *big_left)
{
	enum mqtt_version version = (enum mqtt_version)s->conn->version;
	struct taken taken = {0};
	uint32_t inflight = s->inflight_count;
	size_t n = 0;
	while (s->queue.count > 0 && !*big) {
		struct entry *front = ring_at(&s->queue, 0);
		if (front->state == ENTRY_RELEASED) {
			if (cap - n < MQTT_ACK_SIZE || s->inflight_count >= s->window)
				break;
			size_t pubrel = encode_pubrel(s, buf + n, *front, &taken);
			if (pubrel == 0)
				break;
			n += pubrel;
			continue;
		}
		if (!may_send(s, front))
			break;
		struct entry e = *front;
		struct mqtt_bytes prefix = {0};
		const struct msg *m = e.msg->flags & MSG_SEALED ? sealing_view(e.msg, e.sub_id, &prefix) : e.msg;
		struct mqtt_bytes topic = {msg_topic(m), m->topic_len};
		if (cap - n < MQTT_PUBLISH_HEAD_MAX(prefix.len + topic.len) + 1)
			break;
		if (e.qos > 0) {
			e.state = ENTRY_SENT;
			if (to_inflight(s, &e) != ERR_OK) {
				no_memory(s);
				break;
			}
		}
		if (prefix.len == 0)
			n += mqtt_encode_publish_head(buf + n, version, e.dup, e.qos, e.retain, topic, e.packet_id, m->payload_len);
		else
			n += mqtt_encode_publish_head2(buf + n, version, e.dup, e.qos, e.retain, prefix, topic, e.packet_id, m->payload_len);
		if (m->payload_len <= cap - n) {
			memcpy(buf + n, msg_payload(m), m->payload_len);
			n += m->payload_len;
		} else {
			*big = msg_ref(m == e.msg ? e.msg : msg_opened(e.msg));
			*big_left = m->payload_len;
		}
		if (atomic_load_explicit(&m->refs, memory_order_relaxed) & MSG_SECRET)
			s->loop->secrets = true;
		taken.publishes++;
		taken.payload_bytes += m->payload_len;
		pop_queue(s, &taken);
		if (e.qos == 0)
			drop_references(&e);
	}
	if (taken.entries > 0) {
		count_taken(s, &taken);
		STATS_ADD(s->loop, inflight, s->inflight_count - inflight);
	}
	if (s->cursor)
		ask_for_page(s);
	if (s->replays) {
		replay_step(s);
		replay_progress(s);
	}
	if (s->subs.presence)
		session_tell_presence(s);
	return n;
}

/* Ends an entry in flight. */
static void finish(struct session *s, struct entry *e)
{
	pidset_remove(&s->sent_ids, e->packet_id);
	drop_references(e);
	e->state = ENTRY_DONE;
	s->inflight_count--;
}

/* Forgets the gaps at the front, once for all that were acknowledged together; done: how many were finished. */
static void finished(struct session *s, uint32_t done)
{
	if (done == 0)
		return;
	STATS_SUB(s->loop, inflight, done);
	while (s->inflight.count > 0 && ring_at(&s->inflight, 0)->state == ENTRY_DONE)
		ring_pop(&s->inflight);
	if (s->queue.count > 0 && s->conn)
		conn_mark_dirty(s->conn); /* the window has room */
	else if (s->subs.presence)
		session_tell_presence(s);
	if (s->replays)
		replay_progress(s);
}

uint64_t session_oldest_past(struct session *s)
{
	for (uint32_t i = 0; i < s->inflight.count; i++) {
		const struct entry *e = ring_at(&s->inflight, i);
		if (e->past && e->record && e->state != ENTRY_DONE)
			return e->record;
	}
	for (uint32_t i = 0; i < s->queue.count; i++) {
		const struct entry *e = ring_at(&s->queue, i);
		if (e->past && e->record)
			return e->record;
	}
	return 0;
}

/* The entry's end; the store hears of it if it has it. */
static void acknowledged(struct session *s, struct entry *e, bool stored)
{
	if (stored && !tell_store(s, STORE_ACKED, e->record, e->packet_id, NULL))
		no_memory(s);
	else
		finish(s, e);
}

size_t session_pubacks(struct session *s, const uint16_t *packet_ids, size_t n)
{
	uint32_t before = s->inflight_count;
	size_t i;
	for (i = 0; i < n && !s->conn->failed; i++) {
		struct entry *e = find_inflight(s, packet_ids[i]);
		if (!e || e->qos != 1 || e->state != ENTRY_SENT)
			break;
		acknowledged(s, e, e->record && !e->past);
	}
	finished(s, before - s->inflight_count);
	return i;
}

static void on_released(struct store_op *op, void *owner)
{
	struct delivery_op *d = (struct delivery_op *)op;
	struct session *s = op_session(owner, d);
	struct entry *e = s ? find_inflight(s, d->packet_id) : NULL;
	if (e && e->state == ENTRY_RELEASING) {
		bool done = op->result == ERR_OK || op->result == ERR_NOT_FOUND; /* that: dropped there; nothing to remember */
		s->releasing--;
		e->state = ENTRY_RELEASED;
		if (s->conn && !done)
			conn_fail(s->conn, "the store failed");
		else if (s->conn && s->conn->state == CONN_UP) /* else session_resume sends it, behind CONNACK [MQTT-3.2.0-1] */
			conn_send_acks(s->conn, MQTT_PUBREL, &d->packet_id, 1);
	}
	pool_free(d);
}

/* False: PUBREL may leave at once. */
static bool release_waits(struct session *s, struct entry *e)
{
	if (e->state == ENTRY_RELEASING)
		return true; /* repeated; PUBREL is on its way */
	if (e->state == ENTRY_SENT && (e->record || s->releasing > 0)) { /* a PUBREL does not overtake one that waits [MQTT-4.6.0-4] */
		if (!tell_store(s, e->record ? STORE_RELEASED : STORE_BARRIER, e->record, e->packet_id, on_released)) {
			no_memory(s);
			return true;
		}
		drop_references(e);
		e->state = ENTRY_RELEASING;
		s->releasing++;
		return true;
	}
	drop_references(e);
	e->state = ENTRY_RELEASED;
	return false;
}

size_t session_pubrecs(struct session *s, const uint16_t *packet_ids, size_t n)
{
	size_t sent = 0, i;
	for (i = 0; i < n && !s->conn->failed; i++) {
		struct entry *e = find_inflight(s, packet_ids[i]);
		if (!e || e->qos != 2)
			break;
		if (!release_waits(s, e))
			continue;
		conn_send_acks(s->conn, MQTT_PUBREL, packet_ids + sent, i - sent);
		sent = i + 1;
	}
	conn_send_acks(s->conn, MQTT_PUBREL, packet_ids + sent, i - sent);
	return i;
}

size_t session_pubcomps(struct session *s, const uint16_t *packet_ids, size_t n)
{
	uint32_t before = s->inflight_count;
	size_t i;
	for (i = 0; i < n && !s->conn->failed; i++) {
		struct entry *e = find_inflight(s, packet_ids[i]);
		if (!e || e->state != ENTRY_RELEASED)
			break;
		acknowledged(s, e, e->record);
	}
	finished(s, before - s->inflight_count);
	return i;
}

void session_tell_sent(struct session *s)
{
	for (uint32_t i = 0; i < s->inflight.count; i++) {
		struct entry *e = ring_at(&s->inflight, i);
		if (e->state == ENTRY_SENT && e->qos == 1 && e->record && !e->told)
			e->told = tell_store(s, STORE_SENT, e->record, e->packet_id, NULL);
	}
}

/* ---- life ---- */

void session_resume(struct session *s)
{
	struct entry_ring all = {0};
	if (ring_reserve(&all, s->inflight_count + s->queue.count) != ERR_OK) {
		no_memory(s);
		return;
	}
	for (uint32_t i = 0; i < s->inflight.count; i++) {
		struct entry e = *ring_at(&s->inflight, i);
		if (e.state == ENTRY_DONE)
			continue;
		e.dup = e.state == ENTRY_SENT;
		e.state = e.state == ENTRY_SENT ? ENTRY_QUEUED : ENTRY_RELEASED;
		count_queue(s, &e, 1);
		ring_append(&all, &e);
	}
	for (uint32_t i = 0; i < s->queue.count; i++)
		ring_append(&all, ring_at(&s->queue, i));
	ring_free(&s->queue);
	ring_free(&s->inflight);
	s->queue = all;
	STATS_SUB(s->loop, inflight, s->inflight_count);
	s->inflight_count = 0;
	s->saving = 0;
	s->releasing = 0;
	s->page_pending = false; /* one that is under way was another connection's */
	if (s->persistent)
		turn_to_cursor(s, 0);
	s->floor = 0;
	ask_for_page(s);
	replay_resume(s);
	spaces_resumed(s);
	session_tell_presence(s);
	conn_mark_dirty(s->conn);
}

void session_suspend(struct session *s)
{
	struct entry_ring kept = {0};
	s->cursor = s->persistent;
	s->overflow_logged = false;
	wheel_cancel(s->loop->wheel, &s->timer);
	session_tell_sent(s);
	for (uint32_t i = 0; i < s->queue.count; i++) {
		struct entry *e = ring_at(&s->queue, i);
		count_queue(s, e, -1);
		bool keep = e->past || (e->qos > 0 && (e->record == 0 || e->packet_id != 0));
		if (keep && ring_push(&kept, e) == ERR_OK) {
			count_queue(s, e, 1);
			continue;
		}
		if (e->packet_id) /* no memory for the ring */
			pidset_remove(&s->sent_ids, e->packet_id);
		drop_references(e); /* QoS 0, or the store has it */
	}
	ring_free(&s->queue);
	s->queue = kept;
	s->saving = 0;
	s->reading = 0;
	session_tell_presence(s);
	if (s->replays)
		replay_progress(s);
}

static void hand_on(struct session *s, struct entry *e)
{
	if (e->group && e->msg && e->qos < 2 && e->record == 0) /* what is in the store: broker/hand_on.h */
		(void)publish_to_group(s->loop, e->msg, e->group, s->subs.handle, 0);
}

void session_drop_queues(struct session *s)
{
	for (uint32_t i = 0; i < s->inflight.count; i++) {
		struct entry *e = ring_at(&s->inflight, i);
		hand_on(s, e);
		drop_references(e);
	}
	for (uint32_t i = 0; i < s->queue.count; i++) {
		struct entry *e = ring_at(&s->queue, i);
		hand_on(s, e);
		count_queue(s, e, -1);
		drop_references(e);
	}
	ring_free(&s->inflight);
	ring_free(&s->queue);
	pidset_clear(&s->received);
	pidset_clear(&s->sent_ids);
	STATS_SUB(s->loop, inflight, s->inflight_count);
	s->inflight_count = 0;
}
