/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The certificates of connected clients as time passes: how many end soon, and what becomes of a connection that outlives its own. Looked
 * at once a minute, and when the next one ends. Owner loop. */
#ifndef BROKER_EXPIRY_H
#define BROKER_EXPIRY_H

#include "broker/conn.h"

/* c is up. */
void expiry_track(struct conn *c);
/* c is no longer up; fine when it never was. */
void expiry_forget(struct conn *c);
/* Judges c again, which is up; it may be ended. */
void expiry_check(struct conn *c);

#endif
