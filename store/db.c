/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Owns the LMDB environment: opening, format version, tables, space, and the writer's access to its transaction. */
#include "store/lmdb_int.h"

#include "base/clock.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_SIZE_DEFAULT (UINT64_C(10) << 30)
#define MAP_SIZE_MIN (UINT64_C(1) << 20)

const char *const table_names[T_COUNT] = {
	[T_META] = "meta", [T_SESSIONS] = "sessions", [T_SUBSCRIPTIONS] = "subscriptions", [T_QUEUE] = "queue", [T_RECEIVED] = "received",
	[T_MESSAGES] = "messages", [T_REFERENCES] = "references", [T_RETAINED] = "retained", [T_WILLS] = "wills", [T_TOPICS] = "topics",
	[T_TOPIC_NAMES] = "topic_names", [T_HISTORY] = "history", [T_HISTORY_ALL] = "history_all",
	[T_REPLAYS] = "replays", [T_DEAD] = "dead",
};

enum err db_err(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return ERR_OK;
	case MDB_NOTFOUND:
		return ERR_NOT_FOUND;
	case MDB_MAP_FULL: case MDB_TXN_FULL: case ENOSPC: case EDQUOT: case EFBIG:
		return ERR_FULL;
	case ENOMEM:
		return ERR_NOMEM;
	case MDB_CORRUPTED: case MDB_PAGE_NOTFOUND: case MDB_INVALID: case MDB_INCOMPATIBLE: case MDB_BAD_VALSIZE:
		return ERR_CORRUPT;
	default:
		return ERR_IO;
	}
}

/* ---- opening */

#define LOCK_WAIT_MS 1000u
#define LOCK_STEP_MS 20u

int db_lock(const char *dir, bool create, char *error, size_t error_len)
{
	if (create && mkdir(dir, 0700) != 0 && errno != EEXIST) {
		snprintf(error, error_len, "%s: cannot create the directory: %s", dir, strerror(errno));
		return -1;
	}
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(error, error_len, "%s: %s", dir, strerror(errno));
		return -1;
	}
	/* On the directory itself: no lock file to lose or to restore from a backup. A broker that was just killed may take a moment to
	 * be gone. */
	for (unsigned waited_ms = 0; waited_ms <= LOCK_WAIT_MS; waited_ms += LOCK_STEP_MS) {
		struct timespec step = { .tv_nsec = (long)LOCK_STEP_MS * 1000000 };
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (errno != EWOULDBLOCK)
			break;
		nanosleep(&step, NULL);
		errno = EWOULDBLOCK;
	}
	snprintf(error, error_len, errno == EWOULDBLOCK ? "%s: in use by another sealmqd; stop it, or set another persistence_location"
	    : "%s: cannot lock the directory", dir);
	close(fd);
	return -1;
}

size_t meta_key(const char *name, uint8_t key[static STORE_NAME_MAX + 2])
{
	size_t len = strlen(name);
	key[0] = '.'; /* apart from the store's own */
	memcpy(key + 1, name, len < STORE_NAME_MAX ? len : STORE_NAME_MAX);
	return 1 + (len < STORE_NAME_MAX ? len : STORE_NAME_MAX);
}

static enum err get_meta(struct db *db, MDB_txn *txn, const char *name, void *to, size_t len)
{
	MDB_val key = { .mv_size = strlen(name), .mv_data = (void *)(uintptr_t)name }, value;
	int rc = mdb_get(txn, db->t[T_META], &key, &value);
	if (rc != MDB_SUCCESS)
		return db_err(rc);
	if (value.mv_size != len)
		return ERR_CORRUPT;
	memcpy(to, value.mv_data, len);
	return ERR_OK;
}

static enum err put_meta(struct db *db, MDB_txn *txn, const char *name, const void *from, size_t len)
{
	MDB_val key = { .mv_size = strlen(name), .mv_data = (void *)(uintptr_t)name }, value = { len, (void *)(uintptr_t)from };
	return db_err(mdb_put(txn, db->t[T_META], &key, &value, 0));
}

/* The format record: version 4, sealed 1, hash key 16. */
#define FORMAT_LEN 21u

static enum err db_make(struct db *db, MDB_txn *txn, bool sealed)
{
	for (int i = 0; i < T_COUNT; i++) {
		int rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &db->t[i]);
		if (rc != MDB_SUCCESS)
			return db_err(rc);
	}
	uint8_t format[FORMAT_LEN];
	put_be(format, FORMAT_VERSION, 4);
	format[4] = sealed;
	random_bytes(format + 5, 16);
	db->hash_key = (struct siphash_key){ get_be(format + 5, 8), get_be(format + 13, 8) };
	db->sealed = sealed;
	return put_meta(db, txn, "format", format, sizeof format);
}

