/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Message records: written once, encrypted, counted by who refers to them, cut into pieces of one page each. put and unref run on the writer
 * thread, get on the reader and the loading thread. */
#include "store/lmdb_int.h"

#include <stdlib.h>

/* One overflow page of LMDB holds so much: longer values would need neighbouring free pages, which a full file does not have. */
#define PIECE 4080u
#define HEAD 32u             /* version 1, QoS 1, flags 1, sealed 1, topic 2, publisher 2, properties 2, 0 2, payload 4, time 8, expiry 8 */
#define KIND_MESSAGE 1u
#define AAD_PREFIX 10u       /* format version 1, kind 1, record id 8; head, topic and publisher follow */

#define KEY MESSAGE_KEY
#define PIECE_KEY MESSAGE_PIECE_KEY

static void head_encode(uint8_t *p, const struct msg *m, bool sealed)
{
	p[0] = FORMAT_VERSION;
	p[1] = m->qos;
	p[2] = m->flags;
	p[3] = sealed;
	put_be(p + 4, m->topic_len, 2);
	put_be(p + 6, m->publisher_len, 2);
	put_be(p + 8, m->props_len, 2);
	put_be(p + 10, 0, 2);
	put_be(p + 12, m->payload_len, 4);
	put_be(p + 16, m->time_ms, 8);
	put_be(p + 24, m->expiry_ms, 8);
}

/* Head, topic and publisher into p, and before them, AAD_PREFIX bytes earlier, what else is authenticated. */
static size_t clear_encode(uint8_t *prefix, uint64_t record, const struct msg *m, bool sealed)
{
	uint8_t *p = prefix + AAD_PREFIX;
	prefix[0] = FORMAT_VERSION;
	prefix[1] = KIND_MESSAGE;
	put_be(prefix + 2, record, 8);
	head_encode(p, m, sealed);
	memcpy(p + HEAD, m->data, (size_t)m->topic_len + m->publisher_len); /* they are neighbours there too */
	return HEAD + (size_t)m->topic_len + m->publisher_len;
}

static enum err seal(const struct store_crypto *crypto, const struct msg *m, const uint8_t *aad, size_t aad_len, uint8_t *out)
{
	const uint8_t *plain = msg_props(m);
	size_t len = (size_t)m->props_len + m->payload_len;
	if (crypto)
		return crypto->seal(crypto->arg, msg_topic(m), m->topic_len, aad, aad_len, plain, len, out);
	if (len)
		memcpy(out, plain, len);
	return ERR_OK;
}

static enum err put_short(struct store *s, const uint8_t *key, const struct msg *m, const uint8_t *aad, size_t clear_len, size_t total)
{
	struct lmdb *l = lmdb_of(s);
	MDB_val k = { KEY, (void *)(uintptr_t)key }, v = { total, NULL };
	int rc = mdb_put(l->txn, l->db.t[T_MESSAGES], &k, &v, MDB_RESERVE | MDB_APPEND);
	if (rc != MDB_SUCCESS)
		return db_fail(s, rc);
	memcpy(v.mv_data, aad + AAD_PREFIX, clear_len);
	return seal(s->options.crypto, m, aad, AAD_PREFIX + clear_len, (uint8_t *)v.mv_data + clear_len);
}

static enum err put_long(struct store *s, const uint8_t *key, const struct msg *m, const uint8_t *aad, size_t clear_len, size_t total)
{
	uint8_t *record = malloc(total), piece_key[PIECE_KEY];
	if (!record)
		return ERR_NOMEM;
	memcpy(record, aad + AAD_PREFIX, clear_len);
	enum err rc = seal(s->options.crypto, m, aad, AAD_PREFIX + clear_len, record + clear_len);
	memcpy(piece_key, key, KEY);
	for (size_t at = 0, n = 0; at < total && rc == ERR_OK; at += PIECE, n++) {
		put_be(piece_key + KEY, n, 4);
		rc = db_put(s, T_MESSAGES, piece_key, n ? PIECE_KEY : KEY, record + at, total - at < PIECE ? total - at : PIECE, MDB_APPEND);
	}
	free(record);
	return rc;
}

