/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The store: one writer thread that owns what must survive. The interface is asynchronous: an operation is submitted, the
 * writer commits it together with its neighbours, and its done() runs on the submitter's loop, in the order of submission.
 * Backends (in-memory; LMDB) implement store_backend of store_int.h; the thread, batching and completions are common.
 * Any loop may submit; nothing here ever makes a loop wait. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/err.h"
#include "base/mailbox.h"
#include "base/msg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct store;

/* A session's number: unique among the stored ones, drawn by the broker (store_session_number), < 2^31. */
typedef uint32_t store_session;

/* What each verb does, and the results besides ERR_OK, ERR_NOMEM, ERR_IO and ERR_FULL (the whole store):
 *
 * SESSION_NEW     ERR_EXISTS: the number is in use.
 * SESSION_STATE   ERR_NOT_FOUND.
 * SESSION_END     the session, its subscriptions, queue, QoS 2 packet identifiers. ERR_OK also if there is none. hand_on: the queue stays, for
 *                 PAGE alone, until SESSION_END comes again without it; a start tells of such queues (store_loader.hand_on).
 * SUBSCRIBE       adds or replaces by filter. ERR_NOT_FOUND: no such session.
 * UNSUBSCRIBE     ERR_OK also if there is no such filter. ERR_NOT_FOUND: no such session.
 * PUBLISH         all or nothing, in this order: ERR_EXISTS when (publisher, packet_id) is remembered already (it was stored
 *                 before: answer PUBREC, route to nobody); quotas; then the record id, one queue entry (STORE_QUEUED) per
 *                 receiver, retained, history, the packet identifier. A receiver whose session ended meanwhile is skipped; so is the
 *                 packet identifier of a publisher's session that is not stored. A session appears once among the receivers.
 *                 Quotas (messages of the session not yet acknowledged or released, and their bytes), by queue_full:
 *                   reject       any receiver over its quota: ERR_FULL, nothing is stored for anybody;
 *                   drop-oldest  that session's oldest STORE_QUEUED entries go until the new one fits (none left: the new one does);
 *                   end-session  nothing is stored for that session, session_over_quota is called once, after the commit and before
 *                                the completion; the others get theirs.
 * ACKED           the entry goes. ERR_NOT_FOUND: no such session or entry (it may have been dropped; nothing to do).
 * SENT            QUEUED → INFLIGHT under packet_id (an INFLIGHT entry gets the new packet_id). ERR_NOT_FOUND as above.
 * RELEASED        INFLIGHT → PUBREL; the message goes, and counts in no quota. ERR_NOT_FOUND as above.
 * QOS2_DONE       ERR_OK also if it was not remembered.
 * WILL_PUT, _DROP by the will's own number (store_will_number): a connection has it, not a session. A PUBLISH that succeeds drops the will
 *                 that it names in the same transaction.
 * PAGE            sees everything that was submitted before it on this thread, and perhaps what came later; it may complete after
 *                 operations submitted later (a reader thread serves it). ERR_NOT_FOUND: no such session (n_entries 0, end true).
 *                 A cursor that ignores live copies remembers the highest record id ignored: it is at the head only when end is set and
 *                 last_record is no less than that; else it reads on. Entries that fail verification are left out and reported
 *                 (record_failed).
 * HISTORY         as PAGE, of what was published with history set, oldest first. Never ERR_NOT_FOUND. What the queue of u.history.session
 *                 (0: none) holds when it is read comes with state STORE_ELSEWHERE.
 * PAST            ERR_NOT_FOUND: no replay of that filter is known (nothing to do). over: it is no longer known; ERR_OK also if it was not.
 * PAST_SENT       an INFLIGHT entry of QoS 2 under packet_id, and with it the replay's `sent`. ERR_NOT_FOUND: no such session, or the message is
 *                 no longer kept (in memory: ever): it then lives with the submitter alone.
 * META            put, or removed when value is NULL; synced before the completion whatever the durability. */
