/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From plain bytes to packet handlers: framing, limits, who may send what when. Owner loop. */
#ifndef BROKER_PACKET_H
#define BROKER_PACKET_H

#include "broker/conn.h"

/* Handles the complete packets at the start of buf until input is held, the connection ends or bytes run out. Returns the bytes used. */
size_t packet_consume(struct conn *c, const uint8_t *buf, size_t len) MUST_CHECK;

/* Names topics of PUBLISH packets that have arrived behind the one that is being handled, unchecked. For match_cache_look_ahead. */
size_t packet_topics_behind(void *loop, struct topic_bytes *out, size_t max);

/* The handlers; body holds len bytes. Each answers, or ends the connection. */
void packet_connect(struct conn *c, const uint8_t *body, size_t len);
void packet_publish(struct conn *c, uint8_t flags, const uint8_t *body, size_t len);
void packet_subscribe(struct conn *c, const uint8_t *body, size_t len);
void packet_unsubscribe(struct conn *c, const uint8_t *body, size_t len);

#endif
