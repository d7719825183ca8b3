/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What strangers can do to us before and beside their packets: handshakes of one address, unfinished handshakes, packets that do not end, memory of
 * those. What identities may do is broker/quota.h. Owner loop. */
#ifndef BROKER_LIMITS_H
#define BROKER_LIMITS_H

#include "broker/audit.h"
#include "broker/conn.h"

#include <sys/socket.h>

/* Tells log and audit log that a limit (its key) was reached, as audit_flood does. */
void limits_reached(struct loop *l, const struct audit_who *who, const char *key);

/* A socket was accepted. False: there are max_connections, its address has had its handshakes of this minute, or as many handshakes as may be are
 * unfinished and wait for us; it is to be closed. */
bool limits_admit(struct loop *l, const struct listener *listener, const struct audit_who *who);

/* c begins its handshake; it has ended, moves or is up. */
/* Is max_unfinished_handshakes reached, so that whoever comes in ends another one or is not let in? */
bool limits_crowded(const struct loop *l);
void limits_unfinished_add(struct conn *c);
void limits_unfinished_remove(struct conn *c);

/* A connection wants to keep `cap` bytes of a packet that is not complete where it had `had`. False: there is no memory for that, and c has to end. */
bool limits_keep(struct conn *c, size_t had, size_t cap);

#endif
