/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who may publish and subscribe to what, and be sent what: the policy's acl_file, or its absence (docs/acl.md). Decisions about topics are
 * remembered per loop. Owner loop. */
#ifndef BROKER_ACCESS_H
#define BROKER_ACCESS_H

#include "base/msg.h"
#include "broker/session.h"
#include "mqtt/mqtt.h"

#include <stdbool.h>

#define ACCESS_HEALTH_TOPIC "$SYS/health" /* the one $SYS topic that clients publish to */

/* May the session's client publish to topic? Of $SYS only to ACCESS_HEALTH_TOPIC, whatever the acl_file says. */
bool access_publish(struct session *s, struct mqtt_bytes topic);
/* May who, under that client id, publish its will to topic? */
bool access_will(const struct loop *l, const struct identity *who, const char *client_id, size_t client_id_len, struct mqtt_bytes topic);
/* May it have this subscription ($share is judged by its inner filter)? */
bool access_subscribe(struct session *s, struct mqtt_bytes filter);
/* The subscription was made: does it take a look at each message that comes by it? */
void access_subscribed(struct session *s, struct mqtt_bytes filter);
/* May it be sent m? Costs nothing where its subscriptions are readable whole, as they are without an acl_file. */
bool access_read(struct session *s, const struct msg *m);

struct access_cache; /* a loop's decisions */
void access_cache_free(struct access_cache *c); /* NULL is fine */

#endif