enum err message_put(struct store *s, uint64_t record, const struct msg *m, uint32_t refs)
{
	struct lmdb *l = lmdb_of(s);
	const struct store_crypto *crypto = s->options.crypto;
	size_t clear_len = HEAD + (size_t)m->topic_len + m->publisher_len;
	size_t total = clear_len + m->props_len + m->payload_len + (crypto ? crypto->overhead : 0);
	uint8_t key[KEY], count[4];
	enum err rc = scratch_reserve(l, AAD_PREFIX + clear_len);
	put_be(key, record, 8);
	if (rc == ERR_OK)
		clear_encode(l->scratch, record, m, crypto != NULL);
	if (rc == ERR_OK)
		rc = (total <= PIECE ? put_short : put_long)(s, key, m, l->scratch, clear_len, total);
	if (rc == ERR_OK && refs > 1) {
		put_be(count, refs, 4);
		rc = db_put(s, T_REFERENCES, key, KEY, count, sizeof count, MDB_APPEND);
	}
	if (rc != ERR_OK && s->batch_error == ERR_OK) /* half of the operation is written */
		s->batch_error = rc;
	return rc;
}

static enum err message_delete(struct store *s, uint64_t record)
{
	MDB_cursor *c;
	uint8_t key[KEY];
	put_be(key, record, 8);
	enum err e = db_cursor(s, T_MESSAGES, &c);
	if (e != ERR_OK)
		return e;
	MDB_val k = { KEY, key }, v;
	int rc = mdb_cursor_get(c, &k, &v, MDB_SET);
	bool more = rc == MDB_SUCCESS && v.mv_size == PIECE;
	if (rc == MDB_SUCCESS)
		rc = mdb_cursor_del(c, 0);
	while (rc == MDB_SUCCESS && more) {
		rc = mdb_cursor_get(c, &k, &v, MDB_NEXT); /* after a deletion: the one that moved up */
		more = rc == MDB_SUCCESS && k.mv_size == PIECE_KEY && memcmp(k.mv_data, key, KEY) == 0;
		if (more)
			rc = mdb_cursor_del(c, 0);
	}
	mdb_cursor_close(c);
	/* A message that is not there: damage that must not keep its queue from being emptied. */
	return rc == MDB_SUCCESS || rc == MDB_NOTFOUND ? ERR_OK : db_fail(s, rc);
}

enum err message_ref(struct store *s, uint64_t record)
{
	uint8_t key[KEY], count[4];
	MDB_val v;
	put_be(key, record, 8);
	enum err rc = db_get(s, T_MESSAGES, key, KEY, &v);
	if (rc != ERR_OK)
		return rc;
	rc = db_get(s, T_REFERENCES, key, KEY, &v);
	if (rc != ERR_OK && rc != ERR_NOT_FOUND)
		return rc;
	put_be(count, rc == ERR_OK && v.mv_size == sizeof count ? get_be(v.mv_data, 4) + 1 : 2, 4);
	return db_put(s, T_REFERENCES, key, KEY, count, sizeof count, 0);
}

enum err message_unref(struct store *s, uint64_t record)
{
	uint8_t key[KEY], count[4];
	MDB_val v;
	put_be(key, record, 8);
	enum err rc = db_get(s, T_REFERENCES, key, KEY, &v);
	if (rc == ERR_NOT_FOUND)
		return message_delete(s, record);
	if (rc != ERR_OK)
		return rc;
	uint64_t refs = v.mv_size == sizeof count ? get_be(v.mv_data, 4) : 0;
	if (refs <= 2) /* one: the entry is not needed */
		return db_del(s, T_REFERENCES, key, KEY);
	put_be(count, refs - 1, 4);
	return db_put(s, T_REFERENCES, key, KEY, count, sizeof count, 0);
}

/* ---- reading */

/* The lengths that a head names; false when it is not one. */
static bool head_valid(const MDB_val *v, bool sealed)
{
	const uint8_t *p = v->mv_data;
	return v->mv_size >= HEAD && p[0] == FORMAT_VERSION && p[1] <= 2 && p[3] == sealed && get_be(p + 12, 4) <= 268435455u;
}

