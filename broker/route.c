/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/route.h"

#include "base/pool.h"
#include "broker/access.h"
#include "broker/publish.h"
#include "broker/replay.h"
#include "broker/session.h"
#include "broker/sessions.h"

#include <string.h>

static bool in_phase(const struct msg *m, const struct target *t, enum route_phase phase)
{
	return phase == ROUTE_ALL || phase == ROUTE_HISTORY || (phase == ROUTE_COMMITTED) == route_waits(m, t);
}

static uint32_t count_in_phase(const struct msg *m, const struct target *targets, uint32_t n, enum route_phase phase)
{
	if (phase == ROUTE_ALL || phase == ROUTE_HISTORY)
		return n;
	uint32_t count = 0;
	for (uint32_t i = 0; i < n; i++)
		count += in_phase(m, &targets[i], phase);
	return count;
}

/* One copy for a session of this loop; takes a reference of m. */
static void deliver(struct loop *l, struct msg *take_m, const struct target *t, struct share_group *g,
                    enum route_phase phase, uint64_t record)
{
	struct session *s = sessions_get(l->sessions, t->handle);
	if (!s) { /* it has ended since */
		msg_unref(take_m);
		return;
	}
	if (g && !access_read(s, take_m)) { /* another member may be allowed to */
		session_withhold(s, take_m, sub_handle_persistent(t->handle) ? record : 0);
		(void)publish_to_group(l, take_m, g, t->handle, t->pad[0] + 1U);
		msg_unref(take_m);
		return;
	}
	unsigned qos = t->options & SUB_QOS, published = take_m->qos;
	struct entry e = {.msg = take_m, .sub_id = t->sub_id, .group = g ? share_ref(g) : NULL};
	e.qos = (published < qos ? published : qos) & 3U;
	e.retain = (t->options & SUB_RETAIN_AS_PUBLISHED) && (take_m->flags & MSG_RETAIN);
	e.record = e.qos > 0 && s->persistent ? record : 0;
	l->routed++;
	l->routed_qos0 += published == 0;
	if (s->replays && phase == ROUTE_HISTORY && !g && replay_has(s, &e, record))
		return;
	session_push(s, &e, true);
}

/* n > 0 targets of this loop; takes a reference of m. */
static void deliver_to(struct loop *l, struct msg *take_m, const struct target *targets, uint32_t n, enum route_phase phase, uint64_t record)
{
	uint32_t left = count_in_phase(take_m, targets, n, phase);
	if (left == 0)
		msg_unref(take_m);
	else if (left > 1)
		msg_ref_n(take_m, left - 1); /* at once: each atomic addition costs as much as the rest of a copy */
	for (const struct target *t = targets; left > 0; t++)
		if (in_phase(take_m, t, phase)) {
			left--; /* the last one may free m */
			deliver(l, take_m, t, NULL, phase, record);
		}
}

/* count alike messages to a session of this loop; takes a reference of each. */
static void deliver_run(struct loop *l, struct msg *const *take_msgs, uint32_t count, const struct target *t)
{
	struct session *s = sessions_get(l->sessions, t->handle);
	if (!s) { /* it has ended since */
		for (uint32_t i = 0; i < count; i++)
			msg_unref(take_msgs[i]);
		return;
	}
	unsigned qos = t->options & SUB_QOS, published = take_msgs[0]->qos;
	l->routed += count;
	l->routed_qos0 += published == 0 ? count : 0;
	session_push_run(s, take_msgs, count, (uint8_t)(published < qos ? published : qos), t->sub_id);
}

/* n > 0 targets of this loop; takes a reference of each message. */
static void deliver_run_to(struct loop *l, struct msg *const *take_msgs, uint32_t count, const struct target *targets, uint32_t n)
{
	for (uint32_t k = 0; n > 1 && k < count; k++)
		msg_ref_n(take_msgs[k], n - 1);
	for (uint32_t i = 0; i < n; i++)
		deliver_run(l, take_msgs, count, &targets[i]);
}

/* ---- to other loops ---- */

