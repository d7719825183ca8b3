/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Values of configuration keys: text to number, size, time. Pure functions; any thread. False: not one, or out of range. */
#ifndef CONF_VALUE_H
#define CONF_VALUE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool value_bool(const char *p, size_t len, bool *out) MUST_CHECK;
/* Decimal digits alone: no sign, no space. */
bool value_number(const char *p, size_t len, uint64_t min, uint64_t max, uint64_t *out) MUST_CHECK;
/* Bytes; K, M, G, T or KiB, MiB, GiB, TiB multiply by powers of 1,024. */
bool value_size(const char *p, size_t len, uint64_t min, uint64_t max, uint64_t *out) MUST_CHECK;
/* Seconds; s, m (minutes), h, d, w, y (365 days) multiply. */
bool value_seconds(const char *p, size_t len, uint64_t min, uint64_t max, uint64_t *out) MUST_CHECK;
/* mosquitto's persistent_client_expiration, in seconds: a number and s (ours), h, d, w, m (30 days) or y; or 0. */
bool value_expiry(const char *p, size_t len, uint64_t *out) MUST_CHECK;
/* What a listener may be bound to: an IPv4 address in four decimal parts, what looks like an IPv6 address (the system judges it when the
 * listener is bound), or a host name. */
bool value_is_address(const char *p, size_t len);
/* An IPv4 address of 127.0.0.0/8 in four decimal parts, or "::1". */
bool value_is_loopback(const char *address);

#endif
