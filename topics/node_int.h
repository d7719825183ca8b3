/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the subscription trie and the retained tree share: nodes, their child tables, finding and linking and pruning a path, and
 * giving back what readers may still see. Readers are online in the epoch and take no lock; all changes are made under the
 * tree's writer lock, each visible to readers as one atomic store:
 *   - a child appears by a release store of its reference into a free place of the table, after it is complete;
 *   - a table that is full or too empty is replaced, the old one is retired; what is in a table never moves;
 *   - a node is only unlinked when it has neither value nor children. A reader that still stands on it finds nothing there. */
#ifndef TOPICS_NODE_INT_H
#define TOPICS_NODE_INT_H

#include "base/epoch.h"
#include "base/lock.h"
#include "topics/level_int.h"
#include "topics/node_pool_int.h"

/* What a node holds: for the trie a slot of a subscriber (slot_int.h), for the retained tree a message and nothing. */
struct node_value { _Atomic(uint64_t) who, how; };

/* Where a node's children are, in one word: the table's address, above it how many places it has (so that a reader fetches the place
 * it wants together with the table's head), and whether the table lies in the node itself. */
typedef uint64_t branch_word;
#define BRANCH_CODE_SHIFT 56
#define BRANCH_INLINE (UINT64_C(1) << 63)

struct node {
	struct node_value value;
	_Atomic(branch_word) branch;     /* children; 0: none */
	node_ref parent;                 /* immutable while linked; then the next in limbo */
	uint16_t level_len;              /* bytes */
	uint8_t level[];                 /* the level's bytes, or a pointer to them when there are more than LEVEL_INLINE_MAX */
};

/* First in everything that is retired but a node; the writer's own fields of a live object are overlaid. */
struct limbo_link { struct limbo_link *next; };

/* Children of one node: open addressing, linear probing. Up to BRANCH_SCAN places all may be in use; above, an eighth stays free. */
struct branch {
	union {
		struct { uint32_t used, live; }; /* writer lock: places that are not empty; those with a child */
		struct limbo_link limbo;         /* once retired */
	};
	_Atomic(node_ref) plus, hash;        /* the children '+' and '#'; trie only */
	_Atomic(uint64_t) kids[];            /* level_hash << 32 | node_ref; 0: empty; reference 0: there was one */
};
#define BRANCH_SCAN 8u
#define KID_GONE (UINT64_C(1) << 32)
/* A node made on the way to another has this many places in itself: with a short level it is one cache line, and most such nodes have few
 * children. A larger table replaces that one for good. (3 to 5 were measured: no faster, more memory.) */
#define BRANCH_INLINE_CAP 2u

#define NODE_HEADER offsetof(struct node, level)
#define NODE_BRANCH_ROOM (sizeof(struct branch) + BRANCH_INLINE_CAP * sizeof(uint64_t))
#define LEVEL_INLINE_MAX (POOL_SIZE_MAX - NODE_BRANCH_ROOM - NODE_HEADER)
_Static_assert(NODE_HEADER == 30, "a level of two bytes makes a node of 32");

/* How a child is filed: by its 32-bit hash, or as one of the two special children. */
typedef uint64_t kid_key;
#define KID_PLUS (UINT64_C(1) << 32)
#define KID_HASH (UINT64_C(2) << 32)

struct tree {
	struct lock lock;                /* writers */
	struct node_pool pool;
	struct node *root;               /* immutable */
	struct level_key key;            /* immutable */
	bool wildcards;                  /* levels "+" and "#" are the special children; immutable */
	struct epoch *epoch;
	struct limbo_set *limbo;         /* writer lock */
	_Atomic(uint64_t) nodes;         /* without the root; written under the lock */
	_Atomic(uint64_t) bytes;         /* of nodes, tables and what the owner adds */
};

bool tree_init(struct tree *t, struct epoch *epoch, bool wildcards) MUST_CHECK;
/* Frees all nodes and tables; drop (may be NULL) is called with the value of each node that has one. No readers. */
void tree_destroy(struct tree *t, void (*drop)(uint64_t who));

static inline struct node *tree_at(const struct tree *t, node_ref ref) { return node_pool_at(&t->pool, ref); }
/* A word taken apart: b NULL when there are no children. */
struct kids {
	struct branch *b;
	uint32_t cap; /* places */
};
/* 0 … 8, then 16, 32, 64, … */
static inline uint32_t branch_cap(unsigned code) { return code <= BRANCH_SCAN ? code : BRANCH_SCAN << (code - BRANCH_SCAN); }
static inline struct kids kids_of_word(branch_word w)
{
	return (struct kids){ (struct branch *)(uintptr_t)(w & ((UINT64_C(1) << BRANCH_CODE_SHIFT) - 1)),
		branch_cap((unsigned)(w >> BRANCH_CODE_SHIFT) & 0x7f) };
}
static inline struct kids node_kids(const struct node *n)
{
	return kids_of_word(atomic_load_explicit(&n->branch, memory_order_acquire));
}
/* Small tables are searched from the start. Of a large one's size only the low bits of the hash are used, so that a larger or smaller one
 * has another order: what is left after removing in one's order is spread over the other. (Bit 0 is LEVEL_HASH_GROUP.) */
static inline uint32_t kids_home(struct kids k, uint32_t hash) { return k.cap <= BRANCH_SCAN ? 0 : hash >> 1 & (k.cap - 1); }
static inline uint32_t kids_next(struct kids k, uint32_t i) { return i + 1 == k.cap ? 0 : i + 1; }
/* Fetches what a search for hash will read. */
static inline void kids_prefetch(struct kids k, uint32_t hash)
{
	__builtin_prefetch(k.b);
	__builtin_prefetch(&k.b->kids[kids_home(k, hash)]);
}

