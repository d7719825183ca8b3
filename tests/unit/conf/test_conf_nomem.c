/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory at every place in turn: no configuration, nothing leaked (make asan), no crash. Linked with --wrap (Makefile). */
#include "conf/conf.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

/* 0: none fails; n: the n-th from now fails, and all after it. */
static unsigned fail_at;

static bool fails(void)
{
	if (fail_at > 1)
		fail_at--;
	else if (fail_at == 1)
		return true;
	return false;
}

#include "tests/unit/base/nomem.h" /* asks fails() */

static char path[100], dir[FOLDER_MAX];

static void write_file(const char *name, const char *text)
{
	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

/* Fails each allocation in turn until none is left to fail; returns how many there were. */
static unsigned fail_all(const char *file)
{
	for (unsigned n = 1;; n++) {
		fail_at = n;
		struct conf *c = conf_load(file, NULL);
		bool failed = fail_at == 1; /* reached, or the very next would have been */
		fail_at = 0;
		conf_free(c);
		if (c)
			return n - 1;
		ck_assert(failed);
		ck_assert_uint_lt(n, 1000);
	}
}

START_TEST(loading_without_memory_gives_nothing)
{
	char text[1000];
	folder_make(dir);
	write_file("included.conf", "listener 9\ncertfile d\ncapath x\ncrlfile y\nciphers a\nciphers_tls1.3 b\n");
	(void)snprintf(text, sizeof text, "cafile a\ncertfile b\nkeyfile c\nport 4\nbind_address ::1\nlistener 1 ::\nciphers a\ninclude_dir %s\n"
		"log_dest file /a\nlog_dest none\nacl_file x\nuser u\npid_file p\nmaster_key_file k\nstore_dir d\nauto_id_prefix i\n", dir);
	write_file("main", text);
	ck_assert_uint_ge(fail_all(path), 30);
	ck_assert_uint_ge(fail_all(NULL), 8);
	folder_remove(dir);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("conf_nomem");
	TCase *t = tcase_create("conf_nomem");
	tcase_add_test(t, loading_without_memory_gives_nothing);
	suite_add_tcase(s, t);
	return run_suite(s);
}
