/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sessions' queues on disk: publishing into them, delivering from them, quotas, and deleting them piece by piece. Writer thread. */
#include "store/lmdb_int.h"

#include <stdlib.h>

void queue_entry_encode(uint8_t value[static QUEUE_VALUE], const struct queue_entry *e)
{
	value[0] = e->state;
	value[1] = e->qos;
	value[2] = e->retain;
	value[3] = e->share;
	put_be(put_be(put_be(value + 4, e->packet_id, 2), e->sub_id, 4), e->size, 4);
}

enum err queue_entry_decode(const MDB_val *key, const MDB_val *value, store_session *session, struct queue_entry *e)
{
	const uint8_t *k = key->mv_data, *v = value->mv_data;
	if (key->mv_size != QUEUE_KEY || value->mv_size != QUEUE_VALUE || v[0] > STORE_PUBREL || v[1] > 2 || v[2] > 1)
		return ERR_CORRUPT;
	*session = (store_session)get_be(k, 4);
	*e = (struct queue_entry){ .record = get_be(k + 4, 8), .state = v[0], .qos = v[1], .retain = v[2], .share = v[3],
		.packet_id = (uint16_t)get_be(v + 4, 2), .sub_id = (uint32_t)get_be(v + 6, 4), .size = (uint32_t)get_be(v + 10, 4) };
	return ERR_OK;
}

/* ---- sessions in memory */

struct stored_session *session_find(const struct lmdb *l, store_session number)
{
	for (struct map_node *n = map_first(&l->sessions, map_hash_u64(number)); n; n = map_next(n)) {
		struct stored_session *session = MAP_OF(n, struct stored_session, node);
		if (session->number == number)
			return session;
	}
	return NULL;
}

struct stored_session *session_add(struct lmdb *l, store_session number)
{
	struct stored_session *session = calloc(1, sizeof *session);
	if (!session)
		return NULL;
	session->number = number;
	map_insert(&l->sessions, &session->node, map_hash_u64(number));
	return session;
}

void session_touch(struct lmdb *l, struct stored_session *session)
{
	if (session->touched)
		return;
	session->touched = true;
	session->saved = session->now;
	session->next_touched = l->touched_sessions;
	l->touched_sessions = session;
}

/* ---- entries */

static enum err entry_put(struct store *s, store_session session, const struct queue_entry *e)
{
	uint8_t key[QUEUE_KEY], value[QUEUE_VALUE];
	queue_key(key, session, e->record);
	queue_entry_encode(value, e);
	return db_put(s, T_QUEUE, key, sizeof key, value, sizeof value, 0);
}

/* Stands *c, which the caller closes, at the entry. ERR_NOT_FOUND: there is none, and no cursor. */
static enum err entry_find(struct store *s, store_session session, uint64_t record, MDB_cursor **c, struct queue_entry *e)
{
	uint8_t key[QUEUE_KEY];
	queue_key(key, session, record);
	MDB_val k = { sizeof key, key }, v;
	enum err rc = db_cursor(s, T_QUEUE, c);
	if (rc != ERR_OK)
		return rc;
	int r = mdb_cursor_get(*c, &k, &v, MDB_SET);
	rc = r == MDB_SUCCESS ? queue_entry_decode(&k, &v, &session, e) : r == MDB_NOTFOUND ? ERR_NOT_FOUND : db_fail(s, r);
	if (rc != ERR_OK)
		mdb_cursor_close(*c);
	return rc;
}

/* Where the cursor stands. */
static enum err entry_replace(struct store *s, MDB_cursor *c, store_session session, const struct queue_entry *e)
{
	uint8_t key[QUEUE_KEY], value[QUEUE_VALUE];
	queue_key(key, session, e->record);
	queue_entry_encode(value, e);
	MDB_val k = { sizeof key, key }, v = { sizeof value, value };
	int r = mdb_cursor_put(c, &k, &v, MDB_CURRENT);
	return r == MDB_SUCCESS ? ERR_OK : db_fail(s, r);
}

/* The message of e is no longer this queue's. */
static enum err entry_forget_message(struct store *s, struct stored_session *session, const struct queue_entry *e)
{
	if (e->state == STORE_PUBREL)
		return ERR_OK;
	session_touch(lmdb_of(s), session);
	session->now.messages--;
	session->now.bytes -= e->size;
	return message_unref(s, e->record);
}

