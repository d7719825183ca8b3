/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a test_<x>_nomem is linked with in place of the allocators (--wrap, Makefile): each allocation of the code under test asks the test's own fails(), defined
 * before this is included, and gets nothing when it says so. Included once, by the test's only file. */
#ifndef TESTS_UNIT_BASE_NOMEM_H
#define TESTS_UNIT_BASE_NOMEM_H

#include "base/pages.h"
#include "base/secmem.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__real_pages_alloc(size_t size, size_t align);
void *__real_secmem_alloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);
void *__wrap_pages_alloc(size_t size, size_t align);
void *__wrap_secmem_alloc(size_t size);

/* As malloc() does it: errno says why. */
static bool none_left(void)
{
	if (!fails())
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size) { return none_left() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t n, size_t size) { return none_left() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t size) { return none_left() ? NULL : __real_realloc(p, size); }
char *__wrap_strdup(const char *s) { return none_left() ? NULL : __real_strdup(s); }
char *__wrap_strndup(const char *s, size_t n) { return none_left() ? NULL : __real_strndup(s, n); }
void *__wrap_pages_alloc(size_t size, size_t align) { return none_left() ? NULL : __real_pages_alloc(size, align); }
void *__wrap_secmem_alloc(size_t size) { return none_left() ? NULL : __real_secmem_alloc(size); }

#endif
