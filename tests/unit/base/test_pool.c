/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/pool.h"
#include "tests/unit/base/suite.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The sanitizers end the process on an absurd size unless told otherwise; without them these are never called. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

/* Under AddressSanitizer the pool keeps nothing; everything else holds there, too. */
static bool pool_keeps(void)
{
	void *p = pool_alloc(100);
	uintptr_t was = (uintptr_t)p;
	pool_free(p);
	void *q = pool_alloc(100);
	bool same = (uintptr_t)q == was;
	pool_free(q);
	return same;
}

START_TEST(every_size_gets_a_block_that_holds_it)
{
	for (size_t size = 0; size <= 40000; size += size < 600 ? 1 : 37) {
		uint8_t *p = pool_alloc(size);
		ck_assert_ptr_nonnull(p);
		ck_assert_uint_ge(malloc_usable_size(p), size);
		memset(p, 0xEE, size);
		pool_free(p);
	}
	pool_drain();
}
END_TEST

START_TEST(a_freed_block_is_handed_out_again)
{
	if (!pool_keeps())
		return;
	for (size_t size = 1; size <= 32768; size = size * 3 / 2 + 1) {
		void *a = pool_alloc(size), *b = pool_alloc(size);
		ck_assert_ptr_ne(a, b);
		pool_free(a);
		pool_free(b);
		ck_assert_ptr_eq(pool_alloc(size), b); /* the warmest first */
		ck_assert_ptr_eq(pool_alloc(size), a);
		pool_free(a);
		pool_free(b);
	}
	pool_drain();
}
END_TEST

START_TEST(a_block_from_anywhere_is_never_given_out_as_more_than_it_is)
{
	/* A plain malloc block of every size goes in; whatever comes out for any size must hold it. */
	for (size_t in = 1; in <= 2100; in++) {
		pool_free(malloc(in));
		for (size_t out = in > 40 ? in - 40 : 1; out <= in + 40; out += 3) {
			void *p = pool_alloc(out);
			ck_assert_uint_ge(malloc_usable_size(p), out);
			memset(p, 1, out);
			pool_free(p);
		}
		pool_drain();
	}
}
END_TEST

/* Bytes that malloc has given out; 0 where a sanitizer's malloc does not say. */
static size_t in_use(void)
{
	return mallinfo2().uordblks;
}

/* 8 of 16 KiB are half a list; the thread keeps two halves, all threads together four more. */
START_TEST(a_class_keeps_at_most_256_kib_and_the_depot_512)
{
	if (!pool_keeps() || in_use() == 0)
		return;
	enum { N = 200, BLOCK = 16384 };
	void *blocks[N], *again[N];
	pool_drain();
	size_t before = in_use();
	for (int i = 0; i < N; i++)
		blocks[i] = pool_alloc(BLOCK);
	for (int i = 0; i < N; i++)
		pool_free(blocks[i]);
	size_t kept = in_use() - before;
	ck_assert_uint_ge(kept, 40 * BLOCK);
	ck_assert_uint_le(kept, 48 * BLOCK + 48 * 64);
	for (int i = 0; i < 16; i++) { /* the last halves come back the warmest first */
		again[i] = pool_alloc(BLOCK);
		ck_assert_ptr_eq(again[i], blocks[N - 1 - i]);
	}
	for (int i = 0; i < 16; i++)
		pool_free(again[i]);
	pool_drain();
	ck_assert_uint_le(in_use(), before);
}
END_TEST

/* Frees what it is given, and stays until it is told to end. */
struct helper {
	void **blocks;
	int n;
	pthread_barrier_t freed, end;
};

static void *free_and_stay(void *arg)
{
	struct helper *h = arg;
	for (int i = 0; i < h->n; i++)
		pool_free(h->blocks[i]);
	pthread_barrier_wait(&h->freed);
	pthread_barrier_wait(&h->end);
	return NULL;
}

