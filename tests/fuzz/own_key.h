/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The key pair of a fuzz target: loaded at the first input, freed at the end. */
#ifndef TESTS_FUZZ_OWN_KEY_H
#define TESTS_FUZZ_OWN_KEY_H

#include "tests/fuzz/fuzz.h"
#include "tests/vectors/keys.h"

static struct keypair *the_key;

static inline void free_own_key(void) { keypair_free(the_key); }

/* Of tests/vectors; always the same name. */
static inline struct keypair *own_key(const char *name)
{
	if (!the_key)
		require((the_key = vectors_load_keypair(name)) && atexit(free_own_key) == 0);
	return the_key;
}

#endif
