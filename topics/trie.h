/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The subscription trie: shared by all loops, read on every uncached PUBLISH without a lock, changed under one
 * writer lock. Nodes readers may see are replaced or changed by single atomic stores; what is unlinked is retired through base/epoch.
 * No recursion over levels. Readers are online in the epoch during a call. */
#ifndef TOPICS_TRIE_H
#define TOPICS_TRIE_H

#include "base/epoch.h"
#include "base/err.h"
#include "topics/topic.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A subscriber: loop (bits 56-63), slot in that loop's session table (32-55), generation (0-31). Bit 31 of the generation
 * says that the session is persistent; the generation is then its number in the store. 0 is nobody. */
typedef uint64_t sub_handle;
#define SUB_PERSISTENT (UINT32_C(1) << 31)
static inline sub_handle sub_handle_make(unsigned loop, uint32_t slot, uint32_t generation)
{
	return (uint64_t)loop << 56 | (uint64_t)(slot & 0xffffff) << 32 | generation;
}
static inline unsigned sub_handle_loop(sub_handle h) { return (unsigned)(h >> 56); }
static inline uint32_t sub_handle_slot(sub_handle h) { return (uint32_t)(h >> 32) & 0xffffff; }
static inline uint32_t sub_handle_generation(sub_handle h) { return (uint32_t)h; }
static inline bool sub_handle_persistent(sub_handle h) { return (h & SUB_PERSISTENT) != 0; }

/* Options byte, as MQTT 5 writes it: QoS in bits 0-1, No Local 2, Retain As Published 3. */
#define SUB_QOS 0x03u
#define SUB_NO_LOCAL 0x04u
#define SUB_RETAIN_AS_PUBLISHED 0x08u

struct target {
	sub_handle handle;
	uint32_t sub_id;    /* MQTT 5 subscription identifier; 0: none */
	uint8_t options;
	uint8_t pad[3];
};
_Static_assert(sizeof(struct target) == 16, "a target is 16 bytes");

struct share_group; /* members of one $share/<group>/<filter>; refcounted, any thread */

/* What one topic matches: immutable, refcounted, shared between loops by reference. Targets are sorted by handle (so grouped by
 * loop) and unique: overlapping subscriptions of a session are one target with the highest QoS. */
struct match {
	atomic_uint refs;
	uint32_t n_targets;
	uint32_t n_groups;
	uint32_t n_persistent;            /* targets whose session is persistent */
	/* Nodes of the trie that were looked at to make it. At level k (from 0) of the topic these are at most, each with its '#':
	 * 2^k, and 1 + k for filters with one '+' or none, plus one for each shape of more (sub_set_shape_fits) of each session. */
	uint32_t visited;
	struct share_group **groups;      /* one reference each */
	struct target targets[];
};
static inline struct match *match_ref(struct match *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}
void match_unref(struct match *m);
/* Both together, as one topic's: a session that is in both is one target with the higher QoS and b's subscription identifier.
 * NULL: out of memory. */
struct match *match_union(struct match *a, struct match *b) MUST_CHECK;

struct trie;

/* NULL when out of memory. The epoch outlives the trie. */
struct trie *trie_new(struct epoch *epoch) MUST_CHECK;
void trie_free(struct trie *t); /* no readers, no sets left */

/* The subscriptions of one session; belongs to the session's loop. Finding, adding and removing a filter is O(levels). */
struct sub_set {
	sub_handle handle;
	struct sub_index *index;          /* topics/-private; NULL when empty */
	uint32_t count;
	struct share_presence *presence;  /* topics/-private; NULL until the first shared subscription */
	struct shapes *shapes;            /* topics/-private; NULL while no filter has two '+' */
};
void sub_set_init(struct sub_set *set, sub_handle handle);
/* May the set have this filter too, when of those with two '+' or more at most max are to differ in which levels are '+'? That bounds what a
 * match costs: see match.visited. */
bool sub_set_shape_fits(const struct sub_set *set, const uint8_t *filter, size_t len, uint32_t max);

/* Adds filter (with or without $share/g/) or changes the options of the one that is there; *added tells which.
 * thread: the caller's epoch id. ERR_INVALID: more than TOPIC_LEVELS_MAX levels, or a malformed $share. ERR_NOMEM. */
enum err trie_subscribe(struct trie *t, int thread, struct sub_set *set, const uint8_t *filter, size_t len,
    uint8_t options, uint32_t sub_id, bool *added) MUST_CHECK;
/* ERR_NOT_FOUND when the session has no such subscription (literal comparison). */
enum err trie_unsubscribe(struct trie *t, int thread, struct sub_set *set, const uint8_t *filter, size_t len) MUST_CHECK;
/* Removes all; the set is empty and its memory is freed. About 0.5 us each. */
void trie_clear(struct trie *t, int thread, struct sub_set *set);
/* Removes at most max, for a session with very many, whose loop has other work; true when the set is empty. */
bool trie_clear_some(struct trie *t, int thread, struct sub_set *set, uint32_t max);
/* Calls fn for each subscription with the literal filter (borrowed for the call). fn must not change the set. */
void sub_set_each(const struct sub_set *set,
    void (*fn)(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id), void *arg);

/* Everything that matches topic now; one reference; NULL when out of memory. A topic with more than TOPIC_LEVELS_MAX levels
 * matches nobody. */
struct match *trie_match(struct trie *t, const uint8_t *topic, size_t len) MUST_CHECK;
/* The same for 1 to TRIE_MATCH_MANY topics at once, so that they wait for memory together. out[i]: a reference each; NULL: out of memory, or (all
 * but the first) it would take long, and is given up. Returns how many nodes were looked at. */
#define TRIE_MATCH_MANY 8u
uint32_t trie_match_many(struct trie *t, const struct topic_bytes *topics, size_t n, struct match **out);

/* Changes whenever what topic matches may have changed: a counter per first level (striped) plus one for filters that begin with a wildcard. */
uint64_t trie_generation(const struct trie *t, const uint8_t *topic, size_t len);

struct trie_stats { uint64_t subscriptions, nodes, shared_subscriptions, bytes; };
void trie_stats(const struct trie *t, struct trie_stats *out); /* any thread, atomics */

/* ---- shared subscriptions ---- */
enum share_state { SHARE_AWAY = 0, SHARE_BUSY = 1, SHARE_READY = 2 }; /* offline; window full; has room */
/* The session's loop says how able it is; fine, and forgotten, when the set has no shared subscription. The first one makes it READY. */
void sub_set_presence(struct sub_set *set, enum share_state state);
/* Picks the next member, round robin among the READY, else the BUSY, else persistent sessions that are AWAY. exclude (or 0) is not picked.
 * False when there is none. The caller is online in the epoch. */
bool share_pick(struct share_group *g, sub_handle exclude, struct target *out);
/* A byte by which a group is known again over restarts, among the few that match one topic: 1 to 255, from its name and filter. */
uint8_t share_mark(const struct share_group *g);
struct share_group *share_ref(struct share_group *g);
void share_unref(struct share_group *g);

#endif
