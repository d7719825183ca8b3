/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A key from a password. Pure; any thread; takes a good part of a second, which is its purpose. */
#ifndef CRYPTO_PASSWORD_H
#define CRYPTO_PASSWORD_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define PASSWORD_SALT_LEN 32u
#define PASSWORD_ITERATIONS 600000u      /* for new keys */
#define PASSWORD_ITERATIONS_MAX 10000000u

/* PBKDF2-HMAC-SHA256 [RFC 8018]. ERR_INVALID: iterations out of 100,000 to PASSWORD_ITERATIONS_MAX, or a length; ERR_NOMEM. */
enum err password_key(const void *password, size_t len, const uint8_t salt[static PASSWORD_SALT_LEN], uint32_t iterations, uint8_t key[static 32]) MUST_CHECK;

#endif
