/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One $share/<group>/<filter>. In the trie a group is a node below its filter's node, under its name with a hash that no level has
 * (LEVEL_HASH_GROUP), so that finding it costs no more than a level; and a place among the filter's subscribers, for readers. */
#ifndef TOPICS_SHARE_INT_H
#define TOPICS_SHARE_INT_H

#include "topics/slot_int.h"

#define WHO_MEMBERS 0xfcu /* in a group's node: struct share_group * */

/* How able a session is to take a message. Retired through the epoch after the session's last membership. */
struct share_presence {
	struct epoch_item item;
	_Atomic(unsigned) state; /* enum share_state; written by the session's loop */
};

/* NULL: not a group's node. */
static inline struct share_group *share_of_node(const struct node *n)
{
	uint64_t who = atomic_load_explicit(&n->value.who, memory_order_relaxed);
	return who_kind(who) == WHO_MEMBERS ? who_object(who) : NULL;
}

/* ---- writers; the tree's lock held ---- */
/* A group without members and one reference, the trie's. */
struct share_group *share_new(struct tree *t, uint8_t mark) MUST_CHECK;
void share_unmake(struct tree *t, struct share_group *g);             /* one that nobody has seen */
void share_retire(struct tree *t, int thread, struct share_group *g); /* gives the trie's reference back, later */

enum err share_join(struct tree *t, int thread, struct share_group *g, sub_handle who, uint64_t how, struct share_presence *presence) MUST_CHECK;
void share_change(struct share_group *g, sub_handle who, uint64_t how);
/* Returns how many are left. */
uint32_t share_leave(struct tree *t, int thread, struct share_group *g, sub_handle who);
uint64_t share_how(const struct share_group *g, sub_handle who);
bool share_check(const struct share_group *g, uint64_t *n); /* for tests */

#endif
