/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a conversation's messages and events look: for eyes on a terminal; elsewhere lines of four columns with tabs between,
 *
 *   2026-11-26T14:05:07.123Z  live  ann  hello
 *
 * time (UTC; of a message its sender's), what it is (live, late, past, revoked-since; here, joined, left; refused), by whom (nobody: refused), text. Names
 * and texts go through safe_text. One thread. */
#ifndef CLIENT_CHAT_SHOW_H
#define CLIENT_CHAT_SHOW_H

#include "base/err.h"
#include "client/sealmq.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The line, on the heap; NULL: no memory. what: a word of the list above. */
char *chat_line(bool for_eyes, uint64_t time_ms, const char *what, const char *name, const void *text, size_t len) MUST_CHECK;

#endif
