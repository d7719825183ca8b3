/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/outbox.h"

#include "base/be.h"
#include "base/secmem.h"
#include "crypto/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMPACT_AT 65536u /* bytes of a file in which nothing is left to deliver */
static const char kind[JOURNAL_KIND_LEN] = "outbox";

enum { HEAD = PLACE_LEN + COSE_STREAM_LEN + 8 + 8 + 2, MESSAGE_HEAD = 8 + 8 + COSE_STREAM_LEN + 1 + 1 + 4 };

struct outbox {
	struct journal *journal;
	const char *topic;                /* borrowed */
	size_t topic_len;
	uint8_t place[PLACE_LEN]; /* where the stream was begun */
	uint8_t stream[COSE_STREAM_LEN];
	uint64_t delivered, next;         /* numbers below are */
	bool noted;                       /* the file says so */
	uint8_t *frame;                   /* what the next commit writes: room for the head, then messages */
	size_t len, cap;
};

static enum err reserve(struct outbox *o, size_t more)
{
	if (o->cap - o->len >= more)
		return ERR_OK;
	size_t cap = 2 * (o->len + more);
	uint8_t *now = malloc(cap);
	if (!now)
		return ERR_NOMEM;
	if (o->frame) {
		memcpy(now, o->frame, o->len);
		secmem_wipe(o->frame, o->cap);
		free(o->frame);
	}
	o->frame = now;
	o->cap = cap;
	return ERR_OK;
}

static size_t head_len(const struct outbox *o)
{
	return HEAD + o->topic_len;
}

/* A frame begins with what holds after it. */
static void put_head(struct outbox *o)
{
	uint8_t *p = o->frame;
	memcpy(p, o->place, sizeof o->place);
	memcpy(p + sizeof o->place, o->stream, sizeof o->stream);
	p = put_be(put_be(p + sizeof o->place + sizeof o->stream, o->delivered, 8), o->next, 8);
	memcpy(put_be(p, o->topic_len, 2), o->topic, o->topic_len);
}

/* ---- reading */

struct reader {
	struct outbox *o;
	outbox_visit visit;
	void *arg;
};

static const char *read_messages(const struct reader *r, const uint8_t *p, const uint8_t *end)
{
	while (p < end) {
		if (end - p < MESSAGE_HEAD)
			return "a message is cut off";
		struct outbox_message m = { .number = get_be(p, 8), .time_ms = get_be(p + 8, 8), .qos = p[24], .retain = p[25], .len = (size_t)get_be(p + 26, 4),
			.bytes = p + MESSAGE_HEAD };
		memcpy(m.stream, p + 16, sizeof m.stream);
		if (m.len > (size_t)(end - p) - MESSAGE_HEAD || m.qos > 2)
			return "a message is cut off";
		p = m.bytes + m.len;
		const char *why = m.number < r->o->delivered ? NULL : r->visit(r->arg, &m);
		if (why)
			return why;
	}
	return NULL;
}

static const char *read_frame(void *arg, const uint8_t *bytes, size_t len)
{
	struct reader *r = arg;
	struct outbox *o = r->o;
	size_t topic_len = len < HEAD ? 0 : (size_t)get_be(bytes + HEAD - 2, 2);
	if (len < HEAD || len - HEAD < topic_len)
		return "a frame is cut off";
	if (topic_len != o->topic_len || memcmp(bytes + HEAD, o->topic, topic_len) != 0)
		return "it is another topic's outbox";
	memcpy(o->place, bytes, sizeof o->place);
	memcpy(o->stream, bytes + sizeof o->place, sizeof o->stream);
	o->delivered = get_be(bytes + HEAD - 18, 8);
	o->next = get_be(bytes + HEAD - 10, 8);
	return read_messages(r, bytes + HEAD + topic_len, bytes + len);
}

/* A stream lasts as long as the file is where it was: in a copy, or a backup that was put back, the same numbers would come twice. */
static enum err continue_stream(struct outbox *o)
{
	uint8_t here[PLACE_LEN];
	struct stream fresh;
	enum err e = journal_place(o->journal, here);
	if (e != ERR_OK || memcmp(here, o->place, sizeof here) == 0)
		return e;
	stream_start(&fresh);
	memcpy(o->stream, fresh.id, sizeof o->stream);
	memcpy(o->place, here, sizeof o->place);
	return ERR_OK;
}

