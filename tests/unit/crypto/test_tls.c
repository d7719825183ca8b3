/* SPDX-License-Identifier: GPL-3.0-or-later */
/* TLS over memory: who is let in, why others are not, and that bytes arrive whole however they are cut. */
#include "crypto/tls.h"

#include "base/pool.h"
#include "tests/unit/base/suite.h"
#include "tests/unit/crypto/tls_peer.h"

#include <wolfssl/error-ssl.h>

/* ---- handshakes that end well */

static void expect_in(const struct tls_options *o, WOLFSSL_METHOD *method, const char *name, const char *chain, const char *version)
{
	struct peer p;
	struct tls_ctx *ctx = context(o);
	struct tls_conn *c = tls_conn_new(ctx);
	peer_open(&p, method, name, chain, NULL);
	ck_assert_ptr_null(tls_conn_identity(c));
	enum tls_status s = handshake(c, &p, 0);
	ck_assert_msg(s == TLS_DONE, "%s: %s (%s)", name, tls_cause_text(tls_conn_cause(c)), tls_conn_detail(c));
	ck_assert_str_eq(tls_conn_identity(c)->cn, name);
	ck_assert_str_eq(tls_conn_version(c), version);
	ck_assert_int_eq(tls_conn_cause(c), TLS_CAUSE_NONE);
	ck_assert_str_eq(tls_conn_detail(c), "");
	tls_conn_free(c);
	tls_ctx_unref(ctx);
	peer_close(&p);
}

START_TEST(good_clients_get_in_by_both_versions)
{
	struct tls_options o = pki_options();
	expect_in(&o, wolfTLSv1_3_client_method(), "good", "good.crt", "TLSv1.3");
	expect_in(&o, wolfTLSv1_2_client_method(), "good", "good.crt", "TLSv1.2");
	expect_in(&o, wolfTLSv1_3_client_method(), "rsa", "rsa.crt", "TLSv1.3");
	expect_in(&o, wolfTLSv1_2_client_method(), "rsa", "rsa.crt", "TLSv1.2");
	expect_in(&o, wolfSSLv23_client_method(), "good", "good.crt", "TLSv1.3");
}
END_TEST

START_TEST(an_intermediate_sent_along_is_used)
{
	struct tls_options o = pki_options();
	expect_in(&o, wolfTLSv1_3_client_method(), "viainter", "viainter.pem", "TLSv1.3");
}
END_TEST

START_TEST(a_v1_certificate_gets_in)
{
	struct tls_options o = pki_options();
	expect_in(&o, wolfTLSv1_3_client_method(), "v1", "v1.crt", "TLSv1.3");
	expect_in(&o, wolfTLSv1_2_client_method(), "v1", "v1.crt", "TLSv1.2");
}
END_TEST

START_TEST(the_cipher_is_named_and_can_be_chosen)
{
	struct tls_options o = pki_options();
	struct peer p;
	o.ciphers_tls13 = "TLS_CHACHA20_POLY1305_SHA256";
	struct tls_ctx *ctx = context(&o);
	struct tls_conn *c = tls_conn_new(ctx);
	peer_open(&p, wolfTLSv1_3_client_method(), "good", "good.crt", NULL);
	ck_assert_int_eq(handshake(c, &p, 0), TLS_DONE);
	ck_assert_str_eq(tls_conn_cipher(c), "TLS_CHACHA20_POLY1305_SHA256");
	tls_conn_free(c);
	tls_ctx_unref(ctx);
	peer_close(&p);
}
END_TEST

/* A revocation list is believed when its issuer is in cafile. */
static struct tls_options options_with_crl(const char *crlfile)
{
	static char ca[128], crl[128];
	struct tls_options o = pki_options();
	o.cafile = strcpy(ca, pki_path("cas.pem"));
	o.crlfile = strcpy(crl, pki_path(crlfile));
	return o;
}

START_TEST(with_revocation_lists_for_the_whole_chain_the_unrevoked_get_in)
{
	struct tls_options o = options_with_crl("both.crl");
	expect_in(&o, wolfTLSv1_3_client_method(), "good", "good.crt", "TLSv1.3");
	expect_in(&o, wolfTLSv1_3_client_method(), "viainter", "viainter.pem", "TLSv1.3");
	expect_in(&o, wolfTLSv1_3_client_method(), "v1", "v1.crt", "TLSv1.3");
}
END_TEST

/* ---- and those that do not */

static char refusal[256]; /* the detail of the last refused handshake */

static enum tls_cause refuse(const struct tls_options *o, WOLFSSL_METHOD *method, const char *name, const char *chain, const struct bytes *der)
{
	struct peer p;
	struct tls_ctx *ctx = context(o);
	struct tls_conn *c = tls_conn_new(ctx);
	peer_open(&p, method, name, chain, der);
	ck_assert_msg(handshake(c, &p, 0) == TLS_FAILED, "%s was let in", name ? name : "nobody");
	enum tls_cause cause = tls_conn_cause(c);
	ck_assert_ptr_null(tls_conn_identity(c));
	snprintf(refusal, sizeof refusal, "%s", tls_conn_detail(c));
	struct tls_io io = { .in = NULL };
	size_t n;
	static uint8_t buf[4 * TLS_RECORD_MAX];
	ck_assert_int_eq(tls_accept(c, &io), TLS_FAILED); /* stays failed */
	ck_assert_int_eq(tls_read(c, &io, buf, sizeof buf, &n), TLS_FAILED);
	ck_assert_int_eq(tls_write(c, &io, buf, 1), TLS_FAILED);
	tls_close(c, &io);
	ck_assert_uint_eq(io.out_len, 0);
	tls_conn_free(c);
	tls_ctx_unref(ctx);
	peer_close(&p);
	return cause;
}

/* The same by both versions. */
static void expect_out(const struct tls_options *o, const char *name, const char *chain, const struct bytes *der, enum tls_cause expected)
{
	enum tls_cause c13 = refuse(o, wolfTLSv1_3_client_method(), name, chain, der);
	ck_assert_msg(c13 == expected, "1.3 %s: %s (%s)", name ? name : "-", tls_cause_text(c13), refusal);
	enum tls_cause c12 = refuse(o, wolfTLSv1_2_client_method(), name, chain, der);
	ck_assert_msg(c12 == expected, "1.2 %s: %s (%s)", name ? name : "-", tls_cause_text(c12), refusal);
}

