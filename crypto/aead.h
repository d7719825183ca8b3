/* SPDX-License-Identifier: GPL-3.0-or-later */
/* AES-256-GCM with a 96-bit nonce and a 128-bit tag: the only cipher of envelopes, sealed messages and stored records. Any thread. */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define AEAD_KEY_LEN 32u
#define AEAD_NONCE_LEN 12u
#define AEAD_TAG_LEN 16u

/* Encrypts len bytes into out (len bytes; may be plain itself) and writes the tag. The pair of key and nonce must be new.
 * ERR_INVALID: a length over 2^31; ERR_NOMEM. */
enum err aead_seal(const uint8_t key[static AEAD_KEY_LEN], const uint8_t nonce[static AEAD_NONCE_LEN], const void *aad, size_t aad_len,
                   const void *plain, size_t len, uint8_t *out, uint8_t tag[static AEAD_TAG_LEN]) MUST_CHECK;
/* Decrypts len bytes into out (len bytes; may be sealed itself). ERR_CORRUPT: not authentic, and out holds nothing of use. */
enum err aead_open(const uint8_t key[static AEAD_KEY_LEN], const uint8_t nonce[static AEAD_NONCE_LEN], const void *aad, size_t aad_len,
                   const void *sealed, size_t len, const uint8_t tag[static AEAD_TAG_LEN], uint8_t *out) MUST_CHECK;

#endif
