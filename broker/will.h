/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Wills: stored with their connection [MQTT-3.1.2-8], judged and published at its end. Those that a crash left wait for their clients
 * and are published if these do not return in time (will_grace). Owner loop. */
#ifndef BROKER_WILL_H
#define BROKER_WILL_H

#include "broker/conn.h"
#include "broker/session.h"

/* c->will goes to the store; what is submitted after this is answered after it. Where it cannot be stored (full, or the disk fails) the log
 * says so, and the connection has it in memory alone. ERR_NOMEM. */
enum err will_keep(struct conn *c) MUST_CHECK;

/* It will not be published: gone, here and in the store. */
void will_forget(struct conn *c);

/* What the rules of now make of it: it stays, appears elsewhere ($SYS/health), or is gone. c still has its session. */
void will_judge(struct conn *c);

/* Publishes what is left of it; in the store it goes with that. */
void will_publish(struct conn *c);

/* The store forgets the will of that number (0: none). */
void will_drop(struct loop *l, uint64_t number);

/* ---- what a crash left ---- */

struct wills; /* of one loop; NULL: none */

/* One of those that the store brings back, all borrowed; fingerprint: of its sender's certificate, may be NULL. At the start, before loops run. */
enum err wills_restore(struct loop *l, uint64_t number, const char *client_id, size_t client_id_len, const uint8_t *fingerprint,
                       struct msg *m) MUST_CHECK;

/* The client is connected: its wills of before the crash are not published. */
void wills_cancel(struct session *s);

void wills_free(struct wills *all); /* as it is in the store */

#endif
