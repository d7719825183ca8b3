/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Topic names and filters as bytes. Pure functions. */
#include "topics/topic.h"

#include <string.h>

size_t topic_levels(const uint8_t *p, size_t len)
{
	size_t n = 1;
	for (size_t i = 0; i < len; i++)
		n += p[i] == '/';
	return n;
}

/* The length of the level that begins at i. */
static size_t level_len(const uint8_t *p, size_t len, size_t i)
{
	size_t start = i;
	while (i < len && p[i] != '/')
		i++;
	return i - start;
}

bool topic_matches(const uint8_t *filter, size_t filter_len, const uint8_t *topic, size_t topic_len)
{
	if (topic_len > 0 && topic[0] == '$' && filter_len > 0 && (filter[0] == '+' || filter[0] == '#'))
		return false; /* [MQTT-4.7.2-1] */
	size_t f = 0, t = 0;
	for (;;) {
		size_t fl = level_len(filter, filter_len, f), tl = level_len(topic, topic_len, t);
		if (fl == 1 && filter[f] == '#')
			return true;
		if (!(fl == 1 && filter[f] == '+') && (fl != tl || (fl > 0 && memcmp(filter + f, topic + t, fl) != 0)))
			return false;
		f += fl;
		t += tl;
		bool filter_ends = f == filter_len, topic_ends = t == topic_len;
		if (filter_ends || topic_ends) /* "a/#" matches "a" too [MQTT-4.7.1-2, the parent level] */
			return (filter_ends && topic_ends) || (topic_ends && filter_len - f == 2 && filter[f + 1] == '#');
		f++;
		t++;
	}
}

#define SHARE "$share/"

bool topic_share_parse(const uint8_t *p, size_t len, struct topic_share *out)
{
	const size_t prefix = sizeof SHARE - 1;
	*out = (struct topic_share){ .filter = p, .filter_len = len };
	if (len < prefix || memcmp(p, SHARE, prefix) != 0)
		return true;
	size_t group_len = level_len(p, len, prefix), inner = prefix + group_len + 1;
	if (group_len == 0 || inner >= len)
		return false;
	for (size_t i = prefix; i < prefix + group_len; i++) {
		if (p[i] == '+' || p[i] == '#')
			return false;
	}
	*out = (struct topic_share){ p + prefix, group_len, p + inner, len - inner };
	return true;
}
