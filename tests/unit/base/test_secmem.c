/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/secmem.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static bool all_are(const void *p, uint8_t value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (((const uint8_t *)p)[i] != value)
			return false;
	return true;
}

/* The flags of the mapping that holds p, as the kernel lists them. */
static const char *vm_flags(const void *p)
{
	static char line[512];
	FILE *f = fopen("/proc/self/smaps", "re");
	bool here = false;
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof line, f)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)p >= from && (uintptr_t)p < to;
		else if (here && strncmp(line, "VmFlags:", 8) == 0)
			break;
	}
	fclose(f);
	return line;
}

START_TEST(every_size_is_zeroed_and_writable)
{
	for (size_t size = 0; size < 10000; size += size < 40 ? 1 : 61) {
		void *p = secmem_alloc(size);
		ck_assert_ptr_nonnull(p);
		ck_assert(all_are(p, 0, size));
		ck_assert_uint_eq((uintptr_t)p % 16, 0);
		memset(p, 0xEE, size);
		secmem_free(p);
	}
	secmem_free(NULL);
}
END_TEST

START_TEST(blocks_do_not_overlap)
{
	enum { N = 500 };
	uint8_t *blocks[N];
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < N; i++) {
			blocks[i] = secmem_alloc(1 + i * 7);
			ck_assert_ptr_nonnull(blocks[i]);
			ck_assert(all_are(blocks[i], 0, 1 + i * 7));
			memset(blocks[i], (int)(1 + i % 255), 1 + i * 7);
		}
		for (size_t i = 0; i < N; i++) {
			size_t k = (i * 211 + 17) % N; /* in another order */
			ck_assert(all_are(blocks[k], (uint8_t)(1 + k % 255), 1 + k * 7));
			secmem_free(blocks[k]);
		}
	}
}
END_TEST

START_TEST(small_blocks_share_pages)
{
	uint8_t *a = secmem_alloc(32), *b = secmem_alloc(32);
	ck_assert_uint_eq((uintptr_t)a / 4096, (uintptr_t)b / 4096);
	secmem_free(a);
	secmem_free(b);
}
END_TEST

START_TEST(a_freed_block_is_wiped)
{
	uint8_t *keep = secmem_alloc(64), *p = secmem_alloc(64); /* keep: so that the page stays */
	memset(p, 0xA5, 64);
	secmem_free(p);
	ck_assert(all_are(p, 0, 64)); /* not ours any more, but there */
	secmem_free(keep);
}
END_TEST

START_TEST(wipe_wipes_exactly_its_bytes)
{
	uint8_t buf[12];
	memset(buf, 7, sizeof buf);
	secmem_wipe(buf + 2, 8);
	ck_assert(all_are(buf + 2, 0, 8));
	ck_assert_uint_eq(buf[1] + buf[10], 14);
	secmem_wipe(NULL, 0);
}
END_TEST

/* Limits may forbid it, and sanitizers make nothing of it. */
static bool locking_works(void)
{
	void *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool works = mlock(p, 4096) == 0 && strstr(vm_flags(p), " lo");
	munmap(p, 4096);
	return works;
}

START_TEST(pages_stay_out_of_core_dumps_forks_and_swap)
{
	static const size_t sizes[] = { 32, 1024, 100000 };
	bool locks = locking_works();
	for (int i = 0; i < 3; i++) {
		void *p = secmem_alloc(sizes[i]);
		const char *flags = vm_flags(p);
		ck_assert_ptr_nonnull(strstr(flags, " dd")); /* not dumped */
		ck_assert_ptr_nonnull(strstr(flags, " dc")); /* not copied on fork */
		if (locks)
			ck_assert_ptr_nonnull(strstr(flags, " lo")); /* locked */
		secmem_free(p);
	}
}
END_TEST

