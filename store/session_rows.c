/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rows of sessions on disk, their subscriptions, wills and received QoS 2 packets. Writer thread, in a transaction. */
#include "store/lmdb_int.h"

#include <stdlib.h>

#define DELETE_AT_ONCE 1000u /* a queue up to that length goes with its session */

enum err session_decode(const MDB_val *k, const MDB_val *v, struct session_record *out)
{
	const uint8_t *p = v->mv_data;
	if (k->mv_size != 4 || v->mv_size < SESSION_HEAD || p[0] != FORMAT_VERSION)
		return ERR_CORRUPT;
	*out = (struct session_record){ .number = (store_session)get_be(k->mv_data, 4), .flags = p[1], .client_id_len = (size_t)get_be(p + 2, 2),
		.cn_len = (size_t)get_be(p + 4, 2), .expiry_s = get_be(p + 8, 8), .time_ms = get_be(p + 16, 8) };
	out->client_id = (const char *)p + SESSION_HEAD;
	out->cn = out->client_id + out->client_id_len;
	return v->mv_size == SESSION_HEAD + out->client_id_len + out->cn_len ? ERR_OK : ERR_CORRUPT;
}

static enum err session_put(struct store *s, const struct store_op *op, bool over_quota)
{
	struct lmdb *l = lmdb_of(s);
	size_t id_len = op->u.session.client_id_len, cn_len = op->u.session.cn_len;
	enum err rc = scratch_reserve(l, SESSION_HEAD + id_len + cn_len);
	if (rc != ERR_OK)
		return rc;
	uint8_t *p = l->scratch, key[4];
	p[0] = FORMAT_VERSION;
	p[1] = (uint8_t)((op->u.session.connected ? SESSION_CONNECTED : 0) | (over_quota ? SESSION_OVER_QUOTA : 0));
	p = put_be(put_be(put_be(p + 2, id_len, 2), cn_len, 2), 0, 2);
	p = put_be(put_be(p, op->u.session.expiry_s, 8), op->u.session.time_ms, 8);
	if (id_len)
		memcpy(p, op->u.session.client_id, id_len);
	if (cn_len)
		memcpy(p + id_len, op->u.session.cn, cn_len);
	put_be(key, op->u.session.number, 4);
	return db_put(s, T_SESSIONS, key, sizeof key, l->scratch, SESSION_HEAD + id_len + cn_len, 0);
}

enum err stored_session_new(struct store *s, const struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	if (op->u.session.client_id_len > UINT16_MAX || op->u.session.cn_len > UINT16_MAX)
		return ERR_INVALID;
	if (l->very_tight)
		return ERR_FULL;
	enum err rc = store_number_take(s, op->u.session.number);
	if (rc != ERR_OK)
		return rc;
	struct stored_session *session = session_add(l, op->u.session.number);
	if (!session) {
		store_number_release(s, op->u.session.number);
		return ERR_NOMEM;
	}
	session_touch(l, session);
	session->created = true;
	rc = session_put(s, op, false);
	if (rc != ERR_OK && s->batch_error == ERR_OK)
		s->batch_error = rc; /* what is in memory is undone with the batch */
	return rc;
}

enum err stored_session_state(struct store *s, const struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t key[4];
	MDB_val v;
	put_be(key, op->u.session.number, 4);
	enum err rc = session_find(l, op->u.session.number) ? db_get(s, T_SESSIONS, key, sizeof key, &v) : ERR_NOT_FOUND;
	if (rc == ERR_OK)
		rc = v.mv_size < SESSION_HEAD ? ERR_CORRUPT : scratch_reserve(l, v.mv_size);
	if (rc != ERR_OK)
		return rc;
	memcpy(l->scratch, v.mv_data, v.mv_size);
	l->scratch[1] = (uint8_t)((l->scratch[1] & ~SESSION_CONNECTED) | (op->u.session.connected ? SESSION_CONNECTED : 0));
	put_be(put_be(l->scratch + 8, op->u.session.expiry_s, 8), op->u.session.time_ms, 8);
	return db_put(s, T_SESSIONS, key, sizeof key, l->scratch, v.mv_size, 0);
}

