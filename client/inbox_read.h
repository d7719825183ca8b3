/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which messages an inbox has shown already, over runs: one file, a line for each,
 *
 *   1795702507123 <SHA-256 of the sealed message, 64 hex digits>
 *
 * with the time (ms since 1970) at which it was shown. Lines are only appended, and synced; those older than any message that a broker keeps are left out
 * when the file is opened next. Several processes may use it. One thread. */
#ifndef CLIENT_INBOX_READ_H
#define CLIENT_INBOX_READ_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INBOX_HASH_LEN 32u
#define INBOX_KEEP_MS (UINT64_C(40) * 86400u * 1000u) /* a broker keeps direct messages for 30 days (docs/control.md) */

struct inbox_read;

/* path NULL: nothing is remembered after this run. The file is made when there is none (0600). NULL: error says what is wrong. */
struct inbox_read *inbox_read_open(const char *path, uint64_t now_ms, char *error, size_t error_len) MUST_CHECK;
void inbox_read_close(struct inbox_read *r); /* NULL is fine */

enum inbox_verdict { INBOX_NEW, INBOX_READ, INBOX_SHOWN }; /* never shown; in an earlier run; in this one */
enum inbox_verdict inbox_read_look(const struct inbox_read *r, const uint8_t hash[static INBOX_HASH_LEN]);
/* It has been shown: on disk when this returns. ERR_IO (errno), ERR_NOMEM. */
enum err inbox_read_mark(struct inbox_read *r, const uint8_t hash[static INBOX_HASH_LEN], uint64_t now_ms) MUST_CHECK;

#endif
