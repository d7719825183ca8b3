/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How far the past of a session's new subscriptions has been brought: a row for each replay that is not over, and the queue entries of its QoS 2
 * messages. Writer thread, in a transaction. */
#include "store/lmdb_int.h"

static void past_encode(uint8_t value[static REPLAY_HEAD], const struct store_past *p)
{
	put_be(put_be(put_be(put_be(put_be(value, p->after, 8), p->sent, 8), p->upto, 8), p->newest, 8), p->since_ms, 8);
}

static void past_decode(const uint8_t *value, struct store_past *p)
{
	*p = (struct store_past){ .after = get_be(value, 8), .sent = get_be(value + 8, 8), .upto = get_be(value + 16, 8),
		.newest = get_be(value + 24, 8), .since_ms = get_be(value + 32, 8) };
}

enum err past_row_decode(const MDB_val *k, const MDB_val *v, store_session *session, struct store_past *p)
{
	if (k->mv_size != NAME_KEY_MAX || v->mv_size < REPLAY_HEAD)
		return ERR_CORRUPT;
	*session = (store_session)get_be(k->mv_data, 4);
	past_decode(v->mv_data, p);
	return ERR_OK;
}

/* ERR_NOT_FOUND: key is where the row would go. */
static enum err find(struct store *s, store_session session, const uint8_t *filter, size_t len, uint8_t key[static NAME_KEY_MAX], MDB_val *v)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t prefix[4];
	put_be(prefix, session, 4);
	return name_find(&l->db, l->txn, T_REPLAYS, prefix, sizeof prefix, filter, len, REPLAY_HEAD, key, v);
}

static enum err put(struct store *s, const uint8_t key[static NAME_KEY_MAX], const struct store_past *p, const uint8_t *filter, size_t len)
{
	struct lmdb *l = lmdb_of(s);
	enum err rc = scratch_reserve(l, REPLAY_HEAD + len);
	if (rc != ERR_OK)
		return rc;
	past_encode(l->scratch, p);
	memcpy(l->scratch + REPLAY_HEAD, filter, len);
	return db_put(s, T_REPLAYS, key, NAME_KEY_MAX, l->scratch, REPLAY_HEAD + len, 0);
}

enum err past_begin(struct store *s, store_session session, const uint8_t *filter, size_t len, const struct store_past *p)
{
	uint8_t key[NAME_KEY_MAX];
	MDB_val v;
	struct store_past now = *p;
	enum err rc = find(s, session, filter, len, key, &v);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return rc;
	if (now.upto == 0)
		now.upto = s->last_record;
	if (now.upto == 0) /* there is nothing to choose among */
		now.newest = now.since_ms = 0;
	return put(s, key, &now, filter, len);
}

enum err past_end(struct store *s, store_session session, const uint8_t *filter, size_t len)
{
	uint8_t key[NAME_KEY_MAX];
	MDB_val v;
	enum err rc = find(s, session, filter, len, key, &v);
	return rc == ERR_OK ? db_del(s, T_REPLAYS, key, sizeof key) : rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err past_move(struct store *s, const struct store_op *op)
{
	uint8_t key[NAME_KEY_MAX];
	MDB_val v;
	struct store_past p;
	if (op->u.past.over)
		return past_end(s, op->u.past.session, op->u.past.filter, op->u.past.filter_len);
	enum err rc = find(s, op->u.past.session, op->u.past.filter, op->u.past.filter_len, key, &v);
	if (rc != ERR_OK)
		return rc;
	past_decode(v.mv_data, &p);
	p.after = op->u.past.after;
	return put(s, key, &p, op->u.past.filter, op->u.past.filter_len);
}

enum err past_sent(struct store *s, const struct store_op *op)
{
	uint8_t key[NAME_KEY_MAX];
	MDB_val v;
	struct store_past p;
	struct stored_session *session = session_find(lmdb_of(s), op->u.past.session);
	struct queue_entry e = { .record = op->u.past.record, .size = op->u.past.size, .state = STORE_INFLIGHT, .qos = 2, .retain = 1,
		.packet_id = op->u.past.packet_id };
	if (!session)
		return ERR_NOT_FOUND;
	enum err rc = queue_insert(s, session, &e);
	if (rc != ERR_OK)
		return rc;
	rc = find(s, session->number, op->u.past.filter, op->u.past.filter_len, key, &v);
	if (rc == ERR_NOT_FOUND) /* unsubscribed meanwhile */
		return ERR_OK;
	if (rc == ERR_OK) {
		past_decode(v.mv_data, &p);
		p.sent = e.record;
		rc = put(s, key, &p, op->u.past.filter, op->u.past.filter_len);
	}
	if (rc != ERR_OK && s->batch_error == ERR_OK) /* half of the operation is written */
		s->batch_error = rc;
	return rc;
}
