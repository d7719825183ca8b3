/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SHA-256 and what is built on it. Pure; any thread. */
#ifndef CRYPTO_HASH_H
#define CRYPTO_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_LEN 32u /* bytes */

void hash_sha256(const void *data, size_t len, uint8_t out[static HASH_LEN]);

#endif
