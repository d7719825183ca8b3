/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Public keys of certificates and private keys with their certificate: RSA of 2048 to 4096 bits and ECDSA P-256, with SHA-256. */
#ifndef CRYPTO_KEYS_H
#define CRYPTO_KEYS_H

#include "base/err.h"
#include "crypto/cert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYS_SIGNATURE_MAX 512u /* bytes, RSA-4096 */

enum key_kind { KEY_RSA, KEY_EC };

/* How a signature is made and written. */
enum sig_format {
	SIG_COSE, /* RSA: PSS with a salt of 32 bytes; EC: r || s, 64 bytes */
	SIG_CMS,  /* RSA: PKCS#1 v1.5; EC: DER */
};

/* The first certificate of a PEM text: its DER goes into der (len bytes suffice), which *out views. ERR_INVALID: there is none that can be read. */
enum err keys_cert_from_pem(struct cert *out, uint8_t *der, const void *pem, size_t len) MUST_CHECK;

struct pubkey; /* one thread at a time */

/* The subject's key; borrows nothing. ERR_INVALID: another kind, size or form of key. */
enum err pubkey_new(struct pubkey **out, const struct cert *c) MUST_CHECK;
void pubkey_free(struct pubkey *k); /* NULL is fine */
enum key_kind pubkey_kind(const struct pubkey *k);
size_t pubkey_size(const struct pubkey *k); /* bytes of an RSA modulus; 32 for EC */
/* Whether sig is this key's signature of a message with that hash. */
bool pubkey_verify(struct pubkey *k, enum sig_format f, const uint8_t hash[static 32], const uint8_t *sig, size_t len);

struct keypair; /* one thread at a time */

/* From PEM (the first certificate of a chain; an unencrypted key), which need not be NUL-terminated.
 * ERR_INVALID: not readable, not a supported key, or not this certificate's. */
enum err keypair_new(struct keypair **out, const void *cert_pem, size_t cert_len, const void *key_pem, size_t key_len) MUST_CHECK;
void keypair_free(struct keypair *k); /* wipes; NULL is fine */
const struct cert *keypair_cert(const struct keypair *k);
struct pubkey *keypair_public(struct keypair *k); /* borrowed */
/* Signs a hash into sig; *len bytes. */
enum err keypair_sign(struct keypair *k, enum sig_format f, const uint8_t hash[static 32], uint8_t sig[static KEYS_SIGNATURE_MAX],
                      size_t *len) MUST_CHECK;

/* A secret of 32 bytes that follows from the private key alone (docs/formats.md 11), for sealing what its holder keeps. Wipe it after use. ERR_NOMEM. */
enum err keypair_own_secret(struct keypair *k, uint8_t out[static 32]) MUST_CHECK;

/* The first certificate of a PEM text, as DER: *out_len bytes in out (at least len bytes). ERR_INVALID: there is none. */
enum err keys_pem_to_der(const void *pem, size_t len, uint8_t *out, size_t *out_len) MUST_CHECK;

/* RSAES-OAEP with SHA-256 and MGF1-SHA-256, empty label: a key of 32 bytes to pubkey_size(to) bytes. rng: whose generator is used.
 * ERR_INVALID: not RSA. */
enum err keys_wrap(struct keypair *rng, struct pubkey *to, const uint8_t key[static 32], uint8_t *out) MUST_CHECK;
/* ERR_CORRUPT: not a key of 32 bytes wrapped for this keypair. */
enum err keys_unwrap(struct keypair *k, const uint8_t *wrapped, size_t len, uint8_t key[static 32]) MUST_CHECK;

#endif
