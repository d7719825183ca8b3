/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates read by ourselves: the strict common name, times, serials, and hostile DER. */
#include "crypto/cert.h"
#include "tests/unit/base/suite.h"
#include "tests/unit/crypto/pki.h"


static struct bytes names; /* the subject under test */

static void add_cn(uint8_t type, const void *value, size_t len)
{
	put_cn(&names, type, value, len);
}

static struct bytes crafted(int version, int with_eku)
{
	struct bytes out = { .n = 0 };
	struct craft c = { .names = &names, .version = version, .from_s = -3600, .to_s = 3600, .with_eku = with_eku, .issuer_key = "ca.key" };
	pki_craft(&out, &c, "good.key");
	return out;
}

/* NULL when the CN is accepted, and then it is in cn; else why not. */
static const char *verdict(struct der *cn)
{
	static struct bytes der;
	const char *why = NULL;
	struct cert c;
	der = crafted(2, 1);
	ck_assert_int_eq(cert_parse(&c, der.b, der.n), ERR_OK);
	enum err e = cert_common_name(&c, cn, &why);
	ck_assert((e == ERR_OK) == (why == NULL));
	names.n = 0;
	return why;
}

static const char *verdict_of(uint8_t type, const void *value, size_t len)
{
	struct der cn;
	add_cn(type, value, len);
	return verdict(&cn);
}

static void accepted(uint8_t type, const char *value)
{
	struct der cn;
	add_cn(type, value, strlen(value));
	const char *why = verdict(&cn);
	ck_assert_msg(why == NULL, "%s: %s", value, why);
	ck_assert(der_equal(cn, value, strlen(value)));
}

static void refused(uint8_t type, const void *value, size_t len, const char *expected)
{
	const char *why = verdict_of(type, value, len);
	ck_assert_msg(why != NULL, "accepted, expected: %s", expected);
	ck_assert_str_eq(why, expected);
}

START_TEST(plain_names_are_accepted_in_all_three_string_types)
{
	accepted(DER_UTF8_STRING, "device-17");
	accepted(DER_PRINTABLE_STRING, "device 17");
	accepted(DER_IA5_STRING, "device_17@plant");
	accepted(DER_UTF8_STRING, "Gerät-\xe2\x82\xac-\xf0\x9f\x9a\x80");
	accepted(DER_UTF8_STRING, "$x");
}
END_TEST

START_TEST(length_is_between_one_and_the_maximum)
{
	char text[IDENTITY_CN_MAX + 1];
	memset(text, 'a', sizeof text);
	ck_assert_ptr_null(verdict_of(DER_UTF8_STRING, text, IDENTITY_CN_MAX));
	refused(DER_UTF8_STRING, text, IDENTITY_CN_MAX + 1, "the CN is too long");
	refused(DER_UTF8_STRING, "", 0, "the CN is empty");
}
END_TEST

START_TEST(an_embedded_nul_is_refused)
{
	refused(DER_UTF8_STRING, "admin\0.evil", 11, "the CN holds a NUL");
	refused(DER_UTF8_STRING, "admin\0", 6, "the CN holds a NUL");
	refused(DER_IA5_STRING, "\0", 1, "the CN holds a NUL");
}
END_TEST

START_TEST(control_characters_are_refused)
{
	const char *why = "the CN holds a control character";
	for (uint8_t c = 1; c < 0x20; c++)
		refused(DER_UTF8_STRING, (uint8_t[]){ 'a', c }, 2, why);
	refused(DER_UTF8_STRING, "a\x7f", 2, why);
	for (uint8_t c = 0x80; c < 0xa0; c++)
		refused(DER_UTF8_STRING, (uint8_t[]){ 'a', 0xc2, c }, 3, why);
}
END_TEST

START_TEST(characters_with_a_meaning_in_topics_are_refused)
{
	const char *why = "the CN holds '+', '#' or '/'";
	refused(DER_UTF8_STRING, "a+", 2, why);
	refused(DER_PRINTABLE_STRING, "+", 1, why);
	refused(DER_UTF8_STRING, "#", 1, why);
	refused(DER_UTF8_STRING, "a/b", 3, why);
}
END_TEST

