/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/pidset.h"

#include "base/pool.h"

#include <string.h>

#define BITMAP_BYTES 8192U

static bool bit_get(const uint8_t *bits, uint16_t id)
{
	return (bits[id >> 3] >> (id & 7)) & 1;
}

static size_t array_find(const struct pidset *s, uint16_t id)
{
	size_t i = 0;
	while (i < s->count && s->array[i] != id)
		i++;
	return i;
}

bool pidset_has(const struct pidset *s, uint16_t id)
{
	if (s->bits)
		return bit_get(s->bits, id);
	return s->count > 0 && array_find(s, id) < s->count;
}

static enum err to_bitmap(struct pidset *s)
{
	s->bits = pool_alloc(BITMAP_BYTES);
	if (!s->bits)
		return ERR_NOMEM;
	memset(s->bits, 0, BITMAP_BYTES);
	for (size_t i = 0; i < s->count; i++)
		s->bits[s->array[i] >> 3] |= (uint8_t)(1U << (s->array[i] & 7));
	pool_free(s->array);
	s->array = NULL;
	return ERR_OK;
}

enum err pidset_add(struct pidset *s, uint16_t id)
{
	if (pidset_has(s, id))
		return ERR_EXISTS;
	if (!s->bits && s->count == PIDSET_ARRAY_MAX && to_bitmap(s) != ERR_OK)
		return ERR_NOMEM;
	if (s->bits) {
		s->bits[id >> 3] |= (uint8_t)(1U << (id & 7));
	} else {
		if (!s->array && !(s->array = pool_alloc(PIDSET_ARRAY_MAX * sizeof *s->array)))
			return ERR_NOMEM;
		s->array[s->count] = id;
	}
	s->count++;
	return ERR_OK;
}

bool pidset_remove(struct pidset *s, uint16_t id)
{
	if (!pidset_has(s, id))
		return false;
	if (s->bits)
		s->bits[id >> 3] &= (uint8_t)~(1U << (id & 7));
	else
		s->array[array_find(s, id)] = s->array[s->count - 1];
	if (--s->count == 0)
		pidset_clear(s);
	return true;
}

void pidset_clear(struct pidset *s)
{
	pool_free(s->array);
	pool_free(s->bits);
	*s = (struct pidset){0};
}
