/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/proof.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* A sender whose certificate stands in the transcript. */
struct signer {
	struct signer *next;
	uint8_t fingerprint[HASH_LEN];
	struct cert cert;               /* views into der */
	struct pubkey *key;             /* NULL: a kind of key that signs no messages */
	uint8_t der[];
};

struct checker {
	struct proof *out;
	struct trust *trust;
	struct signer *signers;
	uint64_t first, last;           /* the messages that count */
	char text[TRANSCRIPT_FAULT_MAX];
};

static const char *PRINTF_LIKE(2, 3) say(struct checker *c, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(c->text, sizeof c->text, fmt, args);
	va_end(args);
	return c->text;
}

static const char *add_signer(struct checker *c, const struct transcript_line *l)
{
	struct signer *s = malloc(sizeof *s + l->bytes_len);
	if (!s)
		return transcript_no_memory;
	memcpy(s->der, l->bytes, l->bytes_len);
	if (cert_parse(&s->cert, s->der, l->bytes_len) != ERR_OK) {
		free(s);
		return "is not a certificate";
	}
	enum err e = pubkey_new(&s->key, &s->cert);
	if (e == ERR_NOMEM) {
		free(s);
		return transcript_no_memory;
	}
	if (e != ERR_OK)
		s->key = NULL;
	cert_fingerprint(&s->cert, s->fingerprint);
	s->next = c->signers;
	c->signers = s;
	return NULL;
}

static struct signer *find_signer(struct checker *c, const uint8_t fingerprint[static HASH_LEN])
{
	for (struct signer *s = c->signers; s; s = s->next)
		if (memcmp(s->fingerprint, fingerprint, HASH_LEN) == 0)
			return s;
	return NULL;
}

/* The time by which the sender's certificate is judged: its own word, or, when it has no clock, when the message came. */
static int64_t time_of(const struct transcript_line *l)
{
	uint64_t ms = l->cose.head.time_ms > 0 ? l->cose.head.time_ms : l->received_ms;
	return (int64_t)(ms / 1000);
}

static const char *check_message(struct checker *c, const struct transcript_line *l)
{
	struct signer *s = find_signer(c, l->sender);
	const char *why;
	if (!s)
		return "the certificate of its sender does not stand before it: a line was dropped";
	bool counts = l->n >= c->first && l->n <= c->last;
	if (!l->cose.is_signed) {
		c->out->is_unsigned += counts;
		return NULL;
	}
	if (!s->key)
		return "its sender's certificate has a kind of key that signs no messages";
	enum err e = cose_verify(&l->cose, l->topic, strlen(l->topic), &s->cert, s->key, &why);
	if (e == ERR_NOMEM)
		return transcript_no_memory;
	if (e != ERR_OK)
		return say(c, "was changed: its signature does not verify (%s)", why);
	enum tls_cause cause = trust_check_at(c->trust, &s->cert, time_of(l));
	if (cause == TLS_CAUSE_NOMEM)
		return transcript_no_memory;
	if (cause != TLS_CAUSE_NONE && cause != TLS_CAUSE_REVOKED)
		return say(c, "its sender is not to be trusted: %s", tls_cause_text(cause));
	c->out->is_signed += counts;
	c->out->revoked += counts && cause == TLS_CAUSE_REVOKED;
	return NULL;
}

static const char *visit(void *arg, const struct transcript_line *l)
{
	struct checker *c = arg;
	switch (l->kind) {
	case TRANSCRIPT_HEAD:
		return NULL;
	case TRANSCRIPT_CERTIFICATE:
		return add_signer(c, l);
	case TRANSCRIPT_MESSAGE:
		return check_message(c, l);
	}
	return NULL;
}

