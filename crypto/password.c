/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "crypto/password.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hash.h>
#include <wolfssl/wolfcrypt/pwdbased.h>

#define ITERATIONS_MIN 100000u
#define PASSWORD_MAX 4096u /* bytes */

enum err password_key(const void *password, size_t len, const uint8_t salt[static PASSWORD_SALT_LEN], uint32_t iterations, uint8_t key[static 32])
{
	if (len == 0 || len > PASSWORD_MAX || iterations < ITERATIONS_MIN || iterations > PASSWORD_ITERATIONS_MAX)
		return ERR_INVALID;
	return wc_PBKDF2(key, password, (int)len, salt, (int)PASSWORD_SALT_LEN, (int)iterations, 32, WC_SHA256) == 0 ? ERR_OK : ERR_NOMEM;
}
