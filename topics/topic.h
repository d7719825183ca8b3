/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Topic names and filters as bytes: levels, wildcards, $share. Pure functions; any thread.
 * Callers have checked UTF-8 and wildcard placement (mqtt/decode). */
#ifndef TOPICS_TOPIC_H
#define TOPICS_TOPIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOPIC_LEVELS_MAX 200u

struct topic_bytes {
	const uint8_t *p;
	size_t len;
};

/* How many levels; "" has one, "/" two. */
size_t topic_levels(const uint8_t *p, size_t len);

/* Does the filter match the topic name, by MQTT 4.7 (leading wildcards do not match '$' [MQTT-4.7.2-1])?
 * The plain, slow reference; the trie must agree with it. */
bool topic_matches(const uint8_t *filter, size_t filter_len, const uint8_t *topic, size_t topic_len);

struct topic_share {
	const uint8_t *group;  /* NULL: not a shared subscription */
	size_t group_len;
	const uint8_t *filter; /* the inner filter, or the whole one */
	size_t filter_len;
};
/* Splits "$share/<group>/<filter>". False when it starts with "$share/" but the group is empty or holds a
 * wildcard, or the inner filter is empty. */
bool topic_share_parse(const uint8_t *p, size_t len, struct topic_share *out);

#endif
