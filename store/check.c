/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Verifies a store read-only: every row is well formed, every reference leads to a message, every message is referred to as often as it
 * says, and, with the key, opens. It runs in a child process: what a damaged file does to the library must not end the caller. */
#include "store/lmdb_int.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMPLAINTS_MAX 20u

struct check {
	struct db db;
	const struct store_crypto *crypto;
	FILE *out;
	MDB_txn *txn;
	uint64_t problems, rows[T_COUNT], messages, bytes, unreadable, last_record;
	uint64_t *refs;              /* one record id per reference; sorted later */
	size_t n_refs, refs_room;
	enum err rc;                 /* what keeps the check itself from going on */
};

static void complain(struct check *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void complain(struct check *c, const char *fmt, ...)
{
	if (++c->problems > COMPLAINTS_MAX)
		return;
	va_list args;
	va_start(args, fmt);
	fputs("problem: ", c->out);
	vfprintf(c->out, fmt, args);
	fputc('\n', c->out);
	va_end(args);
}

static void refer(struct check *c, uint64_t record)
{
	if (c->n_refs == c->refs_room) {
		size_t room = c->refs_room ? 2 * c->refs_room : 4096;
		uint64_t *bigger = realloc(c->refs, room * sizeof *bigger);
		if (!bigger) {
			c->rc = ERR_NOMEM;
			return;
		}
		c->refs = bigger;
		c->refs_room = room;
	}
	c->refs[c->n_refs++] = record;
}

static bool has_row(const struct check *c, enum table t, const void *key, size_t len)
{
	MDB_val k = { len, (void *)(uintptr_t)key }, v;
	return mdb_get(c->txn, c->db.t[t], &k, &v) == MDB_SUCCESS;
}

static bool session_exists(const struct check *c, const void *number)
{
	return has_row(c, T_SESSIONS, number, 4) || has_row(c, T_DEAD, number, 4);
}

/* ---- one row of each table */

static void check_session(struct check *c, const MDB_val *k, const MDB_val *v)
{
	struct session_record r;
	if (session_decode(k, v, &r) != ERR_OK)
		complain(c, "a session's row is malformed");
}

static void check_subscription(struct check *c, const MDB_val *k, const MDB_val *v)
{
	const uint8_t *key = k->mv_data;
	if (k->mv_size != NAME_KEY_MAX || v->mv_size < SUBSCRIPTION_HEAD)
		complain(c, "a subscription's row is malformed");
	else if (!has_row(c, T_SESSIONS, key, 4))
		complain(c, "a subscription of session %u, which does not exist", (unsigned)get_be(key, 4));
	else if (get_be(key + 4, 8) != siphash24(&c->db.hash_key, (const uint8_t *)v->mv_data + SUBSCRIPTION_HEAD, v->mv_size - SUBSCRIPTION_HEAD))
		complain(c, "a subscription of session %u has a wrong hash", (unsigned)get_be(key, 4));
}

static void check_replay(struct check *c, const MDB_val *k, const MDB_val *v)
{
	const uint8_t *key = k->mv_data;
	store_session session;
	struct store_past p;
	if (past_row_decode(k, v, &session, &p) != ERR_OK)
		complain(c, "a replay's row is malformed");
	else if (!has_row(c, T_SESSIONS, key, 4))
		complain(c, "a replay of session %u, which does not exist", session);
	else if (get_be(key + 4, 8) != siphash24(&c->db.hash_key, (const uint8_t *)v->mv_data + REPLAY_HEAD, v->mv_size - REPLAY_HEAD))
		complain(c, "a replay of session %u has a wrong hash", session);
	else if (p.after > c->last_record || p.sent > c->last_record || p.upto > c->last_record)
		complain(c, "a replay of session %u is beyond the last record", session);
}

static void check_queue(struct check *c, const MDB_val *k, const MDB_val *v)
{
	struct queue_entry e;
	store_session session;
	if (queue_entry_decode(k, v, &session, &e) != ERR_OK) {
		complain(c, "a queue entry is malformed");
		return;
	}
	if (!session_exists(c, k->mv_data))
		complain(c, "a queue entry of session %u, which does not exist", session);
	if (e.record > c->last_record)
		complain(c, "record %llu is beyond the last one", (unsigned long long)e.record);
	if (e.state != STORE_PUBREL)
		refer(c, e.record);
}

static void check_received(struct check *c, const MDB_val *k, const MDB_val *v)
{
	(void)v;
	if (k->mv_size != 6 || !has_row(c, T_SESSIONS, k->mv_data, 4))
		complain(c, "a received packet identifier is malformed or of no session");
}

static void check_retained(struct check *c, const MDB_val *k, const MDB_val *v)
{
	const uint8_t *value = v->mv_data;
	if (k->mv_size != 9 || v->mv_size < 8 || get_be(k->mv_data, 8) != siphash24(&c->db.hash_key, value + 8, v->mv_size - 8))
		complain(c, "a retained message's row is malformed");
	else
		refer(c, get_be(value, 8));
}

static void check_will(struct check *c, const MDB_val *k, const MDB_val *v)
{
	struct will_row row;
	if (k->mv_size != WILL_KEY || !will_row_read(v, &row))
		complain(c, "a will's row is malformed");
	else
		refer(c, row.record);
}

static void check_topic(struct check *c, const MDB_val *k, const MDB_val *v)
{
	if (k->mv_size != 4 || v->mv_size < TOPIC_HEAD) {
		complain(c, "a topic's row is malformed");
		return;
	}
	MDB_cursor *cursor;
	uint64_t count = 0, bytes = 0;
	uint8_t start[HISTORY_KEY] = { 0 };
	memcpy(start, k->mv_data, 4);
	MDB_val key = { sizeof start, start }, value;
	if (mdb_cursor_open(c->txn, c->db.t[T_HISTORY], &cursor) != MDB_SUCCESS) {
		c->rc = ERR_NOMEM;
		return;
	}
	for (int r = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); r == MDB_SUCCESS; r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		if (key.mv_size != HISTORY_KEY || value.mv_size != HISTORY_VALUE || memcmp(key.mv_data, start, 4) != 0)
			break;
		count++;
		bytes += get_be((const uint8_t *)value.mv_data + 8, 4);
	}
	mdb_cursor_close(cursor);
	if (count != get_be(v->mv_data, 8) || bytes != get_be((const uint8_t *)v->mv_data + 8, 8))
		complain(c, "topic %u counts its past wrongly", (unsigned)get_be(k->mv_data, 4));
}

