/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From plain bytes to packet handlers: framing, limits, who may send what when. Owner loop. */
#ifndef BROKER_PACKET_H
#define BROKER_PACKET_H

#include "broker/conn.h"

/* Handles the complete packets at the start of buf until input is held, the connection ends or bytes run out. Returns the bytes used. */
size_t packet_consume(struct conn *c, const uint8_t *buf, size_t len) MUST_CHECK;

/* The handlers; body holds len bytes. Each answers, or ends the connection. */
void packet_connect(struct conn *c, const uint8_t *body, size_t len);
void packet_publish(struct conn *c, uint8_t flags, const uint8_t *body, size_t len);
void packet_subscribe(struct conn *c, const uint8_t *body, size_t len);
void packet_unsubscribe(struct conn *c, const uint8_t *body, size_t len);

#endif
