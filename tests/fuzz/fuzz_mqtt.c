/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libFuzzer target: a stream of packets, as a connection reads it, through every decoder.
 *
 * The first byte chooses the version, the rest is the stream. Each body is copied to memory of exactly its size, so that
 * AddressSanitizer sees a read past it. Beyond not crashing, it checks that views stay inside the body, that a verdict
 * on a header never changes as more bytes come, that filter lists walk as counted, and that encoding a decoded PUBLISH
 * gives its bytes again.
 *
 *   clang -g -O1 -std=c11 -D_GNU_SOURCE -I. -fsanitize=fuzzer,address,undefined tests/fuzz/fuzz_mqtt.c mqtt/[a-z]*.c -o fuzz_mqtt
 *   ./fuzz_mqtt -max_total_time=60 -dict=tests/fuzz/mqtt.dict NEW_CORPUS tests/fuzz/corpus/mqtt */
#include <stdlib.h>
#include <string.h>

#include "mqtt/decode.h"
#include "mqtt/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
	do { \
		if (!(condition)) \
			abort(); \
	} while (0)

static void require_inside(struct mqtt_bytes view, const uint8_t *body, size_t len)
{
	if (view.len > 0)
		REQUIRE(view.p >= body && view.p <= body + len && view.len <= (size_t)(body + len - view.p));
}

static void check_connect(const uint8_t *body, size_t len)
{
	struct mqtt_connect c;
	const enum mqtt_reason reason = mqtt_decode_connect(body, len, &c);
	if (reason == MQTT_UNSUPPORTED_VERSION) {
		REQUIRE(c.version == MQTT_V31 || c.version == MQTT_V311);
		return;
	}
	if (reason != MQTT_OK && reason != MQTT_BAD_CLIENT_ID) {
		REQUIRE(reason == MQTT_MALFORMED || reason == MQTT_TOPIC_NAME_INVALID);
		return;
	}
	REQUIRE(c.version == MQTT_V31 || c.version == MQTT_V311);
	REQUIRE((reason == MQTT_BAD_CLIENT_ID) == (c.client_id.len == 0 && (c.version == MQTT_V31 || !c.clean_session)));
	REQUIRE(c.has_user || !c.has_password);
	REQUIRE(c.will_qos <= 2);
	if (c.has_will)
		REQUIRE(mqtt_topic_valid(c.will_topic.p, c.will_topic.len));
	else
		REQUIRE(c.will_qos == 0 && !c.will_retain && c.will_topic.len + c.will_payload.len == 0);
	REQUIRE(mqtt_utf8_valid(c.client_id.p, c.client_id.len) && mqtt_utf8_valid(c.user.p, c.user.len));
	require_inside(c.client_id, body, len);
	require_inside(c.will_topic, body, len);
	require_inside(c.will_payload, body, len);
	require_inside(c.user, body, len);
	require_inside(c.password, body, len);
	/* The fields fill the body. */
	const size_t head = c.version == MQTT_V31 ? 12 : 10;
	REQUIRE(head + 2 + c.client_id.len + (c.has_will ? 4 + c.will_topic.len + c.will_payload.len : 0) + (c.has_user ? 2 + c.user.len : 0) +
	                (c.has_password ? 2 + c.password.len : 0) ==
	        len);
}

/* With the topic of another packet that was good: "a/b". */
static void check_publish_again(enum mqtt_version version, uint8_t flags, const uint8_t *body, size_t len)
{
	static const uint8_t topic[] = { 'a', '/', 'b' };
	struct mqtt_publish p, q;
	if (!mqtt_decode_publish_again(version, flags, body, len, (struct mqtt_bytes){topic, sizeof topic}, &q))
		return;
	REQUIRE(mqtt_decode_publish(version, flags, body, len, &p) == MQTT_OK);
	REQUIRE(p.topic.len == sizeof topic && memcmp(p.topic.p, topic, sizeof topic) == 0);
	REQUIRE(p.qos == q.qos && p.packet_id == q.packet_id && p.payload.p == q.payload.p && p.payload.len == q.payload.len);
}

