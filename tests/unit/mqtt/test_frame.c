/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mqtt_decode_frame: the fixed header of every type, byte by byte. */
#include "mqtt/decode.h"

#include "tests/unit/mqtt/guard.h"

static enum mqtt_reason decode(enum mqtt_version version, const void *bytes, size_t len, struct mqtt_frame *out)
{
	return mqtt_decode_frame(version, at_end(bytes, len), len, out);
}

/* The type's permitted flags as a string of hex digits, from table 2.2, 3.3.1 and, for 3.1, its fixed header tables. */
static const char *permitted_flags(enum mqtt_version version, unsigned type)
{
	switch (type) {
	case 0:
	case 15:
		return "";
	case MQTT_CONNECT:
		return "0";
	case MQTT_PUBLISH:
		return "01" "2345" "ABCD"; /* QoS 0 without DUP; QoS 1 and 2 without and with */
	case MQTT_PUBREL:
	case MQTT_SUBSCRIBE:
	case MQTT_UNSUBSCRIBE:
		return version == MQTT_V31 ? "23AB" : "2";
	default:
		return version == MQTT_V31 ? "0123456789ABCDEF" : "0";
	}
}

/* Least and most remaining length of the type with these flags. */
static void permitted_len(unsigned type, unsigned flags, uint32_t *least, uint32_t *most)
{
	*most = 268435455;
	switch (type) {
	case MQTT_CONNECT:
		*least = 7; /* 0 4 M Q T T level: enough to answer an unknown level */
		return;
	case MQTT_PUBLISH:
		*least = (flags & 6) != 0 ? 5 : 3; /* 0 1 'a' and, with QoS 1 and 2, the identifier */
		return;
	case MQTT_SUBSCRIBE:
		*least = 6; /* identifier, 0 1 'a', QoS */
		return;
	case MQTT_UNSUBSCRIBE:
		*least = 5;
		return;
	case MQTT_SUBACK:
		*least = 3; /* identifier, code */
		return;
	case MQTT_PINGREQ:
	case MQTT_PINGRESP:
	case MQTT_DISCONNECT:
		*least = *most = 0;
		return;
	default:
		*least = *most = 2;
		return;
	}
}

static size_t encode_len(uint32_t value, uint8_t *out)
{
	size_t n = 0;
	do {
		out[n] = value % 128; /* the algorithm of 2.2.3 */
		value /= 128;
		if (value > 0)
			out[n] |= 128;
		n++;
	} while (value > 0);
	return n;
}

START_TEST(nothing_read_is_nothing_known)
{
	struct mqtt_frame frame;
	ck_assert_int_eq(mqtt_decode_frame(MQTT_V311, NULL, 0, &frame), MQTT_NEED_MORE);
}
END_TEST

START_TEST(first_byte_alone_tells_reserved_types_and_wrong_flags)
{
	static const enum mqtt_version version[] = {MQTT_V31, MQTT_V311};
	struct mqtt_frame frame;

	for (size_t v = 0; v < 2; v++)
		for (unsigned first = 0; first < 256; first++) {
			const uint8_t byte = (uint8_t)first;
			const char digit = "0123456789ABCDEF"[first & 15];
			const bool good = strchr(permitted_flags(version[v], first >> 4), digit) != NULL;
			ck_assert_msg(decode(version[v], &byte, 1, &frame) == (good ? MQTT_NEED_MORE : MQTT_MALFORMED),
			              "version %d, first byte %02X", (int)version[v], first);
		}
}
END_TEST

START_TEST(every_length_of_every_type_split_at_every_byte)
{
	static const uint32_t lens[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 127, 128, 129, 16383, 16384, 2097151, 2097152, 268435454, 268435455};

	for (unsigned first = 0; first < 256; first++) {
		const char digit = "0123456789ABCDEF"[first & 15];
		if (strchr(permitted_flags(MQTT_V311, first >> 4), digit) == NULL)
			continue;
		uint32_t least, most;
		permitted_len(first >> 4, first & 15, &least, &most);
		for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
			uint8_t header[5] = {(uint8_t)first};
			const size_t len = 1 + encode_len(lens[i], header + 1);
			const bool good = lens[i] >= least && lens[i] <= most;
			struct mqtt_frame frame = {0};
			bool refused = false;
			for (size_t n = 0; n < len; n++) {
				const enum mqtt_reason reason = decode(MQTT_V311, header, n, &frame);
				ck_assert(reason == MQTT_NEED_MORE || (reason == MQTT_MALFORMED && !good));
				ck_assert(!refused || reason == MQTT_MALFORMED); /* a verdict stands */
				refused = reason == MQTT_MALFORMED;
			}
			ck_assert_int_eq(decode(MQTT_V311, header, len, &frame), good ? MQTT_OK : MQTT_MALFORMED);
			if (!good)
				continue;
			ck_assert_uint_eq(frame.type, first >> 4);
			ck_assert_uint_eq(frame.flags, first & 15);
			ck_assert_uint_eq(frame.header_len, len);
			ck_assert_uint_eq(frame.remaining_len, lens[i]);
			ck_assert_uint_eq(mqtt_frame_size(&frame), len + lens[i]);
		}
	}
}
END_TEST

