/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a log line looks like. Pure functions, any thread. */
#ifndef BASE_LOG_LINE_H
#define BASE_LOG_LINE_H

#include "base/log.h"

#include <stddef.h>
#include <stdint.h>

#define LOG_TEXT_MAX 1000 /* bytes of a line's text, before escaping */
#define LOG_LINE_MAX (5 * LOG_TEXT_MAX + 100) /* bytes of any formatted line: a byte becomes at most five */

/* All three write at most LOG_LINE_MAX bytes (text_len <= LOG_TEXT_MAX), without a terminating NUL, and return how many. */

/* 2026-11-20T11:12:13.123Z notice: text\n */
size_t log_line_text(char out[static LOG_LINE_MAX], uint64_t time_ms, enum log_level level, const char *text, size_t text_len);
/* {"ts":"2026-11-20T11:12:13.123Z","level":"notice","msg":"text"}\n */
size_t log_line_json(char out[static LOG_LINE_MAX], uint64_t time_ms, enum log_level level, const char *text, size_t text_len);
/* The text alone: control characters (C0, DEL, C1) and bytes that are not UTF-8 become \xNN. */
size_t log_line_escape(char out[static LOG_LINE_MAX], const char *text, size_t text_len);

/* The longest part of text that has at most LOG_TEXT_MAX bytes and does not end inside a UTF-8 sequence. */
size_t log_line_cut(const char *text, size_t text_len);

#endif
