/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Log lines go through a bounded lock-free ring to one thread that writes them (stderr, file, syslog), so no loop waits for a
 * disk. A full ring drops the line and counts it. One line: the client's name and one cause; never payloads or keys. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR = 1, LOG_WARNING = 2, LOG_NOTICE = 4, LOG_INFO = 8, LOG_DEBUG = 16 }; /* bits: a mask selects */

struct log_conf {
	unsigned level_mask;       /* of enum log_level */
	bool to_stderr, to_syslog;
	const char *file;          /* NULL: none; opened for append, 0640 */
	bool json;                 /* one JSON object a line: {"ts":"…Z","level":"notice","msg":"…"} */
};

/* Opens the sinks and starts the thread. Before that (and after log_stop) lines go to stderr directly. */
enum err log_start(const struct log_conf *conf) MUST_CHECK;
/* Replaces sinks and mask (SIGHUP: also reopens the file). On error everything stays as it was. */
enum err log_reconfigure(const struct log_conf *conf) MUST_CHECK;
void log_stop(void); /* writes what is left, ends the thread */

/* printf-like; a line is cut at 1,000 bytes; control characters are escaped (\xNN), so that no client forges lines. Any thread. */
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool log_enabled(enum log_level level);
uint64_t log_dropped(void);

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_write(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) do { if (log_enabled(LOG_DEBUG)) log_write(LOG_DEBUG, __VA_ARGS__); } while (0)

#endif
