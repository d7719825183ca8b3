/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The counters' file: a header with the counters' names, then one row per thread, so that a test can tell the loops from the log's and
 * the store's thread. Read by count.py; all numbers in the machine's byte order. */
#include "bench/count/count.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROWS 64u
#define NAME_LEN 16u

struct row {
	_Atomic uint64_t tid; /* of the thread; the last row is shared by all that find none left */
	struct { _Atomic uint64_t calls, bytes, failed; } of[COUNTER_TOTAL];
};

struct counts {
	char magic[8];
	uint32_t counters, rows;
	_Atomic uint64_t rows_taken; /* may exceed rows */
	char names[COUNTER_TOTAL][NAME_LEN];
	struct row row[ROWS];
};

/* What is counted before the file is mapped, or without one, lands here. */
static struct counts unmapped;
static _Atomic(struct counts *) counts = &unmapped;

/* initial-exec: found without a call that might allocate. */
static _Thread_local struct row *my_row __attribute__((tls_model("initial-exec")));

static struct row *take_row(void)
{
	struct counts *c = atomic_load(&counts);
	uint64_t i = atomic_fetch_add(&c->rows_taken, 1);
	my_row = &c->row[i < ROWS ? i : ROWS - 1];
	atomic_store(&my_row->tid, (uint64_t)gettid());
	return my_row;
}

static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

void count_call(enum counter c)
{
	struct row *row = my_row ? my_row : take_row();
	add(&row->of[c].calls, 1);
}

void count_result(enum counter c, ssize_t result)
{
	struct row *row = my_row ? my_row : take_row();
	if (result > 0 && c != COUNT_ACCEPT) /* that one returns a descriptor */
		add(&row->of[c].bytes, (uint64_t)result);
	else if (result < 0)
		add(&row->of[c].failed, 1);
}

/* A child is another thread: it takes a row of its own, in the same file. */
static void after_fork(void)
{
	my_row = NULL;
}

/* Puts the process id in the place of the first "%p". */
static int expand_path(const char *pattern, char *path, size_t cap)
{
	const char *at = strstr(pattern, "%p");
	if (!at)
		return snprintf(path, cap, "%s", pattern);
	return snprintf(path, cap, "%.*s%ld%s", (int)(at - pattern), pattern, (long)getpid(), at + 2);
}

__attribute__((noreturn)) static void fail(const char *what)
{
	perror(what);
	_exit(127); /* a test that read no counts would pass for the wrong reason */
}

__attribute__((constructor)) static void map_file(void)
{
	static const char names[COUNTER_TOTAL][NAME_LEN] = {
#define COUNT_NAME(id, name) name,
		COUNTERS(COUNT_NAME)
#undef COUNT_NAME
	};
	const char *pattern = getenv("SEALMQ_COUNT_FILE");
	char path[4096];
	if (!pattern)
		return;
	if (expand_path(pattern, path, sizeof path) >= (int)sizeof path)
		fail("SEALMQ_COUNT_FILE is too long");
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct counts)) != 0)
		fail(path);
	struct counts *c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (c == MAP_FAILED)
		fail(path);
	close(fd);
	c->counters = COUNTER_TOTAL;
	c->rows = ROWS;
	memcpy(c->names, names, sizeof names);
	memcpy(c->magic, "SMQCNT1", sizeof c->magic); /* last: a reader that finds it finds the rest */
	pthread_atfork(NULL, NULL, after_fork);
	atomic_store(&counts, c);
	my_row = NULL;
}