static enum err scan(struct checker *c, FILE *f, const char *name, const struct transcript_known *known)
{
	struct proof *p = c->out;
	enum err e = transcript_scan(&p->scan, f, known, visit, c);
	while (c->signers) {
		struct signer *next = c->signers->next;
		pubkey_free(c->signers->key);
		free(c->signers);
		c->signers = next;
	}
	if (e == ERR_CORRUPT)
		snprintf(p->error, sizeof p->error, "%s:%llu: %s", name, (unsigned long long)p->scan.fault_line, p->scan.fault);
	else if (e != ERR_OK)
		snprintf(p->error, sizeof p->error, "%s: %s", name, e == ERR_IO ? strerror(errno) : err_text(e));
	else if (p->scan.lines == 0) {
		snprintf(p->error, sizeof p->error, "%s:1: is no transcript: it has no whole line", name);
		e = ERR_CORRUPT;
	}
	return e;
}

/* The receipt's own certificate: its name, and whether it was to be trusted when the receipt was made. */
static enum err check_holder(struct proof *p, const char *name, const uint8_t *der, size_t len, struct trust *trust)
{
	struct cert c;
	struct der cn = { NULL, NULL };
	const char *why;
	if (cert_parse(&c, der, len) != ERR_OK || cert_common_name(&c, &cn, &why) != ERR_OK) {
		snprintf(p->error, sizeof p->error, "%s: its signer's certificate names nobody", name);
		return ERR_REFUSED;
	}
	cert_escape(p->holder, sizeof p->holder, cn);
	enum tls_cause cause = trust_check_at(trust, &c, (int64_t)(p->receipt.made_ms / 1000));
	if (cause == TLS_CAUSE_NONE)
		return ERR_OK;
	snprintf(p->error, sizeof p->error, "%s: its signer '%.64s' is not to be trusted: %s", name, p->holder, tls_cause_text(cause));
	return cause == TLS_CAUSE_NOMEM ? ERR_NOMEM : ERR_REFUSED;
}

static enum err compare(struct proof *p, const char *name)
{
	const struct receipt *r = &p->receipt;
	uint64_t line = 0;
	const char *what = NULL;
	if (memcmp(p->scan.holder, r->holder, HASH_LEN) != 0)
		line = 1, what = "the transcript is kept by another certificate than the receipt's";
	else if (p->scan.lines < r->known.lines)
		line = p->scan.lines + 1, what = "is missing: the end was dropped";
	p->beyond = p->scan.lines > r->known.lines ? p->scan.lines - r->known.lines : 0;
	if (!what && p->scan.messages < r->last)
		line = p->scan.lines, what = "there are fewer messages than the receipt says";
	if (!what)
		return ERR_OK;
	snprintf(p->error, sizeof p->error, "%s:%llu: %s", name, (unsigned long long)line, what);
	return ERR_CORRUPT;
}

enum err proof_check(struct proof *out, const char *receipt, size_t receipt_len, const char *receipt_name, FILE *f, const char *transcript_name,
                     struct trust *trust)
{
	struct checker c = { .out = out, .trust = trust };
	uint8_t *der;
	size_t len;
	const char *why;
	*out = (struct proof){ .is_signed = 0 };
	enum err e = receipt_read(&out->receipt, &der, &len, receipt, receipt_len, &why);
	if (e != ERR_OK) {
		snprintf(out->error, sizeof out->error, "%s: %s", receipt_name, why);
		return e == ERR_NOMEM ? e : ERR_REFUSED;
	}
	e = check_holder(out, receipt_name, der, len, trust);
	free(der);
	c.first = out->receipt.first;
	c.last = out->receipt.last;
	if (e == ERR_OK)
		e = scan(&c, f, transcript_name, &out->receipt.known);
	return e == ERR_OK ? compare(out, transcript_name) : e;
}

enum err proof_transcript(struct proof *out, FILE *f, const char *transcript_name, struct trust *trust)
{
	struct checker c = { .out = out, .trust = trust, .first = 1, .last = UINT64_MAX };
	*out = (struct proof){ .is_signed = 0 };
	return scan(&c, f, transcript_name, NULL);
}

void proof_free(struct proof *p)
{
	transcript_scan_free(&p->scan);
}
