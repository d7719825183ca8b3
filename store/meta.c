/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table of small named values: the broker's own records. Writer thread, or before and after it runs. */
#include "store/lmdb_int.h"

enum err meta_op(struct store *s, const struct store_op *op)
{
	uint8_t key[STORE_NAME_MAX + 2];
	size_t key_len = meta_key(op->u.meta.name, key);
	lmdb_of(s)->sync_now = true;
	if (op->u.meta.value)
		return db_put(s, T_META, key, key_len, op->u.meta.value, op->u.meta.len, 0);
	enum err rc = db_del(s, T_META, key, key_len);
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

enum err lmdb_meta_get(struct store *s, const char *name, void *value, size_t *len)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t key[STORE_NAME_MAX + 2];
	MDB_txn *txn;
	enum err rc = db_err(mdb_txn_begin(l->db.env, NULL, MDB_RDONLY, &txn));
	if (rc != ERR_OK)
		return rc;
	MDB_val k = { meta_key(name, key), key }, v;
	rc = db_err(mdb_get(txn, l->db.t[T_META], &k, &v));
	if (rc == ERR_OK && v.mv_size > *len)
		rc = ERR_FULL;
	else if (rc == ERR_OK && v.mv_size)
		memcpy(value, v.mv_data, v.mv_size);
	if (rc == ERR_OK || rc == ERR_FULL)
		*len = v.mv_size;
	mdb_txn_abort(txn);
	return rc;
}

enum err lmdb_meta_put_all(struct store *s, const struct store_named *values, size_t n)
{
	s->batch_error = ERR_OK;
	enum err rc = txn_begin(s);
	if (rc != ERR_OK)
		return rc;
	for (size_t i = 0; i < n && rc == ERR_OK; i++) {
		struct store_op op = { .verb = STORE_META, .u.meta = { .name = values[i].name, .value = values[i].value, .len = values[i].len } };
		rc = meta_op(s, &op);
	}
	if (rc == ERR_OK)
		return txn_finish(s);
	txn_abort(s);
	return rc;
}

enum err lmdb_meta_each(struct store *s, const char *prefix, enum err (*fn)(void *arg, const char *name, const void *value, size_t len),
    void *arg)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t first[STORE_NAME_MAX + 2];
	char name[STORE_NAME_MAX + 2];
	size_t prefix_len = meta_key(prefix, first);
	MDB_txn *txn;
	MDB_cursor *cursor;
	enum err rc = db_err(mdb_txn_begin(l->db.env, NULL, MDB_RDONLY, &txn));
	if (rc != ERR_OK)
		return rc;
	rc = db_err(mdb_cursor_open(txn, l->db.t[T_META], &cursor));
	if (rc == ERR_OK) {
		MDB_val k = { prefix_len, first }, v;
		int found = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
		for (; found == MDB_SUCCESS && rc == ERR_OK; found = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
			if (k.mv_size < prefix_len || k.mv_size > STORE_NAME_MAX + 1 || memcmp(k.mv_data, first, prefix_len) != 0)
				break;
			memcpy(name, (const char *)k.mv_data + 1, k.mv_size - 1);
			name[k.mv_size - 1] = '\0';
			rc = fn(arg, name, v.mv_data, v.mv_size);
		}
		if (rc == ERR_OK && found != MDB_SUCCESS && found != MDB_NOTFOUND)
			rc = db_err(found);
		mdb_cursor_close(cursor);
	}
	mdb_txn_abort(txn);
	return rc;
}
