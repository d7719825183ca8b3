/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The past of a new subscription: read from the store page by page, at its session's pace, before live messages of the same topics. Owner loop.
 *
 * From the SUBSCRIBE on, live copies that match are ignored: the replay brings them. What was matched before the subscription was in
 * the trie is in no copy; so once every loop has answered a mail that was sent afterwards, a barrier through the writer's queue gives
 * the record id up to which such messages can go. When all up to there has been read, and all that was ignored, the subscription is
 * live; the copies that come between the last page's request and its answer are held meanwhile. Copies of what the pages brought may still be
 * on their way: they are dropped, until a second barrier and a second round through the loops say that there can be none.
 *
 * A persistent session's queue keeps its live copies of QoS 1 and 2 all the time; pages leave them to it, and it is read when what the replay
 * brought has been acknowledged. How far that has come is in the store (STORE_PAST), one commit behind at most, so a restart goes on from there:
 * what was sent and not yet noted is sent again, but QoS 2, which is in the store's queue before it is sent (STORE_PAST_SENT). */
#ifndef BROKER_REPLAY_H
#define BROKER_REPLAY_H

#include "broker/session.h"
#include "topics/history_policy.h"

struct replay;

/* A replay for the filter that is about to be subscribed (text, which spec tells apart); it begins with replay_start, the copies it will bring are ignored from now on.
 * NULL: there is nothing to replay, or (the connection fails then) no memory. */
struct replay *replay_new(struct session *s, const uint8_t *text, size_t len, const struct history_spec *spec, uint8_t qos);
/* The subscription was not made, or not new. */
void replay_drop(struct session *s, struct replay *r);
/* SUBACK is on its way. */
void replay_start(struct session *s, struct replay *r);
/* The client is back: what was on its way goes on. */
void replay_resume(struct session *s);
/* The one that was made for this text and not started yet, or NULL. */
struct replay *replay_unstarted(const struct session *s, const uint8_t *text, size_t len);
/* Where it begins, for the store. */
struct store_past replay_place(const struct replay *r);
/* What the store has of one that was not over (at the start, after the subscriptions). */
enum err replay_restore(struct session *s, const uint8_t *text, size_t len, uint8_t qos, const struct store_past *p) MUST_CHECK;

/* The topic of this retained message has history: it is sent after the past, unless that brings it. False: out of memory. */
bool replay_keep_retained(struct replay *r, struct msg *m) MUST_CHECK;

/* Does a replay bring this live copy (or has it)? Then e's references are taken. record: of the store. */
bool replay_has(struct session *s, struct entry *e, uint64_t record);

/* Is the past on its way? Then the queue in the store waits. */
bool replay_runs(const struct session *s);
/* Asks for the next page when there is room. */
void replay_step(struct session *s);
/* Something that it brought was sent or acknowledged: the store is told, not more often than it answers. */
void replay_progress(struct session *s);
/* The subscription that is being read for, as subscribed; *len 0: it has gone. */
const uint8_t *replay_filter(const struct session *s, size_t *len);
/* The subscription has gone. */
void replay_cancel(struct session *s, const uint8_t *filter, size_t len);
void replay_free_all(struct session *s);

#endif
