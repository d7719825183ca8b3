/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writer's transactions on disk: what a commit makes final and a failure undoes, when it is synced, and how much room is left. Writer
 * thread, but for opening, loading and closing. */
#include "store/lmdb_int.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/statvfs.h>

#define SPACE_MS 200u
#define RESERVE_MAX (UINT64_C(16) << 20) /* of disk space, kept allocated behind the file's used part, for deleting on a full disk */
#define DISK_FULL_BYTES (UINT64_C(4) << 20)

void txn_settle(struct store *s, bool committed)
{
	struct lmdb *l = lmdb_of(s);
	stored_sessions_settle(s, committed);
	history_settle(l, committed);
	if (committed && l->dead_finished)
		store_number_release(s, l->dead[--l->n_dead]);
	l->dead_finished = false;
	if (committed)
		l->saved_dead = l->n_dead;
	else
		l->n_dead = l->saved_dead; /* an ended session that is back was on the list */
	l->uncommitted_bytes = 0;
	l->sync_now = false;
}

void txn_abort(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	if (l->txn)
		mdb_txn_abort(l->txn);
	l->txn = NULL;
	l->space_ms = 0; /* perhaps for want of it: look again at once */
	txn_settle(s, false);
}

/* Nothing is believed any more until the file has been opened anew and verified. */
void txn_start_failing(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	l->reopen_ms = clock_mono_ms();
	if (!atomic_exchange(&s->failing, true))
		log_error("store: a write or sync of %s/data.mdb failed: nothing is kept, and no QoS 1 or 2 message acknowledged, until the file "
		    "has been verified and written again", s->options.dir);
	l->reopen_error = ERR_OK;
}

/* Whether the disk under the store has no room: LMDB reports a write that was cut short as EIO. */
static bool disk_is_full(const struct lmdb *l)
{
	struct statvfs fs;
	return l->disk_full || (fstatvfs(l->dir_fd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < DISK_FULL_BYTES);
}

/* Deletes need pages too. So some space behind the used part of the file is allocated ahead, and when that fails, new messages are refused
 * while deletes live on what was allocated. The file's length stays as it is. */
static void reserve_disk(struct lmdb *l, uint64_t end, uint64_t reserve)
{
	int fd;
	if (reserve == 0 || end + reserve / 2 <= l->reserved_to || mdb_env_get_fd(l->db.env, &fd) != MDB_SUCCESS)
		return;
	if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)end, (off_t)reserve) == 0) {
		l->reserved_to = end + reserve;
		l->disk_full = false;
	} else {
		l->disk_full = errno == ENOSPC || errno == EDQUOT; /* elsewhere it is not supported: then a write tells */
	}
}

static void look_at_space(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	uint64_t now = clock_mono_ms(), size, used, end;
	if (now - l->space_ms < SPACE_MS && !l->tight && l->bytes_since_look < l->map_size / 64)
		return;
	l->space_ms = now;
	l->bytes_since_look = 0;
	if (db_space(&l->db, l->disk_full, &size, &used, &end) != ERR_OK)
		return;
	uint64_t reserve = size / 10 < RESERVE_MAX ? size / 10 : RESERVE_MAX;
	reserve_disk(l, end, reserve < size - end ? reserve : size - end);
	l->map_size = size;
	l->used = used;
	bool was_tight = l->tight;
	l->tight = used > size - size / 10;
	l->very_tight = used > size - size / 20;
	if (l->disk_full) { /* what is left are the free pages within, and what is allocated behind */
		uint64_t left = end - used + (l->reserved_to > end ? l->reserved_to - end : 0);
		l->tight |= left < reserve;
		l->very_tight |= left < reserve / 2;
	}
	if (l->tight != was_tight)
		log_warning(l->tight ? "store: full: %" PRIu64 " of %" PRIu64 " bytes used%s: new messages are refused until some are delivered"
		    : "store: has room again: %" PRIu64 " of %" PRIu64 " bytes used%s", used, size, l->disk_full ? ", and the disk has no more" : "");
	atomic_store_explicit(&s->size, size, memory_order_relaxed);
	atomic_store_explicit(&s->used, used, memory_order_relaxed);
}

enum err txn_begin(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	if (atomic_load(&s->failing))
		return ERR_IO;
	if (l->txn) /* durability off: the last one goes on */
		return ERR_OK;
	int rc = mdb_txn_begin(l->db.env, NULL, 0, &l->txn);
	if (rc != MDB_SUCCESS) {
		l->txn = NULL;
		txn_start_failing(s);
		return ERR_IO;
	}
	look_at_space(s);
	return ERR_OK;
}

static enum err save_record(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t value[8];
	if (s->last_record == l->saved_record)
		return ERR_OK;
	put_be(value, s->last_record, 8);
	return db_put(s, T_META, "record", 6, value, sizeof value, 0);
}

/* Relaxed: everything committed so far goes to disk, and stays there until the next time. */
enum err txn_sync_all(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	MDB_txn *pin = NULL;
	enum err rc = synced_note(&l->db, l->dir_fd, &l->note);
	if (rc == ERR_OK)
		rc = db_err(mdb_txn_begin(l->db.env, NULL, MDB_RDONLY, &pin));
	if (rc != ERR_OK) {
		txn_start_failing(s);
		return rc == ERR_FULL ? rc : ERR_IO; /* full: at the start alone, when the note's file is made */
	}
	if (l->pin)
		mdb_txn_abort(l->pin);
	l->pin = pin;
	l->unsynced = false;
	l->synced_ms = clock_mono_ms();
	return ERR_OK;
}

static enum err commit_now(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	bool sync_now = l->sync_now;
	MDB_envinfo info;
	int rc = mdb_txn_commit(l->txn); /* on failure it is aborted */
	l->txn = NULL;
	l->committed_ms = clock_mono_ms();
	if (rc != MDB_SUCCESS) {
		txn_abort(s);
		enum err e = rc == EIO && disk_is_full(l) ? ERR_FULL : db_err(rc);
		if (e == ERR_FULL || e == ERR_NOMEM)
			return e; /* nothing of it counts, and the next may fit */
		txn_start_failing(s);
		return ERR_IO;
	}
	if (mdb_env_info(l->db.env, &info) == MDB_SUCCESS)
		l->good_txn = info.me_last_txnid;
	l->saved_record = s->last_record;
	txn_settle(s, true);
	if (s->options.durability != STORE_RELAXED)
		return ERR_OK;
	l->unsynced = true;
	return sync_now ? txn_sync_all(s) : ERR_OK;
}

enum err txn_finish(struct store *s)
{
	enum err rc = dead_sweep(s, DELETES_PER_BATCH);
	if (rc == ERR_OK)
		rc = history_save(s);
	if (rc == ERR_OK)
		rc = save_record(s);
	if (rc != ERR_OK) {
		txn_abort(s);
		return rc;
	}
	return commit_now(s);
}
