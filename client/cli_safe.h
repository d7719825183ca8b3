/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text of others for terminals and for files of lines. Pure; any thread. */
#ifndef CLIENT_CLI_SAFE_H
#define CLIENT_CLI_SAFE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAFE_TIME_MAX 32u /* bytes, with the NUL */

/* One line of well-formed UTF-8 that moves no cursor and turns no text around, on the heap: control characters, line ends, what changes the
 * direction of writing and what is not seen become \n, \r, \t, \u{1b}; ill-formed bytes \x{ff}. parsable: a backslash becomes two, so that the text
 * can be had back. NULL: no memory. */
char *safe_text(const void *text, size_t len, bool parsable) MUST_CHECK;

/* "2026-11-26T14:05:07.123Z" of milliseconds since 1970. */
const char *safe_time_utc(char out[static SAFE_TIME_MAX], uint64_t ms);
/* "2026-11-26 14:05:07" where the user is, or without the date. */
const char *safe_time_local(char out[static SAFE_TIME_MAX], uint64_t ms, bool with_date);

#endif