START_TEST(every_kind_of_bad_certificate_has_its_cause)
{
	struct tls_options o = pki_options();
	expect_out(&o, NULL, NULL, NULL, TLS_CAUSE_NO_CERTIFICATE);
	expect_out(&o, "stranger", "stranger.crt", NULL, TLS_CAUSE_UNKNOWN_CA);
	expect_out(&o, "imposter", "imposter.crt", NULL, TLS_CAUSE_UNKNOWN_CA); /* a CA of the same name */
	expect_out(&o, "viainter", "viainter.crt", NULL, TLS_CAUSE_UNKNOWN_CA); /* its intermediate is not sent */
	expect_out(&o, "other", "other.crt", NULL, TLS_CAUSE_UNKNOWN_CA);       /* self-signed */
	expect_out(&o, "wrongeku", "wrongeku.crt", NULL, TLS_CAUSE_WRONG_EKU);
	expect_out(&o, "nosign", "nosign.crt", NULL, TLS_CAUSE_BAD_CERTIFICATE); /* key usage without digitalSignature */
	expect_out(&o, "rsa1024", "rsa1024.crt", NULL, TLS_CAUSE_WEAK_KEY);
	expect_out(&o, "strangereku", "strangereku.crt", NULL, TLS_CAUSE_UNKNOWN_CA); /* the graver of two faults */
	expect_out(&o, "deep4", "deep4.pem", NULL, TLS_CAUSE_CHAIN);
	expect_out(&o, "viagood", "viagood.pem", NULL, TLS_CAUSE_UNKNOWN_CA); /* its issuer is no CA */
}
END_TEST

START_TEST(revoked_certificates_are_refused_and_missing_lists_fail_closed)
{
	struct tls_options o = options_with_crl("both.crl");
	expect_out(&o, "revoked", "revoked.crt", NULL, TLS_CAUSE_REVOKED);
	o = options_with_crl("ca.crl");
	expect_out(&o, "viainter", "viainter.pem", NULL, TLS_CAUSE_CRL_MISSING);
	o = options_with_crl("interrevoked.crl");
	expect_out(&o, "viainter", "viainter.pem", NULL, TLS_CAUSE_REVOKED);
	expect_out(&o, "viainter", "viainter.crt", NULL, TLS_CAUSE_REVOKED); /* the intermediate is known anyway */
	o = options_with_crl("interrevoked1.crl");
	o.cafile = pki_options().cafile;
	expect_out(&o, "viainter", "viainter.pem", NULL, TLS_CAUSE_REVOKED); /* and now only from the client */
}
END_TEST

START_TEST(a_list_past_its_end_refuses_all_or_still_revokes)
{
	struct tls_options o = options_with_crl("stale.crl"); /* revoked and v1revoked are on it */
	expect_out(&o, "good", "good.crt", NULL, TLS_CAUSE_CRL_EXPIRED);
	expect_out(&o, "revoked", "revoked.crt", NULL, TLS_CAUSE_REVOKED);
	o.crl_expired_ok = true;
	expect_in(&o, wolfTLSv1_3_client_method(), "good", "good.crt", "TLSv1.3");
	expect_in(&o, wolfTLSv1_2_client_method(), "good", "good.crt", "TLSv1.2");
	expect_out(&o, "revoked", "revoked.crt", NULL, TLS_CAUSE_REVOKED);
	o = options_with_crl("inter.crl"); /* a list that is missing is another matter */
	o.crl_expired_ok = true;
	expect_out(&o, "good", "good.crt", NULL, TLS_CAUSE_CRL_MISSING);
	o = options_with_crl("stalenew.crl"); /* the newest of one issuer says until when */
	expect_in(&o, wolfTLSv1_3_client_method(), "good", "good.crt", "TLSv1.3");
	expect_out(&o, "revoked", "revoked.crt", NULL, TLS_CAUSE_REVOKED);
}
END_TEST

/* SHA-256 of the public key in NAME.pub. */
static struct tls_pin pin_of(const char *cn, const char *pub)
{
	struct tls_pin pin = { .cn = cn };
	uint8_t der[1024];
	size_t n = pki_read(pub, der, sizeof der);
	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(wc_Sha256Hash(der, (word32)n, pin.key), 0);
	return pin;
}

START_TEST(a_pinned_name_needs_one_of_its_keys)
{
	struct tls_options o = pki_options();
	const struct tls_pin pins[] = { pin_of("good", "rsa.pub"), pin_of("good", "good.pub"), pin_of("rsa", "good.pub"), pin_of("absent", "rsa.pub") };
	o.pins = pins;
	o.n_pins = 4;
	expect_in(&o, wolfTLSv1_3_client_method(), "good", "good.crt", "TLSv1.3");
	expect_in(&o, wolfTLSv1_2_client_method(), "v1", "v1.crt", "TLSv1.2"); /* not pinned */
	expect_out(&o, "rsa", "rsa.crt", NULL, TLS_CAUSE_PIN);
	ck_assert_str_eq(refusal, "CN 'rsa'");
	o.n_pins = 1;
	expect_out(&o, "good", "good.crt", NULL, TLS_CAUSE_PIN);
}
END_TEST

START_TEST(the_peers_own_intermediates_are_needed_whoever_sent_them_before)
{
	struct tls_options o = pki_options();
	struct peer p;
	struct tls_ctx *ctx = context(&o);
	for (int i = 0; i < 2; i++) {
		struct tls_conn *c = tls_conn_new(ctx);
		peer_open(&p, wolfTLSv1_3_client_method(), "viainter", i ? "viainter.crt" : "viainter.pem", NULL);
		ck_assert_int_eq(handshake(c, &p, 0), i ? TLS_FAILED : TLS_DONE);
		ck_assert_int_eq(tls_conn_cause(c), i ? TLS_CAUSE_UNKNOWN_CA : TLS_CAUSE_NONE);
		tls_conn_free(c);
		peer_close(&p);
	}
	tls_ctx_unref(ctx);
}
END_TEST

static char warnings[2048];

static void note_warning(void *arg, const char *text)
{
	(void)arg;
	strncat(warnings, text, sizeof warnings - strlen(warnings) - 2);
	strcat(warnings, "\n");
}

