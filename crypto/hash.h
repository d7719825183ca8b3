/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SHA-256, and the key derivation HKDF-SHA256 [RFC 5869] built on it. Pure; any thread. */
#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_LEN 32u /* bytes */

/* A string literal as label, with its closing 0x00 byte. */
#define HASH_LABEL(literal) { (literal), sizeof(literal) }

/* What is hashed is given in parts, concatenated without separators. */
struct hash_part { const void *p; size_t len; };

void hash_sha256(const void *data, size_t len, uint8_t out[static HASH_LEN]);
void hash_sha256_parts(const struct hash_part *parts, size_t n, uint8_t out[static HASH_LEN]);

/* HKDF-Expand(key, parts, 32): key is a pseudorandom key of 32 bytes. out may be key. */
void hkdf_expand(const uint8_t key[static HASH_LEN], const struct hash_part *parts, size_t n, uint8_t out[static HASH_LEN]);
/* HKDF-Extract(salt, secret): a pseudorandom key. out may be secret. */
void hkdf_extract(const void *salt, size_t salt_len, const void *secret, size_t secret_len, uint8_t out[static HASH_LEN]);

/* Compares in a time that depends on len alone. */
bool hash_same(const void *a, const void *b, size_t len);

#endif
