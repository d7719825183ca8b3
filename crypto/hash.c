/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SHA-256 and HKDF by wolfCrypt. Owns nothing; any thread. None of these calls can fail but in a broken build, and no digest or
 * key at all is worse than no process: hence abort. */
#include "crypto/hash.h"

#include "base/secmem.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdlib.h>

static void need(int rc)
{
	if (rc != 0)
		abort();
}

/* wolfCrypt counts in 32 bits. */
static word32 step(size_t len)
{
	return len > 0x40000000u ? 0x40000000u : (word32)len;
}

static void sha256_add(wc_Sha256 *h, const void *data, size_t len)
{
	for (const uint8_t *p = data; len > 0;) {
		word32 n = step(len);
		need(wc_Sha256Update(h, p, n));
		p += n;
		len -= n;
	}
}

void hash_sha256_parts(const struct hash_part *parts, size_t n, uint8_t out[static HASH_LEN])
{
	wc_Sha256 h;
	need(wc_InitSha256(&h));
	for (size_t i = 0; i < n; i++)
		sha256_add(&h, parts[i].p, parts[i].len);
	need(wc_Sha256Final(&h, out));
	wc_Sha256Free(&h);
}

void hash_sha256(const void *data, size_t len, uint8_t out[static HASH_LEN])
{
	hash_sha256_parts(&(struct hash_part){ data, len }, 1, out);
}

static void hmac_add(Hmac *h, const void *data, size_t len)
{
	for (const uint8_t *p = data; len > 0;) {
		word32 n = step(len);
		need(wc_HmacUpdate(h, p, n));
		p += n;
		len -= n;
	}
}

static void hmac(const void *key, size_t key_len, const struct hash_part *parts, size_t n, bool expand, uint8_t out[static HASH_LEN])
{
	static const uint8_t first = 1; /* HKDF-Expand's counter, for its one block */
	Hmac h;
	need(wc_HmacInit(&h, NULL, INVALID_DEVID));
	need(wc_HmacSetKey(&h, WC_SHA256, key, (word32)key_len));
	for (size_t i = 0; i < n; i++)
		hmac_add(&h, parts[i].p, parts[i].len);
	if (expand)
		hmac_add(&h, &first, 1);
	need(wc_HmacFinal(&h, out));
	wc_HmacFree(&h);
	secmem_wipe(&h, sizeof h);
}

void hkdf_expand(const uint8_t key[static HASH_LEN], const struct hash_part *parts, size_t n, uint8_t out[static HASH_LEN])
{
	hmac(key, HASH_LEN, parts, n, true, out);
}

void hkdf_extract(const void *salt, size_t salt_len, const void *secret, size_t secret_len, uint8_t out[static HASH_LEN])
{
	hmac(salt, salt_len, &(struct hash_part){ secret, secret_len }, 1, false, out);
}

bool hash_same(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a, *y = b;
	uint8_t difference = 0;
	for (size_t i = 0; i < len; i++)
		difference |= x[i] ^ y[i];
	return difference == 0;
}