#define BATCH_ITEMS 32U        /* with BATCH_MSGS one mail, just under two kilobytes */
#define BATCH_MSGS 80U
#define COPY_TARGETS 4U        /* a loop with so many receivers for a message takes a copy, ... */
#define COPY_SIZE_MAX 4096U    /* ... unless that is larger than this: their references then stay in one processor's cache */

/* A message, or several that are alike but for publisher and payload, and whom it goes to. */
struct routed {
	struct match *match;       /* one reference; NULL: to one target, which it brings itself */
	union {
		struct target one;
		struct {
			uint32_t from, to; /* of the match's targets */
		};
	};
	uint64_t record;
	uint32_t count;            /* messages; above 1 only without record, to all, with no flags */
	enum route_phase phase;
};

/* What a turn has for one loop, in order. One mail for each message cost more than the message. */
struct route_batch {
	struct mail mail;
	uint32_t n_items, n_msgs;
	struct msg *msgs[BATCH_MSGS]; /* of all items, in order; one reference each */
	struct routed items[BATCH_ITEMS];
};

#define PREFETCH_AHEAD 8U

/* The messages lie in the publisher's processor. */
static void fetch_ahead(const struct route_batch *b, uint32_t i)
{
	if (i < b->n_msgs)
		msg_fetch(b->msgs[i]);
}

/* The message, or a copy of it that this loop's n receivers share instead. */
static struct msg *own(struct msg *take_m, uint32_t n)
{
	struct msg *copy = n < COPY_TARGETS || msg_size(take_m) > COPY_SIZE_MAX ? NULL : msg_copy(take_m);
	if (!copy)
		return take_m;
	msg_unref(take_m);
	return copy;
}

static void on_route_batch(struct mail *mail, void *owner)
{
	struct route_batch *b = (struct route_batch *)mail;
	struct loop *l = owner;
	struct msg **msgs = b->msgs;
	uint32_t fetched = 0;
	size_t bytes = 0;
	while (fetched < PREFETCH_AHEAD)
		fetch_ahead(b, fetched++);
	for (const struct routed *r = b->items; r < b->items + b->n_items; msgs += r->count, r++) {
		const struct target *targets = r->match ? r->match->targets + r->from : &r->one;
		uint32_t n = r->match ? r->to - r->from : 1;
		for (uint32_t k = 0; k < r->count; k++) {
			fetch_ahead(b, fetched++);
			bytes += msg_size(msgs[k]);
			msgs[k] = own(msgs[k], n);
		}
		if (r->count == 1)
			deliver_to(l, msgs[0], targets, n, r->phase, r->record);
		else
			deliver_run_to(l, msgs, r->count, targets, n);
		if (r->match)
			match_unref(r->match);
	}
	mailbox_done(&l->mailbox, 0, bytes);
	pool_free(b);
}

/* The batch that this turn's next message for a loop goes to, if nothing else has been sent there since. */
static struct route_batch *batch_for(struct loop *l, unsigned loop)
{
	struct mail *last = l->out[loop].last;
	struct route_batch *b = last && last->run == on_route_batch ? (struct route_batch *)last : NULL;
	if (b && b->n_items < BATCH_ITEMS && b->n_msgs < BATCH_MSGS)
		return b;
	b = pool_alloc(sizeof *b);
	if (!b)
		return NULL;
	b->mail.run = on_route_batch;
	b->n_items = b->n_msgs = 0;
	loop_send(l, loop, &b->mail, 0);
	return b;
}

/* Does m go with the batch's last messages, as one of them? The same match, or target alone, is not enough: another topic has other rules. */
static bool goes_with(const struct route_batch *b, const struct msg *m, const struct routed *r)
{
	if (b->n_items == 0)
		return false;
	const struct routed *last = &b->items[b->n_items - 1];
	const struct msg *before = b->msgs[b->n_msgs - 1];
	bool same = r->match ? last->match == r->match && last->from == r->from && last->to == r->to
	                     : !last->match && last->one.handle == r->one.handle && last->one.sub_id == r->one.sub_id && last->one.options == r->one.options;
	return same && r->phase == ROUTE_ALL && last->phase == ROUTE_ALL && r->record == 0 && last->record == 0 && m->flags == 0 &&
	       before->flags == 0 && m->qos == before->qos && m->topic_len == before->topic_len && memcmp(msg_topic(m), msg_topic(before), m->topic_len) == 0;
}

