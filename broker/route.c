/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/route.h"

#include "base/pool.h"
#include "broker/access.h"
#include "broker/publish.h"
#include "broker/replay.h"
#include "broker/session.h"
#include "broker/sessions.h"

static bool in_phase(const struct msg *m, const struct target *t, enum route_phase phase)
{
	return phase == ROUTE_ALL || phase == ROUTE_HISTORY || (phase == ROUTE_COMMITTED) == route_waits(m, t);
}

/* One copy for a session of this loop. */
static void deliver(struct loop *l, struct msg *m, const struct target *t, struct share_group *g,
                    enum route_phase phase, uint64_t record)
{
	struct session *s = sessions_get(l->sessions, t->handle);
	if (!s)
		return; /* it has ended since */
	if (g && !access_read(s, m)) { /* another member may be allowed to */
		session_withhold(s, m, sub_handle_persistent(t->handle) ? record : 0);
		(void)publish_to_group(l, m, g, t->handle, t->pad[0] + 1U);
		return;
	}
	unsigned qos = t->options & SUB_QOS;
	struct entry e = {.msg = msg_ref(m), .sub_id = t->sub_id, .group = g ? share_ref(g) : NULL};
	e.qos = (m->qos < qos ? m->qos : qos) & 3U;
	e.retain = (t->options & SUB_RETAIN_AS_PUBLISHED) && (m->flags & MSG_RETAIN);
	e.record = e.qos > 0 && s->persistent ? record : 0;
	l->routed++;
	l->routed_qos0 += m->qos == 0;
	if (s->replays && phase == ROUTE_HISTORY && !g && replay_has(s, &e, record))
		return;
	session_push(s, &e, true);
}

static void deliver_range(struct loop *l, struct msg *m, const struct match *mt, uint32_t from, uint32_t to,
                          enum route_phase phase, uint64_t record)
{
	for (uint32_t i = from; i < to; i++)
		if (in_phase(m, &mt->targets[i], phase))
			deliver(l, m, &mt->targets[i], NULL, phase, record);
}

/* ---- to other loops ---- */

#define BATCH_MAX 31U          /* one mail, just over a kilobyte */
#define COPY_TARGETS 4U        /* a loop with so many receivers for a message takes a copy, ... */
#define COPY_SIZE_MAX 4096U    /* ... unless that is larger than this: their references then stay in one processor's cache */

/* What a turn has for one loop, in order. One mail for each message cost more than the message. */
struct route_batch {
	struct mail mail;
	const struct match *last;  /* the last item's */
	uint32_t n;
	struct routed {
		struct msg *msg;       /* one reference */
		struct match *match;   /* one reference; NULL: as the one before */
		uint64_t record;
		uint32_t from, to;     /* targets of this loop */
		enum route_phase phase;
	} items[BATCH_MAX];
};

#define PREFETCH_AHEAD 4U

/* The messages lie in the publisher's processor. */
static void fetch_ahead(const struct route_batch *b, uint32_t i)
{
	if (i < b->n)
		msg_fetch(b->items[i].msg);
}

static struct msg *own_copy(const struct routed *r)
{
	if (r->to - r->from < COPY_TARGETS || msg_size(r->msg) > COPY_SIZE_MAX)
		return NULL;
	return msg_copy(r->msg);
}

static void on_route_batch(struct mail *mail, void *owner)
{
	struct route_batch *b = (struct route_batch *)mail;
	struct loop *l = owner;
	struct match *mt = b->items[0].match;
	size_t bytes = 0;
	for (uint32_t i = 0; i < PREFETCH_AHEAD; i++)
		fetch_ahead(b, i);
	for (uint32_t i = 0; i < b->n; i++) {
		const struct routed *r = &b->items[i];
		fetch_ahead(b, i + PREFETCH_AHEAD);
		struct msg *copy = own_copy(r);
		if (i > 0 && r->match) {
			match_unref(mt);
			mt = r->match;
		}
		deliver_range(l, copy ? copy : r->msg, mt, r->from, r->to, r->phase, r->record);
		bytes += msg_size(r->msg);
		msg_unref(copy);
		msg_unref(r->msg);
	}
	match_unref(mt);
	mailbox_done(&l->mailbox, 0, bytes);
	pool_free(b);
}

