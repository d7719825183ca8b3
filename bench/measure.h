/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What formats.c and library.c share: ending when something fails, and CPU time. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void need(bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "%s: an operation failed (run it in the project's root)\n", program_invocation_short_name);
	exit(1);
}

static inline double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
