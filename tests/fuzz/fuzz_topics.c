/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of topic filters: subscriptions come and go in the trie, and retained messages in theirs; what a topic or a filter matches is
 * compared with a list that is searched by the rules of MQTT 3.1.1, 4.7, level by level.
 *
 * Input: fields with 0xFF between (which no UTF-8 holds). The first byte of a field says what to do (bits 0-2), for which of four
 * sessions (3-4) and with which QoS (5-6); the rest is the topic or filter. */
#include "base/epoch.h"
#include "base/msg.h"
#include "mqtt/utf8.h"
#include "topics/retained.h"
#include "topics/trie.h"
#include "topics/trie_int.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define SESSIONS 4u
#define MODEL_MAX 64u

struct text {
	const uint8_t *p;
	size_t len;
};

struct subscription {
	struct text text; /* as subscribed */
	unsigned session;
	uint8_t qos;
};

struct world {
	struct epoch *epoch;
	int thread;
	struct trie *trie;
	struct retained *retained;
	struct sub_set sets[SESSIONS];
	struct subscription subs[MODEL_MAX]; /* the model */
	size_t n_subs;
	struct text topics[MODEL_MAX]; /* with a retained message */
	size_t n_topics;
};

static void require(bool condition)
{
	if (!condition)
		abort();
}

static bool same(struct text a, struct text b) { return a.len == b.len && memcmp(a.p, b.p, a.len) == 0; }

/* ---- the rules, plainly */

/* Takes the first level off *rest; false when there is none left. A text of n slashes has n + 1 levels. */
static bool next_level(struct text *rest, struct text *level)
{
	if (!rest->p)
		return false;
	const uint8_t *slash = memchr(rest->p, '/', rest->len);
	*level = (struct text){ rest->p, slash ? (size_t)(slash - rest->p) : rest->len };
	*rest = slash ? (struct text){ slash + 1, rest->len - level->len - 1 } : (struct text){ NULL, 0 };
	return true;
}

static bool is(struct text level, char c) { return level.len == 1 && level.p[0] == (uint8_t)c; }

static bool matches(struct text filter, struct text topic)
{
	struct text f, t;
	if (topic.p[0] == '$' && (filter.p[0] == '+' || filter.p[0] == '#'))
		return false;
	while (next_level(&filter, &f)) {
		if (is(f, '#'))
			return true;
		if (!next_level(&topic, &t) || (!is(f, '+') && !same(f, t)))
			return false;
	}
	return !topic.p;
}

/* ---- the model */

/* Its place; n_subs when there is none. */
static size_t find(const struct world *w, unsigned session, struct text text)
{
	size_t i = 0;
	while (i < w->n_subs && !(w->subs[i].session == session && same(w->subs[i].text, text)))
		i++;
	return i;
}

static struct text *find_topic(struct world *w, struct text topic)
{
	for (size_t i = 0; i < w->n_topics; i++) {
		if (same(w->topics[i], topic))
			return &w->topics[i];
	}
	return NULL;
}

static void subscribe(struct world *w, unsigned session, uint8_t qos, struct text text)
{
	struct topic_share share;
	if (w->n_subs == MODEL_MAX || !topic_share_parse(text.p, text.len, &share) || topic_levels(share.filter, share.filter_len) > TOPIC_LEVELS_MAX)
		return;
	size_t at = find(w, session, text);
	bool added;
	require(trie_subscribe(w->trie, w->thread, &w->sets[session], text.p, text.len, qos, 0, &added) == ERR_OK);
	require(added == (at == w->n_subs));
	w->n_subs += added;
	w->subs[at] = (struct subscription){ text, session, qos };
}

static void unsubscribe(struct world *w, unsigned session, struct text text)
{
	size_t at = find(w, session, text);
	enum err e = trie_unsubscribe(w->trie, w->thread, &w->sets[session], text.p, text.len);
	require((e == ERR_OK) == (at < w->n_subs));
	if (at < w->n_subs)
		w->subs[at] = w->subs[--w->n_subs];
}

/* The first of its group and filter in the model? */
static bool first_member(const struct world *w, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (same(w->subs[k].text, w->subs[i].text))
			return false;
	}
	return true;
}

