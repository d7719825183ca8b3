/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The other body decoders: PUBLISH, its acknowledgements, SUBSCRIBE and UNSUBSCRIBE. */
#include "mqtt/decode.h"

#include "tests/unit/mqtt/guard.h"

#define BODY(...) (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})

/* ---- PUBLISH ---- */

enum {
	QOS0 = 0,
	QOS1 = 2,
	QOS2 = 4,
	DUP = 8,
	RETAIN = 1
};

static enum mqtt_reason publish(uint8_t flags, const uint8_t *bytes, size_t len, struct mqtt_publish *out)
{
	memset(out, 0xAA, sizeof *out);
	return mqtt_decode_publish(MQTT_V311, flags, at_end(bytes, len), len, out);
}

START_TEST(publish_gives_views_of_topic_and_payload)
{
	struct mqtt_publish p;
	ck_assert_int_eq(publish(QOS0, BODY(0, 3, 'a', '/', 'b', 1, 2, 3), &p), MQTT_OK);
	ck_assert(!p.dup && !p.retain);
	ck_assert_uint_eq(p.qos, 0);
	ck_assert_uint_eq(p.packet_id, 0);
	ck_assert_uint_eq(p.topic.len, 3);
	ck_assert_mem_eq(p.topic.p, "a/b", 3);
	ck_assert_uint_eq(p.payload.len, 3);
	ck_assert_mem_eq(p.payload.p, "\1\2\3", 3);
	ck_assert_ptr_eq(p.topic.p, guard_room() + GUARD_ROOM - 6);
	ck_assert_ptr_eq(p.payload.p, guard_room() + GUARD_ROOM - 3);
}
END_TEST

START_TEST(publish_has_an_identifier_only_above_qos_0)
{
	struct mqtt_publish p;
	ck_assert_int_eq(publish(QOS1, BODY(0, 1, 'a', 0x12, 0x34, 'x'), &p), MQTT_OK);
	ck_assert_uint_eq(p.qos, 1);
	ck_assert_uint_eq(p.packet_id, 0x1234);
	ck_assert_uint_eq(p.payload.len, 1);
	ck_assert_int_eq(publish(QOS2, BODY(0, 1, 'a', 0xFF, 0xFF), &p), MQTT_OK);
	ck_assert_uint_eq(p.qos, 2);
	ck_assert_uint_eq(p.packet_id, 0xFFFF);
	ck_assert_uint_eq(p.payload.len, 0);
	ck_assert_int_eq(publish(QOS0, BODY(0, 1, 'a', 0, 0), &p), MQTT_OK); /* payload 00 00 */
	ck_assert_uint_eq(p.payload.len, 2);
}
END_TEST

START_TEST(publish_flags_are_read)
{
	struct mqtt_publish p;
	for (uint8_t flags = 0; flags < 16; flags++) {
		if ((flags & 6) == 6 || (flags & 14) == 8)
			continue; /* the frame decoder does not pass these */
		ck_assert_int_eq(publish(flags, BODY(0, 1, 'a', 0, 1), &p), MQTT_OK);
		ck_assert_int_eq(p.dup, (flags & DUP) != 0);
		ck_assert_int_eq(p.retain, (flags & RETAIN) != 0);
		ck_assert_uint_eq(p.qos, flags >> 1 & 3U);
	}
}
END_TEST

START_TEST(publish_with_identifier_0_is_malformed)
{
	struct mqtt_publish p;
	ck_assert_int_eq(publish(QOS1, BODY(0, 1, 'a', 0, 0, 'x'), &p), MQTT_MALFORMED);
	ck_assert_int_eq(publish(QOS2 | DUP, BODY(0, 1, 'a', 0, 0), &p), MQTT_MALFORMED);
}
END_TEST

START_TEST(publish_cut_before_its_payload_is_malformed)
{
	static const uint8_t body[] = {0, 3, 'a', '/', 'b', 0, 1};
	struct mqtt_publish p;
	for (uint8_t len = 0; len <= sizeof body; len++) {
		ck_assert_int_eq(publish(QOS0, body, len, &p), len >= 5 ? MQTT_OK : MQTT_MALFORMED);
		ck_assert_int_eq(publish(QOS1, body, len, &p), len >= 7 ? MQTT_OK : MQTT_MALFORMED);
		ck_assert_int_eq(publish(QOS2, body, len, &p), len >= 7 ? MQTT_OK : MQTT_MALFORMED);
	}
	ck_assert_int_eq(publish(QOS0, BODY(0xFF, 0xFF, 'a', 'b'), &p), MQTT_MALFORMED);
}
END_TEST

