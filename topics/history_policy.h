/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which topics keep how much of their past: rules by filter, of which the most specific one that matches a topic decides alone.
 * Built by one thread, then immutable: any thread finds. Below, what $HISTORY/<spec>/<filter> says. */
#ifndef TOPICS_HISTORY_POLICY_H
#define TOPICS_HISTORY_POLICY_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct history_limits {
	uint64_t count, age_s, bytes; /* 0: no limit of that kind */
	bool off;                     /* nothing is kept */
};

struct history_policy;

struct history_policy *history_policy_new(void) MUST_CHECK;
struct history_policy *history_policy_ref(struct history_policy *p); /* any thread, as unref; NULL is fine for both */
void history_policy_unref(struct history_policy *p);

/* Do both keep the same of every topic, rule by rule? NULL: no rules. */
bool history_policy_equal(const struct history_policy *a, const struct history_policy *b);

/* What the rule of this very filter says, to be filled; a new one keeps everything. NULL: out of memory, or more than TOPIC_LEVELS_MAX levels. */
struct history_limits *history_policy_rule(struct history_policy *p, const uint8_t *filter, size_t len) MUST_CHECK;

/* The limits of topic; NULL: it keeps no past. More specific is: at the first level in which two filters differ, the one that has the topic's own
 * text there (or ends) before '+', and '+' before '#'. Costs a search among the rules' levels for each of the topic's, whatever else
 * there is. p NULL: no rules. */
const struct history_limits *history_policy_find(const struct history_policy *p, const uint8_t *topic, size_t len);

/* Can a topic that matches filter have a past? May say yes in vain where a more specific rule keeps nothing. */
bool history_policy_overlaps(const struct history_policy *p, const uint8_t *filter, size_t len);

/* ---- $HISTORY/<spec>/<filter> */

struct history_spec {
	uint64_t newest;        /* messages; 0: all */
	uint64_t since_ms;      /* wall clock; 0: from the beginning */
	const uint8_t *filter;  /* borrowed from the text */
	size_t filter_len;
};

/* Does p begin with "$HISTORY/"? */
bool history_is_spec(const uint8_t *p, size_t len);
/* Takes it apart: spec is a count (100), an age back from now_ms (90s, 15m, 12h, 7d, 2w), since-<ms since 1970>, or all. False: it is
 * none of these, or the filter behind it is empty or begins with $share/ or $HISTORY/. */
bool history_spec_parse(const uint8_t *p, size_t len, uint64_t now_ms, struct history_spec *out) MUST_CHECK;

#endif
