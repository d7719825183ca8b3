/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a loop remembers of verified certificates saves work and lets nobody in. */
#include "crypto/tls_known.h"

#include "base/pool.h"
#include "tests/unit/crypto/tls_peer.h"
#include "tests/unit/crypto/vectors.h"

static struct tls_known *known;

static void begin(void) { known = tls_server_known = tls_known_new(64); }

static void end(void)
{
	tls_known_free(known);
	tls_server_known = NULL;
}

static struct tls_ctx *with(const char *cafile, const char *crlfile)
{
	static char ca[128], crl[128];
	struct tls_options o = pki_options();
	o.cafile = strcpy(ca, pki_path(cafile));
	o.crlfile = crlfile ? strcpy(crl, pki_path(crlfile)) : NULL;
	return context(&o);
}

struct outcome { enum tls_cause cause; struct tls_signatures signatures; };

static struct outcome attempt(struct tls_ctx *ctx, WOLFSSL_METHOD *method, const char *name, const char *chain, const struct bytes *der)
{
	struct peer p;
	struct tls_conn *c = tls_conn_new(ctx);
	peer_open(&p, method, name, chain, der);
	enum tls_status s = handshake(c, &p, 0);
	struct outcome o = { tls_conn_cause(c), tls_conn_signatures(c) };
	ck_assert_int_eq(s == TLS_DONE, o.cause == TLS_CAUSE_NONE);
	if (s == TLS_DONE)
		ck_assert_str_eq(tls_conn_identity(c)->cn, name);
	tls_conn_free(c);
	peer_close(&p);
	return o;
}

static void expect(struct outcome o, enum tls_cause cause, unsigned remembered, unsigned verified)
{
	ck_assert_str_eq(tls_cause_text(o.cause), tls_cause_text(cause));
	ck_assert_uint_eq(o.signatures.known, remembered);
	ck_assert_uint_eq(o.signatures.verified, verified);
}

static void comes_again(WOLFSSL_METHOD *(*method)(void))
{
	begin();
	struct tls_ctx *ctx = with("ecrsa.pem", NULL);
	expect(attempt(ctx, method(), "good", "good.crt", NULL), TLS_CAUSE_NONE, 0, 1);
	expect(attempt(ctx, method(), "good", "good.crt", NULL), TLS_CAUSE_NONE, 1, 0);
	/* an RSA key signs otherwise; the authority's own certificate, which many clients send, is signed, too */
	expect(attempt(ctx, method(), "ofrsa", "ofrsa.pem", NULL), TLS_CAUSE_NONE, 0, 2);
	expect(attempt(ctx, method(), "ofrsa", "ofrsa.pem", NULL), TLS_CAUSE_NONE, 2, 0);
	expect(attempt(ctx, method(), "ofrsa", "ofrsa.crt", NULL), TLS_CAUSE_NONE, 1, 0);
	expect(attempt(ctx, method(), "rsa", "rsa.crt", NULL), TLS_CAUSE_NONE, 0, 1);
	expect(attempt(ctx, method(), "rsa", "rsa.crt", NULL), TLS_CAUSE_NONE, 1, 0);
	expect(attempt(ctx, method(), "viainter", "viainter.pem", NULL), TLS_CAUSE_NONE, 0, 2);
	expect(attempt(ctx, method(), "viainter", "viainter.pem", NULL), TLS_CAUSE_NONE, 2, 0);
	expect(attempt(ctx, method(), "v1", "v1.crt", NULL), TLS_CAUSE_NONE, 0, 2); /* looked at twice (tls_peer.c) */
	expect(attempt(ctx, method(), "v1", "v1.crt", NULL), TLS_CAUSE_NONE, 2, 0);
	tls_ctx_unref(ctx);
	end();
}

START_TEST(the_same_certificate_is_verified_once)
{
	comes_again(wolfTLSv1_3_client_method);
	comes_again(wolfTLSv1_2_client_method);
}
END_TEST