START_TEST(publish_topic_must_be_a_topic_name)
{
	struct mqtt_publish p;
	ck_assert_int_eq(publish(QOS0, BODY(0, 0, 'x'), &p), MQTT_TOPIC_NAME_INVALID);
	ck_assert_int_eq(publish(QOS0, BODY(0, 1, '#'), &p), MQTT_TOPIC_NAME_INVALID);
	ck_assert_int_eq(publish(QOS0, BODY(0, 3, 'a', '/', '+'), &p), MQTT_TOPIC_NAME_INVALID);
	ck_assert_int_eq(publish(QOS0, BODY(0, 3, 'a', 0, 'b'), &p), MQTT_MALFORMED);
	ck_assert_int_eq(publish(QOS0, BODY(0, 2, 0xC3, 0x28), &p), MQTT_MALFORMED);
	ck_assert_int_eq(publish(QOS0, BODY(0, 1, 0xC3, 0xA9), &p), MQTT_MALFORMED); /* é cut by the topic's length */
	ck_assert_int_eq(publish(QOS0, BODY(0, 2, '#', 0xFF), &p), MQTT_MALFORMED); /* both: the worse one */
	ck_assert_int_eq(publish(QOS0, BODY(0, 5, '$', 'S', 'Y', 'S', '/'), &p), MQTT_OK);
	ck_assert_int_eq(publish(QOS0, BODY(0, 2, 0xC3, 0xA9, '#', 0, 0xFF), &p), MQTT_OK); /* payloads are bytes */
	ck_assert_uint_eq(p.payload.len, 3);
}
END_TEST

START_TEST(publish_topic_may_have_65535_bytes)
{
	static uint8_t body[2 + 65535 + 3] = {0xFF, 0xFF};
	struct mqtt_publish p;
	memset(body + 2, 't', 65535);
	ck_assert_int_eq(publish(QOS0, body, 2 + 65535 + 3, &p), MQTT_OK);
	ck_assert_uint_eq(p.topic.len, 65535);
	ck_assert_uint_eq(p.payload.len, 3);
	ck_assert_int_eq(publish(QOS0, body, 2 + 65535, &p), MQTT_OK);
	ck_assert_uint_eq(p.payload.len, 0);
	ck_assert_int_eq(publish(QOS0, body, 2 + 65534, &p), MQTT_MALFORMED);
}
END_TEST

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP ---- */

START_TEST(ack_is_two_bytes_and_not_0)
{
	struct mqtt_ack ack;
	for (unsigned id = 0; id < 65536; id++) {
		const uint8_t body[] = {(uint8_t)(id >> 8), (uint8_t)id};
		ck_assert_int_eq(mqtt_decode_ack(MQTT_V311, body, 2, &ack), id != 0 ? MQTT_OK : MQTT_MALFORMED);
		if (id != 0)
			ck_assert_uint_eq(ack.packet_id, id);
	}
	for (size_t len = 0; len < 5; len++)
		ck_assert_int_eq(mqtt_decode_ack(MQTT_V31, at_end("\0\1\0\0", len), len, &ack), len == 2 ? MQTT_OK : MQTT_MALFORMED);
}
END_TEST

/* How many of bytes (a literal) come together, as far as they go. */
#define ACKS(version, bytes, max) mqtt_decode_acks(version, at_end(bytes, sizeof(bytes) - 1), sizeof(bytes) - 1, ids, max)

START_TEST(acks_alike_are_decoded_together)
{
	uint16_t ids[4] = {0};
	ck_assert_uint_eq(ACKS(MQTT_V311, "\x40\2\0\1" "\x40\2\xff\xff" "\x40\2\1\0", 4), 3);
	ck_assert(ids[0] == 1 && ids[1] == 0xFFFF && ids[2] == 0x100);
	ck_assert_uint_eq(ACKS(MQTT_V311, "\x40\2\0\1" "\x40\2\0\2" "\x40\2\0\3", 2), 2);
	ck_assert_uint_eq(ACKS(MQTT_V31, "\x50\2\0\1" "\x50\2\0\2" "\x50\2\0", 4), 2); /* the last has not come yet */
	ck_assert_uint_eq(ACKS(MQTT_V311, "\x62\2\0\1" "\x70\2\0\2", 4), 1);
	ck_assert_uint_eq(ACKS(MQTT_V311, "\x70\2\0\1" "\xc0\0", 4), 1);
	ck_assert_uint_eq(ACKS(MQTT_V311, "\x40\2\0\1" "\x40\2\0\0", 4), 1);
	ck_assert_uint_eq(ACKS(MQTT_V311, "\x40\2\0\1" "\x40\3\0\1\0", 4), 1);
}
END_TEST