struct outbox *outbox_open(const char *path, const char *topic, struct keypair *owner, outbox_visit visit, void *arg, uint64_t *torn, char *error,
                           size_t error_len)
{
	struct outbox *o = calloc(1, sizeof *o);
	struct reader r = { o, visit, arg };
	if (!o) {
		snprintf(error, error_len, "%s: out of memory", path);
		return NULL;
	}
	o->topic = topic;
	o->topic_len = strlen(topic);
	o->noted = true;
	o->journal = journal_open(path, kind, owner, read_frame, &r, torn, error, error_len);
	if (o->journal && reserve(o, head_len(o)) == ERR_OK && continue_stream(o) == ERR_OK) {
		o->len = head_len(o);
		return o;
	}
	if (o->journal)
		snprintf(error, error_len, "%s: out of memory, or the system does not say where the file is", path);
	outbox_close(o);
	return NULL;
}

void outbox_close(struct outbox *o)
{
	if (!o)
		return;
	journal_close(o->journal);
	if (o->frame)
		secmem_wipe(o->frame, o->cap);
	free(o->frame);
	free(o);
}

/* ---- taking and giving */

enum err outbox_add(struct outbox *o, struct outbox_message *m, uint64_t now_ms)
{
	if (m->len > JOURNAL_FRAME_MAX / 2)
		return ERR_INVALID;
	if (outbox_is_full(o))
		return ERR_FULL;
	enum err e = reserve(o, MESSAGE_HEAD + m->len);
	if (e != ERR_OK)
		return e;
	m->number = o->next++;
	m->time_ms = now_ms;
	memcpy(m->stream, o->stream, sizeof m->stream);
	uint8_t *p = put_be(put_be(o->frame + o->len, m->number, 8), m->time_ms, 8);
	memcpy(p, m->stream, sizeof m->stream);
	p += sizeof m->stream;
	*p++ = m->qos;
	*p++ = m->retain;
	p = put_be(p, m->len, 4);
	if (m->len)
		memcpy(p, m->bytes, m->len);
	o->len += MESSAGE_HEAD + m->len;
	return ERR_OK;
}

/* Writes the frame, behind the others or in their stead. */
static enum err write_frame(struct outbox *o, enum err (*write)(struct journal *, const void *, size_t))
{
	put_head(o);
	enum err e = write(o->journal, o->frame, o->len);
	if (e == ERR_OK) {
		o->len = head_len(o);
		o->noted = true;
	}
	return e;
}

enum err outbox_commit(struct outbox *o)
{
	return o->len > head_len(o) ? write_frame(o, journal_append) : ERR_OK;
}

/* The file in which nothing is left to deliver becomes a new one: elsewhere, as far as its stream is concerned, but not a copy. */
static enum err compact(struct outbox *o)
{
	enum err e = write_frame(o, journal_rewrite);
	if (e == ERR_OK)
		e = journal_place(o->journal, o->place);
	return e == ERR_OK ? write_frame(o, journal_append) : e;
}

enum err outbox_delivered(struct outbox *o, uint64_t below)
{
	o->noted = o->noted && below == o->delivered;
	o->delivered = below;
	bool idle = below == o->next && o->len == head_len(o);
	return idle && journal_size(o->journal) > COMPACT_AT ? compact(o) : ERR_OK;
}

enum err outbox_finish(struct outbox *o)
{
	enum err e = outbox_commit(o);
	return e == ERR_OK && !o->noted ? write_frame(o, journal_append) : e;
}

uint64_t outbox_taken(const struct outbox *o)
{
	return o->next;
}

uint64_t outbox_first(const struct outbox *o)
{
	return o->delivered;
}

bool outbox_is_full(const struct outbox *o)
{
	return journal_size(o->journal) + o->len > OUTBOX_SIZE_MAX && o->delivered < o->next;
}
