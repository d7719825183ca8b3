/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Decoders for everything that a broker reads. Pure functions; any thread.
 *
 * Lengths are compared with what is left (end - p) before a pointer moves, and no function takes the address of a
 * local, so that the object needs nothing but mem*. */
#include "mqtt/decode.h"

#include <string.h>

#include "mqtt/utf8_int.h"

/* ---- fixed header ---- */

#define LEN_ANY 0xFFU

/* What a fixed header may say for each type: bit f of flags is set when the four flag bits may be f.
 * 3.1.1: table 2.2; PUBLISH: no QoS 3, no DUP with QoS 0. 3.1 leaves the flags unused except DUP and QoS, which is 1, in
 * PUBREL, SUBSCRIBE and UNSUBSCRIBE; CONNECT is decoded before the version is known. Lengths are the fewest and most
 * bytes that hold the type's fields; CONNECT's fewest ends at its level, as that decides on everything after it. */
static const struct rule {
	uint16_t flags_v311;
	uint16_t flags_v31;
	uint8_t len_min;
	uint8_t len_max;
} rules[16] = {
	[MQTT_CONNECT] = {0x0001, 0x0001, 7, LEN_ANY},
	[MQTT_CONNACK] = {0x0001, 0xFFFF, 2, 2},
	[MQTT_PUBLISH] = {0x3C3F, 0x3C3F, 3, LEN_ANY},
	[MQTT_PUBACK] = {0x0001, 0xFFFF, 2, 2},
	[MQTT_PUBREC] = {0x0001, 0xFFFF, 2, 2},
	[MQTT_PUBREL] = {0x0004, 0x0C0C, 2, 2},
	[MQTT_PUBCOMP] = {0x0001, 0xFFFF, 2, 2},
	[MQTT_SUBSCRIBE] = {0x0004, 0x0C0C, 6, LEN_ANY},
	[MQTT_SUBACK] = {0x0001, 0xFFFF, 3, LEN_ANY},
	[MQTT_UNSUBSCRIBE] = {0x0004, 0x0C0C, 5, LEN_ANY},
	[MQTT_UNSUBACK] = {0x0001, 0xFFFF, 2, 2},
	[MQTT_PINGREQ] = {0x0001, 0xFFFF, 0, 0},
	[MQTT_PINGRESP] = {0x0001, 0xFFFF, 0, 0},
	[MQTT_DISCONNECT] = {0x0001, 0xFFFF, 0, 0},
};

enum mqtt_reason mqtt_decode_frame(enum mqtt_version version, const uint8_t *buf, size_t len, struct mqtt_frame *out)
{
	if (version == MQTT_V5)
		return MQTT_UNSUPPORTED_VERSION;
	if (len == 0)
		return MQTT_NEED_MORE;

	const uint8_t type = buf[0] >> 4;
	const uint8_t flags = buf[0] & 0x0F;
	const struct rule *rule = &rules[type];
	if (((version == MQTT_V31 ? rule->flags_v31 : rule->flags_v311) >> flags & 1) == 0)
		return MQTT_MALFORMED;

	const uint32_t len_max = rule->len_max == LEN_ANY ? MQTT_REMAINING_MAX : rule->len_max;
	const bool has_packet_id = type == MQTT_PUBLISH && flags >> 1 != 0;
	const uint32_t len_min = rule->len_min + (has_packet_id ? 2U : 0U);

	if (len >= 2 && buf[1] < 0x80) { /* most packets: one byte says it */
		*out = (struct mqtt_frame){type, flags, 2, buf[1]};
		return buf[1] >= len_min && buf[1] <= len_max ? MQTT_OK : MQTT_MALFORMED;
	}

