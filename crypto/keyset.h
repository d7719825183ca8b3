/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An envelope's content (docs/formats.md 3.3): a JWK Set with one key per epoch, as a struct and as JSON. Pure; any thread. */
#ifndef CRYPTO_KEYSET_H
#define CRYPTO_KEYSET_H

#include "base/err.h"
#include "crypto/keytree.h"

#define KEYSET_EPOCHS_MAX 64u
#define KEYSET_NAME_MAX 65535u        /* bytes of a filter or a space's name */
#define KEYSET_TIME_MAX 253402300799u /* seconds: the end of year 9999 */

enum seal_mode { SEAL_BROKER = 1, SEAL_OWNER = 2 };                 /* ordered: never goes down */
enum seal_sign { SIGN_OFF = 0, SIGN_OPTIONAL = 1, SIGN_REQUIRED = 2 }; /* ordered: never goes down */

/* What one epoch's key is for. Names borrow: from the caller when written, from the keyset when read. */
struct keyset_entry {
	uint8_t kid[KEYTREE_KID_LEN];
	uint8_t key[KEYTREE_KEY_LEN];    /* node(T) for a filter "T/#", topic(T) for T */
	const char *filter, *space;      /* not NUL-terminated */
	size_t filter_len, space_len;
	uint32_t epoch;                  /* from 1 */
	enum seal_mode mode;
	enum seal_sign sign;
	uint8_t issuer[32], recipient[32]; /* SHA-256 of the certificates */
	uint64_t issued_s, not_after_s;  /* seconds since 1970; not_after_s: nobody seals under this epoch later; 0: no end */
};

struct keyset {
	size_t n;
	const uint8_t *members; /* a signed list of members (crypto/memberlist), not read yet; NULL: none is sent along */
	size_t members_len;
	struct keyset_entry entries[]; /* in secret memory, with the names behind them */
};

/* Writes n entries (1..KEYSET_EPOCHS_MAX) as JSON into secret memory: *out of *len bytes, for secmem_free.
 * ERR_INVALID: an entry breaks a rule of the format. */
enum err keyset_format(const struct keyset_entry *entries, size_t n, char **out, size_t *len) MUST_CHECK;
/* The same with a signed list of members sent along (members_len 0: none). */
enum err keyset_format_with(const struct keyset_entry *entries, size_t n, const uint8_t *members, size_t members_len, char **out, size_t *len) MUST_CHECK;
/* Reads JSON strictly; *out for secmem_free. ERR_INVALID, *why tells; ERR_NOMEM. Unknown members are ignored, repeated ones refused. */
enum err keyset_parse(struct keyset **out, const void *json, size_t len, const char **why) MUST_CHECK;

#endif
