/* SPDX-License-Identifier: GPL-3.0-or-later */
/* UTF-8, topic names and topic filters, against references that share nothing with the code: the validator here collects
 * a code point and judges its value, the code under test judges bytes. */
#include "mqtt/utf8.h"

#include "tests/unit/mqtt/guard.h"

/* ---- references ---- */

/* Bytes of the code point's shortest form (or, above U+10FFFF, of the four-byte pattern continued). */
static size_t encode_code_point(uint32_t c, uint8_t out[4])
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xC0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xE0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
		out[2] = (uint8_t)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (uint8_t)(0xF0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
	out[3] = (uint8_t)(0x80 | (c & 63));
	return 4;
}

static bool reference_utf8(const uint8_t *p, size_t len)
{
	static const uint32_t least[5] = {0, 1, 0x80, 0x800, 0x10000}; /* 1: not U+0000 */

	for (size_t i = 0; i < len;) {
		const uint8_t first = p[i];
		const size_t n = first < 0x80 ? 1 : (first & 0xE0) == 0xC0 ? 2 : (first & 0xF0) == 0xE0 ? 3 : (first & 0xF8) == 0xF0 ? 4 : 0;
		if (n == 0 || len - i < n)
			return false;
		uint32_t c = n == 1 ? first : first & (0x7FU >> n);
		for (size_t k = 1; k < n; k++) {
			if ((p[i + k] & 0xC0) != 0x80)
				return false;
			c = c << 6 | (p[i + k] & 0x3F);
		}
		if (c < least[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
			return false;
		i += n;
	}
	return true;
}

static bool reference_topic(const uint8_t *p, size_t len)
{
	return len >= 1 && len <= 65535 && reference_utf8(p, len) && memchr(p, '+', len) == NULL && memchr(p, '#', len) == NULL;
}

/* Level by level: a level with a wildcard is that wildcard alone, and "#" is the last. */
static bool reference_filter(const uint8_t *p, size_t len)
{
	if (len < 1 || len > 65535 || !reference_utf8(p, len))
		return false;
	for (size_t start = 0;;) {
		const uint8_t *slash = memchr(p + start, '/', len - start);
		const size_t end = slash == NULL ? len : (size_t)(slash - p);
		const size_t n = end - start;
		const bool wild = n > 0 && (memchr(p + start, '+', n) != NULL || memchr(p + start, '#', n) != NULL);
		if (wild && (n != 1 || (p[start] == '#' && slash != NULL)))
			return false;
		if (slash == NULL)
			return true;
		start = end + 1;
	}
}

static void compare_all(const void *bytes, size_t len)
{
	const uint8_t *p = at_end(bytes, len);
	ck_assert_msg(mqtt_utf8_valid(p, len) == reference_utf8(p, len), "utf8, %zu bytes", len);
	ck_assert_msg(mqtt_topic_valid(p, len) == reference_topic(p, len), "topic, %zu bytes", len);
	ck_assert_msg(mqtt_filter_valid(p, len) == reference_filter(p, len), "filter, %zu bytes", len);
	p = at_start(bytes, len);
	ck_assert_msg(mqtt_utf8_valid(p, len) == reference_utf8(p, len), "utf8, %zu bytes", len);
}

/* ---- UTF-8 ---- */

START_TEST(empty_string_is_valid)
{
	ck_assert(mqtt_utf8_valid(NULL, 0));
}
END_TEST

START_TEST(every_code_point_is_valid_but_nul_and_surrogates)
{
	for (uint32_t c = 0; c <= 0x1FFFFF; c++) {
		uint8_t bytes[4];
		const size_t len = encode_code_point(c, bytes);
		const bool want = c != 0 && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF);
		if (mqtt_utf8_valid(bytes, len) != want)
			ck_abort_msg("U+%04X", c);
	}
}
END_TEST

START_TEST(every_sequence_of_one_two_and_three_bytes_is_judged_right)
{
	uint8_t *p = at_end("abc", 3);
	for (uint32_t v = 0; v < 1U << 24; v++) {
		p[0] = (uint8_t)(v >> 16);
		p[1] = (uint8_t)(v >> 8);
		p[2] = (uint8_t)v;
		if (mqtt_utf8_valid(p, 3) != reference_utf8(p, 3))
			ck_abort_msg("%02X %02X %02X", p[0], p[1], p[2]);
		if (v < 1U << 16 && mqtt_utf8_valid(p + 1, 2) != reference_utf8(p + 1, 2))
			ck_abort_msg("%02X %02X", p[1], p[2]);
		if (v < 1U << 8 && mqtt_utf8_valid(p + 2, 1) != reference_utf8(p + 2, 1))
			ck_abort_msg("%02X", p[2]);
	}
}
END_TEST

START_TEST(four_byte_sequences_are_judged_right_at_their_edges)
{
	/* Both sides of every limit that RFC 3629 draws. */
	static const uint8_t edge[] = {0x00, 0x2F, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF0, 0xFF};
	uint8_t *p = at_end("abcd", 4);
	for (unsigned first = 0; first < 256; first++)
		for (unsigned second = 0; second < 256; second++)
			for (size_t i = 0; i < sizeof edge; i++)
				for (size_t k = 0; k < sizeof edge; k++) {
					p[0] = (uint8_t)first;
					p[1] = (uint8_t)second;
					p[2] = edge[i];
					p[3] = edge[k];
					if (mqtt_utf8_valid(p, 4) != reference_utf8(p, 4))
						ck_abort_msg("%02X %02X %02X %02X", p[0], p[1], p[2], p[3]);
				}
}
END_TEST

START_TEST(byte_order_mark_control_and_non_characters_are_kept)
{
	ck_assert(mqtt_utf8_valid((const uint8_t *)"\xEF\xBB\xBF" "a", 4)); /* U+FEFF [MQTT-1.5.3-3] */
	ck_assert(mqtt_utf8_valid((const uint8_t *)"\x01\x1F\x7F\xC2\x9F", 5));
	ck_assert(mqtt_utf8_valid((const uint8_t *)"\xEF\xBF\xBF\xEF\xB7\x90", 6)); /* U+FFFF, U+FDD0 */
}
END_TEST

/* ---- text of every length: the vector pass has a different shape for each ---- */

START_TEST(one_odd_sequence_is_seen_at_every_place_of_every_length)
{
	static const struct {
		uint8_t len;
		uint8_t bytes[4];
	} odd[] = {
		{1, {0}},
		{1, {'+'}},
		{1, {'#'}},
		{1, {'/'}},
		{1, {0x01}},
		{1, {0x7F}},
		{1, {0x80}},
		{1, {0xFF}},
		{1, {'#' | 0x80}},
		{1, {'+' | 0x80}},
		{2, {0xC3, 0xA9}}, /* é */
		{2, {0xC0, 0x80}}, /* overlong U+0000 */
		{3, {0xE2, 0x82, 0xAC}}, /* € */
		{3, {0xED, 0xA0, 0x80}}, /* surrogate U+D800 */
		{4, {0xF0, 0x9F, 0x94, 0x91}}, /* U+1F511 */
		{4, {0xF4, 0x90, 0x80, 0x80}}, /* U+110000 */
		{2, {'/', '+'}},
		{2, {'+', '/'}},
		{3, {'/', '+', '/'}},
		{2, {'/', '#'}},
		{3, {'/', '#', '/'}},
		{3, {0xE2, 0x82, '/'}}, /* cut short */
	};
	uint8_t text[80];

	for (size_t len = 1; len <= 70; len++)
		for (size_t k = 0; k < sizeof odd / sizeof odd[0]; k++)
			for (size_t at = 0; at + odd[k].len <= len; at++) {
				memset(text, 'x', len);
				memcpy(text + at, odd[k].bytes, odd[k].len);
				compare_all(text, len);
			}
}
END_TEST

START_TEST(text_cut_inside_a_code_point_is_refused)
{
	static const char *const text[] = {"\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x94\x91"};
	uint8_t bytes[64];

	for (size_t k = 0; k < 3; k++)
		for (size_t before = 0; before <= 40; before++)
			for (size_t kept = 1; kept < strlen(text[k]); kept++) {
				memset(bytes, 'x', before);
				memcpy(bytes + before, text[k], kept);
				ck_assert(!mqtt_utf8_valid(at_end(bytes, before + kept), before + kept));
			}
}
END_TEST

START_TEST(random_text_is_judged_as_the_references_do)
{
	static const char *const piece[] = {"a", "b", "/", "/", "+", "#", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x94\x91", "\x80", "\xED\xA0\x80", "$"};
	uint8_t bytes[128];
	uint64_t random = 88172645463325252U; /* xorshift64 */

	for (int round = 0; round < 300000; round++) {
		size_t len = 0;
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		/* Mostly without the rarer pieces, or nearly everything would be refused. */
		const size_t kinds = (random >> 40 & 3) == 0 ? 12 : (random >> 40 & 3) == 1 ? 9 : 6;
		for (uint64_t r = random, n = random >> 60; n > 0; n--, r = r * 6364136223846793005U + 1) {
			const char *s = piece[(r >> 33) % kinds];
			memcpy(bytes + len, s, strlen(s));
			len += strlen(s);
		}
		if ((random & 63) == 0)
			bytes[len++] = 0;
		compare_all(bytes, len);
	}
}
END_TEST

/* ---- names and filters ---- */

static bool topic(const char *s)
{
	return mqtt_topic_valid((const uint8_t *)s, strlen(s));
}

static bool filter(const char *s)
{
	return mqtt_filter_valid((const uint8_t *)s, strlen(s));
}

START_TEST(topic_names_of_the_specification)
{
	ck_assert(topic("sport/tennis/player1"));
	ck_assert(topic("/"));
	ck_assert(topic("/finance"));
	ck_assert(topic("a//b/"));
	ck_assert(topic("$SYS/monitor/Clients"));
	ck_assert(topic("Accounts payable"));
	ck_assert(!topic(""));
	ck_assert(!topic("sport/+"));
	ck_assert(!topic("sport/#"));
	ck_assert(!topic("#"));
	ck_assert(!topic("a+b"));
}
END_TEST

START_TEST(topic_filters_of_the_specification)
{
	ck_assert(filter("sport/tennis/player1/#")); /* 4.7.1.2 */
	ck_assert(filter("sport/#"));
	ck_assert(filter("#"));
	ck_assert(filter("sport/tennis/#"));
	ck_assert(!filter("sport/tennis#"));
	ck_assert(!filter("sport/tennis/#/ranking"));
	ck_assert(filter("+")); /* 4.7.1.3 */
	ck_assert(filter("+/tennis/#"));
	ck_assert(!filter("sport+"));
	ck_assert(filter("sport/+/player1"));
	ck_assert(filter("/+"));
	ck_assert(filter("+/+"));
	ck_assert(filter("/"));
	ck_assert(filter("/#"));
	ck_assert(filter("$SYS/#"));
	ck_assert(!filter(""));
	ck_assert(!filter("##"));
	ck_assert(!filter("++"));
	ck_assert(!filter("#+"));
	ck_assert(!filter("+#"));
	ck_assert(!filter("#/"));
	ck_assert(!filter("+a/b"));
	ck_assert(!filter("a/+b"));
	ck_assert(!filter("a/b+/c"));
}
END_TEST

START_TEST(longest_name_is_65535_bytes)
{
	static uint8_t name[65536];
	memset(name, 'n', sizeof name);
	ck_assert(mqtt_topic_valid(at_end(name, 65535), 65535));
	ck_assert(mqtt_filter_valid(at_end(name, 65535), 65535));
	ck_assert(!mqtt_topic_valid(at_end(name, 65536), 65536));
	ck_assert(!mqtt_filter_valid(at_end(name, 65536), 65536));
	ck_assert(mqtt_utf8_valid(at_end(name, 65536), 65536));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mqtt/utf8");
	TCase *tc = tcase_create("utf8");
	tcase_add_test(tc, empty_string_is_valid);
	tcase_add_test(tc, every_code_point_is_valid_but_nul_and_surrogates);
	tcase_add_test(tc, every_sequence_of_one_two_and_three_bytes_is_judged_right);
	tcase_add_test(tc, four_byte_sequences_are_judged_right_at_their_edges);
	tcase_add_test(tc, byte_order_mark_control_and_non_characters_are_kept);
	tcase_add_test(tc, one_odd_sequence_is_seen_at_every_place_of_every_length);
	tcase_add_test(tc, text_cut_inside_a_code_point_is_refused);
	tcase_add_test(tc, random_text_is_judged_as_the_references_do);
	tcase_add_test(tc, topic_names_of_the_specification);
	tcase_add_test(tc, topic_filters_of_the_specification);
	tcase_add_test(tc, longest_name_is_65535_bytes);
	suite_add_tcase(suite, tc);
	return run_suite(suite);
}
