/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/clientid.h"

#include <string.h>

/* A piece of a pattern between two '*'. */
struct piece {
	const char *p;
	size_t len;
};

static bool is_user(const char *p, const char *end)
{
	return *p == '%' && p + 1 < end && p[1] == 'u';
}

/* Bytes of the piece with the CN in it. */
static size_t piece_size(struct piece piece, const struct identity *id)
{
	size_t n = 0;
	const char *end = piece.p + piece.len;
	for (const char *p = piece.p; p < end; p++) {
		bool user = is_user(p, end);
		n += user ? id->cn_len : 1;
		p += user;
	}
	return n;
}

/* at holds piece_size bytes. */
static bool piece_is(struct piece piece, const struct identity *id, const char *at)
{
	const char *end = piece.p + piece.len;
	for (const char *p = piece.p; p < end; p++) {
		bool user = is_user(p, end);
		size_t n = user ? id->cn_len : 1;
		if (memcmp(at, user ? id->cn : p, n) != 0)
			return false;
		at += n;
		p += user;
	}
	return true;
}

/* The first piece stands at the start, the last at the end, and each one between at the first place that it has behind the one before. */
static bool fits(const char *pattern, const struct identity *id, const char *text, size_t len)
{
	const char *star = strchr(pattern, '*');
	struct piece piece = {pattern, star ? (size_t)(star - pattern) : strlen(pattern)};
	size_t size = piece_size(piece, id);
	if (size > len || !piece_is(piece, id, text))
		return false;
	const char *at = text + size, *end = text + len;
	if (!star)
		return at == end;
	for (const char *next; (next = strchr(star + 1, '*')); star = next) {
		piece = (struct piece){star + 1, (size_t)(next - star - 1)};
		size = piece_size(piece, id);
		while ((size_t)(end - at) >= size && !piece_is(piece, id, at))
			at++;
		if ((size_t)(end - at) < size)
			return false;
		at += size;
	}
	piece = (struct piece){star + 1, strlen(star + 1)};
	size = piece_size(piece, id);
	return (size_t)(end - at) >= size && piece_is(piece, id, end - size);
}

bool clientid_fits(const struct conf *conf, const struct identity *identity, const void *client_id, size_t len)
{
	for (size_t i = 0; i < conf->n_clientid_patterns; i++)
		if (fits(conf->clientid_patterns[i], identity, client_id, len))
			return true;
	return conf->n_clientid_patterns == 0;
}
