/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SipHash [Aumasson, Bernstein: SipHash, a fast short-input PRF, 2012], for 64-bit results. Pure functions, any thread. */
#include "base/siphash.h"

#include "base/random.h"

#include <endian.h>
#include <string.h>

struct siphash_key siphash_process_key;

struct state { uint64_t v0, v1, v2, v3; };

static inline uint64_t rotate_left(uint64_t x, unsigned bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static inline void rounds(struct state *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = rotate_left(s->v1, 13) ^ s->v0;
		s->v3 = rotate_left(s->v3, 16) ^ s->v2;
		s->v0 = rotate_left(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = rotate_left(s->v1, 17) ^ s->v2;
		s->v3 = rotate_left(s->v3, 21) ^ s->v0;
		s->v2 = rotate_left(s->v2, 32);
	}
}

static inline void absorb(struct state *s, uint64_t word, unsigned c)
{
	s->v3 ^= word;
	rounds(s, c);
	s->v0 ^= word;
}

/* The last word: what is left of the data, and the length modulo 256 in the highest byte. */
static inline uint64_t last_word(const uint8_t *p, size_t left, size_t len)
{
	uint64_t word = (uint64_t)len << 56;
	for (size_t i = 0; i < left; i++)
		word |= (uint64_t)p[i] << (8 * i);
	return word;
}

/* Inlined twice, with constant round numbers. */
static inline uint64_t siphash(const struct siphash_key *key, const void *data, size_t len, unsigned c, unsigned d)
{
	struct state s = {
		key->k0 ^ UINT64_C(0x736f6d6570736575), /* "somepseu" */
		key->k1 ^ UINT64_C(0x646f72616e646f6d), /* "dorandom" */
		key->k0 ^ UINT64_C(0x6c7967656e657261), /* "lygenera" */
		key->k1 ^ UINT64_C(0x7465646279746573), /* "tedbytes" */
	};
	const uint8_t *p = data;
	size_t left = len;
	for (; left >= 8; p += 8, left -= 8) {
		uint64_t word;
		memcpy(&word, p, 8);
		absorb(&s, le64toh(word), c);
	}
	absorb(&s, last_word(p, left, len), c);
	s.v2 ^= 0xff;
	rounds(&s, d);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t siphash24(const struct siphash_key *key, const void *data, size_t len)
{
	return siphash(key, data, len, 2, 4);
}

uint64_t siphash13(const struct siphash_key *key, const void *data, size_t len)
{
	return siphash(key, data, len, 1, 3);
}

void siphash_init(void)
{
	random_bytes(&siphash_process_key, sizeof siphash_process_key);
}