START_TEST(malformed_utf8_is_refused)
{
	static const struct { const char *s; size_t n; } bad[] = {
		{ "a\x80", 2 }, { "\xc0\x80", 2 }, { "\xc1\xbf", 2 }, { "\xe0\x80\x80", 3 }, { "\xed\xa0\x80", 3 }, { "\xf4\x90\x80\x80", 4 },
		{ "\xf0\x80\x80\x80", 4 }, { "\xf5\x80\x80\x80", 4 }, { "\xe2\x82", 2 }, { "\xc3", 1 }, { "\xff", 1 }, { "\xc3(", 2 },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		refused(DER_UTF8_STRING, bad[i].s, bad[i].n, "the CN is not valid UTF-8");
}
END_TEST

START_TEST(other_string_types_are_refused)
{
	static const uint8_t types[] = { 0x14 /* Teletex */, 0x1e /* BMP */, 0x1c /* Universal */, 0x1a /* Visible */, 0x12, 0x04, 0x30 };
	for (size_t i = 0; i < sizeof types; i++)
		refused(types[i], "abcd", 4, "the CN's string type is not UTF8String, PrintableString or IA5String");
	refused(DER_PRINTABLE_STRING, "\xc3\xa4", 2, "the CN holds a character that its string type does not have");
	refused(DER_IA5_STRING, "\xc3\xa4", 2, "the CN holds a character that its string type does not have");
}
END_TEST

START_TEST(exactly_one_cn_is_needed)
{
	struct der cn;
	ck_assert_str_eq(verdict(&cn), "the subject has no CN");
	add_cn(DER_UTF8_STRING, "a", 1);
	add_cn(DER_UTF8_STRING, "b", 1);
	ck_assert_str_eq(verdict(&cn), "the subject has more than one CN");
	add_cn(DER_UTF8_STRING, "a", 1);
	add_cn(DER_UTF8_STRING, "a", 1);
	ck_assert_str_eq(verdict(&cn), "the subject has more than one CN");
	/* two pairs in one SET: CN=a + CN=b */
	put(&names, "\x31\x14\x30\x08\x06\x03\x55\x04\x03\x0c\x01" "a" "\x30\x08\x06\x03\x55\x04\x03\x0c\x01" "b", 22);
	ck_assert_str_eq(verdict(&cn), "the subject has more than one CN");
	/* another attribute with the CN's pair: O=x + CN=a is fine */
	put(&names, "\x31\x14\x30\x08\x06\x03\x55\x04\x03\x0c\x01" "a" "\x30\x08\x06\x03\x55\x04\x0a\x0c\x01" "x", 22);
	ck_assert_ptr_null(verdict(&cn));
	ck_assert(der_equal(cn, "a", 1));
}
END_TEST

START_TEST(malformed_subjects_are_refused)
{
	static const struct { const char *s; size_t n; } bad[] = {
		{ "\x31\x00", 2 },                                                                   /* empty SET */
		{ "\x30\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01" "a", 12 },                         /* SEQUENCE for SET */
		{ "\x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02" "aa" "\x05", 14 },                 /* half an element after the SET */
		{ "\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x01" "a" "\x05\x00", 14 },              /* third element in a pair */
		{ "\x31\x07\x30\x05\x06\x03\x55\x04\x03", 9 },                                      /* no value */
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct der cn;
		put(&names, bad[i].s, bad[i].n);
		ck_assert_ptr_nonnull(verdict(&cn));
	}
}
END_TEST

START_TEST(fields_of_a_certificate_by_openssl)
{
	uint8_t der[2048], fp[32], expect[32];
	struct cert c;
	struct identity *id = NULL;
	struct der cn;
	const char *why;
	size_t n = pki_read("good.der", der, sizeof der);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(cert_parse(&c, der, n), ERR_OK);
	ck_assert_uint_eq(c.version, 3);
	ck_assert(c.has_extensions);
	ck_assert_uint_eq(c.key_usage, 0xff); /* it does not say */
	int64_t now = time(NULL);
	ck_assert_int_eq(c.not_after_s - c.not_before_s, 5 * 86400);
	ck_assert(c.not_before_s <= now && c.not_before_s > now - 3600);
	ck_assert_int_eq(cert_identity(&c, &id, &cn, &why), ERR_OK);
	ck_assert_str_eq(id->cn, "good");
	ck_assert_uint_eq(id->cn_len, 4);
	ck_assert_int_eq(id->not_after_s, c.not_after_s);
	ck_assert_uint_eq(id->serial_len, der_len(c.serial));
	ck_assert_mem_eq(id->serial, c.serial.p, id->serial_len);
	cert_fingerprint(&c, fp);
	ck_assert_int_eq(wc_Sha256Hash(der, (word32)n, expect), 0);
	ck_assert_mem_eq(fp, expect, 32);
	ck_assert_mem_eq(id->fingerprint, expect, 32);
	identity_unref(id);
}
END_TEST

START_TEST(key_usage_and_key_identifier_are_read)
{
	static const char *const file[] = { "nosign.der", "ca.der" };
	static const unsigned usage[] = { CERT_KEY_ENCIPHERMENT, CERT_KEY_CERT_SIGN | CERT_CRL_SIGN };
	uint8_t der[2048];
	struct cert c;
	for (int i = 0; i < 2; i++) {
		size_t n = pki_read(file[i], der, sizeof der);
		ck_assert_int_eq(cert_parse(&c, der, n), ERR_OK);
		ck_assert_uint_eq(c.key_usage, usage[i]);
		ck_assert_uint_eq(der_len(c.ski), 20);
	}
}
END_TEST

START_TEST(versions_are_told_apart)
{
	struct cert c;
	add_cn(DER_UTF8_STRING, "a", 1);
	for (int v = -1; v < 5; v++) {
		struct bytes b = crafted(v, 0);
		enum err e = cert_parse(&c, b.b, b.n);
		ck_assert_int_eq(e, v > 2 ? ERR_INVALID : ERR_OK);
		if (e == ERR_OK)
			ck_assert_uint_eq(c.version, v < 0 ? 1u : (unsigned)v + 1);
	}
	names.n = 0;
}
END_TEST

/* What changes is either refused or still read within bounds (the sanitizers watch). */
START_TEST(every_truncation_and_flipped_byte_is_survived)
{
	uint8_t der[2048];
	struct cert c;
	struct der cn;
	const char *why;
	size_t n = pki_read("good.der", der, sizeof der);
	for (size_t i = 0; i < n; i++) {
		uint8_t *exact = malloc(i + 1);
		ck_assert_ptr_nonnull(exact);
		memcpy(exact, der, i);
		ck_assert_int_eq(cert_parse(&c, exact, i), ERR_INVALID);
		free(exact);
	}
	for (size_t i = 0; i < n; i++) {
		for (unsigned x = 1; x < 256; x++) {
			der[i] ^= (uint8_t)x;
			if (cert_parse(&c, der, n) == ERR_OK && cert_common_name(&c, &cn, &why) == ERR_OK)
				ck_assert(cn.p >= der && cn.end <= der + n && cn.p < cn.end);
			der[i] ^= (uint8_t)x;
		}
	}
	der[n] = 0;
	ck_assert_int_eq(cert_parse(&c, der, n + 1), ERR_INVALID);
}
END_TEST

START_TEST(lengths_that_are_not_der_are_refused)
{
	static const struct { const char *s; size_t n; bool ok; } in[] = {
		{ "\x04\x01x", 3, true }, { "\x04\x00", 2, true }, { "\x04\x81\x01x", 4, false }, { "\x04\x82\x00\x01x", 5, false },
		{ "\x04\x80x\x00\x00", 5, false }, { "\x04", 1, false }, { "\x04\x02x", 3, false }, { "\x1f\x81\x01\x00", 4, false },
		{ "\x04\x84\x00\x00\x00\x01x", 7, false }, { "\x04\x83\xff\xff\xff", 5, false }, { "\x04\x81", 2, false },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		struct der d = der_of(in[i].s, in[i].n), v;
		unsigned tag;
		ck_assert_msg(der_take_any(&d, &tag, &v, NULL) == in[i].ok, "case %zu", i);
	}
}
END_TEST

START_TEST(integers_are_in_shortest_form_and_not_negative)
{
	static const struct { const char *s; size_t n; int len; } in[] = {
		{ "\x02\x01\x00", 3, 1 }, { "\x02\x01\x7f", 3, 1 }, { "\x02\x02\x00\x80", 4, 1 }, { "\x02\x02\x00\x7f", 4, -1 },
		{ "\x02\x01\x80", 3, -1 }, { "\x02\x00", 2, -1 }, { "\x02\x02\x01\x00", 4, 2 },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		struct der d = der_of(in[i].s, in[i].n), v;
		bool ok = der_take_unsigned(&d, &v);
		ck_assert_msg(ok == (in[i].len >= 0) && (!ok || der_len(v) == (size_t)in[i].len), "case %zu", i);
	}
}
END_TEST

START_TEST(times_are_read_exactly)
{
	static const struct { const char *s; int64_t t; } in[] = { /* seconds by date -u -d … +%s; -1: refused */
		{ "\x17\x0d" "700101000000Z", 0 }, { "\x17\x0d" "691231235959Z", -1 }, { "\x17\x0d" "261120111542Z", 1795173342 },
		{ "\x17\x0d" "491231235959Z", 2524607999 }, { "\x18\x0f" "20500101000000Z", 2524608000 },
		{ "\x18\x0f" "99991231235959Z", 253402300799 }, { "\x18\x0f" "20240229120000Z", 1709208000 },
		{ "\x18\x0f" "20230229120000Z", -2 }, { "\x18\x0f" "21000229120000Z", -2 }, { "\x17\x0d" "261320111542Z", -2 },
		{ "\x17\x0d" "261100111542Z", -2 }, { "\x17\x0d" "261120241542Z", -2 }, { "\x17\x0d" "261120116042Z", -2 },
		{ "\x17\x0d" "2611201115421", -2 }, { "\x17\x0b" "2611201115Z", -2 }, { "\x17\x0d" "26112011154 Z", -2 },
		{ "\x18\x0d" "261120111542Z", -2 }, { "\x17\x0f" "20261120111542Z", -2 },
	};
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		struct der d = der_of(in[i].s, strlen(in[i].s));
		int64_t t = 0;
		bool ok = der_take_time(&d, &t);
		ck_assert_msg(ok == (in[i].t != -2) && (!ok || t == in[i].t), "%s: %lld", in[i].s + 2, (long long)t);
	}
}
END_TEST

