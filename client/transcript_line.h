/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The lines of a transcript (docs/formats.md 10): each is one JSON object in one form only, so that its bytes can be hashed and a line that was
 * touched shows. Pure; any thread. */
#ifndef CLIENT_TRANSCRIPT_LINE_H
#define CLIENT_TRANSCRIPT_LINE_H

#include "base/err.h"
#include "crypto/cose.h"
#include "crypto/hash.h"

enum transcript_kind { TRANSCRIPT_HEAD, TRANSCRIPT_CERTIFICATE, TRANSCRIPT_MESSAGE };

/* What a line says. Texts and bytes borrow: the caller's when written, from `owned` when read. */
struct transcript_line {
	enum transcript_kind kind;
	uint8_t prev[HASH_LEN];       /* of the line before; all but the head */
	/* head */
	uint8_t holder[HASH_LEN];     /* SHA-256 of the certificate of who keeps the transcript */
	uint64_t started_ms;
	/* certificate: DER; message: the sealed message */
	const uint8_t *bytes;
	size_t bytes_len;
	/* message */
	uint64_t n;                   /* from 1 */
	uint64_t received_ms;
	const char *topic, *verdict;
	uint8_t sender[HASH_LEN];     /* SHA-256 of the sender's certificate */
	struct cose cose;             /* of bytes; only read lines have it */
	void *owned;
};

/* The line's text without its line feed, NUL-terminated, for free(); *len bytes. ERR_INVALID: bytes are no sealed message, or not by sender. */
enum err transcript_line_format(const struct transcript_line *l, char **text, size_t *len) MUST_CHECK;
/* Reads a line (without line feed). *out for transcript_line_free also when it fails. ERR_INVALID, *why tells: it is not what transcript_line_format
 * writes; ERR_NOMEM. */
enum err transcript_line_parse(struct transcript_line *out, const char *text, size_t len, const char **why) MUST_CHECK;
void transcript_line_free(struct transcript_line *l);

#endif