static void check_topic_name(struct check *c, const MDB_val *k, const MDB_val *v)
{
	if (k->mv_size != 9 || v->mv_size < 4 || !has_row(c, T_TOPICS, v->mv_data, 4))
		complain(c, "a topic's name is malformed or of no topic");
}

static void check_history(struct check *c, const MDB_val *k, const MDB_val *v)
{
	if (k->mv_size != HISTORY_KEY || v->mv_size != HISTORY_VALUE) {
		complain(c, "a row of history is malformed");
		return;
	}
	const uint8_t *key = k->mv_data;
	if (!has_row(c, T_TOPICS, key, 4))
		complain(c, "history of a topic that does not exist");
	if (!has_row(c, T_HISTORY_ALL, key + 4, 8))
		complain(c, "record %llu is missing in the history over all topics", (unsigned long long)get_be(key + 4, 8));
	refer(c, get_be(key + 4, 8));
}

static void check_reference(struct check *c, const MDB_val *k, const MDB_val *v)
{
	if (k->mv_size != MESSAGE_KEY || v->mv_size != 4 || get_be(v->mv_data, 4) < 2 || !has_row(c, T_MESSAGES, k->mv_data, MESSAGE_KEY))
		complain(c, "a count of references is malformed or of no message");
}

static void check_dead(struct check *c, const MDB_val *k, const MDB_val *v)
{
	if (k->mv_size != 4 || v->mv_size != 1 || *(const uint8_t *)v->mv_data > DEAD_HAND_ON)
		complain(c, "an ended session's row is malformed");
	else if (has_row(c, T_SESSIONS, k->mv_data, 4))
		complain(c, "session %u has ended, and is there", (unsigned)get_be(k->mv_data, 4));
}

/* A small value of the broker's; the store's own have other names. */
static void check_meta(struct check *c, const MDB_val *k, const MDB_val *v)
{
	char name[STORE_NAME_MAX + 1], error[256] = "";
	const char *key = k->mv_data;
	size_t len = k->mv_size;
	if (len < 2 || key[0] != '.' || !c->crypto || !c->crypto->check_value)
		return;
	if (len > sizeof name) {
		complain(c, "a value's name is malformed");
		return;
	}
	memcpy(name, key + 1, len - 1);
	name[len - 1] = '\0';
	enum err rc = c->crypto->check_value(c->crypto->arg, name, v->mv_data, v->mv_size, error, sizeof error);
	if (rc == ERR_NOMEM)
		c->rc = rc;
	else if (rc != ERR_OK)
		complain(c, "value \"%s\": %s", name, error);
}

static void check_nothing(struct check *c, const MDB_val *k, const MDB_val *v)
{
	(void)c, (void)k, (void)v;
}

/* ---- messages, against the references collected before */

static int compare_u64(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return x < y ? -1 : x > y;
}

