/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mqtt_decode_connect: 3.1.1's and 3.1's CONNECT bodies, written out. */
#include "mqtt/decode.h"

#include "tests/unit/mqtt/guard.h"

#define V311 0, 4, 'M', 'Q', 'T', 'T', 4
#define V31 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3
#define KEEPALIVE_60 0, 60
#define CLIENT_C1 0, 2, 'c', '1'

/* Flags. */
enum {
	RESERVED = 0x01,
	CLEAN = 0x02,
	WILL = 0x04,
	WILL_QOS1 = 0x08,
	WILL_QOS2 = 0x10,
	WILL_QOS3 = 0x18,
	WILL_RETAIN = 0x20,
	PASSWORD = 0x40,
	USER = 0x80
};

static enum mqtt_reason decode(const uint8_t *bytes, size_t len, struct mqtt_connect *out)
{
	memset(out, 0xAA, sizeof *out); /* what the decoder forgets to set shows */
	return mqtt_decode_connect(at_end(bytes, len), len, out);
}

#define DECODE(out, ...) decode((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), out)

static void assert_bytes(struct mqtt_bytes view, const char *want)
{
	ck_assert_uint_eq(view.len, strlen(want));
	if (view.len > 0)
		ck_assert_mem_eq(view.p, want, view.len);
}

START_TEST(smallest_connect_has_a_clean_session_and_no_name)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V311, CLEAN, 0, 0, 0, 0), MQTT_OK);
	ck_assert_int_eq(c.version, MQTT_V311);
	ck_assert(c.clean_session);
	ck_assert(!c.has_will && !c.will_retain && !c.has_user && !c.has_password);
	ck_assert_uint_eq(c.will_qos, 0);
	ck_assert_uint_eq(c.keepalive_s, 0);
	ck_assert_uint_eq(c.client_id.len, 0);
	ck_assert_uint_eq(c.will_topic.len + c.will_payload.len + c.user.len + c.password.len, 0);
}
END_TEST

/* Client c1, keepalive 0x1234, will "w/t" with payload 00 FF at QoS 2 retained, user "ü", password 00. */
static const uint8_t full_v311[] = {V311, CLEAN | WILL | WILL_QOS2 | WILL_RETAIN | USER | PASSWORD, 0x12, 0x34, CLIENT_C1, 0,
                                    3, 'w', '/', 't', 0, 2, 0x00, 0xFF, 0, 2, 0xC3, 0xBC, 0, 1, 0x00};
static const uint8_t full_v31[] = {V31, WILL | WILL_QOS1 | USER | PASSWORD, KEEPALIVE_60, CLIENT_C1, 0, 1, 'w', 0, 1, 'm', 0, 1, 'u', 0, 1, 'p'};

START_TEST(every_field_is_a_view_into_the_body)
{
	struct mqtt_connect c;
	ck_assert_int_eq(decode(full_v311, sizeof full_v311, &c), MQTT_OK);
	ck_assert_int_eq(c.version, MQTT_V311);
	ck_assert(c.clean_session && c.has_will && c.will_retain && c.has_user && c.has_password);
	ck_assert_uint_eq(c.will_qos, 2);
	ck_assert_uint_eq(c.keepalive_s, 0x1234);
	assert_bytes(c.client_id, "c1");
	assert_bytes(c.will_topic, "w/t");
	ck_assert_uint_eq(c.will_payload.len, 2);
	ck_assert_mem_eq(c.will_payload.p, "\x00\xFF", 2);
	assert_bytes(c.user, "\xC3\xBC");
	ck_assert_uint_eq(c.password.len, 1);
	const uint8_t *body = guard_room() + GUARD_ROOM - sizeof full_v311;
	ck_assert_ptr_eq(c.client_id.p, body + 12);
	ck_assert_ptr_eq(c.password.p, body + sizeof full_v311 - 1);
}
END_TEST

START_TEST(version_3_1_is_spoken)
{
	struct mqtt_connect c;
	ck_assert_int_eq(decode(full_v31, sizeof full_v31, &c), MQTT_OK);
	ck_assert_int_eq(c.version, MQTT_V31);
	ck_assert(!c.clean_session && c.has_will && !c.will_retain && c.has_user && c.has_password);
	ck_assert_uint_eq(c.will_qos, 1);
	ck_assert_uint_eq(c.keepalive_s, 60);
	assert_bytes(c.client_id, "c1");
	assert_bytes(c.will_topic, "w");
	assert_bytes(c.will_payload, "m");
	assert_bytes(c.user, "u");
	assert_bytes(c.password, "p");
}
END_TEST

