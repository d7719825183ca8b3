/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Certificates that are checked outside of TLS. */
#include "crypto/trust.h"

#include "base/pool.h"
#include "tests/unit/crypto/pki.h"
#include "tests/unit/crypto/vectors.h"

static char ca[128], crl[128], error[256];

static enum tls_cause check_der(const char *crlfile, const uint8_t *der, size_t len)
{
	struct cert c;
	strcpy(ca, pki_path("ca.crt"));
	struct trust *t = trust_new(ca, crlfile ? strcpy(crl, pki_path(crlfile)) : NULL, error, sizeof error);
	ck_assert_msg(t != NULL, "%s", error);
	ck_assert_int_eq(cert_parse(&c, der, len), ERR_OK);
	enum tls_cause cause = trust_check(t, &c);
	trust_free(t);
	return cause;
}

static enum tls_cause check(const char *crlfile, const char *name)
{
	uint8_t pem[4096], der[4096];
	char file[64];
	snprintf(file, sizeof file, "%s.crt", name);
	int n = wc_CertPemToDer(pem, (int)pki_read(file, pem, sizeof pem), der, sizeof der, CERT_TYPE);
	ck_assert_int_gt(n, 0);
	return check_der(crlfile, der, (size_t)n);
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
	struct cert c;
	strcpy(ca, pki_path("ca.crt"));
	struct trust *t = trust_new(ca, NULL, error, sizeof error);
	ck_assert_msg(t != NULL, "%s", error);
	ck_assert_int_eq(cert_parse(&c, der->b, der->n), ERR_OK);
	enum tls_cause cause = trust_check_at(t, &c, time_s);
	trust_free(t);
	return cause;
}

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
	ck_assert_ptr_null(trust_new("/nonexistent.crt", NULL, error, sizeof error));
	ck_assert_ptr_nonnull(strstr(error, "/nonexistent.crt"));
	strcpy(ca, pki_path("other.crt"));
	strcpy(crl, pki_path("ca.crl"));
	ck_assert_ptr_null(trust_new(ca, crl, error, sizeof error));
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
	tcase_add_test(t, bad_files_are_named);
	int rc = run_case("trust", t);
	tls_cleanup();
	pool_drain();
	return rc;
}