static uint64_t references_stored(const struct check *c, const void *key)
{
	MDB_val k = { MESSAGE_KEY, (void *)(uintptr_t)key }, v;
	return mdb_get(c->txn, c->db.t[T_REFERENCES], &k, &v) == MDB_SUCCESS && v.mv_size == 4 ? get_be(v.mv_data, 4) : 1;
}

static void check_contents(struct check *c, uint64_t record)
{
	struct msg *m;
	if (c->db.sealed && !c->crypto) {
		c->unreadable++;
		return;
	}
	enum err rc = message_get(&c->db, c->crypto, c->txn, record, &m);
	if (rc != ERR_OK)
		complain(c, "record %llu: %s", (unsigned long long)record, err_text(rc));
	else
		msg_unref(m);
}

static void check_messages(struct check *c)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	size_t at = 0;
	if (c->n_refs)
		qsort(c->refs, c->n_refs, sizeof *c->refs, compare_u64);
	if (mdb_cursor_open(c->txn, c->db.t[T_MESSAGES], &cursor) != MDB_SUCCESS) {
		c->rc = ERR_NOMEM;
		return;
	}
	int r;
	uint64_t record = 0;
	while ((r = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == MDB_SUCCESS) {
		c->bytes += v.mv_size;
		if (k.mv_size == MESSAGE_PIECE_KEY && get_be(k.mv_data, 8) == record)
			continue;
		if (k.mv_size != MESSAGE_KEY) {
			complain(c, "a message's key is malformed");
			continue;
		}
		record = get_be(k.mv_data, 8);
		c->messages++;
		uint64_t n = 0;
		for (; at < c->n_refs && c->refs[at] < record; at++)
			complain(c, "record %llu is referred to and missing", (unsigned long long)c->refs[at]);
		for (; at < c->n_refs && c->refs[at] == record; at++)
			n++;
		if (n != references_stored(c, k.mv_data))
			complain(c, "record %llu is referred to %llu times and counts %llu", (unsigned long long)record, (unsigned long long)n,
			    (unsigned long long)references_stored(c, k.mv_data));
		check_contents(c, record);
	}
	for (; at < c->n_refs; at++)
		complain(c, "record %llu is referred to and missing", (unsigned long long)c->refs[at]);
	if (r != MDB_NOTFOUND)
		complain(c, "the messages cannot be read to their end: %s", mdb_strerror(r));
	mdb_cursor_close(cursor);
}

static void check_table(struct check *c, enum table t, void (*row)(struct check *c, const MDB_val *k, const MDB_val *v))
{
	MDB_cursor *cursor;
	MDB_val k, v;
	if (mdb_cursor_open(c->txn, c->db.t[t], &cursor) != MDB_SUCCESS) {
		c->rc = ERR_NOMEM;
		return;
	}
	int r;
	while ((r = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) == MDB_SUCCESS) {
		c->rows[t]++;
		row(c, &k, &v);
	}
	if (r != MDB_NOTFOUND)
		complain(c, "table \"%s\" cannot be read to its end: %s", table_names[t], mdb_strerror(r));
	mdb_cursor_close(cursor);
}

static void check_tables(struct check *c)
{
	static void (*const rows[T_COUNT])(struct check *c, const MDB_val *k, const MDB_val *v) = {
		[T_META] = check_meta, [T_SESSIONS] = check_session, [T_SUBSCRIPTIONS] = check_subscription, [T_QUEUE] = check_queue,
		[T_RECEIVED] = check_received, [T_REFERENCES] = check_reference, [T_RETAINED] = check_retained, [T_WILLS] = check_will,
		[T_TOPICS] = check_topic, [T_TOPIC_NAMES] = check_topic_name, [T_HISTORY] = check_history, [T_HISTORY_ALL] = check_nothing,
		[T_REPLAYS] = check_replay, [T_DEAD] = check_dead,
	};
	MDB_val k = { 6, (void *)(uintptr_t)"record" }, v;
	if (mdb_get(c->txn, c->db.t[T_META], &k, &v) == MDB_SUCCESS && v.mv_size == 8)
		c->last_record = get_be(v.mv_data, 8);
	for (int t = 0; t < T_COUNT; t++)
		if (rows[t])
			check_table(c, (enum table)t, rows[t]);
	check_messages(c);
	if (c->rows[T_HISTORY] != c->rows[T_HISTORY_ALL])
		complain(c, "the two indexes of history differ in length");
}

