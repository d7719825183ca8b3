/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A context's authorities and revocations, for judging live connections again. Private to crypto/. */
#ifndef CRYPTO_TLS_TRUST_H
#define CRYPTO_TLS_TRUST_H

#include "base/err.h"
#include "crypto/der.h"

struct trust_hash { uint8_t bytes[16]; };               /* of SHA-256 */
struct trust_serial { uint8_t len, bytes[20]; };        /* big endian, the rest is zero */

/* One certificate of a chain. */
struct trust_hop {
	struct trust_hash issuer;                       /* of its issuer's name */
	struct trust_serial serial;
};

struct tls_trust;

struct tls_trust *tls_trust_new(void) MUST_CHECK; /* NULL when out of memory */
void tls_trust_free(struct tls_trust *t);         /* NULL is fine */

/* All certificates, or revocation lists, of a NUL-terminated PEM text. False when out of memory. */
bool tls_trust_add_authorities(struct tls_trust *t, const char *pem) MUST_CHECK;
bool tls_trust_add_lists(struct tls_trust *t, const char *pem) MUST_CHECK;
void tls_trust_complete(struct tls_trust *t);     /* nothing is added after this */

struct trust_hash tls_trust_hash(struct der d);
struct trust_serial tls_trust_serial(struct der magnitude);

bool tls_trust_revokes(const struct tls_trust *t, const struct trust_hop *hop);
/* Is every authority of that name which `then` trusted trusted by `now`, with the same key, and was there one? When one of two with the
 * same name went, nothing tells which of them had signed, so it counts as gone. */
bool tls_trust_keeps(const struct tls_trust *then, const struct tls_trust *now, const struct trust_hash *issuer);

#endif
