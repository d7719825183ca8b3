/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Signatures over certificates that have been verified, so that the same one need not be verified again. What is remembered is one pure
 * function's result: that this key has signed this hash with this signature. Everything else about a certificate is judged at each handshake.
 * One thread uses a table. Private to crypto/, apart from tls_known_new and _free in crypto/tls.h. */
#ifndef CRYPTO_TLS_KNOWN_H
#define CRYPTO_TLS_KNOWN_H

#include "crypto/hash.h"
#include "crypto/tls.h"

#define TLS_KNOWN_SALT 16u   /* bytes */
#define TLS_KNOWN_OUTPUT 83u /* bytes: the DigestInfo of SHA-512 [RFC 8017 9.2] */

struct known_signature {
	uint8_t id[HASH_LEN];            /* of the context, key, hash and signature */
	uint8_t output_len;              /* RSA: what the signature opens to; ECDSA: none */
	uint8_t used;
	uint8_t output[TLS_KNOWN_OUTPUT];
};

/* NULL: not there. Borrowed until the next put. */
const struct known_signature *tls_known_find(const struct tls_known *k, const uint8_t id[static HASH_LEN]) MUST_CHECK;
/* In place of another one where there is no room. */
void tls_known_put(struct tls_known *k, const struct known_signature *s);

#endif
