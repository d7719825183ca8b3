/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A folder of a test's own, below /tmp. */
#ifndef TESTS_UNIT_BASE_FOLDER_H
#define TESTS_UNIT_BASE_FOLDER_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLDER_MAX 32u /* bytes of its name */

/* Makes one, empty and private. Ends the program when it cannot: no test is worth anything then. */
static inline void folder_make(char out[static FOLDER_MAX])
{
	strcpy(out, "/tmp/sealmq-unit-XXXXXX");
	if (mkdtemp(out))
		return;
	perror(out);
	exit(2);
}

static inline int folder_remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(path);
}

/* Removes it, or whatever has that name, with all that is in it. */
static inline void folder_remove(const char *path)
{
	nftw(path, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