static enum err entry_delete(struct store *s, struct stored_session *session, MDB_cursor *c, const struct queue_entry *e)
{
	int r = mdb_cursor_del(c, 0);
	return r == MDB_SUCCESS ? entry_forget_message(s, session, e) : db_fail(s, r);
}

/* ---- deliveries */

static size_t acked_slot(const struct lmdb *l, store_session session, uint64_t record)
{
	size_t i = (size_t)map_hash_u64(record * 31 + session) & l->acked_mask;
	while (l->acked[i].record && (l->acked[i].record != record || l->acked[i].session != session))
		i = (i + 1) & l->acked_mask;
	return i;
}

static bool is_unwatched_sent(const struct store_op *op)
{
	return op->verb == STORE_SENT && !op->reply;
}

static const struct store_op *next_op(const struct store_op *op)
{
	return (const struct store_op *)(const void *)op->mail.next;
}

/* A QoS 1 message is often sent and acknowledged while one commit runs: then only the acknowledgement is written. */
void queue_note_acked(struct lmdb *l, const struct store_op *batch)
{
	size_t acked = 0, sent = 0, room = 64;
	for (const struct store_op *op = batch; op; op = next_op(op)) {
		acked += op->verb == STORE_ACKED;
		sent += is_unwatched_sent(op);
	}
	l->acked_mask = 0;
	if (acked == 0 || sent == 0)
		return;
	while (room < 2 * acked)
		room *= 2;
	if (room > l->acked_room) {
		struct acked *bigger = realloc(l->acked, room * sizeof *bigger);
		if (!bigger)
			return; /* then both are written */
		l->acked = bigger;
		l->acked_room = room;
	}
	l->acked_mask = room - 1;
	memset(l->acked, 0, room * sizeof *l->acked);
	for (const struct store_op *op = batch; op; op = next_op(op))
		if (op->verb == STORE_ACKED)
			l->acked[acked_slot(l, op->u.delivery.session, op->u.delivery.record)] = (struct acked){ op->u.delivery.record,
				op->u.delivery.session };
}

static bool is_acked_later(const struct lmdb *l, const struct store_op *op)
{
	return l->acked_mask && l->acked[acked_slot(l, op->u.delivery.session, op->u.delivery.record)].record;
}

/* The one place where an entry's state changes; c stands at it. */
static enum err change_state(struct store *s, struct stored_session *session, MDB_cursor *c, struct queue_entry *e, const struct store_op *op)
{
	if (op->verb == STORE_ACKED)
		return entry_delete(s, session, c, e);
	if (op->verb == STORE_SENT) {
		if (e->state == STORE_PUBREL) /* its message is gone */
			return ERR_INVALID;
		e->state = STORE_INFLIGHT;
		e->packet_id = op->u.delivery.packet_id;
		return entry_replace(s, c, session->number, e);
	}
	struct queue_entry before = *e;
	e->state = STORE_PUBREL;
	e->size = 0;
	if (op->u.delivery.packet_id)
		e->packet_id = op->u.delivery.packet_id;
	enum err rc = entry_replace(s, c, session->number, e);
	return rc == ERR_OK ? entry_forget_message(s, session, &before) : rc;
}

enum err queue_deliver(struct store *s, struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	struct stored_session *session = session_find(l, op->u.delivery.session);
	struct queue_entry e = { 0 };
	MDB_cursor *c = NULL;
	if (!session)
		return ERR_NOT_FOUND;
	if (is_unwatched_sent(op) && is_acked_later(l, op))
		return ERR_OK;
	enum err rc = entry_find(s, session->number, op->u.delivery.record, &c, &e);
	if (rc != ERR_OK)
		return rc;
	rc = change_state(s, session, c, &e, op);
	mdb_cursor_close(c);
	return rc;
}

