/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Replay windows: a hash table of (topic, key id, sender), each with its streams. Owned by one receiver; one thread at a time. */
#include "crypto/replay.h"

#include "base/pool.h"
#include "base/random.h"
#include "base/siphash.h"

#include <string.h>

struct window {
	struct window *next;
	uint8_t stream[COSE_STREAM_LEN];
	uint64_t highest, last_ms;
	uint64_t seen[REPLAY_WINDOW / 64]; /* bit (seq % REPLAY_WINDOW) of the numbers highest - 1023 … highest */
};

struct source {
	struct source *next;
	struct window *windows;
	uint64_t hash;
	uint8_t kid[KEYTREE_KID_LEN], sender[COSE_SENDER_LEN];
	size_t topic_len;
	char topic[];
};

struct replay {
	struct source **buckets;
	size_t mask, n_windows, windows_max;
	struct siphash_key key; /* of its own: topics are chosen by strangers */
};

const char *verdict_text(enum verdict v)
{
	switch (v) {
	case VERDICT_LIVE: return "live";
	case VERDICT_LATE: return "late";
	case VERDICT_PAST: return "past";
	case VERDICT_DUPLICATE: return "duplicate";
	case VERDICT_REFUSED_AHEAD: return "refused: from the future";
	case VERDICT_REFUSED_OLD: return "refused: behind the window";
	case VERDICT_REFUSED_STREAM: return "refused: too many streams of this sender";
	case VERDICT_REFUSED_FULL: return "refused: too many windows";
	}
	return "unknown";
}

struct replay *replay_new(size_t windows_max)
{
	struct replay *r = pool_alloc(sizeof *r);
	size_t buckets = 64;
	while (buckets < windows_max && buckets < 1u << 20)
		buckets *= 2;
	if (!r)
		return NULL;
	r->buckets = pool_alloc(buckets * sizeof(struct source *));
	if (!r->buckets) {
		pool_free(r);
		return NULL;
	}
	memset(r->buckets, 0, buckets * sizeof(struct source *));
	r->mask = buckets - 1;
	r->n_windows = 0;
	r->windows_max = windows_max;
	random_bytes(&r->key, sizeof r->key);
	return r;
}

static void source_free(struct source *s)
{
	while (s->windows) {
		struct window *w = s->windows;
		s->windows = w->next;
		pool_free(w);
	}
	pool_free(s);
}

void replay_free(struct replay *r)
{
	for (size_t i = 0; r && i <= r->mask; i++) {
		while (r->buckets[i]) {
			struct source *s = r->buckets[i];
			r->buckets[i] = s->next;
			source_free(s);
		}
	}
	if (r)
		pool_free(r->buckets);
	pool_free(r);
}

static uint64_t source_hash(const struct replay *r, const char *topic, size_t topic_len, const struct cose_head *h)
{
	uint8_t who[KEYTREE_KID_LEN + COSE_SENDER_LEN];
	memcpy(who, h->kid, KEYTREE_KID_LEN);
	memcpy(who + KEYTREE_KID_LEN, h->sender, COSE_SENDER_LEN);
	return siphash13(&r->key, topic, topic_len) ^ siphash13(&r->key, who, sizeof who);
}

static struct source *find_source(const struct replay *r, uint64_t hash, const char *topic, size_t topic_len, const struct cose_head *h)
{
	for (struct source *s = r->buckets[hash & r->mask]; s; s = s->next)
		if (s->hash == hash && s->topic_len == topic_len && memcmp(s->topic, topic, topic_len) == 0 &&
		    memcmp(s->kid, h->kid, sizeof s->kid) == 0 && memcmp(s->sender, h->sender, sizeof s->sender) == 0)
			return s;
	return NULL;
}

static bool expired(const struct window *w, uint64_t mono_ms)
{
	return mono_ms > w->last_ms && mono_ms - w->last_ms > REPLAY_KEEP_MS;
}

static struct window *find_window(const struct source *s, const uint8_t *stream)
{
	struct window *w = s ? s->windows : NULL;
	while (w && memcmp(w->stream, stream, COSE_STREAM_LEN) != 0)
		w = w->next;
	return w;
}

static unsigned windows_in_use(const struct source *s, uint64_t mono_ms)
{
	unsigned n = 0;
	for (const struct window *w = s ? s->windows : NULL; w; w = w->next)
		n += !expired(w, mono_ms);
	return n;
}

static size_t count_expired(const struct replay *r, uint64_t mono_ms)
{
	size_t n = 0;
	for (size_t i = 0; i <= r->mask; i++)
		for (const struct source *s = r->buckets[i]; s; s = s->next)
			for (const struct window *w = s->windows; w; w = w->next)
				n += expired(w, mono_ms);
	return n;
}

static bool was_seen(const struct window *w, uint64_t seq)
{
	size_t bit = seq % REPLAY_WINDOW;
	return w->seen[bit / 64] >> (bit % 64) & 1;
}