START_TEST(every_truncation_is_malformed)
{
	struct mqtt_connect c;
	for (size_t len = 0; len < sizeof full_v311; len++)
		ck_assert_int_eq(decode(full_v311, len, &c), MQTT_MALFORMED);
	for (size_t len = 0; len < sizeof full_v31; len++) {
		/* 3.1 lets the user name or password be missing altogether. */
		const bool boundary = len == sizeof full_v31 - 6 || len == sizeof full_v31 - 3;
		ck_assert_int_eq(decode(full_v31, len, &c), boundary ? MQTT_OK : MQTT_MALFORMED);
	}
}
END_TEST

START_TEST(bytes_behind_the_payload_are_malformed)
{
	struct mqtt_connect c;
	uint8_t longer[64] = {0};
	memcpy(longer, full_v311, sizeof full_v311);
	for (size_t more = 1; more < 8; more++)
		ck_assert_int_eq(decode(longer, sizeof full_v311 + more, &c), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN, 0, 0, CLIENT_C1, 0), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN, 0, 0, CLIENT_C1, 0, 1, 'u'), MQTT_MALFORMED); /* user name without its flag */
	ck_assert_int_eq(DECODE(&c, V31, CLEAN, 0, 0, CLIENT_C1, 0, 1, 'u'), MQTT_MALFORMED);
}
END_TEST

START_TEST(each_length_field_that_lies_is_malformed)
{
	/* Every two-byte length of the full packets, raised to reach past the end. */
	static const size_t fields[] = {10, 14, 19, 23, 27};
	struct mqtt_connect c;
	uint8_t bytes[sizeof full_v311];
	for (size_t i = 0; i < 5; i++) {
		memcpy(bytes, full_v311, sizeof bytes);
		bytes[fields[i]] = 0xFF;
		ck_assert_int_eq(decode(bytes, sizeof bytes, &c), MQTT_MALFORMED);
	}
}
END_TEST

START_TEST(unknown_protocol_name_is_malformed)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, 0, 4, 'm', 'q', 't', 't', 4, CLEAN, 0, 0, CLIENT_C1), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, 0, 4, 'M', 'Q', 'T', 'X', 4, CLEAN, 0, 0, CLIENT_C1), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, 0, 5, 'M', 'Q', 'T', 'T', 'X', 4, CLEAN, 0, 0, CLIENT_C1), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, 0, 3, 'M', 'Q', 'T', 4, CLEAN, 0, 0, CLIENT_C1), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, 0, 6, 'M', 'Q', 'I', 'S', 'D', 'P', 3, CLEAN, 0, 0, CLIENT_C1), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, 0, 0, 4, CLEAN, 0, 0, CLIENT_C1), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, 1, 4, 'M', 'Q', 'T', 'T', 4, CLEAN, 0, 0, CLIENT_C1), MQTT_MALFORMED);
}
END_TEST