/* Reads only: a store of another version is left as it is. */
static enum err db_recognise(struct db *db, MDB_txn *txn, const char *dir, char *error, size_t error_len)
{
	uint8_t format[FORMAT_LEN] = { 0 };
	if (mdb_dbi_open(txn, table_names[T_META], 0, &db->t[T_META]) != MDB_SUCCESS
	    || get_meta(db, txn, "format", format, sizeof format) != ERR_OK) {
		snprintf(error, error_len, "%s/data.mdb is not a store of sealmqd: move it away, or set another persistence_location", dir);
		return ERR_CORRUPT;
	}
	if (get_be(format, 4) != FORMAT_VERSION) {
		snprintf(error, error_len, "%s: the store has format version %u, this sealmqd knows version %u: use the version of sealmqd that "
		    "wrote it; nothing was changed", dir, (unsigned)get_be(format, 4), FORMAT_VERSION);
		return ERR_INVALID;
	}
	db->sealed = format[4];
	db->hash_key = (struct siphash_key){ get_be(format + 5, 8), get_be(format + 13, 8) };
	for (int i = 0; i < T_COUNT; i++)
		if (mdb_dbi_open(txn, table_names[i], 0, &db->t[i]) != MDB_SUCCESS) {
			snprintf(error, error_len, "%s: the store is damaged (no table \"%s\"): restore a backup", dir, table_names[i]);
			return ERR_CORRUPT;
		}
	return ERR_OK;
}

static bool is_empty(MDB_txn *txn)
{
	MDB_dbi main_dbi;
	MDB_stat st;
	return mdb_dbi_open(txn, NULL, 0, &main_dbi) == MDB_SUCCESS && mdb_stat(txn, main_dbi, &st) == MDB_SUCCESS && st.ms_entries == 0;
}

static enum err db_open_tables(struct db *db, const char *dir, const struct store_options *o, bool create, char *error, size_t error_len)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);
	if (rc != MDB_SUCCESS) {
		snprintf(error, error_len, "%s/data.mdb: %s", dir, mdb_strerror(rc));
		return db_err(rc);
	}
	if (!create || !o || !is_empty(txn)) {
		enum err e = db_recognise(db, txn, dir, error, error_len);
		if (e == ERR_OK)
			e = db_err(mdb_txn_commit(txn)); /* keeps the table handles */
		else
			mdb_txn_abort(txn);
		if (e == ERR_OK && o && db->sealed != (o->crypto != NULL)) {
			snprintf(error, error_len, db->sealed ? "%s: the store is encrypted: it needs its master key"
			    : "%s: the store is not encrypted, but a master key is set: start with another persistence_location", dir);
			e = ERR_INVALID;
		}
		return e;
	}
	mdb_txn_abort(txn);
	rc = mdb_txn_begin(db->env, NULL, 0, &txn);
	enum err e = db_err(rc);
	if (e == ERR_OK) {
		e = db_make(db, txn, o->crypto != NULL);
		if (e == ERR_OK)
			e = db_err(mdb_txn_commit(txn));
		else
			mdb_txn_abort(txn);
	}
	if (e != ERR_OK)
		snprintf(error, error_len, "%s/data.mdb: cannot be created: %s", dir, err_text(e));
	return e;
}

static enum err db_open_env(struct db *db, const char *dir, uint64_t map_size, unsigned flags, char *error, size_t error_len)
{
	int rc = mdb_env_create(&db->env);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_maxdbs(db->env, T_COUNT);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_set_mapsize(db->env, (size_t)map_size);
	if (rc == MDB_SUCCESS)
		rc = mdb_env_open(db->env, dir, flags | MDB_NOTLS, 0600);
	if (rc == MDB_SUCCESS)
		return ERR_OK;
	if (rc == MDB_INVALID || rc == MDB_VERSION_MISMATCH || rc == MDB_CORRUPTED)
		snprintf(error, error_len, "%s/data.mdb is damaged or not a store of sealmqd: restore a backup, or move it away", dir);
	else
		snprintf(error, error_len, "%s/data.mdb: %s", dir, mdb_strerror(rc));
	return db_err(rc);
}

enum err db_open(struct db *db, const char *dir, const struct store_options *o, bool create, unsigned flags, char *error, size_t error_len)
{
	uint64_t size = o && o->max_size ? o->max_size : MAP_SIZE_DEFAULT;
	enum err rc = db_open_env(db, dir, size < MAP_SIZE_MIN ? MAP_SIZE_MIN : size, flags, error, error_len);
	if (rc == ERR_OK)
		rc = db_open_tables(db, dir, o, create, error, error_len);
	if (rc != ERR_OK)
		db_close(db);
	return rc;
}

void db_close(struct db *db)
{
	if (db->env)
		mdb_env_close(db->env);
	db->env = NULL;
}

/* ---- space */

/* LMDB's lists of free pages (table 0), each led by its count. They are open to readers alone. */
static enum err count_free(const struct db *db, uint64_t *pages)
{
	MDB_txn *txn;
	MDB_cursor *c;
	MDB_val key, value;
	int rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);
	if (rc != MDB_SUCCESS)
		return db_err(rc);
	*pages = 0;
	rc = mdb_cursor_open(txn, 0, &c);
	if (rc == MDB_SUCCESS) {
		while ((rc = mdb_cursor_get(c, &key, &value, MDB_NEXT)) == MDB_SUCCESS) {
			size_t n = 0;
			memcpy(&n, value.mv_data, value.mv_size < sizeof n ? value.mv_size : sizeof n);
			*pages += n;
		}
		mdb_cursor_close(c);
	}
	mdb_txn_abort(txn);
	return rc == MDB_NOTFOUND ? ERR_OK : db_err(rc);
}

