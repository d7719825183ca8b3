/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bounded ring of byte records: any number of producers, one consumer, no locks. What does not fit is refused: nobody waits. */
#ifndef BASE_RING_H
#define BASE_RING_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RING_CELL 64u /* bytes; a record takes whole cells */

struct ring;

/* cells: a power of two, at most 2^31. The ring starts closed. NULL when out of memory. */
struct ring *ring_new(size_t cells) MUST_CHECK;
void ring_free(struct ring *r); /* nobody may be using it */

/* Opens for producers, or closes: records of puts that return ERR_OK can still be taken. Any thread. */
void ring_open(struct ring *r);
void ring_close(struct ring *r);

/* Copies len bytes (1 <= len <= a quarter of the ring) in. Any thread.
 * ERR_FULL: no room now. ERR_CLOSED: closed. */
enum err ring_put(struct ring *r, const void *data, size_t len) MUST_CHECK;

/* Copies the oldest record into out (cap bytes; a longer record is cut) and returns its length; 0 when the next one is not there (yet).
 * Consumer only. */
size_t ring_take(struct ring *r, void *out, size_t cap);

/* Is there a record to take? Its look is seq_cst, as is ring_put's publishing: who announces that it sleeps (seq_cst) and then
 * finds nothing here, will be seen asleep by the producer. Consumer only. */
bool ring_ready(const struct ring *r);
/* Nothing to take, and no producer in the middle of a put: after ring_close, for good. Consumer only. */
bool ring_drained(const struct ring *r);

/* Positions, in cells since the beginning: of the next put, and of the next take. */
uint64_t ring_put_position(const struct ring *r);  /* any thread */
uint64_t ring_take_position(const struct ring *r); /* any thread */

#endif