enum store_verb {
	STORE_SESSION_NEW,    /* u.session: create; a former session of the same client id is gone already */
	STORE_SESSION_STATE,  /* u.session: connected or away (time, for expiry) */
	STORE_SESSION_END,    /* u.session.number: the session with all that it holds */
	STORE_SUBSCRIBE,      /* u.subscription, one per filter */
	STORE_UNSUBSCRIBE,
	STORE_PUBLISH,        /* u.publish */
	STORE_ACKED,          /* u.delivery: PUBACK or PUBCOMP came: the queue entry goes */
	STORE_SENT,           /* u.delivery: about to be sent for the first time under packet_id */
	STORE_RELEASED,       /* u.delivery: PUBREC came: only the packet identifier remains, the message goes */
	STORE_QOS2_DONE,      /* u.delivery: PUBREL came from the client: its packet_id is free again */
	STORE_WILL_PUT,       /* u.will */
	STORE_WILL_DROP,
	STORE_PAGE,           /* u.page: read queue entries */
	STORE_HISTORY,        /* u.history: read a topic's or filter's past */
	STORE_PAST,           /* u.past: how far a replay has come */
	STORE_PAST_SENT,      /* u.past: a QoS 2 message of a replay is about to be sent */
	STORE_META,           /* u.meta: a small named value (wrapped keys, membership) */
	STORE_BARRIER,        /* completes when all before it has; u.barrier.last_record */
};

/* Of an outbound queue entry. */
enum store_delivery_state {
	STORE_QUEUED = 0,     /* never sent */
	STORE_INFLIGHT = 1,   /* sent under packet_id, not acknowledged */
	STORE_PUBREL = 2,     /* QoS 2, PUBREC received: only PUBREL/PUBCOMP is left; no message */
	STORE_ELSEWHERE = 3,  /* never stored; of a history page: the asking session's own queue has the message too */
};

/* Keeps a publisher's order when the store refuses: after one of its messages was refused (any result but ERR_OK and ERR_EXISTS), those
 * behind it are refused with the same result, whatever room there is by then, until the submitter opens the gate again. It does that
 * while none of them is submitted. */
struct store_gate {
	enum err refused;            /* ERR_OK: open. Writer thread while an operation with it is unanswered, else the submitter's */
};

struct store_receiver {
	store_session session;
	uint32_t sub_id;
	uint8_t qos;                 /* effective: 1 or 2 */
	uint8_t retain;              /* RETAIN flag to send */
	uint8_t share;               /* share_mark of the group that chose this session; 0: it came otherwise */
	uint8_t pad;
};

struct store_entry {                 /* of a page */
	uint64_t record;             /* record id: 64 bit, in queue order, never reused */
	struct msg *msg;             /* one reference; NULL for STORE_PUBREL */
	uint32_t sub_id;
	uint16_t packet_id;          /* 0: none yet */
	uint8_t qos, retain, state;  /* state: enum store_delivery_state */
	uint8_t share;               /* as published */
};

/* The past of a new subscription, on its way to a persistent session: where it goes on after a restart. */
struct store_past {
	uint64_t after;              /* records up to here have been brought and acknowledged */
	uint64_t sent;               /* those of QoS 2 up to here have entries in the queue, or had */
	uint64_t upto, newest, since_ms; /* as of a history read, while after is 0; SUBSCRIBE puts the last record for an upto of 0 */
};

