/* SPDX-License-Identifier: GPL-3.0-or-later */
/* clientid_pattern: which client ids an identity may use. Pure; any thread. */
#ifndef BROKER_CLIENTID_H
#define BROKER_CLIENTID_H

#include "base/identity.h"
#include "conf/conf.h"

/* Does the client id fit one of conf's patterns? In them "%u" stands for the CN and '*' for any text, an empty one too. True when there
 * are none. */
bool clientid_fits(const struct conf *conf, const struct identity *identity, const void *client_id, size_t len);

#endif
