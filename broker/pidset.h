/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A set of packet identifiers: of QoS 2 messages received and not released, or of messages sent and not acknowledged. Most clients count
 * upwards, so what is in use at a time lies close together: a bit each in a block of 64 bytes, which moves along with them. One that uses
 * identifiers far apart costs a bitmap of 8 KiB. Empty, it owns nothing; no client makes a lookup slow. Owner loop. */
#ifndef BROKER_PIDSET_H
#define BROKER_PIDSET_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIDSET_WORDS 1024U /* of 64 identifiers: all of them */

struct pidset {
	uint64_t *words; /* mask + 1 of them, which hold the identifiers of as many words from `first` on; NULL while empty */
	uint32_t count;
	uint16_t first;
	uint16_t mask;   /* a power of two, less 1: word w is at words[w & mask] */
};

/* Not inline: makes id's word one of those that are held. NULL: out of memory. */
uint64_t *pidset_reach(struct pidset *s, uint16_t id) MUST_CHECK;
void pidset_clear(struct pidset *s);

/* The word with id's bit; NULL: it is not held, hence id is not there. */
static inline uint64_t *pidset_word(const struct pidset *s, uint16_t id)
{
	unsigned word = id >> 6;
	return s->words && (word - s->first) % PIDSET_WORDS <= s->mask ? &s->words[word & s->mask] : NULL;
}

static inline uint64_t pidset_bit(uint16_t id)
{
	return UINT64_C(1) << (id & 63);
}

static inline bool pidset_has(const struct pidset *s, uint16_t id)
{
	const uint64_t *word = pidset_word(s, id);
	return word && *word & pidset_bit(id);
}

/* ERR_EXISTS, ERR_NOMEM */
MUST_CHECK static inline enum err pidset_add(struct pidset *s, uint16_t id)
{
	uint64_t *word = pidset_word(s, id);
	if (!word && !(word = pidset_reach(s, id)))
		return ERR_NOMEM;
	if (*word & pidset_bit(id))
		return ERR_EXISTS;
	*word |= pidset_bit(id);
	s->count++;
	return ERR_OK;
}

/* Was it there? */
static inline bool pidset_remove(struct pidset *s, uint16_t id)
{
	uint64_t *word = pidset_word(s, id);
	if (!word || !(*word & pidset_bit(id)))
		return false;
	*word &= ~pidset_bit(id);
	if (--s->count == 0)
		pidset_clear(s);
	return true;
}

#endif
