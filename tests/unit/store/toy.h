/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A stand-in for the encryption of records: hides and authenticates well enough to see whether the store calls it rightly, no more. */
#ifndef TESTS_UNIT_STORE_TOY_H
#define TESTS_UNIT_STORE_TOY_H

#include "base/siphash.h"
#include "store/store.h"

#include <stdatomic.h>
#include <string.h>

#define TOY_OVERHEAD 16u /* counter 8, tag 8 */

struct toy {
	struct siphash_key key;
	atomic_uint_fast64_t counter;
};

static inline uint64_t toy_stream(const struct toy *t, const uint8_t *topic, size_t topic_len, const uint8_t counter[8], size_t block)
{
	struct siphash_key k = { t->key.k0 ^ siphash24(&t->key, topic, topic_len), t->key.k1 ^ block };
	return siphash24(&k, counter, 8);
}

static inline void toy_xor(const struct toy *t, const uint8_t *topic, size_t topic_len, const uint8_t counter[8], const uint8_t *in, size_t len,
    uint8_t *out)
{
	for (size_t i = 0; i < len; i++)
		out[i] = in[i] ^ (uint8_t)(toy_stream(t, topic, topic_len, counter, i / 8) >> i % 8 * 8);
}

static inline uint64_t toy_tag(const struct toy *t, const uint8_t *aad, size_t aad_len, const uint8_t *text, size_t len)
{
	struct siphash_key k = { t->key.k1, siphash24(&t->key, aad, aad_len) };
	return siphash24(&k, text, len);
}

static inline enum err toy_seal(void *arg, const uint8_t *topic, size_t topic_len, const uint8_t *aad, size_t aad_len, const uint8_t *plain,
    size_t len, uint8_t *out)
{
	struct toy *t = arg;
	uint64_t counter = atomic_fetch_add(&t->counter, 1);
	memcpy(out, &counter, 8);
	toy_xor(t, topic, topic_len, out, plain, len, out + 8);
	uint64_t tag = toy_tag(t, aad, aad_len, out, len + 8);
	memcpy(out + 8 + len, &tag, 8);
	return ERR_OK;
}

static inline enum err toy_open(void *arg, const uint8_t *topic, size_t topic_len, const uint8_t *aad, size_t aad_len, const uint8_t *sealed,
    size_t len, uint8_t *out)
{
	struct toy *t = arg;
	len -= TOY_OVERHEAD;
	uint64_t tag = toy_tag(t, aad, aad_len, sealed, len + 8);
	if (memcmp(&tag, sealed + 8 + len, 8) != 0)
		return ERR_CORRUPT;
	toy_xor(t, topic, topic_len, sealed, sealed + 8, len, out);
	return ERR_OK;
}

#endif
