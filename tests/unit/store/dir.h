/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A directory for a store under test, emptied before each. */
#ifndef TESTS_UNIT_STORE_DIR_H
#define TESTS_UNIT_STORE_DIR_H

#include "tests/unit/base/folder.h"

#include <check.h>

/* The directory's name, which does not exist afterwards; its parent is made at the first call and goes at exit. */
static char dir_parent[FOLDER_MAX];

static inline void dir_cleanup(void)
{
	if (dir_parent[0])
		folder_remove(dir_parent);
}

static inline const char *dir_fresh(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	if (!dir_parent[0]) {
		folder_make(dir_parent);
		atexit(dir_cleanup);
	}
	char *p = path[turn++ % 4];
	snprintf(p, 128, "%s/%s", dir_parent, name);
	folder_remove(p);
	return p;
}

#endif
