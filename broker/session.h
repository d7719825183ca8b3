/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A session: what a client id owns while connected and, if persistent, beyond: subscriptions, the queue of messages to
 * send, what is in flight both ways. It belongs to one loop for its whole life. */
#ifndef BROKER_SESSION_H
#define BROKER_SESSION_H

#include "base/identity.h"
#include "base/msg.h"
#include "base/wheel.h"
#include "broker/pidset.h"
#include "broker/uthash_keyed.h"
#include "store/store.h"
#include "topics/trie.h"

#include <stdbool.h>

struct conn;
struct loop;
struct refused;
struct replay;
struct special;

/* A message on its way to one receiver: what differs per receiver. */
struct entry {
	struct msg *msg;           /* one reference; NULL once only PUBREL/PUBCOMP is left, or the entry is done */
	uint64_t record;           /* in the store: of the session's queue there, or (past) of the history; 0: in memory only */
	struct share_group *group; /* one reference, when it came by a shared subscription */
	uint32_t sub_id;
	uint16_t packet_id;        /* 0: not sent yet */
	uint8_t qos : 2, retain : 1, dup : 1, past : 1, told : 1; /* past: a replay brought it; told: the store knows packet_id */
	uint8_t state;             /* enum entry_state */
};
_Static_assert(sizeof(struct entry) == 32, "an entry is 32 bytes");

/* The outbound machine, by what is expected next. Edges, all in session.c:
 *   QUEUED   → SAVING     QoS 2 of a persistent session: its packet identifier goes to the store first
 *   QUEUED   → SENT       encoded; SAVING → QUEUED with packet_id set, when stored
 *   SENT     → RELEASING  PUBREC; persistent: PUBREL leaves after the store knows; → RELEASED
 *   SENT     → DONE       PUBACK (QoS 1)
 *   RELEASED → DONE       PUBCOMP */
enum entry_state { ENTRY_QUEUED, ENTRY_SAVING, ENTRY_SENT, ENTRY_RELEASING, ENTRY_RELEASED, ENTRY_DONE };

/* A ring of entries; owns no memory while empty. */
struct entry_ring {
	struct entry *e;
	uint32_t head, count, cap; /* cap: a power of two, or 0 */
};

struct session {
	UT_hash_handle hh;          /* in sessions.by_id */
	struct loop *loop;
	struct conn *conn;          /* NULL while away */
	struct identity *identity;
	struct sub_set subs;        /* its handle names the session everywhere */
	struct entry_ring queue;    /* not sent */
	struct entry_ring inflight; /* sent, QoS 1 and 2; done ones in the middle are gaps */
	struct pidset received;     /* QoS 2 packet identifiers from the client, not released */
	struct pidset sent_ids;     /* packet identifiers of entries, here or in flight */
	size_t queue_bytes;         /* of the messages in queue */
	uint32_t inflight_count;    /* entries in inflight that are not done */
	uint32_t window;            /* most of them at a time */
	uint32_t saving;            /* entries at the front of queue whose packet identifier the store knows or is being told */
	uint32_t reading;           /* subscriptions whose retained messages are being read (broker/retained_read.h); the queue waits meanwhile */
	uint32_t late_from;         /* then: entries of queue from here on came live since, and belong behind what is read */
	uint32_t releasing;         /* entries whose PUBREL waits for the store */
	uint32_t deferred;          /* messages from this session that wait for the store */
	uint32_t conn_serial;       /* counts connections: answers of the store find out if theirs is still there */
	size_t deferred_bytes;      /* of them */
	uint16_t last_packet_id;
	uint16_t client_id_len;     /* bytes */
	bool persistent;
	bool overflow_logged : 1;
	bool member : 1;            /* has, or had, a shared subscription */
	bool keys : 1;              /* subscribes to $KEYS/… */
	bool judge;                 /* some subscription covers topics that it may not read: every message is looked at */
	uint8_t deferred_topics;    /* a bit for the topic of each deferred message above QoS 0; other topics may share it */
	uint32_t judged;            /* loop->rules under which subscriptions were judged */
	/* Cursor into the store's queue (persistent sessions). While it is on, live copies are ignored: pages bring them. */
	bool cursor, page_pending;
	bool restored;              /* by a start: packet identifiers in use are in the store's first page, not in sent_ids yet */
	uint8_t deferred_qos2_topics; /* as deferred_topics, at QoS 2 */
	uint64_t page_after;        /* the next page starts behind this record */
	uint64_t floor;             /* everything up to here came by pages: a live copy of it is late, and dropped */
	uint64_t ignored;           /* highest live record that was ignored */
	struct refused *refused;    /* NULL until it has a message for the store */
	struct replay *replays;     /* the past of new subscriptions, on its way */
	struct special *specials;   /* subscriptions to $HISTORY/… */
	uint64_t expiry_s;          /* after the connection's end; 0: never */
	struct wheel_timer timer;   /* away: its expiry; connected: to tell the store what is in flight */
	char client_id[];           /* not NUL-terminated; see client_id_len */
};

