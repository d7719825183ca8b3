/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Direct messages: the key spaces direct/<sender>/<recipient> (docs/control.md), which an identity may create itself when direct_messages allows it.
 * What they may be, apart from the commands. Registrar's thread. */
#ifndef BROKER_DIRECT_H
#define BROKER_DIRECT_H

#include "topics/space.h"

#define DIRECT_HISTORY_COUNT 1000U
#define DIRECT_HISTORY_AGE_S (30U * 86400U)
#define DIRECT_HISTORY_BYTES (16U * 1024U * 1024U)

/* The recipient in direct/<sender>/<recipient>, which are two identities; NULL: the topic is no such name of that sender's. */
const char *direct_recipient(const char *topic, const char *sender) MUST_CHECK;
/* How many of the map's spaces are a sender's direct messages. */
size_t direct_count(const struct space_map *map, const char *sender);
/* NULL: the space of that name is one for direct messages, but for its history; otherwise what is wrong. */
const char *direct_fault(const struct space_spec *s);
/* What is kept for a recipient who is away. */
struct space_history direct_history(void);

#endif
