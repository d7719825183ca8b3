/* SPDX-License-Identifier: GPL-3.0-or-later */
/* After a reload (and at the start, for sessions of the store) what lives by older rules is judged again, some at each turn of the loop:
 * subscriptions and queues by the access rules, connections by authorities and revocation lists. Owner loop. */
#ifndef BROKER_RECHECK_H
#define BROKER_RECHECK_H

#include "broker/conn.h"

/* Begins, or begins again. */
void recheck_start(struct loop *l);
/* The connections alone, unless a walk is under way, which comes to them too. */
void recheck_conns(struct loop *l);
/* One turn's share, if there is work. When all is done, the policy is told. */
void recheck_step(struct loop *l);

/* c's certificate under the loop's policy: NULL, or why it would not get in. */
const char *recheck_certificate(const struct conn *c);

#endif
