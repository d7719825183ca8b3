/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sets of four, found by the id, which nobody can choose: it is a hash with a secret of the context. A full set gives up one of its four, chosen
 * by other bits of the id. */
#include "crypto/tls_known.h"

#include <stdlib.h>
#include <string.h>

enum { WAYS = 4 };

struct tls_known {
	size_t n_sets;
	struct known_signature rows[]; /* WAYS for each set; the pages of those never used cost nothing */
};

struct tls_known *tls_known_new(size_t max)
{
	size_t n_sets = (max + WAYS - 1) / WAYS;
	if (n_sets == 0)
		return NULL;
	struct tls_known *k = calloc(1, sizeof *k + n_sets * WAYS * sizeof k->rows[0]);
	if (k)
		k->n_sets = n_sets;
	return k;
}

void tls_known_free(struct tls_known *k)
{
	free(k);
}

static size_t set_of(const struct tls_known *k, const uint8_t *id)
{
	uint64_t bits;
	memcpy(&bits, id, sizeof bits);
	return bits % k->n_sets * WAYS;
}

const struct known_signature *tls_known_find(const struct tls_known *k, const uint8_t id[static HASH_LEN])
{
	const struct known_signature *set = k->rows + set_of(k, id);
	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].used && memcmp(set[i].id, id, HASH_LEN) == 0)
			return &set[i];
	return NULL;
}

void tls_known_put(struct tls_known *k, const struct known_signature *s)
{
	struct known_signature *set = k->rows + set_of(k, s->id);
	unsigned at = s->id[HASH_LEN - 1] % WAYS;
	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].used && memcmp(set[i].id, s->id, HASH_LEN) == 0)
			return;
		if (!set[i].used) {
			at = i;
			break;
		}
	}
	set[at] = *s;
	set[at].used = 1;
}
