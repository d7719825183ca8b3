/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Thread-local free lists in front of malloc, by size class (64 B … 32 KiB), for what is allocated and freed once per packet
 * or record: wolfSSL's record buffers, control buffers, queue chunks, mail. Blocks are plain malloc blocks: one
 * may be freed on another thread (it joins that thread's list, and comes back with many others when that is full), and sizes are found by malloc_usable_size. */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include "base/err.h"

#include <stddef.h>

void *pool_alloc(size_t size) MUST_CHECK;
void *pool_realloc(void *p, size_t size) MUST_CHECK; /* as realloc: on NULL the old block stands */
void pool_free(void *p);                   /* NULL is fine */
/* Frees the calling thread's lists (bounded at 256 KiB a class meanwhile), and what all threads share (512 KiB a class). */
void pool_drain(void);

#endif
