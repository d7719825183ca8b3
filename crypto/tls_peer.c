/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who the peer of a connection is, and whether it may be here: the verify callback of a handshake, and the judgement after a reload. The
 * thread that owns the connection. */
#include "crypto/tls_int.h"

#include "base/clock.h"
#include "base/pool.h"
#include "crypto/cert.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <string.h>

/* The leaf's signature and dates, against the context's authorities. */
static int verify_again(const struct tls_conn *c, const uint8_t *der, size_t len)
{
	return wolfSSL_CertManagerVerifyBuffer(wolfSSL_CTX_GetCertManager(c->ctx->wolf), der, (long)len, WOLFSSL_FILETYPE_ASN1);
}

/* Of wolfSSL's refusals one is lifted: a leaf of X.509 v1, as a plain `openssl x509 -req` makes it. The same code also comes from
 * its parser, for a v1 certificate with extensions or an absurd version, before any signature was looked at (what saves 5.7.2 is
 * only that the key is then unread, too). So the certificate is verified again here, where a v1 leaf is no error, and must be v1
 * without extensions by our own reading. */
static bool acceptable_v1(struct tls_conn *c, const struct cert *cert)
{
	return cert->version == 1 && !cert->has_extensions && tls_signature_vouches(c, cert);
}

/* wolfSSL lets a fault in the key usage hide an unknown issuer or an expiry: the graver one is named. */
static int gravest(const struct tls_conn *c, const WOLFSSL_X509_STORE_CTX *store)
{
	if (store->error_depth != 0 || (store->error != KEYUSE_SIGNATURE_E && store->error != EXTKEYUSE_AUTH_E))
		return store->error;
	int rc = verify_again(c, store->certs[0].buffer, store->certs[0].length);
	return rc == WOLFSSL_SUCCESS ? store->error : rc;
}

static bool take_identity(struct tls_conn *c, const struct cert *cert)
{
	char shown[TLS_DETAIL_MAX / 2];
	const char *why = NULL;
	struct der cn;
	struct identity *id = NULL;
	enum err e = cert_identity(cert, &id, &cn, &why);
	if (e == ERR_NOMEM) {
		c->cause = TLS_CAUSE_NOMEM;
		return false;
	}
	if (e != ERR_OK) {
		cert_escape(shown, sizeof shown, cn);
		c->cause = TLS_CAUSE_BAD_CN;
		tls_conn_note(c, "%s%s%s%s", why, cn.p ? ": \"" : "", shown, cn.p ? "\"" : "");
		return false;
	}
	identity_unref(c->id);
	c->id = id;
	return true;
}

/* The leaf and what the peer sent above it; returns how many. */
static size_t chain_of(const struct tls_conn *c, struct trust_hop hops[static 1 + TLS_CHAIN_MAX])
{
	hops[0] = (struct trust_hop){ .issuer = c->issuer, .serial = tls_trust_serial(der_of(c->id->serial, c->id->serial_len)) };
	if (c->n_above)
		memcpy(hops + 1, c->above, c->n_above * sizeof *hops);
	return 1u + c->n_above;
}

static bool may_use_name(const struct tls_conn *c, const struct tls_trust *t)
{
	struct trust_hash cn = tls_trust_hash(der_of(c->id->cn, c->id->cn_len));
	return tls_trust_may_use(t, &cn, &c->key);
}

/* What wolfSSL does not judge: revocation, authorities that ended, pinned keys. */
static bool admit(struct tls_conn *c)
{
	struct trust_hop hops[1 + TLS_CHAIN_MAX];
	int64_t now_s = (int64_t)(clock_wall_ms() / 1000);
	enum tls_cause cause = tls_trust_admits(c->trust, hops, chain_of(c, hops), now_s, now_s);
	if (cause == TLS_CAUSE_NONE && !may_use_name(c, c->trust))
		cause = TLS_CAUSE_PIN;
	if (cause == TLS_CAUSE_NONE)
		return true;
	tls_conn_note(c, "CN '%s'", c->id->cn);
	c->cause = (uint8_t)cause;
	return false;
}

