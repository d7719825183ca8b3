/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encoders against bytes written by hand. Each writes at the end of a guarded area of exactly the size that it asks for. */
#include "mqtt/encode.h"

#include "tests/unit/mqtt/guard.h"

static const uint8_t zeros[64];

#define ASSERT_WRITTEN(out, len, ...) \
	do { \
		const uint8_t literal[] = {__VA_ARGS__}; \
		ck_assert_uint_eq(len, sizeof literal); \
		ck_assert_mem_eq(out, literal, sizeof literal); \
	} while (0)

static struct mqtt_bytes view(const char *s)
{
	return (struct mqtt_bytes){(const uint8_t *)s, strlen(s)};
}

START_TEST(publish_head_of_each_qos)
{
	uint8_t *out = at_end(zeros, MQTT_PUBLISH_HEAD_MAX(3));
	size_t len = mqtt_encode_publish_head(out, MQTT_V311, false, 0, false, view("a/b"), 0, 10);
	ASSERT_WRITTEN(out, len, 0x30, 15, 0, 3, 'a', '/', 'b');
	len = mqtt_encode_publish_head(out, MQTT_V311, false, 1, true, view("a/b"), 10, 0); /* 3.3.2.3's example */
	ASSERT_WRITTEN(out, len, 0x33, 7, 0, 3, 'a', '/', 'b', 0, 10);
	len = mqtt_encode_publish_head(out, MQTT_V31, true, 2, false, view("a/b"), 0xABCD, 3);
	ASSERT_WRITTEN(out, len, 0x3C, 10, 0, 3, 'a', '/', 'b', 0xAB, 0xCD);
}
END_TEST

START_TEST(publish_at_qos_0_has_no_dup_and_no_identifier)
{
	uint8_t *out = at_end(zeros, MQTT_PUBLISH_HEAD_MAX(1));
	const size_t len = mqtt_encode_publish_head(out, MQTT_V311, true, 0, true, view("t"), 7, 0);
	ASSERT_WRITTEN(out, len, 0x31, 3, 0, 1, 't');
}
END_TEST

START_TEST(publish_remaining_length_takes_one_to_four_bytes)
{
	static const struct {
		uint32_t remaining_len;
		uint8_t bytes[4];
		uint8_t len;
	} edge[] = {
		{3, {0x03}, 1},
		{127, {0x7F}, 1},
		{128, {0x80, 0x01}, 2},
		{16383, {0xFF, 0x7F}, 2},
		{16384, {0x80, 0x80, 0x01}, 3},
		{2097151, {0xFF, 0xFF, 0x7F}, 3},
		{2097152, {0x80, 0x80, 0x80, 0x01}, 4},
		{268435455, {0xFF, 0xFF, 0xFF, 0x7F}, 4},
	};
	uint8_t *out = at_end(zeros, MQTT_PUBLISH_HEAD_MAX(1));

	for (size_t i = 0; i < sizeof edge / sizeof edge[0]; i++) {
		const size_t payload_len = edge[i].remaining_len - 3;
		const size_t len = mqtt_encode_publish_head(out, MQTT_V311, false, 0, false, view("t"), 0, payload_len);
		ck_assert_uint_eq(len, 1U + edge[i].len + 3U);
		ck_assert_mem_eq(out + 1, edge[i].bytes, edge[i].len);
		ck_assert_mem_eq(out + 1 + edge[i].len, "\0\1t", 3);
		ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 1, 0, payload_len), len + payload_len);
	}
}
END_TEST

START_TEST(publish_head_fits_what_it_asks_for)
{
	static uint8_t topic[65535];
	memset(topic, 't', sizeof topic);
	const struct mqtt_bytes name = {topic, sizeof topic};
	uint8_t *out = guard_room() + GUARD_ROOM - MQTT_PUBLISH_HEAD_MAX(65535);
	const size_t payload_len = MQTT_REMAINING_MAX - 2 - 65535 - 2;
	ck_assert_uint_eq(mqtt_encode_publish_head(out, MQTT_V311, false, 2, false, name, 1, payload_len), MQTT_PUBLISH_HEAD_MAX(65535));
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 65535, 2, payload_len), 5U + MQTT_REMAINING_MAX);
}
END_TEST

