/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What every part of the codec shares: packet types, protocol versions, reason codes, byte views.
 *
 * The codec (mqtt/) is pure functions: no I/O, no allocation, no global state; any thread. References in square
 * brackets are the numbered statements of MQTT 3.1.1 (OASIS, 29 October 2014); "3.1" is the IBM/Eurotech
 * specification of 2010 (protocol name MQIsdp). MQTT 5 is not decoded yet; its reason codes are the codec's errors. */
#ifndef MQTT_MQTT_H
#define MQTT_MQTT_H

#include <stddef.h>
#include <stdint.h>

#define MQTT_MUST_CHECK __attribute__((warn_unused_result))

#define MQTT_FIXED_HEADER_MAX 5U       /* bytes: type and flags, then 1 to 4 bytes of remaining length */
#define MQTT_REMAINING_MAX 268435455U  /* bytes: the largest remaining length, FF FF FF 7F [MQTT 2.2.3] */
#define MQTT_STRING_MAX 65535U         /* bytes: the largest UTF-8 string or binary field [MQTT-1.5.3] */
#define MQTT_ACK_SIZE 4U               /* bytes: CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK */

enum mqtt_type {
	MQTT_CONNECT = 1,
	MQTT_CONNACK = 2,
	MQTT_PUBLISH = 3,
	MQTT_PUBACK = 4,
	MQTT_PUBREC = 5,
	MQTT_PUBREL = 6,
	MQTT_PUBCOMP = 7,
	MQTT_SUBSCRIBE = 8,
	MQTT_SUBACK = 9,
	MQTT_UNSUBSCRIBE = 10,
	MQTT_UNSUBACK = 11,
	MQTT_PINGREQ = 12,
	MQTT_PINGRESP = 13,
	MQTT_DISCONNECT = 14,
	MQTT_AUTH = 15 /* MQTT 5 */
};

/* The value is CONNECT's protocol level. */
enum mqtt_version {
	MQTT_V31 = 3,
	MQTT_V311 = 4,
	MQTT_V5 = 5
};

/* MQTT 5's reason codes [MQTT 5.0, 2.4], with 3.1.1's as far as they have the same meaning; the wire form for a version
 * comes from the encoders. Below 0x80 is success. */
enum mqtt_reason {
	MQTT_OK = 0x00, /* success, normal disconnection, granted QoS 0 */
	MQTT_GRANTED_QOS1 = 0x01,
	MQTT_GRANTED_QOS2 = 0x02,
	MQTT_DISCONNECT_WITH_WILL = 0x04,
	MQTT_NO_MATCHING_SUBSCRIBERS = 0x10,
	MQTT_NO_SUBSCRIPTION_EXISTED = 0x11,
	MQTT_CONTINUE_AUTHENTICATION = 0x18,
	MQTT_REAUTHENTICATE = 0x19,
	MQTT_UNSPECIFIED = 0x80,
	MQTT_MALFORMED = 0x81,
	MQTT_PROTOCOL_ERROR = 0x82,
	MQTT_IMPLEMENTATION_ERROR = 0x83,
	MQTT_UNSUPPORTED_VERSION = 0x84,
	MQTT_BAD_CLIENT_ID = 0x85,
	MQTT_BAD_USER = 0x86, /* bad user name or password */
	MQTT_NOT_AUTHORIZED = 0x87,
	MQTT_SERVER_UNAVAILABLE = 0x88,
	MQTT_SERVER_BUSY = 0x89,
	MQTT_BANNED = 0x8A,
	MQTT_SERVER_SHUTTING_DOWN = 0x8B,
	MQTT_BAD_AUTHENTICATION_METHOD = 0x8C,
	MQTT_KEEPALIVE_TIMEOUT = 0x8D,
	MQTT_SESSION_TAKEN_OVER = 0x8E,
	MQTT_TOPIC_FILTER_INVALID = 0x8F,
	MQTT_TOPIC_NAME_INVALID = 0x90,
	MQTT_PACKET_ID_IN_USE = 0x91,
	MQTT_PACKET_ID_NOT_FOUND = 0x92,
	MQTT_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
	MQTT_TOPIC_ALIAS_INVALID = 0x94,
	MQTT_PACKET_TOO_LARGE = 0x95,
	MQTT_MESSAGE_RATE_TOO_HIGH = 0x96,
	MQTT_QUOTA_EXCEEDED = 0x97,
	MQTT_ADMINISTRATIVE_ACTION = 0x98,
	MQTT_PAYLOAD_FORMAT_INVALID = 0x99,
	MQTT_RETAIN_NOT_SUPPORTED = 0x9A,
	MQTT_QOS_NOT_SUPPORTED = 0x9B,
	MQTT_USE_ANOTHER_SERVER = 0x9C,
	MQTT_SERVER_MOVED = 0x9D,
	MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E,
	MQTT_CONNECTION_RATE_EXCEEDED = 0x9F,
	MQTT_MAXIMUM_CONNECT_TIME = 0xA0,
	MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1,
	MQTT_WILDCARDS_NOT_SUPPORTED = 0xA2,
	MQTT_NEED_MORE = 0x100 /* never on the wire: more bytes are needed to decide */
};

/* A view of bytes that somebody else owns. p may be NULL when len is 0. */
struct mqtt_bytes {
	const uint8_t *p;
	size_t len;
};

/* The reason in lower-case English, for log lines; a value that is no reason gives "unknown reason". Static storage. */
const char *mqtt_reason_text(enum mqtt_reason reason);

/* "CONNECT" … "AUTH"; a value that is no packet type gives "reserved". Static storage. */
const char *mqtt_type_name(enum mqtt_type type);

#endif
