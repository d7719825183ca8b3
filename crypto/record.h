/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encryption of stored records (docs/formats.md 5): each topic and start of the broker has a key of its own under the key space's
 * store root; the nonce is a counter in memory. So neither a crash nor a restored backup repeats a pair of key and nonce. */
#ifndef CRYPTO_RECORD_H
#define CRYPTO_RECORD_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_ROOT_LEN 32u
#define RECORD_BOOT_LEN 8u
#define RECORD_OVERHEAD 32u /* bytes added: boot id 8, counter 8, tag 16 */

/* What is drawn at every start of the broker. */
struct record_boot {
	uint8_t id[RECORD_BOOT_LEN]; /* immutable after record_boot_init */
	atomic_uint_fast64_t next;   /* the counter of the next record; any thread */
};

void record_boot_init(struct record_boot *b);

/* Seals len bytes into out (len + RECORD_OVERHEAD bytes, not overlapping plain). Any thread. ERR_FULL: the counter is used up. */
enum err record_seal(struct record_boot *b, const uint8_t root[static RECORD_ROOT_LEN], const void *topic, size_t topic_len, const void *aad,
                     size_t aad_len, const void *plain, size_t len, uint8_t *out) MUST_CHECK;
/* Opens sealed_len bytes (>= RECORD_OVERHEAD) into out (sealed_len - RECORD_OVERHEAD bytes, not overlapping). Needs no boot: the record
 * names its own. Any thread. ERR_CORRUPT: not authentic. */
enum err record_open(const uint8_t root[static RECORD_ROOT_LEN], const void *topic, size_t topic_len, const void *aad, size_t aad_len,
                     const uint8_t *sealed, size_t sealed_len, uint8_t *out) MUST_CHECK;

#endif
