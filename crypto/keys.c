/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RSA and ECDSA by wolfCrypt. A key belongs to one thread at a time. */
#include "crypto/keys.h"

#include "base/pool.h"
#include "base/secmem.h"
#include "crypto/hash.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/rsa.h>

#include <limits.h>
#include <string.h>

enum { RSA_MIN = 256, RSA_MAX = 512, EC_LEN = 32, EC_DER_MAX = 80, DIGEST_INFO_MAX = 64 };

static const uint8_t oid_rsa[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01 };
static const uint8_t oid_ec[] = { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01 };

struct pubkey {
	enum key_kind kind;
	union { RsaKey rsa; ecc_key ec; } u;
};

struct keypair {
	struct cert cert;      /* views into der */
	struct pubkey *public;
	enum key_kind kind;
	union { RsaKey rsa; ecc_key ec; } u;
	WC_RNG rng;
	bool has_key, has_rng;
	uint8_t der[];
};

enum err keys_cert_from_pem(struct cert *out, uint8_t *der, const void *pem, size_t len)
{
	int n = len > 0 && len <= 1u << 20 ? wc_CertPemToDer(pem, (int)len, der, (int)len, CERT_TYPE) : -1;
	return n > 0 ? cert_parse(out, der, (size_t)n) : ERR_INVALID;
}

/* ---- public */

static bool algorithm_of(const struct cert *c, enum key_kind *kind)
{
	struct der spki = c->spki, body, alg, oid;
	if (!der_take(&spki, DER_SEQUENCE, &body) || !der_take(&body, DER_SEQUENCE, &alg) || !der_take(&alg, DER_OID, &oid))
		return false;
	*kind = der_equal(oid, oid_rsa, sizeof oid_rsa) ? KEY_RSA : KEY_EC;
	return *kind == KEY_RSA || der_equal(oid, oid_ec, sizeof oid_ec);
}

static bool read_rsa(RsaKey *k, struct der spki)
{
	word32 at = 0;
	if (wc_InitRsaKey(k, NULL) != 0)
		return false;
	int size = 0;
	if (wc_RsaPublicKeyDecode(spki.p, &at, k, (word32)der_len(spki)) == 0 && at == der_len(spki))
		size = wc_RsaEncryptSize(k);
	if (size >= RSA_MIN && size <= RSA_MAX)
		return true;
	wc_FreeRsaKey(k);
	return false;
}

static bool read_ec(ecc_key *k, struct der spki)
{
	word32 at = 0;
	if (wc_ecc_init(k) != 0)
		return false;
	if (wc_EccPublicKeyDecode(spki.p, &at, k, (word32)der_len(spki)) == 0 && at == der_len(spki) &&
	    wc_ecc_get_curve_id(k->idx) == ECC_SECP256R1 && wc_ecc_check_key(k) == 0)
		return true;
	wc_ecc_free(k);
	return false;
}

enum err pubkey_new(struct pubkey **out, const struct cert *c)
{
	enum key_kind kind;
	if (!algorithm_of(c, &kind))
		return ERR_INVALID;
	struct pubkey *k = pool_alloc(sizeof *k);
	if (!k)
		return ERR_NOMEM;
	k->kind = kind;
	if (kind == KEY_RSA ? read_rsa(&k->u.rsa, c->spki) : read_ec(&k->u.ec, c->spki)) {
		*out = k;
		return ERR_OK;
	}
	pool_free(k);
	return ERR_INVALID;
}

void pubkey_free(struct pubkey *k)
{
	if (!k)
		return;
	if (k->kind == KEY_RSA)
		wc_FreeRsaKey(&k->u.rsa);
	else
		wc_ecc_free(&k->u.ec);
	pool_free(k);
}

enum key_kind pubkey_kind(const struct pubkey *k)
{
	return k->kind;
}

size_t pubkey_size(const struct pubkey *k)
{
	return k->kind == KEY_RSA ? (size_t)wc_RsaEncryptSize(&k->u.rsa) : EC_LEN;
}

