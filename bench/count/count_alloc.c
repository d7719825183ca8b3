/* SPDX-License-Identifier: GPL-3.0-or-later */
/* malloc and its family, handed on to glibc's own under the names that it exports for this. Calls that glibc makes itself (strdup,
 * fopen) come through here, too. */
#include "bench/count/count.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void *__libc_memalign(size_t align, size_t size);
extern void __libc_free(void *p);

static void *counted(enum counter c, void *p)
{
	count_call(c);
	count_result(c, p ? (ssize_t)malloc_usable_size(p) : -1);
	return p;
}

void *malloc(size_t size)
{
	return counted(COUNT_MALLOC, __libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return counted(COUNT_CALLOC, __libc_calloc(n, size));
}

/* realloc(p, 0) frees p and returns NULL: no failure. */
void *realloc(void *p, size_t size)
{
	size_t old = p ? malloc_usable_size(p) : 0;
	void *q = __libc_realloc(p, size);
	if (q || (p && size == 0))
		count_result(COUNT_FREE, (ssize_t)old);
	count_call(COUNT_REALLOC);
	count_result(COUNT_REALLOC, q ? (ssize_t)malloc_usable_size(q) : size == 0 ? 0 : -1);
	return q;
}

void free(void *p)
{
	int error = errno;
	if (p) { /* free(NULL) costs nothing */
		count_call(COUNT_FREE);
		count_result(COUNT_FREE, (ssize_t)malloc_usable_size(p));
	}
	__libc_free(p);
	errno = error;
}

void *memalign(size_t align, size_t size)
{
	return counted(COUNT_MEMALIGN, __libc_memalign(align, size));
}

void *aligned_alloc(size_t align, size_t size)
{
	return memalign(align, size);
}

int posix_memalign(void **out, size_t align, size_t size)
{
	if (align % sizeof(void *) != 0 || align == 0 || (align & (align - 1)) != 0)
		return EINVAL;
	int error = errno;
	void *p = memalign(align, size);
	errno = error;
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}
