/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Neutralising what others have written. */
#include "client/cli_safe.h"

#include "base/textfile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORST_CASE 8u /* characters for one byte: an ill-formed one is \x{ff}; a character of more bytes takes fewer for each */

/* Ranges of what is shown by its number: controls, marks of direction, what is invisible, noncharacters of old tricks. */
static const struct { uint32_t first, last; } hidden[] = {
	{ 0x00, 0x1f },     { 0x7f, 0x9f },     { 0xad, 0xad },     { 0x61c, 0x61c },   { 0x180e, 0x180e }, { 0x200b, 0x200b }, { 0x200e, 0x200f },
	{ 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe007f },
};

static bool is_hidden(uint32_t c)
{
	for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++)
		if (c >= hidden[i].first && c <= hidden[i].last)
			return true;
	return false;
}

/* The length of the well-formed character at p, and which it is; 0: there is none. */
static size_t character(const uint8_t *p, size_t left, uint32_t *c)
{
	size_t n = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : *p >= 0xc0 ? 2 : 0;
	if (n == 0 || n > left || !text_utf8_valid(p, n))
		return 0;
	*c = n == 1 ? *p : *p & (0x7fu >> n);
	for (size_t i = 1; i < n; i++)
		*c = *c << 6 | (p[i] & 0x3fu);
	return n;
}

static size_t put_hidden(char *out, uint32_t c)
{
	const char *name = c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : NULL;
	return (size_t)(name ? sprintf(out, "%s", name) : sprintf(out, "\\u{%" PRIx32 "}", c));
}

char *safe_text(const void *text, size_t len, bool parsable)
{
	const uint8_t *p = text;
	char *out = len > (SIZE_MAX - 1) / WORST_CASE ? NULL : malloc(len * WORST_CASE + 1);
	size_t n = 0;
	for (size_t at = 0, step; out && at < len; at += step) {
		uint32_t c = 0;
		step = character(p + at, len - at, &c);
		if (step == 0) {
			n += (size_t)sprintf(out + n, "\\x{%02x}", p[at]);
			step = 1;
		} else if (is_hidden(c)) {
			n += put_hidden(out + n, c);
		} else {
			if (parsable && c == '\\')
				out[n++] = '\\';
			memcpy(out + n, p + at, step);
			n += step;
		}
	}
	if (out)
		out[n] = '\0';
	return out;
}

const char *safe_time_utc(char out[static SAFE_TIME_MAX], uint64_t ms)
{
	struct tm tm;
	const time_t s = (time_t)(ms / 1000);
	size_t n = gmtime_r(&s, &tm) ? strftime(out, SAFE_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
	snprintf(out + n, SAFE_TIME_MAX - n, ".%03uZ", (unsigned)(ms % 1000));
	return out;
}

const char *safe_time_local(char out[static SAFE_TIME_MAX], uint64_t ms, bool with_date)
{
	struct tm tm;
	const time_t s = (time_t)(ms / 1000);
	size_t n = localtime_r(&s, &tm) ? strftime(out, SAFE_TIME_MAX, with_date ? "%Y-%m-%d %H:%M:%S" : "%H:%M:%S", &tm) : 0;
	out[n] = '\0';
	return out;
}
