/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stored records: boot id, counter, cipher text, tag. The store's threads call this. */
#include "crypto/record.h"

#include "base/random.h"
#include "base/secmem.h"
#include "crypto/aead.h"
#include "crypto/hash.h"

#include <string.h>

enum { COUNTER_AT = RECORD_BOOT_LEN, HEAD = RECORD_BOOT_LEN + 8 };

void record_boot_init(struct record_boot *b)
{
	random_bytes(b->id, sizeof b->id);
	atomic_init(&b->next, 0);
}

static void record_key(const uint8_t *root, const uint8_t *boot_id, const void *topic, size_t topic_len, uint8_t out[static AEAD_KEY_LEN])
{
	const struct hash_part info[] = { HASH_LABEL("sealmq v1 store"), { boot_id, RECORD_BOOT_LEN }, { topic, topic_len } };
	hkdf_expand(root, info, 3, out);
}

/* Four zero bytes, then the counter as it stands in the record. */
static void record_nonce(const uint8_t *counter, uint8_t out[static AEAD_NONCE_LEN])
{
	memset(out, 0, 4);
	memcpy(out + 4, counter, 8);
}

enum err record_seal(struct record_boot *b, const uint8_t root[static RECORD_ROOT_LEN], const void *topic, size_t topic_len, const void *aad,
                     size_t aad_len, const void *plain, size_t len, uint8_t *out)
{
	uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN];
	uint64_t n = atomic_fetch_add_explicit(&b->next, 1, memory_order_relaxed);
	if (n >= UINT64_MAX / 2) /* 9 * 10^18 records; the margin keeps many threads from wrapping it */
		return ERR_FULL;
	memcpy(out, b->id, RECORD_BOOT_LEN);
	for (int i = 0; i < 8; i++)
		out[COUNTER_AT + i] = (uint8_t)(n >> (56 - 8 * i));
	record_key(root, out, topic, topic_len, key);
	record_nonce(out + COUNTER_AT, nonce);
	enum err e = aead_seal(key, nonce, aad, aad_len, plain, len, out + HEAD, out + HEAD + len);
	secmem_wipe(key, sizeof key);
	return e;
}

enum err record_open(const uint8_t root[static RECORD_ROOT_LEN], const void *topic, size_t topic_len, const void *aad, size_t aad_len,
                     const uint8_t *sealed, size_t sealed_len, uint8_t *out)
{
	uint8_t key[AEAD_KEY_LEN], nonce[AEAD_NONCE_LEN];
	if (sealed_len < RECORD_OVERHEAD)
		return ERR_CORRUPT;
	size_t len = sealed_len - RECORD_OVERHEAD;
	record_key(root, sealed, topic, topic_len, key);
	record_nonce(sealed + COUNTER_AT, nonce);
	enum err e = aead_open(key, nonce, aad, aad_len, sealed + HEAD, len, sealed + HEAD + len, out);
	secmem_wipe(key, sizeof key);
	return e;
}
