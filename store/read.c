/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages of queues and of history, read on the reader thread in a transaction of their own. */
#include "store/lmdb_int.h"

#include "base/pool.h"

#include <stdlib.h>

#define LOOKED_AT_MAX 100000u /* history entries one read passes over at most: a sparse filter must not hold up others' pages */

/* What a page collects. */
struct page {
	struct store_entry *entries;
	uint32_t n, max;
	size_t room;
	uint64_t bytes, max_bytes;
	bool full;                   /* the next entry does not fit any more */
};

static void page_start(struct page *p, uint32_t max_entries, uint64_t max_bytes)
{
	*p = (struct page){ .max = max_entries ? max_entries : 1, .max_bytes = max_bytes };
}

/* Takes e in, with its message; false (full, and e's message is the caller's) when it does not fit. */
static enum err page_add(struct page *p, const struct store_entry *e)
{
	uint64_t size = e->msg ? msg_size(e->msg) : 0;
	if (p->n == p->max || (p->n > 0 && p->bytes + size > p->max_bytes)) {
		p->full = true;
		return ERR_OK;
	}
	if (p->n == p->room) {
		size_t room = p->room ? 2 * p->room : 16;
		struct store_entry *bigger = pool_realloc(p->entries, room * sizeof *bigger);
		if (!bigger)
			return ERR_NOMEM;
		p->entries = bigger;
		p->room = room;
	}
	p->entries[p->n++] = *e;
	p->bytes += size;
	return ERR_OK;
}

static void page_drop(struct page *p)
{
	for (uint32_t i = 0; i < p->n; i++)
		msg_unref(p->entries[i].msg);
	pool_free(p->entries);
	p->entries = NULL;
	p->n = 0;
}

/* The message; NULL in *m when it failed verification (counted and reported). */
static enum err get_message(struct store *s, MDB_txn *txn, uint64_t record, struct msg **m)
{
	enum err rc = message_get(&lmdb_of(s)->db, s->options.crypto, txn, record, m);
	if (rc != ERR_CORRUPT && rc != ERR_NOT_FOUND)
		return rc;
	*m = NULL;
	store_count(&s->corrupt, 1);
	if (s->options.record_failed)
		s->options.record_failed(s->options.arg, record);
	return ERR_OK;
}

static uint64_t last_record(const struct db *db, MDB_txn *txn)
{
	MDB_val k = { 6, (void *)(uintptr_t)"record" }, v;
	return mdb_get(txn, db->t[T_META], &k, &v) == MDB_SUCCESS && v.mv_size == 8 ? get_be(v.mv_data, 8) : 0;
}

/* ---- queues */

static enum err add_queue_entry(struct store *s, MDB_txn *txn, struct page *p, const struct queue_entry *q)
{
	struct store_entry e = { .record = q->record, .sub_id = q->sub_id, .packet_id = q->packet_id, .qos = q->qos, .retain = q->retain,
		.state = q->state, .share = q->share };
	if (p->n == p->max || (p->n > 0 && p->bytes + q->size > p->max_bytes)) { /* before its message is read in vain */
		p->full = true;
		return ERR_OK;
	}
	if (q->state != STORE_PUBREL) {
		enum err rc = get_message(s, txn, q->record, &e.msg);
		if (rc != ERR_OK || !e.msg)
			return rc;
	}
	enum err rc = page_add(p, &e);
	if (rc != ERR_OK || p->full)
		msg_unref(e.msg);
	return rc;
}

static bool session_known(const struct db *db, MDB_txn *txn, store_session session)
{
	uint8_t key[4];
	put_be(key, session, 4);
	MDB_val k = { sizeof key, key }, v;
	return mdb_get(txn, db->t[T_SESSIONS], &k, &v) == MDB_SUCCESS || (mdb_get(txn, db->t[T_DEAD], &k, &v) == MDB_SUCCESS && is_to_hand_on(&v));
}

enum err read_page(struct store *s, struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	MDB_txn *txn = l->read_txn;
	op->u.page.last_record = last_record(&l->db, txn);
	op->u.page.end = true;
	if (!session_known(&l->db, txn, op->u.page.session))
		return ERR_NOT_FOUND;
	if (op->u.page.after == UINT64_MAX)
		return ERR_OK;
	MDB_cursor *c;
	int r = mdb_cursor_open(txn, l->db.t[T_QUEUE], &c);
	if (r != MDB_SUCCESS)
		return db_err(r);
	uint8_t start[QUEUE_KEY];
	queue_key(start, op->u.page.session, op->u.page.after + 1);
	MDB_val k = { sizeof start, start }, v;
	struct page p;
	page_start(&p, op->u.page.max_entries, op->u.page.max_bytes);
	enum err rc = ERR_OK;
	for (r = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE); r == MDB_SUCCESS; r = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		struct queue_entry q;
		store_session owner;
		rc = queue_entry_decode(&k, &v, &owner, &q);
		if (rc != ERR_OK || owner != op->u.page.session)
			break;
		rc = add_queue_entry(s, txn, &p, &q);
		if (rc != ERR_OK || p.full)
			break;
	}
	mdb_cursor_close(c);
	if (rc == ERR_OK && r != MDB_SUCCESS && r != MDB_NOTFOUND)
		rc = db_err(r);
	if (rc != ERR_OK) {
		page_drop(&p);
		return rc;
	}
	op->u.page.entries = p.entries;
	op->u.page.n_entries = p.n;
	op->u.page.end = !p.full;
	return ERR_OK;
}