START_TEST(blocks_that_another_thread_frees_come_back)
{
	if (!pool_keeps() || in_use() == 0)
		return;
	enum { N = 64, BLOCK = 16384, BACK = 32 };
	void *blocks[N];
	struct helper h = { .blocks = blocks, .n = N };
	pthread_t thread;
	pthread_barrier_init(&h.freed, NULL, 2);
	pthread_barrier_init(&h.end, NULL, 2);
	pool_drain();
	for (int i = 0; i < N; i++)
		blocks[i] = pool_alloc(BLOCK);
	ck_assert_int_eq(pthread_create(&thread, NULL, free_and_stay, &h), 0);
	pthread_barrier_wait(&h.freed);
	size_t before = in_use();
	for (int i = 0; i < BACK; i++)
		blocks[i] = pool_alloc(BLOCK);
	ck_assert_uint_eq(in_use(), before); /* none of them came from malloc */
	for (int i = 0; i < BACK; i++)
		pool_free(blocks[i]);
	pthread_barrier_wait(&h.end);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&h.freed);
	pthread_barrier_destroy(&h.end);
	pool_drain();
}
END_TEST

START_TEST(realloc_keeps_the_contents_up_and_down)
{
	uint8_t *p = pool_realloc(NULL, 10);
	memcpy(p, "0123456789", 10);
	static const size_t sizes[] = { 11, 64, 65, 300, 32768, 32769, 200000, 300000, 32768, 5000, 100, 10, 0 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		p = pool_realloc(p, sizes[i]);
		ck_assert_ptr_nonnull(p);
		ck_assert_uint_ge(malloc_usable_size(p), sizes[i]);
		ck_assert_mem_eq(p, "0123456789", sizes[i] < 10 ? sizes[i] : 10);
		if (sizes[i] > 10)
			memset(p + 10, 0xEE, sizes[i] - 10);
	}
	pool_free(p);
	pool_drain();
}
END_TEST

START_TEST(a_failed_realloc_leaves_the_block)
{
	char *p = pool_alloc(5);
	memcpy(p, "abcd", 5);
	volatile size_t absurd = SIZE_MAX / 2 - 4096; /* volatile: the compiler would warn, rightly */
	ck_assert_ptr_null(pool_realloc(p, absurd));
	ck_assert_str_eq(p, "abcd");
	pool_free(p);
	pool_free(NULL);
	pool_drain();
}
END_TEST

/* Blocks allocated here are freed there, and there is a list to drain when the thread ends (the leak checkers look). */
static void *free_blocks(void *arg)
{
	void **blocks = arg;
	for (int i = 0; i < 64; i++)
		pool_free(blocks[i]);
	for (int i = 0; i < 64; i++)
		blocks[i] = pool_alloc(100 + (size_t)i * 50);
	void *extra = pool_alloc(1000);
	pool_free(extra);
	return NULL;
}

START_TEST(blocks_may_be_freed_on_another_thread_and_threads_may_end)
{
	void *blocks[64];
	for (int i = 0; i < 64; i++)
		blocks[i] = pool_alloc(64 + (size_t)i * 100);
	for (int round = 0; round < 50; round++) {
		pthread_t thread;
		ck_assert_int_eq(pthread_create(&thread, NULL, free_blocks, blocks), 0);
		pthread_join(thread, NULL);
	}
	for (int i = 0; i < 64; i++)
		pool_free(blocks[i]);
	pool_drain();
}
END_TEST

/* A destructor that runs after the pool's own frees once more. */
static pthread_key_t late_key;

static void free_late(void *p)
{
	pool_free(p);
}

static void *leave_block(void *unused)
{
	(void)unused;
	pool_free(pool_alloc(128)); /* the pool's key is set first */
	pthread_setspecific(late_key, pool_alloc(128));
	return NULL;
}

START_TEST(a_block_freed_while_the_thread_ends_is_not_lost)
{
	struct mallinfo2 before = mallinfo2();
	ck_assert_int_eq(pthread_key_create(&late_key, free_late), 0);
	for (int i = 0; i < 200; i++) {
		pthread_t thread;
		ck_assert_int_eq(pthread_create(&thread, NULL, leave_block, NULL), 0);
		pthread_join(thread, NULL);
	}
	struct mallinfo2 after = mallinfo2();
	pthread_key_delete(late_key);
	ck_assert_uint_lt(after.uordblks, before.uordblks + 100 * 128);
}
END_TEST

SUITE_MAIN("pool", every_size_gets_a_block_that_holds_it, a_freed_block_is_handed_out_again,
	   a_block_from_anywhere_is_never_given_out_as_more_than_it_is, a_class_keeps_at_most_256_kib_and_the_depot_512,
	   blocks_that_another_thread_frees_come_back,
	   realloc_keeps_the_contents_up_and_down, a_failed_realloc_leaves_the_block,
	   blocks_may_be_freed_on_another_thread_and_threads_may_end, a_block_freed_while_the_thread_ends_is_not_lost)
