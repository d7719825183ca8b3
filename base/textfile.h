/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text files that people write (configuration, ACL): read whole, checked, given out line by line, with messages of the
 * form "FILE:LINE: text". Start-up and reload only; one thread per struct. */
#ifndef BASE_TEXTFILE_H
#define BASE_TEXTFILE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TEXTFILE_LINE_MAX 65536u               /* bytes, without the line's end */
#define TEXTFILE_SIZE_MAX (256u * 1024 * 1024) /* bytes */

struct textfile {
	const char *name;    /* for messages; borrowed */
	const char *p, *end; /* what is left; borrowed */
	unsigned line;       /* of the line last given out, from 1 */
	unsigned n_errors;
	FILE *errors;        /* NULL: messages are dropped, errors still counted */
};

/* A view into the file: white space at both ends (space, tab, CR) is cut. Not NUL-terminated. */
struct text_line {
	const char *p;
	size_t len;
};

/* Reads path whole: a heap buffer of *len bytes, the caller's to free (never NULL for an empty file).
 * NULL: the reason ("path: cannot read: …") was printed to errors (which may be NULL). */
char *textfile_read(const char *path, size_t *len, FILE *errors) MUST_CHECK;

/* Reads from memory: len bytes that outlive t. A byte order mark at the start is skipped. */
void textfile_start(struct textfile *t, const char *buf, size_t len, const char *name, FILE *errors);

/* The next line that is neither empty nor a comment ('#' first after white space). Lines over TEXTFILE_LINE_MAX, with a NUL
 * byte or ill-formed UTF-8 are reported, counted and skipped. False at the end. */
bool textfile_next(struct textfile *t, struct text_line *line) MUST_CHECK;

/* Prints "NAME:LINE: text" about the current line (LINE is left out before the first), and counts an error. */
void textfile_error(struct textfile *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* "NAME:LINE: warning: text"; nothing is counted. */
void textfile_warning(struct textfile *t, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The next word (no space or tab) of the line; *line moves behind it and the white space that follows. Empty at the end. */
struct text_line text_word(struct text_line *line);
bool text_is(struct text_line word, const char *s);
/* Without what '#' begins, at the start or behind white space, and the white space before it: for values that hold no such '#'. */
struct text_line text_uncommented(struct text_line value);

#define TEXT_QUOTED_MAX 160u /* bytes: enough for text_quote */
/* Writes p as "…" for a message: control characters, quotes, backslashes and ill-formed bytes as \xNN, cut with "..." when it does
 * not fit. Returns out. */
const char *text_quote(char out[static TEXT_QUOTED_MAX], const void *p, size_t len);

/* Well-formed UTF-8 [RFC 3629]: no surrogates, no overlong form, nothing above U+10FFFF. */
bool text_utf8_valid(const void *p, size_t len);

#endif
