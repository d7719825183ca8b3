/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A session's own list of where it subscribes: a table of node references, 4 bytes each. The session's loop only. */
#ifndef TOPICS_SUB_SET_INT_H
#define TOPICS_SUB_SET_INT_H

#include "topics/node_int.h"
#include "topics/trie.h"

/* Up to SUB_INDEX_SCAN references lie in order of arrival and are searched one by one; above, open addressing with backward shift, so
 * that no place is ever wasted. */
struct sub_index {
	struct trie *trie;
	uint32_t cap;     /* places */
	node_ref refs[];  /* 0: empty */
};
#define SUB_INDEX_SCAN 11u

bool sub_index_has(const struct sub_set *set, node_ref ref);
/* Makes room for one more; false when out of memory (nothing is changed). */
bool sub_index_reserve(struct sub_set *set, struct trie *t) MUST_CHECK;
void sub_index_add(struct sub_set *set, node_ref ref);    /* behind reserve; not there yet */
void sub_index_remove(struct sub_set *set, node_ref ref); /* is there; the last one frees the index */
void sub_index_free(struct sub_set *set);

#endif
