/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A terminal with readline, or pipes. Owns the line that is not complete. */
#include "client/chat_console.h"

#include <errno.h>
#include <locale.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define INDENT 4 /* columns of the rows of a long line but the first */

struct console {
	const struct console_handlers *h;
	void *ctx;
	bool terminal, ended;
	char *text;            /* pipe: the beginning of a line, room for CONSOLE_LINE_MAX */
	size_t len;
};

/* readline's calls bring no context. Set while a terminal's console is open. */
static struct console *on_terminal;

static void end(struct console *c)
{
	c->ended = true;
	c->h->end(c->ctx);
}

static void fault(struct console *c, const char *why)
{
	c->ended = true;
	c->h->fault(c->ctx, why);
}

/* ---- the terminal */

/* The Enter key: the line leaves the screen; what comes back from the broker is printed, so that the order on the screen is the broker's. */
static int take_line(int count, int key)
{
	struct console *c = on_terminal;
	size_t len = strlen(rl_line_buffer);
	(void)count, (void)key;
	if (len == 0)
		return 0;
	char *text = strdup(rl_line_buffer);
	if (!text)
		return 0;
	add_history(text);
	(void)rl_clear_visible_line();
	rl_replace_line("", 1);
	(void)rl_on_new_line();
	rl_redisplay();
	c->h->line(c->ctx, text, len);
	free(text);
	return 0;
}

/* Only the end of input comes this way: Enter is bound to take_line. */
static void take_end(char *text)
{
	if (!text)
		end(on_terminal);
	free(text);
}

static void open_terminal(struct console *c, const char *prompt)
{
	on_terminal = c;
	(void)setlocale(LC_CTYPE, "");
	rl_catch_signals = 0;
	rl_readline_name = "sealmq";
	(void)rl_initialize(); /* reads the user's own settings, which the next ones are behind */
	(void)rl_variable_bind("enable-bracketed-paste", "off"); /* each pasted line is a line */
	rl_callback_handler_install(prompt, take_end);
	(void)rl_bind_key('\r', take_line);
	(void)rl_bind_key('\n', take_line);
	(void)rl_bind_key('\t', rl_insert);
	stifle_history(100);
}

/* Prints text in rows that fit, from that column on; those after the first are indented, so that no part of a message can stand where a line of another begins. */
static void print_rows(FILE *to, const char *text, int column)
{
	struct winsize size = { .ws_col = 80 };
	mbstate_t state = { 0 };
	int width = 0;
	(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	const int columns = size.ws_col > 2 * INDENT ? size.ws_col : 80;
	for (size_t left = strlen(text), n; left > 0; text += n, left -= n, column += width) {
		wchar_t c;
		n = mbrtowc(&c, text, left, &state);
		if (n == 0 || n > left) { /* not of this locale: as it is */
			n = 1;
			width = 1;
			state = (mbstate_t){ 0 };
		} else {
			width = wcwidth(c) < 0 ? 1 : wcwidth(c);
		}
		if (column + width > columns) {
			fprintf(to, "\n%*s", INDENT, "");
			column = INDENT;
		}
		(void)fwrite(text, 1, n, to);
	}
	fputc('\n', to);
}

static bool print_beside_typing(FILE *to, const char *prefix, const char *line)
{
	(void)rl_clear_visible_line();
	(void)fflush(rl_outstream);
	fputs(prefix, to);
	print_rows(to, line, (int)strlen(prefix));
	bool good = fflush(to) == 0;
	(void)rl_on_new_line();
	rl_redisplay();
	return good;
}

/* ---- pipes */

/* Each whole line of n more bytes; false: a fault was reported. */
static bool take_bytes(struct console *c, const char *p, size_t n)
{
	for (const char *stop = p + n; p < stop;) {
		const char *nl = memchr(p, '\n', (size_t)(stop - p));
		size_t part = (size_t)((nl ? nl : stop) - p);
		if (part > CONSOLE_LINE_MAX - c->len) {
			fault(c, "a line is longer than 65536 bytes");
			return false;
		}
		memcpy(c->text + c->len, p, part);
		c->len += part;
		p += part + (nl ? 1 : 0);
		if (nl && c->len > 0)
			c->h->line(c->ctx, c->text, c->len);
		if (nl)
			c->len = 0;
	}
	return true;
}

static void read_pipe(struct console *c)
{
	char buf[4096];
	ssize_t n = read(STDIN_FILENO, buf, sizeof buf);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0) {
		fault(c, strerror(errno));
		return;
	}
	if (n > 0) {
		(void)take_bytes(c, buf, (size_t)n);
		return;
	}
	if (c->len > 0) /* the last line may lack its line feed */
		c->h->line(c->ctx, c->text, c->len);
	end(c);
}

/* ---- both */

struct console *console_open(const char *prompt, const struct console_handlers *h, void *ctx)
{
	struct console *c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	*c = (struct console){ .h = h, .ctx = ctx, .terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO), .text = malloc(CONSOLE_LINE_MAX) };
	if (!c->text) {
		free(c);
		return NULL;
	}
	if (c->terminal)
		open_terminal(c, prompt);
	return c;
}

void console_close(struct console *c)
{
	if (!c)
		return;
	if (c->terminal) {
		(void)rl_clear_visible_line();
		rl_callback_handler_remove();
		rl_clear_history();
		on_terminal = NULL;
	}
	free(c->text);
	free(c);
}

bool console_is_terminal(const struct console *c)
{
	return c->terminal;
}

int console_fd(const struct console *c)
{
	return c->ended ? -1 : STDIN_FILENO;
}

void console_read(struct console *c)
{
	if (c->terminal)
		rl_callback_read_char();
	else
		read_pipe(c);
}

bool console_print(struct console *c, const char *line)
{
	if (c->terminal)
		return print_beside_typing(stdout, "", line);
	return puts(line) >= 0 && fflush(stdout) == 0;
}

void console_complain(struct console *c, const char *line)
{
	if (c->terminal)
		(void)print_beside_typing(stderr, "sealmq: ", line);
	else
		fprintf(stderr, "sealmq: %s\n", line);
}
