/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages are made by the publisher's loop and given back by any. */
#include "base/msg.h"

#include "base/pool.h"
#include "base/secmem.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define SLOT_ALIGN _Alignof(_Atomic(struct msg *))
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

/* Behind the payload of sealed messages alone, so that others pay nothing. */
static _Atomic(struct msg *) *opened_of(struct msg *m)
{
	uintptr_t end = (uintptr_t)(m->data + m->topic_len + m->publisher_len + m->props_len + m->payload_len);
	return (_Atomic(struct msg *) *)((end + SLOT_ALIGN - 1) & ~(uintptr_t)(SLOT_ALIGN - 1));
}

struct msg *msg_new(const struct msg_spec *s)
{
	/* With these the sum below cannot overflow, and the casts cut nothing. */
	if (s->topic_len > UINT16_MAX || s->publisher_len > UINT16_MAX || s->props_len > UINT16_MAX || s->payload_len > PAYLOAD_MAX)
		return NULL;
	size_t slot = s->flags & MSG_SEALED ? sizeof(_Atomic(struct msg *)) + SLOT_ALIGN : 0;
	struct msg *m = pool_alloc(sizeof *m + s->topic_len + s->publisher_len + s->props_len + s->payload_len + slot);
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
	if (s->flags & MSG_SEALED)
		atomic_init(opened_of(m), NULL);
	return m;
}

struct msg *msg_new_alike(const struct msg *m, const void *payload, size_t payload_len)
{
	const size_t constant = offsetof(struct msg, payload_len); /* others may be changing refs */
	size_t head = msg_size(m) - m->payload_len;
	assert(!(m->flags & MSG_SEALED));
	struct msg *alike = payload_len > PAYLOAD_MAX ? NULL : pool_alloc(head + payload_len);
	if (!alike)
		return NULL;
	atomic_init(&alike->refs, 1);
	memcpy((uint8_t *)alike + constant, (const uint8_t *)m + constant, head - constant);
	alike->payload_len = (uint32_t)payload_len;
	alike->order = next_order(m->time_ms);
	append((uint8_t *)alike + head, payload, payload_len);
	return alike;
}

struct msg *msg_opened(const struct msg *m)
{
	struct msg *shared = (struct msg *)(uintptr_t)m; /* immutable but for this */
	return m->flags & MSG_SEALED ? atomic_load_explicit(opened_of(shared), memory_order_acquire) : NULL;
}

void msg_set_opened(struct msg *m, struct msg *take_opened)
{
	struct msg *none = NULL;
	if (!atomic_compare_exchange_strong_explicit(opened_of(m), &none, take_opened, memory_order_acq_rel, memory_order_acquire))
		msg_unref(take_opened);
}

/* The copy is its receiver's alone; what it is in plain text is shared. */
struct msg *msg_copy(const struct msg *m)
{
	const size_t constant = offsetof(struct msg, payload_len); /* others may be changing refs */
	size_t size = msg_size(m), slot = m->flags & MSG_SEALED ? sizeof(_Atomic(struct msg *)) + SLOT_ALIGN : 0;
	struct msg *copy = pool_alloc(size + slot), *opened = msg_opened(m);
	if (!copy)
		return NULL;
	atomic_init(&copy->refs, 1 | (atomic_load_explicit(&m->refs, memory_order_relaxed) & MSG_SECRET));
	memcpy((uint8_t *)copy + constant, (const uint8_t *)m + constant, size - constant);
	if (slot)
		atomic_init(opened_of(copy), opened ? msg_ref(opened) : NULL);
	return copy;
}

static void give_back(struct msg *m, bool secret)
{
	if (secret)
		secmem_wipe(m->data + m->topic_len + m->publisher_len, (size_t)m->props_len + m->payload_len);
	pool_free(m);
}

/* Of sealed and secret messages; out of line, so that others pay nothing. */
__attribute__((noinline)) static void destroy(struct msg *m, bool secret)
{
	struct msg *opened = msg_opened(m); /* which has none itself */
	if (opened) {
		unsigned refs = atomic_fetch_sub_explicit(&opened->refs, 1, memory_order_acq_rel);
		if ((refs & ~MSG_SECRET) == 1)
			give_back(opened, secret || (refs & MSG_SECRET));
	}
	give_back(m, secret);
}

void msg_unref(struct msg *m)
{
	if (!m)
		return;
	/* The only holder needs no locked instruction: nobody else is there to take or drop a reference. Its acquire load
	 * reads the last release decrement (references added in between continue that release sequence), so the others'
	 * reads come before the free. */
	unsigned refs = atomic_load_explicit(&m->refs, memory_order_acquire);
	if (refs != 1 && refs != (MSG_SECRET | 1))
		refs = atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel);
	if ((refs & ~MSG_SECRET) != 1)
		return;
	if (refs & MSG_SECRET || m->flags & MSG_SEALED)
		destroy(m, refs & MSG_SECRET);
	else
		pool_free(m);
}
