/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/transcript_scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char transcript_no_memory[] = "out of memory";

struct reader {
	struct transcript_scan *out;
	FILE *f;
	char *text;          /* the line, without its line feed */
	size_t cap, len;
	const struct transcript_known *known; /* or NULL */
};

static enum err PRINTF_LIKE(3, 4) fault(struct transcript_scan *s, uint64_t line, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	vsnprintf(s->fault, sizeof s->fault, fmt, args);
	va_end(args);
	s->fault_line = line;
	return ERR_CORRUPT;
}

/* ERR_NOT_FOUND: the end of the file, perhaps with a torn line. */
static enum err read_line(struct reader *r)
{
	errno = 0;
	ssize_t n = getline(&r->text, &r->cap, r->f);
	if (n < 0)
		return ferror(r->f) ? ERR_IO : errno == ENOMEM ? ERR_NOMEM : ERR_NOT_FOUND;
	if (r->text[n - 1] != '\n') {
		r->out->torn_len = n;
		return ERR_NOT_FOUND;
	}
	r->len = (size_t)n - 1;
	return ERR_OK;
}

/* Room for one more element of size HASH_LEN. The capacity is the power of two at or above n. */
static enum err add_hash(uint8_t (**list)[HASH_LEN], size_t n, const uint8_t hash[static HASH_LEN])
{
	if ((n & (n - 1)) == 0) {
		void *more = realloc(*list, (n == 0 ? 1 : 2 * n) * HASH_LEN);
		if (!more)
			return ERR_NOMEM;
		*list = more;
	}
	memcpy((*list)[n], hash, HASH_LEN);
	return ERR_OK;
}

static uint64_t line_of_hash(const struct transcript_scan *s, const uint8_t hash[static HASH_LEN])
{
	for (uint64_t i = s->lines; i > 0; i--)
		if (memcmp(s->hash[i - 1], hash, HASH_LEN) == 0)
			return i;
	return 0;
}

/* What the rest of the file says about a line that does not continue the one before it. */
struct ahead {
	bool genuine;  /* it is continued by the next line, or is the receipt's last: it is as it was written */
	uint64_t n;    /* number of the message that continues it, or 0 */
	uint64_t prev; /* number of the line that it continues, when that comes later; or 0 */
};

static struct ahead look_ahead(struct reader *r, const struct transcript_line *l, uint64_t line, const uint8_t hash[static HASH_LEN])
{
	bool is_last = r->known && r->known->lines == line;
	struct ahead a = { .genuine = is_last && memcmp(hash, r->known->last, HASH_LEN) == 0 };
	uint64_t at = line;
	uint8_t other[HASH_LEN];
	struct transcript_line next;
	const char *why;
	while (a.prev == 0 && read_line(r) == ERR_OK) {
		hash_sha256(r->text, r->len, other);
		if (++at == line + 1 && !is_last && transcript_line_parse(&next, r->text, r->len, &why) == ERR_OK) {
			a.genuine = next.kind != TRANSCRIPT_HEAD && memcmp(next.prev, hash, HASH_LEN) == 0;
			a.n = a.genuine && next.kind == TRANSCRIPT_MESSAGE ? next.n : 0;
		}
		if (at == line + 1 && !is_last)
			transcript_line_free(&next);
		if (memcmp(other, l->prev, HASH_LEN) == 0)
			a.prev = at;
	}
	if (at == line && !r->known)
		a.genuine = true; /* nothing speaks against it */
	return a;
}

/* Line l, number `line`, does not continue the one before: which line is to blame? */
static enum err broken_chain(struct reader *r, const struct transcript_line *l, uint64_t line, const uint8_t hash[static HASH_LEN])
{
	struct transcript_scan *s = r->out;
	uint64_t same = line_of_hash(s, hash), before = line_of_hash(s, l->prev), next = s->messages + 1;
	if (same > 0)
		return fault(s, line, "was added: it is line %llu once more", (unsigned long long)same);
	struct ahead ahead = look_ahead(r, l, line, hash);
	uint64_t n = l->kind == TRANSCRIPT_MESSAGE ? l->n : ahead.n; /* a certificate stands before its first message */
	if (ahead.prev > 0)
		return fault(s, line, "is out of order: the line that it continues is line %llu", (unsigned long long)ahead.prev);
	if (!ahead.genuine)
		return fault(s, line, "was changed or added: it does not continue the line before, and nothing continues it");
	if (before > 0)
		return fault(s, before + 1, "was added: line %llu continues line %llu", (unsigned long long)line, (unsigned long long)before);
	if (n > next)
		return fault(s, line, "is not what stood here: the line before it was dropped, with message %llu", (unsigned long long)n - 1);
	return fault(s, line - 1, "was changed, or a certificate behind it dropped: line %llu does not continue it", (unsigned long long)line);
}