enum err db_space(const struct db *db, bool exact, uint64_t *size, uint64_t *used, uint64_t *end)
{
	MDB_envinfo info;
	MDB_stat st;
	mdb_env_info(db->env, &info);
	mdb_env_stat(db->env, &st);
	*size = info.me_mapsize;
	uint64_t pages = info.me_last_pgno + 1, max_pages = info.me_mapsize / st.ms_psize, free_pages = 0;
	*end = pages * st.ms_psize;
	enum err rc = ERR_OK;
	if (exact || pages > max_pages - max_pages / 8) /* only then it matters how many of them are free: the list may be long */
		rc = count_free(db, &free_pages);
	*used = (pages - (free_pages < pages ? free_pages : pages)) * st.ms_psize;
	return rc;
}

/* ---- the writer's transaction */

enum err db_fail(struct store *s, int rc)
{
	enum err e = db_err(rc);
	if (s->batch_error == ERR_OK)
		s->batch_error = e == ERR_NOT_FOUND ? ERR_CORRUPT : e;
	return s->batch_error;
}

enum err db_get(struct store *s, enum table t, const void *key, size_t key_len, MDB_val *value)
{
	struct lmdb *l = lmdb_of(s);
	MDB_val k = { key_len, (void *)(uintptr_t)key };
	int rc = mdb_get(l->txn, l->db.t[t], &k, value);
	return rc == MDB_SUCCESS ? ERR_OK : rc == MDB_NOTFOUND ? ERR_NOT_FOUND : db_fail(s, rc);
}

enum err db_put(struct store *s, enum table t, const void *key, size_t key_len, const void *value, size_t len, unsigned flags)
{
	struct lmdb *l = lmdb_of(s);
	MDB_val k = { key_len, (void *)(uintptr_t)key }, v = { len, (void *)(uintptr_t)value };
	int rc = mdb_put(l->txn, l->db.t[t], &k, &v, flags);
	return rc == MDB_SUCCESS ? ERR_OK : db_fail(s, rc);
}

enum err db_del(struct store *s, enum table t, const void *key, size_t key_len)
{
	struct lmdb *l = lmdb_of(s);
	MDB_val k = { key_len, (void *)(uintptr_t)key };
	int rc = mdb_del(l->txn, l->db.t[t], &k, NULL);
	return rc == MDB_SUCCESS ? ERR_OK : rc == MDB_NOTFOUND ? ERR_NOT_FOUND : db_fail(s, rc);
}

enum err db_cursor(struct store *s, enum table t, MDB_cursor **c)
{
	struct lmdb *l = lmdb_of(s);
	int rc = mdb_cursor_open(l->txn, l->db.t[t], c);
	return rc == MDB_SUCCESS ? ERR_OK : db_fail(s, rc);
}

/* ---- names */

enum err name_find(const struct db *db, MDB_txn *txn, enum table t, const uint8_t *prefix, size_t prefix_len, const uint8_t *name, size_t len,
    size_t skip, uint8_t key[static NAME_KEY_MAX], MDB_val *value)
{
	if (prefix_len)
		memcpy(key, prefix, prefix_len);
	put_be(key + prefix_len, siphash24(&db->hash_key, name, len), 8);
	key[prefix_len + 8] = 0;
	MDB_cursor *c;
	int rc = mdb_cursor_open(txn, db->t[t], &c);
	if (rc != MDB_SUCCESS)
		return db_err(rc);
	unsigned free_at = 0;
	MDB_val k = { prefix_len + 9, key };
	for (rc = mdb_cursor_get(c, &k, value, MDB_SET_RANGE); rc == MDB_SUCCESS; rc = mdb_cursor_get(c, &k, value, MDB_NEXT)) {
		const uint8_t *found = k.mv_data;
		if (k.mv_size != prefix_len + 9 || memcmp(found, key, prefix_len + 8) != 0)
			break;
		if (value->mv_size == skip + len && memcmp((const uint8_t *)value->mv_data + skip, name, len) == 0) {
			key[prefix_len + 8] = found[prefix_len + 8];
			mdb_cursor_close(c);
			return ERR_OK;
		}
		if (found[prefix_len + 8] == free_at)
			free_at++;
	}
	mdb_cursor_close(c);
	if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND)
		return db_err(rc);
	if (free_at > 255)
		return ERR_FULL; /* 256 names of one keyed 64-bit hash: not by chance */
	key[prefix_len + 8] = (uint8_t)free_at;
	return ERR_NOT_FOUND;
}

enum err scratch_reserve(struct lmdb *l, size_t len)
{
	if (l->scratch_room >= len)
		return ERR_OK;
	uint8_t *bigger = realloc(l->scratch, len);
	if (!bigger)
		return ERR_NOMEM;
	l->scratch = bigger;
	l->scratch_room = len;
	return ERR_OK;
}