START_TEST(an_authority_out_of_its_time_is_left_out_with_a_warning)
{
	char ca[128];
	struct tls_options o = pki_options();
	o.cafile = strcpy(ca, pki_path("oldcas.pem"));
	o.warn = note_warning;
	*warnings = '\0';
	expect_in(&o, wolfTLSv1_3_client_method(), "good", "good.crt", "TLSv1.3");
	ck_assert_ptr_nonnull(strstr(warnings, "oldcas.pem: the CA 'Old CA' expired on 2020-02-01 and is left out"));
	o.cafile = strcpy(ca, pki_path("old.crt"));
	char error[256];
	ck_assert_ptr_null(tls_ctx_new(&o, error, sizeof error));
	ck_assert_ptr_nonnull(strstr(error, "holds no PEM certificate of a CA that is valid now"));
}
END_TEST

START_TEST(what_is_odd_about_the_own_certificate_is_told)
{
	char crt[128], key[128];
	struct tls_options o = pki_options();
	o.warn = note_warning;
	*warnings = '\0';
	o.certfile = strcpy(crt, pki_path("good.crt"));
	o.keyfile = strcpy(key, pki_path("good.key"));
	tls_ctx_unref(context(&o));
	ck_assert_ptr_nonnull(strstr(warnings, "'good' has no subjectAltName"));
	ck_assert_ptr_nonnull(strstr(warnings, "'good' is not meant for TLS servers"));
	ck_assert_ptr_null(strstr(warnings, "expired"));
	o.certfile = strcpy(crt, pki_path("ended.crt"));
	*warnings = '\0';
	tls_ctx_unref(context(&o));
	ck_assert_ptr_nonnull(strstr(warnings, "ended.crt: 'good' expired on 2020-02-01: clients will refuse it"));
}
END_TEST

START_TEST(the_first_to_end_of_each_kind_is_known)
{
	struct tls_options o = options_with_crl("stalenew.crl");
	struct tls_ctx *ctx = context(&o);
	const struct tls_dates *d = tls_ctx_dates(ctx);
	int64_t now_s = time(NULL);
	ck_assert_str_eq(d->own.name, "server");
	ck_assert_int_gt(d->own.end_s, now_s + 4 * 86400);
	ck_assert_int_lt(d->own.end_s, now_s + 6 * 86400);
	ck_assert_str_eq(d->authority.name, "inter"); /* 5 days; "Test CA" has 30 */
	ck_assert_int_lt(d->authority.end_s, now_s + 6 * 86400);
	ck_assert_str_eq(d->list.name, "Test CA");
	ck_assert_int_gt(d->list.end_s, now_s + 29 * 86400);
	tls_ctx_unref(ctx);
	o = pki_options();
	ctx = context(&o);
	ck_assert_int_eq(tls_ctx_dates(ctx)->list.end_s, INT64_MAX);
	tls_ctx_unref(ctx);
}
END_TEST

static struct bytes craft(int version, long from_s, long to_s, int eku, const char *issuer_key, const char *cn, size_t cn_len)
{
	static struct bytes subject;
	struct bytes out = { .n = 0 };
	subject.n = 0;
	put_cn(&subject, 0x0c, cn, cn_len);
	struct craft c = { &subject, version, from_s, to_s, eku, issuer_key };
	pki_craft(&out, &c, "good.key");
	return out;
}

START_TEST(validity_is_checked)
{
	struct tls_options o = pki_options();
	struct bytes der = craft(2, -7200, -3600, 1, "ca.key", "late", 4);
	expect_out(&o, "good", NULL, &der, TLS_CAUSE_EXPIRED);
	der = craft(2, 2 * 86400, 3 * 86400, 1, "ca.key", "early", 5);
	expect_out(&o, "good", NULL, &der, TLS_CAUSE_NOT_YET_VALID);
}
END_TEST

START_TEST(a_common_name_that_lies_is_refused_and_shown_escaped)
{
	struct tls_options o = pki_options();
	struct bytes der = craft(2, -3600, 3600, 1, "ca.key", "admin\0.evil", 11);
	expect_out(&o, "good", NULL, &der, TLS_CAUSE_BAD_CN);
	ck_assert_str_eq(refusal, "the CN holds a NUL: \"admin\\x00.evil\"");
	der = craft(2, -3600, 3600, 1, "ca.key", "a\nb", 3);
	expect_out(&o, "good", NULL, &der, TLS_CAUSE_BAD_CN);
	ck_assert_str_eq(refusal, "the CN holds a control character: \"a\\x0ab\"");
}
END_TEST

/* wolfSSL reports -141 both for a v1 leaf that is otherwise verified and from its parser, before it verified anything. */
START_TEST(a_v1_certificate_escapes_no_other_check)
{
	struct tls_options o = pki_options();
	struct bytes der;
	expect_out(&o, "v1other", "v1other.crt", NULL, TLS_CAUSE_UNKNOWN_CA);
	expect_out(&o, "v1twin", "v1twin.crt", NULL, TLS_CAUSE_UNKNOWN_CA);
	for (int version = -1; version < 1; version++) { /* left out, or written as 0 */
		der = craft(version, -7200, -3600, 0, "ca.key", "v1", 2);
		expect_out(&o, "good", NULL, &der, TLS_CAUSE_EXPIRED);
		der = craft(version, 3600 * 48, 3600 * 72, 0, "ca.key", "v1", 2);
		expect_out(&o, "good", NULL, &der, TLS_CAUSE_NOT_YET_VALID);
		der = craft(version, -3600, 3600, 0, "twin.key", "admin", 5);
		expect_out(&o, "good", NULL, &der, TLS_CAUSE_UNKNOWN_CA);
	}
	o = options_with_crl("both.crl");
	expect_out(&o, "v1revoked", "v1revoked.crt", NULL, TLS_CAUSE_REVOKED);
	o = pki_options();
	/* v2, honestly signed: not v1, so not excepted */
	der = craft(1, -3600, 3600, 0, "ca.key", "v2", 2);
	expect_out(&o, "good", NULL, &der, TLS_CAUSE_BAD_CERTIFICATE);
}
END_TEST

/* A wolfSSL client will not load such certificates itself: in 1.2, where it is in clear, the message is exchanged on the way.
 * Were the certificate accepted, the failure would come later, with the cause TLS_CAUSE_PROTOCOL. */
