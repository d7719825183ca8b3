/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A file to which a client appends what must outlive it, sealed under its identity's key (crypto/ownseal; docs/formats.md 14.1): frames, each whole and on disk
 * before journal_append returns. What a crash leaves of a last frame is recognised and cut off; any other damage is an error. One process at
 * a time, one thread. */
#ifndef CLIENT_JOURNAL_H
#define CLIENT_JOURNAL_H

#include "base/err.h"
#include "client/place.h"
#include "crypto/keys.h"

#include <stddef.h>
#include <stdint.h>

#define JOURNAL_KIND_LEN 8u
#define JOURNAL_FRAME_MAX (1u << 30) /* bytes */

struct journal;

/* Called for each frame, oldest first. NULL: go on; otherwise what is wrong with it. */
typedef const char *(*journal_visit)(void *arg, const uint8_t *bytes, size_t len);

/* Opens path, or makes it (mode 0600). kind: JOURNAL_KIND_LEN bytes that say what the frames are. owner: whose
 * file it is. What was cut off behind the last whole frame is counted in *torn (bytes). On failure NULL, and error names file, place and fault. */
struct journal *journal_open(const char *path, const char kind[static JOURNAL_KIND_LEN], struct keypair *owner, journal_visit visit, void *arg,
                             uint64_t *torn, char *error, size_t error_len) MUST_CHECK;
void journal_close(struct journal *j); /* NULL is fine */

/* Appends a frame of 1 to JOURNAL_FRAME_MAX bytes. ERR_IO (errno), ERR_NOMEM: the file is as it was. */
enum err journal_append(struct journal *j, const void *bytes, size_t len) MUST_CHECK;
/* Replaces all frames by this one, in one step: a crash leaves the old file or the new one. */
enum err journal_rewrite(struct journal *j, const void *bytes, size_t len) MUST_CHECK;
uint64_t journal_size(const struct journal *j); /* of the file, bytes */

enum err journal_place(const struct journal *j, uint8_t out[static PLACE_LEN]) MUST_CHECK; /* where the file is */

#endif
