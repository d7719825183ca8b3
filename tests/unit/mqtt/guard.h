/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Test bytes between two pages that may not be touched, so that reading outside them ends the program in every build. */
#ifndef TESTS_UNIT_MQTT_GUARD_H
#define TESTS_UNIT_MQTT_GUARD_H

#include "tests/unit/base/suite.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD_ROOM ((size_t)1 << 18) /* bytes between the pages: a multiple of any page size */
#define GUARD_PAGE ((size_t)1 << 16) /* at least a page on every machine */

static inline uint8_t *guard_room(void)
{
	static uint8_t *room;
	if (room == NULL) {
		uint8_t *all = mmap(NULL, GUARD_ROOM + 2 * GUARD_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (all == MAP_FAILED || mprotect(all + GUARD_PAGE, GUARD_ROOM, PROT_READ | PROT_WRITE) != 0)
			abort();
		room = all + GUARD_PAGE;
	}
	return room;
}

/* len bytes that end where the guard page begins: reading behind them crashes. Valid until the next call of either. */
static inline uint8_t *at_end(const void *bytes, size_t len)
{
	ck_assert_uint_le(len, GUARD_ROOM);
	uint8_t *p = guard_room() + GUARD_ROOM - len;
	if (len > 0)
		memcpy(p, bytes, len);
	return p;
}

/* len bytes that begin where the guard page ends: reading before them crashes. Valid until the next call of either. */
static inline uint8_t *at_start(const void *bytes, size_t len)
{
	ck_assert_uint_le(len, GUARD_ROOM);
	uint8_t *p = guard_room();
	if (len > 0)
		memcpy(p, bytes, len);
	return p;
}

#endif
