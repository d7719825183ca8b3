/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sending until acknowledged. Owns the messages. */
#include "client/cli_outgoing.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
	struct item *next;
	struct outgoing_about about;
	int mid;                 /* 0: not sent on this connection */
	bool acknowledged;
	uint64_t acknowledged_ms;
	uint8_t *sealed;         /* NULL: not sealed yet */
	size_t sealed_len, len;
	uint8_t plain[];
};

struct outgoing {
	const struct options *o;
	struct keys *keys;
	struct item *first, **end;
	size_t n;
};

struct outgoing *outgoing_new(const struct options *o, struct keys *k)
{
	struct outgoing *q = calloc(1, sizeof *q);
	if (!q) {
		complain(o, "out of memory");
		return NULL;
	}
	*q = (struct outgoing){ .o = o, .keys = k, .end = &q->first };
	return q;
}

static void drop(struct outgoing *q, struct item **at)
{
	struct item *i = *at;
	*at = i->next;
	if (q->end == &i->next)
		q->end = at;
	q->n--;
	free(i->sealed);
	free(i);
}

void outgoing_free(struct outgoing *q)
{
	while (q && q->first)
		drop(q, &q->first);
	free(q);
}

bool outgoing_add(struct outgoing *q, struct outgoing_about about, const void *text, size_t len)
{
	struct item *i = calloc(1, sizeof *i + len);
	if (!i) {
		complain(q->o, "out of memory");
		return false;
	}
	i->about = about;
	i->len = len;
	if (len)
		memcpy(i->plain, text, len);
	*q->end = i;
	q->end = &i->next;
	q->n++;
	return true;
}

/* SEALMQ_NEED_KEYS: a newer envelope is on its way. */
static enum sealmq_err seal(struct outgoing *q, struct item *i)
{
	struct sealmq *member = keys_sealer(q->keys);
	if (i->sealed && !sealmq_is_current(member, i->about.topic, i->sealed, i->sealed_len)) {
		free(i->sealed); /* its epoch has ended */
		i->sealed = NULL;
	}
	if (i->sealed)
		return SEALMQ_OK;
	size_t cap = sealmq_sealed_size(member, i->len);
	i->sealed = malloc(cap);
	enum sealmq_err e = i->sealed ? sealmq_seal(member, i->about.topic, i->plain, i->len, SEALMQ_SIGN, i->sealed, cap, &i->sealed_len) : SEALMQ_NOMEM;
	if (e == SEALMQ_OK)
		return e;
	free(i->sealed);
	i->sealed = NULL;
	if (e != SEALMQ_NEED_KEYS)
		complain(q->o, "%s: %s", i->about.topic, *sealmq_reason(member) ? sealmq_reason(member) : sealmq_err_text(e));
	return e;
}

static bool publish(const struct outgoing *q, struct item *i, struct link *l)
{
	char *topic = NULL;
	if (asprintf(&topic, "$SEALED/%s", i->about.topic) < 0) {
		complain(q->o, "out of memory");
		return false;
	}
	i->mid = link_publish(l, topic, i->sealed, i->sealed_len, 1, i->about.retain);
	free(topic);
	return i->mid != 0;
}

bool outgoing_send(struct outgoing *q, struct link *l)
{
	for (struct item *i = q->first; i && link_is_up(l) && !link_is_busy(l); i = i->next) {
		if (i->mid != 0)
			continue;
		enum sealmq_err e = seal(q, i);
		if (e != SEALMQ_OK)
			return e == SEALMQ_NEED_KEYS;
		if (!publish(q, i, l))
			return true; /* the next connection will do */
	}
	return true;
}

void outgoing_lost(struct outgoing *q)
{
	for (struct item **at = &q->first; *at;) {
		(*at)->mid = 0;
		if ((*at)->acknowledged) /* what would come back may have come meanwhile */
			drop(q, at);
		else
			at = &(*at)->next;
	}
}

void outgoing_published(struct outgoing *q, int mid)
{
	for (struct item **at = &q->first; *at; at = &(*at)->next) {
		struct item *i = *at;
		if (i->mid != mid || i->acknowledged)
			continue;
		i->acknowledged = true;
		i->acknowledged_ms = clock_mono_ms();
		if (!i->about.comes_back)
			drop(q, at);
		return;
	}
}

bool outgoing_seen(struct outgoing *q, const void *payload, size_t len)
{
	for (struct item **at = &q->first; *at; at = &(*at)->next) {
		struct item *i = *at;
		if (!i->about.comes_back || !i->sealed || i->sealed_len != len || memcmp(i->sealed, payload, len) != 0)
			continue;
		i->about.comes_back = false;
		if (i->acknowledged)
			drop(q, at);
		return true;
	}
	return false;
}

size_t outgoing_drop_overdue(struct outgoing *q, uint64_t wait_ms)
{
	size_t n = 0;
	for (struct item **at = &q->first; *at;) {
		bool overdue = (*at)->acknowledged && clock_mono_ms() - (*at)->acknowledged_ms > wait_ms;
		n += overdue;
		if (overdue)
			drop(q, at);
		else
			at = &(*at)->next;
	}
	return n;
}

size_t outgoing_waiting(const struct outgoing *q)
{
	return q->n;
}