	/* Seven bits a byte, the lowest first. Each byte can only add, so the maximum is known to be passed before the end.
	 * A longer form than needed (80 00) is allowed: only MQTT 5 forbids it [MQTT 5.0, MQTT-1.5.5-1]. */
	uint32_t value = 0;
	for (uint8_t i = 1; i < MQTT_FIXED_HEADER_MAX; i++) {
		if (i >= len)
			return MQTT_NEED_MORE;
		value |= (uint32_t)(buf[i] & 0x7F) << 7 * (i - 1);
		if (value > len_max)
			return MQTT_MALFORMED;
		if (buf[i] < 0x80) {
			if (value < len_min)
				return MQTT_MALFORMED;
			*out = (struct mqtt_frame){type, flags, (uint8_t)(i + 1), value};
			return MQTT_OK;
		}
	}
	return MQTT_MALFORMED;
}

/* ---- fields ---- */

static inline uint16_t read_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Read a field with a two-byte length. Returns the byte behind it, or NULL when it does not fit before end. */
static inline const uint8_t *read_field(const uint8_t *p, const uint8_t *end, struct mqtt_bytes *out)
{
	if (end - p < 2)
		return NULL;
	const size_t len = read_u16(p);
	p += 2;
	if ((size_t)(end - p) < len)
		return NULL;
	*out = (struct mqtt_bytes){p, len};
	return p + len;
}

/* The same for a field that must be UTF-8; NULL also when it is not [MQTT-1.5.3-1]. */
static const uint8_t *read_string(const uint8_t *p, const uint8_t *end, struct mqtt_bytes *out)
{
	p = read_field(p, end, out);
	return p != NULL && mqtt_utf8_valid(out->p, out->len) ? p : NULL;
}

/* ---- CONNECT ---- */

enum {
	CONNECT_RESERVED = 0x01,
	CONNECT_CLEAN_SESSION = 0x02,
	CONNECT_WILL = 0x04,
	CONNECT_WILL_QOS = 0x18,
	CONNECT_WILL_RETAIN = 0x20,
	CONNECT_PASSWORD = 0x40,
	CONNECT_USER = 0x80
};

static bool connect_flags_valid(enum mqtt_version version, uint8_t flags)
{
	/* 3.1 does not use the reserved bit, and disregards will QoS and retain without a will. */
	if (version != MQTT_V31) {
		if ((flags & CONNECT_RESERVED) != 0) /* [MQTT-3.1.2-3] */
			return false;
		if ((flags & CONNECT_WILL) == 0 && (flags & (CONNECT_WILL_QOS | CONNECT_WILL_RETAIN)) != 0)
			return false; /* [MQTT-3.1.2-11], [MQTT-3.1.2-13], [MQTT-3.1.2-15] */
	}
	if ((flags & CONNECT_WILL) != 0 && (flags & CONNECT_WILL_QOS) == CONNECT_WILL_QOS) /* [MQTT-3.1.2-14] */
		return false;
	return (flags & CONNECT_PASSWORD) == 0 || (flags & CONNECT_USER) != 0; /* [MQTT-3.1.2-22] */
}

/* Whether a user name or password is there to be read. In 3.1 the remaining length takes precedence over its flag. */
static inline bool connect_has(const struct mqtt_connect *connect, bool flag, const uint8_t *p, const uint8_t *end)
{
	return flag && (connect->version != MQTT_V31 || p < end);
}

/* Read the payload [MQTT-3.1.3-1] into *out, whose other fields are set, and see that nothing follows it. */
static enum mqtt_reason connect_payload(uint8_t flags, const uint8_t *p, const uint8_t *end, struct mqtt_connect *out)
{
	p = read_string(p, end, &out->client_id); /* [MQTT-3.1.3-3], [MQTT-3.1.3-4] */
	if (p == NULL)
		return MQTT_MALFORMED;

	if (out->has_will) {
		p = read_field(p, end, &out->will_topic);
		if (p == NULL)
			return MQTT_MALFORMED;
		const enum mqtt_reason reason = mqtt_topic_check(out->will_topic.p, out->will_topic.len); /* [MQTT-3.1.3-10] */
		if (reason != MQTT_OK)
			return reason;
		p = read_field(p, end, &out->will_payload);
		if (p == NULL)
			return MQTT_MALFORMED;
	}