static bool verify_pss(RsaKey *k, const uint8_t *hash, const uint8_t *sig, size_t len)
{
	uint8_t in[RSA_MAX], out[RSA_MAX]; /* wolfCrypt wants the signature writable */
	memcpy(in, sig, len);
	return wc_RsaPSS_VerifyCheck(in, (word32)len, out, sizeof out, hash, 32, WC_HASH_TYPE_SHA256, WC_MGF1SHA256, k) > 0;
}

static bool verify_pkcs1(RsaKey *k, const uint8_t *hash, const uint8_t *sig, size_t len)
{
	uint8_t out[RSA_MAX], expected[DIGEST_INFO_MAX];
	word32 expected_len = wc_EncodeSignature(expected, hash, 32, SHA256h);
	int n = wc_RsaSSL_Verify(sig, (word32)len, out, sizeof out, k);
	return n > 0 && (word32)n == expected_len && memcmp(out, expected, expected_len) == 0;
}

/* r || s out of DER in its one form. */
static bool ec_raw(const uint8_t *sig, size_t len, uint8_t raw[static 2 * EC_LEN])
{
	struct der d = der_of(sig, len), body, v;
	if (!der_take(&d, DER_SEQUENCE, &body) || !der_empty(d))
		return false;
	memset(raw, 0, 2 * EC_LEN);
	for (int i = 1; i <= 2; i++) {
		if (!der_take_unsigned(&body, &v) || der_len(v) > EC_LEN)
			return false;
		memcpy(raw + i * EC_LEN - der_len(v), v.p, der_len(v));
	}
	return der_empty(body);
}

static bool verify_ec(ecc_key *k, const uint8_t *hash, const uint8_t raw[static 2 * EC_LEN])
{
	uint8_t der[EC_DER_MAX];
	word32 n = sizeof der;
	int good = 0;
	return wc_ecc_rs_raw_to_sig(raw, EC_LEN, raw + EC_LEN, EC_LEN, der, &n) == 0 && wc_ecc_verify_hash(der, n, hash, 32, &good, k) == 0 &&
	       good == 1;
}

bool pubkey_verify(struct pubkey *k, enum sig_format f, const uint8_t hash[static 32], const uint8_t *sig, size_t len)
{
	uint8_t raw[2 * EC_LEN];
	if (k->kind == KEY_RSA) {
		if (len != pubkey_size(k))
			return false;
		return f == SIG_COSE ? verify_pss(&k->u.rsa, hash, sig, len) : verify_pkcs1(&k->u.rsa, hash, sig, len);
	}
	if (f == SIG_CMS)
		return ec_raw(sig, len, raw) && verify_ec(&k->u.ec, hash, raw);
	return len == 2 * EC_LEN && verify_ec(&k->u.ec, hash, sig);
}

/* ---- private */

static bool read_private(struct keypair *k, const uint8_t *der, word32 len)
{
	word32 at = 0;
	if (k->kind == KEY_RSA) {
		k->has_key = wc_InitRsaKey(&k->u.rsa, NULL) == 0;
		return k->has_key && wc_RsaPrivateKeyDecode(der, &at, &k->u.rsa, len) == 0 && wc_RsaSetRNG(&k->u.rsa, &k->rng) == 0;
	}
	k->has_key = wc_ecc_init(&k->u.ec) == 0;
	return k->has_key && wc_EccPrivateKeyDecode(der, &at, &k->u.ec, len) == 0 && wc_ecc_set_rng(&k->u.ec, &k->rng) == 0;
}

/* The key is the certificate's when what it signs verifies. */
static bool belongs(struct keypair *k)
{
	static const uint8_t hash[32] = "does this key fit the certific?";
	uint8_t sig[KEYS_SIGNATURE_MAX];
	size_t len;
	return keypair_sign(k, SIG_CMS, hash, sig, &len) == ERR_OK && pubkey_verify(k->public, SIG_CMS, hash, sig, len);
}

