/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The key tree: from the root key of a key space's epoch to the key of each topic (docs/formats.md 2). Topics and filters are
 * lists of levels: "a" is ["a"], "/a" is ["","a"], "a/" is ["a",""]; the space "" is the empty list. Pure; any thread. */
#ifndef CRYPTO_KEYTREE_H
#define CRYPTO_KEYTREE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYTREE_KEY_LEN 32u /* bytes of every key in the tree */
#define KEYTREE_KID_LEN 8u  /* bytes of an epoch's key id */
#define KEYTREE_LEVELS_MAX 200u

/* Whether the key space covers the topic: it is rooted at the topic or above. The space "" covers all but '$' topics. */
bool keytree_covers(const char *space, size_t space_len, const char *topic, size_t topic_len);

/* A filter that can be granted: "#", "T/#" or an exact topic T; no '+', no '$' at the start, at most KEYTREE_LEVELS_MAX levels. */
bool keytree_grantable(const char *filter, size_t filter_len);
/* Whether a grant for filter opens the topic. */
bool keytree_opens(const char *filter, size_t filter_len, const char *topic, size_t topic_len);

/* Whether a grant for outer opens everything that one for inner does. */
bool keytree_contains(const char *outer, size_t outer_len, const char *inner, size_t inner_len);

/* topic(T), from the root of a space that covers T. ERR_REFUSED when it does not, ERR_INVALID for what is no topic. */
enum err keytree_topic(const uint8_t root[static KEYTREE_KEY_LEN], const char *space, size_t space_len, const char *topic, size_t topic_len,
                       uint8_t out[static KEYTREE_KEY_LEN]) MUST_CHECK;

/* The key that a grant hands over: node(T) for "T/#", topic(T) for T. ERR_REFUSED when the filter reaches out of the space. */
enum err keytree_grant(const uint8_t root[static KEYTREE_KEY_LEN], const char *space, size_t space_len, const char *filter, size_t filter_len,
                       uint8_t out[static KEYTREE_KEY_LEN]) MUST_CHECK;

/* topic(T), from a grant's key. ERR_REFUSED when the grant does not open T. */
enum err keytree_topic_of_grant(const uint8_t key[static KEYTREE_KEY_LEN], const char *filter, size_t filter_len, const char *topic,
                                size_t topic_len, uint8_t out[static KEYTREE_KEY_LEN]) MUST_CHECK;

#endif