/* Deletes every key of t that begins with the session's number. */
static enum err delete_of_session(struct store *s, enum table t, store_session number)
{
	MDB_cursor *c;
	enum err rc = db_cursor(s, t, &c);
	if (rc != ERR_OK)
		return rc;
	uint8_t start[4];
	put_be(start, number, 4);
	MDB_val k = { sizeof start, start }, v;
	int r = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	while (r == MDB_SUCCESS && k.mv_size >= sizeof start && memcmp(k.mv_data, start, sizeof start) == 0) {
		r = mdb_cursor_del(c, 0);
		if (r == MDB_SUCCESS)
			r = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(c);
	return r == MDB_SUCCESS || r == MDB_NOTFOUND ? ERR_OK : db_fail(s, r);
}

bool will_row_read(const MDB_val *v, struct will_row *out)
{
	*out = (struct will_row){ 0 };
	if (v->mv_size < WILL_HEAD)
		return false;
	uint64_t head = get_be(v->mv_data, 8);
	size_t at = WILL_HEAD + (head & WILL_FINGERPRINT ? STORE_FINGERPRINT : 0);
	if (v->mv_size < at)
		return false;
	const uint8_t *p = v->mv_data;
	*out = (struct will_row){ head & ~WILL_FINGERPRINT, at > WILL_HEAD ? p + WILL_HEAD : NULL, (const char *)p + at, v->mv_size - at };
	return true;
}

enum err stored_will_remove(struct store *s, uint64_t number)
{
	uint8_t key[WILL_KEY];
	MDB_val v;
	put_be(key, number, 8);
	enum err rc = db_get(s, T_WILLS, key, sizeof key, &v);
	if (rc != ERR_OK)
		return rc == ERR_NOT_FOUND ? ERR_OK : rc;
	struct will_row row;
	uint64_t record = will_row_read(&v, &row) ? row.record : 0;
	rc = db_del(s, T_WILLS, key, sizeof key);
	return rc == ERR_OK ? message_unref(s, record) : rc;
}

enum err stored_will_put(struct store *s, const struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	size_t id_len = op->u.will.client_id_len;
	const uint8_t *fingerprint = op->u.will.fingerprint;
	size_t head = WILL_HEAD + (fingerprint ? STORE_FINGERPRINT : 0);
	if (l->very_tight || s->refuse_messages)
		return ERR_FULL;
	uint8_t key[WILL_KEY];
	enum err rc = scratch_reserve(l, head + id_len);
	if (rc == ERR_OK)
		rc = stored_will_remove(s, op->u.will.number);
	if (rc != ERR_OK)
		return rc;
	put_be(key, op->u.will.number, 8);
	put_be(l->scratch, ++s->last_record | (fingerprint ? WILL_FINGERPRINT : 0), 8);
	if (fingerprint)
		memcpy(l->scratch + WILL_HEAD, fingerprint, STORE_FINGERPRINT);
	if (id_len)
		memcpy(l->scratch + head, op->u.will.client_id, id_len);
	rc = db_put(s, T_WILLS, key, sizeof key, l->scratch, head + id_len, 0);
	return rc == ERR_OK ? message_put(s, s->last_record, op->u.will.msg, 1) : rc;
}

/* Everything of the session but a long queue, which goes piece by piece, and one that is to be handed on. */
static enum err session_delete(struct store *s, store_session number, bool hand_on, bool *swept)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t key[4];
	bool left = false;
	put_be(key, number, 4);
	enum err rc = db_del(s, T_SESSIONS, key, sizeof key);
	if (rc == ERR_OK || rc == ERR_NOT_FOUND)
		rc = delete_of_session(s, T_SUBSCRIPTIONS, number);
	if (rc == ERR_OK)
		rc = delete_of_session(s, T_REPLAYS, number);
	if (rc == ERR_OK)
		rc = delete_of_session(s, T_RECEIVED, number);
	*swept = false;
	if (rc == ERR_OK && hand_on)
		return db_put(s, T_DEAD, key, sizeof key, &(uint8_t){ DEAD_HAND_ON }, 1, 0);
	if (rc == ERR_OK)
		rc = queue_delete(s, number, DELETE_AT_ONCE, &left);
	*swept = rc == ERR_OK && !left;
	if (rc != ERR_OK || !left)
		return rc;
	rc = dead_add(l, number);
	return rc == ERR_OK ? db_put(s, T_DEAD, key, sizeof key, "", 1, 0) : rc;
}

