/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/textbytes.h"

#include <stdint.h>
#include <string.h>

static const char hex[] = "0123456789abcdef";
static const char *const digits[] = {
	[BASE64_STANDARD] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
	[BASE64_URL] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
};

static int value_of(const char *alphabet, char c)
{
	const char *at = c == '\0' ? NULL : strchr(alphabet, c);
	return at ? (int)(at - alphabet) : -1;
}

char *hex_put(char *p, const void *in, size_t len)
{
	for (const uint8_t *b = in, *end = b + len; b != end; b++) {
		*p++ = hex[*b >> 4];
		*p++ = hex[*b & 15];
	}
	return p;
}

bool hex_get(const char *text, size_t text_len, void *out, size_t len)
{
	uint8_t *to = out;
	if (text_len % 2 != 0 || text_len / 2 != len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = value_of(hex, text[2 * i]), low = value_of(hex, text[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

size_t base64_len(enum base64 kind, size_t len)
{
	return kind == BASE64_STANDARD ? (len + 2) / 3 * 4 : len / 3 * 4 + (len % 3 > 0 ? len % 3 + 1 : 0);
}

char *base64_put(enum base64 kind, char *p, const void *in, size_t len)
{
	const char *alphabet = digits[kind], *start = p;
	unsigned bits = 0, n = 0;
	for (const uint8_t *b = in, *end = b + len; b != end; b++) {
		bits = (bits << 8 | *b) & 0xffff;
		for (n += 8; n >= 6; n -= 6)
			*p++ = alphabet[bits >> (n - 6) & 63];
	}
	if (n > 0)
		*p++ = alphabet[bits << (6 - n) & 63];
	while (kind == BASE64_STANDARD && (p - start) % 4 != 0)
		*p++ = '=';
	return p;
}

/* How many of the characters are padding; more than there can be when there is too much or too little. */
static size_t padding(enum base64 kind, const char *text, size_t len)
{
	size_t n = 0;
	if (kind == BASE64_URL)
		return 0;
	while (n < 3 && n < len && text[len - 1 - n] == '=')
		n++;
	return len % 4 == 0 && n < 3 ? n : SIZE_MAX;
}

bool base64_get(enum base64 kind, const char *text, size_t text_len, void *out, size_t cap, size_t *len)
{
	uint8_t *to = out;
	size_t at = 0, pad = padding(kind, text, text_len);
	unsigned bits = 0, n = 0;
	if (pad == SIZE_MAX)
		return false;
	for (const char *end = text + text_len - pad; text != end; text++) {
		int v = value_of(digits[kind], *text);
		if (v < 0)
			return false;
		bits = (bits << 6 | (unsigned)v) & 0xffff;
		n += 6;
		if (n < 8)
			continue;
		if (at == cap)
			return false;
		n -= 8;
		to[at++] = (uint8_t)(bits >> n);
	}
	*len = at;
	return n < 6 && (bits & ((1u << n) - 1)) == 0; /* else a lone character, or bits that nothing wrote */
}
