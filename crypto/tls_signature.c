/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The verification of signatures in a handshake, which wolfSSL leaves to these where it can (built with PK callbacks), and of leaves of X.509 v1,
 * about which its own answer is not enough (tls_peer.c). Signatures over
 * certificates are looked up among those verified before; the one that proves possession of the client's key never is. What was verified is
 * remembered when the handshake is complete: strangers put nothing into the table, and neither does a failure. The loop that does the handshake. */
#include "crypto/tls_int.h"

#include "base/pool.h"
#include "crypto/hash.h"
#include "crypto/tls_known.h"

#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include <string.h>

enum { VERIFIED_MAX = 1 + TLS_CHAIN_MAX };

struct tls_verified {
	unsigned n;
	struct known_signature signatures[VERIFIED_MAX];
};

enum kind { OF_ECDSA, OF_RSA, OF_V1 };

/* The certificates come first, and the last thing done about them is to name the peer. */
static bool is_of_certificate(const struct tls_conn *c)
{
	return c->io && c->io->known && !c->id;
}

static void identify(const struct tls_conn *c, enum kind kind, struct der key, struct der hash, struct der sig, uint8_t id[static HASH_LEN])
{
	const uint64_t head[] = { kind, der_len(key), der_len(hash), der_len(sig) }; /* so that no two inputs look alike */
	const struct hash_part parts[] = { { c->ctx->salt, sizeof c->ctx->salt }, { head, sizeof head }, { key.p, der_len(key) },
		{ hash.p, der_len(hash) }, { sig.p, der_len(sig) } };
	hash_sha256_parts(parts, sizeof parts / sizeof parts[0], id);
}

/* Out of memory: it will be verified again next time. */
static void note_verified(struct tls_conn *c, const uint8_t id[static HASH_LEN], const uint8_t *output, size_t output_len)
{
	if (!c->verified && (c->verified = pool_alloc(sizeof *c->verified)))
		c->verified->n = 0;
	if (!c->verified || c->verified->n == VERIFIED_MAX || output_len > TLS_KNOWN_OUTPUT)
		return;
	struct known_signature *s = &c->verified->signatures[c->verified->n++];
	memset(s, 0, sizeof *s);
	memcpy(s->id, id, sizeof s->id);
	s->output_len = (uint8_t)output_len;
	if (output_len)
		memcpy(s->output, output, output_len);
}

/* NULL: it has to be verified. */
static const struct known_signature *look_up(struct tls_conn *c, const uint8_t id[static HASH_LEN])
{
	const struct known_signature *s = tls_known_find(c->io->known, id);
	if (s)
		c->n_known++;
	else
		c->n_verified++;
	return s;
}

/* Signature, dates, and all else that wolfSSL asks, against the context's authorities. */
static bool verify_whole(const struct tls_conn *c, struct der der)
{
	return wolfSSL_CertManagerVerifyBuffer(wolfSSL_CTX_GetCertManager(c->ctx->wolf), der.p, (long)der_len(der), WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS;
}

/* The authorities of a context never change, so of what is asked only the dates can turn out otherwise next time. */
bool tls_signature_vouches(struct tls_conn *c, const struct cert *leaf)
{
	uint8_t id[HASH_LEN];
	const struct der none = der_of(NULL, 0);
	int64_t now_s = (int64_t)tls_load_clock(NULL);
	if (!is_of_certificate(c) || now_s < leaf->not_before_s || now_s > leaf->not_after_s)
		return verify_whole(c, leaf->whole);
	identify(c, OF_V1, none, none, leaf->whole, id);
	if (look_up(c, id))
		return true;
	if (!verify_whole(c, leaf->whole))
		return false;
	note_verified(c, id, NULL, 0);
	return true;
}

#ifdef HAVE_PK_CALLBACKS
static int ecdsa_verify(const unsigned char *sig, unsigned sig_len, const unsigned char *hash, unsigned hash_len, const unsigned char *der,
                        unsigned der_size, int *good)
{
	ecc_key key;
	word32 at = 0;
	int rc = wc_ecc_init(&key);
	if (rc != 0)
		return rc;
	rc = wc_EccPublicKeyDecode(der, &at, &key, der_size);
	if (rc == 0)
		rc = wc_ecc_verify_hash(sig, sig_len, hash, hash_len, good, &key);
	wc_ecc_free(&key);
	return rc;
}

static int on_ecdsa(WOLFSSL *ssl, const unsigned char *sig, unsigned sig_len, const unsigned char *hash, unsigned hash_len,
                    const unsigned char *key, unsigned key_len, int *good, void *arg)
{
	struct tls_conn *c = wolfSSL_GetIOReadCtx(ssl);
	uint8_t id[HASH_LEN];
	(void)arg;
	*good = 0;
	if (!is_of_certificate(c))
		return ecdsa_verify(sig, sig_len, hash, hash_len, key, key_len, good);
	identify(c, OF_ECDSA, der_of(key, key_len), der_of(hash, hash_len), der_of(sig, sig_len), id);
	if (look_up(c, id)) {
		*good = 1;
		return 0;
	}
	int rc = ecdsa_verify(sig, sig_len, hash, hash_len, key, key_len, good);
	if (rc == 0 && *good == 1)
		note_verified(c, id, NULL, 0);
	return rc;
}

static int rsa_open(unsigned char *sig, unsigned sig_len, unsigned char **out, const unsigned char *der, unsigned der_size)
{
	RsaKey key;
	word32 at = 0;
	int rc = wc_InitRsaKey(&key, NULL);
	if (rc != 0)
		return rc;
	rc = wc_RsaPublicKeyDecode(der, &at, &key, der_size);
	if (rc == 0)
		rc = wc_RsaSSL_VerifyInline(sig, sig_len, out, &key);
	wc_FreeRsaKey(&key);
	return rc;
}

/* *out points into sig, which is overwritten; returns its length. wolfSSL compares it with the hash. */
static int on_rsa(WOLFSSL *ssl, unsigned char *sig, unsigned sig_len, unsigned char **out, const unsigned char *key, unsigned key_len, void *arg)
{
	struct tls_conn *c = wolfSSL_GetIOReadCtx(ssl);
	uint8_t id[HASH_LEN];
	(void)arg;
	if (!is_of_certificate(c))
		return rsa_open(sig, sig_len, out, key, key_len);
	identify(c, OF_RSA, der_of(key, key_len), der_of(NULL, 0), der_of(sig, sig_len), id);
	const struct known_signature *s = look_up(c, id);
	if (s && s->output_len <= sig_len) {
		memcpy(sig, s->output, s->output_len);
		*out = sig;
		return s->output_len;
	}
	int n = rsa_open(sig, sig_len, out, key, key_len);
	if (n > 0)
		note_verified(c, id, *out, (size_t)n);
	return n;
}

void tls_signature_use(WOLFSSL_CTX *w)
{
	wolfSSL_CTX_SetEccVerifyCb(w, on_ecdsa);
	wolfSSL_CTX_SetRsaVerifyCb(w, on_rsa);
}
#else
void tls_signature_use(WOLFSSL_CTX *w)
{
	(void)w; /* each signature is verified each time */
}
#endif

void tls_signature_keep(struct tls_conn *c, struct tls_known *k)
{
	for (unsigned i = 0; k && c->verified && i < c->verified->n; i++)
		tls_known_put(k, &c->verified->signatures[i]);
	tls_signature_forget(c);
}

void tls_signature_forget(struct tls_conn *c)
{
	pool_free(c->verified); /* NULL is fine */
	c->verified = NULL;
}
