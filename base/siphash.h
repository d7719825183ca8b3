/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SipHash-2-4 and -1-3 with a 128-bit key: hash tables whose keys strangers choose. */
#ifndef BASE_SIPHASH_H
#define BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key { uint64_t k0, k1; };

uint64_t siphash24(const struct siphash_key *key, const void *data, size_t len);
uint64_t siphash13(const struct siphash_key *key, const void *data, size_t len);

/* The process's key, drawn from the operating system before threads start; immutable afterwards. */
extern struct siphash_key siphash_process_key;
void siphash_init(void);
/* siphash13 with the process's key. */
static inline uint64_t siphash_text(const void *data, size_t len) { return siphash13(&siphash_process_key, data, len); }

#endif
