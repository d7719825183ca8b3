/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory at every place in turn: no rules, nothing leaked (make asan), no crash. Linked with --wrap (Makefile). */
#include "topics/acl.h"
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

START_TEST(loading_without_memory_gives_nothing)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	ck_assert_ptr_nonnull(f);
	for (int i = 0; i < 200; i++)
		(void)fprintf(f, "user u%d\ntopic read a/%d/+/#\npattern deny x%%u%d/b\ngroup g%d u%d \"v %d\"\ntopic deny b/%d\n", i, i, i, i, i, i, i);
	ck_assert_int_eq(fclose(f), 0);
	unsigned n = 0;
	struct acl *a = NULL;
	while (!a) {
		fail_at = ++n;
		a = acl_parse(text, len, "acl", NULL);
		bool failed = fail_at == 1;
		fail_at = 0;
		ck_assert(a || failed);
		ck_assert_uint_lt(n, 1000);
	}
	ck_assert_uint_gt(n, 30);
	acl_unref(a);
	free(text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("acl_nomem");
	TCase *t = tcase_create("acl_nomem");
	tcase_add_test(t, loading_without_memory_gives_nothing);
	suite_add_tcase(s, t);
	return run_suite(s);
}
