/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The in-memory backend's parts: memory.c (sessions, retained messages, wills, publishing), memory_queue.c, memory_past.c (history). All of it belongs
 * to the writer thread. */
#ifndef STORE_MEMORY_INT_H
#define STORE_MEMORY_INT_H

#include "store/store_int.h"

#include "base/siphash.h"

struct entry {
	uint64_t record;
	struct msg *msg;             /* one reference; NULL in STORE_PUBREL, and in a removed entry */
	uint32_t sub_id;
	uint16_t packet_id;
	uint8_t qos : 2, retain : 1, gone : 1;
	uint8_t share;
	uint8_t state;               /* enum store_delivery_state */
};

/* Entries in order of record id; a removed one stays as a gap until it reaches the front, or gaps prevail. */
struct queue {
	struct entry *entries;
	size_t room, start, end;     /* entries[start..end) are in use */
	size_t queued;               /* no entry before this one is STORE_QUEUED (none becomes so again) */
	size_t n;                    /* of them not gone */
	uint64_t messages, bytes;    /* with a message: what quotas count */
};

struct subscription {
	struct map_node node;
	uint32_t sub_id;
	uint8_t options;
	size_t len;
	uint8_t filter[];
};

struct packet_id {
	struct packet_id *next;
	uint16_t value;
};

struct session {
	struct map_node node;
	store_session number;
	bool connected, over_quota;
	bool ended;                  /* its queue alone is left, to be handed on */
	uint64_t expiry_s, time_ms;
	struct map subscriptions;
	struct queue queue;
	struct packet_id *received;  /* QoS 2, PUBREL not yet seen: a window's worth at most */
	char *client_id, *cn;        /* with lengths; for the sake of completeness: nothing reads them before a restart */
	size_t client_id_len, cn_len;
};

struct keyed_msg {                   /* a retained message, by topic; a will, by number */
	struct map_node node;
	uint64_t number;
	struct msg *msg;
};

struct past {                        /* what one topic keeps, by topic */
	struct map_node node;
	struct queue queue;
	size_t len;
	uint8_t topic[];
};

struct memory {
	struct map sessions, retained, wills, pasts;
	struct queue history;        /* what all topics keep, in order of record id */
};

static inline struct memory *mem(const struct store *s)
{
	return s->state;
}

static inline uint64_t topic_hash(const struct msg *m)
{
	return siphash13(&siphash_process_key, msg_topic(m), m->topic_len);
}

struct session *mem_session_find(const struct store *s, store_session number); /* memory.c; NULL also when it has ended */

/* ---- memory_queue.c */

enum err mem_queue_reserve(struct queue *q) MUST_CHECK;               /* room for one more at the end */
void mem_queue_append(struct queue *q, const struct entry *e);        /* where there is room; takes e's message */
size_t mem_queue_after(const struct queue *q, uint64_t after);        /* index of the first entry whose record is > after */
struct entry *mem_queue_find(const struct queue *q, uint64_t record); /* or NULL */
void mem_entry_drop_msg(struct queue *q, struct entry *e);            /* what is left in flight without it */
void mem_queue_remove(struct queue *q, struct entry *e);
void mem_queue_trim(struct queue *q);                                 /* a queue that has been emptied keeps nothing of its backlog */
void mem_queue_free(struct queue *q);

/* ---- memory_past.c */

/* *out: the topic's past with room for one more message, there and in what all topics keep; NULL when it has no history. */
enum err mem_past_prepare(struct store *s, const struct msg *m, struct past **out) MUST_CHECK;
void mem_past_append(struct store *s, struct past *past, struct msg *m); /* under the last record; takes a reference of its own */
enum err mem_history_read(struct store *s, struct store_op *op) MUST_CHECK;

#endif
