/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/pages.h"

#include <stdint.h>
#include <sys/mman.h>

#define HUGE ((size_t)2 << 20)

void *pages_alloc(size_t size, size_t align)
{
	if (size > SIZE_MAX - align)
		return NULL;
	size_t span = size + align;
	uint8_t *p = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* The system aligns to its page only: map more and give back both ends. */
	size_t before = (align - ((uintptr_t)p & (align - 1))) & (align - 1);
	if (before != 0)
		(void)munmap(p, before);
	p += before;
	if (span - before > size)
		(void)munmap(p + size, span - before - size);
	if (size >= HUGE && align >= HUGE)
		(void)madvise(p, size, MADV_HUGEPAGE); /* a hint; kernels without it say no */
	return p;
}

void pages_free(void *p, size_t size)
{
	if (p)
		(void)munmap(p, size);
}
