/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a match to receivers' queues, here and on other loops: one mail item for each destination loop. Owner loop. */
#ifndef BROKER_ROUTE_H
#define BROKER_ROUTE_H

#include "broker/loop.h"
#include "topics/trie.h"

/* Which targets of a match: those that get the message at once, or those that wait for the store's commit. HISTORY: all, after the commit. */
enum route_phase { ROUTE_ALL, ROUTE_NOW, ROUTE_COMMITTED, ROUTE_HISTORY };

/* Does this target get m only after the commit? */
static inline bool route_waits(const struct msg *m, const struct target *t)
{
	unsigned qos = t->options & SUB_QOS;
	if (m->qos < qos)
		qos = m->qos;
	return qos > 0 && (qos == 2 || sub_handle_persistent(t->handle));
}

/* Delivers m to mt's targets (both borrowed). record: of the store, or 0. */
void route_match(struct loop *l, struct msg *m, struct match *mt, enum route_phase phase, uint64_t record);
/* The same for n messages that are alike but for their payloads, and need not wait for the store. Takes a reference of each. */
void route_run(struct loop *l, struct msg *const *take_msgs, uint32_t n, struct match *mt);
/* Delivers to one target, of a shared subscription (which no replay is about). */
void route_one(struct loop *l, struct msg *m, const struct target *t, struct share_group *g, uint64_t record);

#endif