static enum tls_cause refuse_swapped(const struct bytes *der)
{
	struct tls_options o = pki_options();
	struct peer p;
	struct tls_ctx *ctx = context(&o);
	struct tls_conn *c = tls_conn_new(ctx);
	size_t at;
	peer_open(&p, wolfTLSv1_2_client_method(), "good", "good.crt", NULL);
	(void)!wolfSSL_connect(p.ssl);
	ck_assert_int_eq(serve_accept(c, &p, 0), TLS_WANT_READ);
	(void)!wolfSSL_connect(p.ssl);
	struct wire old = p.to_server;
	p.to_server = (struct wire){ .b = NULL };
	for (at = old.at; at < old.n; at += 5 + ((size_t)old.b[at + 3] << 8 | old.b[at + 4]))
		if (old.b[at] == 22 && old.b[at + 5] == 11)
			break;
	ck_assert_uint_lt(at, old.n);
	size_t n = der->n; /* record, handshake message 11, list, certificate: each with its length */
	uint8_t head[] = { 22, 3, 3, (uint8_t)((n + 10) >> 8), (uint8_t)(n + 10), 11, 0, (uint8_t)((n + 6) >> 8), (uint8_t)(n + 6),
		           0, (uint8_t)((n + 3) >> 8), (uint8_t)(n + 3), 0, (uint8_t)(n >> 8), (uint8_t)n };
	wire_put(&p.to_server, old.b + old.at, at - old.at);
	wire_put(&p.to_server, head, sizeof head);
	wire_put(&p.to_server, der->b, n);
	at += 5 + ((size_t)old.b[at + 3] << 8 | old.b[at + 4]);
	wire_put(&p.to_server, old.b + at, old.n - at);
	free(old.b);
	ck_assert_int_eq(serve_accept(c, &p, 0), TLS_FAILED);
	enum tls_cause cause = tls_conn_cause(c);
	snprintf(refusal, sizeof refusal, "%s", tls_conn_detail(c));
	tls_conn_free(c);
	tls_ctx_unref(ctx);
	peer_close(&p);
	return cause;
}

START_TEST(certificates_that_only_the_parser_refuses_are_not_taken_for_v1)
{
	static const struct { int version, eku; const char *issuer; } in[] = { /* the parser says -141, before any signature is checked */
		{ -1, 1, "twin.key" }, { 0, 1, "twin.key" }, { 1, 1, "twin.key" }, { 7, 0, "twin.key" }, { 7, 1, "twin.key" },
		{ -1, 1, "ca.key" }, { 0, 1, "ca.key" }, { 1, 1, "ca.key" },
	};
	struct bytes der;
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		der = craft(in[i].version, -3600, 3600, in[i].eku, in[i].issuer, "admin", 5);
		enum tls_cause cause = refuse_swapped(&der);
		ck_assert_msg(cause == TLS_CAUSE_BAD_CERTIFICATE, "case %zu: %s (%s)", i, tls_cause_text(cause), refusal);
	}
	/* the method itself: a good certificate of somebody else passes the check, and fails at the proof of its key */
	der = craft(2, -3600, 3600, 1, "ca.key", "admin", 5);
	ck_assert_int_eq(refuse_swapped(&der), TLS_CAUSE_PROTOCOL);
}
END_TEST

static enum tls_cause after_bytes(const void *bytes, size_t len)
{
	static uint8_t out[TLS_FLIGHT_MAX];
	struct tls_options o = pki_options();
	struct tls_ctx *ctx = context(&o);
	struct tls_conn *c = tls_conn_new(ctx);
	struct tls_io io = { .in = bytes, .in_len = len, .out = out, .out_cap = sizeof out };
	enum tls_status s = tls_accept(c, &io);
	enum tls_cause cause = tls_conn_cause(c);
	ck_assert(s == (cause == TLS_CAUSE_NONE ? TLS_WANT_READ : TLS_FAILED));
	if (cause == TLS_CAUSE_PLAINTEXT)
		ck_assert_uint_eq(io.out_len, 0); /* nobody on the other side reads TLS alerts */
	snprintf(refusal, sizeof refusal, "%s", tls_conn_detail(c));
	tls_conn_free(c);
	tls_ctx_unref(ctx);
	return cause;
}

START_TEST(plain_text_is_recognised)
{
	/* CONNECT, MQTT 3.1.1, keepalive 60, client id "a" */
	ck_assert_int_eq(after_bytes("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01" "a", 15), TLS_CAUSE_PLAINTEXT);
	ck_assert_str_eq(refusal, "first byte 0x10 (an MQTT CONNECT)");
	ck_assert_int_eq(after_bytes("GET / HTTP/1.1\r\n", 16), TLS_CAUSE_PLAINTEXT);
	ck_assert_int_eq(after_bytes("\x80", 1), TLS_CAUSE_PLAINTEXT); /* SSL 2 */
	ck_assert_int_eq(after_bytes("\x17\x03\x03", 3), TLS_CAUSE_PLAINTEXT);
	ck_assert_int_eq(after_bytes("\x16", 1), TLS_CAUSE_NONE);
	ck_assert_int_eq(after_bytes("", 0), TLS_CAUSE_NONE);
}
END_TEST

START_TEST(garbage_after_a_handshake_byte_is_a_protocol_error)
{
	ck_assert_int_eq(after_bytes("\x16\x03\x01\x00\x04\x01\x00\x00\x00", 9), TLS_CAUSE_PROTOCOL); /* empty ClientHello */
	ck_assert_int_eq(after_bytes("\x16\x03\x01\xff\xff", 5), TLS_CAUSE_PROTOCOL);                 /* a record of 65,535 bytes */
	ck_assert_int_ne(after_bytes("\x16\x09\x09\x00\x04\x01\x00\x00\x00", 9), TLS_CAUSE_NONE);
}
END_TEST

START_TEST(versions_and_suites_without_common_ground_have_their_cause)
{
	struct tls_options o = pki_options();
	o.tls12 = false;
	enum tls_cause c = refuse(&o, wolfTLSv1_2_client_method(), "good", "good.crt", NULL);
	ck_assert_msg(c == TLS_CAUSE_VERSION, "%s (%s)", tls_cause_text(c), refusal);
	o = pki_options();
	o.ciphers_tls13 = "TLS_AES_128_GCM_SHA256";
	struct peer p;
	struct tls_ctx *ctx = context(&o);
	struct tls_conn *conn = tls_conn_new(ctx);
	peer_open(&p, wolfTLSv1_3_client_method(), "good", "good.crt", NULL);
	ck_assert_int_eq(wolfSSL_set_cipher_list(p.ssl, "TLS13-AES256-GCM-SHA384"), WOLFSSL_SUCCESS);
	ck_assert_int_eq(handshake(conn, &p, 0), TLS_FAILED);
	ck_assert_msg(tls_conn_cause(conn) == TLS_CAUSE_CIPHER, "%s", tls_conn_detail(conn));
	tls_conn_free(conn);
	tls_ctx_unref(ctx);
	peer_close(&p);
}
END_TEST

