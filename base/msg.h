/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A message: one allocation (header, topic, publisher, properties, payload), refcounted,
 * immutable once built. What differs per receiver (QoS, packet identifier, RETAIN flag)
 * lives in the receiver's queue entry. */
#ifndef BASE_MSG_H
#define BASE_MSG_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MSG_RETAIN = 1 << 0, /* the publisher set RETAIN */
	MSG_WILL = 1 << 1,   /* published by the broker as somebody's will */
	MSG_SYS = 1 << 2,    /* the broker's own ($SYS) */
	MSG_SEALED = 1 << 3, /* the payload is a sealed message of the topic's key space; empty: it clears the retained one */
	MSG_DIRECT = 1 << 4, /* the broker's own to one receiver (an envelope, an answer): no rule judges it */
};

struct msg {
	atomic_uint refs;        /* references, and MSG_SECRET */
	uint32_t payload_len;    /* bytes; immutable after msg_new, as all below */
	uint16_t topic_len;      /* bytes */
	uint16_t publisher_len;  /* bytes of the publisher's CN; 0: the broker itself */
	uint16_t props_len;      /* bytes of encoded MQTT 5 properties; 0 until 5.0 */
	uint8_t qos;             /* as published */
	uint8_t flags;           /* MSG_* */
	uint64_t time_ms;        /* wall clock when received */
	uint64_t expiry_ms;      /* wall clock after which it is not delivered; 0: never */
	uint64_t order;          /* by time_ms, then in one thread's order of msg_new: sorts messages oldest first */
	uint8_t data[];          /* topic, publisher, properties, payload */
};

#define MSG_SECRET (1u << 31) /* in refs: the payload is wiped with the last reference */

struct msg_spec {
	const void *topic;
	size_t topic_len;        /* <= 65535 */
	const void *publisher;
	size_t publisher_len;    /* <= 65535 */
	const void *props;
	size_t props_len;        /* <= 65535 */
	const void *payload;     /* may be NULL: payload bytes are left for the caller to fill before sharing */
	size_t payload_len;      /* <= 268435455 */
	uint64_t time_ms, expiry_ms;
	uint8_t qos, flags;
};

/* Returns one reference, or NULL when out of memory. Any thread. */
struct msg *msg_new(const struct msg_spec *spec) MUST_CHECK;

/* A message that differs from m, which is not sealed, in its payload alone (payload_len <= 268435455). Any thread. */
struct msg *msg_new_alike(const struct msg *m, const void *payload, size_t payload_len) MUST_CHECK;

/* The same message again, with one reference of its own; NULL when out of memory. Any thread. */
struct msg *msg_copy(const struct msg *m) MUST_CHECK;

static inline const uint8_t *msg_topic(const struct msg *m) { return m->data; }
static inline const uint8_t *msg_publisher(const struct msg *m) { return m->data + m->topic_len; }
static inline const uint8_t *msg_props(const struct msg *m) { return m->data + m->topic_len + m->publisher_len; }
static inline const uint8_t *msg_payload(const struct msg *m)
{
	return m->data + m->topic_len + m->publisher_len + m->props_len;
}
/* Bytes that this message occupies, for quotas. */
static inline size_t msg_size(const struct msg *m)
{
	return sizeof *m + m->topic_len + m->publisher_len + m->props_len + m->payload_len;
}
static inline struct msg *msg_ref(struct msg *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}
/* Has m fetched from memory, as far as a small one goes: its references, topic and payload. */
static inline void msg_fetch(const struct msg *m)
{
	const uint8_t *p = (const uint8_t *)m;
	__builtin_prefetch(p, 1);
	__builtin_prefetch(p + 64);
	__builtin_prefetch(p + 128);
}
/* Adds n references at once (fan-out). */
static inline void msg_ref_n(struct msg *m, unsigned n)
{
	atomic_fetch_add_explicit(&m->refs, n, memory_order_relaxed);
}
/* A sealed message (MSG_SEALED) in plain text, which it owns: set once, by whoever opens it first; NULL: not opened. Any thread. */
struct msg *msg_opened(const struct msg *m);
/* Sets that, unless another thread has. Takes the reference either way. */
void msg_set_opened(struct msg *m, struct msg *take_opened);
/* Its payload is on disk, encrypted: no copy is left in memory when the last reference goes. Any thread that holds one. */
static inline void msg_mark_secret(struct msg *m)
{
	atomic_fetch_or_explicit(&m->refs, MSG_SECRET, memory_order_relaxed);
}
/* Gives one reference back; the last one frees. NULL is fine. Any thread. */
void msg_unref(struct msg *m);

#endif