/* ---- history */

/* Which topics a read is about: one, or those that match; what match said is remembered per topic identifier. */
struct selection {
	struct store *s;
	MDB_txn *txn;
	const struct store_op *op;
	bool one;
	uint32_t topic;              /* with one */
	uint8_t *known;              /* per topic 2 bits: asked, yes */
	size_t n_known;              /* topics */
	enum err rc;
};

static bool ask(struct selection *sel, uint32_t topic)
{
	uint8_t key[4];
	put_be(key, topic, 4);
	MDB_val k = { sizeof key, key }, v;
	if (mdb_get(sel->txn, lmdb_of(sel->s)->db.t[T_TOPICS], &k, &v) != MDB_SUCCESS || v.mv_size < TOPIC_HEAD)
		return false;
	return sel->op->u.history.match(sel->op->u.history.match_arg, (const uint8_t *)v.mv_data + TOPIC_HEAD, v.mv_size - TOPIC_HEAD);
}

static bool selected(struct selection *sel, uint32_t topic)
{
	if (sel->one)
		return true; /* its own index has no others */
	if (topic >= sel->n_known) {
		size_t n = (size_t)topic + topic / 2 + 1024;
		uint8_t *bigger = realloc(sel->known, n / 4 + 1);
		if (!bigger) {
			sel->rc = ERR_NOMEM;
			return false;
		}
		memset(bigger + (sel->known ? sel->n_known / 4 + 1 : 0), 0, n / 4 + 1 - (sel->known ? sel->n_known / 4 + 1 : 0));
		sel->known = bigger;
		sel->n_known = n;
	}
	unsigned shift = topic % 4 * 2, bits = ((unsigned)sel->known[topic / 4] >> shift) & 3u;
	if (!(bits & 1)) {
		bits = ask(sel, topic) ? 3 : 1;
		sel->known[topic / 4] = (uint8_t)(sel->known[topic / 4] | bits << shift);
	}
	return bits & 2;
}

/* One step over the index in use: by topic (keys: topic 4, record 8; values: time 8, size 4), or over all (record 8; time 8, topic 4). */
struct row {
	uint64_t record, time_ms;
	uint32_t topic;
};

static bool row_decode(const struct selection *sel, const MDB_val *k, const MDB_val *v, struct row *out)
{
	const uint8_t *key = k->mv_data, *value = v->mv_data;
	if (v->mv_size != HISTORY_VALUE || k->mv_size != (sel->one ? HISTORY_KEY : 8))
		return false;
	*out = sel->one ? (struct row){ get_be(key + 4, 8), get_be(value, 8), (uint32_t)get_be(key, 4) }
	    : (struct row){ get_be(key, 8), get_be(value, 8), (uint32_t)get_be(value + 8, 4) };
	return !sel->one || out->topic == sel->topic;
}

static int seek(const struct selection *sel, MDB_cursor *c, uint64_t record, MDB_val *k, MDB_val *v, uint8_t key[static HISTORY_KEY])
{
	put_be(put_be(key, sel->topic, 4), record, 8);
	*k = sel->one ? (MDB_val){ HISTORY_KEY, key } : (MDB_val){ 8, key + 4 };
	return mdb_cursor_get(c, k, v, MDB_SET_RANGE);
}

/* The last row of the selection's index whose record is at most that. */
static int seek_last(const struct selection *sel, MDB_cursor *c, uint64_t record, MDB_val *k, MDB_val *v, uint8_t key[static HISTORY_KEY])
{
	int r = seek(sel, c, record == UINT64_MAX ? record : record + 1, k, v, key);
	return r == MDB_SUCCESS ? mdb_cursor_get(c, k, v, MDB_PREV) : r == MDB_NOTFOUND ? mdb_cursor_get(c, k, v, MDB_LAST) : r;
}

/* Walks back from the end to where since_ms and newest let the read begin: the record to begin with. The walk costs what the read itself
 * will. */