/* Collects the pieces into record (total bytes). */
static enum err gather(const struct db *db, MDB_txn *txn, uint8_t key[static KEY], uint8_t *record, size_t total)
{
	MDB_cursor *c;
	int rc = mdb_cursor_open(txn, db->t[T_MESSAGES], &c);
	if (rc != MDB_SUCCESS)
		return db_err(rc);
	MDB_val k = { KEY, key }, v;
	enum err e = db_err(mdb_cursor_get(c, &k, &v, MDB_SET));
	for (size_t at = 0, n = 0; e == ERR_OK && at < total; n++) {
		const uint8_t *found = k.mv_data;
		size_t want = total - at < PIECE ? total - at : PIECE;
		if (v.mv_size != want || k.mv_size != (n ? PIECE_KEY : KEY) || memcmp(found, key, KEY) != 0 || (n && get_be(found + KEY, 4) != n)) {
			e = ERR_CORRUPT;
			break;
		}
		memcpy(record + at, v.mv_data, want);
		at += want;
		if (at < total)
			e = db_err(mdb_cursor_get(c, &k, &v, MDB_NEXT));
	}
	mdb_cursor_close(c);
	return e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
}

/* record: the whole of it. */
static enum err message_open(const struct store_crypto *crypto, uint64_t id, const uint8_t *record, size_t total, struct msg **out)
{
	size_t topic_len = (size_t)get_be(record + 4, 2), publisher_len = (size_t)get_be(record + 6, 2), props_len = (size_t)get_be(record + 8, 2);
	size_t clear_len = HEAD + topic_len + publisher_len, secret_len = props_len + (size_t)get_be(record + 12, 4);
	struct msg_spec spec = { .topic = record + HEAD, .topic_len = topic_len, .publisher = record + HEAD + topic_len,
		.publisher_len = publisher_len, .payload_len = secret_len, .qos = record[1], .flags = record[2],
		.time_ms = get_be(record + 16, 8), .expiry_ms = get_be(record + 24, 8) };
	struct msg *m = msg_new(&spec);
	if (!m)
		return ERR_NOMEM;
	enum err rc = ERR_OK;
	if (crypto) {
		msg_mark_secret(m);
		uint8_t few[512], *aad = AAD_PREFIX + clear_len <= sizeof few ? few : malloc(AAD_PREFIX + clear_len);
		if (aad) {
			aad[0] = FORMAT_VERSION;
			aad[1] = KIND_MESSAGE;
			put_be(aad + 2, id, 8);
			memcpy(aad + AAD_PREFIX, record, clear_len);
			rc = crypto->open(crypto->arg, record + HEAD, topic_len, aad, AAD_PREFIX + clear_len, record + clear_len,
			    total - clear_len, m->data + topic_len + publisher_len);
			if (aad != few)
				free(aad);
		} else {
			rc = ERR_NOMEM;
		}
	} else if (secret_len) {
		memcpy(m->data + topic_len + publisher_len, record + clear_len, secret_len);
	}
	if (rc != ERR_OK) {
		msg_unref(m);
		return rc;
	}
	/* The properties lie before the payload, there and here. */
	m->props_len = (uint16_t)props_len;
	m->payload_len -= m->props_len;
	*out = m;
	return ERR_OK;
}

enum err message_get(const struct db *db, const struct store_crypto *crypto, MDB_txn *txn, uint64_t record, struct msg **out)
{
	uint8_t key[KEY];
	put_be(key, record, 8);
	MDB_val k = { KEY, key }, v;
	int rc = mdb_get(txn, db->t[T_MESSAGES], &k, &v);
	if (rc != MDB_SUCCESS)
		return db_err(rc);
	if (!head_valid(&v, db->sealed))
		return ERR_CORRUPT;
	const uint8_t *p = v.mv_data;
	size_t total = HEAD + (size_t)get_be(p + 4, 2) + (size_t)get_be(p + 6, 2) + (size_t)get_be(p + 8, 2) + (size_t)get_be(p + 12, 4)
	    + (crypto ? crypto->overhead : 0);
	if (total <= PIECE)
		return v.mv_size == total ? message_open(crypto, record, p, total, out) : ERR_CORRUPT;
	if (v.mv_size != PIECE)
		return ERR_CORRUPT;
	uint8_t *whole = malloc(total);
	if (!whole)
		return ERR_NOMEM;
	enum err e = gather(db, txn, key, whole, total);
	if (e == ERR_OK)
		e = message_open(crypto, record, whole, total, out);
	free(whole);
	return e;
}