/* What the window of the message's stream says. */
static enum verdict judge_window(const struct replay *r, const char *topic, size_t topic_len, const struct cose_head *h, uint64_t mono_ms)
{
	const struct source *s = find_source(r, source_hash(r, topic, topic_len, h), topic, topic_len, h);
	const struct window *w = find_window(s, h->stream);
	if (w && h->seq <= w->highest) {
		if (w->highest - h->seq >= REPLAY_WINDOW)
			return VERDICT_REFUSED_OLD;
		return was_seen(w, h->seq) ? VERDICT_DUPLICATE : VERDICT_LIVE;
	}
	if (w)
		return VERDICT_LIVE;
	if (windows_in_use(s, mono_ms) >= REPLAY_STREAMS_MAX)
		return VERDICT_REFUSED_STREAM;
	if (r->n_windows >= r->windows_max && count_expired(r, mono_ms) == 0)
		return VERDICT_REFUSED_FULL;
	return VERDICT_LIVE;
}

enum verdict replay_judge_time(const struct cose_head *h, bool past, const struct replay_clock *now)
{
	bool clocks = h->time_ms != 0 && now->wall_ms != 0;
	if (clocks && h->time_ms > now->wall_ms && h->time_ms - now->wall_ms > REPLAY_LIVE_MS)
		return VERDICT_REFUSED_AHEAD;
	if (past)
		return VERDICT_PAST;
	bool recent = clocks && (h->time_ms >= now->wall_ms || now->wall_ms - h->time_ms <= REPLAY_LIVE_MS);
	return recent ? VERDICT_LIVE : VERDICT_LATE;
}

enum verdict replay_judge(const struct replay *r, const char *topic, size_t topic_len, const struct cose_head *h, bool past,
                          const struct replay_clock *now)
{
	enum verdict by_time = replay_judge_time(h, past, now);
	if (by_time == VERDICT_REFUSED_AHEAD || by_time == VERDICT_PAST)
		return by_time;
	enum verdict v = judge_window(r, topic, topic_len, h, now->mono_ms);
	return v == VERDICT_LIVE ? by_time : v;
}

/* Takes out a source's expired windows. */
static void sweep_source(struct replay *r, struct source *s, uint64_t mono_ms)
{
	for (struct window **p = &s->windows; *p;) {
		struct window *w = *p;
		if (!expired(w, mono_ms)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		pool_free(w);
		r->n_windows--;
	}
}

/* Takes out everything that has expired, and sources left without windows. */
static void sweep(struct replay *r, uint64_t mono_ms)
{
	for (size_t i = 0; i <= r->mask; i++) {
		for (struct source **p = &r->buckets[i]; *p;) {
			struct source *s = *p;
			sweep_source(r, s, mono_ms);
			if (s->windows) {
				p = &s->next;
				continue;
			}
			*p = s->next;
			pool_free(s);
		}
	}
}

static struct source *add_source(struct replay *r, uint64_t hash, const char *topic, size_t topic_len, const struct cose_head *h)
{
	struct source *s = pool_alloc(sizeof *s + topic_len);
	if (!s)
		return NULL;
	s->windows = NULL;
	s->hash = hash;
	memcpy(s->kid, h->kid, sizeof s->kid);
	memcpy(s->sender, h->sender, sizeof s->sender);
	s->topic_len = topic_len;
	memcpy(s->topic, topic, topic_len);
	s->next = r->buckets[hash & r->mask];
	r->buckets[hash & r->mask] = s;
	return s;
}

static struct window *add_window(struct replay *r, struct source *s, const struct cose_head *h)
{
	struct window *w = pool_alloc(sizeof *w);
	if (!w)
		return NULL;
	memset(w, 0, sizeof *w);
	memcpy(w->stream, h->stream, sizeof w->stream);
	w->highest = h->seq;
	w->next = s->windows;
	s->windows = w;
	r->n_windows++;
	return w;
}

/* Moves the window up to seq: what leaves it is forgotten. */
static void advance(struct window *w, uint64_t seq)
{
	if (seq - w->highest >= REPLAY_WINDOW) {
		memset(w->seen, 0, sizeof w->seen);
	} else {
		for (uint64_t n = w->highest + 1; n != seq + 1; n++)
			w->seen[n % REPLAY_WINDOW / 64] &= ~(UINT64_C(1) << (n % 64));
	}
	w->highest = seq;
}

enum err replay_note(struct replay *r, const char *topic, size_t topic_len, const struct cose_head *h, const struct replay_clock *now)
{
	uint64_t hash = source_hash(r, topic, topic_len, h);
	if (r->n_windows >= r->windows_max)
		sweep(r, now->mono_ms);
	struct source *s = find_source(r, hash, topic, topic_len, h);
	struct window *w = find_window(s, h->stream);
	if (!w) {
		if (s)
			sweep_source(r, s, now->mono_ms);
		if (r->n_windows >= r->windows_max || windows_in_use(s, now->mono_ms) >= REPLAY_STREAMS_MAX)
			return ERR_FULL;
		if (!s && !(s = add_source(r, hash, topic, topic_len, h)))
			return ERR_NOMEM;
		if (!(w = add_window(r, s, h)))
			return ERR_NOMEM; /* an empty source stays until the next sweep */
	}
	if (h->seq > w->highest)
		advance(w, h->seq);
	w->seen[h->seq % REPLAY_WINDOW / 64] |= UINT64_C(1) << (h->seq % 64);
	if (now->mono_ms > w->last_ms)
		w->last_ms = now->mono_ms;
	return ERR_OK;
}

size_t replay_windows(const struct replay *r)
{
	return r->n_windows;
}
