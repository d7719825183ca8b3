/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A session's subscriptions by their literal text: plain ones are the trie's; $HISTORY/<spec>/<filter> is kept here, and its filter is in the trie
 * as long as it or the plain one is subscribed. Owner loop (or the main thread before loops run: thread is its epoch id). */
#ifndef BROKER_SPECIAL_H
#define BROKER_SPECIAL_H

#include "broker/session.h"

#define SPECIALS_MAX 1000U /* per session */

/* What the trie knows text by. */
struct special_filter {
	const uint8_t *p;
	size_t len;
};
struct special_filter special_inner(const uint8_t *text, size_t len);

/* As trie_subscribe and trie_unsubscribe, for any text that was accepted. ERR_FULL: SPECIALS_MAX. *gone: the filter left the trie. */
enum err special_subscribe(struct session *s, int thread, const uint8_t *text, size_t len, uint8_t options, uint32_t sub_id,
                           bool *added) MUST_CHECK;
enum err special_unsubscribe(struct session *s, int thread, const uint8_t *text, size_t len, bool *gone) MUST_CHECK;
/* The QoS of the subscription to text, which must be there. */
uint8_t special_qos(const struct session *s, const uint8_t *text, size_t len);
/* The filter was taken from the trie: so goes what is here, and from the store. */
void special_forget(struct session *s, const uint8_t *filter, size_t len);
void specials_free(struct session *s);

#endif
