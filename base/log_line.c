/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log_line.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_ERROR: return "error";
	case LOG_WARNING: return "warning";
	case LOG_NOTICE: return "notice";
	case LOG_INFO: return "info";
	case LOG_DEBUG: return "debug";
	}
	return "log";
}

/* Length of the UTF-8 sequence at p [RFC 3629 4], 0 when there is none; p < end. */
static size_t utf8_sequence(const uint8_t *p, const uint8_t *end)
{
	uint8_t b = p[0];
	if (b < 0x80)
		return 1;
	size_t len = b >= 0xC2 && b < 0xE0 ? 2 : b >= 0xE0 && b < 0xF0 ? 3 : b >= 0xF0 && b < 0xF5 ? 4 : 0;
	if (len == 0 || (size_t)(end - p) < len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	bool overlong = (b == 0xE0 && p[1] < 0xA0) || (b == 0xF0 && p[1] < 0x90);
	bool surrogate = b == 0xED && p[1] >= 0xA0;
	bool beyond = b == 0xF4 && p[1] >= 0x90;
	return overlong || surrogate || beyond ? 0 : len;
}

static bool is_control(const uint8_t *p, size_t len)
{
	return (len == 1 && (p[0] < 0x20 || p[0] == 0x7F)) || (len == 2 && p[0] == 0xC2 && p[1] < 0xA0);
}

static char *put(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

/* In JSON the escapes are text, too, so that its string reads as the plain line does. */
static char *put_escaped(char *out, const char *text, size_t text_len, bool json)
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *p = (const uint8_t *)text, *end = p + text_len;
	while (p < end) {
		size_t len = utf8_sequence(p, end);
		if (len > 0 && !is_control(p, len)) {
			if (json && (*p == '"' || *p == '\\'))
				*out++ = '\\';
			out = put(out, (const char *)p, len);
			p += len;
			continue;
		}
		for (size_t i = 0; i < (len > 0 ? len : 1); i++, p++) {
			out = put(out, json ? "\\\\x" : "\\x", json ? 3 : 2);
			*out++ = hex[*p >> 4];
			*out++ = hex[*p & 15];
		}
	}
	return out;
}

/* n as exactly `digits` decimal digits. */
static char *put_digits(char *out, unsigned n, unsigned digits)
{
	for (unsigned i = digits; i > 0; i--, n /= 10)
		out[i - 1] = (char)('0' + n % 10);
	return out + digits;
}

static char *put_time(char *out, uint64_t time_ms)
{
	time_t s = (time_t)(time_ms / 1000);
	struct tm tm;
	if (!gmtime_r(&s, &tm))
		memset(&tm, 0, sizeof tm);
	const struct { int n; unsigned digits; char after; } parts[] = {
		{ tm.tm_year + 1900, 4, '-' }, { tm.tm_mon + 1, 2, '-' }, { tm.tm_mday, 2, 'T' }, { tm.tm_hour, 2, ':' },
		{ tm.tm_min, 2, ':' },         { tm.tm_sec, 2, '.' },     { (int)(time_ms % 1000), 3, 'Z' },
	};
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		out = put_digits(out, (unsigned)parts[i].n, parts[i].digits);
		*out++ = parts[i].after;
	}
	return out;
}

#define PUT(out, literal) put(out, "" literal "", sizeof(literal) - 1)

size_t log_line_text(char out[static LOG_LINE_MAX], uint64_t time_ms, enum log_level level, const char *text, size_t text_len)
{
	char *p = put_time(out, time_ms);
	*p++ = ' ';
	p = put(p, level_name(level), strlen(level_name(level)));
	p = PUT(p, ": ");
	p = put_escaped(p, text, text_len, false);
	*p++ = '\n';
	return (size_t)(p - out);
}

size_t log_line_json(char out[static LOG_LINE_MAX], uint64_t time_ms, enum log_level level, const char *text, size_t text_len)
{
	char *p = PUT(out, "{\"ts\":\"");
	p = put_time(p, time_ms);
	p = PUT(p, "\",\"level\":\"");
	p = put(p, level_name(level), strlen(level_name(level)));
	p = PUT(p, "\",\"msg\":\"");
	p = put_escaped(p, text, text_len, true);
	p = PUT(p, "\"}\n");
	return (size_t)(p - out);
}

size_t log_line_escape(char out[static LOG_LINE_MAX], const char *text, size_t text_len)
{
	return (size_t)(put_escaped(out, text, text_len, false) - out);
}

size_t log_line_cut(const char *text, size_t text_len)
{
	if (text_len <= LOG_TEXT_MAX)
		return text_len;
	size_t len = LOG_TEXT_MAX;
	/* Back to the start of the sequence that goes on at the cut; more than three continuation bytes are no UTF-8 anyway. */
	while (len > LOG_TEXT_MAX - 3 && ((uint8_t)text[len] & 0xC0) == 0x80)
		len--;
	return len;
}