START_TEST(a_client_that_distrusts_the_server_is_told_apart)
{
	struct tls_options o = pki_options();
	char crt[128], key[128];
	strcpy(crt, pki_path("stranger.crt"));
	strcpy(key, pki_path("stranger.key"));
	o.certfile = crt;
	o.keyfile = key;
	struct peer p;
	struct tls_ctx *ctx = context(&o);
	struct tls_conn *c = tls_conn_new(ctx);
	peer_open(&p, wolfTLSv1_3_client_method(), "good", "good.crt", NULL);
	enum tls_status s = TLS_WANT_READ;
	for (int i = 0; i < 5 && s == TLS_WANT_READ; i++) {
		(void)!wolfSSL_connect(p.ssl);
		s = serve_accept(c, &p, 0);
	}
	ck_assert_int_eq(s, TLS_FAILED);
	ck_assert_msg(tls_conn_cause(c) == TLS_CAUSE_PEER_ALERT, "%s", tls_conn_detail(c));
	ck_assert_ptr_nonnull(strstr(tls_conn_detail(c), "alert "));
	tls_conn_free(c);
	tls_ctx_unref(ctx);
	peer_close(&p);
}
END_TEST

START_TEST(a_bad_configuration_names_the_file_and_the_reason)
{
	static const struct { const char *ca, *crt, *key, *crl, *ciphers, *c13, *expect; } in[] = {
		{ NULL, "server.crt", "server.key", NULL, NULL, NULL, "cafile or capath" },
		{ "absent.crt", "server.crt", "server.key", NULL, NULL, NULL, "absent.crt: No such file" },
		{ "server.key", "server.crt", "server.key", NULL, NULL, NULL, "cafile" },
		{ "ca.crt", "absent.crt", "server.key", NULL, NULL, NULL, "certfile" },
		{ "ca.crt", "server.key", "server.key", NULL, NULL, NULL, "certfile" },
		{ "ca.crt", "server.crt", "absent.key", NULL, NULL, NULL, "keyfile" },
		{ "ca.crt", "server.crt", "server.crt", NULL, NULL, NULL, "keyfile" },
		{ "ca.crt", "server.crt", "good.key", NULL, NULL, NULL, "keyfile" },
		{ "ca.crt", "server.crt", NULL, NULL, NULL, NULL, "certfile and keyfile are needed" },
		{ "ca.crt", "server.crt", "server.key", "absent.crl", NULL, NULL, "absent.crl: No such file" },
		{ "ca.crt", "server.crt", "server.key", "server.crt", NULL, NULL, "holds no PEM revocation list" },
		{ "other.crt", "server.crt", "server.key", "ca.crl", NULL, NULL, "not in cafile" },
		{ "ca.crt", "server.crt", "server.key", "delta.crl", NULL, NULL, "delta.crl: list 1 has a critical extension" },
		{ "ca.crt", "server.crt", "server.key", "cut.pem", NULL, NULL, "cut.pem: block 2 is cut short" },
		{ "cut.pem", "server.crt", "server.key", NULL, NULL, NULL, "cut.pem: block 1 is cut short" },
		{ "leafcas.pem", "server.crt", "server.key", NULL, NULL, NULL, "leafcas.pem: certificate 2 ('good') is not a CA's" },
		{ "ca.crt", "rsa1024.crt", "rsa1024.key", NULL, NULL, NULL, "certfile" },
		{ "ca.crt", "server.crt", "server.key", NULL, "AES128-SHA", NULL, "'AES128-SHA' is unknown, or not allowed" },
		{ "ca.crt", "server.crt", "server.key", NULL, "HIGH:!aNULL", NULL, "'HIGH'" },
		{ "ca.crt", "server.crt", "server.key", NULL, NULL, "TLS_NULL", "ciphers_tls1.3: 'TLS_NULL'" },
	};
	char ca[128], crt[128], key[128], crl[128], error[256];
	for (size_t i = 0; i < sizeof in / sizeof in[0]; i++) {
		struct tls_options o = { .tls12 = true, .ciphers = in[i].ciphers, .ciphers_tls13 = in[i].c13 };
		if (in[i].ca)
			o.cafile = strcpy(ca, pki_path(in[i].ca));
		if (in[i].crt)
			o.certfile = strcpy(crt, pki_path(in[i].crt));
		if (in[i].key)
			o.keyfile = strcpy(key, pki_path(in[i].key));
		if (in[i].crl)
			o.crlfile = strcpy(crl, pki_path(in[i].crl));
		error[0] = '\0';
		ck_assert_ptr_null(tls_ctx_new(&o, error, sizeof error));
		ck_assert_msg(strstr(error, in[i].expect) != NULL, "case %zu: %s", i, error);
	}
}
END_TEST

START_TEST(a_directory_of_authorities_is_trusted)
{
	char dir[128], cmd[400];
	snprintf(cmd, sizeof cmd, "mkdir -p %s/cas && cp %s/ca.crt %s/cas/", pki_dir, pki_dir, pki_dir);
	ck_assert_int_eq(system(cmd), 0);
	struct tls_options o = pki_options();
	o.cafile = NULL;
	o.capath = strcpy(dir, pki_path("cas"));
	expect_in(&o, wolfTLSv1_3_client_method(), "good", "good.crt", "TLSv1.3");
}
END_TEST

/* ---- data */

struct pair { struct tls_ctx *ctx; struct tls_conn *c; struct peer p; };

static struct pair connected(WOLFSSL_METHOD *method)
{
	struct pair x;
	struct tls_options o = pki_options();
	x.ctx = context(&o);
	x.c = tls_conn_new(x.ctx);
	peer_open(&x.p, method, "good", "good.crt", NULL);
	ck_assert_int_eq(handshake(x.c, &x.p, 0), TLS_DONE);
	return x;
}

/* The peer holds pointers into the pair: reset them after the copy. */
static void settle(struct pair *x)
{
	wolfSSL_SetIOReadCtx(x->p.ssl, &x->p);
	wolfSSL_SetIOWriteCtx(x->p.ssl, &x->p);
}

static void disconnect(struct pair *x)
{
	tls_conn_free(x->c);
	tls_ctx_unref(x->ctx);
	peer_close(&x->p);
}

