/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/special.h"

#include "broker/loop.h"
#include "broker/sealing.h"
#include "broker/spaces.h"
#include "topics/history_policy.h"

#include <stdlib.h>
#include <string.h>

struct special {
	struct special *next;
	struct special_filter filter; /* within text */
	bool plain;                   /* the filter is subscribed as such too; the same in all that have it */
	uint8_t options, plain_options;
	size_t len;
	uint8_t text[];
};

struct special_filter special_inner(const uint8_t *text, size_t len)
{
	struct history_spec spec;
	if (!history_is_spec(text, len) || !history_spec_parse(text, len, 0, &spec))
		return (struct special_filter){text, len};
	return (struct special_filter){spec.filter, spec.filter_len};
}

static bool has_filter(const struct special *x, struct special_filter f)
{
	return x->filter.len == f.len && memcmp(x->filter.p, f.p, f.len) == 0;
}

static struct special *with_filter(struct special *from, struct special_filter f)
{
	while (from && !has_filter(from, f))
		from = from->next;
	return from;
}

/* Where the one with that text is, or would be appended. */
static struct special **find(struct session *s, const uint8_t *text, size_t len, unsigned *before)
{
	struct special **at = &s->specials;
	for (*before = 0; *at && !((*at)->len == len && memcmp((*at)->text, text, len) == 0); ++*before)
		at = &(*at)->next;
	return at;
}

static uint8_t higher(uint8_t a, uint8_t b)
{
	return (a & SUB_QOS) < (b & SUB_QOS) ? b : a;
}

/* A subscription of the sealed view is known by its identifier. */
static uint32_t view_of(struct special_filter f)
{
	struct topic_share share;
	bool good = topic_share_parse(f.p, f.len, &share);
	return good && spaces_has_prefix((struct mqtt_bytes){share.filter, share.filter_len}, SPACES_SEALED) ? SUB_ID_SEALED : 0;
}

/* The trie's subscription, with the highest QoS of all that stand for it. */
static enum err put(struct session *s, int thread, struct special_filter f, bool plain, uint8_t plain_options, uint32_t sub_id)
{
	struct special *x = with_filter(s->specials, f);
	uint8_t options = plain ? plain_options : 0;
	bool added;
	for (; x; x = with_filter(x->next, f))
		options = higher(options, x->options);
	return trie_subscribe(s->loop->broker->trie, thread, &s->subs, f.p, f.len, options, sub_id | view_of(f), &added);
}

struct looking {
	struct special_filter filter;
	uint8_t options;
	bool found;
};

static void look(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	struct looking *k = arg;
	(void)sub_id;
	if (len == k->filter.len && memcmp(filter, k->filter.p, len) == 0) {
		k->options = options;
		k->found = true;
	}
}

static enum err subscribe_plain(struct session *s, int thread, struct special_filter f, uint8_t options, uint32_t sub_id, bool *added)
{
	struct special *x = with_filter(s->specials, f);
	if (!x)
		return trie_subscribe(s->loop->broker->trie, thread, &s->subs, f.p, f.len, options, sub_id | view_of(f), added);
	enum err e = put(s, thread, f, true, options, sub_id);
	*added = e == ERR_OK && !x->plain;
	for (; e == ERR_OK && x; x = with_filter(x->next, f)) {
		x->plain = true;
		x->plain_options = options;
	}
	return e;
}

static struct special *special_new(struct session *s, const uint8_t *text, size_t len, struct special_filter f)
{
	struct special *x = calloc(1, sizeof *x + len), *other = with_filter(s->specials, f);
	if (!x)
		return NULL;
	memcpy(x->text, text, len);
	x->len = len;
	x->filter = (struct special_filter){x->text + (f.p - text), f.len};
	struct looking k = {.filter = f};
	if (other)
		k = (struct looking){f, other->plain_options, other->plain};
	else
		sub_set_each(&s->subs, look, &k);
	x->plain = k.found;
	x->plain_options = k.options;
	return x;
}

enum err special_subscribe(struct session *s, int thread, const uint8_t *text, size_t len, uint8_t options, uint32_t sub_id, bool *added)
{
	struct special_filter f = special_inner(text, len);
	if (f.p == text)
		return subscribe_plain(s, thread, f, options, sub_id, added);
	unsigned n;
	struct special **at = find(s, text, len, &n), *x = *at;
	*added = !x;
	if (!x && n >= SPECIALS_MAX)
		return ERR_FULL;
	if (!x && !(x = special_new(s, text, len, f)))
		return ERR_NOMEM;
	uint8_t before = x->options;
	x->options = options;
	*at = x;
	enum err e = put(s, thread, f, x->plain, x->plain_options, sub_id);
	if (e == ERR_OK)
		return ERR_OK;
	x->options = before;
	if (*added) {
		*at = NULL; /* it was the last */
		free(x);
	}
	return e;
}

enum err special_unsubscribe(struct session *s, int thread, const uint8_t *text, size_t len, bool *gone)
{
	struct special_filter f = special_inner(text, len);
	*gone = false;
	if (f.p == text) {
		struct special *x = with_filter(s->specials, f);
		for (struct special *y = x; y; y = with_filter(y->next, f))
			y->plain = false;
		if (x)
			return put(s, thread, f, false, 0, 0);
		enum err e = trie_unsubscribe(s->loop->broker->trie, thread, &s->subs, text, len);
		*gone = e == ERR_OK;
		return e;
	}
	unsigned n;
	struct special **at = find(s, text, len, &n), *x = *at;
	if (!x)
		return ERR_NOT_FOUND;
	*at = x->next;
	enum err e = ERR_OK;
	if (x->plain || with_filter(s->specials, x->filter)) {
		e = put(s, thread, x->filter, x->plain, x->plain_options, 0);
	} else {
		e = trie_unsubscribe(s->loop->broker->trie, thread, &s->subs, x->filter.p, x->filter.len);
		*gone = e == ERR_OK;
	}
	free(x);
	return e;
}

uint8_t special_qos(const struct session *s, const uint8_t *text, size_t len)
{
	struct special_filter f = special_inner(text, len);
	struct looking k = {.filter = f};
	for (const struct special *x = s->specials; x; x = x->next) {
		if (x->len == len && memcmp(x->text, text, len) == 0)
			return x->options & SUB_QOS;
		if (f.p == text && has_filter(x, f))
			return x->plain_options & SUB_QOS;
	}
	sub_set_each(&s->subs, look, &k);
	return k.options & SUB_QOS;
}

void special_forget(struct session *s, const uint8_t *filter, size_t len)
{
	struct special_filter f = {filter, len};
	for (struct special **at = &s->specials; *at;) {
		struct special *x = *at;
		if (!has_filter(x, f)) {
			at = &x->next;
			continue;
		}
		*at = x->next;
		if (s->persistent)
			session_forget_subscription(s, x->text, x->len);
		free(x);
	}
}

void specials_free(struct session *s)
{
	while (s->specials) {
		struct special *x = s->specials;
		s->specials = x->next;
		free(x);
	}
}
