/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One last-in-first-out list per size class and thread, threaded through the free blocks themselves. Four classes to a
 * doubling (64, 80, 96, 112, 128, 160, ...), so that rounding up wastes at most a fifth: messages wait in queues, too. */
#include "base/pool.h"

#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CLASS_MIN 64u
#define CLASS_MAX 32768u
#define CLASSES 37 /* 9 doublings of 4, and the last */
#define KEEP_MAX (256u * 1024u) /* bytes kept per class and thread */

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

struct block { struct block *next; };

struct list {
	struct block *first;
	uint32_t bytes; /* kept here, at the class's size */
};

static _Thread_local struct list lists[CLASSES];
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

void pool_drain(void)
{
	for (unsigned c = 0; c < CLASSES; c++) {
		struct block *b = lists[c].first;
		lists[c] = (struct list){ NULL, 0 };
		while (b) {
			struct block *next = b->next;
			free(b);
			b = next;
		}
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

void *pool_alloc(size_t size)
{
	if (!POOL_KEEPS || size > CLASS_MAX)
		return malloc(size > 0 ? size : 1);
	unsigned c = class_above(size);
	struct block *b = lists[c].first;
	if (!b)
		return malloc(class_size(c));
	lists[c].first = b->next;
	lists[c].bytes -= (uint32_t)class_size(c);
	return b;
}

void pool_free(void *p)
{
	if (!p)
		return;
	/* What malloc really gave may be more than a class, never less than the one chosen here. */
	size_t usable = POOL_KEEPS ? malloc_usable_size(p) : 0;
	if (usable < CLASS_MIN || usable >= CLASS_MAX + CLASS_MAX / 4) {
		free(p);
		return;
	}
	unsigned c = class_below(usable);
	size_t bytes = lists[c].bytes + class_size(c);
	if (bytes > KEEP_MAX || (!drain_at_exit && !register_thread())) {
		free(p);
		return;
	}
	struct block *b = p;
	b->next = lists[c].first;
	lists[c].first = b;
	lists[c].bytes = (uint32_t)bytes;
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
