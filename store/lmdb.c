/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The disk backend: transactions, what fails in them, and the operations that are not queues' or history's. Writer thread, but for opening,
 * loading and closing. */
#include "store/lmdb_int.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SYNC_INTERVAL_MS 1000u       /* default */
#define UNCOMMITTED_MAX (4u << 20)   /* durability off: bytes of messages between commits; the reserved disk space holds them */
#define DELETES_PER_BATCH 1000u      /* of what is deleted in the background */
#define DELETE_AT_ONCE 1000u         /* a queue up to that length goes with its session */
#define SWEEP_TOPICS 256u
#define SWEEP_MS 1000u
#define REOPEN_MS 1000u
#define SPACE_MS 200u
#define RESERVE_MAX (UINT64_C(16) << 20) /* of disk space, kept allocated behind the file's used part, for deleting on a full disk */
#define DISK_FULL_BYTES (UINT64_C(4) << 20)
#define VERIFY_ALL_BYTES (INT64_C(1) << 30)

static uint64_t sync_interval(const struct store *s)
{
	return s->options.sync_interval_ms ? s->options.sync_interval_ms : SYNC_INTERVAL_MS;
}

/* ---- sessions */

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

static enum err session_new(struct store *s, const struct store_op *op)
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

static enum err session_state(struct store *s, const struct store_op *op)
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

enum err will_remove(struct store *s, uint64_t number)
{
	uint8_t key[WILL_KEY];
	MDB_val v;
	put_be(key, number, 8);
	enum err rc = db_get(s, T_WILLS, key, sizeof key, &v);
	if (rc != ERR_OK)
		return rc == ERR_NOT_FOUND ? ERR_OK : rc;
	uint64_t record = v.mv_size >= WILL_HEAD ? get_be(v.mv_data, 8) : 0;
	rc = db_del(s, T_WILLS, key, sizeof key);
	return rc == ERR_OK ? message_unref(s, record) : rc;
}