START_TEST(other_forms_of_an_ack_are_left_alone)
{
	uint16_t ids[4];
	static const char *const not[] = {"\x40\2\0\0", "\x40\3\0\1", "\x41\2\0\1", "\x60\2\0\1", "\x6a\2\0\1", "\x52\2\0\1", "\x40\x82\0\1",
	                                  "\x30\2\0\1", "\x82\2\0\1", "\xb0\2\0\1", "\x20\2\0\1"};
	for (size_t i = 0; i < sizeof not / sizeof not[0]; i++) {
		ck_assert_uint_eq(mqtt_decode_acks(MQTT_V311, at_end(not[i], 4), 4, ids, 4), 0);
		ck_assert_uint_eq(mqtt_decode_acks(MQTT_V31, at_end(not[i], 4), 4, ids, 4), 0);
	}
	for (size_t len = 0; len < 4; len++)
		ck_assert_uint_eq(mqtt_decode_acks(MQTT_V311, at_end("\x40\2\0\1", len), len, ids, 4), 0);
	ck_assert_uint_eq(ACKS(MQTT_V5, "\x40\2\0\1", 4), 0);
	ck_assert_uint_eq(ACKS(MQTT_V311, "\x40\2\0\1", 0), 0);
}
END_TEST

/* ---- SUBSCRIBE and UNSUBSCRIBE ---- */

static enum mqtt_reason subscribe(const uint8_t *bytes, size_t len, struct mqtt_subscribe *out)
{
	return mqtt_decode_subscribe(MQTT_V311, at_end(bytes, len), len, out);
}

static enum mqtt_reason unsubscribe(const uint8_t *bytes, size_t len, struct mqtt_subscribe *out)
{
	return mqtt_decode_unsubscribe(MQTT_V311, at_end(bytes, len), len, out);
}

static void assert_next(struct mqtt_subscribe *it, bool with_options, const char *filter, uint8_t options)
{
	struct mqtt_filter f;
	ck_assert(mqtt_next_filter(it, with_options, &f));
	ck_assert_uint_eq(f.filter.len, strlen(filter));
	ck_assert_mem_eq(f.filter.p, filter, f.filter.len);
	ck_assert_uint_eq(f.options, options);
}

static const uint8_t subscribe_three[] = {0x00, 0x0A, 0, 3, 'a', '/', 'b', 1, 0, 1, '#', 2, 0, 3, '+', '/', 'c', 0};
static const uint8_t unsubscribe_three[] = {0xFF, 0xFF, 0, 3, 'a', '/', 'b', 0, 1, '#', 0, 3, '+', '/', 'c'};

START_TEST(subscribe_lists_its_filters_in_order)
{
	struct mqtt_subscribe s;
	struct mqtt_filter f;
	ck_assert_int_eq(subscribe(subscribe_three, sizeof subscribe_three, &s), MQTT_OK);
	ck_assert_uint_eq(s.packet_id, 10);
	ck_assert_uint_eq(s.count, 3);
	struct mqtt_subscribe again = s;
	assert_next(&s, true, "a/b", 1);
	assert_next(&s, true, "#", 2);
	assert_next(&s, true, "+/c", 0);
	ck_assert(!mqtt_next_filter(&s, true, &f));
	ck_assert(!mqtt_next_filter(&s, true, &f));
	assert_next(&again, true, "a/b", 1);
}
END_TEST

START_TEST(unsubscribe_lists_its_filters_in_order)
{
	struct mqtt_subscribe s;
	struct mqtt_filter f;
	ck_assert_int_eq(unsubscribe(unsubscribe_three, sizeof unsubscribe_three, &s), MQTT_OK);
	ck_assert_uint_eq(s.packet_id, 65535);
	ck_assert_uint_eq(s.count, 3);
	assert_next(&s, false, "a/b", 0);
	assert_next(&s, false, "#", 0);
	assert_next(&s, false, "+/c", 0);
	ck_assert(!mqtt_next_filter(&s, false, &f));
}
END_TEST

