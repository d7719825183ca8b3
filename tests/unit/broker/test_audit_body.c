/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/audit_body.h"
#include "crypto/audit_chain.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static char out[AUDIT_EVENT_MAX];
static size_t len;

static void is(const char *expect)
{
	ck_assert_uint_eq(len, strlen(expect));
	ck_assert_mem_eq(out, expect, len);
}

START_TEST(texts_are_escaped_as_json)
{
	const char topic[] = "a\"b\\c\n\x7f\xC2\x85\xC3\xA9";
	const struct audit_who who = { 0 };
	len = audit_body(out, "k", &who, "", AUDIT_PAIRS(AUDIT_PAIR("topic", topic, strlen(topic)), AUDIT_NUMBER("n", UINT64_MAX)));
	is("\"kind\":\"k\",\"topic\":\"a\\\"b\\\\c\\u000a\\u007f\\u0085\xC3\xA9\",\"n\":18446744073709551615");
	len = audit_body(out, "k", &who, "", AUDIT_PAIRS(AUDIT_PAIR("topic", "\xFF", 1)));
	is("\"kind\":\"k\",\"topic\":\"\\ufffd\"");
}
END_TEST

START_TEST(the_origin_is_what_is_known_of_it)
{
	const uint8_t v4[] = { 10, 0, 0, 7 }, v6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 1 };
	struct audit_who who = { .client_id = "c", .client_id_len = 1, .peer = v4, .family = AF_INET, .peer_port = 80 };
	len = audit_body(out, "k", &who, "t", AUDIT_NO_PAIRS);
	is("\"kind\":\"k\",\"client\":\"c\",\"from\":\"10.0.0.7:80\",\"text\":\"t\"");
	who = (struct audit_who){ .peer = v6, .family = AF_INET6, .peer_port = 1 };
	len = audit_body(out, "k", &who, "", AUDIT_NO_PAIRS);
	is("\"kind\":\"k\",\"from\":\"[2001:db8::1]:1\"");
}
END_TEST

/* Whatever clients choose, the event fits, and says that it was cut. */
START_TEST(long_texts_are_cut)
{
	char *topic = malloc(65535);
	const struct audit_who who = { .client_id = topic, .client_id_len = 65535 };
	static const char cut[] = ",\"cut\":true";
	const char *const fill[] = { "a", "\x01", "\xC3\xA9", "\"" };
	for (size_t i = 0; i < sizeof fill / sizeof *fill; i++) {
		for (size_t k = 0; k < 65535; k++)
			topic[k] = fill[i][k % strlen(fill[i])];
		const struct audit_pair p = AUDIT_PAIR("topic", topic, 65534);
		len = audit_body(out, "k", &who, "", AUDIT_PAIRS(p, p, p));
		ck_assert(len <= AUDIT_EVENT_MAX);
		ck_assert_mem_eq(out + len - strlen(cut), cut, strlen(cut));
		ck_assert_ptr_null(memmem(out, len, "ufffd", 5)); /* cut between characters */
	}
	free(topic);
}
END_TEST

/* A text that looks like a line's end does not become it. */
START_TEST(a_text_cannot_forge_the_end_of_a_line)
{
	static const char forged[] = "x\",\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\",\"sig\":\"00\"}";
	static char line[AUDIT_LINE_MAX];
	const struct audit_who who = { .client_id = forged, .client_id_len = strlen(forged) };
	struct audit_chain c;
	struct audit_line l;
	audit_chain_start(&c);
	memset(c.prev, 0xab, sizeof c.prev);
	size_t body = audit_body(out, "k", &who, "", AUDIT_NO_PAIRS), n = audit_chain_line(&c, line, 1700000000123, out, body);
	ck_assert_int_eq(audit_line_parse(&l, line, n - 1), ERR_OK);
	ck_assert(l.seq == 1 && l.time_ms == 1700000000123 && !l.sig && l.prev[0] == 0xab && c.seq == 2);
	ck_assert_ptr_null(audit_line_member(&l, "sig", &body));
}
END_TEST

START_TEST(no_part_of_a_line_is_a_line)
{
	static char line[AUDIT_LINE_MAX];
	struct audit_chain c;
	struct audit_line l;
	audit_chain_start(&c);
	size_t n = audit_chain_line(&c, line, 1700000000123, "\"kind\":\"k\"", 10) - 1;
	for (size_t i = 0; i < n; i++) {
		char *part = malloc(i + 1);
		memcpy(part, line, i);
		ck_assert_int_eq(audit_line_parse(&l, part, i), ERR_INVALID);
		free(part);
		part = malloc(n);
		memcpy(part, line, n);
		part[i] = (char)~part[i]; /* must not read beyond */
		(void)!audit_line_parse(&l, part, n);
		free(part);
	}
	ck_assert_int_eq(audit_line_parse(&l, line, n), ERR_OK);
}
END_TEST

SUITE_MAIN("broker/audit_body", texts_are_escaped_as_json, the_origin_is_what_is_known_of_it, long_texts_are_cut,
	a_text_cannot_forge_the_end_of_a_line, no_part_of_a_line_is_a_line)
