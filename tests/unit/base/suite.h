/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running suites of tests, in this process: threads, sanitizers and debuggers like that better. */
#ifndef TESTS_UNIT_BASE_SUITE_H
#define TESTS_UNIT_BASE_SUITE_H

#include <check.h>
#include <stdlib.h>

/* Runs the suite, and frees it. Returns what main() is to return. */
static inline int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The same of a suite of one test case. */
static inline int run_case(const char *name, TCase *t)
{
	Suite *suite = suite_create(name);
	tcase_set_timeout(t, 240);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}

/* A program of one suite of plain tests. */
#define SUITE_MAIN(name, ...)                                                                                              \
	int main(void)                                                                                                     \
	{                                                                                                                  \
		const TTest *const tests[] = { __VA_ARGS__ };                                                              \
		Suite *suite = suite_create(name);                                                                         \
		TCase *tcase = tcase_create(name);                                                                         \
		for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)                                                  \
			tcase_add_test(tcase, tests[i]);                                                                   \
		suite_add_tcase(suite, tcase);                                                                             \
		return run_suite(suite);                                                                                   \
	}

#endif
