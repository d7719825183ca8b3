/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who is trusted, who is known as revoked, and which keys are pinned: judged at a handshake, for live connections again after a reload,
 * and for certificates that come by other ways (crypto/trust). wolfSSL verifies signatures, dates and usages of certificates, and the signatures of lists; what lists say is kept
 * and looked up here. Private to crypto/. */
#ifndef CRYPTO_TLS_TRUST_H
#define CRYPTO_TLS_TRUST_H

#include "crypto/cert.h"
#include "crypto/tls.h"

struct trust_hash { uint8_t bytes[16]; };               /* of SHA-256 */
struct trust_serial { uint8_t len, bytes[20]; };        /* big endian, the rest is zero */

/* One certificate of a chain. */
struct trust_hop {
	struct trust_hash issuer;                       /* of its issuer's name */
	struct trust_serial serial;
};

struct tls_trust; /* written by one thread until it is complete, immutable afterwards; refcounted */

struct tls_trust *tls_trust_new(void) MUST_CHECK; /* NULL when out of memory */
struct tls_trust *tls_trust_ref(struct tls_trust *t);
void tls_trust_unref(struct tls_trust *t);        /* NULL is fine */

/* A certificate of an authority. False when out of memory. */
bool tls_trust_add_authority(struct tls_trust *t, const struct cert *c) MUST_CHECK;
/* A revocation list in DER, made at *made_s; the caller verifies its signature. Of several of one issuer the newest says until when, and each
 * revokes. ERR_INVALID: *why says what is wrong. ERR_NOMEM. */
enum err tls_trust_add_list(struct tls_trust *t, struct der der, int64_t *made_s, const char **why) MUST_CHECK;
bool tls_trust_add_pin(struct tls_trust *t, const struct tls_pin *pin) MUST_CHECK; /* false when out of memory */
/* Nothing is added after this. has_lists: revocation is checked, if only to find that there is no list. stale_ok: a list past its end
 * is still used. */
void tls_trust_complete(struct tls_trust *t, bool has_lists, bool stale_ok);

struct trust_hash tls_trust_hash(struct der d);
struct trust_serial tls_trust_serial(struct der magnitude);

/* Does a chain whose signatures are good get in? hops: the leaf first, at least one, up to where an authority takes over. at_s: when an
 * authority has to be in force; now_s: when a list has to be. */
enum tls_cause tls_trust_admits(const struct tls_trust *t, const struct trust_hop *hops, size_t n, int64_t at_s, int64_t now_s) MUST_CHECK;
/* Would one that `then` admitted get in by `now`? Dates and missing lists end no connection. An authority counts as kept when every one of its
 * name which `then` had is there with the same key: of two with one name, nothing tells which of them had signed. */
enum tls_cause tls_trust_still_admits(const struct tls_trust *then, const struct tls_trust *now, const struct trust_hop *hops, size_t n) MUST_CHECK;
/* May this key use that name? Yes when the name is not pinned. */
bool tls_trust_may_use(const struct tls_trust *t, const struct trust_hash *cn, const struct trust_hash *key) MUST_CHECK;

/* As tls_ctx_newly_revoked. */
size_t tls_trust_newly_revoked(const struct tls_trust *then, const struct tls_trust *now, struct tls_revoked *out, size_t most);

/* The earliest end of an authority, and of the newest lists (INT64_MAX: none). */
struct tls_date tls_trust_authority_end(const struct tls_trust *t);
struct tls_date tls_trust_list_end(const struct tls_trust *t);

#endif
