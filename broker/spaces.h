/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A loop's side of the key spaces: going over to another map, who subscribes to $KEYS/…, and what clients send to the broker itself.
 * Owner loop. */
#ifndef BROKER_SPACES_H
#define BROKER_SPACES_H

#include "broker/conn.h"
#include "broker/session.h"
#include "topics/space.h"

struct asker;

#define SPACES_CONTROL "$CONTROL/topics/v1"
#define SPACES_RESPONSE "$CONTROL/topics/v1/response"
#define SPACES_SEALED "$SEALED/"
#define SPACES_KEYS "$KEYS/"
#define SPACES_CERTS "$CERTS/"

/* A map on its way to one loop, and back as its answer. */
struct round {
	struct mail mail;
	struct mailbox *answers;   /* the registrar's */
	struct space_map *map;     /* one reference; NULL: there are no spaces any more */
	const struct space *about; /* whose subscribers to $KEYS are wanted; NULL: none. Borrowed */
	bool judge;                /* members have changed: subscriptions are judged again, and what that removes is in the store before the answer */
	struct asker *askers;      /* out; a list that is the registrar's */
	bool failed;               /* out: no memory for all of them */
	void (*back)(struct mail *m, void *registrar);
};
void spaces_on_round(struct mail *m, void *loop);
/* A round waits for the walk of broker/recheck: one session, then its end. */
void spaces_collect(struct session *s, struct round *r);
void spaces_walked(struct loop *l);

/* Does text begin with the prefix, and go on? */
bool spaces_has_prefix(struct mqtt_bytes text, const char *prefix);
/* Is it a topic or filter of the broker's own ($KEYS/…, $CERTS/…, $SEALED/…, $CONTROL/…), of which key spaces decide and not the acl_file? */
bool spaces_is_own(struct mqtt_bytes text);
/* May the session have that subscription? ELSEWHERE: it is not the spaces' matter. */
enum space_verdict spaces_judge_filter(const struct session *s, struct mqtt_bytes filter);

/* Can a message come by filter that a key space covers? */
bool spaces_concern(const struct space_map *m, struct mqtt_bytes filter);

/* The subscription to filter holds and SUBACK is on its way: its envelope or certificate follows. */
void spaces_subscribed(struct session *s, const uint8_t *filter, size_t len, uint8_t qos);
/* A persistent session's client is back: so does its current envelope. */
void spaces_resumed(struct session *s);

/* The key space's own history, or the configuration's. NULL: topic keeps no past. */
struct history_limits;
const struct history_limits *spaces_history(const struct loop *l, const uint8_t *topic, size_t len);
bool spaces_history_overlaps(const struct loop *l, const uint8_t *filter, size_t len);

#endif
