/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who may publish and subscribe to what. Owner loop. */
#ifndef BROKER_ACCESS_H
#define BROKER_ACCESS_H

#include "base/identity.h"
#include "mqtt/mqtt.h"

#include <stdbool.h>

bool access_publish(const struct identity *id, struct mqtt_bytes topic);
bool access_subscribe(const struct identity *id, struct mqtt_bytes filter);

#endif
