/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a SUBSCRIBE costs in one turn is bounded: each of its filters is walked over the retained tree, which may be large, and filters may
 * be thousands. When the loop's share of a turn is used up, the rest of the packet goes on in later ones, round robin among connections; its
 * connection's input waits meanwhile. One filter's walk is not divided. Owner loop. */
#ifndef BROKER_SUBSCRIBE_H
#define BROKER_SUBSCRIBE_H

#include "broker/conn.h"
#include "broker/session.h"

#define SUBSCRIBE_VISITS_PER_TURN 50000U /* places of the retained tree; the walk that passes it goes on to its end */

/* Goes on with the packets that wait, as far as this turn allows. */
void subscribe_step(struct loop *l);
/* The loop is freed. */
void subscribe_drop_all(struct loop *l);

/* A clean session whose SUBACK is still to come: what is queued for it leaves behind that. */
static inline bool subscribe_unanswered(const struct conn *c)
{
	return c->hold & HOLD_SUBSCRIBE && !c->session->persistent;
}

#endif
