/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Limits of the whole broker are divided among the loops, so that no loop has to ask another: connections are spread over them by chance. */
#include "broker/limits.h"

#include "base/log.h"
#include "base/rate.h"
#include "base/siphash.h"
#include "broker/audit_flood.h"

#include <stdio.h>
#include <string.h>

#define EVICT_LOOK 32U                /* unfinished handshakes that are looked at for one to give up */
#define PARTIAL_SMALL (64U * 1024)    /* bytes; half of the memory is for packets that have not grown beyond it */

void limits_reached(struct loop *l, const struct audit_who *who, const char *key)
{
	char text[128];
	snprintf(text, sizeof text, "%s reached", key);
	if (audit_flood(l, AUDIT_LIMIT, who, text, AUDIT_PAIRS(AUDIT_PAIR("key", key, strlen(key)))))
		audit_say(LOG_WARNING, who, text);
}

/* ---- connections and handshakes ---- */

static bool is_full(const struct loop *l, const struct listener *listener)
{
	uint32_t own = l->conf->listeners[listener->index].max_connections;
	return atomic_load_explicit(&l->broker->connections, memory_order_relaxed) >= l->policy->max_connections ||
	       (own > 0 && atomic_load_explicit(&listener->connections, memory_order_relaxed) >= own);
}

/* IPv6: of its /64, which one customer has whole. */
static bool address_may(struct loop *l, const struct audit_who *who)
{
	uint32_t rate = l->conf->max_handshakes_per_minute;
	size_t len = who->family == AF_INET ? 4 : 8;
	if (rate == 0)
		return true;
	return rate_table_take(l->broker->addresses, siphash_text(who->peer, len), rate, l->now_ms);
}

static uint64_t share(const struct loop *l, uint64_t of)
{
	uint64_t n = of / l->broker->n_loops;
	return n > 0 ? n : 1;
}

bool limits_crowded(const struct loop *l)
{
	uint32_t most = l->conf->max_unfinished_handshakes;
	return most > 0 && l->unfinished.count >= share(l, most);
}

/* The oldest handshake that keeps us waiting makes room: it has had the most time. One that waits for us has done its part, and stays; with a
 * restart's storm of good clients it is the newest that is refused. */
static bool make_room(struct loop *l)
{
	struct conn *c = l->unfinished.first;
	for (unsigned n = 0; c && n < EVICT_LOOK; n++, c = c->unfinished_next)
		if (!c->in_handshakes && !c->in_backlog) {
			STATS_ADD(l, handshakes_failed, c->state == CONN_HANDSHAKE ? 1 : 0);
			conn_end(c, LOG_INFO, false, "max_unfinished_handshakes reached: it is the oldest");
			return true;
		}
	return false;
}

bool limits_admit(struct loop *l, const struct listener *listener, const struct audit_who *who)
{
	if (is_full(l, listener)) {
		STATS_ADD(l, limit_sockets, 1);
		limits_reached(l, who, "max_connections");
		return false;
	}
	if (!address_may(l, who)) {
		STATS_ADD(l, limit_handshakes, 1);
		limits_reached(l, who, "max_handshakes_per_minute");
		return false;
	}
	if (!limits_crowded(l))
		return true;
	STATS_ADD(l, limit_unfinished, 1);
	limits_reached(l, who, "max_unfinished_handshakes");
	return make_room(l);
}

void limits_unfinished_add(struct conn *c)
{
	struct loop *l = c->loop;
	c->unfinished_next = NULL;
	c->unfinished_prev = l->unfinished.last ? l->unfinished.last : &l->unfinished.first;
	*c->unfinished_prev = c;
	l->unfinished.last = &c->unfinished_next;
	l->unfinished.count++;
}

void limits_unfinished_remove(struct conn *c)
{
	struct loop *l = c->loop;
	if (!c->unfinished_prev)
		return;
	*c->unfinished_prev = c->unfinished_next;
	if (c->unfinished_next)
		c->unfinished_next->unfinished_prev = c->unfinished_prev;
	else
		l->unfinished.last = c->unfinished_prev;
	c->unfinished_prev = NULL;
	l->unfinished.count--;
}

/* ---- partial packets ---- */

bool limits_keep(struct conn *c, size_t had, size_t cap)
{
	struct loop *l = c->loop;
	uint64_t most = l->conf->max_partial_packet_memory;
	uint64_t now = atomic_load_explicit(&l->stats.partial_bytes, memory_order_relaxed) + cap - had;
	if (most > 0 && cap > had && now > share(l, cap > PARTIAL_SMALL ? most / 2 : most)) {
		const struct audit_who who = audit_conn(c);
		STATS_ADD(l, limit_memory, 1);
		limits_reached(l, &who, "max_partial_packet_memory");
		return false;
	}
	STATS_ADD(l, partial_bytes, cap - had);
	return true;
}
