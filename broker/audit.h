/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who did what, for those who must be able to say so later: events go to the audit log (broker/audit_log.h), and those that an operator should see
 * to the log as "audit:" lines too. Never a payload or a key. Any thread. */
#ifndef BROKER_AUDIT_H
#define BROKER_AUDIT_H

#include "base/identity.h"
#include "base/log.h"

#include <stddef.h>
#include <stdint.h>

struct conn;
struct session;

enum audit_kind {
	AUDIT_STARTED, AUDIT_STOPPED, AUDIT_RELOADED, AUDIT_RELOAD_REFUSED,
	AUDIT_HANDSHAKE_REFUSED, AUDIT_CONNECT_REFUSED, AUDIT_CLIENT_ID_REFUSED, AUDIT_CONNECTED, AUDIT_DISCONNECTED, AUDIT_ENDED_BY_RELOAD,
	AUDIT_CERTIFICATE_EXPIRED, AUDIT_CERTIFICATE_REVOKED,
	AUDIT_SESSION_TAKEN_OVER, AUDIT_SESSION_ENDED, AUDIT_SESSION_OVER_QUOTA,
	AUDIT_SUBSCRIBED, AUDIT_UNSUBSCRIBED, AUDIT_SUBSCRIPTION_REMOVED,
	AUDIT_SUBSCRIBE_DENIED, AUDIT_PUBLISH_DENIED, AUDIT_WILL_DENIED, AUDIT_LIMIT,
	AUDIT_TOPIC_CREATED, AUDIT_TOPIC_DELETED, AUDIT_MEMBERS_ADDED, AUDIT_MEMBER_REMOVED, AUDIT_KEY_ROTATED, AUDIT_HISTORY_SET, AUDIT_CONTROL_DENIED,
};

/* Whom it is about; all is borrowed for the call, and may be missing. Zero: the broker itself. */
struct audit_who {
	const struct identity *identity;
	const void *client_id;
	size_t client_id_len;
	const uint8_t *peer; /* address: 4 or 16 bytes as family says */
	uint8_t family;      /* AF_INET, AF_INET6 */
	uint16_t peer_port;
};
struct audit_who audit_conn(const struct conn *c);
struct audit_who audit_session(const struct session *s); /* with the address of its connection, when it has one */

/* What it is about, beyond the text. text NULL: the number. */
struct audit_pair {
	const char *name; /* lower-case letters, digits and '_'; none of "seq", "ts", "kind", "cn", "client", "from", "cert", "serial", "text", "prev" */
	const void *text;
	size_t len;
	uint64_t number;
};
#define AUDIT_PAIR(name_, text_, len_) {.name = (name_), .text = (text_), .len = (len_)}
#define AUDIT_NUMBER(name_, number_) {.name = (name_), .number = (number_)}
/* The last two arguments of audit_event: AUDIT_PAIRS(AUDIT_PAIR("filter", p, len), AUDIT_NUMBER("epoch", 3)) or AUDIT_NO_PAIRS. */
#define AUDIT_PAIRS(...)                                                                                               \
	((const struct audit_pair[]){__VA_ARGS__}), sizeof((const struct audit_pair[]){__VA_ARGS__}) / sizeof(struct audit_pair)
#define AUDIT_NO_PAIRS NULL, 0

/* A line of the log: "CN 'x' client 'y' 10.0.0.7:1234: TEXT". */
void audit_say(enum log_level level, const struct audit_who *who, const char *text);

/* The kind's name in the audit log, with '-' for the log's spaces; static. */
const char *audit_kind_name(enum audit_kind kind);

/* One event. text: one cause or a detail, such as "the access rules no longer allow it"; it needs no name of client or topic, which who
 * and the pairs have. In the log: "audit: CN 'x' client 'y' 10.0.0.7:1234: subscription removed: TEXT (filter 'a/b')". */
void audit_event(enum audit_kind kind, const struct audit_who *who, const char *text, const struct audit_pair *pairs, size_t n_pairs);

#endif
