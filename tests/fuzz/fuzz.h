/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What fuzz targets share: a condition that must hold, the fields of an input, and a file in memory for what reads files. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static inline void require(bool condition)
{
	if (!condition)
		abort();
}

/* The bytes up to the next 0xFF (which no UTF-8 holds) or the end: *len of them; *p and *left move behind it. */
static inline const uint8_t *next_field(const uint8_t **p, size_t *left, size_t *len)
{
	const uint8_t *field = *p, *end = *left ? memchr(field, 0xFF, *left) : NULL;
	*len = end ? (size_t)(end - field) : *left;
	*p += *len + (end ? 1 : 0);
	*left -= *len + (end ? 1 : 0);
	return field;
}

/* The name of this process's own file number i (0 to 9), which is not on a disk. */
static inline const char *scratch_name(unsigned i)
{
	static char names[10][64];
	snprintf(names[i], sizeof names[i], "/dev/shm/sealmq-fuzz-%d-%u", (int)getpid(), i);
	return names[i];
}

/* Removes it, with its lock and what is written beside it. */
static inline void scratch_remove(unsigned i)
{
	static const char *const beside[] = { "", ".lock", ".new" };
	char name[80];
	for (size_t k = 0; k < sizeof beside / sizeof beside[0]; k++) {
		snprintf(name, sizeof name, "%s%s", scratch_name(i), beside[k]);
		unlink(name);
	}
}

/* That file, holding these bytes. */
static inline const char *scratch_file(unsigned i, const void *bytes, size_t len)
{
	const char *name = scratch_name(i);
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	require(fd >= 0 && write(fd, bytes, len) == (ssize_t)len && close(fd) == 0);
	return name;
}

#endif