static enum err fill(struct keypair *k, size_t cert_len, const void *key_pem, size_t key_len)
{
	if (cert_parse(&k->cert, k->der, cert_len) != ERR_OK)
		return ERR_INVALID;
	enum err e = pubkey_new(&k->public, &k->cert);
	if (e != ERR_OK)
		return e;
	k->kind = pubkey_kind(k->public);
	k->has_rng = wc_InitRng(&k->rng) == 0;
	if (!k->has_rng)
		return ERR_NOMEM;
	uint8_t *der = secmem_alloc(key_len);
	if (!der)
		return ERR_NOMEM;
	int n = wc_KeyPemToDer(key_pem, (int)key_len, der, (int)key_len, NULL);
	e = n > 0 && read_private(k, der, (word32)n) && belongs(k) ? ERR_OK : ERR_INVALID;
	secmem_free(der);
	return e;
}

enum err keypair_new(struct keypair **out, const void *cert_pem, size_t cert_len, const void *key_pem, size_t key_len)
{
	if (cert_len == 0 || key_len == 0 || cert_len > 1u << 20 || key_len > 1u << 20)
		return ERR_INVALID;
	struct keypair *k = secmem_alloc(sizeof *k + cert_len); /* DER is shorter than its PEM */
	if (!k)
		return ERR_NOMEM;
	int n = wc_CertPemToDer(cert_pem, (int)cert_len, k->der, (int)cert_len, CERT_TYPE);
	enum err e = n > 0 ? fill(k, (size_t)n, key_pem, key_len) : ERR_INVALID;
	if (e != ERR_OK)
		keypair_free(k);
	else
		*out = k;
	return e;
}

void keypair_free(struct keypair *k)
{
	if (!k)
		return;
	pubkey_free(k->public);
	if (k->has_key && k->kind == KEY_RSA)
		wc_FreeRsaKey(&k->u.rsa);
	if (k->has_key && k->kind == KEY_EC)
		wc_ecc_free(&k->u.ec);
	if (k->has_rng)
		wc_FreeRng(&k->rng);
	secmem_free(k);
}

const struct cert *keypair_cert(const struct keypair *k)
{
	return &k->cert;
}

struct pubkey *keypair_public(struct keypair *k)
{
	return k->public;
}

static enum err sign_rsa(struct keypair *k, enum sig_format f, const uint8_t *hash, uint8_t *sig, size_t *len)
{
	uint8_t info[DIGEST_INFO_MAX];
	int n;
	if (f == SIG_COSE) {
		n = wc_RsaPSS_Sign_ex(hash, 32, sig, KEYS_SIGNATURE_MAX, WC_HASH_TYPE_SHA256, WC_MGF1SHA256, 32, &k->u.rsa, &k->rng);
	} else {
		word32 info_len = wc_EncodeSignature(info, hash, 32, SHA256h);
		n = wc_RsaSSL_Sign(info, info_len, sig, KEYS_SIGNATURE_MAX, &k->u.rsa, &k->rng);
	}
	if (n <= 0)
		return ERR_INVALID;
	*len = (size_t)n;
	return ERR_OK;
}

static enum err sign_ec(struct keypair *k, enum sig_format f, const uint8_t *hash, uint8_t *sig, size_t *len)
{
	uint8_t der[EC_DER_MAX];
	word32 n = sizeof der;
	if (wc_ecc_sign_hash(hash, 32, der, &n, &k->rng, &k->u.ec) != 0)
		return ERR_INVALID;
	*len = f == SIG_COSE ? 2 * EC_LEN : n;
	if (f == SIG_COSE)
		return ec_raw(der, n, sig) ? ERR_OK : ERR_INVALID;
	memcpy(sig, der, n);
	return ERR_OK;
}

enum err keypair_sign(struct keypair *k, enum sig_format f, const uint8_t hash[static 32], uint8_t sig[static KEYS_SIGNATURE_MAX], size_t *len)
{
	return k->kind == KEY_RSA ? sign_rsa(k, f, hash, sig, len) : sign_ec(k, f, hash, sig, len);
}

