/* SPDX-License-Identifier: GPL-3.0-or-later */
/* UTF-8, topic names and topic filters. Pure functions; any thread.
 *
 * Every PUBLISH comes through scan(): one branch-free pass over 16 bytes at a time, which answers both questions that
 * plain ASCII text poses (does it hold a NUL, does it hold a wildcard). Only text that is not plain ASCII is then read
 * again, one code point at a time. */
#include "mqtt/utf8.h"

#include <string.h>

#include "mqtt/utf8_int.h"

/* GCC's vectors rather than intrinsics: the same source is SSE2 on x86-64 and NEON on aarch64, both baseline. */
typedef int8_t lanes __attribute__((vector_size(16)));
typedef uint64_t halves __attribute__((vector_size(16)));

struct scan {
	bool special;  /* a NUL or a byte above 0x7F: needs the slow look */
	bool wildcard; /* a '+' or '#' */
};

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t load32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline bool any(lanes v)
{
	const halves h = (halves)v;
	return (h[0] | h[1]) != 0;
}

/* The lanes (all ones) that are 0 or, being signed, above 0x7F. */
static inline lanes special_lanes(lanes v)
{
	return (lanes)(v < 1);
}

/* '#' is 0x23 and '+' is 0x2B: one bit apart, so one comparison finds both. */
static inline lanes wildcard_lanes(lanes v)
{
	return (lanes)((v & (int8_t)~8) == '#');
}

/* 1 to 16 bytes as one vector; loads from both ends overlap, so some bytes are in it twice. Nothing outside is read. */
static inline lanes gather(const uint8_t *p, size_t len)
{
	halves h;
	if (len >= 8) {
		h = (halves){load64(p), load64(p + len - 8)};
	} else if (len >= 4) {
		h = (halves){load32(p) << 32 | load32(p + len - 4), 0};
		h[1] = h[0];
	} else {
		const uint64_t four = (uint64_t)p[0] << 24 | (uint64_t)p[0] << 16 | (uint64_t)p[len / 2] << 8 | p[len - 1];
		h = (halves){four << 32 | four, 0};
		h[1] = h[0];
	}
	return (lanes)h;
}

static struct scan scan(const uint8_t *p, size_t len)
{
	lanes special = {0};
	lanes wildcard = {0};
	const uint8_t *last = p;

	if (len == 0)
		return (struct scan){false, false};
	if (len > 16) {
		last = p + len - 16;
		for (; p < last; p += 16) {
			const lanes v = gather(p, 16);
			special |= special_lanes(v);
			wildcard |= wildcard_lanes(v);
		}
		len = 16;
	}
	const lanes v = gather(last, len);
	return (struct scan){any(special | special_lanes(v)), any(wildcard | wildcard_lanes(v))};
}

static inline bool is_continuation(uint8_t c)
{
	return (c & 0xC0) == 0x80;
}

/* The bytes of the code point at p, or 0 when it is ill-formed or U+0000. RFC 3629's table: the first byte says how many
 * follow, and for E0, ED, F0 and F4 narrows the second, which is what rules out overlong forms, surrogates and
 * everything above U+10FFFF. */
static inline size_t code_point_len(const uint8_t *p, const uint8_t *end)
{
	const size_t left = (size_t)(end - p);
	const uint8_t c = p[0];

	if (c < 0x80)
		return c != 0;
	if (c < 0xC2)
		return 0;
	if (c < 0xE0)
		return left >= 2 && is_continuation(p[1]) ? 2 : 0;

	const uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
	const uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
	if (left < 3 || p[1] < low || p[1] > high || !is_continuation(p[2]))
		return 0;
	if (c < 0xF0)
		return 3;
	return c < 0xF5 && left >= 4 && is_continuation(p[3]) ? 4 : 0;
}

static bool utf8_valid_slow(const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	while (p < end) {
		const size_t n = code_point_len(p, end);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

/* '#' and '+' stand at the start of a level; '#' ends the filter [MQTT-4.7.1-2], '+' ends its level [MQTT-4.7.1-3]. */
static bool wildcards_in_place(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != '#' && p[i] != '+')
			continue;
		if (i > 0 && p[i - 1] != '/')
			return false;
		if (i + 1 < len && (p[i] == '#' || p[i + 1] != '/'))
			return false;
	}
	return true;
}

bool mqtt_utf8_valid(const uint8_t *p, size_t len)
{
	return !scan(p, len).special || utf8_valid_slow(p, len);
}

enum mqtt_reason mqtt_topic_check(const uint8_t *p, size_t len)
{
	if (len == 0)
		return MQTT_TOPIC_NAME_INVALID;
	if (len > MQTT_STRING_MAX)
		return MQTT_MALFORMED;
	const struct scan found = scan(p, len);
	if (found.special && !utf8_valid_slow(p, len))
		return MQTT_MALFORMED;
	return found.wildcard ? MQTT_TOPIC_NAME_INVALID : MQTT_OK;
}

enum mqtt_reason mqtt_filter_check(const uint8_t *p, size_t len)
{
	if (len == 0)
		return MQTT_TOPIC_FILTER_INVALID;
	if (len > MQTT_STRING_MAX)
		return MQTT_MALFORMED;
	const struct scan found = scan(p, len);
	if (found.special && !utf8_valid_slow(p, len))
		return MQTT_MALFORMED;
	return found.wildcard && !wildcards_in_place(p, len) ? MQTT_TOPIC_FILTER_INVALID : MQTT_OK;
}

bool mqtt_topic_valid(const uint8_t *p, size_t len)
{
	return mqtt_topic_check(p, len) == MQTT_OK;
}

bool mqtt_filter_valid(const uint8_t *p, size_t len)
{
	return mqtt_filter_check(p, len) == MQTT_OK;
}