static void report(const struct check *c, const char *dir)
{
	uint64_t size = 0, used = 0, end;
	(void)!db_space(&c->db, true, &size, &used, &end);
	fprintf(c->out, "store %s: format %u, %s\n", dir, FORMAT_VERSION, c->db.sealed ? "encrypted" : "not encrypted");
	fprintf(c->out, "sessions %llu\nsubscriptions %llu\nqueued %llu\nreceived packet identifiers %llu\nretained %llu\nwills %llu\n",
	    (unsigned long long)c->rows[T_SESSIONS], (unsigned long long)c->rows[T_SUBSCRIPTIONS], (unsigned long long)c->rows[T_QUEUE],
	    (unsigned long long)c->rows[T_RECEIVED], (unsigned long long)c->rows[T_RETAINED], (unsigned long long)c->rows[T_WILLS]);
	fprintf(c->out, "topics with history %llu\nhistory %llu\nmessages %llu\nmessage bytes %llu\nlast record %llu\nused bytes %llu\n",
	    (unsigned long long)c->rows[T_TOPICS], (unsigned long long)c->rows[T_HISTORY], (unsigned long long)c->messages,
	    (unsigned long long)c->bytes, (unsigned long long)c->last_record, (unsigned long long)used);
	if (c->unreadable)
		fprintf(c->out, "contents not verified (no key): %llu\n", (unsigned long long)c->unreadable);
	if (c->problems > COMPLAINTS_MAX)
		fprintf(c->out, "and %llu problems more\n", (unsigned long long)(c->problems - COMPLAINTS_MAX));
	fprintf(c->out, "%s\n", c->problems ? "DAMAGED" : "sound");
}

/* Before the library reads it. */
static bool form_is_sound(const char *dir, FILE *out)
{
	char path[4096];
	uint64_t page;
	const char *what = "cannot be opened";
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum err rc = fd >= 0 ? pages_verify(fd, true, &page, &what) : ERR_OK; /* what is wrong with it, LMDB says */
	if (fd >= 0)
		close(fd);
	if (rc != ERR_OK)
		fprintf(out, "problem: %s: page %llu %s\nDAMAGED\n", path, (unsigned long long)page, what ? what : err_text(rc));
	return rc == ERR_OK;
}

/* NULL: contents cannot be verified; the report says why. */
static const struct store_crypto *unlocked(struct check *c, const struct store_crypto *crypto)
{
	char error[512];
	uint8_t key[STORE_NAME_MAX + 2];
	enum err rc = ERR_NOT_FOUND;
	if (!crypto || !crypto->unlock)
		return crypto;
	MDB_val k = { meta_key(crypto->unlock_meta, key), key }, v;
	if (mdb_get(c->txn, c->db.t[T_META], &k, &v) != MDB_SUCCESS)
		(void)snprintf(error, sizeof error, "it has no key record");
	else if ((rc = crypto->unlock(crypto->arg, v.mv_data, v.mv_size, error, sizeof error)) == ERR_OK)
		return crypto;
	if (rc == ERR_CORRUPT)
		complain(c, "value \"%s\": %s", crypto->unlock_meta, error);
	fprintf(c->out, "messages' contents are not verified: %s\n", error);
	return NULL;
}

static enum err check_in_child(const char *dir, const struct store_crypto *crypto, FILE *out)
{
	struct check c = { .crypto = crypto, .out = out };
	char error[512] = "";
	if (!form_is_sound(dir, out))
		return ERR_CORRUPT;
	enum err rc = db_open(&c.db, dir, NULL, false, MDB_RDONLY | MDB_NOLOCK, error, sizeof error);
	if (rc != ERR_OK) {
		fprintf(out, "%s\n", error);
		return rc;
	}
	rc = db_err(mdb_txn_begin(c.db.env, NULL, MDB_RDONLY, &c.txn));
	if (rc == ERR_OK) {
		c.crypto = c.db.sealed ? unlocked(&c, crypto) : NULL;
		check_tables(&c);
		report(&c, dir);
		mdb_txn_abort(c.txn);
		rc = c.rc != ERR_OK ? c.rc : c.problems ? ERR_CORRUPT : ERR_OK;
	}
	db_close(&c.db);
	free(c.refs);
	return rc;
}

enum err store_check(const char *dir, const struct store_crypto *crypto, FILE *out)
{
	char error[512];
	int status, fd = db_lock(dir, false, error, sizeof error);
	if (fd < 0) {
		fprintf(out, "%s\n", error);
		return access(dir, F_OK) == 0 ? ERR_EXISTS : ERR_NOT_FOUND;
	}
	fflush(out);
	pid_t pid = fork();
	if (pid == 0) {
		enum err rc = check_in_child(dir, crypto, out);
		fflush(out);
		_exit((int)rc);
	}
	bool ended = pid > 0 && waitpid(pid, &status, 0) == pid;
	close(fd);
	if (!ended)
		return ERR_NOMEM;
	if (WIFEXITED(status))
		return (enum err)WEXITSTATUS(status);
	fprintf(out, "DAMAGED: reading it ended in signal %d\n", WTERMSIG(status));
	return ERR_CORRUPT;
}
