/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/refused.h"

#include "base/log.h"
#include "broker/sessions.h"

#include <assert.h>
#include <stdlib.h>

#define RETRY_MS 100U

struct refused {
	struct store_gate gate;        /* first: an operation's gate is this. Closed by the writer, opened here when none is in the store */
	struct session *session;       /* NULL: it has ended, and this waits for the store's last answer */
	struct mail *first, *last;     /* what waits, oldest first */
	struct refused *next, **prev;  /* of the loop's list, while anything waits */
	uint32_t in_store;             /* submitted and not answered */
	bool probing;                  /* what is in the store is the oldest that waits, alone */
	uint64_t since_ms;             /* monotonic: when it was last told yes */
};

static struct store_op *op_of(struct mail *m)
{
	return (struct store_op *)(void *)m;
}

static struct refused *refused_of(struct store_op *op)
{
	return (struct refused *)op->u.publish.gate;
}

static void submit(struct loop *l, struct refused *r, struct store_op *op)
{
	r->in_store++;
	loop_submit(l, op);
}

enum err refused_submit(struct session *s, struct store_op *op)
{
	if (!s->refused && !(s->refused = calloc(1, sizeof *s->refused)))
		return ERR_NOMEM;
	struct refused *r = s->refused;
	r->session = s;
	if (r->in_store == 0 && !r->first)
		r->gate.refused = ERR_OK; /* of a former connection */
	op->u.publish.gate = &r->gate;
	submit(s->loop, r, op);
	return ERR_OK;
}

/* ---- waiting ---- */

static void on_retry(struct wheel_timer *t, void *owner);

static void enlist(struct loop *l, struct refused *r)
{
	r->since_ms = l->now_ms;
	r->next = l->refused;
	r->prev = &l->refused;
	if (r->next)
		r->next->prev = &r->next;
	l->refused = r;
	l->retry.fire = on_retry;
	if (!wheel_armed(&l->retry))
		loop_arm(l, &l->retry, l->now_ms + RETRY_MS);
}

static void delist(struct refused *r)
{
	*r->prev = r->next;
	if (r->next)
		r->next->prev = r->prev;
	r->prev = NULL;
}

static struct store_op *take_first(struct refused *r)
{
	struct mail *m = r->first;
	if (!m)
		return NULL;
	r->first = m->next;
	if (!r->first)
		r->last = NULL;
	return op_of(m);
}

/* Answers come in order, so what was refused goes behind what waits; but the one that was tried goes back to the front. */
static void wait_again(struct refused *r, struct store_op *op)
{
	op->mail.next = r->probing ? r->first : NULL;
	if (r->probing || !r->first) {
		r->last = r->first ? r->last : &op->mail;
		r->first = &op->mail;
	} else {
		r->last->next = &op->mail;
		r->last = &op->mail;
	}
	r->probing = false;
}

/* The first of what waits is tried alone; when it is kept the others follow. */
static void on_retry(struct wheel_timer *t, void *owner)
{
	struct loop *l = owner;
	for (struct refused *r = l->refused, *next; r && !l->stopping; r = next) {
		struct conn *c = r->session->conn;
		next = r->next;
		if (r->in_store > 0 || !r->first)
			continue;
		if (l->now_ms - r->since_ms >= (uint64_t)l->conf->publish_wait_s * 1000) {
			conn_end(c, LOG_WARNING, true, "its message cannot be kept, after %u s: %s", l->conf->publish_wait_s, err_text(r->gate.refused));
			continue;
		}
		r->gate.refused = ERR_OK;
		r->probing = true;
		submit(l, r, take_first(r));
	}
	if (l->refused && !l->stopping)
		loop_arm(l, t, l->now_ms + RETRY_MS);
}

static bool may_wait(const struct loop *l, const struct conn *c, enum err result)
{
	return c && (result == ERR_FULL || result == ERR_IO) && l->conf->publish_wait_s > 0 && !l->stopping && c->state == CONN_UP;
}

static void go_on(struct loop *l, struct refused *r, struct conn *c)
{
	struct store_op *op;
	r->since_ms = l->now_ms;
	if (r->probing) {
		r->probing = false;
		while ((op = take_first(r)))
			submit(l, r, op);
	}
	if (r->first || r->in_store > 0)
		return;
	delist(r);
	log_notice("%s: its messages are kept again", conn_name(c));
	conn_release(c, HOLD_REFUSED);
}

bool refused_answered(struct loop *l, struct store_op *op, struct session *s, struct conn *c)
{
	struct refused *r = refused_of(op);
	r->in_store--;
	if (!s) {
		if (r->in_store == 0)
			free(r);
		return false;
	}
	if (may_wait(l, c, op->result)) {
		wait_again(r, op);
		if (!r->prev) {
			enlist(l, r);
			log_warning("%s: waits, its message cannot be kept: %s", conn_name(c), err_text(op->result));
		}
		conn_hold(c, HOLD_REFUSED);
		return true;
	}
	if (c && r->prev && (op->result == ERR_OK || op->result == ERR_EXISTS))
		go_on(l, r, c);
	return false;
}

struct store_op *refused_take(struct session *s)
{
	struct refused *r = s->refused;
	if (!r)
		return NULL;
	if (r->prev)
		delist(r);
	r->probing = false;
	return take_first(r);
}

void refused_release(struct session *s)
{
	struct refused *r = s->refused;
	s->refused = NULL;
	if (!r)
		return;
	assert(!r->first);
	r->session = NULL;
	if (r->in_store == 0)
		free(r);
}
