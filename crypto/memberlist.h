/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The list of a key space's members that its owner signs and sends along in each envelope (docs/formats.md 12): who may read and write, by certificate, from
 * which epoch to which. Members judge senders by it, and not by what the broker says. Pure; any thread. */
#ifndef CRYPTO_MEMBERLIST_H
#define CRYPTO_MEMBERLIST_H

#include "base/err.h"
#include "crypto/keys.h"

#define MEMBERLIST_MAX 40960u /* bytes of a signed list: it must fit into an envelope */

enum { MEMBER_READ = 1, MEMBER_WRITE = 2 };

struct memberlist_entry {
	const char *cn;          /* not NUL-terminated */
	size_t cn_len;
	unsigned access;         /* MEMBER_READ, MEMBER_WRITE or both */
	uint8_t fingerprint[32]; /* SHA-256 of the certificate */
	uint32_t since, until;   /* the first and the last epoch; until 0: still a member */
};

struct memberlist {
	const char *space;       /* not NUL-terminated */
	size_t space_len;
	uint64_t number;         /* of this list: each of a space has a higher one than those before */
	uint32_t epoch;          /* the space's when it was made */
	uint64_t made_s;         /* seconds since 1970 */
	uint8_t issuer[32];      /* SHA-256 of the signer's certificate */
	struct der list, signature;
	size_t n;
	struct memberlist_entry entries[]; /* by cn, since, fingerprint; names and the views above lie behind */
};

/* Signs a list of n entries, in any order; about says the rest (its list, signature and n are not looked at). *out for pool_free. ERR_INVALID: an entry breaks a
 * rule, or two are of one cn, since and fingerprint; ERR_FULL: more than MEMBERLIST_MAX; ERR_NOMEM. */
enum err memberlist_make(const struct memberlist *about, const struct memberlist_entry *entries, size_t n, struct keypair *issuer, uint8_t **out,
                         size_t *len) MUST_CHECK;
/* Reads a signed list strictly; *out, which borrows nothing, for pool_free. Nothing is verified yet. ERR_INVALID, *why tells; ERR_NOMEM. */
enum err memberlist_parse(struct memberlist **out, const void *bytes, size_t len, const char **why) MUST_CHECK;
/* Whether it is signed by the certificate of that key and fingerprint. */
bool memberlist_verify(const struct memberlist *l, struct pubkey *issuer, const uint8_t fingerprint[static 32]);

/* Who had that certificate (the first 16 bytes of its fingerprint suffice) in that epoch; NULL: no member. */
const struct memberlist_entry *memberlist_find(const struct memberlist *l, const uint8_t fingerprint[static 16], uint32_t epoch);

#endif
