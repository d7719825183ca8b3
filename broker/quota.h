/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What one identity may do on all its connections together: how many there are, how often they come, how much they publish. Nobody is dropped for
 * publishing too much: reading pauses. Without such a limit in the configuration nothing of this exists (conn.meter is NULL). */
#ifndef BROKER_QUOTA_H
#define BROKER_QUOTA_H

#include "broker/conn.h"

struct quota_table; /* of the broker: the identities that have connections, or had until their buckets are full again */

struct quota_table *quota_table_new(void) MUST_CHECK; /* NULL when out of memory */
void quota_table_free(struct quota_table *t);         /* no connection is left; NULL is fine */

/* c, whose CONNECT is good, wants in. NULL: it may (and is counted until quota_leave, if there is such a limit); else the key of the limit that is
 * reached. same: it replaces a connection that is counted already. ERR_NOMEM is "" . Owner loop. */
const char *quota_enter(struct conn *c, bool replaces);
/* It is up no longer. Owner loop. */
void quota_leave(struct conn *c);
/* A reload has changed the limits: c, which is up, is counted from now on if it has to be. Owner loop. */
void quota_follow(struct conn *c);

/* A packet of size bytes came; with too many, c's input waits (HOLD_RATE). c->meter is not NULL. Owner loop. */
void quota_packet(struct conn *c, bool publish, size_t size);

#endif
