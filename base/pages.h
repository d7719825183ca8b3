/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Zeroed pages straight from the system, for slabs: they cost memory only once touched, and go back when freed. Any thread. */
#ifndef BASE_PAGES_H
#define BASE_PAGES_H

#include "base/err.h"

#include <stddef.h>

/* size and align: bytes, powers of two or multiples of 4 KiB; align a power of two. Of 2 MiB and more, aligned to that, huge pages are
 * asked for: they save most of the TLB misses of a walk through a large tree. NULL when out of memory. */
void *pages_alloc(size_t size, size_t align) MUST_CHECK;
void pages_free(void *p, size_t size); /* the size that was asked for; NULL is fine */

#endif