/* r, whose match is borrowed, says where count messages go; takes a reference of each. */
static void send_run(struct loop *l, unsigned loop, struct msg *const *take_msgs, uint32_t count, const struct routed *r)
{
	for (uint32_t done = 0, n; done < count; done += n) {
		struct route_batch *b = batch_for(l, loop);
		if (!b) {
			STATS_ADD(l, publish_dropped, (r->match ? r->to - r->from : 1) * (count - done));
			while (done < count)
				msg_unref(take_msgs[done++]);
			return;
		}
		n = count - done < BATCH_MSGS - b->n_msgs ? count - done : BATCH_MSGS - b->n_msgs;
		if (goes_with(b, take_msgs[done], r)) {
			b->items[b->n_items - 1].count += n;
		} else {
			struct routed *item = &b->items[b->n_items++];
			*item = *r;
			item->count = n;
			if (r->match)
				match_ref(r->match);
		}
		for (uint32_t k = 0; k < n; k++) {
			l->out[loop].bytes += msg_size(take_msgs[done + k]);
			l->routed_qos0 += take_msgs[done + k]->qos == 0;
			b->msgs[b->n_msgs++] = take_msgs[done + k];
		}
		l->routed += n;
	}
}

static struct routed routed_to(struct match *mt, uint32_t from, uint32_t to, enum route_phase phase, uint64_t record)
{
	struct routed r = {.record = record, .phase = phase};
	if (to - from == 1) {
		r.one = mt->targets[from];
	} else {
		r.match = mt;
		r.from = from;
		r.to = to;
	}
	return r;
}

/* Where the targets of the loop that targets[i] is of end. */
static uint32_t end_of_loop(const struct match *mt, uint32_t i)
{
	unsigned loop = sub_handle_loop(mt->targets[i].handle);
	do
		i++;
	while (i < mt->n_targets && sub_handle_loop(mt->targets[i].handle) == loop);
	return i;
}

void route_match(struct loop *l, struct msg *m, struct match *mt, enum route_phase phase, uint64_t record)
{
	for (uint32_t i = 0, j; i < mt->n_targets; i = j) {
		unsigned loop = sub_handle_loop(mt->targets[i].handle);
		j = end_of_loop(mt, i);
		if (loop == l->index) {
			deliver_to(l, msg_ref(m), &mt->targets[i], j - i, phase, record);
			continue;
		}
		while (i < j && !in_phase(m, &mt->targets[i], phase))
			i++;
		if (i == j)
			continue;
		const struct routed r = routed_to(mt, i, j, phase, record);
		msg_ref(m);
		send_run(l, loop, &m, 1, &r);
	}
}

void route_run(struct loop *l, struct msg *const *take_msgs, uint32_t n, struct match *mt)
{
	for (uint32_t i = 0, j; i < mt->n_targets; i = j) {
		unsigned loop = sub_handle_loop(mt->targets[i].handle);
		j = end_of_loop(mt, i);
		for (uint32_t k = 0; j < mt->n_targets && k < n; k++)
			msg_ref(take_msgs[k]); /* the last loop gets the caller's */
		if (loop == l->index) {
			deliver_run_to(l, take_msgs, n, &mt->targets[i], j - i);
		} else {
			const struct routed r = routed_to(mt, i, j, ROUTE_ALL, 0);
			send_run(l, loop, take_msgs, n, &r);
		}
	}
	for (uint32_t k = 0; mt->n_targets == 0 && k < n; k++)
		msg_unref(take_msgs[k]);
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
	mailbox_done(&l->mailbox, 0, msg_size(o->msg));
	deliver(l, o->msg, &o->target, o->group, ROUTE_ALL, o->record);
	share_unref(o->group);
	pool_free(o);
}

void route_one(struct loop *l, struct msg *m, const struct target *t, struct share_group *g, uint64_t record)
{
	unsigned loop = sub_handle_loop(t->handle);
	if (loop == l->index) {
		deliver(l, msg_ref(m), t, g, ROUTE_ALL, record);
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
