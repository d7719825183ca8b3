/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates that are checked outside of TLS. */
#include "crypto/trust.h"

#include "base/pool.h"
#include "tests/unit/crypto/pki.h"
#include "tests/unit/crypto/vectors.h"

static char ca[128], crl[128], error[256];

static struct trust *load(const struct tls_options *o)
{
	struct trust *t = trust_new(o, error, sizeof error);
	ck_assert_msg(t != NULL, "%s", error);
	return t;
}

static struct tls_options files(const char *cafile, const char *crlfile)
{
	strcpy(ca, pki_path(cafile));
	return (struct tls_options){ .cafile = ca, .crlfile = crlfile ? strcpy(crl, pki_path(crlfile)) : NULL };
}

static enum tls_cause judge(const struct tls_options *o, const uint8_t *der, size_t len, const int64_t *at_s)
{
	struct cert c;
	struct trust *t = load(o);
	ck_assert_int_eq(cert_parse(&c, der, len), ERR_OK);
	enum tls_cause cause = at_s ? trust_check_at(t, &c, *at_s) : trust_check(t, &c);
	trust_free(t);
	return cause;
}

static enum tls_cause check_der(const char *crlfile, const uint8_t *der, size_t len)
{
	const struct tls_options o = files("ca.crt", crlfile);
	return judge(&o, der, len, NULL);
}

static enum tls_cause judge_named(const struct tls_options *o, const char *name, const int64_t *at_s)
{
	uint8_t pem[4096], der[4096];
	char file[64];
	snprintf(file, sizeof file, "%s.crt", name);
	int n = wc_CertPemToDer(pem, (int)pki_read(file, pem, sizeof pem), der, sizeof der, CERT_TYPE);
	ck_assert_int_gt(n, 0);
	return judge(o, der, (size_t)n, at_s);
}

static enum tls_cause check(const char *crlfile, const char *name)
{
	const struct tls_options o = files("ca.crt", crlfile);
	return judge_named(&o, name, NULL);
}

START_TEST(issuer_validity_and_revocation_decide)
{
	struct bytes names = { .n = 0 }, der = { .n = 0 };
	ck_assert_int_eq(check(NULL, "good"), TLS_CAUSE_NONE);
	ck_assert_int_eq(check(NULL, "v1"), TLS_CAUSE_NONE);
	ck_assert_int_eq(check(NULL, "stranger"), TLS_CAUSE_UNKNOWN_CA);
	ck_assert_int_eq(check(NULL, "imposter"), TLS_CAUSE_UNKNOWN_CA);
	ck_assert_int_eq(check(NULL, "v1twin"), TLS_CAUSE_UNKNOWN_CA);
	ck_assert_int_eq(check(NULL, "revoked"), TLS_CAUSE_NONE); /* nobody asked */
	ck_assert_int_eq(check("ca.crl", "good"), TLS_CAUSE_NONE);
	ck_assert_int_eq(check("ca.crl", "revoked"), TLS_CAUSE_REVOKED);
	ck_assert_int_eq(check("ca.crl", "v1revoked"), TLS_CAUSE_REVOKED);
	put_cn(&names, 0x0c, "late", 4);
	pki_craft(&der, &(struct craft){ &names, 2, -7200, -3600, 1, "ca.key" }, "good.key");
	ck_assert_int_eq(check_der(NULL, der.b, der.n), TLS_CAUSE_EXPIRED);
	der.n = 0;
	pki_craft(&der, &(struct craft){ &names, 2, -3600, 3600, 1, "twin.key" }, "good.key");
	ck_assert_int_eq(check_der(NULL, der.b, der.n), TLS_CAUSE_UNKNOWN_CA);
}
END_TEST

static enum tls_cause check_at(const struct bytes *der, int64_t time_s)
{
	const struct tls_options o = files("ca.crt", NULL);
	return judge(&o, der->b, der->n, &time_s);
}

#define JAN_15_2020 1579046400