static void check_publish(enum mqtt_version version, uint8_t flags, const uint8_t *body, size_t len)
{
	struct mqtt_publish p, q;
	const enum mqtt_reason reason = mqtt_decode_publish(version, flags, body, len, &p);
	check_publish_again(version, flags, body, len);
	if (reason != MQTT_OK) {
		REQUIRE(reason == MQTT_MALFORMED || reason == MQTT_TOPIC_NAME_INVALID);
		return;
	}
	REQUIRE(mqtt_decode_publish_again(version, flags, body, len, p.topic, &q) && q.packet_id == p.packet_id && q.payload.p == p.payload.p);
	require_inside(p.topic, body, len);
	require_inside(p.payload, body, len);
	REQUIRE(mqtt_topic_valid(p.topic.p, p.topic.len));
	REQUIRE((p.qos > 0) == (p.packet_id != 0));

	uint8_t *out = malloc(MQTT_PUBLISH_HEAD_MAX(p.topic.len));
	REQUIRE(out != NULL);
	const size_t head_len = mqtt_encode_publish_head(out, version, p.dup, p.qos, p.retain, p.topic, p.packet_id, p.payload.len);
	REQUIRE(mqtt_publish_size(version, p.topic.len, p.qos, p.payload.len) == head_len + p.payload.len);
	struct mqtt_frame frame;
	REQUIRE(mqtt_decode_frame(version, out, head_len, &frame) == MQTT_OK);
	REQUIRE(frame.type == MQTT_PUBLISH && frame.flags == flags && frame.remaining_len == len);
	REQUIRE(memcmp(out + frame.header_len, body, head_len - frame.header_len) == 0);
	REQUIRE(head_len - frame.header_len + p.payload.len == len);
	free(out);
}

static void check_filters(enum mqtt_version version, bool with_options, const uint8_t *body, size_t len)
{
	struct mqtt_subscribe s;
	const enum mqtt_reason reason =
		with_options ? mqtt_decode_subscribe(version, body, len, &s) : mqtt_decode_unsubscribe(version, body, len, &s);
	if (reason != MQTT_OK) {
		REQUIRE(reason == MQTT_MALFORMED || reason == MQTT_TOPIC_FILTER_INVALID);
		return;
	}
	struct mqtt_filter f;
	uint32_t count = 0;
	for (; mqtt_next_filter(&s, with_options, &f); count++) {
		require_inside(f.filter, body, len);
		REQUIRE(mqtt_filter_valid(f.filter.p, f.filter.len));
		REQUIRE(f.options <= (with_options ? 2 : 0));
	}
	REQUIRE(s.packet_id != 0 && count > 0 && count == s.count && s.next == body + len);
}

static void check_ack(enum mqtt_version version, enum mqtt_type type, const uint8_t *body, size_t len)
{
	struct mqtt_ack ack;
	if (mqtt_decode_ack(version, body, len, &ack) != MQTT_OK)
		return;
	uint8_t out[MQTT_ACK_SIZE];
	REQUIRE(mqtt_encode_ack(out, type, ack.packet_id) == 2 + len);
	REQUIRE(memcmp(out + 2, body, len) == 0);
}