START_TEST(the_handshake_works_in_every_split)
{
	struct tls_options o = pki_options();
	struct tls_ctx *ctx = context(&o);
	for (int v = 0; v < 2; v++) {
		for (size_t step = 1; step < 700; step += step < 12 ? 1 : 97) {
			struct peer p;
			struct tls_conn *c = tls_conn_new(ctx);
			peer_open(&p, v ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method(), "good", "good.crt", NULL);
			ck_assert_int_eq(handshake(c, &p, step), TLS_DONE);
			ck_assert_str_eq(tls_conn_identity(c)->cn, "good");
			tls_conn_free(c);
			peer_close(&p);
		}
	}
	tls_ctx_unref(ctx);
}
END_TEST

START_TEST(data_arrive_whole_however_the_ciphertext_is_cut)
{
	static uint8_t buf[4 * TLS_RECORD_MAX];
	struct pair x = connected(wolfTLSv1_3_client_method());
	settle(&x);
	for (size_t cut = 0; cut < 140; cut++) { /* three records, cut in two at every byte */
		char got[64] = "";
		size_t have = 0, n;
		x.p.to_server.at = x.p.to_server.n = 0;
		ck_assert_int_eq(wolfSSL_write(x.p.ssl, "one", 3), 3);
		ck_assert_int_eq(wolfSSL_write(x.p.ssl, "twotwo", 6), 6);
		ck_assert_int_eq(wolfSSL_write(x.p.ssl, "threethree", 10), 10);
		size_t total = x.p.to_server.n;
		size_t first = cut < total ? cut : total;
		for (int half = 0; half < 2; half++) {
			struct tls_io io = { .in = x.p.to_server.b + (half ? first : 0), .in_len = half ? total - first : first };
			ck_assert_int_eq(tls_read(x.c, &io, buf, sizeof buf, &n), TLS_WANT_READ);
			ck_assert_uint_eq(io.in_len, 0);
			ck_assert_uint_le(have + n, 19);
			memcpy(got + have, buf, n);
			have += n;
		}
		ck_assert_uint_eq(have, 19);
		ck_assert_str_eq(got, "onetwotwothreethree");
		x.p.to_server.at = x.p.to_server.n;
	}
	disconnect(&x);
}
END_TEST

/* Ends because buf is full: returns TLS_DONE or WANT_READ, and goes on at the next call. */
static void stream(struct pair *x, size_t total, size_t chunk, size_t slice, size_t cap)
{
	uint8_t *in = malloc(cap), *piece = malloc(chunk);
	size_t sent = 0, got = 0, n;
	ck_assert(in && piece);
	while (got < total) {
		if (sent < total && x->p.to_server.at == x->p.to_server.n) {
			size_t m = total - sent < chunk ? total - sent : chunk;
			for (size_t i = 0; i < m; i++)
				piece[i] = (uint8_t)((sent + i) * 31 >> 3);
			ck_assert_int_eq(wolfSSL_write(x->p.ssl, piece, (int)m), (int)m);
			sent += m;
		}
		size_t left = x->p.to_server.n - x->p.to_server.at, m = left < slice ? left : slice;
		struct tls_io io = { .in = x->p.to_server.b + x->p.to_server.at, .in_len = m };
		enum tls_status s;
		do {
			s = tls_read(x->c, &io, in, cap, &n);
			ck_assert(s == TLS_DONE || s == TLS_WANT_READ);
			for (size_t i = 0; i < n; i++)
				if (in[i] != (uint8_t)((got + i) * 31 >> 3))
					ck_abort_msg("byte %zu differs", got + i);
			got += n;
		} while (s == TLS_DONE);
		ck_assert_uint_eq(io.in_len, 0);
		x->p.to_server.at += m;
	}
	ck_assert_uint_eq(got, total);
	free(in);
	free(piece);
}

START_TEST(long_streams_arrive_unchanged)
{
	struct pair x = connected(wolfTLSv1_3_client_method());
	settle(&x);
	stream(&x, 10u << 20, 100000, 65536, 65536);
	stream(&x, 1u << 20, 16384, 1000, TLS_RECORD_MAX);
	stream(&x, 1u << 18, 7, 65536, TLS_RECORD_MAX + 5);
	disconnect(&x);
	x = connected(wolfTLSv1_2_client_method());
	settle(&x);
	stream(&x, 10u << 20, 100000, 65536, 65536);
	disconnect(&x);
}
END_TEST

static void send_and_check(struct pair *x, size_t len)
{
	size_t records = len / TLS_RECORD_MAX + (len % TLS_RECORD_MAX != 0), cap = len + records * TLS_RECORD_OVERHEAD, got = 0;
	uint8_t *data = malloc(len + 1), *out = malloc(cap + 1), *back = malloc(len + 1);
	ck_assert(data && out && back);
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 >> 2);
	struct tls_io io = { .out = out, .out_cap = cap };
	ck_assert_int_eq(tls_write(x->c, &io, data, len), TLS_DONE);
	ck_assert_uint_le(io.out_len, cap);
	size_t seen = 0, at = 0;
	for (; at < io.out_len; seen++)
		at += 5 + ((size_t)out[at + 3] << 8 | out[at + 4]);
	ck_assert_uint_eq(at, io.out_len);
	ck_assert_uint_eq(seen, records);
	wire_put(&x->p.to_peer, out, io.out_len);
	while (got < len) {
		int n = wolfSSL_read(x->p.ssl, back + got, (int)(len - got));
		ck_assert_int_gt(n, 0);
		got += (size_t)n;
	}
	ck_assert(memcmp(data, back, len) == 0);
	free(data);
	free(out);
	free(back);
}

START_TEST(writes_are_cut_into_as_few_records_as_possible)
{
	static const size_t lens[] = { 0, 1, 2, 16383, 16384, 16385, 32768, 100000, 10u << 20 };
	for (int v = 0; v < 2; v++) {
		struct pair x = connected(v ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method());
		settle(&x);
		for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++)
			send_and_check(&x, lens[i]);
		disconnect(&x);
	}
}
END_TEST

START_TEST(a_write_without_room_fails_before_anything_leaves)
{
	struct pair x = connected(wolfTLSv1_3_client_method());
	static uint8_t out[200];
	settle(&x);
	for (size_t cap = 0; cap < 2; cap++) {
		struct tls_io io = { .out = out, .out_cap = cap ? 100 + TLS_RECORD_OVERHEAD - 1 : 0 };
		ck_assert_int_eq(tls_write(x.c, &io, out, 100), TLS_FAILED);
		ck_assert_uint_eq(io.out_len, 0);
	}
	disconnect(&x);
}
END_TEST