struct store_op {
	struct mail mail;            /* queues it both ways */
	struct mailbox *reply;       /* where done runs; NULL: nobody wants to know, the store frees op by free_op */
	void (*done)(struct store_op *op, void *owner); /* owner: the reply mailbox's consumer */
	void (*free_op)(struct store_op *op);           /* for reply == NULL; never NULL then */
	enum store_verb verb;
	enum err result;             /* set before done; see enum store_verb */
	union {
		struct {
			store_session number;
			const char *client_id; size_t client_id_len; /* submitter's, valid until done */
			const char *cn; size_t cn_len;
			uint64_t expiry_s;                     /* after disconnect; 0: never */
			uint64_t time_ms;                      /* wall clock */
			bool connected;
			bool hand_on;                          /* SESSION_END: somebody reads the queue first */
		} session;
		struct {
			store_session session;
			const uint8_t *filter; size_t filter_len;      /* submitter's, valid until done */
			uint32_t sub_id;
			uint8_t options;
			const struct store_past *past;                 /* SUBSCRIBE: a replay begins (valid until done); NULL: none does, one that runs goes on */
		} subscription;
		struct {
			struct msg *msg;                       /* submitter's reference, valid until done */
			const struct store_receiver *receivers;/* submitter's, valid until done */
			uint32_t n_receivers;
			bool retained;                         /* becomes the topic's retained message (empty payload: removes it) */
			bool history;
			store_session publisher;               /* != 0 with packet_id: a QoS 2 packet identifier to remember */
			uint16_t packet_id;
			struct store_gate *gate;               /* NULL: none; outlives the operation */
			uint64_t will;                         /* != 0: the will that this is goes */
			uint64_t record;                       /* out: the record id */
		} publish;
		struct {
			store_session session;
			uint64_t record;
			uint16_t packet_id;
		} delivery;
		struct {
			store_session session;
			const uint8_t *filter; size_t filter_len;      /* as subscribed; submitter's, valid until done */
			uint64_t after;                                /* PAST, not over */
			bool over;
			uint16_t packet_id;                            /* PAST_SENT, as below */
			uint32_t size;                                 /* msg_size */
			uint64_t record;
		} past;
		struct {
			uint64_t number;
			const char *client_id; size_t client_id_len;   /* submitter's, valid until done, as below */
			const uint8_t *fingerprint;            /* STORE_FINGERPRINT bytes: of its sender's certificate; NULL: it has none */
			struct msg *msg;                       /* submitter's reference */
		} will;
		struct {
			store_session session;
			uint64_t after;                        /* records > after */
			uint32_t max_entries;                  /* in */
			uint64_t max_bytes;                    /* in: stop after that many bytes of messages (at least one entry) */
			struct store_entry *entries;           /* out: pool_alloc'ed, for the receiver to pool_free; messages are references */
			uint32_t n_entries;                    /* out */
			bool end;                              /* out: nothing beyond the last entry when it was read */
			uint64_t last_record;                  /* out: the last record id assigned when it was read */
		} page;
		struct {
			const uint8_t *topic; size_t topic_len;        /* exactly this topic; NULL: those that match() accepts */
			bool (*match)(void *arg, const uint8_t *topic, size_t len); void *match_arg; /* called on the store's reader thread */
			uint64_t after;                        /* records > after; 0: from the start that since_ms and newest give */
			uint64_t since_ms;                     /* wall clock, with after == 0; 0: all */
			store_session session;                 /* whose queue to compare with; 0: none */
			uint64_t newest;                       /* the last so many of what matches, with after == 0; 0: all */
			uint64_t upto;                         /* since_ms and newest choose among records up to this, all later ones come; 0: no such */
			uint32_t max_entries;
			uint64_t max_bytes;
			struct store_entry *entries;           /* out, as of a page; qos as published, retain 0 */
			uint32_t n_entries;
			uint64_t next;                         /* out: the after of the next read (entries may be few or none meanwhile) */
			bool end;                              /* out: nothing beyond next when it was read */
			uint64_t last_record;                  /* out: as of a page */
		} history;
		struct {
			const char *name;                      /* at most STORE_NAME_MAX bytes; submitter's, valid until done */
			const void *value; size_t len;
		} meta;
		struct { uint64_t last_record; } barrier;
	} u;
};

/* What a completion means. STRICT: synced. RELAXED: committed (survives the process; a power cut takes the last sync_interval_ms).
 * OFF: taken (the end of the process takes them as well). The file stays sound in each. The numbers of conf_durability. */
enum store_durability { STORE_STRICT = 0, STORE_RELAXED = 1, STORE_OFF = 2 };

