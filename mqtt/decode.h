/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decoders: bytes to views, strictly. Any thread.
 *
 * mqtt_decode_frame reads the fixed header; once frame.remaining_len bytes of body are there too, one body decoder is
 * called for the type. A body decoder gets exactly the body, never reads past it, and fills *out with views into it.
 * Every error but MQTT_NEED_MORE ends the connection [MQTT-4.8.0-1]; the two that CONNECT answers first are named
 * at mqtt_decode_connect. On an error *out is unspecified unless said otherwise.
 *
 * version is what CONNECT negotiated. MQTT_V5 gives MQTT_UNSUPPORTED_VERSION until its properties are decoded.
 * Where 3.1 leaves a bit "not used" (unused header flags, CONNECT flag 0) it is ignored for MQTT_V31; 3.1.1 forbids it. */
#ifndef MQTT_DECODE_H
#define MQTT_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mqtt/mqtt.h"
#include "mqtt/utf8.h"

struct mqtt_frame {
	uint8_t type;           /* enum mqtt_type */
	uint8_t flags;          /* the low four bits of the first byte */
	uint8_t header_len;     /* bytes of fixed header, 2 to 5 */
	uint32_t remaining_len; /* bytes of body behind it */
};

/* Decode the fixed header at the start of buf (len bytes, possibly less than a packet or empty).
 * version: the connection's; MQTT_V311 before CONNECT (CONNECT's header is the same in all).
 * MQTT_OK: *out is set; the body may not have arrived yet. MQTT_NEED_MORE: nothing wrong so far. MQTT_MALFORMED, as soon
 * as the bytes there prove it: a reserved type [MQTT 2.2.1], flags that are wrong for the type [MQTT-2.2.2-1,
 * MQTT-2.2.2-2], PUBLISH with QoS 3 [MQTT-3.3.1-4] or DUP and QoS 0 [MQTT-3.3.1-2], a remaining length of more than
 * four bytes [MQTT 2.2.3] or one that the type cannot have. Both directions' types are accepted: who may send which
 * is the caller's to check, as is a limit on size. */
MQTT_MUST_CHECK enum mqtt_reason mqtt_decode_frame(enum mqtt_version version, const uint8_t *buf, size_t len,
												   struct mqtt_frame *out);

/* Bytes of the whole packet. */
static inline size_t mqtt_frame_size(const struct mqtt_frame *frame)
{
	return (size_t)frame->header_len + frame->remaining_len;
}

struct mqtt_connect {
	enum mqtt_version version;
	bool clean_session;
	bool has_will; /* else will_* are zero and empty */
	bool will_retain;
	bool has_user; /* present, possibly empty */
	bool has_password;
	uint8_t will_qos;
	uint16_t keepalive_s; /* 0: none */
	struct mqtt_bytes client_id; /* may be empty: the server then assigns one [MQTT-3.1.3-6] */
	struct mqtt_bytes will_topic;
	struct mqtt_bytes will_payload;
	struct mqtt_bytes user;
	struct mqtt_bytes password;
};

/* Decode CONNECT's body. The errors that a CONNACK answers (mqtt_encode_connack) before the connection closes:
 *   MQTT_UNSUPPORTED_VERSION  the name is MQTT or MQIsdp, but not with a level that we speak (5; bit 7, which
 *                             mosquitto's bridges set) [MQTT-3.1.2-2]; only out->version is set, to the version
 *                             in whose form to answer
 *   MQTT_BAD_CLIENT_ID        empty, in 3.1, or in 3.1.1 without clean session [MQTT-3.1.3-8]; *out is complete
 * All others close it without one [MQTT-3.1.4-1]: MQTT_MALFORMED, or MQTT_TOPIC_NAME_INVALID for a will topic that
 * is empty or has a wildcard.
 * 3.1: a user name or password announced by its flag may be missing at the end of the packet (has_* is then false), and
 * client ids longer than 23 characters are accepted. */
MQTT_MUST_CHECK enum mqtt_reason mqtt_decode_connect(const uint8_t *body, size_t len, struct mqtt_connect *out);

struct mqtt_publish {
	bool dup;
	bool retain;
	uint8_t qos;
	uint16_t packet_id; /* 0 when qos is 0 */
	struct mqtt_bytes topic;
	struct mqtt_bytes payload;
};

/* Decode PUBLISH's body; flags are the frame's. MQTT_MALFORMED, or MQTT_TOPIC_NAME_INVALID when the topic is empty
 * [MQTT-4.7.3-1] or has a wildcard [MQTT-3.3.2-2]. A packet identifier is there only with QoS 1 and 2, and never 0
 * [MQTT-2.3.1-1]. */
MQTT_MUST_CHECK enum mqtt_reason mqtt_decode_publish(enum mqtt_version version, uint8_t flags, const uint8_t *body,
													 size_t len, struct mqtt_publish *out);

/* The same for a packet that may repeat the topic of one that was good: false when it has another, or is not well formed. */
MQTT_MUST_CHECK bool mqtt_decode_publish_again(enum mqtt_version version, uint8_t flags, const uint8_t *body, size_t len,
											   struct mqtt_bytes topic, struct mqtt_publish *out);

struct mqtt_ack {
	uint16_t packet_id; /* never 0 */
};

/* Decode the body of PUBACK, PUBREC, PUBREL or PUBCOMP (and UNSUBACK, which has the same form). */
MQTT_MUST_CHECK enum mqtt_reason mqtt_decode_ack(enum mqtt_version version, const uint8_t *body, size_t len,
												 struct mqtt_ack *out);

/* Acknowledgements come many together: decode those at the start of buf that are alike in type, as 3.1.1 wants them (PUBACK, PUBREC, PUBREL,
 * PUBCOMP; 4 bytes each), at most max. Returns how many; ids gets their packet identifiers, none of which is 0. What is behind them, or what
 * 0 means, mqtt_decode_frame says. */
size_t mqtt_decode_acks(enum mqtt_version version, const uint8_t *buf, size_t len, uint16_t *ids, size_t max);

struct mqtt_filter {
	struct mqtt_bytes filter;
	uint8_t options; /* QoS in bits 0-1; the rest is MQTT 5's and 0 before */
};

struct mqtt_subscribe {
	uint16_t packet_id;       /* never 0 */
	uint32_t count;           /* filters in all, at least 1 */
	const uint8_t *next, *end; /* mqtt_next_filter's place in the body */
};

/* Decode SUBSCRIBE's body and check all of it: packet identifier not 0 [MQTT-2.3.1-1], at least one filter
 * [MQTT-3.8.3-3], each valid UTF-8 [MQTT-3.8.3-1] with a QoS of 0 to 2 and no reserved bit [MQTT-3.8.3-4]. MQTT_MALFORMED,
 * or MQTT_TOPIC_FILTER_INVALID when a filter is empty or misplaces a wildcard. */
MQTT_MUST_CHECK enum mqtt_reason mqtt_decode_subscribe(enum mqtt_version version, const uint8_t *body, size_t len,
													   struct mqtt_subscribe *out);

/* The same for UNSUBSCRIBE [MQTT-3.10.3-1, MQTT-3.10.3-2], whose filters have no options byte. */
MQTT_MUST_CHECK enum mqtt_reason mqtt_decode_unsubscribe(enum mqtt_version version, const uint8_t *body, size_t len,
														 struct mqtt_subscribe *out);

/* The next filter of a decoded SUBSCRIBE (with_options) or UNSUBSCRIBE (without), in the packet's order; false at the
 * end. Copy *it to walk the list again. */
bool mqtt_next_filter(struct mqtt_subscribe *it, bool with_options, struct mqtt_filter *out);

#endif
