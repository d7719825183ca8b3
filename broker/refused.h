/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages that the store refused: it is full (or a queue in it, under queue_full reject), or the disk fails. Their publisher is not
 * acknowledged and not read; they are tried again until there is room, in their order, for publish_wait at most: so two clients whose
 * full queues wait for each other do not wait for ever. Owner loop. */
#ifndef BROKER_REFUSED_H
#define BROKER_REFUSED_H

#include "broker/conn.h"
#include "broker/session.h"

struct refused;      /* of one session; made with its first message for the store */
struct refused_list; /* of one loop: who waits */

/* Submits a message of s for the store. ERR_NOMEM: it was not submitted. */
enum err refused_submit(struct session *s, struct store_op *op) MUST_CHECK;

/* The store has answered op, which refused_submit took; s is its session (NULL: ended), c its publisher's connection (NULL: gone). True: op
 * was refused and is kept, to be tried again. */
bool refused_answered(struct loop *l, struct store_op *op, struct session *s, struct conn *c) MUST_CHECK;

/* Takes the oldest that waits from s, whose connection is ending; NULL: none. */
struct store_op *refused_take(struct session *s);

/* s is being freed. */
void refused_release(struct session *s);

#endif