static uint64_t find_start(struct selection *sel, MDB_cursor *c)
{
	const struct store_op *op = sel->op;
	uint64_t since = op->u.history.since_ms, newest = op->u.history.newest, n = 0;
	uint64_t last = op->u.history.upto ? op->u.history.upto : UINT64_MAX, start = last == UINT64_MAX ? last : last + 1;
	if (!since && !newest)
		return 0;
	uint8_t key[HISTORY_KEY];
	MDB_val k, v;
	struct row row;
	for (int r = seek_last(sel, c, last, &k, &v, key); r == MDB_SUCCESS && row_decode(sel, &k, &v, &row); r = mdb_cursor_get(c, &k, &v, MDB_PREV)) {
		if (row.time_ms < since)
			break;
		if (!selected(sel, row.topic))
			continue;
		start = row.record;
		if (newest && ++n == newest)
			break;
	}
	return start;
}

static bool is_queued(const struct selection *sel, store_session session, uint64_t record)
{
	uint8_t key[QUEUE_KEY];
	queue_key(key, session, record);
	MDB_val k = { sizeof key, key }, v;
	return mdb_get(sel->txn, lmdb_of(sel->s)->db.t[T_QUEUE], &k, &v) == MDB_SUCCESS;
}

static enum err collect(struct selection *sel, MDB_cursor *c, uint64_t start, struct page *p, struct store_op *op)
{
	uint8_t key[HISTORY_KEY];
	MDB_val k, v;
	struct row row;
	uint32_t looked_at = 0;
	int r = seek(sel, c, start, &k, &v, key);
	for (; r == MDB_SUCCESS && row_decode(sel, &k, &v, &row); r = mdb_cursor_get(c, &k, &v, MDB_NEXT)) {
		if (++looked_at > LOOKED_AT_MAX)
			return ERR_OK;
		if (selected(sel, row.topic)) {
			struct store_entry e = { .record = row.record };
			enum err rc = get_message(sel->s, sel->txn, row.record, &e.msg);
			if (rc != ERR_OK)
				return rc;
			if (e.msg) {
				e.qos = e.msg->qos;
				if (op->u.history.session && is_queued(sel, op->u.history.session, row.record))
					e.state = STORE_ELSEWHERE;
				rc = page_add(p, &e);
				if (rc != ERR_OK || p->full) {
					msg_unref(e.msg);
					return rc;
				}
			}
		}
		op->u.history.next = row.record;
	}
	op->u.history.end = true;
	return r == MDB_SUCCESS || r == MDB_NOTFOUND ? ERR_OK : db_err(r);
}

static enum err select_topic(struct selection *sel, bool *none)
{
	const struct store_op *op = sel->op;
	uint8_t key[NAME_KEY_MAX];
	MDB_val v;
	*none = false;
	sel->one = op->u.history.topic != NULL;
	if (!sel->one)
		return ERR_OK;
	enum err rc = name_find(&lmdb_of(sel->s)->db, sel->txn, T_TOPIC_NAMES, NULL, 0, op->u.history.topic, op->u.history.topic_len, 4, key, &v);
	*none = rc == ERR_NOT_FOUND;
	if (rc == ERR_OK)
		sel->topic = (uint32_t)get_be(v.mv_data, 4);
	return *none ? ERR_OK : rc;
}

enum err read_history(struct store *s, struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	struct selection sel = { .s = s, .txn = l->read_txn, .op = op };
	bool none;
	op->u.history.last_record = last_record(&l->db, sel.txn);
	op->u.history.next = op->u.history.after;
	op->u.history.end = false;
	enum err rc = select_topic(&sel, &none);
	if (rc != ERR_OK || none) {
		op->u.history.end = none;
		return rc;
	}
	MDB_cursor *c;
	int r = mdb_cursor_open(sel.txn, l->db.t[sel.one ? T_HISTORY : T_HISTORY_ALL], &c);
	if (r != MDB_SUCCESS)
		return db_err(r);
	struct page p;
	page_start(&p, op->u.history.max_entries, op->u.history.max_bytes);
	uint64_t start = op->u.history.after ? op->u.history.after + 1 : find_start(&sel, c);
	rc = collect(&sel, c, start, &p, op);
	if (rc == ERR_OK)
		rc = sel.rc;
	mdb_cursor_close(c);
	free(sel.known);
	if (rc != ERR_OK) {
		page_drop(&p);
		return rc;
	}
	if (start > 0 && op->u.history.next < start - 1) /* so that the next read does not look for its start again */
		op->u.history.next = start == UINT64_MAX ? op->u.history.last_record : start - 1;
	op->u.history.entries = p.entries;
	op->u.history.n_entries = p.n;
	return ERR_OK;
}
