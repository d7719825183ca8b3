/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One last-in-first-out list per size class and thread, threaded through the free blocks themselves. Four classes to a
 * doubling (64, 80, 96, 112, 128, 160, ...), so that rounding up wastes at most a fifth: messages wait in queues, too.
 *
 * Where one thread allocates what another frees (messages that cross loops, what the store has written), one thread's list would run full
 * and the other's empty, and each block cost a malloc and a free in another thread's arena. So what is too much for a list goes, many blocks at a
 * time, to the depot that all threads share, and an empty list looks there first. A list is two halves, so that a thread at
 * the edge does not go to the depot for each block. */
#include "base/pool.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_MIN 64u
#define CLASS_MAX 32768u
#define CLASSES 37 /* 9 doublings of 4, and the last */
#define HALF_MAX (128u * 1024u) /* bytes of half a list: kept per class and thread is twice that */
#define DEPOT_CHAINS 4u         /* halves kept per class for all threads together */

/* AddressSanitizer must see every free, or it misses what is used afterwards. */
#if defined(__SANITIZE_ADDRESS__)
#define POOL_KEEPS false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_KEEPS false
#endif
#endif
#ifndef POOL_KEEPS
#define POOL_KEEPS true
#endif

/* Kept out of line: inlined, it would make every allocation save the registers that it needs. */
#define SELDOM __attribute__((noinline, cold))

struct block { struct block *next; };

struct list {
	struct block *first;
	struct block *spare; /* the other half: a full one, or NULL */
	uint32_t bytes;      /* of the half at first, at the class's size */
};

struct depot {
	struct block *chains[DEPOT_CHAINS]; /* depot lock */
	atomic_uint n;                      /* changed under the depot lock; read without it, as a hint */
};

static _Thread_local struct list lists[CLASSES];
static struct depot depots[CLASSES];
static pthread_mutex_t depot_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local bool drain_at_exit; /* this thread's lists are emptied when it ends */
static pthread_key_t exit_key;           /* immutable after exit_key_once */
static bool exit_key_made;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;

/* The largest class whose blocks fit into size bytes; size >= CLASS_MIN. */
static unsigned class_below(size_t size)
{
	unsigned log2 = 63u - (unsigned)__builtin_clzll(size);
	return (log2 - 6u) * 4u + ((unsigned)(size >> (log2 - 2u)) & 3u);
}

/* The smallest class whose blocks hold size bytes; size <= CLASS_MAX. */
static unsigned class_above(size_t size)
{
	return size <= CLASS_MIN ? 0 : class_below(size - 1) + 1;
}

static size_t class_size(unsigned c)
{
	return (size_t)(4u + c % 4u) << (4u + c / 4u);
}

static void free_chain(struct block *b)
{
	while (b) {
		struct block *next = b->next;
		free(b);
		b = next;
	}
}

/* A full half goes to the depot, or back to malloc. */
static void depot_put(unsigned c, struct block *chain)
{
	struct depot *d = &depots[c];
	pthread_mutex_lock(&depot_lock);
	unsigned n = atomic_load_explicit(&d->n, memory_order_relaxed);
	if (n < DEPOT_CHAINS) {
		d->chains[n] = chain;
		atomic_store_explicit(&d->n, n + 1, memory_order_relaxed);
		chain = NULL;
	}
	pthread_mutex_unlock(&depot_lock);
	free_chain(chain);
}

/* A full half, or NULL. */
static struct block *depot_take(unsigned c)
{
	struct depot *d = &depots[c];
	struct block *chain = NULL;
	if (atomic_load_explicit(&d->n, memory_order_relaxed) == 0)
		return NULL;
	pthread_mutex_lock(&depot_lock);
	unsigned n = atomic_load_explicit(&d->n, memory_order_relaxed);
	if (n > 0) {
		chain = d->chains[n - 1];
		atomic_store_explicit(&d->n, n - 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&depot_lock);
	return chain;
}

void pool_drain(void)
{
	for (unsigned c = 0; c < CLASSES; c++) {
		struct list was = lists[c];
		struct block *chain;
		lists[c] = (struct list){ NULL, NULL, 0 };
		free_chain(was.first);
		free_chain(was.spare);
		while ((chain = depot_take(c)))
			free_chain(chain);
	}
}

static void thread_ends(void *unused)
{
	(void)unused;
	/* Another destructor may free into the lists after this one: then it is registered, and called, once more. */
	drain_at_exit = false;
	pool_drain();
}

static void make_exit_key(void)
{
	exit_key_made = pthread_key_create(&exit_key, thread_ends) == 0;
}

static bool register_thread(void)
{
	pthread_once(&exit_key_once, make_exit_key);
	drain_at_exit = exit_key_made && pthread_setspecific(exit_key, lists) == 0;
	return drain_at_exit;
}

/* The list's other half, or one of the depot's, becomes the list. */
SELDOM static struct block *refill(unsigned c)
{
	struct list *l = &lists[c];
	struct block *half = l->spare ? l->spare : depot_take(c);
	l->spare = NULL;
	if (half) {
		l->first = half;
		l->bytes = HALF_MAX / (uint32_t)class_size(c) * (uint32_t)class_size(c);
	}
	return half;
}

/* The list is full: it becomes the spare half, and what that was goes to the depot. */
SELDOM static void begin_half(unsigned c)
{
	struct list *l = &lists[c];
	if (l->spare)
		depot_put(c, l->spare);
	l->spare = l->first;
	l->first = NULL;
}

void *pool_alloc(size_t size)
{
	if (!POOL_KEEPS || size > CLASS_MAX)
		return malloc(size > 0 ? size : 1);
	unsigned c = class_above(size);
	struct block *b = lists[c].first;
	if (!b && !(b = refill(c)))
		return malloc(class_size(c));
	lists[c].first = b->next;
	__builtin_prefetch(b->next, 1); /* freed on another processor it is in that one's cache, and the next call reads its link */
	lists[c].bytes -= (uint32_t)class_size(c);
	return b;
}

void pool_free(void *p)
{
	if (!p)
		return;
	/* What malloc really gave may be more than a class, never less than the one chosen here. */
	size_t usable = POOL_KEEPS ? malloc_usable_size(p) : 0;
	if (usable < CLASS_MIN || usable >= CLASS_MAX + CLASS_MAX / 4 || (!drain_at_exit && !register_thread())) {
		free(p);
		return;
	}
	unsigned c = class_below(usable);
	struct list *l = &lists[c];
	size_t bytes = l->bytes + class_size(c);
	if (bytes > HALF_MAX) {
		begin_half(c);
		bytes = class_size(c);
	}
	struct block *b = p;
	b->next = l->first;
	l->first = b;
	l->bytes = (uint32_t)bytes;
}

void *pool_realloc(void *p, size_t size)
{
	if (!p)
		return pool_alloc(size);
	size_t usable = malloc_usable_size(p);
	/* Large blocks are malloc's to move: it can remap pages. */
	if (!POOL_KEEPS || (usable > CLASS_MAX && size > CLASS_MAX))
		return realloc(p, size > 0 ? size : 1);
	if (size <= usable && size >= usable / 2)
		return p;
	void *q = pool_alloc(size);
	if (!q)
		return NULL;
	memcpy(q, p, size < usable ? size : usable);
	pool_free(p);
	return q;
}