START_TEST(escaped_text_is_printable_and_terminated)
{
	char out[16];
	cert_escape(out, sizeof out, der_of("a\0\\\xff", 4));
	ck_assert_str_eq(out, "a\\x00\\x5c\\xff");
	cert_escape(out, sizeof out, der_of("0123456789012345678901234567890", 31));
	ck_assert_uint_le(strlen(out), sizeof out - 1);
	cert_escape(out, sizeof out, der_of(NULL, 0));
	ck_assert_str_eq(out, "");
}
END_TEST

int main(void)
{
	pki_create();
	Suite *s = suite_create("cert");
	TCase *t = tcase_create("all");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, plain_names_are_accepted_in_all_three_string_types);
	tcase_add_test(t, length_is_between_one_and_the_maximum);
	tcase_add_test(t, an_embedded_nul_is_refused);
	tcase_add_test(t, control_characters_are_refused);
	tcase_add_test(t, characters_with_a_meaning_in_topics_are_refused);
	tcase_add_test(t, malformed_utf8_is_refused);
	tcase_add_test(t, other_string_types_are_refused);
	tcase_add_test(t, exactly_one_cn_is_needed);
	tcase_add_test(t, malformed_subjects_are_refused);
	tcase_add_test(t, fields_of_a_certificate_by_openssl);
	tcase_add_test(t, key_usage_and_key_identifier_are_read);
	tcase_add_test(t, versions_are_told_apart);
	tcase_add_test(t, every_truncation_and_flipped_byte_is_survived);
	tcase_add_test(t, lengths_that_are_not_der_are_refused);
	tcase_add_test(t, integers_are_in_shortest_form_and_not_negative);
	tcase_add_test(t, times_are_read_exactly);
	tcase_add_test(t, escaped_text_is_printable_and_terminated);
	suite_add_tcase(s, t);
	return run_suite(s);
}