/* What happens to a session over its quota; see STORE_PUBLISH above. The numbers of conf_queue_full. */
enum store_queue_full { STORE_END_SESSION = 0, STORE_REJECT = 1, STORE_DROP_OLDEST = 2 };

/* Encryption of messages at rest. The store calls seal on its writer thread and open on its reader or loading thread, at the same time. */
struct store_crypto {
	void *arg;
	size_t overhead;                     /* bytes that seal adds, at most STORE_OVERHEAD_MAX: boot id, nonce, tag in whatever order */
	/* Seals len bytes under the key of topic into out (len + overhead bytes, not overlapping); aad is authenticated: format version,
	 * record kind, record id, topic, publisher, QoS, flags, times, lengths. */
	enum err (*seal)(void *arg, const uint8_t *topic, size_t topic_len, const uint8_t *aad, size_t aad_len,
	    const uint8_t *plain, size_t len, uint8_t *out);
	/* Opens len bytes (overhead included) into out (len - overhead bytes). ERR_CORRUPT: not authentic. */
	enum err (*open)(void *arg, const uint8_t *topic, size_t topic_len, const uint8_t *aad, size_t aad_len,
	    const uint8_t *sealed, size_t len, uint8_t *out);
	/* For store_check, which reads in a process of its own: gets the value of the named meta record there before open is used, and the
	 * error for the report. NULL: nothing needs unlocking. */
	const char *unlock_meta;
	enum err (*unlock)(void *arg, const void *value, size_t len, char *error, size_t error_len);
	/* The same for each small named value, after unlock: ERR_CORRUPT when it is not what its name says, and the error says why. NULL: they are
	 * not looked at. */
	enum err (*check_value)(void *arg, const char *name, const void *value, size_t len, char *error, size_t error_len);
};
#define STORE_OVERHEAD_MAX 64u
#define STORE_NAME_MAX 200u
#define STORE_FINGERPRINT 32u /* bytes: SHA-256 of a certificate */

struct store_history_limits {
	uint64_t count, age_s, bytes;        /* 0: no limit of that kind */
};

/* Where tests may end the process, or make it fail (options.fault). */
enum store_fault { STORE_BEFORE_COMMIT, STORE_AFTER_COMMIT, STORE_BEFORE_ANSWER };

struct store_options {
	bool memory;
	uint32_t memory_delay_ms;            /* between taking a batch and answering it */
	const char *dir;
	uint64_t max_size;                   /* bytes: the file's limit, fixed while it is open */
	int durability;                      /* enum store_durability */
	uint32_t sync_interval_ms;           /* relaxed: between syncs; off: between commits; 0: 1,000 */
	uint64_t max_queued_messages, max_queued_bytes; /* per session; 0: no limit */
	int queue_full;                      /* enum store_queue_full */
	/* A session went over its quota under end-session: called on the store thread; the broker ends it. */
	void (*session_over_quota)(void *arg, store_session session);
	/* A stored message failed verification and was left out. Store's reader or loading thread; may be NULL. */
	void (*record_failed)(void *arg, uint64_t record);
	/* How much of topic's past is kept; false: none (what there is goes). Store thread; NULL: everything is kept. */
	bool (*history_limits)(void *arg, const uint8_t *topic, size_t len, struct store_history_limits *out);
	/* Tests only: called on the store thread with the batch (linked by mail.next). NULL otherwise. */
	void (*fault)(void *arg, enum store_fault where, const struct store_op *batch);
	void *arg;
	const struct store_crypto *crypto;   /* NULL: messages are stored in clear (tests); the same at every start */
};

/* Opens (creates) and verifies; on failure NULL and error says what to do. No thread yet. */
struct store *store_open(const struct store_options *o, char *error, size_t error_len) MUST_CHECK;

