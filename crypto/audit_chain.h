/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The audit log's lines as a chain (docs/formats.md, "Audit log"): each names the SHA-256 of the one before; checkpoints are signed. What the
 * broker writes by and `sealmq audit verify` reads by. Pure; one thread at a time. */
#ifndef CRYPTO_AUDIT_CHAIN_H
#define CRYPTO_AUDIT_CHAIN_H

#include "base/err.h"
#include "crypto/hash.h"
#include "crypto/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUDIT_FORMAT "sealmq audit 1"
#define AUDIT_BODY_MAX 16384u                  /* bytes of what a line says beyond its place in the chain */
#define AUDIT_LINE_MAX (AUDIT_BODY_MAX + 2048u) /* bytes of a line, its newline included */

/* Where the next line goes. */
struct audit_chain {
	uint64_t seq;            /* its number; the first of all has 1 */
	uint8_t prev[HASH_LEN];  /* hash of the line before; zeros before the first */
};

void audit_chain_start(struct audit_chain *c);

/* Writes {"seq":…,"ts":"…",BODY,"prev":"…"}\n and moves the chain on; returns its bytes. body: members of a JSON object, the first of them
 * "kind"; body_len <= AUDIT_BODY_MAX; no newline in it. */
size_t audit_chain_line(struct audit_chain *c, char out[static AUDIT_LINE_MAX], uint64_t time_ms, const char *body, size_t body_len);
/* The same, with "cert" and "alg" behind body and a signature at the end: by k, of all that stands before it in the line. ERR_INVALID: k cannot sign. */
enum err audit_chain_signed(struct audit_chain *c, char out[static AUDIT_LINE_MAX], uint64_t time_ms, const char *body, size_t body_len,
                            struct keypair *k, size_t *len) MUST_CHECK;

/* Hash of a line: of its bytes without the newline. */
void audit_chain_hash(const char *line, size_t len, uint8_t out[static HASH_LEN]);

/* What a line says about its place; texts are views into it. */
struct audit_line {
	uint64_t seq;
	uint64_t time_ms;
	const char *kind;
	size_t kind_len;
	uint8_t prev[HASH_LEN];
	const char *sig;         /* lower-case hex; NULL: not signed */
	size_t sig_len;
	size_t signed_len;       /* bytes from the line's start that sig signs */
	const char *line;
	size_t len;
};

/* Reads a line without its newline. ERR_INVALID: not of this form. */
enum err audit_line_parse(struct audit_line *out, const char *line, size_t len) MUST_CHECK;
/* The value of a member of l that is a text without escapes, or a number, as it stands between the quotes or before the comma; NULL: there is none. */
const char *audit_line_member(const struct audit_line *l, const char *name, size_t *len);
/* Whether l is signed by k, as k's kind signs. */
bool audit_line_verify(const struct audit_line *l, struct pubkey *k);

/* A line's end as a continuing writer needs it: c is set to go on behind it. ERR_INVALID: not a line. */
enum err audit_chain_resume(struct audit_chain *c, const char *line, size_t len) MUST_CHECK;

#endif