/* Its queue has been handed on: what is left of it goes piece by piece. */
static enum err handed_on(struct store *s, store_session number)
{
	uint8_t key[4];
	MDB_val v;
	put_be(key, number, 4);
	enum err rc = db_get(s, T_DEAD, key, sizeof key, &v);
	if (rc != ERR_OK)
		return rc == ERR_NOT_FOUND ? ERR_OK : rc;
	if (!is_to_hand_on(&v))
		return ERR_OK;
	rc = dead_add(lmdb_of(s), number);
	return rc == ERR_OK ? db_put(s, T_DEAD, key, sizeof key, "", 1, 0) : rc;
}

enum err stored_session_end(struct store *s, store_session number, bool hand_on)
{
	struct lmdb *l = lmdb_of(s);
	struct stored_session *session = session_find(l, number);
	if (!session)
		return hand_on ? ERR_OK : handed_on(s, number);
	session_touch(l, session);
	session->ended = true;
	map_remove(&l->sessions, &session->node);
	enum err rc = session_delete(s, number, hand_on, &session->swept);
	if (rc != ERR_OK && s->batch_error == ERR_OK)
		s->batch_error = rc;
	return rc;
}

/* What the transaction did to sessions in memory becomes final, or is undone. */
void stored_sessions_settle(struct store *s, bool committed)
{
	struct lmdb *l = lmdb_of(s);
	while (l->touched_sessions) {
		struct stored_session *session = l->touched_sessions;
		l->touched_sessions = session->next_touched;
		session->touched = false;
		bool gone = committed ? session->ended : session->created;
		if (gone) {
			if (!session->ended)
				map_remove(&l->sessions, &session->node);
			if (!committed || session->swept)
				store_number_release(s, session->number);
			free(session);
			continue;
		}
		if (!committed) {
			session->now = session->saved;
			if (session->ended)
				map_insert(&l->sessions, &session->node, map_hash_u64(session->number));
		}
		session->created = session->ended = session->swept = false;
	}
}

/* ---- subscriptions */

enum err stored_subscribe(struct store *s, const struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	if (!session_find(l, op->u.subscription.session))
		return ERR_NOT_FOUND;
	uint8_t prefix[4], key[NAME_KEY_MAX];
	MDB_val v;
	const uint8_t *filter = op->u.subscription.filter;
	size_t len = op->u.subscription.filter_len;
	put_be(prefix, op->u.subscription.session, 4);
	enum err rc = name_find(&l->db, l->txn, T_SUBSCRIPTIONS, prefix, 4, filter, len, SUBSCRIPTION_HEAD, key, &v);
	if (op->verb == STORE_UNSUBSCRIBE) {
		if (rc == ERR_OK)
			rc = db_del(s, T_SUBSCRIPTIONS, key, sizeof key);
		return rc == ERR_OK ? past_end(s, op->u.subscription.session, filter, len) : rc == ERR_NOT_FOUND ? ERR_OK : rc;
	}
	if (l->very_tight)
		return ERR_FULL;
	if (rc == ERR_OK || rc == ERR_NOT_FOUND)
		rc = scratch_reserve(l, SUBSCRIPTION_HEAD + len);
	if (rc != ERR_OK)
		return rc;
	put_be(l->scratch, op->u.subscription.sub_id, 4);
	l->scratch[4] = op->u.subscription.options;
	memcpy(l->scratch + SUBSCRIPTION_HEAD, filter, len);
	rc = db_put(s, T_SUBSCRIPTIONS, key, sizeof key, l->scratch, SUBSCRIPTION_HEAD + len, 0);
	if (rc == ERR_OK && op->u.subscription.past) {
		rc = past_begin(s, op->u.subscription.session, filter, len, op->u.subscription.past);
		if (rc != ERR_OK && s->batch_error == ERR_OK) /* half of the operation is written */
			s->batch_error = rc;
	}
	return rc;
}

enum err stored_qos2_done(struct store *s, const struct store_op *op)
{
	if (!session_find(lmdb_of(s), op->u.delivery.session))
		return ERR_NOT_FOUND;
	uint8_t key[6];
	put_be(put_be(key, op->u.delivery.session, 4), op->u.delivery.packet_id, 2);
	enum err rc = db_del(s, T_RECEIVED, key, sizeof key);
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}
