/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Trust outside of TLS: wolfSSL verifies the signature, tls_trust decides as it does for connections. */
#include "crypto/trust.h"

#include "base/clock.h"
#include "base/pool.h"
#include "crypto/tls_int.h"

#include <stdio.h>
#include <string.h>

struct trust {
	WOLFSSL_CERT_MANAGER *wolf; /* locks what it shares */
	struct tls_trust *rules;
};

struct trust *trust_new(const struct tls_options *o, char *error, size_t error_len)
{
	const struct tls_failure f = { error, error_len };
	struct trust *t = pool_alloc(sizeof *t);
	if (t)
		*t = (struct trust){ wolfSSL_CertManagerNew(), tls_trust_new() };
	if (!t || !t->wolf || !t->rules)
		tls_fail(&f, "out of memory");
	else if (tls_load_trust(t->wolf, t->rules, o, true, &f))
		return t;
	trust_free(t);
	return NULL;
}

void trust_free(struct trust *t)
{
	if (!t)
		return;
	wolfSSL_CertManagerFree(t->wolf); /* NULL is fine */
	tls_trust_unref(t->rules);
	pool_free(t);
}

/* The signature, and all of wolfSSL's rules but dates, which it reports last. */
static enum tls_cause verify(struct trust *t, const struct cert *c)
{
	int rc = wolfSSL_CertManagerVerifyBuffer(t->wolf, c->whole.p, (long)der_len(c->whole), WOLFSSL_FILETYPE_ASN1);
	enum tls_cause cause = rc == WOLFSSL_SUCCESS ? TLS_CAUSE_NONE : tls_cause_of(rc);
	return cause == TLS_CAUSE_EXPIRED || cause == TLS_CAUSE_NOT_YET_VALID ? TLS_CAUSE_NONE : cause;
}

static bool may_use_name(const struct trust *t, const struct cert *c)
{
	struct der cn;
	const char *why;
	if (cert_common_name(c, &cn, &why) != ERR_OK)
		return true; /* a name that cannot be an identity is nobody's pin; whether it will do is the caller's to say */
	struct trust_hash name = tls_trust_hash(cn), key = tls_trust_hash(c->spki);
	return tls_trust_may_use(t->rules, &name, &key);
}

static enum tls_cause judge(struct trust *t, const struct cert *c, int64_t at_s, int64_t now_s)
{
	enum tls_cause cause = verify(t, c);
	if (cause == TLS_CAUSE_NONE && at_s < c->not_before_s)
		cause = TLS_CAUSE_NOT_YET_VALID;
	if (cause == TLS_CAUSE_NONE && at_s > c->not_after_s)
		cause = TLS_CAUSE_EXPIRED;
	if (cause != TLS_CAUSE_NONE)
		return cause;
	const struct trust_hop hop = { tls_trust_hash(c->issuer), tls_trust_serial(c->serial) };
	cause = tls_trust_admits(t->rules, &hop, 1, at_s, now_s);
	return cause == TLS_CAUSE_NONE && !may_use_name(t, c) ? TLS_CAUSE_PIN : cause;
}

enum tls_cause trust_check(struct trust *t, const struct cert *c)
{
	int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
	return judge(t, c, now_s, now_s);
}

enum tls_cause trust_check_at(struct trust *t, const struct cert *c, int64_t time_s)
{
	return judge(t, c, time_s, (int64_t)(clock_wall_ms() / 1000));
}