/* What topic matches, by the trie and by the list. */
static void check_match(struct world *w, struct text topic)
{
	int best[SESSIONS] = { -1, -1, -1, -1 };
	uint32_t targets = 0, groups = 0;
	for (size_t i = 0; i < w->n_subs; i++) {
		const struct subscription *s = &w->subs[i];
		struct topic_share share;
		require(topic_share_parse(s->text.p, s->text.len, &share));
		if (!matches((struct text){ share.filter, share.filter_len }, topic))
			continue;
		groups += share.group && first_member(w, i);
		if (!share.group && s->qos > best[s->session])
			best[s->session] = s->qos;
	}
	struct match *m = trie_match(w->trie, topic.p, topic.len);
	require(m != NULL);
	for (unsigned i = 0; i < SESSIONS; i++)
		targets += best[i] >= 0;
	require(m->n_targets == targets && m->n_groups == groups);
	for (uint32_t i = 0; i < m->n_targets; i++)
		require((int)(m->targets[i].options & SUB_QOS) == best[sub_handle_slot(m->targets[i].handle)]);
	match_unref(m);
}

static void retain(struct world *w, bool keep, struct text topic)
{
	struct text *known = find_topic(w, topic);
	if (w->n_topics == MODEL_MAX && !known)
		return;
	struct msg_spec spec = { .topic = topic.p, .topic_len = topic.len, .payload = "x", .payload_len = keep, .flags = MSG_RETAIN };
	struct msg *m = msg_new(&spec);
	require(m && retained_put(w->retained, w->thread, m, 0) == ERR_OK);
	msg_unref(m);
	if (keep && !known)
		w->topics[w->n_topics++] = topic;
	if (keep || !known)
		return;
	w->n_topics--;
	*known = w->topics[w->n_topics];
}

struct looking {
	struct world *w;
	struct text filter;
	size_t n;
};

static bool look(void *arg, struct msg *m)
{
	struct looking *l = arg;
	struct text topic = { msg_topic(m), m->topic_len };
	l->n++;
	require(find_topic(l->w, topic) && matches(l->filter, topic));
	return true;
}

/* Which retained messages filter matches. */
static void check_retained(struct world *w, struct text filter)
{
	struct looking l = { w, filter, 0 };
	size_t n = 0;
	for (size_t i = 0; i < w->n_topics; i++)
		n += matches(filter, w->topics[i]);
	retained_match(w->retained, filter.p, filter.len, look, &l);
	require(l.n == n);
}

/* ---- the input */

enum { SUBSCRIBE, UNSUBSCRIBE, MATCH, RETAIN, ERASE, RETAINED, CLEAR, SETTLE };

static void step(struct world *w, uint8_t what, struct text text)
{
	const unsigned session = what >> 3 & 3u, verb = what & 7u;
	const uint8_t qos = (uint8_t)((what >> 5 & 3u) % 3u);
	const bool filter = mqtt_filter_valid(text.p, text.len), topic = mqtt_topic_valid(text.p, text.len);
	const bool deep = topic_levels(text.p, text.len) > TOPIC_LEVELS_MAX;
	if (verb == SUBSCRIBE && filter)
		subscribe(w, session, qos, text);
	else if (verb == UNSUBSCRIBE && filter)
		unsubscribe(w, session, text);
	else if (verb == MATCH && topic && !deep)
		check_match(w, text);
	else if ((verb == RETAIN || verb == ERASE) && topic && !deep)
		retain(w, verb == RETAIN, text);
	else if (verb == RETAINED && filter)
		check_retained(w, text);
	else if (verb == SETTLE)
		epoch_quiescent(w->epoch, w->thread);
	if (verb != CLEAR)
		return;
	trie_clear(w->trie, w->thread, &w->sets[session]);
	for (size_t i = w->n_subs; i-- > 0;) {
		if (w->subs[i].session == session)
			w->subs[i] = w->subs[--w->n_subs];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world w;
	w = (struct world){ .epoch = epoch_new() };
	require(w.epoch && (w.trie = trie_new(w.epoch)) && (w.retained = retained_new(w.epoch)));
	w.thread = epoch_register(w.epoch);
	epoch_online(w.epoch, w.thread);
	for (unsigned i = 0; i < SESSIONS; i++)
		sub_set_init(&w.sets[i], sub_handle_make(0, i, i + 1));
	for (size_t at = 0; at < len;) {
		const uint8_t *end = memchr(data + at, 0xFF, len - at);
		size_t n = end ? (size_t)(end - data) - at : len - at;
		if (n > 1)
			step(&w, data[at], (struct text){ data + at + 1, n - 1 });
		at += n + 1;
	}
	require(trie_check(w.trie) == NULL);
	for (unsigned i = 0; i < SESSIONS; i++)
		trie_clear(w.trie, w.thread, &w.sets[i]);
	do
		epoch_quiescent(w.epoch, w.thread);
	while (epoch_reclaim(w.epoch, w.thread) > 0);
	epoch_offline(w.epoch, w.thread);
	trie_free(w.trie);
	retained_free(w.retained);
	epoch_unregister(w.epoch, w.thread);
	epoch_free(w.epoch);
	return 0;
}
