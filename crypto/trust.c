/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Trust outside of TLS, by wolfSSL's certificate manager, which locks what it shares. */
#include "crypto/trust.h"

#include "base/pool.h"
#include "crypto/tls_int.h"

#include <stdio.h>

struct trust { WOLFSSL_CERT_MANAGER *wolf; };

struct trust *trust_new(const char *cafile, const char *crlfile, char *error, size_t error_len)
{
	struct trust *t = pool_alloc(sizeof *t);
	if (t)
		t->wolf = wolfSSL_CertManagerNew();
	if (!t || !t->wolf) {
		snprintf(error, error_len, "out of memory");
		pool_free(t);
		return NULL;
	}
	if (tls_load_authorities(t->wolf, cafile, crlfile, error, error_len))
		return t;
	trust_free(t);
	return NULL;
}

void trust_free(struct trust *t)
{
	if (!t)
		return;
	wolfSSL_CertManagerFree(t->wolf);
	pool_free(t);
}

enum tls_cause trust_check(struct trust *t, const struct cert *c)
{
	int rc = wolfSSL_CertManagerVerifyBuffer(t->wolf, c->whole.p, (long)der_len(c->whole), WOLFSSL_FILETYPE_ASN1);
	return rc == WOLFSSL_SUCCESS ? TLS_CAUSE_NONE : tls_cause_of(rc);
}

enum tls_cause trust_check_at(struct trust *t, const struct cert *c, int64_t time_s)
{
	enum tls_cause cause = trust_check(t, c);
	if (cause != TLS_CAUSE_NONE && cause != TLS_CAUSE_EXPIRED) /* the date is reported last: all else has been verified */
		return cause;
	return time_s < c->not_before_s ? TLS_CAUSE_NOT_YET_VALID : time_s > c->not_after_s ? TLS_CAUSE_EXPIRED : TLS_CAUSE_NONE;
}
