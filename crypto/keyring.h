/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A member's keys: what envelopes have granted, and the rules by which a new one is taken (docs/formats.md 3.4). Keys lie in secret memory.
 * One thread at a time. */
#ifndef CRYPTO_KEYRING_H
#define CRYPTO_KEYRING_H

#include "crypto/keyset.h"

struct keyring;

struct keyring *keyring_new(const uint8_t own_fingerprint[static 32]) MUST_CHECK; /* SHA-256 of the member's certificate; NULL: no memory */
void keyring_free(struct keyring *r);                                             /* wipes; NULL is fine */

/* Fixes what is to be trusted in a space (nothing below mode, sign and epoch), from configuration or memory. Without it the first envelope
 * decides. ERR_EXISTS: pinned otherwise. */
enum err keyring_pin(struct keyring *r, const char *space, size_t space_len, const uint8_t issuer[static 32], enum seal_mode mode,
                     enum seal_sign sign, uint32_t epoch) MUST_CHECK;

/* Takes the content of an envelope that verified against the certificate with fingerprint signer, and was asked for topic (a filter as in
 * $KEYS/<topic>; len 0: not asked for). All of it or nothing. ERR_REFUSED, *why tells; ERR_NOMEM. */
enum err keyring_take(struct keyring *r, const struct keyset *set, const uint8_t signer[static 32], const char *topic, size_t topic_len,
                      const char **why) MUST_CHECK;

struct keyring_key {
	uint8_t kid[KEYTREE_KID_LEN];
	uint8_t topic_key[KEYTREE_KEY_LEN]; /* wipe after use */
	uint8_t issuer[32];                 /* SHA-256 of the certificate that the space is pinned to */
	uint32_t epoch;
	enum seal_mode mode;
	enum seal_sign sign;
	uint64_t not_after_s;
};

/* The topic's key of that kid, which must be of the innermost known space that covers the topic. ERR_NOT_FOUND: unknown kid;
 * ERR_REFUSED: it is another space's. */
enum err keyring_find(const struct keyring *r, const char *topic, size_t topic_len, const uint8_t kid[static KEYTREE_KID_LEN],
                      struct keyring_key *out) MUST_CHECK;
/* The key to seal under: the newest epoch's. ERR_NOT_FOUND: none; ERR_REFUSED: it has passed its not_after. */
enum err keyring_current(const struct keyring *r, const char *topic, size_t topic_len, uint64_t now_s, struct keyring_key *out) MUST_CHECK;

/* What rules a topic. Views into the keyring, until it next changes. */
struct keyring_space {
	const char *name;    /* not NUL-terminated */
	size_t name_len;
	const uint8_t *issuer;
	enum seal_mode mode; /* these three of the newest epoch known */
	enum seal_sign sign;
	uint32_t epoch;
	uint64_t not_after_s;
};
/* The innermost known space that covers the topic. ERR_NOT_FOUND. */
enum err keyring_space(const struct keyring *r, const char *topic, size_t topic_len, struct keyring_space *out) MUST_CHECK;
/* The i-th known space, in no particular order. ERR_NOT_FOUND: there are not so many. */
enum err keyring_space_at(const struct keyring *r, size_t i, struct keyring_space *out) MUST_CHECK;

#endif
