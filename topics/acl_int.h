/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rules as trees: one per user, one per group, one for the patterns, each split in topics with and without a leading '$', since
 * wildcards in the first level never cross that border [MQTT-4.7.2-1]. All nodes lie in one array and refer to each other by index (0:
 * none); a hash table over (parent, level) finds children. Names are views into the file's text, which is kept. */
#ifndef TOPICS_ACL_INT_H
#define TOPICS_ACL_INT_H

#include "base/siphash.h"
#include "topics/acl.h"

#include <stdatomic.h>
#include <string.h>

enum acl_verb { VERB_READ, VERB_WRITE, VERB_DENY };
#define N_VERBS 3

enum node_kind {
	NODE_ROOT,
	NODE_EXACT,    /* this level */
	NODE_PLUS,     /* any one level */
	NODE_TEMPLATE, /* the level after %u and %c have been replaced */
};

struct acl_node {
	uint32_t parent;
	uint32_t next;                 /* in the parent's chain of exact children, or of templates */
	uint32_t first_exact, first_template, plus;
	uint32_t name, name_len;       /* of the level: offset in the text, bytes */
	enum node_kind kind;
	/* Lines (0: no such rule), by verb: of the rule that ends here, of the one that ends with '#' below here, and the first of all
	 * rules from here down. */
	uint32_t here[N_VERBS], under[N_VERBS], below[N_VERBS];
};

/* The rules of somebody: roots for topics without and with a leading '$'. */
struct acl_set { uint32_t root[2]; };

struct acl_user {
	uint32_t name, name_len;       /* the CN */
	struct acl_set set;
	uint32_t first_group, n_groups;/* slice of acl.members */
};

struct acl_group {
	uint32_t name, name_len;
	struct acl_set set;
};

/* An open-addressed table of indexes (0: free); at most half full. */
struct acl_table {
	uint32_t *slots;
	uint32_t mask, used;
};

struct acl {
	atomic_uint refs;
	/* immutable after loading */
	char *text;                    /* the file */
	size_t text_len;
	char *path;
	struct acl_node *nodes;        /* from 1 */
	struct acl_user *users;        /* from 1 */
	struct acl_group *groups;      /* from 1 */
	uint32_t *members;             /* group indexes, by user */
	uint32_t n_nodes, n_users, n_groups, n_members;
	struct acl_table children, by_cn;
	struct acl_set patterns;
	size_t n_rules;
};

static inline uint64_t acl_hash(const void *p, size_t len) { return siphash13(&siphash_process_key, p, len); }
/* Where the search for a child starts; level_hash is acl_hash of the level. */
static inline uint64_t acl_child_hash(uint32_t parent, uint64_t level_hash) { return level_hash + parent * UINT64_C(0x9E3779B97F4A7C15); }

/* The exact child or template of parent with that text, or 0. */
static inline uint32_t acl_find_child(const struct acl *a, uint32_t parent, const void *name, size_t len, uint64_t level_hash)
{
	if (!a->children.slots)
		return 0;
	for (uint64_t i = acl_child_hash(parent, level_hash);; i++) {
		uint32_t n = a->children.slots[i & a->children.mask];
		if (n == 0)
			return 0;
		const struct acl_node *node = &a->nodes[n];
		if (node->parent == parent && node->name_len == len && memcmp(a->text + node->name, name, len) == 0)
			return n;
	}
}

static inline uint32_t acl_find_user(const struct acl *a, const void *cn, size_t len)
{
	if (!a->by_cn.slots)
		return 0;
	for (uint64_t i = acl_hash(cn, len);; i++) {
		uint32_t u = a->by_cn.slots[i & a->by_cn.mask];
		if (u == 0)
			return 0;
		if (a->users[u].name_len == len && memcmp(a->text + a->users[u].name, cn, len) == 0)
			return u;
	}
}

#endif
