/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where the lines of a conversation come from and go to: a terminal, on which what arrives does not garble the line that is being typed, or two
 * pipes. One at a time (readline has one terminal), one thread. */
#ifndef CLIENT_CHAT_CONSOLE_H
#define CLIENT_CHAT_CONSOLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define CONSOLE_LINE_MAX 65536u /* bytes */

struct console;

struct console_handlers {
	void (*line)(void *ctx, const char *text, size_t len); /* without its line feed; never empty */
	void (*end)(void *ctx);                                /* there will be no more */
	void (*fault)(void *ctx, const char *why);             /* input cannot be read, or a line is too long: there will be no more */
};

/* h outlives it. prompt: for the terminal. NULL: no memory. */
struct console *console_open(const char *prompt, const struct console_handlers *h, void *ctx) MUST_CHECK;
/* The terminal is as it was before. NULL is fine. */
void console_close(struct console *c);

bool console_is_terminal(const struct console *c);
/* The descriptor to wait for; -1: there will be no more lines. */
int console_fd(const struct console *c);
/* It is readable: takes what is there. */
void console_read(struct console *c);

/* Prints a line (without line feed) that safe_text has made of what others wrote. False: it could not be written. */
bool console_print(struct console *c, const char *line) MUST_CHECK;
/* The same on standard error. */
void console_complain(struct console *c, const char *line);

#endif
