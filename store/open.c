/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening the store's file, and opening it anew after a failed write; what the writer keeps of it in memory. Before the threads start, or
 * writer thread. */
#include "store/lmdb_int.h"

#include "base/clock.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERIFY_ALL_BYTES (INT64_C(1) << 30)
#define SYNC_INTERVAL_MS 1000u /* default */

static unsigned env_flags(const struct store *s)
{
	return s->options.durability == STORE_RELAXED ? MDB_NOSYNC : 0;
}

static enum err open_read_txn(struct lmdb *l)
{
	enum err rc = db_err(mdb_txn_begin(l->db.env, NULL, MDB_RDONLY, &l->read_txn));
	if (rc == ERR_OK)
		mdb_txn_reset(l->read_txn);
	return rc;
}

static void close_env(struct lmdb *l)
{
	if (l->txn)
		mdb_txn_abort(l->txn);
	if (l->pin)
		mdb_txn_abort(l->pin);
	if (l->read_txn)
		mdb_txn_abort(l->read_txn);
	l->txn = l->pin = l->read_txn = NULL;
	db_close(&l->db);
}

/* Before LMDB is let at the file. All of it is verified while that takes a fraction of a second; of a larger store, the messages' leaves
 * are left to --check-store. */
static enum err verify_file(struct lmdb *l, bool from_disk, char *error, size_t error_len)
{
	struct stat st;
	uint64_t page = 0;
	const char *what = NULL;
	int fd = openat(l->dir_fd, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0) { /* none yet, or LMDB will say why */
		if (fd >= 0)
			close(fd);
		return ERR_OK;
	}
	if (from_disk)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* after a failed write, the disk is asked, not the cache */
	enum err rc = pages_verify(fd, st.st_size <= VERIFY_ALL_BYTES, &page, &what);
	close(fd);
	if (rc != ERR_OK)
		snprintf(error, error_len, "the store's file data.mdb is damaged or not a store of sealmqd: page %llu %s: restore a backup, or move it "
		    "away; nothing was changed", (unsigned long long)page, what ? what : err_text(rc));
	return rc;
}

static enum err reopen(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	char error[256];
	MDB_envinfo info;
	close_env(l);
	enum err rc = verify_file(l, true, error, sizeof error);
	if (rc == ERR_OK)
		rc = db_open(&l->db, s->options.dir, &s->options, false, env_flags(s), error, sizeof error);
	/* A transaction whose commit was reported as failed, and yet is there: memory and file disagree; a restart settles it. */
	if (rc == ERR_OK && (mdb_env_info(l->db.env, &info) != MDB_SUCCESS || info.me_last_txnid != l->good_txn))
		rc = ERR_CORRUPT;
	if (rc == ERR_OK)
		rc = open_read_txn(l);
	if (rc == ERR_OK && s->options.durability == STORE_RELAXED)
		rc = txn_sync_all(s);
	return rc;
}

/* A first write must go through before the store is believed again. */
void lmdb_recover(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t value[8];
	pthread_mutex_lock(&l->read_lock);
	enum err rc = reopen(s);
	pthread_mutex_unlock(&l->read_lock);
	l->reopen_ms = clock_mono_ms();
	if (rc != ERR_OK && rc != l->reopen_error)
		log_error("store: not usable yet: %s%s", err_text(rc), rc == ERR_CORRUPT ? ": it is tried again; if this stays, restart (--check-store)" : "");
	l->reopen_error = rc;
	if (rc != ERR_OK)
		return;
	atomic_store(&s->failing, false);
	s->batch_error = ERR_OK;
	rc = txn_begin(s);
	if (rc != ERR_OK)
		return;
	l->saved_record = 0;
	put_be(value, clock_wall_ms(), 8);
	l->sync_now = true;
	if (db_put(s, T_META, "reopened", 8, value, sizeof value, 0) != ERR_OK) {
		txn_abort(s);
		txn_start_failing(s);
	} else {
		rc = txn_finish(s);
		if (rc != ERR_OK && rc != ERR_FULL) /* a full disk is not a broken one */
			txn_start_failing(s);
		else
			log_notice("store: the file has been verified, and messages are kept again");
	}
}

static enum err read_u64(struct lmdb *l, MDB_txn *txn, const char *name, uint64_t *out)
{
	MDB_val k = { strlen(name), (void *)(uintptr_t)name }, v;
	int rc = mdb_get(txn, l->db.t[T_META], &k, &v);
	if (rc == MDB_SUCCESS && v.mv_size == 8)
		*out = get_be(v.mv_data, 8);
	return rc == MDB_NOTFOUND ? ERR_OK : db_err(rc);
}

enum err each_row(struct store *s, MDB_txn *txn, enum table t, row_fn f, void *arg)
{
	MDB_cursor *c;
	MDB_val k, v;
	int r = mdb_cursor_open(txn, lmdb_of(s)->db.t[t], &c);
	if (r != MDB_SUCCESS)
		return db_err(r);
	enum err rc = ERR_OK;
	while (rc == ERR_OK && (r = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == MDB_SUCCESS)
		rc = f(s, txn, &k, &v, arg);
	mdb_cursor_close(c);
	return rc != ERR_OK ? rc : r == MDB_NOTFOUND ? ERR_OK : db_err(r);
}

static enum err know_session(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)txn, (void)arg;
	struct session_record r;
	enum err rc = session_decode(k, v, &r);
	if (rc == ERR_OK)
		rc = store_number_take(s, r.number);
	if (rc != ERR_OK)
		return rc;
	struct stored_session *session = session_add(lmdb_of(s), r.number);
	if (!session)
		return ERR_NOMEM;
	session->now.over_quota = r.flags & SESSION_OVER_QUOTA;
	return ERR_OK;
}

