/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SHA-256 by wolfCrypt. Owns nothing; any thread. */
#include "crypto/hash.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdlib.h>
#include <string.h>

void hash_sha256(const void *data, size_t len, uint8_t out[static HASH_LEN])
{
	wc_Sha256 h;
	const uint8_t *p = data;
	/* wolfCrypt counts in 32 bits; it cannot fail here but for a broken build, and no digest is worse than no process. */
	if (wc_InitSha256(&h) != 0)
		abort();
	while (len > 0) {
		word32 n = len > 0x40000000u ? 0x40000000u : (word32)len;
		if (wc_Sha256Update(&h, p, n) != 0)
			abort();
		p += n;
		len -= n;
	}
	if (wc_Sha256Final(&h, out) != 0)
		abort();
	wc_Sha256Free(&h);
}
