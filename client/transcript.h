/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Keeping a transcript (docs/formats.md 10): every verified message is appended, chained to the line before, and on disk when transcript_add
 * returns. One thread. */
#ifndef CLIENT_TRANSCRIPT_H
#define CLIENT_TRANSCRIPT_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct transcript;

/* Opens path, or makes it (mode 0600) with a head of now_ms. An existing one is verified line by line, and continued; what a crash left of a last line
 * goes. holder: SHA-256 of the certificate of who keeps it. On failure NULL, and error names file, line and fault. */
struct transcript *transcript_open(const char *path, const uint8_t holder[static 32], uint64_t now_ms, char *error, size_t error_len) MUST_CHECK;
void transcript_close(struct transcript *t); /* NULL is fine */

/* Appends a message that has passed all checks, before it its sender's certificate (DER) when that is new here. verdict: as the receiver has judged
 * it. On disk on return. ERR_INVALID: not a sealed message by that certificate; ERR_IO (errno), ERR_NOMEM. After any of them the file is as it was. */
enum err transcript_add(struct transcript *t, const char *topic, uint64_t received_ms, const char *verdict, const void *sender, size_t sender_len,
                        const void *sealed, size_t sealed_len) MUST_CHECK;

#endif
