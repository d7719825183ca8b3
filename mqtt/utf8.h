/* SPDX-License-Identifier: GPL-3.0-or-later */
/* UTF-8 strings, topic names and topic filters as MQTT writes them: is this one well formed? Any thread. */
#ifndef MQTT_UTF8_H
#define MQTT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether p[0..len) is well-formed UTF-8 (RFC 3629: shortest form, no surrogate, nothing above U+10FFFF)
 * [MQTT-1.5.3-1] without U+0000 [MQTT-1.5.3-2]. Control characters, non-characters and the byte-order mark are
 * allowed [MQTT-1.5.3-3]. An empty string is valid. len is not limited. */
bool mqtt_utf8_valid(const uint8_t *p, size_t len);

/* Whether p[0..len) is a topic name: 1 to 65535 bytes [MQTT-4.7.3-1, MQTT-4.7.3-3], valid UTF-8 without U+0000
 * [MQTT-4.7.3-2], no wildcard [MQTT-3.3.2-2]. */
bool mqtt_topic_valid(const uint8_t *p, size_t len);

/* Whether p[0..len) is a topic filter: as a topic name, but '#' may be the last level [MQTT-4.7.1-2] and '+' any whole
 * level [MQTT-4.7.1-3]. What $share asks of its filter is the caller's to check. */
bool mqtt_filter_valid(const uint8_t *p, size_t len);

#endif