static inline const uint8_t *node_level(const struct node *n)
{
	const uint8_t *p = n->level;
	if (n->level_len > LEVEL_INLINE_MAX)
		memcpy(&p, n->level, sizeof p);
	return p;
}
/* Levels are short, and are compared only when 31 bits of their hash agree. */
static inline bool node_is(const struct node *n, const uint8_t *p, size_t len)
{
	if (n->level_len != len)
		return false;
	const uint8_t *level = node_level(n);
	if (len > 8)
		return memcmp(level, p, len) == 0;
	for (size_t i = 0; i < len; i++) {
		if (level[i] != p[i])
			return false;
	}
	return true;
}

/* The child with that level (hash as level_hash made it), or 0. Readers and writers. At most cap places are looked at; with a
 * keyed hash a handful. */
static inline node_ref kids_find(const struct tree *t, struct kids k, uint32_t hash, const uint8_t *p, size_t len)
{
	uint32_t i = kids_home(k, hash);
	for (uint32_t left = k.cap; left > 0; left--, i = kids_next(k, i)) {
		uint64_t kid = atomic_load_explicit(&k.b->kids[i], memory_order_acquire);
		if (kid == 0)
			return 0;
		if ((uint32_t)(kid >> 32) == hash && (node_ref)kid != 0 && node_is(tree_at(t, (node_ref)kid), p, len))
			return (node_ref)kid;
	}
	return 0;
}

/* The first child that is filed under hash, or 0; it is not looked at, and its level may be another's with the same hash. home: of the hash. */
static inline node_ref kids_guess(struct kids k, uint32_t home, uint32_t hash)
{
	uint32_t i = home;
	for (uint32_t left = k.cap; left > 0; left--, i = kids_next(k, i)) {
		uint64_t kid = atomic_load_explicit(&k.b->kids[i], memory_order_acquire);
		if (kid == 0)
			return 0;
		if ((uint32_t)(kid >> 32) == hash && (node_ref)kid != 0)
			return (node_ref)kid;
	}
	return 0;
}

/* ---- writers; lock held. thread: the caller's epoch id ---- */

/* A place in the tree: the deepest node of a path that exists, and the levels that are missing below it. */
struct tree_place {
	node_ref ref;
	struct node *node;
	bool complete;             /* nothing is missing */
	struct level missing;      /* the first missing level, and the rest */
	struct level_cursor rest;
};
void tree_find(const struct tree *t, const uint8_t *topic, size_t len, struct tree_place *out);
kid_key tree_kid_key(const struct tree *t, struct level level);

/* Makes one node that nobody sees yet, below parent; with_room: for children in itself. NULL when out of memory. */
struct node *tree_node_new(struct tree *t, node_ref parent, struct level level, bool with_room, node_ref *ref) MUST_CHECK;
void tree_node_unmake(struct tree *t, node_ref ref); /* one that nobody has seen, without a table of its own */
bool tree_node_has_kids(const struct node *n);

/* The missing nodes of a place as a chain that nobody sees yet: make, fill bottom, then link or free. */
struct tree_chain { node_ref top, bottom; struct node *bottom_node; };
enum err tree_chain_new(struct tree *t, const struct tree_place *at, struct tree_chain *out) MUST_CHECK;
void tree_chain_free(struct tree *t, struct tree_chain *c);
enum err tree_chain_link(struct tree *t, int thread, const struct tree_place *at, const struct tree_chain *c) MUST_CHECK;

/* Links child below parent, whose table has no such key; ERR_NOMEM changes nothing. */
enum err tree_link(struct tree *t, int thread, struct node *parent, node_ref child, kid_key key) MUST_CHECK;
/* Takes child out of its parent's table, without freeing it. */
void tree_unlink(struct tree *t, int thread, struct node *parent, node_ref child, kid_key key);
/* Unlinks and retires ref and its ancestors as long as they hold nothing. */
void tree_prune(struct tree *t, int thread, node_ref ref);

/* Zeroed memory for what hangs on nodes, from the pool when it is small. Counted. */
void *tree_alloc(struct tree *t, size_t size) MUST_CHECK;

/* Frees later what readers may still see: an unlinked node (with its long level); what tree_alloc gave, of the same size; what malloc
 * gave and was counted with size. The latter two begin with a limbo_link. */
void tree_retire_node(struct tree *t, int thread, node_ref ref);
void tree_retire(struct tree *t, int thread, struct limbo_link *block, size_t size);
void tree_retire_malloced(struct tree *t, int thread, struct limbo_link *block, size_t size);

/* Private to node*.c: */
static inline size_t branch_size(uint32_t cap) { return sizeof(struct branch) + cap * sizeof(uint64_t); }
void node_free_level(const struct node *n); /* the malloced bytes of a long level, if it is one */
bool tree_limbo_open(struct tree *t) MUST_CHECK;
void tree_limbo_close(struct tree *t);

void tree_bytes_add(struct tree *t, size_t n);
void tree_bytes_sub(struct tree *t, size_t n);

/* For tests: links, counts and hashes of everything that is linked, no node without use, node and byte counts. visit is called for
 * each node and says whether its value is sound (a node of a share group is the owner's to check). Takes the lock. Returns NULL, or what is wrong. */
const char *tree_check(struct tree *t, bool (*visit)(void *arg, struct node *n, node_ref ref), void *arg);

#endif
