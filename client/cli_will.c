/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/cli_will.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct will {
	const struct options *o;
	struct keys *keys;
	struct link *link;
	char *keys_topic, *sealed_topic;
	enum will_state state;
	bool keys_came;
	size_t len;                 /* of its payload; there may be none */
	uint8_t *sealed;            /* NULL: it is plain, or not yet sealed */
	size_t sealed_len;
};

static bool leave(struct will *w, const char *topic, const void *payload, size_t len)
{
	return link_will(w->link, topic, payload, len, w->o->will_qos, w->o->will_retain);
}

struct will *will_new(const struct options *o, struct keys *k, struct link *l)
{
	struct will *w = calloc(1, sizeof *w);
	if (!w) {
		complain(o, "out of memory");
		return NULL;
	}
	*w = (struct will){ .o = o, .keys = k, .link = l, .state = WILL_SET, .len = o->will_payload ? strlen(o->will_payload) : 0 };
	if (!o->will_topic)
		return w;
	bool good;
	if (!keys_member(k) || o->will_topic[0] == '$') {
		good = leave(w, o->will_topic, o->will_payload, w->len);
	} else {
		w->state = WILL_ASKED;
		good = asprintf(&w->keys_topic, "$KEYS/%s", o->will_topic) >= 0 && asprintf(&w->sealed_topic, "$SEALED/%s", o->will_topic) >= 0;
		if (!good)
			complain(o, "out of memory");
	}
	if (good)
		return w;
	will_free(w);
	return NULL;
}

void will_free(struct will *w)
{
	if (!w)
		return;
	free(w->keys_topic);
	free(w->sealed_topic);
	free(w->sealed);
	free(w);
}

static enum will_state fail(struct will *w, const char *why)
{
	complain(w->o, "--will-topic %s: %s", w->o->will_topic, why);
	return w->state = WILL_FAILED;
}

/* The next connection has it. */
static enum will_state connect_again(struct will *w)
{
	w->state = WILL_SET;
	link_restart(w->link);
	return WILL_ASKED;
}

static enum will_state leave_plain(struct will *w)
{
	if (keys_was_sealed(w->keys, w->o->will_topic))
		return fail(w, KEYS_WAS_SEALED);
	if (w->o->sealed)
		return fail(w, "not sealed for this client, and --sealed forbids plain text");
	return leave(w, w->o->will_topic, w->o->will_payload, w->len) ? connect_again(w) : (w->state = WILL_FAILED);
}

/* Seals it for the connections to come. */
static enum sealmq_err seal(struct will *w)
{
	struct sealmq *h = keys_member(w->keys);
	size_t cap = sealmq_sealed_size(h, w->len), len = 0;
	/* One that clears what is retained has nothing to hide, and must be empty. */
	bool clears = w->len == 0 && w->o->will_retain;
	uint8_t *sealed = malloc(cap);
	enum sealmq_err e = !sealed  ? SEALMQ_NOMEM
	                    : clears ? SEALMQ_OK
	                             : sealmq_seal(h, w->o->will_topic, w->o->will_payload ? w->o->will_payload : "", w->len,
	                                           SEALMQ_WILL | (w->o->sign ? SEALMQ_SIGN : 0u), sealed, cap, &len);
	if (e == SEALMQ_OK && !leave(w, w->sealed_topic, sealed, len))
		e = SEALMQ_NOMEM;
	if (e != SEALMQ_OK) {
		free(sealed);
		return e;
	}
	free(w->sealed);
	w->sealed = sealed;
	w->sealed_len = len;
	return SEALMQ_OK;
}

static enum will_state leave_sealed(struct will *w)
{
	enum sealmq_err e = seal(w);
	if (e == SEALMQ_NEED_KEYS) /* a newer envelope is on its way */
		return WILL_ASKED;
	if (e != SEALMQ_OK)
		return fail(w, *sealmq_reason(keys_member(w->keys)) ? sealmq_reason(keys_member(w->keys)) : sealmq_err_text(e));
	return connect_again(w);
}

enum will_state will_go_on(struct will *w)
{
	bool came = w->keys_came;
	w->keys_came = false;
	if (!link_is_up(w->link) || w->state == WILL_FAILED)
		return w->state == WILL_FAILED ? WILL_FAILED : WILL_ASKED;
	if (w->state == WILL_SET) {
		bool stale = came && w->sealed_len > 0 && !sealmq_is_current(keys_member(w->keys), w->o->will_topic, w->sealed, w->sealed_len);
		return stale ? leave_sealed(w) : WILL_SET;
	}
	switch (keys_ask(w->keys, w->link, w->keys_topic)) {
	case KEYS_ASKED: break;
	case KEYS_WAITING:
		keys_note_waiting(w->keys, w->keys_topic, w->o->will_topic);
		break;
	case KEYS_READY: return leave_sealed(w);
	case KEYS_DENIED: return leave_plain(w);
	case KEYS_BAD: return fail(w, "its keys were refused");
	}
	return WILL_ASKED;
}

void will_lost(struct will *w)
{
	if (w->sealed_len > 0 && w->state == WILL_SET) /* where there is no key now, the old one stands until keys come */
		(void)seal(w);
}

void will_new_keys(struct will *w)
{
	w->keys_came = true;
}
