/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is retained for a new subscription: found by a walk over the retained tree, put in order, queued oldest first. Each of the three is bounded by
 * what the loop's turn allows (subscribe.h), and goes on in later ones. What each turn finds is sorted by itself; once the walk is over
 * these stretches are merged into the session's queue.
 *
 * Meanwhile the subscription is live: what is put behind it comes by routing alone, so nothing comes twice. What comes live is queued behind
 * what is retained, and nothing is sent before that is complete; so a topic's retained message never follows a later one. Owner loop. */
#ifndef BROKER_RETAINED_READ_H
#define BROKER_RETAINED_READ_H

#include "broker/session.h"
#include "topics/retained.h"

struct replay;
struct stretch;

struct retained_read {
	struct retained_cursor *cursor;
	uint64_t upto;                 /* retained_number when the subscription had been made */
	bool walked;                   /* the walk is over */
	bool holds;                    /* the session's queue */
	struct stretch *stretches;     /* NULL: none */
	uint32_t n, cap;
};

void retained_read_begin(struct retained_read *x, uint64_t upto);
/* As much as the turn allows, for the filter of topics (view: SUB_ID_SEALED, or 0). r: the past of the same filter is on its way; NULL: none. True: it is
 * over, be it that the connection fails for want of memory. */
bool retained_read_step(struct retained_read *x, struct session *s, const uint8_t *filter, size_t len, uint8_t qos, uint32_t view, struct replay *r);
/* It is over, or given up. s NULL: its connection is gone. */
void retained_read_end(struct retained_read *x, struct session *s);

#endif