START_TEST(publish_size_agrees_with_the_head)
{
	uint8_t out[MQTT_PUBLISH_HEAD_MAX(3)];
	for (uint8_t qos = 0; qos < 3; qos++)
		for (size_t payload_len = 0; payload_len < 20000; payload_len++) {
			const size_t head = mqtt_encode_publish_head(out, MQTT_V311, false, qos, false, view("a/b"), 1, payload_len);
			ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 3, qos, payload_len), head + payload_len);
		}
}
END_TEST

START_TEST(publish_that_no_packet_can_hold_has_size_0)
{
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 1, 0, MQTT_REMAINING_MAX - 3), 5U + MQTT_REMAINING_MAX);
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 1, 0, MQTT_REMAINING_MAX - 2), 0);
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 1, 1, MQTT_REMAINING_MAX - 5), 5U + MQTT_REMAINING_MAX);
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 1, 1, MQTT_REMAINING_MAX - 4), 0);
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 65536, 0, 0), 0);
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, SIZE_MAX, 0, 0), 0);
	ck_assert_uint_eq(mqtt_publish_size(MQTT_V311, 1, 0, SIZE_MAX), 0);
}
END_TEST

START_TEST(connack_says_session_present_only_when_accepted)
{
	uint8_t *out = at_end(zeros, MQTT_ACK_SIZE);
	ASSERT_WRITTEN(out, mqtt_encode_connack(out, MQTT_V311, false, MQTT_OK), 0x20, 2, 0, 0);
	ASSERT_WRITTEN(out, mqtt_encode_connack(out, MQTT_V311, true, MQTT_OK), 0x20, 2, 1, 0);
	ASSERT_WRITTEN(out, mqtt_encode_connack(out, MQTT_V311, true, MQTT_NOT_AUTHORIZED), 0x20, 2, 0, 5);
}
END_TEST

START_TEST(connack_of_3_1_has_a_reserved_byte)
{
	uint8_t *out = at_end(zeros, MQTT_ACK_SIZE);
	ASSERT_WRITTEN(out, mqtt_encode_connack(out, MQTT_V31, true, MQTT_OK), 0x20, 2, 0, 0);
	ASSERT_WRITTEN(out, mqtt_encode_connack(out, MQTT_V31, true, MQTT_BAD_USER), 0x20, 2, 0, 4);
}
END_TEST

START_TEST(connack_codes_are_1_to_5_or_no_connack_at_all)
{
	static const struct {
		uint16_t reason;
		uint8_t code;
	} map[] = {
		{MQTT_OK, 0},
		{MQTT_UNSUPPORTED_VERSION, 1},
		{MQTT_BAD_CLIENT_ID, 2},
		{MQTT_UNSPECIFIED, 3},
		{MQTT_IMPLEMENTATION_ERROR, 3},
		{MQTT_SERVER_UNAVAILABLE, 3},
		{MQTT_SERVER_BUSY, 3},
		{MQTT_SERVER_SHUTTING_DOWN, 3},
		{MQTT_QUOTA_EXCEEDED, 3},
		{MQTT_USE_ANOTHER_SERVER, 3},
		{MQTT_SERVER_MOVED, 3},
		{MQTT_CONNECTION_RATE_EXCEEDED, 3},
		{MQTT_BAD_USER, 4},
		{MQTT_NOT_AUTHORIZED, 5},
		{MQTT_BANNED, 5},
		{MQTT_BAD_AUTHENTICATION_METHOD, 5},
	};
	uint8_t *out = at_end(zeros, MQTT_ACK_SIZE);

	for (unsigned reason = 0; reason <= 0x100; reason++) {
		uint8_t want = MQTT_CONNACK_NONE;
		for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
			if (map[i].reason == reason)
				want = map[i].code;
		ck_assert_uint_eq(mqtt_connack_code((enum mqtt_reason)reason), want);
		if (want == MQTT_CONNACK_NONE)
			ck_assert_uint_eq(mqtt_encode_connack(out, MQTT_V311, false, (enum mqtt_reason)reason), 0);
		else
			ASSERT_WRITTEN(out, mqtt_encode_connack(out, MQTT_V311, false, (enum mqtt_reason)reason), 0x20, 2, 0, want);
	}
}
END_TEST