static enum err will_put(struct store *s, const struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	size_t id_len = op->u.will.client_id_len;
	if (l->very_tight || s->refuse_messages)
		return ERR_FULL;
	uint8_t key[WILL_KEY];
	enum err rc = scratch_reserve(l, WILL_HEAD + id_len);
	if (rc == ERR_OK)
		rc = will_remove(s, op->u.will.number);
	if (rc != ERR_OK)
		return rc;
	put_be(key, op->u.will.number, 8);
	put_be(l->scratch, ++s->last_record, 8);
	if (id_len)
		memcpy(l->scratch + WILL_HEAD, op->u.will.client_id, id_len);
	rc = db_put(s, T_WILLS, key, sizeof key, l->scratch, WILL_HEAD + id_len, 0);
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

static enum err session_end(struct store *s, store_session number, bool hand_on)
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
static void sessions_settle(struct store *s, bool committed)
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

static enum err subscribe(struct store *s, const struct store_op *op)
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

static enum err qos2_done(struct store *s, const struct store_op *op)
{
	if (!session_find(lmdb_of(s), op->u.delivery.session))
		return ERR_NOT_FOUND;
	uint8_t key[6];
	put_be(put_be(key, op->u.delivery.session, 4), op->u.delivery.packet_id, 2);
	enum err rc = db_del(s, T_RECEIVED, key, sizeof key);
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* ---- small values */

static enum err meta_op(struct store *s, const struct store_op *op)
{
	uint8_t key[STORE_NAME_MAX + 2];
	size_t key_len = meta_key(op->u.meta.name, key);
	lmdb_of(s)->sync_now = true;
	if (op->u.meta.value)
		return db_put(s, T_META, key, key_len, op->u.meta.value, op->u.meta.len, 0);
	enum err rc = db_del(s, T_META, key, key_len);
	return rc == ERR_NOT_FOUND ? ERR_OK : rc;
}

/* ---- transactions */

static void settle(struct store *s, bool committed)
{
	struct lmdb *l = lmdb_of(s);
	sessions_settle(s, committed);
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

static void lmdb_abort(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	if (l->txn)
		mdb_txn_abort(l->txn);
	l->txn = NULL;
	l->space_ms = 0; /* perhaps for want of it: look again at once */
	settle(s, false);
}

/* Nothing is believed any more until the file has been opened anew and verified. */
static void start_failing(struct store *s)
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

static enum err begin_txn(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	if (atomic_load(&s->failing))
		return ERR_IO;
	if (l->txn) /* durability off: the last one goes on */
		return ERR_OK;
	int rc = mdb_txn_begin(l->db.env, NULL, 0, &l->txn);
	if (rc != MDB_SUCCESS) {
		l->txn = NULL;
		start_failing(s);
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
static enum err sync_all(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	MDB_txn *pin = NULL;
	enum err rc = synced_note(&l->db, l->dir_fd, &l->note);
	if (rc == ERR_OK)
		rc = db_err(mdb_txn_begin(l->db.env, NULL, MDB_RDONLY, &pin));
	if (rc != ERR_OK) {
		start_failing(s);
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
		lmdb_abort(s);
		enum err e = rc == EIO && disk_is_full(l) ? ERR_FULL : db_err(rc);
		if (e == ERR_FULL || e == ERR_NOMEM)
			return e; /* nothing of it counts, and the next may fit */
		start_failing(s);
		return ERR_IO;
	}
	if (mdb_env_info(l->db.env, &info) == MDB_SUCCESS)
		l->good_txn = info.me_last_txnid;
	l->saved_record = s->last_record;
	settle(s, true);
	if (s->options.durability != STORE_RELAXED)
		return ERR_OK;
	l->unsynced = true;
	return sync_now ? sync_all(s) : ERR_OK;
}

static enum err finish_txn(struct store *s)
{
	enum err rc = dead_sweep(s, DELETES_PER_BATCH);
	if (rc == ERR_OK)
		rc = history_save(s);
	if (rc == ERR_OK)
		rc = save_record(s);
	if (rc != ERR_OK) {
		lmdb_abort(s);
		return rc;
	}
	return commit_now(s);
}

/* Topics grow old under load as well. */
static enum err sweep_along(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	uint64_t now = clock_mono_ms();
	bool more = false;
	if (!l->all_topics || now - l->sweep_ms < SWEEP_MS)
		return ERR_OK;
	l->sweep_ms = now;
	enum err rc = history_sweep(s, SWEEP_TOPICS, DELETES_PER_BATCH, &more);
	if (more)
		l->sweep_ms = 0;
	return rc;
}

static enum err lmdb_commit(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	enum err rc = sweep_along(s);
	if (rc != ERR_OK) {
		lmdb_abort(s);
		return rc;
	}
	if (s->options.durability == STORE_OFF && !l->sync_now && clock_mono_ms() - l->committed_ms < sync_interval(s)
	    && l->uncommitted_bytes < UNCOMMITTED_MAX && l->uncommitted_bytes < l->map_size / 64)
		return ERR_OK;
	rc = finish_txn(s);
	/* Pages are used again only behind the last sync: where they are scarce it cannot wait. */
	if (rc == ERR_OK && l->unsynced && (l->tight || clock_mono_ms() - l->synced_ms >= sync_interval(s)))
		rc = sync_all(s);
	return rc;
}

static enum err lmdb_publish_reads(struct store *s)
{
	return lmdb_of(s)->txn ? finish_txn(s) : ERR_OK;
}

static enum err lmdb_apply(struct store *s, struct store_op *op)
{
	switch (op->verb) {
	case STORE_SESSION_NEW:
		return session_new(s, op);
	case STORE_SESSION_STATE:
		return session_state(s, op);
	case STORE_SESSION_END:
		return session_end(s, op->u.session.number, op->u.session.hand_on);
	case STORE_SUBSCRIBE: case STORE_UNSUBSCRIBE:
		return subscribe(s, op);
	case STORE_PUBLISH:
		lmdb_of(s)->uncommitted_bytes += msg_size(op->u.publish.msg);
		lmdb_of(s)->bytes_since_look += msg_size(op->u.publish.msg);
		return queue_publish(s, op);
	case STORE_ACKED: case STORE_SENT: case STORE_RELEASED:
		return queue_deliver(s, op);
	case STORE_QOS2_DONE:
		return qos2_done(s, op);
	case STORE_PAST:
		return past_move(s, op);
	case STORE_PAST_SENT:
		return past_sent(s, op);
	case STORE_WILL_PUT:
		return will_put(s, op);
	case STORE_WILL_DROP:
		return will_remove(s, op->u.will.number);
	case STORE_META:
		return meta_op(s, op);
	case STORE_PAGE: case STORE_HISTORY: case STORE_BARRIER:
		break;
	}
	return ERR_INVALID;
}

/* ---- opening, and opening again */

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
		rc = sync_all(s);
	return rc;
}

/* A first write must go through before the store is believed again. */
static void try_recovery(struct store *s)
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
	rc = begin_txn(s);
	if (rc != ERR_OK)
		return;
	l->saved_record = 0;
	put_be(value, clock_wall_ms(), 8);
	l->sync_now = true;
	if (db_put(s, T_META, "reopened", 8, value, sizeof value, 0) != ERR_OK) {
		lmdb_abort(s);
		start_failing(s);
	} else {
		rc = finish_txn(s);
		if (rc != ERR_OK && rc != ERR_FULL) /* a full disk is not a broken one */
			start_failing(s);
		else
			log_notice("store: the file has been verified, and messages are kept again");
	}
}

static enum err lmdb_begin(struct store *s, const struct store_op *batch)
{
	struct lmdb *l = lmdb_of(s);
	if (atomic_load(&s->failing) && clock_mono_ms() - l->reopen_ms >= REOPEN_MS)
		try_recovery(s); /* also when there is never a moment without operations */
	s->batch_error = ERR_OK;
	queue_note_acked(l, batch);
	if (s->refuse_messages && l->unsynced && sync_all(s) != ERR_OK)
		return ERR_IO;
	return begin_txn(s);
}

/* Deletes in the background, in a transaction of its own, when no batch carries it along. */
static void sweep(struct store *s, bool topics)
{
	struct lmdb *l = lmdb_of(s);
	bool more = false;
	s->batch_error = ERR_OK;
	if (begin_txn(s) != ERR_OK)
		return;
	if (topics && history_sweep(s, SWEEP_TOPICS, DELETES_PER_BATCH, &more) != ERR_OK) {
		lmdb_abort(s);
		return;
	}
	if (finish_txn(s) == ERR_OK && more)
		l->sweep_ms = 0;
}

static int lmdb_idle(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	uint64_t now = clock_mono_ms();
	if (atomic_load(&s->failing)) {
		if (now - l->reopen_ms >= REOPEN_MS)
			try_recovery(s);
		return atomic_load(&s->failing) ? (int)REOPEN_MS : 0;
	}
	if (l->n_dead > 0) {
		sweep(s, false);
		return 0;
	}
	if (l->all_topics && now - l->sweep_ms >= SWEEP_MS) {
		l->sweep_ms = now;
		if (history_has_work(s, SWEEP_TOPICS)) {
			sweep(s, true);
			return l->sweep_ms ? (int)SWEEP_MS : 0;
		}
	}
	uint64_t due = sync_interval(s);
	if (l->txn && now - l->committed_ms >= due)
		finish_txn(s) == ERR_OK ? (void)0 : (void)store_count(&s->failed, 1);
	if (l->unsynced && now - l->synced_ms >= due && sync_all(s) != ERR_OK)
		return (int)REOPEN_MS;
	if (l->txn || l->unsynced)
		return (int)due;
	return l->all_topics ? (int)SWEEP_MS : -1;
}

static enum err read_u64(struct lmdb *l, MDB_txn *txn, const char *name, uint64_t *out)
{
	MDB_val k = { strlen(name), (void *)(uintptr_t)name }, v;
	int rc = mdb_get(txn, l->db.t[T_META], &k, &v);
	if (rc == MDB_SUCCESS && v.mv_size == 8)
		*out = get_be(v.mv_data, 8);
	return rc == MDB_NOTFOUND ? ERR_OK : db_err(rc);
}

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

/* Goes over a table; each says when to stop. */
typedef enum err (*row_fn)(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg);

static enum err each_row(struct store *s, MDB_txn *txn, enum table t, row_fn f, void *arg)
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
		return sync_all(s);
	enum err rc = db_err(mdb_env_sync(l->db.env, 1));
	if (rc == ERR_OK)
		synced_forget(l->dir_fd);
	return rc;
}

static enum err lmdb_open(struct store *s, char *error, size_t error_len)
{
	struct lmdb *l = calloc(1, sizeof *l);
	if (!l)
		return ERR_NOMEM;
	s->state = l;
	l->dir_fd = -1;
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

static void lmdb_close(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	if (!l)
		return;
	if (l->db.env && !atomic_load(&s->failing)) {
		if (l->txn && finish_txn(s) != ERR_OK)
			l->unsynced = false;
		if (s->options.durability == STORE_RELAXED && mdb_env_sync(l->db.env, 1) == MDB_SUCCESS)
			synced_forget(l->dir_fd);
	}
	settle(s, false);
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

/* ---- loading */

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
	if (v->mv_size < WILL_HEAD || k->mv_size != WILL_KEY)
		return ERR_CORRUPT;
	enum err rc = g->loader->will ? load_message(s, txn, get_be(v->mv_data, 8), &m) : ERR_NOT_FOUND;
	if (rc != ERR_OK)
		return rc == ERR_NOT_FOUND ? ERR_OK : rc;
	rc = g->loader->will(g->arg, get_be(k->mv_data, 8), (const char *)v->mv_data + WILL_HEAD, v->mv_size - WILL_HEAD, m);
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
		enum err rc = begin_txn(s);
		if (rc == ERR_OK)
			rc = session_end(s, number, hand_on);
		if (rc == ERR_OK)
			rc = finish_txn(s);
		else
			lmdb_abort(s);
		if (rc != ERR_OK)
			return rc;
	} while (number);
	return ERR_OK;
}

static enum err lmdb_load(struct store *s, const struct store_loader *loader, void *arg)
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

static enum err lmdb_meta_get(struct store *s, const char *name, void *value, size_t *len)
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

static enum err lmdb_meta_put_all(struct store *s, const struct store_named *values, size_t n)
{
	s->batch_error = ERR_OK;
	enum err rc = begin_txn(s);
	if (rc != ERR_OK)
		return rc;
	for (size_t i = 0; i < n && rc == ERR_OK; i++) {
		struct store_op op = { .verb = STORE_META, .u.meta = { .name = values[i].name, .value = values[i].value, .len = values[i].len } };
		rc = meta_op(s, &op);
	}
	if (rc == ERR_OK)
		return finish_txn(s);
	lmdb_abort(s);
	return rc;
}

static enum err lmdb_meta_each(struct store *s, const char *prefix, enum err (*fn)(void *arg, const char *name, const void *value, size_t len),
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

/* ---- the reader thread's side */

static enum err lmdb_read(struct store *s, struct store_op *op)
{
	struct lmdb *l = lmdb_of(s);
	pthread_mutex_lock(&l->read_lock);
	enum err rc = atomic_load(&s->failing) ? ERR_IO : ERR_OK;
	if (op->verb == STORE_PAGE) {
		op->u.page.entries = NULL;
		op->u.page.n_entries = 0;
		op->u.page.end = rc == ERR_OK;
		op->u.page.last_record = 0;
	} else {
		op->u.history.entries = NULL;
		op->u.history.n_entries = 0;
		op->u.history.end = rc == ERR_OK;
		op->u.history.next = op->u.history.after;
		op->u.history.last_record = 0;
	}
	if (rc == ERR_OK)
		rc = db_err(mdb_txn_renew(l->read_txn)); /* fresh: no page is held longer than one read takes */
	if (rc == ERR_OK) {
		rc = op->verb == STORE_PAGE ? read_page(s, op) : read_history(s, op);
		mdb_txn_reset(l->read_txn);
	}
	pthread_mutex_unlock(&l->read_lock);
	return rc;
}

const struct store_backend store_lmdb = {
	.reader = true, .open = lmdb_open, .load = lmdb_load, .meta_get = lmdb_meta_get, .meta_put_all = lmdb_meta_put_all,
	.meta_each = lmdb_meta_each, .begin = lmdb_begin,
	.apply = lmdb_apply, .commit = lmdb_commit, .abort = lmdb_abort, .publish_reads = lmdb_publish_reads, .read = lmdb_read,
	.idle = lmdb_idle, .close = lmdb_close,
};