START_TEST(bytes_behind_the_header_are_not_looked_at)
{
	struct mqtt_frame frame;
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x40, 0x02, 0xFF, 0xFF, 0xFF, 0xFF}, 6, &frame), MQTT_OK);
	ck_assert_uint_eq(frame.header_len, 2);
	ck_assert_uint_eq(frame.remaining_len, 2);
}
END_TEST

START_TEST(remaining_length_examples_of_table_2_4)
{
	static const struct {
		uint8_t bytes[5];
		uint8_t len;
		uint32_t value;
	} example[] = {
		{{0x30, 0x7F}, 2, 127},
		{{0x30, 0x80, 0x01}, 3, 128},
		{{0x30, 0xC1, 0x02}, 3, 321}, /* 2.2.3 works it out */
		{{0x30, 0xFF, 0x7F}, 3, 16383},
		{{0x30, 0x80, 0x80, 0x01}, 4, 16384},
		{{0x30, 0xFF, 0xFF, 0x7F}, 4, 2097151},
		{{0x30, 0x80, 0x80, 0x80, 0x01}, 5, 2097152},
		{{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, 5, 268435455},
	};
	struct mqtt_frame frame;

	for (size_t i = 0; i < sizeof example / sizeof example[0]; i++) {
		ck_assert_int_eq(decode(MQTT_V311, example[i].bytes, example[i].len, &frame), MQTT_OK);
		ck_assert_uint_eq(frame.remaining_len, example[i].value);
	}
}
END_TEST

START_TEST(fifth_length_byte_is_refused_before_it_comes)
{
	struct mqtt_frame frame;
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x30, 0xFF, 0xFF, 0xFF}, 4, &frame), MQTT_NEED_MORE);
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x30, 0xFF, 0xFF, 0xFF, 0xFF}, 5, &frame), MQTT_MALFORMED);
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x30, 0x80, 0x80, 0x80, 0x80, 0x00}, 6, &frame), MQTT_MALFORMED);
}
END_TEST

START_TEST(length_that_is_already_too_large_is_refused_at_once)
{
	struct mqtt_frame frame;
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0xC0, 0x81}, 2, &frame), MQTT_MALFORMED); /* PINGREQ, 1 or more */
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x40, 0x83}, 2, &frame), MQTT_MALFORMED); /* PUBACK, 3 or more */
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x40, 0x82, 0x01}, 3, &frame), MQTT_MALFORMED);
}
END_TEST

START_TEST(length_in_more_bytes_than_needed_is_allowed)
{
	/* 3.1.1 does not ask for the shortest form; MQTT 5 does. */
	struct mqtt_frame frame;
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0xC0, 0x80, 0x00}, 3, &frame), MQTT_OK);
	ck_assert_uint_eq(frame.header_len, 3);
	ck_assert_uint_eq(frame.remaining_len, 0);
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x40, 0x82, 0x80, 0x80, 0x00}, 5, &frame), MQTT_OK);
	ck_assert_uint_eq(frame.header_len, 5);
	ck_assert_uint_eq(frame.remaining_len, 2);
}
END_TEST

START_TEST(version_3_1_repeats_subscribe_with_dup)
{
	struct mqtt_frame frame;
	ck_assert_int_eq(decode(MQTT_V31, (const uint8_t[]){0x8A, 0x06}, 2, &frame), MQTT_OK);
	ck_assert_int_eq(decode(MQTT_V31, (const uint8_t[]){0x6A, 0x02}, 2, &frame), MQTT_OK);
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x8A, 0x06}, 2, &frame), MQTT_MALFORMED);
	ck_assert_int_eq(decode(MQTT_V311, (const uint8_t[]){0x6A, 0x02}, 2, &frame), MQTT_MALFORMED);
}
END_TEST

START_TEST(version_5_is_not_decoded)
{
	struct mqtt_frame frame;
	ck_assert_int_eq(decode(MQTT_V5, (const uint8_t[]){0xC0, 0x00}, 2, &frame), MQTT_UNSUPPORTED_VERSION);
}
END_TEST

START_TEST(other_protocols_are_recognised_by_their_first_bytes)
{
	struct mqtt_frame frame;
	ck_assert_int_eq(decode(MQTT_V311, "GET / HTTP/1.1\r\n", 16, &frame), MQTT_MALFORMED);
	ck_assert_int_eq(decode(MQTT_V311, "\x16\x03\x01", 3, &frame), MQTT_MALFORMED); /* TLS in the clear */
	ck_assert_int_eq(decode(MQTT_V311, "SSH-2.0-", 8, &frame), MQTT_MALFORMED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mqtt/decode: frame");
	TCase *tc = tcase_create("frame");
	tcase_add_test(tc, nothing_read_is_nothing_known);
	tcase_add_test(tc, first_byte_alone_tells_reserved_types_and_wrong_flags);
	tcase_add_test(tc, every_length_of_every_type_split_at_every_byte);
	tcase_add_test(tc, bytes_behind_the_header_are_not_looked_at);
	tcase_add_test(tc, remaining_length_examples_of_table_2_4);
	tcase_add_test(tc, fifth_length_byte_is_refused_before_it_comes);
	tcase_add_test(tc, length_that_is_already_too_large_is_refused_at_once);
	tcase_add_test(tc, length_in_more_bytes_than_needed_is_allowed);
	tcase_add_test(tc, version_3_1_repeats_subscribe_with_dup);
	tcase_add_test(tc, version_5_is_not_decoded);
	tcase_add_test(tc, other_protocols_are_recognised_by_their_first_bytes);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
