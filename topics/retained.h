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

struct retained_stats { uint64_t messages, bytes; };
void retained_stats(const struct retained *r, struct retained_stats *out); /* any thread */

#endif