	out->has_user = connect_has(out, (flags & CONNECT_USER) != 0, p, end);
	if (out->has_user) {
		p = read_string(p, end, &out->user); /* [MQTT-3.1.3-11] */
		if (p == NULL)
			return MQTT_MALFORMED;
	}

	out->has_password = connect_has(out, (flags & CONNECT_PASSWORD) != 0, p, end);
	if (out->has_password) {
		p = read_field(p, end, &out->password);
		if (p == NULL)
			return MQTT_MALFORMED;
	}

	return p == end ? MQTT_OK : MQTT_MALFORMED;
}

enum mqtt_reason mqtt_decode_connect(const uint8_t *body, size_t len, struct mqtt_connect *out)
{
	static const uint8_t name_v311[] = {0, 4, 'M', 'Q', 'T', 'T'};
	static const uint8_t name_v31[] = {0, 6, 'M', 'Q', 'I', 's', 'd', 'p'};
	enum mqtt_version version;
	size_t at;

	if (len > sizeof name_v311 && memcmp(body, name_v311, sizeof name_v311) == 0) {
		version = MQTT_V311;
		at = sizeof name_v311;
	} else if (len > sizeof name_v31 && memcmp(body, name_v31, sizeof name_v31) == 0) {
		version = MQTT_V31;
		at = sizeof name_v31;
	} else {
		return MQTT_MALFORMED; /* [MQTT-3.1.2-1] */
	}

	*out = (struct mqtt_connect){.version = version};
	if (body[at] != version) /* [MQTT-3.1.2-2] */
		return MQTT_UNSUPPORTED_VERSION;
	if (len - at < 4)
		return MQTT_MALFORMED;

	const uint8_t flags = body[at + 1];
	if (!connect_flags_valid(version, flags))
		return MQTT_MALFORMED;
	out->clean_session = (flags & CONNECT_CLEAN_SESSION) != 0;
	out->has_will = (flags & CONNECT_WILL) != 0;
	if (out->has_will) {
		out->will_qos = (flags & CONNECT_WILL_QOS) >> 3;
		out->will_retain = (flags & CONNECT_WILL_RETAIN) != 0;
	}
	out->keepalive_s = read_u16(body + at + 2);

	const enum mqtt_reason reason = connect_payload(flags, body + at + 4, body + len, out);
	if (reason != MQTT_OK)
		return reason;

	/* Last, as it is answered: what is malformed as well gets no answer. */
	if (out->client_id.len == 0 && (version == MQTT_V31 || !out->clean_session)) /* [MQTT-3.1.3-7], [MQTT-3.1.3-8] */
		return MQTT_BAD_CLIENT_ID;
	return MQTT_OK;
}

/* ---- PUBLISH and its acknowledgements ---- */

static enum mqtt_reason decode_behind_topic(uint8_t flags, const uint8_t *p, const uint8_t *end, struct mqtt_publish *out)
{
	out->dup = (flags & 0x08) != 0;
	out->retain = (flags & 0x01) != 0;
	out->qos = flags >> 1 & 3;
	out->packet_id = 0;
	if (out->qos > 0) {
		if (end - p < 2)
			return MQTT_MALFORMED;
		out->packet_id = read_u16(p);
		p += 2;
		if (out->packet_id == 0) /* [MQTT-2.3.1-1] */
			return MQTT_MALFORMED;
	}
	out->payload = (struct mqtt_bytes){p, (size_t)(end - p)};
	return MQTT_OK;
}

enum mqtt_reason mqtt_decode_publish(enum mqtt_version version, uint8_t flags, const uint8_t *body, size_t len,
									 struct mqtt_publish *out)
{
	if (version == MQTT_V5)
		return MQTT_UNSUPPORTED_VERSION;
	if (len < 2)
		return MQTT_MALFORMED;

	const uint8_t *end = body + len;
	const uint8_t *p = read_field(body, end, &out->topic);
	if (p == NULL)
		return MQTT_MALFORMED;
	const enum mqtt_reason reason = mqtt_topic_check(out->topic.p, out->topic.len);
	return reason != MQTT_OK ? reason : decode_behind_topic(flags, p, end, out);
}

