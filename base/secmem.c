/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages of their own for secrets, each run of them between two pages that nobody may touch. A page begins with its header and
 * holds blocks of one size class, taken from a bitmap; a larger block has a run of pages to itself. The header is found by rounding
 * an address down to its page. One lock: keys come and go with grants and rotations, not with messages.
 *
 * Forks do not get the pages (touching one in a child is a crash, which is better than encrypting with a key of zeros); a child may
 * allocate its own. */
#include "base/secmem.h"

#include <pthread.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK_MIN 32u /* bytes; classes are its doublings */
#define CLASSES 6     /* 32 .. 1024 bytes */
#define BLOCK_MAX (BLOCK_MIN << (CLASSES - 1))
#define MAGIC UINT64_C(0x5ec6e7d0a11c0de5)

struct page {
	uint64_t magic;
	struct page *next, **prev; /* of the class's pages that have a free block; prev NULL: not among them */
	size_t size;               /* bytes of a block; or of the one large block */
	unsigned class;            /* CLASSES: one large block */
	unsigned blocks, taken;
	size_t run;                /* bytes mapped between the guards */
	alignas(16) uint64_t map[]; /* bit b: block b is taken */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct page *partial[CLASSES]; /* lock */

void secmem_wipe(void *p, size_t len)
{
	if (len > 0)
		explicit_bzero(p, len);
}

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Bytes before the first block. */
static size_t header_size(unsigned class)
{
	size_t map_words = class < CLASSES ? (page_size() / (BLOCK_MIN << class) + 63) / 64 : 0;
	return (sizeof(struct page) + map_words * sizeof(uint64_t) + 63) / 64 * 64;
}

/* len bytes (whole pages), zeroed, between guard pages. Locking may be forbidden beyond a limit, and a kernel may not know an
 * advice: the memory is used then as it is. */
static void *map_run(size_t len)
{
	size_t guard = page_size();
	uint8_t *at = mmap(NULL, guard + len + guard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return NULL;
	if (mprotect(at + guard, len, PROT_READ | PROT_WRITE) != 0) {
		munmap(at, guard + len + guard);
		return NULL;
	}
	(void)mlock(at + guard, len);
	(void)madvise(at + guard, len, MADV_DONTDUMP);
	(void)madvise(at + guard, len, MADV_DONTFORK);
	return at + guard;
}

static void unmap_run(struct page *p)
{
	size_t guard = page_size(), run = p->run;
	secmem_wipe(p, run);
	munmap((uint8_t *)p - guard, guard + run + guard);
}

static struct page *new_page(unsigned class, size_t size, size_t run)
{
	struct page *p = map_run(run);
	if (!p)
		return NULL;
	p->magic = MAGIC;
	p->size = size;
	p->class = class;
	p->blocks = (unsigned)((run - header_size(class)) / size);
	p->run = run;
	return p;
}

static void *block_at(struct page *p, unsigned i)
{
	return (uint8_t *)p + header_size(p->class) + i * p->size;
}

static void link_page(struct page *p)
{
	p->next = partial[p->class];
	p->prev = &partial[p->class];
	if (p->next)
		p->next->prev = &p->next;
	partial[p->class] = p;
}

static void unlink_page(struct page *p)
{
	*p->prev = p->next;
	if (p->next)
		p->next->prev = p->prev;
	p->prev = NULL;
}

static void *take_block(struct page *p)
{
	unsigned i = 0;
	while (p->map[i / 64] == UINT64_MAX)
		i += 64;
	i += (unsigned)__builtin_ctzll(~p->map[i / 64]);
	p->map[i / 64] |= UINT64_C(1) << i % 64;
	if (++p->taken == p->blocks)
		unlink_page(p);
	return block_at(p, i); /* zero: as mapped, or as wiped when it was freed */
}

/* ---- forks: the child has none of the pages, and begins with none */

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
	pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void)
{
	memset(partial, 0, sizeof partial);
	pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
	(void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); /* fails for lack of memory alone */
}

static void *alloc_small(size_t size)
{
	unsigned class = size <= BLOCK_MIN ? 0 : (63u - (unsigned)__builtin_clzll(size - 1)) - 4u;
	void *block = NULL;
	pthread_once(&fork_once, watch_forks);
	pthread_mutex_lock(&lock);
	struct page *p = partial[class];
	if (!p) {
		p = new_page(class, BLOCK_MIN << class, page_size());
		if (p)
			link_page(p);
	}
	if (p)
		block = take_block(p);
	pthread_mutex_unlock(&lock);
	return block;
}

static void *alloc_large(size_t size)
{
	size_t page = page_size(), header = header_size(CLASSES);
	if (size > SIZE_MAX / 2)
		return NULL;
	struct page *p = new_page(CLASSES, size, (header + size + page - 1) / page * page);
	return p ? block_at(p, 0) : NULL;
}

void *secmem_alloc(size_t size)
{
	return size <= BLOCK_MAX ? alloc_small(size) : alloc_large(size);
}

static void free_small(struct page *p, void *block)
{
	size_t offset = (size_t)((uint8_t *)block - (uint8_t *)p) - header_size(p->class);
	size_t i = offset / p->size;
	if (offset % p->size != 0 || i >= p->blocks || !(p->map[i / 64] >> i % 64 & 1))
		abort(); /* not a block, or freed twice: the next key would share its memory */
	secmem_wipe(block, p->size);
	p->map[i / 64] &= ~(UINT64_C(1) << i % 64);
	p->taken--;
	if (!p->prev)
		link_page(p);
	/* The last empty page of a class stays, for the key that comes and goes. */
	if (p->taken == 0 && (p->next || p->prev != &partial[p->class])) {
		unlink_page(p);
		unmap_run(p);
	}
}

void secmem_free(void *p)
{
	if (!p)
		return;
	struct page *page = (struct page *)(void *)((uint8_t *)p - (uintptr_t)p % page_size());
	if (page->magic != MAGIC)
		abort();
	if (page->class == CLASSES) {
		unmap_run(page);
		return;
	}
	pthread_mutex_lock(&lock);
	free_small(page, p);
	pthread_mutex_unlock(&lock);
}