static enum err take(struct reader *r, const struct transcript_line *l, uint64_t line, const uint8_t hash[static HASH_LEN])
{
	struct transcript_scan *s = r->out;
	if ((l->kind == TRANSCRIPT_HEAD) != (line == 1))
		return fault(s, line, line == 1 ? "is not a transcript's head: the beginning was dropped" : "is a head in the middle");
	if (line > 1 && memcmp(l->prev, s->hash[line - 2], HASH_LEN) != 0)
		return broken_chain(r, l, line, hash);
	switch (l->kind) {
	case TRANSCRIPT_HEAD:
		memcpy(s->holder, l->holder, HASH_LEN);
		return ERR_OK;
	case TRANSCRIPT_CERTIFICATE: {
		uint8_t fingerprint[HASH_LEN];
		hash_sha256(l->bytes, l->bytes_len, fingerprint);
		enum err e = add_hash(&s->sender, s->n_senders, fingerprint);
		if (e == ERR_OK)
			s->n_senders++;
		return e;
	}
	case TRANSCRIPT_MESSAGE:
		if (l->n != s->messages + 1)
			return fault(s, line, "is message %llu; expected message %llu", (unsigned long long)l->n, (unsigned long long)s->messages + 1);
		s->messages++;
		return ERR_OK;
	}
	return ERR_OK;
}

/* Where the chain holds and yet a known hash differs, the whole chain behind the first change was made anew. */
static enum err compare(struct transcript_scan *s, const struct transcript_known *k, uint64_t line, const uint8_t hash[static HASH_LEN])
{
	uint64_t before = line <= k->lines ? (line - 1) / k->step * k->step : line;
	bool differs = line == k->lines && memcmp(hash, k->last, HASH_LEN) != 0;
	if (line % k->step == 0 && line / k->step <= k->n_marks)
		differs = differs || memcmp(hash, k->mark[line / k->step - 1], HASH_LEN) != 0;
	if (!differs)
		return ERR_OK;
	return fault(s, before + 1, "%s of the receipt's transcript: one of the lines %llu to %llu was changed, dropped or added, and what follows chained anew",
	             before + 1 == line ? "is not" : "or one soon after it is not", (unsigned long long)before + 1, (unsigned long long)line);
}

static enum err scan_line(struct reader *r, transcript_visit visit, void *arg)
{
	struct transcript_scan *s = r->out;
	struct transcript_line l;
	uint8_t hash[HASH_LEN];
	const char *why;
	uint64_t line = s->lines + 1;
	long len = (long)r->len + 1;
	hash_sha256(r->text, r->len, hash);
	enum err e = transcript_line_parse(&l, r->text, r->len, &why);
	if (e == ERR_INVALID)
		e = fault(s, line, "was changed: %s", why);
	if (e == ERR_OK)
		e = take(r, &l, line, hash);
	why = e == ERR_OK && visit ? visit(arg, &l) : NULL;
	if (why)
		e = why == transcript_no_memory ? ERR_NOMEM : fault(s, line, "%s", why);
	if (e == ERR_OK && r->known)
		e = compare(s, r->known, line, hash);
	if (e == ERR_OK)
		e = add_hash(&s->hash, (size_t)s->lines, hash);
	transcript_line_free(&l);
	if (e != ERR_OK)
		return e;
	s->lines++;
	s->whole_len += len;
	return ERR_OK;
}

enum err transcript_scan(struct transcript_scan *out, FILE *f, const struct transcript_known *known, transcript_visit visit, void *arg)
{
	struct reader r = { .out = out, .f = f, .known = known };
	enum err e;
	*out = (struct transcript_scan){ .lines = 0 };
	while ((e = read_line(&r)) == ERR_OK && (e = scan_line(&r, visit, arg)) == ERR_OK)
		;
	free(r.text);
	return e == ERR_NOT_FOUND ? ERR_OK : e;
}

void transcript_scan_free(struct transcript_scan *s)
{
	free(s->hash);
	free(s->sender);
}