enum err keys_wrap(struct keypair *rng, struct pubkey *to, const uint8_t key[static 32], uint8_t *out)
{
	if (to->kind != KEY_RSA)
		return ERR_INVALID;
	size_t size = pubkey_size(to);
	int n = wc_RsaPublicEncrypt_ex(key, 32, out, (word32)size, &to->u.rsa, &rng->rng, WC_RSA_OAEP_PAD, WC_HASH_TYPE_SHA256, WC_MGF1SHA256, NULL, 0);
	return n == (int)size ? ERR_OK : ERR_NOMEM;
}

enum err keys_unwrap(struct keypair *k, const uint8_t *wrapped, size_t len, uint8_t key[static 32])
{
	uint8_t in[RSA_MAX], out[RSA_MAX];
	if (k->kind != KEY_RSA || len != pubkey_size(k->public))
		return ERR_CORRUPT;
	memcpy(in, wrapped, len);
	int n = wc_RsaPrivateDecrypt_ex(in, (word32)len, out, sizeof out, &k->u.rsa, WC_RSA_OAEP_PAD, WC_HASH_TYPE_SHA256, WC_MGF1SHA256, NULL, 0);
	if (n == 32)
		memcpy(key, out, 32);
	secmem_wipe(in, sizeof in);
	secmem_wipe(out, sizeof out);
	return n == 32 ? ERR_OK : ERR_CORRUPT;
}

static const char own_salt[] = "sealmq v1 own";

/* The primes, the larger one first; whatever order and exponents a key's file has, they are the same. */
static bool primes_of(RsaKey *k, uint8_t *p, word32 *p_len, uint8_t *q, word32 *q_len)
{
	uint8_t *rest = secmem_alloc(3 * RSA_MAX);
	word32 e_len = RSA_MAX, n_len = RSA_MAX, d_len = RSA_MAX;
	bool got = rest && wc_RsaExportKey(k, rest, &e_len, rest + RSA_MAX, &n_len, rest + 2 * RSA_MAX, &d_len, p, p_len, q, q_len) == 0;
	secmem_free(rest);
	return got;
}

static enum err secret_of_rsa(struct keypair *k, uint8_t out[static 32])
{
	uint8_t *p = secmem_alloc(4 * RSA_MAX), *q = p ? p + RSA_MAX : NULL, *both = p ? p + 2 * RSA_MAX : NULL;
	word32 p_len = RSA_MAX, q_len = RSA_MAX;
	if (!p || !primes_of(&k->u.rsa, p, &p_len, q, &q_len)) {
		secmem_free(p);
		return ERR_NOMEM;
	}
	bool p_first = p_len > q_len || (p_len == q_len && memcmp(p, q, p_len) > 0);
	memcpy(both, p_first ? p : q, p_first ? p_len : q_len);
	memcpy(both + (p_first ? p_len : q_len), p_first ? q : p, p_first ? q_len : p_len);
	hkdf_extract(own_salt, sizeof own_salt - 1, both, p_len + q_len, out);
	secmem_free(p);
	return ERR_OK;
}

static enum err secret_of_ec(struct keypair *k, uint8_t out[static 32])
{
	uint8_t d[EC_LEN];
	word32 len = sizeof d;
	bool got = wc_ecc_export_private_only(&k->u.ec, d, &len) == 0 && len == EC_LEN;
	if (got)
		hkdf_extract(own_salt, sizeof own_salt - 1, d, sizeof d, out);
	secmem_wipe(d, sizeof d);
	return got ? ERR_OK : ERR_NOMEM;
}

enum err keypair_own_secret(struct keypair *k, uint8_t out[static 32])
{
	return k->kind == KEY_RSA ? secret_of_rsa(k, out) : secret_of_ec(k, out);
}

enum err keys_pem_to_der(const void *pem, size_t len, uint8_t *out, size_t *out_len)
{
	int n = len > INT_MAX ? -1 : wc_CertPemToDer(pem, (int)len, out, (int)len, CERT_TYPE);
	*out_len = n > 0 ? (size_t)n : 0;
	return n > 0 ? ERR_OK : ERR_INVALID;
}
