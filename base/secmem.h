/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Secret memory: page-aligned, locked where permitted, left out of core dumps and forks, wiped when freed. */
#ifndef BASE_SECMEM_H
#define BASE_SECMEM_H

#include "base/err.h"

#include <stddef.h>

void *secmem_alloc(size_t size) MUST_CHECK; /* zeroed; NULL when out of memory. Small blocks share pages. Any thread. */
void secmem_free(void *p);                  /* wipes; NULL is fine */
void secmem_wipe(void *p, size_t len);      /* never optimised away */

#endif
