/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The disk backend: the common behaviour. */
#include "tests/unit/base/suite.h"
#include "tests/unit/store/behaviour.h"
#include "tests/unit/store/dir.h"

static int durability;

static struct store_options behaviour_options(void)
{
	return (struct store_options){ .dir = dir_fresh("store"), .max_size = 64u << 20, .durability = durability, .sync_interval_ms = 20 };
}

int main(void)
{
	siphash_init();
	int failed = 0;
	for (durability = STORE_STRICT; durability <= STORE_OFF; durability++) {
		Suite *suite = suite_create(durability == STORE_STRICT ? "store/lmdb strict" : durability == STORE_RELAXED ? "store/lmdb relaxed"
		    : "store/lmdb off");
		behaviour_add(suite);
		failed |= run_suite(suite);
	}
	return failed;
}
