/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Runs: PUBLISH packets of one connection that follow each other in one read, alike in topic, QoS and flags. The first goes the way of every
 * message; when nothing about it needed the store, a member of a group or a rewritten topic, what was decided for it (topic, rules, match, history)
 * holds for those behind it, which are appended together to each receiver's queue. All of them had arrived before any was handled, so nobody
 * can tell. Owner loop. */
#ifndef BROKER_RUN_H
#define BROKER_RUN_H

#include "base/msg.h"
#include "mqtt/decode.h"
#include "topics/trie.h"

#define RUN_MAX 32U             /* messages */
#define RUN_DELIVERIES_MAX 256U /* … fewer to many receivers: a connection's share of a turn is judged between runs */

struct conn;
struct loop;

struct run {
	struct match *offered;      /* by run_offer; NULL: the message may not begin a run */
	struct match *match;        /* NULL: there is no run. Borrowed from the loop's cache, where no other topic is looked up meanwhile */
	struct mqtt_bytes topic;    /* in the read buffer */
	uint8_t flags;              /* of the fixed header */
	uint32_t n, max;            /* messages that wait in msgs, and how many may */
	struct msg *msgs[RUN_MAX];  /* one reference each */
	uint16_t ids[RUN_MAX];      /* their packet identifiers, of QoS 1 and 2 */
};

/* The message that is being published went to all that mt has at once: it may begin a run. */
static inline void run_offer(struct run *r, struct match *mt)
{
	r->offered = mt;
}
/* Its packet, from c, is p, and its match was offered: alike ones may follow. */
void run_begin(struct conn *c, uint8_t flags, const struct mqtt_publish *p);
/* Takes a PUBLISH that goes on with the run. False: it does not; the caller ends the run and handles the packet. */
bool run_take(struct conn *c, uint8_t flags, const uint8_t *body, size_t len);
/* Delivers and acknowledges what waits; before anything else that c has sent is handled, and before its buffer goes. True: there was something. */
bool run_end(struct conn *c);

#endif