static void check_body(enum mqtt_version version, const struct mqtt_frame *frame, const uint8_t *bytes, size_t len)
{
	uint8_t *body = malloc(len > 0 ? len : 1);
	REQUIRE(body != NULL);
	if (len > 0)
		memcpy(body, bytes, len);
	switch ((enum mqtt_type)frame->type) {
	case MQTT_CONNECT:
		check_connect(body, len);
		break;
	case MQTT_PUBLISH:
		check_publish(version, frame->flags, body, len);
		break;
	case MQTT_PUBACK:
	case MQTT_PUBREC:
	case MQTT_PUBREL:
	case MQTT_PUBCOMP:
	case MQTT_UNSUBACK:
		check_ack(version, (enum mqtt_type)frame->type, body, len);
		break;
	case MQTT_SUBSCRIBE:
		check_filters(version, true, body, len);
		break;
	case MQTT_UNSUBSCRIBE:
		check_filters(version, false, body, len);
		break;
	case MQTT_CONNACK:
	case MQTT_SUBACK:
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
	case MQTT_DISCONNECT:
		break;
	case MQTT_AUTH:
		abort(); /* no frame has this type */
	}
	if (mqtt_filter_valid(body, len))
		REQUIRE(mqtt_utf8_valid(body, len));
	if (mqtt_topic_valid(body, len))
		REQUIRE(mqtt_filter_valid(body, len));
	free(body);
}

/* Decode the header from every prefix: undecided, then one verdict that stands. */
static enum mqtt_reason check_header(enum mqtt_version version, const uint8_t *p, size_t len, struct mqtt_frame *out)
{
	enum mqtt_reason verdict = MQTT_NEED_MORE;
	struct mqtt_frame frame = {0};

	for (size_t n = 0; n <= len && n <= MQTT_FIXED_HEADER_MAX + 1; n++) {
		const enum mqtt_reason reason = mqtt_decode_frame(version, p, n, &frame);
		REQUIRE(reason == MQTT_OK || reason == MQTT_MALFORMED || reason == MQTT_NEED_MORE);
		REQUIRE(verdict == MQTT_NEED_MORE || reason == verdict);
		if (verdict == MQTT_NEED_MORE && reason == MQTT_OK) {
			REQUIRE(frame.header_len == n);
			*out = frame;
		}
		verdict = reason;
	}
	REQUIRE(verdict != MQTT_NEED_MORE || len < MQTT_FIXED_HEADER_MAX);
	if (verdict == MQTT_OK)
		REQUIRE(out->type == frame.type && out->flags == frame.flags && out->header_len == frame.header_len &&
		        out->remaining_len == frame.remaining_len);
	return verdict;
}

/* Those that are decoded together are what they would be one by one. */
static void check_acks(enum mqtt_version version, const uint8_t *p, size_t len)
{
	uint16_t ids[8];
	const size_t n = mqtt_decode_acks(version, p, len, ids, 8);
	REQUIRE(n <= 8 && n <= len / MQTT_ACK_SIZE);
	for (size_t i = 0; i < n; i++, p += MQTT_ACK_SIZE) {
		struct mqtt_frame frame = {0};
		struct mqtt_ack ack = {0};
		REQUIRE(mqtt_decode_frame(version, p, MQTT_ACK_SIZE, &frame) == MQTT_OK && mqtt_frame_size(&frame) == MQTT_ACK_SIZE);
		REQUIRE(frame.type >= MQTT_PUBACK && frame.type <= MQTT_PUBCOMP);
		REQUIRE(mqtt_decode_ack(version, p + frame.header_len, frame.remaining_len, &ack) == MQTT_OK && ack.packet_id == ids[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	const enum mqtt_version version = (data[0] & 1) != 0 ? MQTT_V31 : MQTT_V311;
	const uint8_t *p = data + 1, *end = data + size;

	while (p < end) {
		struct mqtt_frame frame = { 0 };
		check_acks(version, p, (size_t)(end - p));
		const enum mqtt_reason reason = check_header(version, p, (size_t)(end - p), &frame);
		if (reason == MQTT_NEED_MORE)
			break;
		if (reason == MQTT_MALFORMED) { /* a broker would close; here the rest may still be interesting */
			p++;
			continue;
		}
		p += frame.header_len;
		const size_t left = (size_t)(end - p);
		const size_t len = frame.remaining_len < left ? frame.remaining_len : left;
		check_body(version, &frame, p, len);
		p += len;
	}
	return 0;
}
