/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who subscribes at one node: nobody, one subscriber in the node itself, or a table. A place is two words:
 *   who  a sub_handle, or a pointer with a kind in its top byte (no loop has such a number)
 *   how  subscription identifier << 32 | changes (24 bits) << 8 | options
 * Writers hold the tree's lock; readers take none. To fill an empty place a writer stores how, then who; to empty it, who alone; to change
 * the options, how alone. Each store of how counts its changes, so a reader that finds the same how before and after reading who has a
 * pair that was there together, and never waits for a writer:
 *   - had who been filled after the reader's first look at how, the new how was stored before it (release), and the reader that saw
 *     the new who (acquire) sees that how, which differs;
 *   - had the first look seen the new how, who is at least as empty as it was when that was stored.
 * (2^24 changes between two loads of one reader would be missed.) */
#ifndef TOPICS_SLOT_INT_H
#define TOPICS_SLOT_INT_H

#include "topics/node_int.h"
#include "topics/trie.h"

#define WHO_KIND_SHIFT 56
enum {                    /* kinds; below them, the numbers of loops */
	WHO_LOOPS_MAX = 0xf0,
	WHO_GONE = 0xfd,  /* a place of a table that was used */
	WHO_GROUP = 0xfe, /* struct share_group * */
	WHO_TABLE = 0xff, /* struct slot_table *; only in a node */
};
static inline unsigned who_kind(uint64_t who) { return (unsigned)(who >> WHO_KIND_SHIFT); }
static inline bool who_is_handle(uint64_t who) { return who != 0 && who_kind(who) < WHO_LOOPS_MAX; }
static inline uint64_t who_pointer(unsigned kind, const void *p) { return (uint64_t)kind << WHO_KIND_SHIFT | (uintptr_t)p; }
static inline void *who_object(uint64_t who) { return (void *)(uintptr_t)(who & ~(UINT64_C(0xff) << WHO_KIND_SHIFT)); }

#define HOW_CHANGES UINT64_C(0xffffff00)
static inline uint64_t how_make(uint8_t options, uint32_t sub_id) { return (uint64_t)sub_id << 32 | options; }
static inline uint8_t how_options(uint64_t how) { return (uint8_t)how; }
static inline uint32_t how_sub_id(uint64_t how) { return (uint32_t)(how >> 32); }

/* Up to SLOT_SCAN places are searched one by one; larger tables by a hash of who, with an eighth free. */
struct slot_table {
	union {
		struct { uint32_t used, live; }; /* writer lock: places that are not empty; those with a subscriber */
		struct limbo_link limbo;
	};
	uint32_t cap; /* immutable */
	uint32_t pad;
	struct node_value slots[];
};
#define SLOT_SCAN 8u

/* A pair that was there together. */
static inline uint64_t slot_read(const struct node_value *s, uint64_t *how)
{
	uint64_t before = atomic_load_explicit(&s->how, memory_order_acquire);
	for (;;) {
		uint64_t who = atomic_load_explicit(&s->who, memory_order_acquire);
		*how = atomic_load_explicit(&s->how, memory_order_relaxed);
		if (*how == before)
			return who;
		before = atomic_load_explicit(&s->how, memory_order_acquire);
	}
}

/* ---- writers; lock held ---- */

/* Adds who, which is not there yet. ERR_NOMEM changes nothing. */
enum err slot_add(struct tree *t, int thread, struct node_value *at, uint64_t who, uint64_t how) MUST_CHECK;
void slot_remove(struct tree *t, int thread, struct node_value *at, uint64_t who);
void slot_change(struct node_value *at, uint64_t who, uint64_t how);

/* The place of who, or NULL. Readers and writers. */
const struct node_value *slot_find(const struct node_value *at, uint64_t who);

/* For tests: are counts and places right? *n: how many. */
bool slot_check(struct node_value *at, uint64_t *n);

#endif
