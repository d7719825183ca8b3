/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/base64.h"

static int value(char c)
{
	return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52 : c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One group of four, of which the last `padding` are '='. */
static bool decode_group(const char *text, unsigned padding, uint8_t out[static 3])
{
	uint32_t bits = 0;
	for (unsigned i = 0; i < 4; i++) {
		int v = i < 4 - padding ? value(text[i]) : 0;
		if (v < 0)
			return false;
		bits = bits << 6 | (uint32_t)v;
	}
	if (bits & ((1u << 8 * padding) - 1))
		return false;
	out[0] = (uint8_t)(bits >> 16);
	out[1] = (uint8_t)(bits >> 8);
	out[2] = (uint8_t)bits;
	return true;
}

bool base64_decode(const char *text, size_t len, uint8_t *out, size_t *out_len)
{
	*out_len = 0;
	if (len % 4 != 0)
		return false;
	unsigned padding = len == 0 ? 0 : text[len - 1] != '=' ? 0 : text[len - 2] != '=' ? 1 : 2;
	for (size_t i = 0; i < len; i += 4) {
		uint8_t group[3];
		unsigned here = i + 4 == len ? padding : 0;
		if (!decode_group(text + i, here, group))
			return false;
		for (unsigned j = 0; j < 3 - here; j++)
			out[(*out_len)++] = group[j];
	}
	return true;
}