/* The same rules as at a handshake: several issuers, intermediates that are known, lists past their end. */
START_TEST(issuers_and_lists_are_judged_as_at_a_handshake)
{
	struct tls_options o = files("cas.pem", "both.crl");
	ck_assert_int_eq(judge_named(&o, "viainter", NULL), TLS_CAUSE_NONE);
	ck_assert_int_eq(judge_named(&o, "good", NULL), TLS_CAUSE_NONE);
	ck_assert_int_eq(judge_named(&o, "revoked", NULL), TLS_CAUSE_REVOKED);
	o = files("ca.crt", NULL);
	ck_assert_int_eq(judge_named(&o, "viainter", NULL), TLS_CAUSE_UNKNOWN_CA);
	o = files("cas.pem", "ca.crl");
	ck_assert_int_eq(judge_named(&o, "viainter", NULL), TLS_CAUSE_CRL_MISSING);
	o = files("cas.pem", "interrevoked.crl");
	ck_assert_int_eq(judge_named(&o, "viainter", NULL), TLS_CAUSE_REVOKED);
	o = files("ca.crt", "stale.crl");
	ck_assert_int_eq(judge_named(&o, "good", NULL), TLS_CAUSE_CRL_EXPIRED);
	o.crl_expired_ok = true;
	ck_assert_int_eq(judge_named(&o, "good", NULL), TLS_CAUSE_NONE);
	ck_assert_int_eq(judge_named(&o, "revoked", NULL), TLS_CAUSE_REVOKED);
	const struct tls_pin pin = { .cn = "good" }; /* no key has a hash of zeros */
	o = files("ca.crt", NULL);
	o.pins = &pin;
	o.n_pins = 1;
	ck_assert_int_eq(judge_named(&o, "good", NULL), TLS_CAUSE_PIN);
	ck_assert_int_eq(judge_named(&o, "v1", NULL), TLS_CAUSE_NONE);
}
END_TEST

/* An authority that is over does not vouch for what it signs now, but for what it signed in its time. */
START_TEST(an_expired_authority_was_one)
{
	const int64_t then_s = JAN_15_2020, after_s = JAN_15_2020 + 40 * 86400;
	const struct tls_options o = files("oldcas.pem", NULL);
	ck_assert_int_eq(judge_named(&o, "good", NULL), TLS_CAUSE_NONE);
	ck_assert_int_eq(judge_named(&o, "ofold", NULL), TLS_CAUSE_CA_EXPIRED);
	ck_assert_int_eq(judge_named(&o, "ofold", &then_s), TLS_CAUSE_NONE);
	ck_assert_int_eq(judge_named(&o, "ofold", &after_s), TLS_CAUSE_CA_EXPIRED);
}
END_TEST

/* What has expired was good in its time, if it was its authority's; a forger's never was. */
START_TEST(an_earlier_time_may_be_asked_for)
{
	struct bytes names = { .n = 0 }, der = { .n = 0 };
	int64_t now = time(NULL);
	put_cn(&names, 0x0c, "late", 4);
	pki_craft(&der, &(struct craft){ &names, 2, -7200, -3600, 1, "ca.key" }, "good.key");
	ck_assert_int_eq(check_at(&der, now), TLS_CAUSE_EXPIRED);
	ck_assert_int_eq(check_at(&der, now - 5400), TLS_CAUSE_NONE);
	ck_assert_int_eq(check_at(&der, now - 8000), TLS_CAUSE_NOT_YET_VALID);
	der.n = 0;
	pki_craft(&der, &(struct craft){ &names, 2, -7200, -3600, 1, "twin.key" }, "good.key");
	ck_assert_int_eq(check_at(&der, now - 5400), TLS_CAUSE_UNKNOWN_CA);
	der.n = 0;
	pki_craft(&der, &(struct craft){ &names, 2, -3600, 3600, 1, "ca.key" }, "good.key");
	ck_assert_int_eq(check_at(&der, now), TLS_CAUSE_NONE);
	ck_assert_int_eq(check_at(&der, now - 7200), TLS_CAUSE_NOT_YET_VALID);
}
END_TEST

START_TEST(bad_files_are_named)
{
	struct tls_options o = { .cafile = "/nonexistent.crt" };
	ck_assert_ptr_null(trust_new(&o, error, sizeof error));
	ck_assert_ptr_nonnull(strstr(error, "/nonexistent.crt"));
	o = files("other.crt", "ca.crl");
	ck_assert_ptr_null(trust_new(&o, error, sizeof error));
	ck_assert_ptr_nonnull(strstr(error, "not in cafile"));
}
END_TEST

int main(void)
{
	if (tls_init() != ERR_OK)
		return 2;
	pki_create();
	TCase *t = tcase_create("all");
	tcase_add_test(t, issuer_validity_and_revocation_decide);
	tcase_add_test(t, an_earlier_time_may_be_asked_for);
	tcase_add_test(t, issuers_and_lists_are_judged_as_at_a_handshake);
	tcase_add_test(t, an_expired_authority_was_one);
	tcase_add_test(t, bad_files_are_named);
	int rc = run_case("trust", t);
	tls_cleanup();
	pool_drain();
	return rc;
}
