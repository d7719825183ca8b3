/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/pidset.h"

#include "base/pool.h"

#include <string.h>

#define FEW_WORDS 8U /* what the smallest block of the pool holds: 449 identifiers in a row, wherever they begin */

static uint64_t *words_new(unsigned n)
{
	uint64_t *words = pool_alloc(n * sizeof *words);
	if (words)
		memset(words, 0, n * sizeof *words);
	return words;
}

static uint64_t *at(const struct pidset *s, unsigned word)
{
	return &s->words[word & s->mask];
}

/* From few words to all. */
static enum err widen(struct pidset *s)
{
	uint64_t *words = words_new(PIDSET_WORDS);
	if (!words)
		return ERR_NOMEM;
	for (unsigned i = 0; i <= s->mask; i++)
		words[(s->first + i) % PIDSET_WORDS] = *at(s, s->first + i);
	pool_free(s->words);
	s->words = words;
	s->first = 0;
	s->mask = PIDSET_WORDS - 1;
	return ERR_OK;
}

/* Moves by one word, if the one that falls out is empty: the shorter way round. One of them is not, so this ends. */
static bool step_towards(struct pidset *s, unsigned word)
{
	bool up = (word - s->first) % PIDSET_WORDS < PIDSET_WORDS / 2;
	if (*at(s, up ? s->first : (unsigned)s->first + s->mask) != 0)
		return false;
	s->first = (uint16_t)((s->first + (up ? 1U : PIDSET_WORDS - 1)) % PIDSET_WORDS);
	return true;
}

uint64_t *pidset_reach(struct pidset *s, uint16_t id)
{
	if (!s->words) {
		s->words = words_new(FEW_WORDS);
		s->first = id >> 6;
		s->mask = FEW_WORDS - 1;
	}
	while (s->words && !pidset_word(s, id))
		if (!step_towards(s, id >> 6) && widen(s) != ERR_OK)
			return NULL;
	return pidset_word(s, id);
}

void pidset_clear(struct pidset *s)
{
	pool_free(s->words);
	*s = (struct pidset){0};
}
