/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A test program of base/: one suite, run in this process (threads, sanitizers and debuggers like that better). */
#ifndef TESTS_UNIT_BASE_SUITE_H
#define TESTS_UNIT_BASE_SUITE_H

#include <check.h>
#include <stdlib.h>

#define SUITE_MAIN(name, ...)                                                                                              \
	int main(void)                                                                                                     \
	{                                                                                                                  \
		const TTest *const tests[] = { __VA_ARGS__ };                                                              \
		Suite *suite = suite_create(name);                                                                         \
		TCase *tcase = tcase_create(name);                                                                         \
		for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)                                                  \
			tcase_add_test(tcase, tests[i]);                                                                   \
		suite_add_tcase(suite, tcase);                                                                             \
		SRunner *runner = srunner_create(suite);                                                                   \
		srunner_set_fork_status(runner, CK_NOFORK);                                                                \
		srunner_run_all(runner, CK_NORMAL);                                                                        \
		int failed = srunner_ntests_failed(runner);                                                                \
		srunner_free(runner);                                                                                      \
		return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;                                                          \
	}

#endif
