/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A directory for a store under test, emptied before each. */
#ifndef TESTS_UNIT_STORE_DIR_H
#define TESTS_UNIT_STORE_DIR_H

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline int dir_remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st, (void)type, (void)f;
	return remove(path);
}

static inline void dir_remove(const char *path)
{
	nftw(path, dir_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The directory's name, which does not exist afterwards; its parent is made at the first call and goes at exit. */
static char dir_parent[64];

static inline void dir_cleanup(void)
{
	if (dir_parent[0])
		dir_remove(dir_parent);
}

static inline const char *dir_fresh(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	if (!dir_parent[0]) {
		snprintf(dir_parent, sizeof dir_parent, "/tmp/sealmq-store-XXXXXX");
		ck_assert(mkdtemp(dir_parent) != NULL);
		atexit(dir_cleanup);
	}
	char *p = path[turn++ % 4];
	snprintf(p, 128, "%s/%s", dir_parent, name);
	dir_remove(p);
	return p;
}

#endif
