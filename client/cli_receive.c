/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening what comes. Owns the messages that wait for a key or certificate. */
#include "client/cli_receive.h"

#include "base/clock.h"

#include <mosquitto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MAX_MS 10000u /* for a key or certificate; then the message is refused */
#define SEALED_PREFIX "$SEALED/"

struct held {
	struct held *next;
	uint64_t since_ms;       /* steady clock */
	struct received m;       /* views into bytes */
	uint8_t bytes[];
};

struct receive {
	const struct options *o;
	struct keys *keys;
	const struct receive_handlers *h;
	void *ctx;
	unsigned flags;
	bool stopped;
	struct held *first, **end;
};

struct receive *receive_new(const struct options *o, struct keys *k, unsigned flags, const struct receive_handlers *h, void *ctx)
{
	struct receive *r = calloc(1, sizeof *r);
	if (!r) {
		complain(o, "out of memory");
		return NULL;
	}
	*r = (struct receive){ .o = o, .keys = k, .h = h, .ctx = ctx, .flags = flags, .end = &r->first };
	return r;
}

static void drop_first(struct receive *r)
{
	struct held *m = r->first;
	r->first = m->next;
	if (!r->first)
		r->end = &r->first;
	free(m);
}

void receive_drop(struct receive *r)
{
	while (r->first)
		drop_first(r);
}

void receive_free(struct receive *r)
{
	if (r)
		receive_drop(r);
	free(r);
}

/* ---- opening */

enum step { STEP_DONE, STEP_WAIT };

static void not_sealed(struct receive *r, const struct received *m)
{
	if (r->h->plain)
		r->h->plain(r->ctx, m);
	else
		r->h->refused(r->ctx, m, "not sealed: it is plain text");
}

/* Whether to wait for what libsealmq wants. */
static enum step want(struct receive *r, struct link *l, const struct held *h, enum sealmq_err e)
{
	char *wanted = strdup(sealmq_wanted(keys_member(r->keys))); /* until the next call */
	enum keys_state state = wanted ? keys_ask(r->keys, l, wanted) : KEYS_DENIED;
	bool pending = state == KEYS_ASKED || state == KEYS_WAITING;
	free(wanted);
	if (pending && clock_mono_ms() - h->since_ms < WAIT_MAX_MS)
		return STEP_WAIT;
	if (e == SEALMQ_NEED_KEYS && state == KEYS_DENIED && !h->m.sealed_view)
		not_sealed(r, &h->m); /* it only looked like a sealed message */
	else
		r->h->refused(r->ctx, &h->m, e == SEALMQ_NEED_KEYS ? "no key of this epoch for this client" : "the sender's certificate is not to be had");
	return STEP_DONE;
}

static enum step open_sealed(struct receive *r, struct link *l, const struct held *h)
{
	const struct received *m = &h->m;
	struct sealmq *member = keys_member(r->keys);
	struct sealmq_message sealed;
	uint8_t *plain = malloc(m->payload_len + 1);
	if (!plain) {
		r->h->refused(r->ctx, m, "out of memory");
		return STEP_DONE;
	}
	enum step step = STEP_DONE;
	enum sealmq_err e =
		sealmq_open(member, m->topic, m->payload, m->payload_len, r->flags | (m->retain ? SEALMQ_FROM_PAST : 0u), plain, m->payload_len, &sealed);
	if (e == SEALMQ_OK)
		r->h->opened(r->ctx, m, plain, &sealed);
	else if (e == SEALMQ_NEED_KEYS || e == SEALMQ_NEED_CERT)
		step = want(r, l, h, e);
	else if (e == SEALMQ_NOT_SEALED && (!m->sealed_view || m->payload_len == 0)) /* an empty one clears what is retained */
		not_sealed(r, m);
	else
		r->h->refused(r->ctx, m, e == SEALMQ_REFUSED || e == SEALMQ_NOT_SEALED ? sealmq_reason(member) : sealmq_err_text(e));
	free(plain);
	return step;
}

static enum step handle(struct receive *r, struct link *l, const struct held *h)
{
	if (r->h->wanted && !r->h->wanted(r->ctx, &h->m))
		return STEP_DONE;
	if (keys_member(r->keys) && h->m.topic[0] != '$')
		return open_sealed(r, l, h);
	not_sealed(r, &h->m);
	return STEP_DONE;
}

void receive_go_on(struct receive *r, struct link *l)
{
	while (r->first && !r->stopped && handle(r, l, r->first) == STEP_DONE)
		drop_first(r);
}

void receive_message(struct receive *r, struct link *l, const struct mosquitto_message *m)
{
	size_t len = (size_t)m->payloadlen, topic_len = strlen(m->topic) + 1;
	const struct received bare = { .whole_topic = m->topic, .topic = m->topic };
	if (r->stopped)
		return;
	struct held *h = malloc(sizeof *h + len + topic_len);
	if (!h) {
		r->h->refused(r->ctx, &bare, "out of memory");
		return;
	}
	char *topic = (char *)h->bytes + len;
	memcpy(topic, m->topic, topic_len);
	if (len)
		memcpy(h->bytes, m->payload, len);
	bool sealed_view = strncmp(topic, SEALED_PREFIX, sizeof SEALED_PREFIX - 1) == 0;
	*h = (struct held){ .since_ms = clock_mono_ms(),
		            .m = { topic, topic + (sealed_view ? sizeof SEALED_PREFIX - 1 : 0), sealed_view, h->bytes, len, m->qos, m->mid, m->retain, { 0 } } };
	(void)clock_gettime(CLOCK_REALTIME, &h->m.arrived);
	*r->end = h;
	r->end = &h->next;
	receive_go_on(r, l);
}

bool receive_is_waiting(const struct receive *r)
{
	return r->first != NULL;
}

void receive_stop(struct receive *r)
{
	r->stopped = true;
}
