/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encoders for everything that a broker writes. Pure functions; any thread. */
#include "mqtt/encode.h"

#include <string.h>

static inline uint8_t *write_u16(uint8_t *p, size_t value)
{
	p[0] = (uint8_t)(value >> 8 & 0xFF);
	p[1] = (uint8_t)(value & 0xFF);
	return p + 2;
}

/* The shortest form; value is at most MQTT_REMAINING_MAX. */
static inline uint8_t *write_remaining_len(uint8_t *p, size_t value)
{
	while (value > 0x7F) {
		*p++ = (uint8_t)(0x80 | (value & 0x7F));
		value >>= 7;
	}
	*p++ = (uint8_t)value;
	return p;
}

static inline size_t remaining_len_size(size_t value)
{
	return 1U + (value > 0x7F) + (value > 0x3FFF) + (value > 0x1FFFFF);
}

static inline size_t publish_remaining_len(size_t topic_len, uint8_t qos, size_t payload_len)
{
	return 2U + topic_len + (qos > 0 ? 2U : 0U) + payload_len;
}

size_t mqtt_publish_size(enum mqtt_version version, size_t topic_len, uint8_t qos, size_t payload_len)
{
	(void)version; /* MQTT 5 adds its properties */
	if (topic_len > MQTT_STRING_MAX || payload_len > MQTT_REMAINING_MAX)
		return 0;
	const size_t remaining_len = publish_remaining_len(topic_len, qos, payload_len);
	if (remaining_len > MQTT_REMAINING_MAX)
		return 0;
	return 1U + remaining_len_size(remaining_len) + remaining_len;
}

/* Inlined twice: without a prefix nothing of it is left. */
static inline size_t publish_head(uint8_t *out, bool dup, uint8_t qos, bool retain, struct mqtt_bytes prefix, struct mqtt_bytes topic,
								  uint16_t packet_id, size_t payload_len)
{
	size_t topic_len = prefix.len + topic.len;
	uint8_t *p = out;
	*p++ = (uint8_t)(MQTT_PUBLISH << 4 | (dup && qos > 0 ? 8 : 0) | (qos & 3) << 1 | (retain ? 1 : 0));
	p = write_remaining_len(p, publish_remaining_len(topic_len, qos, payload_len));
	p = write_u16(p, topic_len);
	if (prefix.len > 0)
		memcpy(p, prefix.p, prefix.len);
	p += prefix.len;
	memcpy(p, topic.p, topic.len);
	p += topic.len;
	if (qos > 0)
		p = write_u16(p, packet_id);
	return (size_t)(p - out);
}

size_t mqtt_encode_publish_head(uint8_t *out, enum mqtt_version version, bool dup, uint8_t qos, bool retain,
								struct mqtt_bytes topic, uint16_t packet_id, size_t payload_len)
{
	(void)version; /* MQTT 5 adds its properties */
	return publish_head(out, dup, qos, retain, (struct mqtt_bytes){0}, topic, packet_id, payload_len);
}

size_t mqtt_encode_publish_head2(uint8_t *out, enum mqtt_version version, bool dup, uint8_t qos, bool retain, struct mqtt_bytes prefix,
								 struct mqtt_bytes topic, uint16_t packet_id, size_t payload_len)
{
	(void)version;
	return publish_head(out, dup, qos, retain, prefix, topic, packet_id, payload_len);
}

