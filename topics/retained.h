/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The retained tree: the last RETAIN message of each topic. Readers take no lock (base/epoch); writers share one. */
#ifndef TOPICS_RETAINED_H
#define TOPICS_RETAINED_H

#include "base/epoch.h"
#include "base/msg.h"

struct retained;

struct retained *retained_new(struct epoch *epoch) MUST_CHECK;
void retained_free(struct retained *r);

/* Keeps m (a reference is taken) in place of the topic's former one; an empty payload removes it [MQTT-3.3.1-10].
 * max: how many topics may have one (0: no limit) → ERR_FULL. ERR_INVALID: too many levels. */
enum err retained_put(struct retained *r, int thread, struct msg *m, uint64_t max) MUST_CHECK;

/* Calls fn for each retained message whose topic matches filter (no $share); fn borrows m and takes its own reference to keep it.
 * fn returns false to stop. The caller is online in the epoch. Order between topics is not defined.
 * Returns what it cost: places of nodes and their child tables that were looked at. */
uint64_t retained_match(struct retained *r, const uint8_t *filter, size_t len, bool (*fn)(void *arg, struct msg *m), void *arg);

/* How many puts there have been: a message has the number of the one that brought it. What is put with a higher number than a subscriber finds
 * behind its trie_subscribe is matched with that subscription. Any thread. */
uint64_t retained_number(struct retained *r);

/* A walk in parts, with other work between them. Where it has come to is kept as a copy, and nothing of the tree is kept from changing: each message
 * whose number is upto or lower is brought once, unless it is replaced or removed before the walk comes to it. */
struct retained_cursor; /* where it has come to; one thread's */
struct retained_part {
	struct retained_cursor *cursor; /* NULL before the first part, and behind the last */
	uint64_t upto;                  /* retained_number when the walk was asked for */
	uint64_t most;                  /* places to look at in this part; a step, of TOPIC_LEVELS_MAX places at most, may pass it */
	uint64_t visited;               /* out: what this part cost */
};
/* Goes on with the walk for filter. ERR_NOMEM ends it. Else as retained_match. */
enum err retained_match_part(struct retained *r, const uint8_t *filter, size_t len, struct retained_part *p, bool (*fn)(void *arg, struct msg *m),
    void *arg) MUST_CHECK;
void retained_cursor_free(struct retained_cursor *c); /* of a walk that is given up; NULL is fine */

struct retained_stats { uint64_t messages, bytes; };
void retained_stats(const struct retained *r, struct retained_stats *out); /* any thread */

#endif
