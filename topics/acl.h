/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who may read and write which topic: mosquitto's acl_file, with groups (docs/acl.md). Loaded whole, immutable afterwards, refcounted;
 * any thread may ask. A decision costs the levels of the topic and the rules that match, not the rules that there are. */
#ifndef TOPICS_ACL_H
#define TOPICS_ACL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum acl_access {
	ACL_READ = 1,      /* to be sent a message of this topic */
	ACL_WRITE = 2,     /* to publish to it */
	ACL_SUBSCRIBE = 4, /* to subscribe to this filter, with or without $share/<group>/ */
};

enum acl_cause {
	ACL_BY_RULE,      /* line says which */
	ACL_NO_RULE,      /* nothing allows it */
	ACL_NO_FILE,      /* there is no acl_file: everything but '$' topics */
	ACL_BAD_CLIENT_ID,/* the client id holds '+' or '#', so patterns do not count for it, as in mosquitto */
	ACL_BAD_TOPIC,    /* more than TOPIC_LEVELS_MAX levels, or a malformed $share */
};

struct acl_reason {
	bool allowed;
	enum acl_cause cause;
	unsigned line; /* of the acl_file: the first that decides; 0 unless ACL_BY_RULE */
};

/* One connection's names; borrowed for the call. */
struct acl_subject {
	const uint8_t *cn;        /* of the certificate */
	size_t cn_len;            /* bytes */
	const uint8_t *client_id; /* NULL: not known, %c matches nothing */
	size_t client_id_len;     /* bytes */
};

struct acl;

/* Reads the file. NULL when anything is wrong: every problem was printed to errors (may be NULL) as "FILE:LINE: text"; warnings
 * ("FILE:LINE: warning: text") are printed too. One reference. */
struct acl *acl_load(const char *path, FILE *errors) MUST_CHECK;
/* The same from memory: len bytes, copied; name is for messages. */
struct acl *acl_parse(const char *buf, size_t len, const char *name, FILE *errors) MUST_CHECK;
struct acl *acl_ref(struct acl *a);
void acl_unref(struct acl *a); /* NULL is fine */

/* May the subject do this? a NULL: there is no acl_file (docs/design.md section 3). topic: a topic name, or for ACL_SUBSCRIBE a filter; valid
 * as mqtt/decode checks them. why (NULL: do not care, which is faster): filled either way.
 *
 * ACL_SUBSCRIBE is refused when no message could ever come of it: a deny covers the whole filter, or no rule that lets the subject
 * read overlaps it. What was granted is judged again message by message, with ACL_READ. */
bool acl_allows(const struct acl *a, const struct acl_subject *s, enum acl_access access, const uint8_t *topic, size_t topic_len,
    struct acl_reason *why) MUST_CHECK;

/* Prints one line to out: what is decided, and the file, line and rule that decide (sealmqd --explain-acl). Returns the decision. */
bool acl_explain(const struct acl *a, const struct acl_subject *s, enum acl_access access, const char *topic, FILE *out);

/* May the subject read every topic that this filter (with or without $share/<group>/) matches? True only when one rule shows it and no deny
 * overlaps, so that asking again message by message is needless; false may just mean that it takes several rules to see. a is not NULL. */
bool acl_reads_all(const struct acl *a, const struct acl_subject *s, const uint8_t *filter, size_t len) MUST_CHECK;

struct acl_stats { size_t rules, users, groups, nodes, bytes; };
void acl_stats(const struct acl *a, struct acl_stats *out);

#endif