START_TEST(close_notify_is_seen_and_sent)
{
	for (int v = 0; v < 2; v++) {
		static uint8_t buf[4 * TLS_RECORD_MAX], out[256];
		struct pair x = connected(v ? wolfTLSv1_3_client_method() : wolfTLSv1_2_client_method());
		size_t n;
		settle(&x);
		ck_assert_int_eq(wolfSSL_write(x.p.ssl, "bye", 3), 3);
		(void)wolfSSL_shutdown(x.p.ssl);
		struct tls_io io = { .in = x.p.to_server.b + x.p.to_server.at, .in_len = x.p.to_server.n - x.p.to_server.at, .out = out, .out_cap = sizeof out };
		ck_assert_int_eq(tls_read(x.c, &io, buf, sizeof buf, &n), TLS_CLOSED);
		ck_assert_uint_eq(n, 3);
		ck_assert_mem_eq(buf, "bye", 3);
		ck_assert_int_eq(tls_read(x.c, &io, buf, sizeof buf, &n), TLS_CLOSED);
		tls_close(x.c, &io);
		ck_assert_uint_gt(io.out_len, 0);
		wire_put(&x.p.to_peer, out, io.out_len);
		ck_assert_int_le(wolfSSL_read(x.p.ssl, buf, sizeof buf), 0);
		ck_assert_int_eq(wolfSSL_get_error(x.p.ssl, 0), WOLFSSL_ERROR_ZERO_RETURN);
		disconnect(&x);
	}
}
END_TEST

START_TEST(a_damaged_record_fails_with_an_alert)
{
	static uint8_t buf[4 * TLS_RECORD_MAX], out[256];
	struct pair x = connected(wolfTLSv1_3_client_method());
	size_t n;
	settle(&x);
	ck_assert_int_eq(wolfSSL_write(x.p.ssl, "good", 4), 4);
	ck_assert_int_eq(wolfSSL_write(x.p.ssl, "evil", 4), 4);
	x.p.to_server.b[x.p.to_server.n - 3] ^= 1;
	struct tls_io io = { .in = x.p.to_server.b + x.p.to_server.at, .in_len = x.p.to_server.n - x.p.to_server.at, .out = out, .out_cap = sizeof out };
	ck_assert_int_eq(tls_read(x.c, &io, buf, sizeof buf, &n), TLS_FAILED);
	ck_assert_uint_eq(n, 4); /* what was sound is delivered */
	ck_assert_mem_eq(buf, "good", 4);
	ck_assert_int_eq(tls_conn_cause(x.c), TLS_CAUSE_PROTOCOL);
	ck_assert_uint_eq(io.out_len, 0);
	tls_close(x.c, &io);
	ck_assert_uint_gt(io.out_len, 0);
	wire_put(&x.p.to_peer, out, io.out_len);
	ck_assert_int_le(wolfSSL_read(x.p.ssl, buf, sizeof buf), 0);
	ck_assert_int_eq(wolfSSL_get_error(x.p.ssl, -1), FATAL_ERROR); /* the peer was told */
	disconnect(&x);
}
END_TEST

/* The answer leaves before the next data, whether or not there was room while reading. */
START_TEST(key_updates_are_answered_with_the_next_write)
{
	static uint8_t buf[4 * TLS_RECORD_MAX], out[4096];
	struct pair x = connected(wolfTLSv1_3_client_method());
	size_t n;
	settle(&x);
	for (int round = 0; round < 6; round++) {
		ck_assert_int_eq(wolfSSL_update_keys(x.p.ssl), WOLFSSL_SUCCESS);
		ck_assert_int_eq(wolfSSL_write(x.p.ssl, "after", 5), 5);
		struct tls_io io = { .in = x.p.to_server.b + x.p.to_server.at, .in_len = x.p.to_server.n - x.p.to_server.at, .out = out,
			             .out_cap = round % 2 ? sizeof out : 0 };
		ck_assert_int_eq(tls_read(x.c, &io, buf, sizeof buf, &n), TLS_WANT_READ);
		ck_assert_uint_eq(n, 5);
		ck_assert_mem_eq(buf, "after", 5);
		ck_assert_uint_eq(io.out_len, 0);
		x.p.to_server.at = x.p.to_server.n;
		io.out_cap = round < 3 ? 5 + TLS_RECORD_OVERHEAD : sizeof out; /* what was promised is enough */
		ck_assert_int_eq(tls_write(x.c, &io, (const uint8_t *)"reply", 5), TLS_DONE);
		wire_put(&x.p.to_peer, out, io.out_len);
		ck_assert_int_eq(wolfSSL_read(x.p.ssl, buf, sizeof buf), 5);
		ck_assert_mem_eq(buf, "reply", 5);
	}
	disconnect(&x);
}
END_TEST

START_TEST(a_flood_of_key_updates_ends_the_connection)
{
	static uint8_t buf[4 * TLS_RECORD_MAX];
	struct pair x = connected(wolfTLSv1_3_client_method());
	enum tls_status s = TLS_WANT_READ;
	size_t n;
	settle(&x);
	for (int i = 0; i < 1000 && s == TLS_WANT_READ; i++) {
		/* the client asks again although it was not answered: its own state is reset by a record of its own */
		ck_assert_int_eq(wolfSSL_update_keys(x.p.ssl), WOLFSSL_SUCCESS);
		struct tls_io io = { .in = x.p.to_server.b + x.p.to_server.at, .in_len = x.p.to_server.n - x.p.to_server.at };
		s = tls_read(x.c, &io, buf, sizeof buf, &n);
		x.p.to_server.at = x.p.to_server.n;
	}
	ck_assert_int_eq(s, TLS_FAILED);
	disconnect(&x);
}
END_TEST

START_TEST(data_behind_the_handshake_are_left_for_read)
{
	static uint8_t out[TLS_FLIGHT_MAX], buf[4 * TLS_RECORD_MAX];
	struct tls_options o = pki_options();
	struct tls_ctx *ctx = context(&o);
	struct tls_conn *c = tls_conn_new(ctx);
	struct peer p;
	size_t n;
	peer_open(&p, wolfTLSv1_3_client_method(), "good", "good.crt", NULL);
	ck_assert_int_ne(wolfSSL_connect(p.ssl), WOLFSSL_SUCCESS);
	ck_assert_int_eq(serve_accept(c, &p, 0), TLS_WANT_READ);
	ck_assert_int_eq(wolfSSL_connect(p.ssl), WOLFSSL_SUCCESS);
	ck_assert_int_eq(wolfSSL_write(p.ssl, "CONNECT", 7), 7);
	struct tls_io io = { .in = p.to_server.b + p.to_server.at, .in_len = p.to_server.n - p.to_server.at, .out = out, .out_cap = sizeof out };
	ck_assert_int_eq(tls_accept(c, &io), TLS_DONE);
	ck_assert_uint_gt(io.in_len, 0);
	ck_assert_int_eq(tls_read(c, &io, buf, sizeof buf, &n), TLS_WANT_READ);
	ck_assert_uint_eq(n, 7);
	ck_assert_mem_eq(buf, "CONNECT", 7);
	tls_conn_free(c);
	tls_ctx_unref(ctx);
	peer_close(&p);
}
END_TEST