START_TEST(without_a_table_each_is_verified)
{
	struct tls_ctx *ctx = with("ca.crt", NULL);
	for (int i = 0; i < 2; i++)
		expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", "good.crt", NULL), TLS_CAUSE_NONE, 0, 0);
	tls_ctx_unref(ctx);
	ck_assert_ptr_null(tls_known_new(0));
}
END_TEST

static struct bytes der_file(const char *name)
{
	struct bytes der = { .n = 0 };
	der.n = pki_read(name, der.b, sizeof der.b);
	ck_assert_uint_gt(der.n, 0);
	return der;
}

/* The signature is the last element: what it covers is the same. */
START_TEST(another_signature_over_the_same_is_refused)
{
	begin();
	struct tls_ctx *ctx = with("ca.crt", NULL);
	struct bytes der = der_file("good.der");
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &der), TLS_CAUSE_NONE, 0, 1);
	der.b[der.n - 1] ^= 1;
	for (int i = 0; i < 3; i++) /* a failure is not remembered as one either */
		expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &der), TLS_CAUSE_UNKNOWN_CA, 0, 1);
	der = der_file("v1.der");
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "v1", NULL, &der), TLS_CAUSE_NONE, 0, 2);
	der.b[der.n - 1] ^= 1;
	for (int i = 0; i < 2; i++)
		expect(attempt(ctx, wolfTLSv1_3_client_method(), "v1", NULL, &der), TLS_CAUSE_UNKNOWN_CA, 0, 1);
	for (int i = 0; i < 2; i++)
		expect(attempt(ctx, wolfTLSv1_3_client_method(), "v1twin", "v1twin.crt", NULL), TLS_CAUSE_UNKNOWN_CA, 0, 1);
	tls_ctx_unref(ctx);
	end();
}
END_TEST

/* The known signature, over another end of validity; and another authority of the same name with the same subject's key. */
START_TEST(a_known_signature_vouches_for_nothing_else)
{
	begin();
	struct tls_ctx *ctx = with("ca.crt", NULL);
	struct bytes names = { .n = 0 }, mine = { .n = 0 }, forged = { .n = 0 };
	put_cn(&names, 0x0c, "good", 4);
	pki_craft(&mine, &(struct craft){ &names, 2, -60, 3600, 1, "ca.key" }, "good.key");
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &mine), TLS_CAUSE_NONE, 0, 1);
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &mine), TLS_CAUSE_NONE, 1, 0);
	forged = mine;
	uint8_t *serial = memmem(forged.b, forged.n, "\x11\x22\x33", 3);
	ck_assert_ptr_nonnull(serial);
	serial[2]++;
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &forged), TLS_CAUSE_UNKNOWN_CA, 0, 1);
	forged.n = 0;
	pki_craft(&forged, &(struct craft){ &names, 2, -60, 3600, 1, "twin.key" }, "good.key");
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &forged), TLS_CAUSE_UNKNOWN_CA, 0, 1);
	tls_ctx_unref(ctx);
	end();
}
END_TEST

/* The certificate is known, the key is another's: CertificateVerify is verified each time. */
START_TEST(who_has_the_certificate_alone_is_refused)
{
	begin();
	struct tls_ctx *ctx = with("ca.crt", NULL);
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", "good.crt", NULL), TLS_CAUSE_NONE, 0, 1);
	struct peer p;
	struct tls_conn *c = tls_conn_new(ctx);
	peer_open(&p, wolfTLSv1_3_client_method(), "good", "good.crt", NULL);
	ck_assert_int_eq(wolfSSL_use_PrivateKey_file(p.ssl, pki_path("revoked.key"), WOLFSSL_FILETYPE_PEM), WOLFSSL_SUCCESS);
	ck_assert_int_ne(handshake(c, &p, 0), TLS_DONE);
	ck_assert_ptr_null(tls_conn_identity(c));
	tls_conn_free(c);
	peer_close(&p);
	tls_ctx_unref(ctx);
	end();
}
END_TEST