START_TEST(subscribe_cut_anywhere_but_behind_a_filter_is_malformed)
{
	struct mqtt_subscribe s;
	for (size_t len = 0; len <= sizeof subscribe_three; len++) {
		const bool whole = len == 8 || len == 12 || len == 18;
		ck_assert_int_eq(subscribe(subscribe_three, len, &s), whole ? MQTT_OK : MQTT_MALFORMED);
		if (whole)
			ck_assert_uint_eq(s.count, len == 8 ? 1 : len == 12 ? 2 : 3);
	}
	for (size_t len = 0; len <= sizeof unsubscribe_three; len++) {
		const bool whole = len == 7 || len == 10 || len == 15;
		ck_assert_int_eq(unsubscribe(unsubscribe_three, len, &s), whole ? MQTT_OK : MQTT_MALFORMED);
	}
}
END_TEST

START_TEST(subscribe_without_a_filter_is_malformed)
{
	struct mqtt_subscribe s;
	ck_assert_int_eq(subscribe(BODY(0, 1), &s), MQTT_MALFORMED);
	ck_assert_int_eq(unsubscribe(BODY(0, 1), &s), MQTT_MALFORMED);
}
END_TEST

START_TEST(subscribe_with_identifier_0_is_malformed)
{
	struct mqtt_subscribe s;
	ck_assert_int_eq(subscribe(BODY(0, 0, 0, 1, 'a', 0), &s), MQTT_MALFORMED);
	ck_assert_int_eq(unsubscribe(BODY(0, 0, 0, 1, 'a'), &s), MQTT_MALFORMED);
}
END_TEST

START_TEST(subscribe_options_are_a_qos_and_nothing_else)
{
	struct mqtt_subscribe s;
	for (unsigned options = 0; options < 256; options++)
		ck_assert_int_eq(subscribe(BODY(0, 1, 0, 1, 'a', (uint8_t)options), &s), options <= 2 ? MQTT_OK : MQTT_MALFORMED);
}
END_TEST

START_TEST(filters_are_checked_wherever_they_stand)
{
	struct mqtt_subscribe s;
	ck_assert_int_eq(subscribe(BODY(0, 1, 0, 0, 0), &s), MQTT_TOPIC_FILTER_INVALID);
	ck_assert_int_eq(subscribe(BODY(0, 1, 0, 2, 'a', '#', 0), &s), MQTT_TOPIC_FILTER_INVALID);
	ck_assert_int_eq(subscribe(BODY(0, 1, 0, 1, 'a', 0, 0, 2, '+', '+', 0), &s), MQTT_TOPIC_FILTER_INVALID);
	ck_assert_int_eq(subscribe(BODY(0, 1, 0, 1, 'a', 0, 0, 1, 0x00, 0), &s), MQTT_MALFORMED);
	ck_assert_int_eq(subscribe(BODY(0, 1, 0, 1, 'a', 0, 0, 1, 0xFF, 0), &s), MQTT_MALFORMED);
	ck_assert_int_eq(subscribe(BODY(0, 1, 0, 1, 'a', 3, 0, 1, 'b', 0), &s), MQTT_MALFORMED);
	ck_assert_int_eq(unsubscribe(BODY(0, 1, 0, 1, 'a', 0, 0), &s), MQTT_TOPIC_FILTER_INVALID);
	ck_assert_int_eq(unsubscribe(BODY(0, 1, 0, 3, 'a', '#', '/'), &s), MQTT_TOPIC_FILTER_INVALID);
	ck_assert_int_eq(unsubscribe(BODY(0, 1, 0, 1, 0x80), &s), MQTT_MALFORMED);
}
END_TEST

START_TEST(subscribe_may_have_very_many_filters)
{
	enum { COUNT = 40000 };
	uint8_t *body = malloc(2 + (size_t)COUNT * 4);
	ck_assert_ptr_nonnull(body);
	memcpy(body, "\0\1", 2);
	for (size_t i = 0; i < COUNT; i++)
		memcpy(body + 2 + i * 4, "\0\1t\2", 4);
	struct mqtt_subscribe s;
	ck_assert_int_eq(subscribe(body, 2 + (size_t)COUNT * 4, &s), MQTT_OK);
	ck_assert_uint_eq(s.count, COUNT);
	struct mqtt_filter f;
	size_t n = 0;
	while (mqtt_next_filter(&s, true, &f))
		n++;
	ck_assert_uint_eq(n, COUNT);
	free(body);
}
END_TEST

/* What decides that topic, which was good, need not be checked again. */
static bool publish_again(uint8_t flags, const uint8_t *bytes, size_t len, struct mqtt_publish *out)
{
	static const uint8_t topic[] = {'a', '/', 'b'};
	return mqtt_decode_publish_again(MQTT_V311, flags, at_end(bytes, len), len, (struct mqtt_bytes){topic, sizeof topic}, out);
}

