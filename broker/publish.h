/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One message's way in: retained tree, match, store, route. Owner loop. */
#ifndef BROKER_PUBLISH_H
#define BROKER_PUBLISH_H

#include "broker/conn.h"
#include "broker/session.h"

enum publish_result {
	PUBLISH_DONE,     /* nothing durable needs it: acknowledge now */
	PUBLISH_DEFERRED, /* the store's answer will mark the ack ready */
	PUBLISH_NOMEM,
};

/* Who gets the answer of a deferred publish. */
struct publish_origin {
	struct session *session; /* NULL: the broker itself, or a will */
	uint16_t packet_id;      /* to remember in the store: QoS 2 of a persistent session; else 0 */
	uint32_t ack_seq;        /* of the connection's ackq, pushed already */
	uint64_t will;           /* in the store: goes in the transaction that keeps the message; 0: none */
};

/* Publishes m (borrowed). from may be NULL. */
enum publish_result publish_message(struct loop *l, struct msg *m, const struct publish_origin *from) MUST_CHECK;

/* A message as c sends it, under its topic; one reference, NULL: out of memory. */
struct msg *publish_new(struct conn *c, const struct mqtt_publish *p) MUST_CHECK;
/* c has published: it waits while another loop is behind, what the store has not answered piles up, or its share of the turn is used up. */
void publish_hold_back(struct conn *c);

/* What the store has refused and was to be tried again for s: its connection is ending, so its client will repeat it. */
void publish_forget_refused(struct session *s);

/* The same for the broker's own messages (wills, $SYS): nobody waits. */
void publish_own(struct loop *l, struct msg *m);

/* Hands m again to another member of its shared subscription than `not`; false when there is none. hops: how often the access rules
 * have sent it on already. */
bool publish_to_group(struct loop *l, struct msg *m, struct share_group *g, sub_handle not, unsigned hops);

#define PUBLISH_HEALTH_MAX (12U + IDENTITY_CN_MAX)
/* Where who's message to topic appears: $SYS/health under the sender's name (written to buf), any other where it is. */
struct mqtt_bytes publish_topic(const struct identity *who, struct mqtt_bytes topic, uint8_t buf[static PUBLISH_HEALTH_MAX]);

#endif
