/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading and checking the lines of files that people write. Owns nothing but what textfile_read returns. */
#include "base/textfile.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

char *textfile_read(const char *path, size_t *len, FILE *errors)
{
	const char *why = NULL;
	char *buf = NULL;
	size_t n = 0, size = 4096;
	FILE *f = fopen(path, "rbe");
	if (!f) {
		why = strerror(errno);
		goto out;
	}
	for (;;) {
		char *more = realloc(buf, size);
		if (!more) {
			why = "out of memory";
			goto out;
		}
		buf = more;
		errno = 0;
		n += fread(buf + n, 1, size - n, f);
		if (n < size)
			break;
		if (n >= TEXTFILE_SIZE_MAX) { /* also what ends /dev/zero */
			why = "larger than 256 MiB";
			goto out;
		}
		size *= 2;
	}
	if (ferror(f))
		why = errno ? strerror(errno) : "read error";
out:
	if (f)
		(void)fclose(f); /* read only: nothing can be lost here */
	if (why) {
		if (errors)
			(void)fprintf(errors, "%s: cannot read: %s\n", path, why);
		free(buf);
		return NULL;
	}
	*len = n;
	return buf;
}

void textfile_start(struct textfile *t, const char *buf, size_t len, const char *name, FILE *errors)
{
	if (len >= 3 && memcmp(buf, "\xEF\xBB\xBF", 3) == 0)
		buf += 3, len -= 3;
	*t = (struct textfile){ .name = name, .p = buf, .end = buf + len, .errors = errors };
}

/* What is wrong with the line as bytes; NULL: nothing. */
static const char *line_fault(const char *p, size_t len)
{
	if (len > TEXTFILE_LINE_MAX)
		return "the line is longer than 65536 bytes";
	if (memchr(p, 0, len))
		return "the line holds a NUL byte; expected text";
	if (!text_utf8_valid(p, len))
		return "the line is not valid UTF-8";
	return NULL;
}

bool textfile_next(struct textfile *t, struct text_line *line)
{
	while (t->p < t->end) {
		const char *p = t->p;
		const char *nl = memchr(p, '\n', (size_t)(t->end - p));
		const char *end = nl ? nl : t->end;
		t->p = nl ? nl + 1 : t->end;
		t->line++;
		const char *fault = line_fault(p, (size_t)(end - p));
		if (fault) {
			textfile_error(t, "%s", fault);
			continue;
		}
		while (p < end && is_blank(*p))
			p++;
		while (p < end && is_blank(end[-1]))
			end--;
		if (p == end || *p == '#')
			continue;
		*line = (struct text_line){ p, (size_t)(end - p) };
		return true;
	}
	return false;
}

PRINTF_LIKE(3, 0)
static void print_message(const struct textfile *t, const char *kind, const char *fmt, va_list ap)
{
	if (!t->errors)
		return;
	if (t->line)
		(void)fprintf(t->errors, "%s:%u: %s", t->name, t->line, kind);
	else
		(void)fprintf(t->errors, "%s: %s", t->name, kind);
	(void)vfprintf(t->errors, fmt, ap);
	(void)fputc('\n', t->errors);
}

void textfile_error(struct textfile *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	print_message(t, "", fmt, ap);
	va_end(ap);
	t->n_errors++;
}

void textfile_warning(struct textfile *t, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	print_message(t, "warning: ", fmt, ap);
	va_end(ap);
}

struct text_line text_word(struct text_line *line)
{
	struct text_line word = { line->p, 0 };
	while (word.len < line->len && !is_blank(word.p[word.len]))
		word.len++;
	line->p += word.len, line->len -= word.len;
	while (line->len && is_blank(*line->p))
		line->p++, line->len--;
	return word;
}

struct text_line text_uncommented(struct text_line value)
{
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] == '#' && (i == 0 || value.p[i - 1] == ' ' || value.p[i - 1] == '\t')) {
			value.len = i;
			break;
		}
	}
	while (value.len && (value.p[value.len - 1] == ' ' || value.p[value.len - 1] == '\t'))
		value.len--;
	return value;
}

bool text_is(struct text_line word, const char *s)
{
	return strlen(s) == word.len && memcmp(word.p, s, word.len) == 0;
}

const char *text_quote(char out[static TEXT_QUOTED_MAX], const void *p, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	const unsigned char *s = p;
	bool utf8 = text_utf8_valid(p, len);
	size_t n = 0, last = TEXT_QUOTED_MAX - 9; /* room for \xNN, "...", the quote and NUL */
	out[n++] = '"';
	for (size_t i = 0; i < len; i++) {
		unsigned char c = s[i];
		bool starts = !utf8 || (c & 0xC0) != 0x80; /* never cut inside a character */
		if (n >= last - 3 && starts) {
			memcpy(out + n, "...", 3), n += 3;
			break;
		}
		if (c < 0x20 || c == 0x7F || c == '"' || c == '\\' || (c >= 0x80 && !utf8)) {
			out[n++] = '\\', out[n++] = 'x', out[n++] = hex[c >> 4], out[n++] = hex[c & 15];
		} else {
			out[n++] = (char)c;
		}
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

/* Bytes of the well-formed character at p, 0 for none. Table 3-7 of the Unicode standard. */
static size_t utf8_char(const unsigned char *p, size_t left)
{
	unsigned char c = p[0], lo = 0x80, hi = 0xBF;
	size_t n = 0;
	if (c < 0x80)
		return 1;
	if (c < 0xC2 || c > 0xF4)
		return 0;
	if (c == 0xE0)
		lo = 0xA0;
	if (c == 0xED)
		hi = 0x9F; /* surrogates */
	if (c == 0xF0)
		lo = 0x90;
	if (c == 0xF4)
		hi = 0x8F;
	n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
	if (left < n || p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	return n;
}

bool text_utf8_valid(const void *p, size_t len)
{
	const unsigned char *s = p;
	while (len) {
		size_t n = utf8_char(s, len);
		if (n == 0)
			return false;
		s += n, len -= n;
	}
	return true;
}