enum err queue_insert(struct store *s, struct stored_session *session, const struct queue_entry *e)
{
	MDB_cursor *c = NULL;
	struct queue_entry before = { 0 };
	enum err rc = entry_find(s, session->number, e->record, &c, &before);
	if (rc == ERR_OK) {
		rc = before.state == STORE_PUBREL ? ERR_INVALID : entry_replace(s, c, session->number, e);
		mdb_cursor_close(c);
		return rc;
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	rc = message_ref(s, e->record);
	if (rc != ERR_OK)
		return rc;
	session_touch(lmdb_of(s), session);
	session->now.messages++;
	session->now.bytes += e->size;
	return entry_put(s, session->number, e);
}

/* ---- quotas */

static bool over_quota(const struct store *s, const struct stored_session *session, size_t size)
{
	const struct store_options *o = &s->options;
	return (o->max_queued_messages && session->now.messages >= o->max_queued_messages)
	    || (o->max_queued_bytes && session->now.bytes + size > o->max_queued_bytes);
}

/* Stands *c, which the caller closes, at the session's first entry in STORE_QUEUED. ERR_NOT_FOUND: there is none, and no cursor. */
static enum err find_queued(struct store *s, struct stored_session *session, MDB_cursor **c, struct queue_entry *e)
{
	enum err rc = db_cursor(s, T_QUEUE, c);
	if (rc != ERR_OK)
		return rc;
	uint8_t start[QUEUE_KEY];
	queue_key(start, session->number, session->now.queued_from);
	MDB_val k = { sizeof start, start }, v;
	int r = mdb_cursor_get(*c, &k, &v, MDB_SET_RANGE);
	for (; r == MDB_SUCCESS; r = mdb_cursor_get(*c, &k, &v, MDB_NEXT)) {
		store_session owner = 0;
		rc = queue_entry_decode(&k, &v, &owner, e);
		if (rc != ERR_OK || owner != session->number)
			break;
		if (e->state == STORE_QUEUED)
			return ERR_OK;
	}
	mdb_cursor_close(*c);
	if (r != MDB_SUCCESS && r != MDB_NOTFOUND)
		return db_fail(s, r);
	return rc != ERR_OK ? rc : ERR_NOT_FOUND;
}

/* drop-oldest: makes room for size bytes. ERR_NOT_FOUND: what is left is all in flight. */
static enum err drop_oldest(struct store *s, struct stored_session *session, size_t size)
{
	while (over_quota(s, session, size)) {
		struct queue_entry e = { 0 };
		MDB_cursor *c = NULL;
		enum err rc = find_queued(s, session, &c, &e);
		if (rc != ERR_OK)
			return rc;
		rc = entry_delete(s, session, c, &e);
		mdb_cursor_close(c);
		if (rc != ERR_OK)
			return rc;
		session->now.queued_from = e.record;
		store_count(&s->dropped, 1);
	}
	return ERR_OK;
}

/* A session that lost one message is lost, after a crash as well. */
static enum err mark_over_quota(struct store *s, struct stored_session *session)
{
	struct lmdb *l = lmdb_of(s);
	store_count(&s->dropped, 1);
	if (session->now.over_quota)
		return ERR_OK;
	session_touch(l, session);
	session->now.over_quota = true;
	store_note_over_quota(s, session->number);
	uint8_t key[4];
	MDB_val v;
	put_be(key, session->number, 4);
	enum err rc = db_get(s, T_SESSIONS, key, sizeof key, &v);
	if (rc == ERR_OK)
		rc = scratch_reserve(l, v.mv_size);
	if (rc != ERR_OK)
		return rc;
	memcpy(l->scratch, v.mv_data, v.mv_size);
	l->scratch[1] |= 2; /* docs/store.md: sessions, flags */
	return db_put(s, T_SESSIONS, key, sizeof key, l->scratch, v.mv_size, 0);
}

/* ---- publishing */

/* Whether r gets an entry; makes room for it. */
static enum err admit(struct store *s, const struct store_receiver *r, size_t size, struct stored_session **out)
{
	struct stored_session *session = session_find(lmdb_of(s), r->session);
	*out = NULL;
	if (!session || session->last_record == s->last_record) /* gone meanwhile, or named twice: one copy */
		return ERR_OK;
	session->last_record = s->last_record;
	if (session->now.over_quota || (over_quota(s, session, size) && s->options.queue_full != STORE_DROP_OLDEST))
		return mark_over_quota(s, session);
	session_touch(lmdb_of(s), session);
	enum err rc = drop_oldest(s, session, size);
	if (rc == ERR_NOT_FOUND) {
		store_count(&s->dropped, 1);
		return ERR_OK;
	}
	*out = session;
	return rc;
}

static enum err check_reject(struct store *s, const struct store_op *op, size_t size)
{
	if (s->options.queue_full != STORE_REJECT)
		return ERR_OK;
	for (uint32_t i = 0; i < op->u.publish.n_receivers; i++) {
		struct stored_session *session = session_find(lmdb_of(s), op->u.publish.receivers[i].session);
		if (session && over_quota(s, session, size))
			return ERR_FULL;
	}
	return ERR_OK;
}

static enum err put_entries(struct store *s, const struct store_op *op, uint32_t *n)
{
	const struct msg *m = op->u.publish.msg;
	for (uint32_t i = 0; i < op->u.publish.n_receivers; i++) {
		const struct store_receiver *r = &op->u.publish.receivers[i];
		struct stored_session *session;
		enum err rc = admit(s, r, msg_size(m), &session);
		if (rc != ERR_OK)
			return rc;
		if (!session)
			continue;
		struct queue_entry e = { .record = op->u.publish.record, .sub_id = r->sub_id, .size = (uint32_t)msg_size(m), .state = STORE_QUEUED,
			.qos = r->qos > 2 ? 2 : r->qos, .retain = r->retain != 0, .share = r->share };
		rc = entry_put(s, session->number, &e);
		if (rc != ERR_OK)
			return rc;
		session->now.messages++;
		session->now.bytes += e.size;
		++*n;
	}
	return ERR_OK;
}

/* The topic's retained message becomes record, or goes (payload empty). */
static enum err put_retained(struct store *s, uint64_t record, const struct msg *m, uint32_t *n)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t key[NAME_KEY_MAX];
	MDB_val v;
	enum err rc = name_find(&l->db, l->txn, T_RETAINED, NULL, 0, msg_topic(m), m->topic_len, 8, key, &v);
	if (rc == ERR_OK) {
		rc = message_unref(s, get_be(v.mv_data, 8)); /* v is not looked at after this */
		if (rc != ERR_OK)
			return rc;
		if (m->payload_len == 0)
			return db_del(s, T_RETAINED, key, 9);
	} else if (rc != ERR_NOT_FOUND) {
		return rc;
	}
	if (m->payload_len == 0)
		return ERR_OK;
	rc = scratch_reserve(l, 8 + (size_t)m->topic_len);
	if (rc != ERR_OK)
		return rc;
	put_be(l->scratch, record, 8);
	memcpy(l->scratch + 8, msg_topic(m), m->topic_len);
	++*n;
	return db_put(s, T_RETAINED, key, 9, l->scratch, 8 + (size_t)m->topic_len, 0);
}

