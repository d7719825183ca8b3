/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What SUBSCRIBEs cost in one turn is bounded: a packet's filters may be thousands, and each is walked over the retained tree, which may be large
 * (retained_read.h). When the loop's share of a turn is used up, the rest goes on in later ones, round robin among connections; the connection's
 * input waits meanwhile. Owner loop. */
#ifndef BROKER_SUBSCRIBE_H
#define BROKER_SUBSCRIBE_H

#include "broker/conn.h"
#include "broker/loop.h"
#include "broker/session.h"

#define SUBSCRIBE_VISITS_PER_TURN 50000U /* places of the retained tree that are looked at, and messages that are queued */
#define SUBSCRIBE_FILTER_VISITS 20U      /* what judging and subscribing a filter counts as */

static inline uint64_t subscribe_visits_left(const struct loop *l)
{
	uint64_t used = l->retained_visited - l->retained_before;
	return used < SUBSCRIBE_VISITS_PER_TURN ? SUBSCRIBE_VISITS_PER_TURN - used : 0;
}

/* Goes on with the packets that wait, as far as this turn allows. */
void subscribe_step(struct loop *l);
/* The loop is freed. */
void subscribe_drop_all(struct loop *l);

/* Is SUBACK still to come (of a clean session), or what is retained being read? What is queued leaves behind that. */
static inline bool subscribe_unanswered(const struct conn *c)
{
	return c->hold & HOLD_SUBSCRIBE && (!c->session->persistent || c->session->reading > 0);
}

#endif