START_TEST(every_level_but_ours_is_unsupported)
{
	struct mqtt_connect c;
	for (unsigned level = 0; level < 256; level++) {
		const uint8_t byte = (uint8_t)level;
		ck_assert_int_eq(DECODE(&c, 0, 4, 'M', 'Q', 'T', 'T', byte, CLEAN, 0, 0, CLIENT_C1), level == 4 ? MQTT_OK : MQTT_UNSUPPORTED_VERSION);
		ck_assert_int_eq(c.version, MQTT_V311); /* the form of the CONNACK */
		ck_assert_int_eq(DECODE(&c, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', byte, CLEAN, 0, 0, CLIENT_C1),
		                 level == 3 ? MQTT_OK : MQTT_UNSUPPORTED_VERSION);
		ck_assert_int_eq(c.version, MQTT_V31);
	}
}
END_TEST

START_TEST(unsupported_level_is_told_whatever_follows_it)
{
	struct mqtt_connect c;
	/* MQTT 5, whose properties we cannot read. */
	ck_assert_int_eq(DECODE(&c, 0, 4, 'M', 'Q', 'T', 'T', 5, CLEAN, 0, 60, 5, 0x11, 0, 0, 0, 10, CLIENT_C1), MQTT_UNSUPPORTED_VERSION);
	ck_assert_int_eq(DECODE(&c, 0, 4, 'M', 'Q', 'T', 'T', 6), MQTT_UNSUPPORTED_VERSION);
	ck_assert_int_eq(DECODE(&c, 0, 4, 'M', 'Q', 'T', 'T'), MQTT_MALFORMED); /* no level */
	ck_assert_int_eq(DECODE(&c, 0, 4, 'M', 'Q', 'T', 'T', 0x84, CLEAN, 0, 0, CLIENT_C1), MQTT_UNSUPPORTED_VERSION); /* bridge */
	ck_assert_int_eq(DECODE(&c, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 0x83, CLEAN, 0, 0, CLIENT_C1), MQTT_UNSUPPORTED_VERSION);
}
END_TEST

/* 3.1.2.3 to 3.1.2.9 in the specification's words. */
static bool flags_allowed(enum mqtt_version version, unsigned flags)
{
	const unsigned will_qos = flags >> 3 & 3;
	const bool will = (flags & WILL) != 0;

	if ((flags & PASSWORD) != 0 && (flags & USER) == 0) /* both versions */
		return false;
	if (will && will_qos == 3) /* both versions */
		return false;
	if (version == MQTT_V31) /* reserved bit not used; will QoS and retain disregarded without a will */
		return true;
	if ((flags & RESERVED) != 0)
		return false;
	return will || (will_qos == 0 && (flags & WILL_RETAIN) == 0);
}

START_TEST(every_combination_of_flags_with_its_payload)
{
	static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311};
	static const uint8_t head_v31[] = {V31}, head_v311[] = {V311};

	for (size_t v = 0; v < 2; v++)
		for (unsigned flags = 0; flags < 256; flags++) {
			uint8_t bytes[64];
			size_t len = v == 0 ? sizeof head_v31 : sizeof head_v311;
			memcpy(bytes, v == 0 ? head_v31 : head_v311, len);
			const uint8_t tail[] = {(uint8_t)flags, KEEPALIVE_60, CLIENT_C1};
			memcpy(bytes + len, tail, sizeof tail);
			len += sizeof tail;
			if ((flags & WILL) != 0) {
				memcpy(bytes + len, "\0\1t\0\1m", 6);
				len += 6;
			}
			if ((flags & USER) != 0) {
				memcpy(bytes + len, "\0\1u", 3);
				len += 3;
			}
			if ((flags & PASSWORD) != 0) {
				memcpy(bytes + len, "\0\1p", 3);
				len += 3;
			}
			struct mqtt_connect c;
			const enum mqtt_reason reason = decode(bytes, len, &c);
			ck_assert_msg((reason == MQTT_OK) == flags_allowed(versions[v], flags), "version %zu flags %02X", v, flags);
			if (reason != MQTT_OK) {
				ck_assert_int_eq(reason, MQTT_MALFORMED);
				continue;
			}
			ck_assert_int_eq(c.clean_session, (flags & CLEAN) != 0);
			ck_assert_int_eq(c.has_will, (flags & WILL) != 0);
			ck_assert_uint_eq(c.will_qos, c.has_will ? flags >> 3 & 3 : 0);
			ck_assert_int_eq(c.will_retain, c.has_will && (flags & WILL_RETAIN) != 0);
			ck_assert_int_eq(c.has_user, (flags & USER) != 0);
			ck_assert_int_eq(c.has_password, (flags & PASSWORD) != 0);
			assert_bytes(c.client_id, "c1");
			assert_bytes(c.will_topic, c.has_will ? "t" : "");
			assert_bytes(c.will_payload, c.has_will ? "m" : "");
			assert_bytes(c.user, c.has_user ? "u" : "");
			assert_bytes(c.password, c.has_password ? "p" : "");
		}
}
END_TEST

START_TEST(client_identifier_must_be_utf8_without_nul)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V311, CLEAN, 0, 0, 0, 2, 0xC0, 0x80), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN, 0, 0, 0, 3, 0xED, 0xA0, 0x80), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN, 0, 0, 0, 3, 'a', 0, 'b'), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN, 0, 0, 0, 2, 0xC3, 0xA9), MQTT_OK);
}
END_TEST

START_TEST(empty_client_identifier_needs_a_clean_session)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V311, 0, KEEPALIVE_60, 0, 0), MQTT_BAD_CLIENT_ID);
	ck_assert_int_eq(c.version, MQTT_V311);
	ck_assert_uint_eq(c.keepalive_s, 60);
	ck_assert_int_eq(DECODE(&c, V31, 0, KEEPALIVE_60, 0, 0), MQTT_BAD_CLIENT_ID);
	ck_assert_int_eq(DECODE(&c, V31, CLEAN, KEEPALIVE_60, 0, 0), MQTT_BAD_CLIENT_ID);
	ck_assert_int_eq(c.version, MQTT_V31);
}
END_TEST

START_TEST(malformed_connect_with_a_bad_identifier_gets_no_answer)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V311, 0, KEEPALIVE_60, 0, 0, 0), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, USER, KEEPALIVE_60, 0, 0, 0, 1, 0xFF), MQTT_MALFORMED);
}
END_TEST