START_TEST(publish_again_is_the_same_topic_and_well_formed)
{
	struct mqtt_publish p;
	ck_assert(publish_again(QOS0, BODY(0, 3, 'a', '/', 'b', 1, 2), &p));
	ck_assert_uint_eq(p.payload.len, 2);
	ck_assert_mem_eq(p.payload.p, "\1\2", 2);
	ck_assert(publish_again(QOS0, BODY(0, 3, 'a', '/', 'b'), &p));
	ck_assert_uint_eq(p.payload.len, 0);
	ck_assert(publish_again(QOS1, BODY(0, 3, 'a', '/', 'b', 0, 7), &p));
	ck_assert_uint_eq(p.packet_id, 7);
	ck_assert(!publish_again(QOS1, BODY(0, 3, 'a', '/', 'b', 0, 0), &p)); /* no identifier */
	ck_assert(!publish_again(QOS1, BODY(0, 3, 'a', '/', 'b', 0), &p));
	ck_assert(!publish_again(QOS0, BODY(0, 3, 'a', '/', 'c', 1), &p));
	ck_assert(!publish_again(QOS0, BODY(0, 2, 'a', '/', 'b', 1), &p));
	ck_assert(!publish_again(QOS0, BODY(0, 4, 'a', '/', 'b', 'c'), &p));
	ck_assert(!publish_again(QOS0, BODY(1, 3, 'a', '/', 'b'), &p));
	ck_assert(!publish_again(QOS0, BODY(0, 3, 'a', '/'), &p)); /* cut */
	ck_assert(!publish_again(QOS0, BODY(0), &p));
}
END_TEST

START_TEST(version_5_bodies_are_not_decoded)
{
	struct mqtt_publish p;
	struct mqtt_ack ack;
	struct mqtt_subscribe s;
	const uint8_t body[] = {0, 1, 0, 1, 'a', 0};
	ck_assert_int_eq(mqtt_decode_publish(MQTT_V5, 0, body, sizeof body, &p), MQTT_UNSUPPORTED_VERSION);
	ck_assert(!mqtt_decode_publish_again(MQTT_V5, 0, body, sizeof body, (struct mqtt_bytes){body + 2, 1}, &p));
	ck_assert_int_eq(mqtt_decode_ack(MQTT_V5, body, 2, &ack), MQTT_UNSUPPORTED_VERSION);
	ck_assert_int_eq(mqtt_decode_subscribe(MQTT_V5, body, sizeof body, &s), MQTT_UNSUPPORTED_VERSION);
	ck_assert_int_eq(mqtt_decode_unsubscribe(MQTT_V5, body, sizeof body, &s), MQTT_UNSUPPORTED_VERSION);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mqtt/decode");
	TCase *tc = tcase_create("bodies");
	tcase_add_test(tc, publish_gives_views_of_topic_and_payload);
	tcase_add_test(tc, publish_has_an_identifier_only_above_qos_0);
	tcase_add_test(tc, publish_flags_are_read);
	tcase_add_test(tc, publish_with_identifier_0_is_malformed);
	tcase_add_test(tc, publish_cut_before_its_payload_is_malformed);
	tcase_add_test(tc, publish_topic_must_be_a_topic_name);
	tcase_add_test(tc, publish_topic_may_have_65535_bytes);
	tcase_add_test(tc, publish_again_is_the_same_topic_and_well_formed);
	tcase_add_test(tc, ack_is_two_bytes_and_not_0);
	tcase_add_test(tc, acks_alike_are_decoded_together);
	tcase_add_test(tc, other_forms_of_an_ack_are_left_alone);
	tcase_add_test(tc, subscribe_lists_its_filters_in_order);
	tcase_add_test(tc, unsubscribe_lists_its_filters_in_order);
	tcase_add_test(tc, subscribe_cut_anywhere_but_behind_a_filter_is_malformed);
	tcase_add_test(tc, subscribe_without_a_filter_is_malformed);
	tcase_add_test(tc, subscribe_with_identifier_0_is_malformed);
	tcase_add_test(tc, subscribe_options_are_a_qos_and_nothing_else);
	tcase_add_test(tc, filters_are_checked_wherever_they_stand);
	tcase_add_test(tc, subscribe_may_have_very_many_filters);
	tcase_add_test(tc, version_5_bodies_are_not_decoded);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