static void keep_leaf(struct tls_conn *c, const struct cert *cert)
{
	size_t len = der_len(cert->whole);
	pool_free(c->leaf);
	c->leaf = pool_alloc(len);
	c->leaf_len = (uint32_t)len;
	if (c->leaf)
		memcpy(c->leaf, cert->whole.p, len);
}

/* Keeps what the chain is judged by: who issued whom under which number. */
static bool note_chain(struct tls_conn *c, const struct cert *leaf, const WOLFSSL_X509_STORE_CTX *store)
{
	struct trust_hop hops[TLS_CHAIN_MAX];
	struct der issuer = leaf->issuer;
	uint8_t n = 0;
	c->issuer = tls_trust_hash(issuer);
	c->key = tls_trust_hash(leaf->spki);
	for (int i = 1; i < store->totalCerts && n < TLS_CHAIN_MAX; i++) {
		struct cert cert;
		const WOLFSSL_BUFFER_INFO *sent = &store->certs[i];
		if (cert_parse(&cert, sent->buffer, sent->length) != ERR_OK || !der_equal(cert.subject, issuer.p, der_len(issuer)) ||
		    der_equal(cert.issuer, issuer.p, der_len(issuer)))
			continue; /* not the next one up, or a root */
		issuer = cert.issuer;
		hops[n++] = (struct trust_hop){ tls_trust_hash(issuer), tls_trust_serial(cert.serial) };
		i = 0; /* their order is the peer's */
	}
	pool_free(c->above);
	c->above = n ? pool_alloc(n * sizeof *hops) : NULL;
	c->n_above = n;
	if (n && !c->above) {
		c->cause = TLS_CAUSE_NOMEM;
		return false;
	}
	if (n)
		memcpy(c->above, hops, n * sizeof *hops);
	return true;
}

/* Who a refused certificate names, for the log. */
static void note_claim(struct tls_conn *c, const WOLFSSL_X509_STORE_CTX *store)
{
	struct cert cert;
	const char *why;
	struct der cn;
	if (!c->id && cert_parse(&cert, store->certs[0].buffer, store->certs[0].length) == ERR_OK && cert_identity(&cert, &c->id, &cn, &why) != ERR_OK)
		c->id = NULL;
}

/* Called for every certificate that is wrong, and for the leaf in any case. Non-zero accepts, whatever wolfSSL found. */
int tls_conn_verify(int ok, WOLFSSL_X509_STORE_CTX *store)
{
	struct tls_conn *c = store->userCtx;
	struct cert cert;
	if (store->error_depth != 0 && ok)
		return 1;
	if (store->totalCerts <= 0 || !store->certs) {
		c->verify_error = NO_PEER_CERT;
		return 0;
	}
	bool v1 = store->error == ASN_VERSION_E && store->error_depth == 0;
	if (!ok && !v1) {
		c->verify_error = gravest(c, store);
		note_claim(c, store);
		return 0;
	}
	if (cert_parse(&cert, store->certs[0].buffer, store->certs[0].length) != ERR_OK) {
		c->verify_error = ASN_PARSE_E;
		return 0;
	}
	if (!ok && !acceptable_v1(c, &cert)) {
		c->verify_error = store->error;
		return 0;
	}
	if (!(cert.key_usage & CERT_DIGITAL_SIGNATURE)) { /* RFC 8446 4.4.2.2; wolfSSL asks only in 1.2 */
		c->verify_error = KEYUSE_SIGNATURE_E;
		return 0;
	}
	keep_leaf(c, &cert);
	return take_identity(c, &cert) && note_chain(c, &cert, store) && admit(c);
}

/* ---- after a reload */

enum tls_cause tls_conn_recheck(struct tls_conn *c, const struct tls_ctx *now)
{
	struct trust_hop hops[1 + TLS_CHAIN_MAX];
	if (c->trust == now->trust || !c->id)
		return TLS_CAUSE_NONE;
	enum tls_cause cause = tls_trust_still_admits(c->trust, now->trust, hops, chain_of(c, hops));
	if (cause != TLS_CAUSE_NONE)
		return cause;
	if (!may_use_name(c, now->trust))
		return TLS_CAUSE_PIN;
	tls_trust_unref(c->trust); /* long lists must not live as long as the oldest connection */
	c->trust = tls_trust_ref(now->trust);
	return TLS_CAUSE_NONE;
}