/* What a start finds; called by store_load on the calling thread, before store_start. Pointers are borrowed for the call. */
struct store_loader {
	enum err (*session)(void *arg, store_session number, const char *client_id, size_t client_id_len,
	    const char *cn, size_t cn_len, uint64_t expiry_s, uint64_t away_since_ms); /* connected when the process ended: now */
	enum err (*subscription)(void *arg, store_session number, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id);
	enum err (*past)(void *arg, store_session number, const uint8_t *filter, size_t len, const struct store_past *p); /* a replay is not over */
	enum err (*qos2_received)(void *arg, store_session number, uint16_t packet_id);
	enum err (*retained)(void *arg, struct msg *m);
	enum err (*hand_on)(void *arg, store_session number); /* an ended session's queue that was not handed on before the process ended */
	enum err (*will)(void *arg, uint64_t number, const char *client_id, size_t client_id_len, const uint8_t *fingerprint, struct msg *m);
};
enum err store_load(struct store *s, const struct store_loader *l, void *arg) MUST_CHECK;

/* Small named values, on the opening thread before store_start. get: up to *len bytes into value, *len the stored size;
 * ERR_NOT_FOUND; ERR_FULL when it is larger. put: as STORE_META, done on return. */
enum err store_meta_get(struct store *s, const char *name, void *value, size_t *len) MUST_CHECK;
enum err store_meta_put(struct store *s, const char *name, const void *value, size_t len) MUST_CHECK;

/* Each value whose name begins with prefix, on the opening thread before store_start; name and value are borrowed for the call. Stops at the first
 * fn that is not ERR_OK, and returns that. */
enum err store_meta_each(struct store *s, const char *prefix,
    enum err (*fn)(void *arg, const char *name, const void *value, size_t len), void *arg) MUST_CHECK;
/* n values by one transaction: all or none. On the opening thread before store_start. */
struct store_named { const char *name; const void *value; size_t len; };
enum err store_meta_put_all(struct store *s, const struct store_named *values, size_t n) MUST_CHECK;

enum err store_start(struct store *s) MUST_CHECK; /* starts the writer thread */

/* Hands op over; done() follows through op->reply, in order of submission among ops of one submitter (but see PAGE). Sets op->mail.run.
 * Any thread; never waits. Not after store_stop has been called. */
void store_submit(struct store *s, struct store_op *op);

/* A session number that is not in use. Any thread. */
store_session store_session_number(struct store *s);
/* A will's number, above all that are stored. Any thread. */
uint64_t store_will_number(struct store *s);

/* Commits what was submitted, ends the thread. Completions of it are pushed to their mailboxes before this returns. */
void store_stop(struct store *s);
void store_close(struct store *s);

struct store_stats {
	uint64_t commits, operations; /* batches committed, operations in them */
	uint64_t messages, bytes;     /* stored by STORE_PUBLISH, since the start */
	uint64_t sync_us;             /* spent in commits, in all */
	uint64_t failed;              /* operations whose result was not ERR_OK */
	uint64_t dropped;             /* queue entries given up under drop-oldest or end-session */
	uint64_t oldest_wait_us;      /* upper bound of the age of the oldest operation not yet answered */
	uint64_t waiting, waiting_bytes; /* operations submitted and not yet answered, and bytes of their messages */
	uint64_t corrupt;             /* records that failed verification */
	uint64_t size, used;          /* bytes: of the whole store, and in use */
	bool failing;                 /* the disk failed: every operation gets ERR_IO until the store has been reopened and verified */
};
bool store_failing(const struct store *s);                       /* of these, alone; any thread */
void store_stats(const struct store *s, struct store_stats *out); /* any thread */

/* Verifies the store in dir read-only, prints what it holds and what is wrong. crypto may be NULL: messages' contents are not
 * verified then. No broker may be using it. ERR_OK: sound; ERR_CORRUPT, ERR_IO, ERR_EXISTS (in use), ERR_NOT_FOUND. Any process. */
enum err store_check(const char *dir, const struct store_crypto *crypto, FILE *out) MUST_CHECK;

/* Copies the store in dir, in use by a broker or not, as of now, into the empty or new directory to; synced on return. Any process. */
enum err store_backup(const char *dir, const char *to, char *error, size_t error_len) MUST_CHECK;

#endif