/* What fn does, does it end the process? */
static bool child_crashes(void (*fn)(uint8_t *p), uint8_t *p)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		fclose(stderr); /* what a sanitizer has to say is expected */
		fn(p);
		_exit(0);
	}
	int status;
	waitpid(pid, &status, 0);
	return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void do_nothing(uint8_t *p)
{
	(void)p;
}

static void read_it(uint8_t *p)
{
	*(volatile uint8_t *)p;
}

static void write_before_and_after(uint8_t *unused)
{
	(void)unused;
	volatile uint8_t *p = secmem_alloc(8192);
	p[8192 + 4096] = 1; /* its last page has less than a page left */
}

static void write_before(uint8_t *unused)
{
	(void)unused;
	volatile uint8_t *p = secmem_alloc(8192);
	*(p - 4096) = 1;
}

static void free_twice(uint8_t *unused)
{
	(void)unused;
	void *keep = secmem_alloc(32), *p = secmem_alloc(32);
	(void)keep;
	secmem_free(p);
	secmem_free(p);
}

static void free_the_middle(uint8_t *unused)
{
	(void)unused;
	secmem_free((uint8_t *)secmem_alloc(64) + 16);
}

START_TEST(misuse_ends_the_process)
{
	uint8_t *p = secmem_alloc(64);
	ck_assert(!child_crashes(do_nothing, p));
	ck_assert(child_crashes(read_it, p)); /* forks do not get it */
	ck_assert(child_crashes(write_before, NULL));
	ck_assert(child_crashes(write_before_and_after, NULL));
	ck_assert(child_crashes(free_twice, NULL));
	ck_assert(child_crashes(free_the_middle, NULL));
	secmem_free(p);
}
END_TEST

START_TEST(a_failed_allocation_is_null)
{
	ck_assert_ptr_null(secmem_alloc(SIZE_MAX));
	ck_assert_ptr_null(secmem_alloc(SIZE_MAX / 2));
	ck_assert_ptr_null(secmem_alloc(SIZE_MAX - 4096));
}
END_TEST

START_TEST(beyond_the_lock_limit_memory_is_still_given)
{
	struct rlimit before, none = { 0, 0 };
	getrlimit(RLIMIT_MEMLOCK, &before);
	none.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_MEMLOCK, &none); /* root is not bound by it; others are */
	void *p = secmem_alloc(100000);
	ck_assert_ptr_nonnull(p);
	memset(p, 1, 100000);
	secmem_free(p);
	setrlimit(RLIMIT_MEMLOCK, &before);
}
END_TEST

static void *allocate_and_free(void *arg)
{
	uint8_t value = *(uint8_t *)arg, *blocks[16] = { NULL };
	void *failed = NULL;
	for (unsigned i = 0; i < 4000; i++) {
		unsigned slot = i * 7 % 16;
		size_t size = 1 + slot * 150u % 1500u;
		if (blocks[slot]) {
			if (!all_are(blocks[slot], value, size))
				failed = arg;
			secmem_free(blocks[slot]);
			blocks[slot] = NULL;
		} else {
			blocks[slot] = secmem_alloc(size);
			if (!blocks[slot] || !all_are(blocks[slot], 0, size))
				failed = arg;
			memset(blocks[slot], value, size);
		}
	}
	for (int i = 0; i < 16; i++)
		secmem_free(blocks[i]);
	return failed;
}

START_TEST(threads_share_pages)
{
	pthread_t threads[3];
	uint8_t values[3] = { 1, 2, 3 };
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, allocate_and_free, &values[i]), 0);
	for (int i = 0; i < 3; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
}
END_TEST

SUITE_MAIN("secmem", every_size_is_zeroed_and_writable, blocks_do_not_overlap, small_blocks_share_pages, a_freed_block_is_wiped,
	   wipe_wipes_exactly_its_bytes, pages_stay_out_of_core_dumps_forks_and_swap, misuse_ends_the_process,
	   a_failed_allocation_is_null, beyond_the_lock_limit_memory_is_still_given, threads_share_pages)
