/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rates by token buckets in the form of GCRA (ITU-T I.371 A): a bucket is the time at which it will be full again. A bucket holds what the rate
 * allows in its whole period, so after quiet that much may come at once. No locks; any thread. */
#ifndef BASE_RATE_H
#define BASE_RATE_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- one bucket: zero is full */

typedef _Atomic uint64_t rate_bucket;

/* Takes n of `rate` a second, which it may go below zero by. Returns for how many ms the taker has to wait before it is out of debt; 0: none. */
uint64_t rate_charge(rate_bucket *b, uint64_t n, uint64_t rate, uint64_t now_ms);
/* Takes one of `rate` a minute, if there is one. */
bool rate_take(rate_bucket *b, uint32_t rate, uint64_t now_ms);
/* Is it full: would a new one be the same? */
bool rate_idle(const rate_bucket *b, uint64_t now_ms);

/* ---- buckets of strangers: as many as there are, in a table that does not grow */

struct rate_table;

/* slots: a power of two, at least 4. NULL when out of memory. */
struct rate_table *rate_table_new(size_t slots) MUST_CHECK;
void rate_table_free(struct rate_table *t); /* nobody uses it; NULL is fine */
/* As rate_take, from the bucket of this hash (keyed: strangers choose what is hashed). When four others of the same slots are in use, the one that
 * is nearest to full makes room: under such a flood some get more than their rate, nobody less. */
bool rate_table_take(struct rate_table *t, uint64_t hash, uint32_t rate, uint64_t now_ms);

#endif
