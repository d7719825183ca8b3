/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Cutting a topic into levels, and the keyed hash of one level. Pure; any thread. */
#ifndef TOPICS_LEVEL_INT_H
#define TOPICS_LEVEL_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct level {
	const uint8_t *p;
	size_t len; /* bytes */
};

/* What is still to be cut; p is NULL behind the last level. */
struct level_cursor { const uint8_t *p, *end; };

static inline struct level_cursor level_first(const uint8_t *topic, size_t len)
{
	static const uint8_t none[1];
	if (len == 0)
		topic = none; /* an empty topic has one level, and may come as NULL */
	return (struct level_cursor){ topic, topic + len };
}

/* Levels are short: a byte loop beats a call of memchr. */
static inline bool level_next(struct level_cursor *c, struct level *out)
{
	if (!c->p)
		return false;
	const uint8_t *p = c->p;
	while (p < c->end && *p != '/')
		p++;
	*out = (struct level){ c->p, (size_t)(p - c->p) };
	c->p = p < c->end ? p + 1 : NULL;
	return true;
}

/* A folded 64 × 64 → 128 bit product over secret words: an eighth of SipHash's time on a level of 8 bytes. Strangers choose the levels,
 * but see neither key nor hash nor order of a table, so that they cannot aim at collisions; they would have to guess
 * 64 bits of a word to make a factor zero. */
struct level_key { uint64_t k[4]; };

__extension__ typedef unsigned __int128 level_u128;
static inline uint64_t level_fold(uint64_t a, uint64_t b)
{
	level_u128 m = (level_u128)a * b;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}
static inline uint64_t level_load8(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}
static inline uint64_t level_load4(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t level_hash64(const struct level_key *key, const uint8_t *p, size_t len)
{
	uint64_t a = 0, b = 0, h = key->k[1];
	if (len >= 8) {
		for (size_t left = len; left > 16; left -= 16, p += 16)
			h = level_fold(level_load8(p) ^ key->k[0], level_load8(p + 8) ^ h);
		size_t rest = (len - 1) % 16 + 1; /* 1 … 16; the last two words overlap what is before them */
		if (len > 16) {
			p += rest;
			a = level_load8(p - 16);
			b = level_load8(p - 8);
		} else {
			a = level_load8(p);
			b = level_load8(p + len - 8);
		}
	} else if (len >= 4) {
		a = level_load4(p);
		b = level_load4(p + len - 4);
	} else if (len > 0) {
		a = (uint64_t)p[0] << 16 | (uint64_t)p[len >> 1] << 8 | p[len - 1];
	}
	h = level_fold(a ^ key->k[0], b ^ h);
	return level_fold(h ^ key->k[2], key->k[3] ^ len);
}

/* The 32 bits that a child table keeps. Bit 0 says share group: no level's hash has it, so a level never finds one. */
#define LEVEL_HASH_GROUP 1u
static inline uint32_t level_hash(const struct level_key *key, const uint8_t *p, size_t len)
{
	return (uint32_t)(level_hash64(key, p, len) >> 32) & ~LEVEL_HASH_GROUP;
}

/* Where the search for a 32-bit hash begins in a table of cap places (any number). Each size scatters in its own way: were the order
 * the same in all, removing in the table's order (as who walks it does) would leave the rest in one stretch of the smaller table. */
static inline uint32_t hash_place(uint32_t hash, uint32_t cap)
{
	hash = (hash ^ hash >> 15) * (UINT32_C(0x85ebca6b) * (2 * cap + 1));
	return (uint32_t)((uint64_t)hash * cap >> 32);
}

#endif