/* Reloading builds a new context; what is connected stays. */
START_TEST(connections_outlive_their_context)
{
	struct pair x = connected(wolfTLSv1_3_client_method());
	settle(&x);
	tls_ctx_unref(x.ctx);
	send_and_check(&x, 1000);
	tls_conn_free(x.c);
	peer_close(&x.p);
}
END_TEST

START_TEST(no_ticket_is_handed_out)
{
	struct pair x = connected(wolfTLSv1_3_client_method());
	settle(&x);
	ck_assert_uint_eq(x.p.to_peer.at, x.p.to_peer.n); /* a NewSessionTicket would wait here */
	disconnect(&x);
}
END_TEST

/* ---- a trap in wolfSSL that shapes tls_conn_send (docs: after WANT_WRITE the retry must be the same) */

static bool choke;

static int choking_send(WOLFSSL *ssl, char *buf, int size, void *arg)
{
	return choke ? WOLFSSL_CBIO_ERR_WANT_WRITE : peer_send(ssl, buf, size, arg);
}

START_TEST(wolfssl_wants_the_same_bytes_after_want_write)
{
	static uint8_t buf[256];
	struct pair x = connected(wolfTLSv1_3_client_method());
	settle(&x);
	wolfSSL_SSLSetIOSend(x.p.ssl, choking_send);
	choke = true;
	ck_assert_int_lt(wolfSSL_write(x.p.ssl, "0123456789", 10), 0);
	ck_assert_int_eq(wolfSSL_get_error(x.p.ssl, -1), WOLFSSL_ERROR_WANT_WRITE);
	choke = false;
	ck_assert_uint_eq(x.p.to_server.at, x.p.to_server.n);
	int rc = wolfSSL_write(x.p.ssl, "0123", 4); /* shorter than before */
	ck_assert_int_eq(rc, -1);
	ck_assert_int_eq(wolfSSL_get_error(x.p.ssl, rc), BAD_FUNC_ARG);
	ck_assert_uint_gt(x.p.to_server.n, x.p.to_server.at); /* yet the record has left */
	size_t n;
	struct tls_io io = { .in = x.p.to_server.b + x.p.to_server.at, .in_len = x.p.to_server.n - x.p.to_server.at };
	ck_assert_int_eq(tls_read(x.c, &io, buf, 0, &n), TLS_DONE); /* no room: nothing is read, nothing is lost */
	static uint8_t big[TLS_RECORD_MAX];
	ck_assert_int_eq(tls_read(x.c, &io, big, sizeof big, &n), TLS_WANT_READ);
	ck_assert_uint_eq(n, 10);
	disconnect(&x);
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK)
		return 2;
	pki_create();
	Suite *s = suite_create("tls");
	TCase *t = tcase_create("all");
	tcase_set_timeout(t, 240);
	tcase_add_test(t, good_clients_get_in_by_both_versions);
	tcase_add_test(t, an_intermediate_sent_along_is_used);
	tcase_add_test(t, a_v1_certificate_gets_in);
	tcase_add_test(t, the_cipher_is_named_and_can_be_chosen);
	tcase_add_test(t, with_revocation_lists_for_the_whole_chain_the_unrevoked_get_in);
	tcase_add_test(t, every_kind_of_bad_certificate_has_its_cause);
	tcase_add_test(t, a_list_past_its_end_refuses_all_or_still_revokes);
	tcase_add_test(t, a_pinned_name_needs_one_of_its_keys);
	tcase_add_test(t, the_peers_own_intermediates_are_needed_whoever_sent_them_before);
	tcase_add_test(t, an_authority_out_of_its_time_is_left_out_with_a_warning);
	tcase_add_test(t, what_is_odd_about_the_own_certificate_is_told);
	tcase_add_test(t, the_first_to_end_of_each_kind_is_known);
	tcase_add_test(t, revoked_certificates_are_refused_and_missing_lists_fail_closed);
	tcase_add_test(t, validity_is_checked);
	tcase_add_test(t, a_common_name_that_lies_is_refused_and_shown_escaped);
	tcase_add_test(t, a_v1_certificate_escapes_no_other_check);
	tcase_add_test(t, certificates_that_only_the_parser_refuses_are_not_taken_for_v1);
	tcase_add_test(t, plain_text_is_recognised);
	tcase_add_test(t, garbage_after_a_handshake_byte_is_a_protocol_error);
	tcase_add_test(t, versions_and_suites_without_common_ground_have_their_cause);
	tcase_add_test(t, a_client_that_distrusts_the_server_is_told_apart);
	tcase_add_test(t, a_bad_configuration_names_the_file_and_the_reason);
	tcase_add_test(t, a_directory_of_authorities_is_trusted);
	tcase_add_test(t, the_handshake_works_in_every_split);
	tcase_add_test(t, data_arrive_whole_however_the_ciphertext_is_cut);
	tcase_add_test(t, long_streams_arrive_unchanged);
	tcase_add_test(t, writes_are_cut_into_as_few_records_as_possible);
	tcase_add_test(t, a_write_without_room_fails_before_anything_leaves);
	tcase_add_test(t, close_notify_is_seen_and_sent);
	tcase_add_test(t, a_damaged_record_fails_with_an_alert);
	tcase_add_test(t, key_updates_are_answered_with_the_next_write);
	tcase_add_test(t, a_flood_of_key_updates_ends_the_connection);
	tcase_add_test(t, data_behind_the_handshake_are_left_for_read);
	tcase_add_test(t, connections_outlive_their_context);
	tcase_add_test(t, no_ticket_is_handed_out);
	tcase_add_test(t, wolfssl_wants_the_same_bytes_after_want_write);
	suite_add_tcase(s, t);
	int failed = run_suite(s);
	tls_cleanup();
	pool_drain();
	return failed;
}
