/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The disk backend's parts: lmdb.c (operations, batches), open.c, load.c, txn.c (transactions, space, failures), db.c (file, tables), pages.c (the file's
 * form), message.c (message records), session_rows.c, queue.c (sessions' queues), history.c, past.c (replays), meta.c, read.c (pages). The layout
 * of the tables is in docs/store.md. */
#ifndef STORE_LMDB_INT_H
#define STORE_LMDB_INT_H

#include "store/store_int.h"

#include "base/be.h"
#include "base/siphash.h"

#include <lmdb.h>
#include <string.h>

#define FORMAT_VERSION 1u
#define DELETES_PER_BATCH 1000u /* of what is deleted in the background */

enum table {
	T_META, T_SESSIONS, T_SUBSCRIPTIONS, T_QUEUE, T_RECEIVED, T_MESSAGES, T_REFERENCES, T_RETAINED, T_WILLS, T_TOPICS, T_TOPIC_NAMES,
	T_HISTORY, T_HISTORY_ALL, T_REPLAYS, T_DEAD, T_COUNT
};
extern const char *const table_names[T_COUNT];

struct db {                                 /* the open file */
	MDB_env *env;
	MDB_dbi t[T_COUNT];
	struct siphash_key hash_key;        /* of the file: where names are hashed into keys */
	bool sealed;                        /* messages are encrypted */
};

struct stored_session {                     /* writer thread; what a quota needs, for every session of the file */
	struct map_node node;
	store_session number;
	struct session_counts {
		uint64_t messages, bytes;   /* queue entries with a message */
		uint64_t queued_from;       /* no entry before this record is STORE_QUEUED */
		bool over_quota;
	} now, saved;                       /* saved: as of the last commit, when touched */
	uint64_t last_record;               /* the last one published to it since the start */
	bool touched, created, ended, swept;/* in the open transaction; swept: nothing is left of an ended one */
	struct stored_session *next_touched;
};

struct stored_topic {                       /* writer thread; of a topic with history */
	struct map_node node;
	uint32_t id;
	struct topic_counts {
		uint64_t count, bytes;
		uint64_t oldest_ms;         /* a lower bound; 0: not known */
	} now, saved;
	bool touched, created;
	struct stored_topic *next_touched;
	struct stored_topic *next, **prev;  /* all of them, for the sweep */
	size_t len;
	uint8_t name[];
};

struct lmdb {
	struct db db;
	int dir_fd;                         /* locked against a second broker */
	pthread_mutex_t read_lock;          /* held while a page is read, and while the environment is opened anew */
	MDB_txn *read_txn;                  /* read_lock; reset between pages */
	/* all below: writer thread */
	MDB_txn *txn;                       /* open between begin and commit (durability off: longer) */
	struct map sessions, topics;
	struct stored_session *touched_sessions;
	struct stored_topic *touched_topics, *all_topics, *sweep_at;
	uint32_t next_topic;
	store_session *dead;                /* ended sessions whose queues are still being deleted */
	size_t n_dead, saved_dead, dead_room; /* saved: as of the last commit */
	bool dead_finished;                 /* the last of dead, with the open transaction */
	bool sync_now;                      /* this commit is synced whatever the durability */
	bool tight, very_tight;             /* less than 10 %, 5 % of the file is free, or the disk is full */
	bool disk_full;
	enum err reopen_error;              /* of the last try while failing, so that the log says it once */
	uint64_t reserved_to;               /* bytes: disk space is allocated up to there */
	uint64_t map_size, used, bytes_since_look; /* at the last look at the space, and messages since */
	uint64_t note;                      /* number of the last note in the file "synced" */
	bool unsynced;                      /* durability relaxed */
	size_t uncommitted_bytes;
	uint64_t committed_ms, synced_ms, space_ms, reopen_ms, sweep_ms; /* monotonic */
	size_t good_txn;                    /* the last transaction known to be committed */
	uint64_t saved_record;              /* last_record as stored */
	MDB_txn *pin;                       /* relaxed: a reader at the last synced state, so that its pages stay */
	struct acked {                      /* what the batch acknowledges: a hash table, empty slots have record 0 */
		uint64_t record;
		store_session session;
	} *acked;
	size_t acked_room;                  /* slots, a power of two; 0: none */
	size_t acked_mask;                  /* of the batch in hand; 0: it is not worth a table */
	uint8_t *scratch;                   /* for additional data and long messages */
	size_t scratch_room;
};

static inline struct lmdb *lmdb_of(const struct store *s)
{
	return s->state;
}

/* ---- bytes: keys are big endian (base/be.h), so that they sort; values too, for one pair of functions */

/* Rows, as docs/store.md lists them. */
#define SESSION_HEAD 24u       /* version 1, flags 1, client id 2, CN 2, 0 2, expiry 8, time 8; client id and CN follow */
#define SESSION_CONNECTED 1u
#define SESSION_OVER_QUOTA 2u
#define SUBSCRIPTION_HEAD 5u   /* subscription identifier 4, options 1; the filter follows */
#define REPLAY_HEAD 40u        /* read up to 8, sent up to 8, and of where it began: up to 8, newest 8, since ms 8; the filter follows */
#define DEAD_HAND_ON 1u        /* value of an ended session whose queue is not deleted yet: it is to be handed on */
#define WILL_KEY 8u            /* number */
#define WILL_HEAD 8u           /* record; its highest bit: a fingerprint follows; then the client id */
#define WILL_FINGERPRINT (UINT64_C(1) << 63)
#define TOPIC_HEAD 16u         /* count 8, bytes 8; the name follows */
#define HISTORY_KEY 12u        /* topic 4, record 8 */
#define HISTORY_VALUE 12u      /* time 8, size 4 (by topic); time 8, topic 4 (over all) */
#define MESSAGE_KEY 8u         /* record; pieces after the first have their number, 4, behind it */
#define MESSAGE_PIECE_KEY 12u

struct session_record {
	store_session number;
	uint8_t flags;
	const char *client_id, *cn;
	size_t client_id_len, cn_len;
	uint64_t expiry_s, time_ms;
};

/* Pointers into v. ERR_CORRUPT. */
enum err session_decode(const MDB_val *k, const MDB_val *v, struct session_record *out) MUST_CHECK;

#define QUEUE_KEY 12u   /* session 4, record 8 */
#define QUEUE_VALUE 14u /* state 1, QoS 1, RETAIN 1, share mark 1, packet identifier 2, subscription identifier 4, size 4 */

struct queue_entry {
	uint64_t record;
	uint32_t sub_id, size;  /* size: msg_size, 0 without message */
	uint16_t packet_id;
	uint8_t state, qos, retain, share;
};

static inline void queue_key(uint8_t key[static QUEUE_KEY], store_session session, uint64_t record)
{
	put_be(put_be(key, session, 4), record, 8);
}

/* Of an ended session's row. */
static inline bool is_to_hand_on(const MDB_val *v)
{
	return v->mv_size == 1 && *(const uint8_t *)v->mv_data == DEAD_HAND_ON;
}

void queue_entry_encode(uint8_t value[static QUEUE_VALUE], const struct queue_entry *e);
/* ERR_CORRUPT when key and value are no queue entry. */
enum err queue_entry_decode(const MDB_val *key, const MDB_val *value, store_session *session, struct queue_entry *e) MUST_CHECK;

/* ---- db.c */

enum err db_err(int rc); /* of LMDB's or the system's */
/* Opens what is there and verifies its version and form, or creates it. Nothing is changed when it fails on existing files. */
enum err db_open(struct db *db, const char *dir, const struct store_options *o, bool create, unsigned flags, char *error, size_t error_len);
void db_close(struct db *db);
/* The table's key of a meta record of the broker's; returns its length. */
size_t meta_key(const char *name, uint8_t key[static STORE_NAME_MAX + 2]);
/* Locks dir against another broker: a descriptor, or -1 with the reason. create: make the directory. */
int db_lock(const char *dir, bool create, char *error, size_t error_len);
/* What relaxed keeps beside the file, so that a power cut finds the last synced state. sync: writes everything to disk and notes it;
 * restore: before opening; forget: everything is synced for good. */
enum err synced_note(const struct db *db, int dir_fd, uint64_t *number) MUST_CHECK;
enum err synced_restore(int dir_fd, uint64_t *number, char *error, size_t error_len) MUST_CHECK; /* number: of the last note */
void synced_forget(int dir_fd);
/* Bytes: what the file may grow to, what is in use, and where the last page ends. exact: free pages before that are counted even when there
 * is plenty behind. */
enum err db_space(const struct db *db, bool exact, uint64_t *size, uint64_t *used, uint64_t *end);

/* In the writer's transaction. Any failure but ERR_NOT_FOUND sets s->batch_error. */
enum err db_get(struct store *s, enum table t, const void *key, size_t key_len, MDB_val *value) MUST_CHECK;
enum err db_put(struct store *s, enum table t, const void *key, size_t key_len, const void *value, size_t len, unsigned flags) MUST_CHECK;
enum err db_del(struct store *s, enum table t, const void *key, size_t key_len) MUST_CHECK;
enum err db_fail(struct store *s, int rc); /* notes rc as the batch's error */
enum err db_cursor(struct store *s, enum table t, MDB_cursor **c) MUST_CHECK;

/* Names are found by hash: keys are prefix (0 or 4 bytes), hash 8, number 1; values hold the name behind `skip` bytes. key_len: of the
 * result. ERR_NOT_FOUND: key is where it would go. */
#define NAME_KEY_MAX 13u
enum err name_find(const struct db *db, MDB_txn *txn, enum table t, const uint8_t *prefix, size_t prefix_len, const uint8_t *name, size_t len,
    size_t skip, uint8_t key[static NAME_KEY_MAX], MDB_val *value) MUST_CHECK;

enum err scratch_reserve(struct lmdb *l, size_t len) MUST_CHECK;

/* ---- session_rows.c: writer thread, in a transaction */

enum err stored_session_new(struct store *s, const struct store_op *op) MUST_CHECK;
enum err stored_session_state(struct store *s, const struct store_op *op) MUST_CHECK;
/* hand_on: its queue is kept until it has been handed on, and a second call without it says so. */
enum err stored_session_end(struct store *s, store_session number, bool hand_on) MUST_CHECK;
void stored_sessions_settle(struct store *s, bool committed); /* what the transaction did to them in memory becomes final, or is undone */
enum err stored_subscribe(struct store *s, const struct store_op *op) MUST_CHECK; /* STORE_SUBSCRIBE, STORE_UNSUBSCRIBE */
enum err stored_qos2_done(struct store *s, const struct store_op *op) MUST_CHECK;
/* A will's row; views borrow from v. False: malformed. */
struct will_row { uint64_t record; const uint8_t *fingerprint; const char *client_id; size_t client_id_len; };
bool will_row_read(const MDB_val *v, struct will_row *out) MUST_CHECK;
enum err stored_will_put(struct store *s, const struct store_op *op) MUST_CHECK;
enum err stored_will_remove(struct store *s, uint64_t number) MUST_CHECK; /* ERR_OK also if there is none */

/* ---- txn.c: writer thread, or before it runs */

enum err txn_begin(struct store *s) MUST_CHECK;    /* ERR_IO while failing */
enum err txn_finish(struct store *s) MUST_CHECK;   /* commits; on failure it is undone, in memory too */
void txn_abort(struct store *s);
enum err txn_sync_all(struct store *s) MUST_CHECK; /* relaxed: everything committed so far goes to disk, and stays there until the next time */
void txn_settle(struct store *s, bool committed);
void txn_start_failing(struct store *s);           /* nothing is believed any more until the file has been opened anew and verified */

/* ---- open.c: writer thread, or before and after it runs */

#define REOPEN_MS 1000u /* between tries while failing */

typedef enum err (*row_fn)(struct store *s, MDB_txn *txn, const MDB_val *k, const MDB_val *v, void *arg);
enum err each_row(struct store *s, MDB_txn *txn, enum table t, row_fn f, void *arg) MUST_CHECK; /* over a table, until f fails */
enum err lmdb_open(struct store *s, char *error, size_t error_len) MUST_CHECK;
void lmdb_recover(struct store *s); /* a first write must go through before the store is believed again */
void lmdb_close(struct store *s);

/* ---- load.c, meta.c */

enum err lmdb_load(struct store *s, const struct store_loader *loader, void *arg) MUST_CHECK;
enum err meta_op(struct store *s, const struct store_op *op) MUST_CHECK; /* in a transaction */
enum err lmdb_meta_get(struct store *s, const char *name, void *value, size_t *len) MUST_CHECK;
enum err lmdb_meta_put_all(struct store *s, const struct store_named *values, size_t n) MUST_CHECK;
enum err lmdb_meta_each(struct store *s, const char *prefix, enum err (*fn)(void *arg, const char *name, const void *value, size_t len),
    void *arg) MUST_CHECK;

/* ---- pages.c */

/* Whether every page of the file has the form that LMDB will rely on; all: the leaves of the table of messages too. ERR_CORRUPT: *page is
 * the one, *what is wrong with it. */
enum err pages_verify(int fd, bool all, uint64_t *page, const char **what) MUST_CHECK;

/* ---- message.c */

/* Writes m under record with refs references (>= 1). */
enum err message_put(struct store *s, uint64_t record, const struct msg *m, uint32_t refs) MUST_CHECK;
/* One reference more. ERR_NOT_FOUND: the message is gone. */
enum err message_ref(struct store *s, uint64_t record) MUST_CHECK;
/* Takes one reference away; the last one takes the message. */
enum err message_unref(struct store *s, uint64_t record) MUST_CHECK;
/* Reads and opens one into *out (one reference). ERR_CORRUPT, ERR_NOT_FOUND, ERR_NOMEM, ERR_IO. */
enum err message_get(const struct db *db, const struct store_crypto *crypto, MDB_txn *txn, uint64_t record, struct msg **out) MUST_CHECK;

/* ---- queue.c: writer thread, in a transaction */

struct stored_session *session_find(const struct lmdb *l, store_session number);
struct stored_session *session_add(struct lmdb *l, store_session number); /* NULL: no memory */
void session_touch(struct lmdb *l, struct stored_session *session);       /* before it changes */
enum err queue_publish(struct store *s, struct store_op *op) MUST_CHECK;
enum err queue_deliver(struct store *s, struct store_op *op) MUST_CHECK;
/* An entry for a message that is stored already; where there is one it is replaced. ERR_NOT_FOUND: the message is gone. */
enum err queue_insert(struct store *s, struct stored_session *session, const struct queue_entry *e) MUST_CHECK;
void queue_note_acked(struct lmdb *l, const struct store_op *batch); /* before the batch is applied */
/* Deletes up to max entries of the session's queue; *left: whether any remain. */
enum err queue_delete(struct store *s, store_session number, size_t max, bool *left) MUST_CHECK;
enum err dead_add(struct lmdb *l, store_session number) MUST_CHECK;
enum err dead_sweep(struct store *s, size_t max) MUST_CHECK;
/* Reads every queue's length at start. */
enum err queue_count(struct store *s, MDB_txn *txn) MUST_CHECK;

/* ---- history.c: writer thread, in a transaction */

struct stored_topic *topic_find(const struct lmdb *l, const uint8_t *name, size_t len);
struct stored_topic *topic_get(struct store *s, const uint8_t *name, size_t len); /* made if need be; NULL: no memory */
enum err history_append(struct store *s, struct stored_topic *topic, uint64_t record, const struct msg *m) MUST_CHECK;
/* Deletes what limits do not allow (NULL: everything), at most max records; *deleted: how many. */
enum err history_trim(struct store *s, struct stored_topic *topic, const struct store_history_limits *limits, size_t max, size_t *deleted) MUST_CHECK;
bool history_limits(const struct store *s, const struct stored_topic *topic, struct store_history_limits *out);
bool history_exceeds(const struct stored_topic *topic, const struct store_history_limits *limits, uint64_t now_ms);
enum err history_save(struct store *s) MUST_CHECK;              /* touched topics' counts, before the commit */
enum err history_sweep(struct store *s, size_t topics, size_t max, bool *more) MUST_CHECK;
bool history_has_work(struct store *s, size_t topics);
enum err history_load(struct store *s, MDB_txn *txn) MUST_CHECK;
void history_settle(struct lmdb *l, bool committed);            /* forgets or undoes what the transaction changed in memory */
void history_free(struct lmdb *l);

/* ---- past.c: writer thread, in a transaction */

enum err past_row_decode(const MDB_val *k, const MDB_val *v, store_session *session, struct store_past *p) MUST_CHECK;
enum err past_begin(struct store *s, store_session session, const uint8_t *filter, size_t len, const struct store_past *p) MUST_CHECK;
enum err past_end(struct store *s, store_session session, const uint8_t *filter, size_t len) MUST_CHECK;
enum err past_move(struct store *s, const struct store_op *op) MUST_CHECK; /* STORE_PAST */
enum err past_sent(struct store *s, const struct store_op *op) MUST_CHECK; /* STORE_PAST_SENT */

/* ---- read.c: reader thread */

enum err read_page(struct store *s, struct store_op *op) MUST_CHECK;
enum err read_history(struct store *s, struct store_op *op) MUST_CHECK;

#endif
