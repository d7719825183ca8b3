/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A line's first two members and its last one (or two) have fixed forms, so that a reader finds them without a JSON parser: strings escape
 * '"' and '\', so no value can pretend to be the line's end. */
#include "crypto/audit_chain.h"

#include "base/textbytes.h"
#include "crypto/cert.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char label[] = "sealmq audit v1"; /* with its NUL: keeps these signatures apart from all others of the same key */

#define TIME_LEN 24u /* 2026-11-20T11:12:13.123Z */
#define PREV_TAIL (sizeof "\",\"prev\":\"" - 1)

void audit_chain_start(struct audit_chain *c)
{
	*c = (struct audit_chain){ .seq = 1 };
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

void audit_chain_hash(const char *line, size_t len, uint8_t out[static HASH_LEN])
{
	hash_sha256(line, len, out);
}

/* ---- writing */

static char *put(char *out, const char *text, size_t len)
{
	memcpy(out, text, len);
	return out + len;
}

#define PUT(out, literal) put(out, "" literal "", sizeof(literal) - 1)

static char *put_head(char *out, uint64_t seq, uint64_t time_ms)
{
	time_t s = (time_t)(time_ms / 1000);
	struct tm tm;
	if (!gmtime_r(&s, &tm))
		memset(&tm, 0, sizeof tm);
	out += sprintf(out, "{\"seq\":%llu,\"ts\":\"", (unsigned long long)seq);
	out += strftime(out, TIME_LEN + 1, "%Y-%m-%dT%H:%M:%S", &tm);
	return out + sprintf(out, ".%03uZ\",", (unsigned)(time_ms % 1000));
}

static char *put_line(char *out, const struct audit_chain *c, uint64_t time_ms, const char *body, size_t body_len)
{
	out = put(put_head(out, c->seq, time_ms), body, body_len);
	out = hex_put(PUT(out, ",\"prev\":\""), c->prev, HASH_LEN);
	return PUT(out, "\"");
}

/* The line begins at `line` and stands before end; closes it. */
static size_t finish(struct audit_chain *c, char *line, char *end)
{
	*end++ = '}';
	audit_chain_hash(line, (size_t)(end - line), c->prev);
	c->seq++;
	*end++ = '\n';
	return (size_t)(end - line);
}

size_t audit_chain_line(struct audit_chain *c, char out[static AUDIT_LINE_MAX], uint64_t time_ms, const char *body, size_t body_len)
{
	return finish(c, out, put_line(out, c, time_ms, body, body_len));
}

static void signed_hash(const char *line, size_t len, uint8_t out[static HASH_LEN])
{
	const struct hash_part parts[] = { HASH_LABEL(label), { line, len } };
	hash_sha256_parts(parts, 2, out);
}

enum err audit_chain_signed(struct audit_chain *c, char out[static AUDIT_LINE_MAX], uint64_t time_ms, const char *body, size_t body_len,
                            struct keypair *k, size_t *len)
{
	char more[AUDIT_BODY_MAX], *p = put(more, body, body_len);
	uint8_t hash[HASH_LEN], sig[KEYS_SIGNATURE_MAX];
	size_t sig_len;
	cert_fingerprint(keypair_cert(k), hash);
	p = hex_put(PUT(p, ",\"cert\":\""), hash, HASH_LEN);
	p = PUT(p, "\",\"alg\":\"");
	p = put(p, pubkey_kind(keypair_public(k)) == KEY_RSA ? "PS256" : "ES256", 5);
	p = PUT(p, "\"");
	char *end = put_line(out, c, time_ms, more, (size_t)(p - more));
	signed_hash(out, (size_t)(end - out), hash);
	enum err e = keypair_sign(k, SIG_COSE, hash, sig, &sig_len);
	if (e != ERR_OK)
		return e;
	end = hex_put(PUT(end, ",\"sig\":\""), sig, sig_len);
	*len = finish(c, out, PUT(end, "\""));
	return ERR_OK;
}

/* ---- reading */

struct text { const char *p, *end; };

static bool skip(struct text *t, const char *literal)
{
	size_t n = strlen(literal);
	if ((size_t)(t->end - t->p) < n || memcmp(t->p, literal, n) != 0)
		return false;
	t->p += n;
	return true;
}

/* A decimal number in its one form, as long as 64 bits allow. */
static bool take_number(struct text *t, uint64_t *out)
{
	const char *start = t->p;
	uint64_t n = 0;
	for (; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++) {
		uint64_t digit = (uint64_t)(*t->p - '0');
		if (n > (UINT64_MAX - digit) / 10)
			return false;
		n = n * 10 + digit;
	}
	*out = n;
	return t->p > start && (*start != '0' || t->p - start == 1);
}

static bool take_digits(struct text *t, unsigned digits, unsigned most, unsigned *out)
{
	*out = 0;
	for (unsigned i = 0; i < digits; i++, t->p++) {
		if (t->p == t->end || *t->p < '0' || *t->p > '9')
			return false;
		*out = *out * 10 + (unsigned)(*t->p - '0');
	}
	return *out <= most;
}

static bool take_time(struct text *t, uint64_t *ms)
{
	unsigned year, month, day, hour, minute, second, part;
	if (!take_digits(t, 4, 9999, &year) || !skip(t, "-") || !take_digits(t, 2, 12, &month) || !skip(t, "-") || !take_digits(t, 2, 31, &day) ||
	    !skip(t, "T") || !take_digits(t, 2, 23, &hour) || !skip(t, ":") || !take_digits(t, 2, 59, &minute) || !skip(t, ":") ||
	    !take_digits(t, 2, 60, &second) || !skip(t, ".") || !take_digits(t, 3, 999, &part) || !skip(t, "Z") || year < 1970)
		return false;
	struct tm tm = { .tm_year = (int)year - 1900, .tm_mon = (int)month - 1, .tm_mday = (int)day, .tm_hour = (int)hour, .tm_min = (int)minute,
		.tm_sec = (int)second };
	*ms = (uint64_t)timegm(&tm) * 1000 + part;
	return true;
}

/* The last member, "name":"hex", whose hex digits end before `end`: they, and what stands before its comma. */
static bool take_last_hex(const char *line, const char **end, const char *name, const char **hex, size_t *hex_len)
{
	const char *p = *end;
	size_t name_len = strlen(name);
	while (p > line && is_hex(p[-1]))
		p--;
	if ((size_t)(p - line) < name_len + 5 || memcmp(p - name_len - 5, ",\"", 2) != 0 || memcmp(p - name_len - 3, name, name_len) != 0 ||
	    memcmp(p - 3, "\":\"", 3) != 0)
		return false;
	*hex = p;
	*hex_len = (size_t)(*end - p);
	*end = p - name_len - 5;
	return true;
}

/* From the line's end: the hash of the line before, and perhaps a signature behind it. */
static bool read_tail(struct audit_line *l)
{
	const char *end = l->line + l->len, *prev;
	size_t prev_len;
	if (l->len < 2 || memcmp(end - 2, "\"}", 2) != 0)
		return false;
	end -= 2;
	if (take_last_hex(l->line, &end, "sig", &l->sig, &l->sig_len)) {
		l->signed_len = (size_t)(end - l->line);
		if (end == l->line || end[-1] != '"')
			return false;
		end--;
	}
	return take_last_hex(l->line, &end, "prev", &prev, &prev_len) && hex_get(prev, prev_len, l->prev, HASH_LEN);
}

enum err audit_line_parse(struct audit_line *out, const char *line, size_t len)
{
	struct text t = { line, line + len };
	*out = (struct audit_line){ .line = line, .len = len };
	if (len >= AUDIT_LINE_MAX || memchr(line, '\n', len) || !skip(&t, "{\"seq\":") || !take_number(&t, &out->seq) ||
	    !skip(&t, ",\"ts\":\"") || !take_time(&t, &out->time_ms) || !skip(&t, "\",\"kind\":\""))
		return ERR_INVALID;
	const char *quote = memchr(t.p, '"', (size_t)(t.end - t.p));
	if (!quote)
		return ERR_INVALID;
	out->kind = t.p;
	out->kind_len = (size_t)(quote - t.p);
	return read_tail(out) ? ERR_OK : ERR_INVALID;
}

const char *audit_line_member(const struct audit_line *l, const char *name, size_t *len)
{
	size_t n = strlen(name);
	bool inside = false; /* a string */
	for (const char *p = l->line, *end = l->line + l->len; p < end; p++) {
		if (!inside && (size_t)(end - p) > n + 4 && (*p == ',' || *p == '{') && p[1] == '"' && memcmp(p + 2, name, n) == 0 &&
		    memcmp(p + 2 + n, "\":", 2) == 0) {
			const char *value = p + n + 4, *to;
			bool text = *value == '"';
			value += text;
			for (to = value; to < end && (text ? *to != '"' : *to != ',' && *to != '}'); to++)
				;
			*len = (size_t)(to - value);
			return value;
		}
		if (inside && *p == '\\')
			p++;
		else if (*p == '"')
			inside = !inside;
	}
	return NULL;
}

bool audit_line_verify(const struct audit_line *l, struct pubkey *k)
{
	uint8_t sig[KEYS_SIGNATURE_MAX], hash[HASH_LEN];
	size_t alg_len = 0;
	const char *alg = audit_line_member(l, "alg", &alg_len), *expected = pubkey_kind(k) == KEY_RSA ? "PS256" : "ES256";
	if (!l->sig || l->sig_len > 2 * sizeof sig || l->sig_len % 2 != 0 || !alg || alg_len != 5 || memcmp(alg, expected, 5) != 0 || !hex_get(l->sig, l->sig_len, sig, l->sig_len / 2))
		return false;
	signed_hash(l->line, l->signed_len, hash);
	return pubkey_verify(k, SIG_COSE, hash, sig, l->sig_len / 2);
}

enum err audit_chain_resume(struct audit_chain *c, const char *line, size_t len)
{
	struct audit_line l;
	if (audit_line_parse(&l, line, len) != ERR_OK || l.seq == UINT64_MAX)
		return ERR_INVALID;
	c->seq = l.seq + 1;
	audit_chain_hash(line, len, c->prev);
	return ERR_OK;
}