/* Whether op's packet identifier is to be remembered, under key. ERR_EXISTS: it is already. */
static enum err check_received(struct store *s, const struct store_op *op, uint8_t key[static 6], bool *remember)
{
	*remember = op->u.publish.publisher && op->u.publish.packet_id && session_find(lmdb_of(s), op->u.publish.publisher);
	if (!*remember)
		return ERR_OK;
	MDB_val v;
	put_be(put_be(key, op->u.publish.publisher, 4), op->u.publish.packet_id, 2);
	enum err rc = db_get(s, T_RECEIVED, key, 6, &v);
	return rc == ERR_OK ? ERR_EXISTS : rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* The topic that keeps m in its past; NULL: none does. */
static enum err find_history(struct store *s, const struct store_op *op, struct stored_topic **topic)
{
	const struct msg *m = op->u.publish.msg;
	struct store_history_limits limits;
	*topic = NULL;
	if (!op->u.publish.history
	    || (s->options.history_limits && !s->options.history_limits(s->options.arg, msg_topic(m), m->topic_len, &limits)))
		return ERR_OK;
	*topic = topic_get(s, msg_topic(m), m->topic_len);
	return *topic ? ERR_OK : s->batch_error != ERR_OK ? s->batch_error : ERR_NOMEM;
}

static enum err store_all(struct store *s, struct store_op *op, struct stored_topic *topic)
{
	const struct msg *m = op->u.publish.msg;
	uint32_t n = 0;
	enum err rc = put_entries(s, op, &n);
	if (rc == ERR_OK && op->u.publish.retained)
		rc = put_retained(s, op->u.publish.record, m, &n);
	if (rc == ERR_OK && topic) {
		rc = history_append(s, topic, op->u.publish.record, m);
		n++;
	}
	return rc == ERR_OK && n > 0 ? message_put(s, op->u.publish.record, m, n) : rc;
}

enum err queue_publish(struct store *s, struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	const struct msg *m = op->u.publish.msg;
	uint8_t received[6];
	bool remember, stores = op->u.publish.n_receivers > 0 || op->u.publish.history || (op->u.publish.retained && m->payload_len > 0);
	struct stored_topic *topic;
	enum err rc = check_received(s, op, received, &remember);
	if (rc == ERR_OK && stores && (l->tight || s->refuse_messages || l->used + l->bytes_since_look > l->map_size - l->map_size / 20))
		rc = ERR_FULL;
	if (rc == ERR_OK)
		rc = check_reject(s, op, msg_size(m));
	if (rc == ERR_OK)
		rc = find_history(s, op, &topic);
	if (rc != ERR_OK)
		return rc;
	op->u.publish.record = ++s->last_record;
	if (remember)
		rc = db_put(s, T_RECEIVED, received, sizeof received, "", 1, 0);
	if (rc == ERR_OK)
		rc = store_all(s, op, topic);
	if (rc == ERR_OK && op->u.publish.will)
		rc = stored_will_remove(s, op->u.publish.will);
	if (rc != ERR_OK && s->batch_error == ERR_OK) /* a part of it is written */
		s->batch_error = rc;
	return rc;
}

/* ---- ending */

enum err queue_delete(struct store *s, store_session number, size_t max, bool *left)
{
	MDB_cursor *c;
	enum err rc = db_cursor(s, T_QUEUE, &c);
	if (rc != ERR_OK)
		return rc;
	uint8_t start[QUEUE_KEY];
	queue_key(start, number, 0);
	MDB_val k = { sizeof start, start }, v;
	int r = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	*left = false;
	for (; r == MDB_SUCCESS; r = mdb_cursor_get(c, &k, &v, MDB_NEXT), max--) {
		struct queue_entry e = { 0 };
		store_session owner = 0;
		rc = queue_entry_decode(&k, &v, &owner, &e);
		if (rc != ERR_OK || owner != number)
			break;
		if (max == 0) {
			*left = true;
			break;
		}
		r = mdb_cursor_del(c, 0);
		if (r != MDB_SUCCESS)
			break;
		if (e.state != STORE_PUBREL)
			rc = message_unref(s, e.record);
		if (rc != ERR_OK)
			break;
	}
	mdb_cursor_close(c);
	return rc != ERR_OK ? rc : r == MDB_SUCCESS || r == MDB_NOTFOUND ? ERR_OK : db_fail(s, r);
}

enum err dead_add(struct lmdb *l, store_session number)
{
	if (l->n_dead == l->dead_room) {
		size_t room = l->dead_room ? 2 * l->dead_room : 16;
		store_session *bigger = realloc(l->dead, room * sizeof *bigger);
		if (!bigger)
			return ERR_NOMEM;
		l->dead = bigger;
		l->dead_room = room;
	}
	l->dead[l->n_dead++] = number;
	return ERR_OK;
}

enum err dead_sweep(struct store *s, size_t max)
{
	struct lmdb *l = lmdb_of(s);
	if (l->n_dead == 0 || l->dead_finished)
		return ERR_OK;
	uint8_t key[4];
	bool left;
	store_session number = l->dead[l->n_dead - 1];
	enum err rc = queue_delete(s, number, max, &left);
	if (rc != ERR_OK || left)
		return rc;
	put_be(key, number, 4);
	rc = db_del(s, T_DEAD, key, sizeof key);
	if (rc == ERR_OK || rc == ERR_NOT_FOUND)
		l->dead_finished = true;
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err queue_count(struct store *s, MDB_txn *txn)
{
	struct lmdb *l = lmdb_of(s);
	MDB_cursor *c;
	int r = mdb_cursor_open(txn, l->db.t[T_QUEUE], &c);
	if (r != MDB_SUCCESS)
		return db_err(r);
	MDB_val k, v;
	struct stored_session *session = NULL;
	enum err rc = ERR_OK;
	while (rc == ERR_OK && (r = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == MDB_SUCCESS) {
		struct queue_entry e = { 0 };
		store_session owner = 0;
		rc = queue_entry_decode(&k, &v, &owner, &e);
		if (rc != ERR_OK)
			break;
		if (!session || session->number != owner)
			session = session_find(l, owner); /* none: of an ended one, to be swept */
		if (session && e.state != STORE_PUBREL) {
			session->now.messages++;
			session->now.bytes += e.size;
		}
	}
	mdb_cursor_close(c);
	return rc != ERR_OK ? rc : r == MDB_NOTFOUND ? ERR_OK : db_err(r);
}
