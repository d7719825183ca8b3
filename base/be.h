/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers in files and packets: big-endian, 1 to 8 bytes. Pure; any thread. */
#ifndef BASE_BE_H
#define BASE_BE_H

#include <stdint.h>

/* Returns behind it. */
static inline uint8_t *put_be(uint8_t *p, uint64_t v, unsigned bytes)
{
	for (unsigned i = bytes; i-- > 0; v >>= 8)
		p[i] = (uint8_t)v;
	return p + bytes;
}

static inline uint64_t get_be(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

#endif