uint8_t mqtt_connack_code(enum mqtt_reason reason)
{
	switch (reason) {
	case MQTT_OK:
		return 0; /* connection accepted */
	case MQTT_UNSUPPORTED_VERSION:
		return 1; /* unacceptable protocol version */
	case MQTT_BAD_CLIENT_ID:
		return 2; /* identifier rejected */
	case MQTT_UNSPECIFIED:
	case MQTT_IMPLEMENTATION_ERROR:
	case MQTT_SERVER_UNAVAILABLE:
	case MQTT_SERVER_BUSY:
	case MQTT_SERVER_SHUTTING_DOWN:
	case MQTT_QUOTA_EXCEEDED:
	case MQTT_USE_ANOTHER_SERVER:
	case MQTT_SERVER_MOVED:
	case MQTT_CONNECTION_RATE_EXCEEDED:
		return 3; /* server unavailable */
	case MQTT_BAD_USER:
		return 4; /* bad user name or password */
	case MQTT_NOT_AUTHORIZED:
	case MQTT_BANNED:
	case MQTT_BAD_AUTHENTICATION_METHOD:
		return 5; /* not authorized */
	case MQTT_GRANTED_QOS1:
	case MQTT_GRANTED_QOS2:
	case MQTT_DISCONNECT_WITH_WILL:
	case MQTT_NO_MATCHING_SUBSCRIBERS:
	case MQTT_NO_SUBSCRIPTION_EXISTED:
	case MQTT_CONTINUE_AUTHENTICATION:
	case MQTT_REAUTHENTICATE:
	case MQTT_MALFORMED:
	case MQTT_PROTOCOL_ERROR:
	case MQTT_KEEPALIVE_TIMEOUT:
	case MQTT_SESSION_TAKEN_OVER:
	case MQTT_TOPIC_FILTER_INVALID:
	case MQTT_TOPIC_NAME_INVALID:
	case MQTT_PACKET_ID_IN_USE:
	case MQTT_PACKET_ID_NOT_FOUND:
	case MQTT_RECEIVE_MAXIMUM_EXCEEDED:
	case MQTT_TOPIC_ALIAS_INVALID:
	case MQTT_PACKET_TOO_LARGE:
	case MQTT_MESSAGE_RATE_TOO_HIGH:
	case MQTT_ADMINISTRATIVE_ACTION:
	case MQTT_PAYLOAD_FORMAT_INVALID:
	case MQTT_RETAIN_NOT_SUPPORTED:
	case MQTT_QOS_NOT_SUPPORTED:
	case MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED:
	case MQTT_MAXIMUM_CONNECT_TIME:
	case MQTT_SUBSCRIPTION_IDS_NOT_SUPPORTED:
	case MQTT_WILDCARDS_NOT_SUPPORTED:
	case MQTT_NEED_MORE:
		break;
	}
	return MQTT_CONNACK_NONE;
}

size_t mqtt_encode_connack(uint8_t *out, enum mqtt_version version, bool session_present, enum mqtt_reason reason)
{
	const uint8_t code = mqtt_connack_code(reason);
	if (code == MQTT_CONNACK_NONE)
		return 0;
	out[0] = MQTT_CONNACK << 4;
	out[1] = 2;
	out[2] = session_present && code == 0 && version != MQTT_V31;
	out[3] = code;
	return MQTT_ACK_SIZE;
}

size_t mqtt_encode_ack(uint8_t *out, enum mqtt_type type, uint16_t packet_id)
{
	out[0] = (uint8_t)((unsigned)type << 4 | (type == MQTT_PUBREL ? 2U : 0U));
	out[1] = 2;
	write_u16(out + 2, packet_id);
	return MQTT_ACK_SIZE;
}

size_t mqtt_encode_acks(uint8_t *out, enum mqtt_type type, const uint16_t *packet_ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mqtt_encode_ack(out + i * MQTT_ACK_SIZE, type, packet_ids[i]);
	return n * MQTT_ACK_SIZE;
}

size_t mqtt_encode_suback_head(uint8_t *out, uint16_t packet_id, uint32_t count)
{
	uint8_t *p = out;
	*p++ = MQTT_SUBACK << 4;
	p = write_remaining_len(p, (size_t)count + 2U);
	p = write_u16(p, packet_id);
	return (size_t)(p - out);
}

uint8_t mqtt_suback_code(enum mqtt_version version, uint8_t qos, enum mqtt_reason reason)
{
	return reason < MQTT_UNSPECIFIED || version == MQTT_V31 ? qos : MQTT_SUBACK_FAILURE;
}

size_t mqtt_encode_pingresp(uint8_t *out)
{
	out[0] = MQTT_PINGRESP << 4;
	out[1] = 0;
	return MQTT_PINGRESP_SIZE;
}
