/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The sessions of one loop: by client id and by slot. Owner loop. */
#ifndef BROKER_SESSIONS_H
#define BROKER_SESSIONS_H

#include "broker/session.h"

#include <stdbool.h>

struct sessions;

struct sessions *sessions_new(struct loop *l) MUST_CHECK;
void sessions_free(struct sessions *t); /* with all that is in it, store untouched */

struct session *sessions_find(const struct sessions *t, const void *client_id, size_t len);
/* The session that a handle means, or NULL: it has ended. */
struct session *sessions_get(const struct sessions *t, sub_handle h);

/* A new session. number: the store's, for a persistent one; 0: clean. NULL when out of memory or slots. */
struct session *sessions_add(struct sessions *t, const void *client_id, size_t len, struct identity *identity,
                             store_session number) MUST_CHECK;

/* Ends s: subscriptions, queues, the store's state of it. It has no connection any more. A clean session's many subscriptions are taken out of
 * the trie by and by (sessions_clear_step): what still matches them meets nobody. */
void sessions_end(struct session *s, const char *why);
/* One turn's share of that; is there any left? */
void sessions_clear_step(struct sessions *t);
bool sessions_clearing(const struct sessions *t);

/* A persistent session's connection has ended: it starts to age, here and in the store. */
void sessions_leave(struct session *s);

/* A persistent session without connection starts to age (max_age_s from its end of connection; 0: never). */
void sessions_age(struct session *s, uint64_t away_ms);

/* By place: slots 0 to sessions_slots - 1, of which some are NULL. A session keeps its place; new ones may come into free ones. */
uint32_t sessions_slots(const struct sessions *t);
struct session *sessions_at(const struct sessions *t, uint32_t slot);

void sessions_each(struct sessions *t, void (*fn)(struct session *s, void *arg), void *arg);

#endif
