/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages of key spaces on their way in and out: what a client may publish, sealing for plain clients, opening for plain
 * subscribers (docs/control.md, docs/formats.md 4). Owner loop. */
#ifndef BROKER_SEALING_H
#define BROKER_SEALING_H

#include "broker/conn.h"
#include "broker/session.h"
#include "topics/space.h"

#define SUB_ID_SEALED (UINT32_C(1) << 31) /* a subscription identifier of the sealed view; MQTT 5's have 28 bits */

struct sealer; /* a loop's: its stream as a sender, and content keys in use */
void sealer_free(struct sealer *s); /* wipes; NULL is fine */

enum admission {
	ADMIT_ELSEWHERE, /* no key space covers it */
	ADMIT_OK,        /* *out is to be published, and the caller's */
	ADMIT_DROP,      /* acknowledged and dropped: it would never become good; *why */
	ADMIT_END,       /* not acknowledged, the connection ends: sealed again it may be good; *why */
	ADMIT_NOMEM,
};
/* Judges a PUBLISH or will (spec: its topic as sent, payload, QoS, RETAIN) by who, and makes the message that takes its way. */
enum admission sealing_admit(struct loop *l, const struct identity *who, const struct msg_spec *spec, struct msg **out, const char **why);

/* May the session have this sealed message in that view (a subscription's identifier)? Opens it for the plain view. False: *why. */
bool sealing_give(struct session *s, struct msg *m, uint32_t sub_id, const char **why);

/* What goes over the wire: m itself, or what it is in plain text. *prefix is what comes before its topic. */
const struct msg *sealing_view(const struct msg *m, uint32_t sub_id, struct mqtt_bytes *prefix);

#endif
