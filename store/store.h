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

struct store;

/* A session's number: unique among the stored ones, drawn by the broker (store_session_number), < 2^31. */
typedef uint32_t store_session;

/* What each verb does, and the results besides ERR_OK, ERR_NOMEM, ERR_IO and ERR_FULL (the whole store):
 *
 * SESSION_NEW     ERR_EXISTS: the number is in use.
 * SESSION_STATE   ERR_NOT_FOUND.
 * SESSION_END     the session, its subscriptions, queue, will, QoS 2 packet identifiers. ERR_OK also if there is none.
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
 * WILL_PUT, _DROP by session number alone, whether or not that session is stored; SESSION_END drops it too.
 * PAGE            sees everything that was submitted before it on this thread, and perhaps what came later; it may complete after
 *                 operations submitted later (a reader thread serves it). ERR_NOT_FOUND: no such session (n_entries 0, end true).
 *                 A cursor that ignores live copies remembers the highest record id ignored: it is at the head only when end is set and
 *                 last_record is no less than that; else it reads on. */
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
	STORE_BARRIER,        /* completes when all before it has; u.barrier.last_record */
};

/* Of an outbound queue entry. */
enum store_delivery_state {
	STORE_QUEUED = 0,     /* never sent */
	STORE_INFLIGHT = 1,   /* sent under packet_id, not acknowledged */
	STORE_PUBREL = 2,     /* QoS 2, PUBREC received: only PUBREL/PUBCOMP is left; no message */
};

struct store_receiver {
	store_session session;
	uint32_t sub_id;
	uint8_t qos;                 /* effective: 1 or 2 */
	uint8_t retain;              /* RETAIN flag to send */
	uint8_t pad[2];
};

struct store_entry {                 /* of a page */
	uint64_t record;             /* record id: 64 bit, in queue order, never reused */
	struct msg *msg;             /* one reference; NULL for STORE_PUBREL */
	uint32_t sub_id;
	uint16_t packet_id;          /* 0: none yet */
	uint8_t qos, retain, state;  /* state: enum store_delivery_state */
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
		} session;
		struct {
			store_session session;
			const uint8_t *filter; size_t filter_len;      /* submitter's, valid until done */
			uint32_t sub_id;
			uint8_t options;
		} subscription;
		struct {
			struct msg *msg;                       /* submitter's reference, valid until done */
			const struct store_receiver *receivers;/* submitter's, valid until done */
			uint32_t n_receivers;
			bool retained;                         /* becomes the topic's retained message (empty payload: removes it) */
			bool history;
			store_session publisher;               /* != 0 with packet_id: a QoS 2 packet identifier to remember */
			uint16_t packet_id;
			uint64_t record;                       /* out: the record id */
		} publish;
		struct {
			store_session session;
			uint64_t record;
			uint16_t packet_id;
		} delivery;
		struct {
			store_session session;
			struct msg *msg;                       /* submitter's reference, valid until done */
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
		struct { uint64_t last_record; } barrier;
	} u;
};

/* What happens to a session over its quota; see STORE_PUBLISH above. The numbers of conf_queue_full. */
enum store_queue_full { STORE_END_SESSION = 0, STORE_REJECT = 1, STORE_DROP_OLDEST = 2 };

struct store_options {
	bool memory;
	uint32_t memory_delay_ms;            /* between taking a batch and answering it */
	const char *dir;
	uint64_t max_size;                   /* bytes */
	int durability;                      /* 0 strict, 1 relaxed, 2 off */
	uint32_t sync_interval_ms;
	uint64_t max_queued_messages, max_queued_bytes; /* per session; 0: no limit */
	int queue_full;                      /* enum store_queue_full */
	/* A session went over its quota under end-session: called on the store thread; the broker ends it. */
	void (*session_over_quota)(void *arg, store_session session);
	void *arg;
};

/* Opens (creates) and verifies; on failure NULL and error says what to do. No thread yet. */
struct store *store_open(const struct store_options *o, char *error, size_t error_len) MUST_CHECK;

/* What a start finds; called by store_load on the calling thread, before store_start. Pointers are borrowed for the call. */
struct store_loader {
	enum err (*session)(void *arg, store_session number, const char *client_id, size_t client_id_len,
	    const char *cn, size_t cn_len, uint64_t expiry_s, uint64_t away_since_ms);
	enum err (*subscription)(void *arg, store_session number, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id);
	enum err (*qos2_received)(void *arg, store_session number, uint16_t packet_id);
	enum err (*retained)(void *arg, struct msg *m);
	enum err (*will)(void *arg, store_session number, struct msg *m);
};
enum err store_load(struct store *s, const struct store_loader *l, void *arg) MUST_CHECK;

enum err store_start(struct store *s) MUST_CHECK; /* starts the writer thread */

/* Hands op over; done() follows through op->reply, in order of submission among ops of one submitter (but see PAGE). Sets op->mail.run.
 * Any thread; never waits. Not after store_stop has been called. */
void store_submit(struct store *s, struct store_op *op);

/* A session number that is not in use. Any thread. */
store_session store_session_number(struct store *s);

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
};
void store_stats(const struct store *s, struct store_stats *out); /* any thread */

#endif
