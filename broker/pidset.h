/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A set of packet identifiers: QoS 2 messages received and not yet released. Empty, it owns nothing; few are kept
 * in an array, many in a bitmap of 8 KiB, so that no client makes a lookup slow. Owner loop. */
#ifndef BROKER_PIDSET_H
#define BROKER_PIDSET_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define PIDSET_ARRAY_MAX 32U

struct pidset {
	uint16_t *array; /* count of them while count <= PIDSET_ARRAY_MAX and bits is NULL */
	uint8_t *bits;   /* 65,536 bits */
	uint32_t count;
};

bool pidset_has(const struct pidset *s, uint16_t id);
enum err pidset_add(struct pidset *s, uint16_t id) MUST_CHECK; /* ERR_EXISTS, ERR_NOMEM */
bool pidset_remove(struct pidset *s, uint16_t id);             /* was it there? */
void pidset_clear(struct pidset *s);

#endif
