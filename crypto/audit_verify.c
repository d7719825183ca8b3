/* SPDX-License-Identifier: GPL-3.0-or-later */
/* After a finding the chain is taken up again from the line that was read, so that one change gives one or two findings, not one for each line
 * behind it. */
#include "crypto/audit_verify.h"

#include "base/pool.h"
#include "base/textbytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SIGNERS_MAX 8u      /* certificates of one run of files */
#define CERT_DER_MAX 8192u

struct signer {
	struct cert cert;     /* views into der */
	struct pubkey *key;
	uint8_t fingerprint[HASH_LEN];
	uint8_t der[CERT_DER_MAX];
};

struct audit_verify {
	struct audit_verify_options o;
	struct audit_totals totals;
	struct audit_chain chain;      /* what the next line must say */
	bool started;                  /* chain is set */
	const char *file;
	uint64_t line;                 /* of file */
	struct { bool is; uint64_t line, len; uint8_t hash[HASH_LEN]; } torn; /* an unreadable line that the next one may explain */
	bool closed;                   /* the last line was a checkpoint that ends a file or the broker */
	bool at_start;                 /* the next line is the file's first */
	struct signer *signers[SIGNERS_MAX];
	size_t n_signers;
};

struct audit_verify *audit_verify_new(const struct audit_verify_options *o)
{
	struct audit_verify *v = pool_alloc(sizeof *v);
	if (v)
		*v = (struct audit_verify){ .o = *o };
	return v;
}

void audit_verify_free(struct audit_verify *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_signers; i++) {
		pubkey_free(v->signers[i]->key);
		pool_free(v->signers[i]);
	}
	pool_free(v);
}

PRINTF_LIKE(4, 5) static void report(struct audit_verify *v, enum audit_finding f, uint64_t line, const char *fmt, ...)
{
	char text[512];
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	v->totals.problems += f == AUDIT_PROBLEM;
	v->o.report(v->o.arg, f, v->file, line, text);
}

static bool is(const struct audit_line *l, const char *name, const char *value)
{
	size_t len = 0;
	const char *p = audit_line_member(l, name, &len);
	return p && len == strlen(value) && memcmp(p, value, len) == 0;
}

/* ---- signatures */

static bool same_der(struct der a, struct der b)
{
	return der_equal(a, b.p, der_len(b));
}

/* Why s may not sign the log; NULL: it may. An expired certificate could when it signed: the lines' times are compared with its dates. */
static const char *distrust(struct audit_verify *v, const struct signer *s)
{
	if (v->o.issuer && !same_der(v->o.issuer->spki, s->cert.spki))
		return "it is not the key of --issuer";
	if (!v->o.issuer && !s->cert.names_servers)
		return "it is not a server's (extended key usage), and no --issuer names it";
	enum tls_cause cause = trust_check(v->o.trust, &s->cert);
	return cause == TLS_CAUSE_NONE || cause == TLS_CAUSE_EXPIRED ? NULL : tls_cause_text(cause);
}

/* A line that brings the certificate that signs from here on. */
static void learn_signer(struct audit_verify *v, const struct audit_line *l)
{
	size_t len = 0;
	const char *text = audit_line_member(l, "certificate", &len);
	struct signer *s = text && v->n_signers < SIGNERS_MAX ? pool_alloc(sizeof *s) : NULL;
	if (!s) {
		report(v, AUDIT_PROBLEM, v->line, text ? "too many certificates" : "it brings no certificate");
		return;
	}
	size_t der_size = 0;
	if (!base64_get(BASE64_STANDARD, text, len, s->der, sizeof s->der, &der_size) || cert_parse(&s->cert, s->der, der_size) != ERR_OK || pubkey_new(&s->key, &s->cert) != ERR_OK) {
		report(v, AUDIT_PROBLEM, v->line, "its certificate cannot be read");
		pool_free(s);
		return;
	}
	cert_fingerprint(&s->cert, s->fingerprint);
	for (size_t i = 0; i < v->n_signers; i++)
		if (memcmp(v->signers[i]->fingerprint, s->fingerprint, HASH_LEN) == 0) {
			pubkey_free(s->key);
			pool_free(s);
			return;
		}
	const char *why = distrust(v, s);
	v->signers[v->n_signers++] = s;
	if (why)
		report(v, AUDIT_PROBLEM, v->line, "the certificate that signs from here on is not to be trusted: %s", why);
}

static void check_checkpoint(struct audit_verify *v, const struct audit_line *l)
{
	size_t len = 0;
	const char *hex = audit_line_member(l, "cert", &len);
	uint8_t fingerprint[HASH_LEN];
	const struct signer *s = NULL;
	int64_t at_s = (int64_t)(l->time_ms / 1000);
	v->totals.checkpoints++;
	v->totals.unsigned_lines = 0;
	if (hex && hex_get(hex, len, fingerprint, HASH_LEN))
		for (size_t i = 0; i < v->n_signers && !s; i++)
			if (memcmp(v->signers[i]->fingerprint, fingerprint, HASH_LEN) == 0)
				s = v->signers[i];
	if (!s)
		report(v, AUDIT_PROBLEM, v->line, "checkpoint of a certificate that no line before brings");
	else if (!audit_line_verify(l, s->key))
		report(v, AUDIT_PROBLEM, v->line, "edited: the signature of this checkpoint is not good");
	else if (at_s < s->cert.not_before_s || at_s > s->cert.not_after_s)
		report(v, AUDIT_PROBLEM, v->line, "signed when the certificate was not valid");
}

