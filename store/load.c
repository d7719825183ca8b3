/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the broker is told of the store when it starts: sessions, subscriptions, replays, retained messages, wills. Before the threads
 * start. */
#include "store/lmdb_int.h"

#include "base/clock.h"

struct loading {
	const struct store_loader *loader;
	void *arg;
	uint64_t now_ms;
};

static enum err load_session(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)s, (void)txn;
	struct loading *g = arg;
	struct session_record r;
	enum err rc = session_decode(k, v, &r);
	if (rc != ERR_OK || r.flags & SESSION_OVER_QUOTA || !g->loader->session)
		return rc;
	return g->loader->session(g->arg, r.number, r.client_id, r.client_id_len, r.cn, r.cn_len, r.expiry_s,
	    r.flags & SESSION_CONNECTED ? g->now_ms : r.time_ms);
}

/* Whether rows of that session are told: not of one that lost a message and so has ended. */
static bool is_alive(struct store *s, store_session number)
{
	const struct stored_session *session = session_find(lmdb_of(s), number);
	return session && !session->now.over_quota;
}

static enum err load_subscription(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)txn;
	struct loading *g = arg;
	const uint8_t *p = v->mv_data;
	if (k->mv_size != NAME_KEY_MAX || v->mv_size < SUBSCRIPTION_HEAD)
		return ERR_CORRUPT;
	store_session number = (store_session)get_be(k->mv_data, 4);
	if (!g->loader->subscription || !is_alive(s, number))
		return ERR_OK;
	return g->loader->subscription(g->arg, number, p + SUBSCRIPTION_HEAD, v->mv_size - SUBSCRIPTION_HEAD, p[4], (uint32_t)get_be(p, 4));
}

static enum err load_replay(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)txn;
	struct loading *g = arg;
	store_session number;
	struct store_past p;
	enum err rc = past_row_decode(k, v, &number, &p);
	if (rc != ERR_OK || !g->loader->past || !is_alive(s, number))
		return rc;
	return g->loader->past(g->arg, number, (const uint8_t *)v->mv_data + REPLAY_HEAD, v->mv_size - REPLAY_HEAD, &p);
}

static enum err load_received(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)txn, (void)v;
	struct loading *g = arg;
	const uint8_t *p = k->mv_data;
	if (k->mv_size != 6)
		return ERR_CORRUPT;
	store_session number = (store_session)get_be(p, 4);
	if (!g->loader->qos2_received || !is_alive(s, number))
		return ERR_OK;
	return g->loader->qos2_received(g->arg, number, (uint16_t)get_be(p + 4, 2));
}

/* ERR_NOT_FOUND: it does not verify, was reported, and is left out. */
static enum err load_message(struct store *s, MDB_txn *txn, uint64_t record, struct msg **m)
{
	enum err rc = message_get(&lmdb_of(s)->db, s->options.crypto, txn, record, m);
	if (rc != ERR_CORRUPT && rc != ERR_NOT_FOUND)
		return rc;
	store_count(&s->corrupt, 1);
	if (s->options.record_failed)
		s->options.record_failed(s->options.arg, record);
	return ERR_NOT_FOUND;
}

static enum err load_retained(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)k;
	struct loading *g = arg;
	struct msg *m;
	if (v->mv_size < 8)
		return ERR_CORRUPT;
	enum err rc = g->loader->retained ? load_message(s, txn, get_be(v->mv_data, 8), &m) : ERR_NOT_FOUND;
	if (rc != ERR_OK)
		return rc == ERR_NOT_FOUND ? ERR_OK : rc;
	rc = g->loader->retained(g->arg, m);
	msg_unref(m);
	return rc;
}

static enum err load_will(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	struct loading *g = arg;
	struct msg *m;
	struct will_row row;
	if (!will_row_read(v, &row) || k->mv_size != WILL_KEY)
		return ERR_CORRUPT;
	enum err rc = g->loader->will ? load_message(s, txn, row.record, &m) : ERR_NOT_FOUND;
	if (rc != ERR_OK)
		return rc == ERR_NOT_FOUND ? ERR_OK : rc;
	rc = g->loader->will(g->arg, get_be(k->mv_data, 8), row.client_id, row.client_id_len, row.fingerprint, m);
	msg_unref(m);
	return rc;
}

static enum err load_dead(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)s, (void)txn;
	const struct loading *g = arg;
	return g->loader->hand_on && is_to_hand_on(v) ? g->loader->hand_on(g->arg, (store_session)get_be(k->mv_data, 4)) : ERR_OK;
}

/* Sessions that were over their quota when the process ended have ended with it. */
static enum err end_over_quota(struct store *s, bool hand_on)
{
	struct lmdb *l = lmdb_of(s);
	store_session number = 0;
	do {
		number = 0;
		for (size_t i = 0; i <= l->sessions.mask && !number; i++)
			for (struct map_node *n = l->sessions.buckets[i]; n && !number; n = n->next)
				if (MAP_OF(n, struct stored_session, node)->now.over_quota)
					number = MAP_OF(n, struct stored_session, node)->number;
		if (!number)
			break;
		s->batch_error = ERR_OK;
		enum err rc = txn_begin(s);
		if (rc == ERR_OK)
			rc = stored_session_end(s, number, hand_on);
		if (rc == ERR_OK)
			rc = txn_finish(s);
		else
			txn_abort(s);
		if (rc != ERR_OK)
			return rc;
	} while (number);
	return ERR_OK;
}

enum err lmdb_load(struct store *s, const struct store_loader *loader, void *arg)
{
	static const struct { enum table t; row_fn f; } steps[] = {
		{ T_SESSIONS, load_session }, { T_SUBSCRIPTIONS, load_subscription }, { T_REPLAYS, load_replay }, { T_RECEIVED, load_received },
		{ T_RETAINED, load_retained }, { T_WILLS, load_will }, { T_DEAD, load_dead },
	};
	struct loading g = { .loader = loader, .arg = arg, .now_ms = clock_wall_ms() };
	MDB_txn *txn;
	enum err rc = end_over_quota(s, loader->hand_on != NULL);
	if (rc != ERR_OK)
		return rc;
	rc = db_err(mdb_txn_begin(lmdb_of(s)->db.env, NULL, MDB_RDONLY, &txn));
	if (rc != ERR_OK)
		return rc;
	for (size_t i = 0; i < sizeof steps / sizeof *steps && rc == ERR_OK; i++)
		rc = each_row(s, txn, steps[i].t, steps[i].f, &g);
	mdb_txn_abort(txn);
	return rc;
}