START_TEST(acks_carry_their_identifier)
{
	uint8_t *out = at_end(zeros, MQTT_ACK_SIZE);
	ASSERT_WRITTEN(out, mqtt_encode_ack(out, MQTT_PUBACK, 0x1234), 0x40, 2, 0x12, 0x34);
	ASSERT_WRITTEN(out, mqtt_encode_ack(out, MQTT_PUBREC, 1), 0x50, 2, 0, 1);
	ASSERT_WRITTEN(out, mqtt_encode_ack(out, MQTT_PUBREL, 0xFFFF), 0x62, 2, 0xFF, 0xFF);
	ASSERT_WRITTEN(out, mqtt_encode_ack(out, MQTT_PUBCOMP, 256), 0x70, 2, 1, 0);
	ASSERT_WRITTEN(out, mqtt_encode_ack(out, MQTT_UNSUBACK, 9), 0xB0, 2, 0, 9);
	static const uint16_t ids[] = {1, 0xFFFF, 0x1234};
	out = at_end(zeros, 3 * MQTT_ACK_SIZE);
	ASSERT_WRITTEN(out, mqtt_encode_acks(out, MQTT_PUBREL, ids, 3), 0x62, 2, 0, 1, 0x62, 2, 0xFF, 0xFF, 0x62, 2, 0x12, 0x34);
	ck_assert_uint_eq(mqtt_encode_acks(out, MQTT_PUBACK, ids, 0), 0);
}
END_TEST

START_TEST(suback_head_counts_its_codes)
{
	uint8_t *out = at_end(zeros, MQTT_SUBACK_HEAD_MAX);
	ASSERT_WRITTEN(out, mqtt_encode_suback_head(out, 10, 1), 0x90, 3, 0, 10);
	ASSERT_WRITTEN(out, mqtt_encode_suback_head(out, 0xABCD, 125), 0x90, 127, 0xAB, 0xCD);
	ASSERT_WRITTEN(out, mqtt_encode_suback_head(out, 1, 126), 0x90, 0x80, 0x01, 0, 1);
	ASSERT_WRITTEN(out, mqtt_encode_suback_head(out, 1, 67108863), 0x90, 0x81, 0x80, 0x80, 0x20, 0, 1);
}
END_TEST

START_TEST(suback_code_is_granted_qos_or_failure)
{
	for (uint8_t qos = 0; qos < 3; qos++) {
		ck_assert_uint_eq(mqtt_suback_code(MQTT_V311, qos, MQTT_OK), qos);
		ck_assert_uint_eq(mqtt_suback_code(MQTT_V311, qos, MQTT_NOT_AUTHORIZED), 0x80);
		ck_assert_uint_eq(mqtt_suback_code(MQTT_V311, qos, MQTT_QUOTA_EXCEEDED), 0x80);
		ck_assert_uint_eq(mqtt_suback_code(MQTT_V31, qos, MQTT_NOT_AUTHORIZED), qos); /* 3.1 knows no failure */
	}
}
END_TEST

START_TEST(pingresp_is_two_bytes)
{
	uint8_t *out = at_end(zeros, MQTT_PINGRESP_SIZE);
	ASSERT_WRITTEN(out, mqtt_encode_pingresp(out), 0xD0, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mqtt/encode");
	TCase *tc = tcase_create("encode");
	tcase_add_test(tc, publish_head_of_each_qos);
	tcase_add_test(tc, publish_at_qos_0_has_no_dup_and_no_identifier);
	tcase_add_test(tc, publish_remaining_length_takes_one_to_four_bytes);
	tcase_add_test(tc, publish_head_fits_what_it_asks_for);
	tcase_add_test(tc, publish_size_agrees_with_the_head);
	tcase_add_test(tc, publish_that_no_packet_can_hold_has_size_0);
	tcase_add_test(tc, connack_says_session_present_only_when_accepted);
	tcase_add_test(tc, connack_of_3_1_has_a_reserved_byte);
	tcase_add_test(tc, connack_codes_are_1_to_5_or_no_connack_at_all);
	tcase_add_test(tc, acks_carry_their_identifier);
	tcase_add_test(tc, suback_head_counts_its_codes);
	tcase_add_test(tc, suback_code_is_granted_qos_or_failure);
	tcase_add_test(tc, pingresp_is_two_bytes);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
