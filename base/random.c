/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/random.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/types.h>

void random_bytes(void *p, size_t len)
{
	uint8_t *at = p;
	while (len > 0) {
		/* Waits only while the kernel's pool has never been seeded (early boot); long requests may return short. */
		ssize_t got = getrandom(at, len, 0);
		if (got < 0) {
			if (errno == EINTR)
				continue;
			abort(); /* a key from anything else would be worse than no broker */
		}
		at += got;
		len -= (size_t)got;
	}
}
