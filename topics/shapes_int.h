/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The shapes of a session's filters: which levels are '+'. Under one topic a filter's beginning is known by its shape, so a walk over the trie
 * stands on at most one node per level and shape, however many filters there are. Of one '+' or none there are no more shapes than
 * levels; those of two and more can be made by the thousand (every subset of the levels), and are counted here. The session's loop only. */
#ifndef TOPICS_SHAPES_INT_H
#define TOPICS_SHAPES_INT_H

#include "topics/node_int.h"
#include "topics/trie.h"

struct shape { uint64_t plus[4]; }; /* a bit for each level, the first is bit 0 of word 0 */
_Static_assert(TOPIC_LEVELS_MAX <= 256, "a bit for each level");

struct shape shape_of_filter(const uint8_t *filter, size_t len);
struct shape shape_of_node(const struct tree *t, const struct node *filter);

/* Makes room for one more shape, if s is of two '+' or more and new; false when out of memory. */
bool shapes_reserve(struct sub_set *set, struct tree *t, const struct shape *s) MUST_CHECK;
void shapes_add(struct sub_set *set, const struct shape *s);    /* behind reserve; a filter of that shape is there now */
void shapes_remove(struct sub_set *set, struct tree *t, const struct shape *s);
void shapes_free(struct sub_set *set, struct tree *t);

#endif
