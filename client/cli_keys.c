/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests for keys and certificates. Owns libsealmq's handle. */
#include "client/cli_keys.h"
#include "client/cli_pins.h"
#include "client/cli_stream.h"

#include "base/clock.h"

#include <mosquitto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_NOTE_MS 2000u   /* after that long without an envelope the user is told what is being waited for */

struct ask {
	struct ask *next;
	enum keys_state state;
	int mid;             /* of its SUBSCRIBE; 0: not sent on this connection */
	uint64_t since_ms;
	bool told_waiting;
	char why[200];
	char topic[];
};

struct keys {
	const struct options *o;
	struct sealmq *member;
	struct cli_stream *stream;  /* NULL: nothing was sealed, or member's own */
	bool seals;
	struct ask *asks;
	bool any_refused;    /* an envelope */
};

static const char keys_prefix[] = "$KEYS/", certs_prefix[] = "$CERTS/";
#define STARTS(topic, prefix) (strncmp(topic, prefix, sizeof(prefix) - 1) == 0)

struct keys *keys_new(const struct options *o)
{
	const struct sealmq_options member = { .certfile = o->certfile, .keyfile = o->keyfile, .cafile = o->cafile, .crlfile = o->crlfile };
	char why[512];
	struct keys *k = calloc(1, sizeof *k);
	if (!k) {
		complain(o, "out of memory");
		return NULL;
	}
	k->o = o;
	if (o->plain || !options_can_seal(o))
		return k;
	if (sealmq_open_member(&k->member, &member, why, sizeof why) != SEALMQ_OK)
		complain(o, "%s", why);
	else if (cli_pins_give(o, k->member))
		return k;
	keys_free(k);
	return NULL;
}

void keys_free(struct keys *k)
{
	while (k && k->asks) {
		struct ask *a = k->asks;
		k->asks = a->next;
		free(a);
	}
	if (k) {
		cli_stream_give_back(k->stream, k->member);
		sealmq_close(k->member);
	}
	free(k);
}

struct sealmq *keys_member(struct keys *k)
{
	return k->member;
}

struct sealmq *keys_sealer(struct keys *k)
{
	if (k->member && !k->seals) {
		k->stream = cli_stream_take(k->o, k->member);
		k->seals = true;
	}
	return k->member;
}

static struct ask *find(struct keys *k, const char *topic)
{
	struct ask *a = k->asks;
	while (a && strcmp(a->topic, topic) != 0)
		a = a->next;
	return a;
}

static void send(struct ask *a, struct link *l)
{
	a->mid = link_subscribe(l, a->topic, 1);
	a->since_ms = clock_mono_ms();
}

void keys_connected(struct keys *k, struct link *l)
{
	if (!k->member)
		return;
	for (struct ask **p = &k->asks; *p;) {
		struct ask *a = *p;
		if (!STARTS(a->topic, keys_prefix)) { /* certificates do not change: those that are still needed are asked for anew */
			*p = a->next;
			free(a);
			continue;
		}
		a->state = KEYS_ASKED;
		send(a, l);
		p = &a->next;
	}
}

enum keys_state keys_ask(struct keys *k, struct link *l, const char *topic)
{
	struct ask *a = find(k, topic);
	if (!k->member)
		return KEYS_DENIED;
	if (a)
		return a->state;
	size_t size = strlen(topic) + 1;
	a = calloc(1, sizeof *a + size);
	if (!a) {
		complain(k->o, "out of memory");
		return KEYS_DENIED;
	}
	memcpy(a->topic, topic, size);
	a->next = k->asks;
	k->asks = a;
	if (link_is_up(l))
		send(a, l);
	return KEYS_ASKED;
}

void keys_note_waiting(struct keys *k, const char *topic, const char *what)
{
	struct ask *a = find(k, topic);
	if (!a || a->told_waiting || clock_mono_ms() - a->since_ms <= WAIT_NOTE_MS)
		return;
	a->told_waiting = true;
	complain(k->o, "%s: waiting for the key (its owner has not handed it out yet)", what);
}

bool keys_any_refused(const struct keys *k)
{
	return k && k->any_refused;
}

const char *keys_why(struct keys *k, const char *topic)
{
	const struct ask *a = find(k, topic);
	return a ? a->why : "";
}

uint64_t keys_asked_ms(struct keys *k, const char *topic)
{
	const struct ask *a = find(k, topic);
	return a ? a->since_ms : 0;
}

bool keys_was_sealed(struct keys *k, const char *topic)
{
	struct sealmq_space known = { .name = NULL };
	bool is = k->member && sealmq_space_of(k->member, topic, &known) == SEALMQ_OK;
	free(known.name);
	return is;
}

bool keys_on_subscribed(struct keys *k, int mid, int granted)
{
	struct ask *a = k->asks;
	while (a && a->mid != mid)
		a = a->next;
	if (!a)
		return false;
	a->mid = -1; /* identifiers are used again */
	if (granted > 2)
		a->state = KEYS_DENIED;
	else if (a->state == KEYS_ASKED) /* a retained message may overtake its SUBACK */
		a->state = KEYS_WAITING;
	return true;
}

bool keys_on_message(struct keys *k, struct link *l, const struct mosquitto_message *m)
{
	bool is_cert = STARTS(m->topic, certs_prefix);
	if (!k->member || (!is_cert && !STARTS(m->topic, keys_prefix)))
		return false;
	struct ask *a = find(k, m->topic);
	if (!a)
		return true; /* of a session's former subscription */
	enum sealmq_err e = is_cert ? sealmq_take_cert(k->member, m->payload, (size_t)m->payloadlen)
	                            : sealmq_take_keys(k->member, a->topic + sizeof keys_prefix - 1, m->payload, (size_t)m->payloadlen);
	if (e == SEALMQ_OK || a->state != KEYS_READY) /* what was taken before is still good */
		a->state = e == SEALMQ_OK ? KEYS_READY : KEYS_BAD;
	snprintf(a->why, sizeof a->why, "%s", e == SEALMQ_REFUSED ? sealmq_reason(k->member) : sealmq_err_text(e));
	k->any_refused |= e != SEALMQ_OK && !is_cert;
	if (e != SEALMQ_OK)
		complain(k->o, "%s: refused: %s", a->topic, a->why);
	else if (!is_cert && !cli_pins_keep(k->o, k->member))
		link_fail(l); /* what is used today must be known tomorrow */
	if (is_cert)
		(void)link_unsubscribe(l, a->topic);
	return true;
}
