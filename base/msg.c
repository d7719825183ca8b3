/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages are made by the publisher's loop and given back by any. */
#include "base/msg.h"

#include "base/pool.h"

#include <string.h>

#define PAYLOAD_MAX 268435455u /* [MQTT-2.2.3] the largest remaining length */

static uint8_t *append(uint8_t *to, const void *from, size_t len)
{
	if (len > 0)
		memcpy(to, from, len);
	return to + len;
}

/* 44 bits of time, 20 of a counter: more than a thread makes in a millisecond. */
static uint64_t next_order(uint64_t time_ms)
{
	static _Thread_local uint32_t made;
	return time_ms << 20 | (made++ & 0xfffffu);
}

struct msg *msg_new(const struct msg_spec *s)
{
	/* With these the sum below cannot overflow, and the casts cut nothing. */
	if (s->topic_len > UINT16_MAX || s->publisher_len > UINT16_MAX || s->props_len > UINT16_MAX || s->payload_len > PAYLOAD_MAX)
		return NULL;
	struct msg *m = pool_alloc(sizeof *m + s->topic_len + s->publisher_len + s->props_len + s->payload_len);
	if (!m)
		return NULL;
	atomic_init(&m->refs, 1);
	m->payload_len = (uint32_t)s->payload_len;
	m->topic_len = (uint16_t)s->topic_len;
	m->publisher_len = (uint16_t)s->publisher_len;
	m->props_len = (uint16_t)s->props_len;
	m->qos = s->qos;
	m->flags = s->flags;
	m->time_ms = s->time_ms;
	m->expiry_ms = s->expiry_ms;
	m->order = next_order(s->time_ms);
	uint8_t *p = append(m->data, s->topic, s->topic_len);
	p = append(p, s->publisher, s->publisher_len);
	p = append(p, s->props, s->props_len);
	if (s->payload)
		append(p, s->payload, s->payload_len);
	return m;
}

struct msg *msg_copy(const struct msg *m)
{
	const size_t constant = offsetof(struct msg, payload_len); /* others may be changing refs */
	size_t size = msg_size(m);
	struct msg *copy = pool_alloc(size);
	if (!copy)
		return NULL;
	atomic_init(&copy->refs, 1);
	memcpy((uint8_t *)copy + constant, (const uint8_t *)m + constant, size - constant);
	return copy;
}

void msg_unref(struct msg *m)
{
	if (!m)
		return;
	/* The only holder needs no locked instruction: nobody else is there to take or drop a reference. Its acquire load
	 * reads the last release decrement (references added in between continue that release sequence), so the others'
	 * reads come before the free. */
	if (atomic_load_explicit(&m->refs, memory_order_acquire) == 1 ||
	    atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		pool_free(m);
}
