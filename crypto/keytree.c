/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Key derivation along topic levels. Owns nothing; any thread. */
#include "crypto/keytree.h"

#include "base/secmem.h"
#include "crypto/hash.h"

#include <string.h>

/* A list of levels. Only none tells [] from [""]: both have no characters. */
struct path { const char *p; size_t len; bool none; };

static const struct path no_levels = { "", 0, true };

static size_t levels_of(struct path a)
{
	size_t n = a.none ? 0 : 1;
	for (size_t i = 0; i < a.len; i++)
		n += a.p[i] == '/';
	return n;
}

static struct path path_of_topic(const char *topic, size_t len)
{
	return (struct path){ topic, len, false };
}

static struct path path_of_space(const char *space, size_t len)
{
	return len == 0 ? no_levels : path_of_topic(space, len);
}

/* A topic name that may have a key. */
static bool is_topic(const char *topic, size_t len)
{
	return len > 0 && len <= UINT16_MAX && topic[0] != '$' && !memchr(topic, 0, len) && !memchr(topic, '+', len) &&
	       !memchr(topic, '#', len) && levels_of(path_of_topic(topic, len)) <= KEYTREE_LEVELS_MAX;
}

/* Splits a filter into its base and whether the subtree below is meant. False: it cannot be granted. */
static bool split_filter(const char *filter, size_t len, struct path *base, bool *subtree)
{
	*subtree = len > 0 && filter[len - 1] == '#';
	if (!*subtree) {
		*base = path_of_topic(filter, len);
		return is_topic(filter, len);
	}
	if (len == 1) {
		*base = no_levels;
		return true;
	}
	if (filter[len - 2] != '/')
		return false;
	*base = path_of_topic(filter, len - 2);
	return len == 2 || is_topic(filter, len - 2); /* "/#" is rooted at [""], which is no topic, but a node */
}

/* Whether b is a or below it; then rest holds the levels of b that follow a's. */
static bool below(struct path a, struct path b, struct path *rest)
{
	if (a.none) {
		*rest = b;
		return true;
	}
	if (b.none || b.len < a.len || (a.len && memcmp(a.p, b.p, a.len) != 0))
		return false;
	if (b.len == a.len) {
		*rest = no_levels;
		return true;
	}
	if (b.p[a.len] != '/')
		return false;
	*rest = path_of_topic(b.p + a.len + 1, b.len - a.len - 1);
	return true;
}

static void descend(const uint8_t key[static KEYTREE_KEY_LEN], struct path rest, uint8_t out[static KEYTREE_KEY_LEN])
{
	memmove(out, key, KEYTREE_KEY_LEN);
	if (rest.none)
		return;
	for (const char *p = rest.p, *end = rest.p + rest.len;; p++) {
		const char *stop = p == end ? NULL : memchr(p, '/', (size_t)(end - p));
		const struct hash_part info[] = { HASH_LABEL("sealmq v1 node"), { p, (size_t)((stop ? stop : end) - p) } };
		hkdf_expand(out, info, 2, out);
		if (!stop)
			return;
		p = stop;
	}
}

static void topic_of_node(const uint8_t node[static KEYTREE_KEY_LEN], uint8_t out[static KEYTREE_KEY_LEN])
{
	hkdf_expand(node, &(struct hash_part)HASH_LABEL("sealmq v1 topic"), 1, out);
}

bool keytree_covers(const char *space, size_t space_len, const char *topic, size_t topic_len)
{
	struct path rest;
	return is_topic(topic, topic_len) && below(path_of_space(space, space_len), path_of_topic(topic, topic_len), &rest);
}

bool keytree_grantable(const char *filter, size_t filter_len)
{
	struct path base;
	bool subtree;
	return split_filter(filter, filter_len, &base, &subtree);
}

bool keytree_opens(const char *filter, size_t filter_len, const char *topic, size_t topic_len)
{
	struct path base, rest;
	bool subtree;
	return split_filter(filter, filter_len, &base, &subtree) && is_topic(topic, topic_len) &&
	       below(base, path_of_topic(topic, topic_len), &rest) && (subtree || rest.none);
}

bool keytree_contains(const char *outer, size_t outer_len, const char *inner, size_t inner_len)
{
	struct path a, b, rest;
	bool a_subtree, b_subtree;
	return split_filter(outer, outer_len, &a, &a_subtree) && split_filter(inner, inner_len, &b, &b_subtree) && below(a, b, &rest) &&
	       (a_subtree || (rest.none && !b_subtree));
}

enum err keytree_topic(const uint8_t root[static KEYTREE_KEY_LEN], const char *space, size_t space_len, const char *topic, size_t topic_len,
                       uint8_t out[static KEYTREE_KEY_LEN])
{
	struct path rest;
	if (!is_topic(topic, topic_len))
		return ERR_INVALID;
	if (!below(path_of_space(space, space_len), path_of_topic(topic, topic_len), &rest))
		return ERR_REFUSED;
	descend(root, rest, out);
	topic_of_node(out, out);
	return ERR_OK;
}

enum err keytree_grant(const uint8_t root[static KEYTREE_KEY_LEN], const char *space, size_t space_len, const char *filter, size_t filter_len,
                       uint8_t out[static KEYTREE_KEY_LEN])
{
	struct path base, rest;
	bool subtree;
	if (!split_filter(filter, filter_len, &base, &subtree))
		return ERR_INVALID;
	if (!below(path_of_space(space, space_len), base, &rest))
		return ERR_REFUSED;
	descend(root, rest, out);
	if (!subtree)
		topic_of_node(out, out);
	return ERR_OK;
}

enum err keytree_topic_of_grant(const uint8_t key[static KEYTREE_KEY_LEN], const char *filter, size_t filter_len, const char *topic,
                                size_t topic_len, uint8_t out[static KEYTREE_KEY_LEN])
{
	struct path base, rest;
	bool subtree;
	if (!split_filter(filter, filter_len, &base, &subtree) || !is_topic(topic, topic_len))
		return ERR_INVALID;
	if (!below(base, path_of_topic(topic, topic_len), &rest) || !(subtree || rest.none))
		return ERR_REFUSED;
	if (!subtree) {
		memmove(out, key, KEYTREE_KEY_LEN);
		return ERR_OK;
	}
	descend(key, rest, out);
	topic_of_node(out, out);
	return ERR_OK;
}
