/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sessions of one identity live on several loops, so its buckets and its count are shared: atomics, touched by each of its packets. The table is
 * touched at CONNECT and at the end alone, under a lock. An identity without connections stays in it until its buckets are full, for a new
 * one would be; whoever enters or leaves looks at two others, so that such rests go. */
#include "broker/quota.h"

#include "base/lock.h"
#include "base/pool.h"
#include "base/rate.h"
#include "broker/limits.h"
#include "broker/uthash_keyed.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct quota {
	UT_hash_handle hh;               /* table's lock, as list and connections */
	struct quota *prev, *next;
	uint32_t connections;
	rate_bucket connects, messages, bytes;
	size_t cn_len;
	char cn[];
};

struct quota_table {
	struct lock lock;
	struct quota *by_cn;             /* lock, as below */
	struct quota *list;              /* first: to be looked at next */
};

struct meter {
	struct quota *quota;
	struct conn *conn;
	struct wheel_timer timer;        /* end of a pause */
};

struct quota_table *quota_table_new(void)
{
	struct quota_table *t = calloc(1, sizeof *t);
	if (t && lock_init(&t->lock))
		return t;
	free(t);
	return NULL;
}

void quota_table_free(struct quota_table *t)
{
	if (!t)
		return;
	HASH_CLEAR(hh, t->by_cn);
	for (struct quota *q = t->list, *next; q; q = next) {
		next = q->next;
		free(q);
	}
	lock_destroy(&t->lock);
	free(t);
}

/* ---- the table, under its lock ---- */

static void sweep(struct quota_table *t, uint64_t now_ms)
{
	for (int i = 0; i < 2 && t->list && t->by_cn; i++) {
		struct quota *q = t->list;
		DL_DELETE(t->list, q);
		if (q->connections > 0 || !rate_idle(&q->connects, now_ms) || !rate_idle(&q->messages, now_ms) || !rate_idle(&q->bytes, now_ms)) {
			DL_APPEND(t->list, q);
			continue;
		}
		HASH_DELETE(hh, t->by_cn, q);
		free(q);
	}
}

static struct quota *find_or_add(struct quota_table *t, const struct identity *id)
{
	struct quota *q;
	HASH_FIND(hh, t->by_cn, id->cn, id->cn_len, q);
	if (q)
		return q;
	q = calloc(1, sizeof *q + id->cn_len);
	if (!q)
		return NULL;
	q->cn_len = id->cn_len;
	memcpy(q->cn, id->cn, id->cn_len);
	HASH_ADD_KEYPTR(hh, t->by_cn, q->cn, (unsigned)q->cn_len, q);
	if (!q->hh.tbl) {
		free(q);
		return NULL;
	}
	DL_APPEND(t->list, q);
	return q;
}

/* ---- entering and leaving ---- */

static bool wanted(const struct conf *c)
{
	return c->max_connections_per_identity > 0 || c->max_connects_per_minute > 0 || c->max_messages_per_second > 0 || c->max_bytes_per_second > 0;
}

static void on_pause_over(struct wheel_timer *t, void *owner)
{
	struct loop *l = owner;
	struct conn *c = ((struct meter *)((char *)t - offsetof(struct meter, timer)))->conn;
	c->last_in_ms = l->now_ms; /* we did not read: its silence was ours */
	conn_release(c, HOLD_RATE);
}

/* The key of the limit that is reached; NULL: none, and it is counted. */
static const char *count(struct quota *q, const struct conf *conf, bool replaces, uint64_t now_ms)
{
	if (conf->max_connections_per_identity > 0 && q->connections - (replaces ? 1 : 0) >= conf->max_connections_per_identity)
		return "max_connections_per_identity";
	if (conf->max_connects_per_minute > 0 && !rate_take(&q->connects, conf->max_connects_per_minute, now_ms))
		return "max_connects_per_minute";
	q->connections++;
	return NULL;
}

const char *quota_enter(struct conn *c, bool replaces)
{
	struct loop *l = c->loop;
	struct quota_table *t = l->broker->quotas;
	const char *reached = "";
	if (!wanted(l->conf))
		return NULL;
	struct meter *m = pool_alloc(sizeof *m);
	if (!m)
		return reached;
	lock_take(&t->lock);
	sweep(t, l->now_ms);
	struct quota *q = find_or_add(t, c->identity);
	if (q)
		reached = count(q, l->conf, replaces && q->connections > 0, l->now_ms);
	lock_release(&t->lock);
	if (reached) {
		pool_free(m);
		return reached;
	}
	*m = (struct meter){.quota = q, .conn = c, .timer.fire = on_pause_over};
	c->meter = m;
	return NULL;
}

void quota_leave(struct conn *c)
{
	struct loop *l = c->loop;
	struct quota_table *t = l->broker->quotas;
	struct meter *m = c->meter;
	if (!m)
		return;
	c->meter = NULL;
	wheel_cancel(l->wheel, &m->timer);
	lock_take(&t->lock);
	m->quota->connections--;
	sweep(t, l->now_ms);
	lock_release(&t->lock);
	pool_free(m);
}

void quota_follow(struct conn *c)
{
	struct loop *l = c->loop;
	struct quota_table *t = l->broker->quotas;
	struct meter *m = !c->meter && c->identity && wanted(l->conf) ? pool_alloc(sizeof *m) : NULL;
	if (!m)
		return;
	lock_take(&t->lock);
	struct quota *q = find_or_add(t, c->identity);
	if (q)
		q->connections++; /* it is there already, whatever the limit */
	lock_release(&t->lock);
	if (!q) {
		pool_free(m);
		return;
	}
	*m = (struct meter){.quota = q, .conn = c, .timer.fire = on_pause_over};
	c->meter = m;
}

/* ---- publishing ---- */

void quota_packet(struct conn *c, bool publish, size_t size)
{
	struct loop *l = c->loop;
	const struct conf *conf = l->conf;
	struct quota *q = c->meter->quota;
	uint64_t wait_ms = 0, bytes_ms = 0;
	if (publish && conf->max_messages_per_second > 0)
		wait_ms = rate_charge(&q->messages, 1, conf->max_messages_per_second, l->now_ms);
	if (conf->max_bytes_per_second > 0)
		bytes_ms = rate_charge(&q->bytes, size, conf->max_bytes_per_second, l->now_ms);
	const char *key = bytes_ms > wait_ms ? "max_bytes_per_second" : "max_messages_per_second";
	if (bytes_ms > wait_ms)
		wait_ms = bytes_ms;
	if (wait_ms == 0 || c->state != CONN_UP)
		return;
	if (!(c->hold & HOLD_RATE)) {
		const struct audit_who who = audit_conn(c);
		STATS_ADD(l, limit_pauses, 1);
		limits_reached(l, &who, key);
	}
	conn_hold(c, HOLD_RATE);
	loop_arm(l, &c->meter->timer, l->now_ms + wait_ms);
}