bool mqtt_decode_publish_again(enum mqtt_version version, uint8_t flags, const uint8_t *body, size_t len, struct mqtt_bytes topic,
							   struct mqtt_publish *out)
{
	if (version == MQTT_V5 || len < 2 || len - 2 < topic.len || read_u16(body) != topic.len || memcmp(body + 2, topic.p, topic.len) != 0)
		return false;
	out->topic = topic;
	return decode_behind_topic(flags, body + 2 + topic.len, body + len, out) == MQTT_OK;
}

enum mqtt_reason mqtt_decode_ack(enum mqtt_version version, const uint8_t *body, size_t len, struct mqtt_ack *out)
{
	if (version == MQTT_V5)
		return MQTT_UNSUPPORTED_VERSION;
	if (len != 2)
		return MQTT_MALFORMED;
	out->packet_id = read_u16(body);
	return out->packet_id != 0 ? MQTT_OK : MQTT_MALFORMED;
}

size_t mqtt_decode_acks(enum mqtt_version version, const uint8_t *buf, size_t len, uint16_t *ids, size_t max)
{
	if (version == MQTT_V5 || len < MQTT_ACK_SIZE || buf[0] >> 4 < MQTT_PUBACK || buf[0] >> 4 > MQTT_PUBCOMP ||
		(buf[0] & 0x0F) != (buf[0] >> 4 == MQTT_PUBREL ? 2 : 0)) /* what 3.1 allows besides comes one by one */
		return 0;
	size_t n = 0;
	for (const uint8_t *p = buf; n < max && len - n * MQTT_ACK_SIZE >= MQTT_ACK_SIZE; p += MQTT_ACK_SIZE) {
		const uint16_t id = read_u16(p + 2);
		if (p[0] != buf[0] || p[1] != 2 || id == 0)
			break;
		ids[n++] = id;
	}
	return n;
}

/* ---- SUBSCRIBE and UNSUBSCRIBE ---- */

static enum mqtt_reason decode_filters(enum mqtt_version version, const uint8_t *body, size_t len, bool with_options,
									   struct mqtt_subscribe *out)
{
	if (version == MQTT_V5)
		return MQTT_UNSUPPORTED_VERSION;
	if (len < 4) /* an identifier and a filter's length: at least one filter [MQTT-3.8.3-3], [MQTT-3.10.3-2] */
		return MQTT_MALFORMED;

	out->packet_id = read_u16(body);
	if (out->packet_id == 0) /* [MQTT-2.3.1-1] */
		return MQTT_MALFORMED;
	out->count = 0;
	out->next = body + 2;
	out->end = body + len;

	for (const uint8_t *p = out->next; p < out->end; out->count++) {
		if (out->end - p < 2)
			return MQTT_MALFORMED;
		const size_t filter_len = read_u16(p);
		p += 2;
		if ((size_t)(out->end - p) < filter_len + with_options)
			return MQTT_MALFORMED;
		const enum mqtt_reason reason = mqtt_filter_check(p, filter_len);
		if (reason != MQTT_OK)
			return reason;
		p += filter_len;
		if (with_options && *p++ > 2) /* [MQTT-3.8.3-4] */
			return MQTT_MALFORMED;
	}
	return MQTT_OK;
}

enum mqtt_reason mqtt_decode_subscribe(enum mqtt_version version, const uint8_t *body, size_t len,
									   struct mqtt_subscribe *out)
{
	return decode_filters(version, body, len, true, out);
}

enum mqtt_reason mqtt_decode_unsubscribe(enum mqtt_version version, const uint8_t *body, size_t len,
										 struct mqtt_subscribe *out)
{
	return decode_filters(version, body, len, false, out);
}

bool mqtt_next_filter(struct mqtt_subscribe *it, bool with_options, struct mqtt_filter *out)
{
	if (it->next == it->end)
		return false;
	const uint8_t *p = it->next + 2;
	const size_t len = read_u16(it->next);
	*out = (struct mqtt_filter){{p, len}, with_options ? p[len] : 0};
	it->next = p + len + with_options;
	return true;
}
