/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/retained_read.h"

#include "base/pool.h"
#include "broker/conn.h"
#include "broker/entry_ring.h"
#include "broker/replay.h"
#include "broker/spaces.h"
#include "broker/subscribe.h"

#include <stdlib.h>

struct found {
	uint64_t order;
	struct msg *msg;  /* one reference */
};

/* What one turn has found. */
struct stretch {
	struct found *v;
	uint32_t at, n;   /* the first that has not been queued */
};

void retained_read_begin(struct retained_read *x, uint64_t upto)
{
	*x = (struct retained_read){.upto = upto};
}

/* ---- the walk ---- */

struct finding {
	struct stretch found;
	uint32_t cap;
	bool no_memory;
};

static bool keep_found(void *arg, struct msg *m)
{
	struct finding *f = arg;
	if (f->found.n == f->cap) {
		uint32_t cap = f->cap ? f->cap * 2 : 16;
		struct found *v = pool_realloc(f->found.v, cap * sizeof *v);
		if (!v) {
			f->no_memory = true;
			return false;
		}
		f->found.v = v;
		f->cap = cap;
	}
	f->found.v[f->found.n++] = (struct found){m->order, msg_ref(m)};
	return true;
}

static int oldest_first(const void *a, const void *b)
{
	uint64_t x = ((const struct found *)a)->order, y = ((const struct found *)b)->order;
	return x < y ? -1 : x > y;
}

static void stretch_free(struct stretch *t)
{
	for (uint32_t i = t->at; i < t->n; i++)
		msg_unref(t->v[i].msg);
	pool_free(t->v);
}

/* Takes t; false: out of memory. */
static bool add_stretch(struct retained_read *x, struct stretch *t)
{
	if (x->n == x->cap) {
		uint32_t cap = x->cap ? x->cap * 2 : 4;
		struct stretch *list = pool_realloc(x->stretches, cap * sizeof *list);
		if (!list) {
			stretch_free(t);
			return false;
		}
		x->stretches = list;
		x->cap = cap;
	}
	if (t->n > 1)
		qsort(t->v, t->n, sizeof *t->v, oldest_first);
	x->stretches[x->n++] = *t;
	return true;
}

/* False: out of memory. */
static bool walk(struct retained_read *x, struct loop *l, const uint8_t *filter, size_t len)
{
	struct finding f = {0};
	struct retained_part part = {.cursor = x->cursor, .upto = x->upto, .most = subscribe_visits_left(l)};
	enum err e = retained_match_part(l->broker->retained, filter, len, &part, keep_found, &f);
	x->cursor = part.cursor;
	x->walked = !part.cursor;
	l->retained_visited += part.visited;
	if (e != ERR_OK || f.no_memory) {
		stretch_free(&f.found);
		return false;
	}
	return f.found.n == 0 || add_stretch(x, &f.found);
}

/* ---- the queue ---- */

static uint64_t oldest_of(const struct stretch *t) { return t->v[t->at].order; }

/* The stretches are a heap by the oldest of each: puts the i-th where it belongs among those below it. */
static void sift(struct retained_read *x, uint32_t i)
{
	for (uint32_t least = i;; i = least) {
		for (uint32_t kid = 2 * i + 1; kid <= 2 * i + 2 && kid < x->n; kid++)
			if (oldest_of(&x->stretches[kid]) < oldest_of(&x->stretches[least]))
				least = kid;
		if (least == i)
			return;
		struct stretch t = x->stretches[i];
		x->stretches[i] = x->stretches[least];
		x->stretches[least] = t;
	}
}

/* The oldest of all; the reference is the caller's. There is one. */
static struct msg *take_oldest(struct retained_read *x)
{
	struct stretch *t = &x->stretches[0];
	struct msg *m = t->v[t->at++].msg;
	if (t->at == t->n) {
		stretch_free(t);
		*t = x->stretches[--x->n];
	}
	if (x->n > 1)
		sift(x, 0);
	return m;
}

/* False: out of memory. */
static bool push(struct session *s, struct msg *take_m, uint8_t qos, uint32_t view, struct replay *r)
{
	struct entry e = {.msg = take_m, .sub_id = view};
	if (r && spaces_history(s->loop, msg_topic(e.msg), e.msg->topic_len)) {
		bool kept = replay_keep_retained(r, e.msg);
		msg_unref(e.msg);
		return kept;
	}
	e.qos = (e.msg->qos < qos ? e.msg->qos : qos) & 3U;
	e.retain = 1; /* [MQTT-3.3.1-8] */
	session_push(s, &e, false);
	return true;
}

/* False: out of memory. */
static bool queue(struct retained_read *x, struct session *s, uint8_t qos, uint32_t view, struct replay *r)
{
	uint32_t before = s->queue.count;
	bool kept = true;
	for (uint64_t left = subscribe_visits_left(s->loop); kept && left > 0 && x->n > 0; left--) {
		kept = push(s, take_oldest(x), qos, view, r);
		s->loop->retained_visited++;
	}
	if (s->reading > 0) {
		ring_rotate(&s->queue, s->late_from, before);
		s->late_from += s->queue.count - before;
	}
	return kept;
}

/* From now on what comes live for s is late. */
static void hold(struct retained_read *x, struct session *s)
{
	if (x->holds)
		return;
	x->holds = true;
	if (s->reading++ == 0)
		s->late_from = s->queue.count;
}

bool retained_read_step(struct retained_read *x, struct session *s, const uint8_t *filter, size_t len, uint8_t qos, uint32_t view, struct replay *r)
{
	bool ok = true, was_walked = x->walked;
	if (!x->walked)
		ok = walk(x, s->loop, filter, len);
	if (ok && x->walked && !was_walked)
		for (uint32_t i = x->n / 2; i > 0; i--)
			sift(x, i - 1);
	if (ok && x->walked && x->n > 0)
		ok = queue(x, s, qos, view, r);
	if (!ok)
		conn_fail(s->conn, "out of memory");
	if (!ok || (x->walked && x->n == 0)) {
		retained_read_end(x, s);
		return true;
	}
	hold(x, s);
	return false;
}

void retained_read_end(struct retained_read *x, struct session *s)
{
	for (uint32_t i = 0; i < x->n; i++)
		stretch_free(&x->stretches[i]);
	pool_free(x->stretches);
	retained_cursor_free(x->cursor);
	if (x->holds && s && --s->reading == 0 && s->conn)
		conn_mark_dirty(s->conn);
	*x = (struct retained_read){0};
}