static enum err know_dead(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)txn, (void)arg;
	if (k->mv_size != 4)
		return ERR_CORRUPT;
	store_session number = (store_session)get_be(k->mv_data, 4);
	enum err rc = store_number_take(s, number);
	return rc == ERR_OK && !is_to_hand_on(v) ? dead_add(lmdb_of(s), number) : rc;
}

static enum err know_will(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg)
{
	(void)txn, (void)v, (void)arg;
	if (k->mv_size != WILL_KEY)
		return ERR_CORRUPT;
	atomic_store(&s->last_will, get_be(k->mv_data, 8)); /* rows come in the order of their keys */
	return ERR_OK;
}

/* What the writer needs in memory: sessions with their counts, topics with theirs. No message is looked at. */
static enum err read_state(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	MDB_txn *txn;
	MDB_envinfo info;
	enum err rc = db_err(mdb_txn_begin(l->db.env, NULL, MDB_RDONLY, &txn));
	if (rc != ERR_OK)
		return rc;
	rc = read_u64(l, txn, "record", &s->last_record);
	l->saved_record = s->last_record;
	if (rc == ERR_OK)
		rc = each_row(s, txn, T_SESSIONS, know_session, NULL);
	if (rc == ERR_OK)
		rc = each_row(s, txn, T_DEAD, know_dead, NULL);
	if (rc == ERR_OK)
		rc = each_row(s, txn, T_WILLS, know_will, NULL);
	if (rc == ERR_OK)
		rc = queue_count(s, txn);
	if (rc == ERR_OK)
		rc = history_load(s, txn);
	l->saved_dead = l->n_dead;
	uint64_t size = 0, used = 0, end;
	if (rc == ERR_OK)
		rc = db_space(&l->db, false, &size, &used, &end);
	atomic_store(&s->size, size);
	atomic_store(&s->used, used);
	mdb_txn_abort(txn);
	if (rc == ERR_OK && mdb_env_info(l->db.env, &info) == MDB_SUCCESS)
		l->good_txn = info.me_last_txnid;
	return rc;
}

static enum err prepare_memory(struct lmdb *l)
{
	if (pthread_mutex_init(&l->read_lock, NULL) != 0)
		return ERR_NOMEM;
	enum err rc = map_create(&l->sessions);
	return rc == ERR_OK ? map_create(&l->topics) : rc;
}

/* What the last process left unsynced is synced, or noted, before anything is written. */
static enum err open_synced(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	if (s->options.durability == STORE_RELAXED)
		return txn_sync_all(s);
	enum err rc = db_err(mdb_env_sync(l->db.env, 1));
	if (rc == ERR_OK)
		synced_forget(l->dir_fd);
	return rc;
}

enum err lmdb_open(struct store *s, char *error, size_t error_len)
{
	struct lmdb *l = calloc(1, sizeof *l);
	if (!l)
		return ERR_NOMEM;
	s->state = l;
	l->dir_fd = -1;
	if (!s->options.sync_interval_ms)
		s->options.sync_interval_ms = SYNC_INTERVAL_MS;
	enum err rc = prepare_memory(l);
	if (rc != ERR_OK)
		return rc;
	if (s->options.crypto && s->options.crypto->overhead > STORE_OVERHEAD_MAX)
		return ERR_INVALID;
	l->dir_fd = db_lock(s->options.dir, true, error, error_len);
	if (l->dir_fd < 0)
		return ERR_IO;
	rc = synced_restore(l->dir_fd, &l->note, error, error_len);
	if (rc == ERR_OK)
		rc = verify_file(l, false, error, error_len);
	if (rc == ERR_OK)
		rc = db_open(&l->db, s->options.dir, &s->options, true, env_flags(s), error, error_len);
	if (rc != ERR_OK)
		return rc;
	fsync(l->dir_fd); /* the file's name is as durable as its contents */
	rc = open_synced(s);
	if (rc == ERR_OK)
		rc = read_state(s);
	if (rc == ERR_OK)
		rc = open_read_txn(l);
	l->committed_ms = l->synced_ms = clock_mono_ms();
	if (rc == ERR_CORRUPT)
		snprintf(error, error_len, "%s: the store is damaged: see --check-store, restore a backup", s->options.dir);
	else if (rc == ERR_FULL)
		snprintf(error, error_len, "%s: the disk is full", s->options.dir);
	else if (rc != ERR_OK)
		snprintf(error, error_len, "%s: the store cannot be used: %s", s->options.dir, err_text(rc));
	return rc;
}

void lmdb_close(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	if (!l)
		return;
	if (l->db.env && !atomic_load(&s->failing)) {
		if (l->txn && txn_finish(s) != ERR_OK)
			l->unsynced = false;
		if (s->options.durability == STORE_RELAXED && mdb_env_sync(l->db.env, 1) == MDB_SUCCESS)
			synced_forget(l->dir_fd);
	}
	txn_settle(s, false);
	close_env(l);
	history_free(l);
	size_t at = 0;
	for (struct map_node *n = map_pop(&l->sessions, &at); n; n = map_pop(&l->sessions, &at))
		free(MAP_OF(n, struct stored_session, node));
	map_destroy(&l->sessions);
	pthread_mutex_destroy(&l->read_lock);
	if (l->dir_fd >= 0)
		close(l->dir_fd); /* and with it the lock */
	free(l->dead);
	free(l->acked);
	free(l->scratch);
	free(l);
	s->state = NULL;
}
