/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a program keeps for itself, sealed under its identity's private key (docs/formats.md 11): only who holds that key can read it, and only who
 * holds it can have written it. The same for RSA and EC keys. Pure; any thread. */
#ifndef CRYPTO_OWNSEAL_H
#define CRYPTO_OWNSEAL_H

#include "base/err.h"
#include "crypto/keys.h"

#define OWNSEAL_ID_LEN 8u
#define OWNSEAL_OVERHEAD 70u   /* bytes that sealing adds */
#define OWNSEAL_PURPOSE_MAX 70000u

/* Follows from the private key alone, not from the certificate: a renewed certificate of the same key opens what the old one has sealed. */
struct ownseal_key {
	uint8_t secret[32];          /* wipe it after use; keep it in secret memory for longer */
	uint8_t id[OWNSEAL_ID_LEN];  /* public */
};

enum err ownseal_key_of(struct keypair *k, struct ownseal_key *out) MUST_CHECK;

/* Seals len bytes into out (len + OWNSEAL_OVERHEAD bytes). What was sealed for one purpose (any bytes: "sealmq v1 owner", a file's name …) opens for no other.
 * ERR_INVALID: a length; ERR_NOMEM. */
enum err ownseal_seal(const struct ownseal_key *k, const void *purpose, size_t purpose_len, const void *plain, size_t len, uint8_t *out) MUST_CHECK;
/* Opens into out (len - OWNSEAL_OVERHEAD bytes). ERR_INVALID: no such bytes, or of a version that is not known; ERR_REFUSED: sealed by another identity;
 * ERR_CORRUPT: changed, or for another purpose; ERR_NOMEM. */
enum err ownseal_open(const struct ownseal_key *k, const void *purpose, size_t purpose_len, const void *sealed, size_t len, uint8_t *out) MUST_CHECK;

#endif
