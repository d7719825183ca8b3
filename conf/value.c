/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text to number, size, time. */
#include "conf/value.h"

#include <string.h>

#define EXPIRY_MAX_S (UINT64_C(1000) * 365 * 86400)

struct unit {
	const char *suffix;
	uint64_t factor;
};

bool value_bool(const char *p, size_t len, bool *out)
{
	if ((len == 4 && memcmp(p, "true", 4) == 0) || (len == 1 && *p == '1'))
		*out = true;
	else if ((len == 5 && memcmp(p, "false", 5) == 0) || (len == 1 && *p == '0'))
		*out = false;
	else
		return false;
	return true;
}

/* The digits at the start; returns how many, 0 when there are none or the number needs over 64 bits. */
static size_t leading_number(const char *p, size_t len, uint64_t *out)
{
	uint64_t n = 0;
	size_t i = 0;
	for (; i < len && p[i] >= '0' && p[i] <= '9'; i++)
		if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (unsigned)(p[i] - '0'), &n))
			return 0;
	*out = n;
	return i;
}

static bool with_unit(const char *p, size_t len, const struct unit *units, size_t n_units, uint64_t *out)
{
	uint64_t n = 0;
	size_t digits = leading_number(p, len, &n);
	if (digits == 0)
		return false;
	for (size_t i = 0; i < n_units; i++) {
		const char *suffix = units[i].suffix;
		if (strlen(suffix) == len - digits && memcmp(p + digits, suffix, len - digits) == 0)
			return !__builtin_mul_overflow(n, units[i].factor, out);
	}
	return false;
}

bool value_number(const char *p, size_t len, uint64_t min, uint64_t max, uint64_t *out)
{
	return len && leading_number(p, len, out) == len && *out >= min && *out <= max;
}

bool value_size(const char *p, size_t len, uint64_t min, uint64_t max, uint64_t *out)
{
	static const struct unit units[] = {
		{ "", 1 }, { "K", 1u << 10 }, { "KiB", 1u << 10 }, { "M", 1u << 20 }, { "MiB", 1u << 20 },
		{ "G", 1u << 30 }, { "GiB", 1u << 30 }, { "T", UINT64_C(1) << 40 }, { "TiB", UINT64_C(1) << 40 },
	};
	return with_unit(p, len, units, sizeof units / sizeof units[0], out) && *out >= min && *out <= max;
}

bool value_seconds(const char *p, size_t len, uint64_t min, uint64_t max, uint64_t *out)
{
	static const struct unit units[] = {
		{ "", 1 }, { "s", 1 }, { "m", 60 }, { "h", 3600 }, { "d", 86400 }, { "w", 7 * 86400 }, { "y", 365 * 86400 },
	};
	return with_unit(p, len, units, sizeof units / sizeof units[0], out) && *out >= min && *out <= max;
}

bool value_expiry(const char *p, size_t len, uint64_t *out)
{
	static const struct unit units[] = {
		{ "s", 1 }, { "h", 3600 }, { "d", 86400 }, { "w", 7 * 86400 }, { "m", 30 * 86400 }, { "y", 365 * 86400 },
	};
	if (len == 1 && *p == '0') {
		*out = 0;
		return true;
	}
	return with_unit(p, len, units, sizeof units / sizeof units[0], out) && *out > 0 && *out <= EXPIRY_MAX_S;
}

/* An IPv4 address in four decimal parts, of which the first is given out. */
static bool parse_ipv4(const char *p, size_t len, uint64_t *first)
{
	for (int part = 0; part < 4; part++) {
		uint64_t n = 0;
		size_t digits = leading_number(p, len, &n);
		/* A leading 0 could be read as octal. */
		if (digits == 0 || digits > 3 || n > 255 || (*p == '0' && digits > 1))
			return false;
		if (part == 0)
			*first = n;
		p += digits, len -= digits;
		if (part == 3)
			break;
		if (len == 0 || *p != '.')
			return false;
		p++, len--;
	}
	return len == 0;
}

static bool all_of(const char *p, size_t len, const char *set)
{
	for (size_t i = 0; i < len; i++)
		if (!strchr(set, p[i]))
			return false;
	return true;
}

bool value_is_address(const char *p, size_t len)
{
	uint64_t first = 0;
	if (len == 0 || len > 255)
		return false;
	if (all_of(p, len, "0123456789."))
		return parse_ipv4(p, len, &first);
	if (memchr(p, ':', len)) {
		const char *scope = memchr(p, '%', len);
		return all_of(p, scope ? (size_t)(scope - p) : len, "0123456789abcdefABCDEF:.");
	}
	return all_of(p, len, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
}

bool value_is_loopback(const char *address)
{
	uint64_t first = 0;
	return strcmp(address, "::1") == 0 || (parse_ipv4(address, strlen(address), &first) && first == 127);
}