/* ---- the chain */

/* l is not where it should be: what does that say? */
static void explain_gap(struct audit_verify *v, const struct audit_line *l, bool linked)
{
	unsigned long long expected = v->chain.seq, got = l->seq;
	if (got > expected)
		report(v, AUDIT_PROBLEM, v->line, "%llu line%s before it missing (numbers %llu to %llu)", got - expected,
		       got - expected == 1 ? " is" : "s are", expected, got - 1);
	else if (got < expected)
		report(v, AUDIT_PROBLEM, v->line, "reordered, repeated or inserted: it has number %llu, expected %llu", got, expected);
	else if (!linked && v->line > 1)
		report(v, AUDIT_PROBLEM, v->line - 1, "edited: its hash is not the one that the next line holds");
	else if (!linked)
		report(v, AUDIT_PROBLEM, v->line, "edited, or the last line of the file before was: the hash does not fit");
}

static void check_place(struct audit_verify *v, const struct audit_line *l)
{
	if (!v->started) { /* what came before is in files that were not given */
		v->totals.first_seq = l->seq;
		if (l->seq == 1 && memcmp(l->prev, (const uint8_t[HASH_LEN]){ 0 }, HASH_LEN) != 0)
			report(v, AUDIT_PROBLEM, v->line, "number 1 with a line before it");
		return;
	}
	bool linked = memcmp(l->prev, v->chain.prev, HASH_LEN) == 0;
	if (l->seq != v->chain.seq || !linked)
		explain_gap(v, l, linked);
}

/* The line before was unreadable: the broker says so when it was torn by a crash. */
static void check_torn(struct audit_verify *v, const struct audit_line *l)
{
	char hex[2 * HASH_LEN + 1], len[24];
	*hex_put(hex, v->torn.hash, HASH_LEN) = '\0';
	(void)snprintf(len, sizeof len, "%llu", (unsigned long long)v->torn.len);
	v->torn.is = false;
	if (l && is(l, "kind", "torn") && is(l, "bytes", len) && is(l, "sha256", hex))
		report(v, AUDIT_NOTE, v->torn.line, "torn by a crash while it was written; the broker says so in the next line");
	else
		report(v, AUDIT_PROBLEM, v->torn.line, "edited, or not the broker's: it has not the form of a line");
}

static void check_kind(struct audit_verify *v, const struct audit_line *l)
{
	bool file = is(l, "kind", "file"), first = v->at_start;
	v->at_start = false;
	if (first != file)
		report(v, AUDIT_PROBLEM, v->line, first ? "the file's first lines are missing: it does not begin with a line of kind file"
		                                        : "a file's first line inside of a file: lines were inserted");
	if (file && !is(l, "format", AUDIT_FORMAT))
		report(v, AUDIT_PROBLEM, v->line, "not of the format \"" AUDIT_FORMAT "\"");
	if (file || is(l, "kind", "key"))
		learn_signer(v, l);
	if (is(l, "kind", "dropped"))
		report(v, AUDIT_NOTE, v->line, "the broker could not write some lines here, and says how many");
	if (is(l, "kind", "started") && v->started && !v->closed && v->line > 2)
		report(v, AUDIT_NOTE, v->line, "the broker started here without having ended before: a crash, or lines before it are missing");
}

void audit_verify_file(struct audit_verify *v, const char *name)
{
	if (v->torn.is)
		check_torn(v, NULL);
	v->file = name;
	v->line = 0;
	v->at_start = true;
}

void audit_verify_line(struct audit_verify *v, const char *line, size_t len, bool whole)
{
	struct audit_line l;
	v->line++;
	v->totals.lines++;
	if (!whole || audit_line_parse(&l, line, len) != ERR_OK) {
		if (v->torn.is)
			check_torn(v, NULL);
		v->torn.is = true;
		v->torn.line = v->line;
		v->torn.len = len;
		audit_chain_hash(line, len, v->torn.hash);
		v->closed = false;
		return;
	}
	if (v->torn.is)
		check_torn(v, &l);
	check_place(v, &l);
	check_kind(v, &l);
	v->totals.unsigned_lines++;
	v->totals.last_seq = l.seq;
	bool checkpoint = is(&l, "kind", "checkpoint");
	if (checkpoint)
		check_checkpoint(v, &l);
	v->closed = checkpoint && (is(&l, "why", "end") || is(&l, "why", "rotation"));
	v->chain.seq = l.seq + 1;
	audit_chain_hash(line, len, v->chain.prev);
	v->started = true;
}

struct audit_totals audit_verify_end(struct audit_verify *v)
{
	if (v->torn.is)
		check_torn(v, NULL);
	if (v->totals.lines == 0)
		report(v, AUDIT_PROBLEM, 0, "there is no line: truncated");
	else if (!v->closed && !v->o.open)
		report(v, AUDIT_PROBLEM, v->line, "truncated: the file does not end with the signed line of an ended file (a broker that still writes it: --open)");
	if (v->totals.lines > 0 && v->totals.checkpoints == 0 && !v->o.open)
		report(v, AUDIT_PROBLEM, v->line, "no line is signed: who can write the file can have written all of it");
	return v->totals;
}
