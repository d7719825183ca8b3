/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The answers that one connection owes, in the order in which they were asked for: PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK.
 * One that waits for the store holds back those behind it [MQTT-4.6.0]; while none waits, nothing is kept here. Owner loop. */
#ifndef BROKER_ACKQ_H
#define BROKER_ACKQ_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ack {
	uint8_t *bytes;  /* a packet encoded already (SUBACK), owned; NULL: type and packet_id say it */
	uint32_t len;    /* of bytes */
	uint16_t packet_id;
	uint8_t type;    /* enum mqtt_type */
	bool ready;
};

struct ackq {
	struct ack *ring; /* NULL while empty */
	uint32_t head, count, cap;
	uint32_t head_seq; /* sequence number of the ack at head */
};

/* Appends; *seq names it for ackq_ready. Takes a->bytes, also on ERR_NOMEM. */
enum err ackq_push(struct ackq *q, const struct ack *a, uint32_t *seq) MUST_CHECK;
void ackq_ready(struct ackq *q, uint32_t seq);
/* The first one, if it is ready; the caller owns its bytes. False: none, or it waits. */
bool ackq_pop_ready(struct ackq *q, struct ack *out);
void ackq_clear(struct ackq *q);

#endif
