/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Private to mqtt/: the text checks with their reason. */
#ifndef MQTT_UTF8_INT_H
#define MQTT_UTF8_INT_H

#include <stddef.h>
#include <stdint.h>

#include "mqtt/mqtt.h"

/* MQTT_OK, MQTT_MALFORMED (not UTF-8, U+0000, longer than MQTT_STRING_MAX) or MQTT_TOPIC_NAME_INVALID (empty, wildcard). */
MQTT_MUST_CHECK enum mqtt_reason mqtt_topic_check(const uint8_t *p, size_t len);

/* MQTT_OK, MQTT_MALFORMED (as above) or MQTT_TOPIC_FILTER_INVALID (empty, wildcard out of place). */
MQTT_MUST_CHECK enum mqtt_reason mqtt_filter_check(const uint8_t *p, size_t len);

#endif
