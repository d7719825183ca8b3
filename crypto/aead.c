/* SPDX-License-Identifier: GPL-3.0-or-later */
/* AES-256-GCM by wolfCrypt, one call a message: the key schedule costs less than a cache miss. Owns nothing; any thread. */
#include "crypto/aead.h"

#include "base/secmem.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#define LEN_MAX 0x7fffffffu

static enum err begin(Aes *aes, const uint8_t *key, size_t aad_len, size_t len)
{
	if (len > LEN_MAX || aad_len > LEN_MAX)
		return ERR_INVALID;
	if (wc_AesInit(aes, NULL, INVALID_DEVID) != 0)
		return ERR_NOMEM;
	return wc_AesGcmSetKey(aes, key, AEAD_KEY_LEN) == 0 ? ERR_OK : ERR_NOMEM;
}

static void end(Aes *aes)
{
	wc_AesFree(aes);
	secmem_wipe(aes, sizeof *aes);
}

enum err aead_seal(const uint8_t key[static AEAD_KEY_LEN], const uint8_t nonce[static AEAD_NONCE_LEN], const void *aad, size_t aad_len,
                   const void *plain, size_t len, uint8_t *out, uint8_t tag[static AEAD_TAG_LEN])
{
	Aes aes;
	enum err e = begin(&aes, key, aad_len, len);
	if (e == ERR_INVALID)
		return e;
	if (e == ERR_OK && wc_AesGcmEncrypt(&aes, out, plain, (word32)len, nonce, AEAD_NONCE_LEN, tag, AEAD_TAG_LEN, aad, (word32)aad_len) != 0)
		e = ERR_NOMEM;
	end(&aes);
	return e;
}

enum err aead_open(const uint8_t key[static AEAD_KEY_LEN], const uint8_t nonce[static AEAD_NONCE_LEN], const void *aad, size_t aad_len,
                   const void *sealed, size_t len, const uint8_t tag[static AEAD_TAG_LEN], uint8_t *out)
{
	Aes aes;
	enum err e = begin(&aes, key, aad_len, len);
	if (e == ERR_INVALID)
		return e;
	if (e == ERR_OK && wc_AesGcmDecrypt(&aes, out, sealed, (word32)len, nonce, AEAD_NONCE_LEN, tag, AEAD_TAG_LEN, aad, (word32)aad_len) != 0) {
		secmem_wipe(out, len); /* some builds leave unauthenticated plain text behind */
		e = ERR_CORRUPT;
	}
	end(&aes);
	return e;
}