START_TEST(long_client_identifiers_are_accepted)
{
	static uint8_t bytes[12 + 65535 + 16];
	struct mqtt_connect c;
	memcpy(bytes, (const uint8_t[]){V311, CLEAN, 0, 0, 0xFF, 0xFF}, 12);
	memset(bytes + 12, 'i', 65535);
	ck_assert_int_eq(decode(bytes, 12 + 65535, &c), MQTT_OK);
	ck_assert_uint_eq(c.client_id.len, 65535);
	memcpy(bytes, (const uint8_t[]){V31, CLEAN, 0, 0, 0, 24}, 14); /* 3.1: "between 1 and 23 characters" */
	memset(bytes + 14, 'i', 24);
	ck_assert_int_eq(decode(bytes, 14 + 24, &c), MQTT_OK);
	ck_assert_uint_eq(c.client_id.len, 24);
}
END_TEST

START_TEST(will_topic_is_a_topic_name)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 0, 0, 1, 'm'), MQTT_TOPIC_NAME_INVALID);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 3, 'a', '/', '#', 0, 1, 'm'), MQTT_TOPIC_NAME_INVALID);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 1, '+', 0, 1, 'm'), MQTT_TOPIC_NAME_INVALID);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 1, 0xFF, 0, 1, 'm'), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 1, 0x00, 0, 1, 'm'), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V31, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 1, '#', 0, 1, 'm'), MQTT_TOPIC_NAME_INVALID);
}
END_TEST

START_TEST(will_payload_may_be_empty_or_binary)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 1, 't', 0, 0), MQTT_OK);
	ck_assert(c.has_will);
	ck_assert_uint_eq(c.will_payload.len, 0);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | WILL, 0, 0, CLIENT_C1, 0, 1, 't', 0, 3, 0xFF, 0x00, '#'), MQTT_OK);
	ck_assert_uint_eq(c.will_payload.len, 3);
}
END_TEST

START_TEST(user_name_is_utf8_and_password_is_bytes)
{
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | USER, 0, 0, CLIENT_C1, 0, 1, 0xFF), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | USER, 0, 0, CLIENT_C1, 0, 1, 0x00), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | USER | PASSWORD, 0, 0, CLIENT_C1, 0, 1, 'u', 0, 2, 0xFF, 0x00), MQTT_OK);
	ck_assert_uint_eq(c.password.len, 2);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | USER | PASSWORD, 0, 0, CLIENT_C1, 0, 0, 0, 0), MQTT_OK);
	ck_assert(c.has_user && c.has_password);
	ck_assert_uint_eq(c.user.len + c.password.len, 0);
}
END_TEST

START_TEST(version_3_1_may_announce_a_user_name_and_omit_it)
{
	/* 3.1, section 3.1: the remaining length takes precedence over the user name and password flags. */
	struct mqtt_connect c;
	ck_assert_int_eq(DECODE(&c, V31, CLEAN | USER | PASSWORD, 0, 0, CLIENT_C1), MQTT_OK);
	ck_assert(!c.has_user && !c.has_password);
	ck_assert_int_eq(DECODE(&c, V31, CLEAN | USER | PASSWORD, 0, 0, CLIENT_C1, 0, 1, 'u'), MQTT_OK);
	ck_assert(c.has_user && !c.has_password);
	ck_assert_int_eq(DECODE(&c, V31, CLEAN | USER, 0, 0, CLIENT_C1, 0), MQTT_MALFORMED); /* half a length */
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | USER, 0, 0, CLIENT_C1), MQTT_MALFORMED);
	ck_assert_int_eq(DECODE(&c, V311, CLEAN | USER | PASSWORD, 0, 0, CLIENT_C1, 0, 1, 'u'), MQTT_MALFORMED);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mqtt/decode: CONNECT");
	TCase *tc = tcase_create("connect");
	tcase_add_test(tc, smallest_connect_has_a_clean_session_and_no_name);
	tcase_add_test(tc, every_field_is_a_view_into_the_body);
	tcase_add_test(tc, version_3_1_is_spoken);
	tcase_add_test(tc, every_truncation_is_malformed);
	tcase_add_test(tc, bytes_behind_the_payload_are_malformed);
	tcase_add_test(tc, each_length_field_that_lies_is_malformed);
	tcase_add_test(tc, unknown_protocol_name_is_malformed);
	tcase_add_test(tc, every_level_but_ours_is_unsupported);
	tcase_add_test(tc, unsupported_level_is_told_whatever_follows_it);
	tcase_add_test(tc, every_combination_of_flags_with_its_payload);
	tcase_add_test(tc, client_identifier_must_be_utf8_without_nul);
	tcase_add_test(tc, empty_client_identifier_needs_a_clean_session);
	tcase_add_test(tc, malformed_connect_with_a_bad_identifier_gets_no_answer);
	tcase_add_test(tc, long_client_identifiers_are_accepted);
	tcase_add_test(tc, will_topic_is_a_topic_name);
	tcase_add_test(tc, will_payload_may_be_empty_or_binary);
	tcase_add_test(tc, user_name_is_utf8_and_password_is_bytes);
	tcase_add_test(tc, version_3_1_may_announce_a_user_name_and_omit_it);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