/* The batch that this turn's next message for a loop goes to, if nothing else has been sent there since. */
static struct route_batch *batch_for(struct loop *l, unsigned loop)
{
	struct mail *last = l->out[loop].last;
	struct route_batch *b = last && last->run == on_route_batch ? (struct route_batch *)last : NULL;
	if (b && b->n < BATCH_MAX)
		return b;
	b = pool_alloc(sizeof *b);
	if (!b)
		return NULL;
	b->mail.run = on_route_batch;
	b->last = NULL;
	b->n = 0;
	loop_send(l, loop, &b->mail, 0);
	return b;
}

static void send_range(struct loop *l, unsigned loop, struct msg *m, struct match *mt, uint32_t from, uint32_t to,
                       enum route_phase phase, uint64_t record)
{
	uint32_t first = from;
	while (first < to && !in_phase(m, &mt->targets[first], phase))
		first++;
	if (first == to)
		return;
	struct route_batch *b = batch_for(l, loop);
	if (!b) {
		STATS_ADD(l, publish_dropped, to - first);
		return;
	}
	b->items[b->n++] = (struct routed){msg_ref(m), b->last == mt ? NULL : match_ref(mt), record, first, to, phase};
	b->last = mt;
	l->out[loop].bytes += msg_size(m);
	l->routed++;
	l->routed_qos0 += m->qos == 0;
}

void route_match(struct loop *l, struct msg *m, struct match *mt, enum route_phase phase, uint64_t record)
{
	for (uint32_t i = 0, j; i < mt->n_targets; i = j) {
		unsigned loop = sub_handle_loop(mt->targets[i].handle);
		for (j = i + 1; j < mt->n_targets && sub_handle_loop(mt->targets[j].handle) == loop; j++)
			;
		if (loop == l->index)
			deliver_range(l, m, mt, i, j, phase, record);
		else
			send_range(l, loop, m, mt, i, j, phase, record);
	}
}

static void deliver_run(struct loop *l, struct msg *const *msgs, uint32_t n, const struct target *t)
{
	struct session *s = sessions_get(l->sessions, t->handle);
	if (!s)
		return; /* it has ended since */
	unsigned qos = t->options & SUB_QOS;
	l->routed += n;
	l->routed_qos0 += msgs[0]->qos == 0 ? n : 0;
	session_push_run(s, msgs, n, (uint8_t)(msgs[0]->qos < qos ? msgs[0]->qos : qos), t->sub_id);
}

void route_run(struct loop *l, struct msg *const *msgs, uint32_t n, struct match *mt)
{
	for (uint32_t i = 0, j; i < mt->n_targets; i = j) {
		unsigned loop = sub_handle_loop(mt->targets[i].handle);
		for (j = i; j < mt->n_targets && sub_handle_loop(mt->targets[j].handle) == loop; j++)
			if (loop == l->index)
				deliver_run(l, msgs, n, &mt->targets[j]);
		for (uint32_t k = 0; loop != l->index && k < n; k++)
			send_range(l, loop, msgs[k], mt, i, j, ROUTE_ALL, 0);
	}
}

struct one_mail {
	struct mail mail;
	struct msg *msg;           /* one reference */
	struct share_group *group; /* one reference */
	struct target target;
	uint64_t record;
};

static void on_one_mail(struct mail *mail, void *owner)
{
	struct one_mail *o = (struct one_mail *)mail;
	struct loop *l = owner;
	deliver(l, o->msg, &o->target, o->group, ROUTE_ALL, o->record);
	mailbox_done(&l->mailbox, 0, msg_size(o->msg));
	share_unref(o->group);
	msg_unref(o->msg);
	pool_free(o);
}

void route_one(struct loop *l, struct msg *m, const struct target *t, struct share_group *g, uint64_t record)
{
	unsigned loop = sub_handle_loop(t->handle);
	if (loop == l->index) {
		deliver(l, m, t, g, ROUTE_ALL, record);
		return;
	}
	struct one_mail *o = pool_alloc(sizeof *o);
	if (!o) {
		STATS_ADD(l, publish_dropped, 1);
		return;
	}
	*o = (struct one_mail){.mail.run = on_one_mail, .msg = msg_ref(m), .group = share_ref(g), .target = *t, .record = record};
	l->routed++;
	l->routed_qos0 += m->qos == 0;
	loop_send(l, loop, &o->mail, msg_size(m));
}