START_TEST(what_changed_at_a_reload_is_judged_at_once)
{
	begin();
	struct tls_ctx *ctx = with("ca.crt", "empty.crl"), *next;
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "revoked", "revoked.crt", NULL), TLS_CAUSE_NONE, 0, 1);
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "revoked", "revoked.crt", NULL), TLS_CAUSE_NONE, 1, 0);
	next = with("ca.crt", "ca.crl");
	for (int i = 0; i < 2; i++) /* verified again, for this context has verified nothing, and refused, therefore not remembered */
		expect(attempt(next, wolfTLSv1_3_client_method(), "revoked", "revoked.crt", NULL), TLS_CAUSE_REVOKED, 0, 1);
	tls_ctx_unref(next);
	next = with("other.crt", NULL);
	expect(attempt(next, wolfTLSv1_3_client_method(), "revoked", "revoked.crt", NULL), TLS_CAUSE_UNKNOWN_CA, 0, 0);
	tls_ctx_unref(next);
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "revoked", "revoked.crt", NULL), TLS_CAUSE_NONE, 1, 0);
	tls_ctx_unref(ctx);
	end();
}
END_TEST

static time_t in_an_hour(time_t *t)
{
	time_t now = time(NULL) + 3600;
	if (t)
		*t = now;
	return now;
}

START_TEST(a_known_certificate_still_expires)
{
	begin();
	struct tls_ctx *ctx = with("ca.crt", NULL);
	struct bytes names = { .n = 0 }, der = { .n = 0 };
	put_cn(&names, 0x0c, "good", 4);
	pki_craft(&der, &(struct craft){ &names, 2, -60, 1800, 1, "ca.key" }, "good.key");
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &der), TLS_CAUSE_NONE, 0, 1);
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &der), TLS_CAUSE_NONE, 1, 0);
	struct bytes v1 = { .n = 0 };
	pki_craft(&v1, &(struct craft){ &names, -1, -60, 1800, 0, "ca.key" }, "good.key");
	expect(attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &v1), TLS_CAUSE_NONE, 0, 2);
	wc_SetTimeCb(in_an_hour);
	struct outcome o = attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &der);
	struct outcome old = attempt(ctx, wolfTLSv1_3_client_method(), "good", NULL, &v1);
	wc_SetTimeCb(time);
	expect(o, TLS_CAUSE_EXPIRED, 1, 0);
	ck_assert_str_eq(tls_cause_text(old.cause), tls_cause_text(TLS_CAUSE_EXPIRED));
	tls_ctx_unref(ctx);
	end();
}
END_TEST

START_TEST(a_full_table_forgets_and_does_not_grow)
{
	struct tls_known *k = tls_known_new(16);
	unsigned found = 0;
	for (unsigned i = 0; i < 1000; i++) {
		struct known_signature s = { .output_len = 4 };
		memcpy(s.output, &i, sizeof i);
		hash_sha256(&i, sizeof i, s.id);
		tls_known_put(k, &s);
		tls_known_put(k, &s); /* twice is once */
		const struct known_signature *there = tls_known_find(k, s.id);
		ck_assert_ptr_nonnull(there);
		ck_assert_mem_eq(there->output, &i, sizeof i);
	}
	for (unsigned i = 0; i < 1000; i++) {
		uint8_t id[HASH_LEN];
		hash_sha256(&i, sizeof i, id);
		found += tls_known_find(k, id) != NULL;
	}
	ck_assert_uint_eq(found, 16);
	tls_known_free(k);
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK)
		return 2;
	pki_create();
	TCase *t = tcase_create("all");
	tcase_add_test(t, the_same_certificate_is_verified_once);
	tcase_add_test(t, without_a_table_each_is_verified);
	tcase_add_test(t, another_signature_over_the_same_is_refused);
	tcase_add_test(t, a_known_signature_vouches_for_nothing_else);
	tcase_add_test(t, who_has_the_certificate_alone_is_refused);
	tcase_add_test(t, what_changed_at_a_reload_is_judged_at_once);
	tcase_add_test(t, a_known_certificate_still_expires);
	tcase_add_test(t, a_full_table_forgets_and_does_not_grow);
	int rc = run_case("tls_known", t);
	tls_cleanup();
	pool_drain();
	return rc;
}