/* The number under which the store knows a persistent session. */
static inline store_session session_number(const struct session *s)
{
	return sub_handle_generation(s->subs.handle) & ~SUB_PERSISTENT;
}

/* ---- to the client ---- */

/* Queues e (takes its references) for the client and marks the connection dirty. QoS 0 without a connection, or over the session's
 * memory limit, is dropped and counted; QoS 1 and 2 over it end a clean session, and turn a persistent one to its cursor.
 * live: e comes by routing (not from a page): the cursor's rules apply. */
void session_push(struct session *s, struct entry *e, bool live);

/* session_push, live, of n messages to one topic that are alike but for publisher and payload, have no flags, and are in no store. Takes a
 * reference of each. */
void session_push_run(struct session *s, struct msg *const *take_msgs, uint32_t n, uint8_t qos, uint32_t sub_id);

/* Encodes what may be sent now into buf (cap bytes); returns bytes written, 0 when nothing (more) may. A message larger than the
 * room is begun when buf is empty: *big gets a reference and *big_left how many payload bytes are still to be copied. */
size_t session_encode(struct session *s, uint8_t *buf, size_t cap, struct msg **big, size_t *big_left);

/* Takes what the access rules no longer let it have out of what is not sent yet. */
void session_judge_queue(struct session *s);
/* Copy m (record: in the store, or 0) is not for this session: counted, and forgotten by the store. */
void session_withhold(struct session *s, const struct msg *m, uint64_t record);

/* The store forgets a subscription of this persistent session; nobody waits for it. */
void session_forget_subscription(struct session *s, const uint8_t *filter, size_t len);

/* n acknowledgements, in their order. Returns how many; if fewer than n, the next one is of a packet identifier or in a state that is not
 * there: a protocol error. */
size_t session_pubacks(struct session *s, const uint16_t *packet_ids, size_t n) MUST_CHECK;
size_t session_pubrecs(struct session *s, const uint16_t *packet_ids, size_t n) MUST_CHECK;
size_t session_pubcomps(struct session *s, const uint16_t *packet_ids, size_t n) MUST_CHECK;

/* A replay begins: the queue in the store waits, and keeps the live copies. It has ended: the queue goes on (if none other runs). */
void session_wait(struct session *s);
void session_go_on(struct session *s);

/* The record of the oldest message that a replay brought and that is not acknowledged (QoS 2: whose entry is not in the store yet; QoS 0: not
 * sent); 0: there is none. */
uint64_t session_oldest_past(struct session *s);

/* Tells the store under which packet identifiers QoS 1 messages are in flight, so that they come again under these, with DUP, after the
 * broker's end too [MQTT-4.4.0-1, MQTT-3.3.1-1]. Called for what has been in flight for some time, and at the connection's end: most are
 * acknowledged before, and cost nothing. Nothing waits for it. */
void session_tell_sent(struct session *s);

/* ---- life ---- */

/* The connection is up (CONNACK is on its way): everything in flight is due again, DUP set [MQTT-4.4.0-1]. */
void session_resume(struct session *s);
/* The connection is gone: what the store has is forgotten here. */
void session_suspend(struct session *s);
/* Frees queues and in-flight state; messages of shared subscriptions that nobody has yet go to other members. */
void session_drop_queues(struct session *s);

/* Tells shared subscriptions how able this session is. */
void session_tell_presence(struct session *s);

#endif
