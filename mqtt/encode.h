/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encoders: into memory of the caller's, which is large enough as said at each; they return the bytes written.
 * Any thread. version is MQTT_V31 or MQTT_V311. */
#ifndef MQTT_ENCODE_H
#define MQTT_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mqtt/mqtt.h"

#define MQTT_CONNACK_NONE 0xFFU /* no return code fits: close without CONNACK [MQTT-3.2.2-6] */
#define MQTT_SUBACK_FAILURE 0x80U

#define MQTT_PINGRESP_SIZE 2U /* bytes */
#define MQTT_SUBACK_HEAD_MAX (MQTT_FIXED_HEADER_MAX + 2U)
/* Bytes that hold a PUBLISH head with a topic of topic_len bytes: fixed header, topic, packet identifier. */
#define MQTT_PUBLISH_HEAD_MAX(topic_len) ((size_t)MQTT_FIXED_HEADER_MAX + 2U + (topic_len) + 2U)

/* Bytes of the whole PUBLISH packet, or 0 when no packet can hold it (the topic is longer than MQTT_STRING_MAX or the
 * remaining length would be larger than MQTT_REMAINING_MAX). */
size_t mqtt_publish_size(enum mqtt_version version, size_t topic_len, uint8_t qos, size_t payload_len);

/* Write a PUBLISH up to its payload, whose payload_len bytes the caller puts behind it. out holds
 * MQTT_PUBLISH_HEAD_MAX(topic.len) bytes. The packet must be possible (mqtt_publish_size is not 0), qos 0 to 2,
 * packet_id not 0 when qos > 0 [MQTT-2.3.1-1] and ignored when qos is 0 [MQTT-2.3.1-5], where dup is written as 0
 * [MQTT-3.3.1-2]. */
size_t mqtt_encode_publish_head(uint8_t *out, enum mqtt_version version, bool dup, uint8_t qos, bool retain,
								struct mqtt_bytes topic, uint16_t packet_id, size_t payload_len);
/* The same for a topic in two parts, of topic.len and prefix.len bytes together. */
size_t mqtt_encode_publish_head2(uint8_t *out, enum mqtt_version version, bool dup, uint8_t qos, bool retain, struct mqtt_bytes prefix,
								 struct mqtt_bytes topic, uint16_t packet_id, size_t payload_len);

/* The CONNACK return code of 3.1.1 and 3.1, 0 to 5 [MQTT 3.2.2.3], for a reason; MQTT_CONNACK_NONE when none fits. */
uint8_t mqtt_connack_code(enum mqtt_reason reason);

/* Write CONNACK (MQTT_ACK_SIZE bytes), or nothing and return 0 when no return code fits the reason. Session present is
 * written as 0 unless the reason is MQTT_OK [MQTT-3.2.2-4], and always in 3.1, which has no such flag. */
size_t mqtt_encode_connack(uint8_t *out, enum mqtt_version version, bool session_present, enum mqtt_reason reason);

/* Write PUBACK, PUBREC, PUBREL (with its flags 0010 [MQTT-3.6.1-1]), PUBCOMP or UNSUBACK: MQTT_ACK_SIZE bytes. */
size_t mqtt_encode_ack(uint8_t *out, enum mqtt_type type, uint16_t packet_id);
/* n of them, one behind the other. */
size_t mqtt_encode_acks(uint8_t *out, enum mqtt_type type, const uint16_t *packet_ids, size_t n);

/* Write SUBACK up to its codes, of which the caller puts count behind it, one for each filter in order
 * [MQTT-3.8.4-5]. out holds MQTT_SUBACK_HEAD_MAX bytes; count is a decoded SUBSCRIBE's. */
size_t mqtt_encode_suback_head(uint8_t *out, uint16_t packet_id, uint32_t count);

/* One SUBACK code: the granted QoS if reason is success, else failure, 0x80 [MQTT-3.9.3-2]. 3.1 cannot say failure: its
 * servers "must make a positive acknowledgement", so it is qos there. */
uint8_t mqtt_suback_code(enum mqtt_version version, uint8_t qos, enum mqtt_reason reason);

/* Write PINGRESP: MQTT_PINGRESP_SIZE bytes. */
size_t mqtt_encode_pingresp(uint8_t *out);

#endif
