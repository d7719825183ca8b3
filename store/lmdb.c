/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The disk backend: which operation is whose, batches, and what is done between them. Writer thread, but for opening, loading and
 * closing. */
#include "store/lmdb_int.h"

#include "base/clock.h"

#define UNCOMMITTED_MAX (4u << 20)   /* durability off: bytes of messages between commits; the reserved disk space holds them */
#define SWEEP_TOPICS 256u
#define SWEEP_MS 1000u

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
		txn_abort(s);
		return rc;
	}
	if (s->options.durability == STORE_OFF && !l->sync_now && clock_mono_ms() - l->committed_ms < s->options.sync_interval_ms
	    && l->uncommitted_bytes < UNCOMMITTED_MAX && l->uncommitted_bytes < l->map_size / 64)
		return ERR_OK;
	rc = txn_finish(s);
	/* Pages are used again only behind the last sync: where they are scarce it cannot wait. */
	if (rc == ERR_OK && l->unsynced && (l->tight || clock_mono_ms() - l->synced_ms >= s->options.sync_interval_ms))
		rc = txn_sync_all(s);
	return rc;
}

static enum err lmdb_publish_reads(struct store *s)
{
	return lmdb_of(s)->txn ? txn_finish(s) : ERR_OK;
}

static enum err lmdb_apply(struct store *s, struct store_op *op)
{
	switch (op->verb) {
	case STORE_SESSION_NEW:
		return stored_session_new(s, op);
	case STORE_SESSION_STATE:
		return stored_session_state(s, op);
	case STORE_SESSION_END:
		return stored_session_end(s, op->u.session.number, op->u.session.hand_on);
	case STORE_SUBSCRIBE: case STORE_UNSUBSCRIBE:
		return stored_subscribe(s, op);
	case STORE_PUBLISH:
		lmdb_of(s)->uncommitted_bytes += msg_size(op->u.publish.msg);
		lmdb_of(s)->bytes_since_look += msg_size(op->u.publish.msg);
		return queue_publish(s, op);
	case STORE_ACKED: case STORE_SENT: case STORE_RELEASED:
		return queue_deliver(s, op);
	case STORE_QOS2_DONE:
		return stored_qos2_done(s, op);
	case STORE_PAST:
		return past_move(s, op);
	case STORE_PAST_SENT:
		return past_sent(s, op);
	case STORE_WILL_PUT:
		return stored_will_put(s, op);
	case STORE_WILL_DROP:
		return stored_will_remove(s, op->u.will.number);
	case STORE_META:
		return meta_op(s, op);
	case STORE_PAGE: case STORE_HISTORY: case STORE_BARRIER:
		break;
	}
	return ERR_INVALID;
}

static enum err lmdb_begin(struct store *s, const struct store_op *batch)
{
	struct lmdb *l = lmdb_of(s);
	if (atomic_load(&s->failing) && clock_mono_ms() - l->reopen_ms >= REOPEN_MS)
		lmdb_recover(s); /* also when there is never a moment without operations */
	s->batch_error = ERR_OK;
	queue_note_acked(l, batch);
	if (s->refuse_messages && l->unsynced && txn_sync_all(s) != ERR_OK)
		return ERR_IO;
	return txn_begin(s);
}

/* Deletes in the background, in a transaction of its own, when no batch carries it along. */
static void sweep(struct store *s, bool topics)
{
	struct lmdb *l = lmdb_of(s);
	bool more = false;
	s->batch_error = ERR_OK;
	if (txn_begin(s) != ERR_OK)
		return;
	if (topics && history_sweep(s, SWEEP_TOPICS, DELETES_PER_BATCH, &more) != ERR_OK) {
		txn_abort(s);
		return;
	}
	if (txn_finish(s) == ERR_OK && more)
		l->sweep_ms = 0;
}

static int lmdb_idle(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	uint64_t now = clock_mono_ms();
	if (atomic_load(&s->failing)) {
		if (now - l->reopen_ms >= REOPEN_MS)
			lmdb_recover(s);
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
	uint64_t due = s->options.sync_interval_ms;
	if (l->txn && now - l->committed_ms >= due)
		txn_finish(s) == ERR_OK ? (void)0 : (void)store_count(&s->failed, 1);
	if (l->unsynced && now - l->synced_ms >= due && txn_sync_all(s) != ERR_OK)
		return (int)REOPEN_MS;
	if (l->txn || l->unsynced)
		return (int)due;
	return l->all_topics ? (int)SWEEP_MS : -1;
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
	.apply = lmdb_apply, .commit = lmdb_commit, .abort = txn_abort, .publish_reads = lmdb_publish_reads, .read = lmdb_read,
	.idle = lmdb_idle, .close = lmdb_close,
};
