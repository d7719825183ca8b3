/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What sealmq sub --dedup has handed on, over restarts (docs/formats.md 14.3): which numbers of which streams, how far in time, and the lines of
 * --output until they are known to be on disk there. One filter's. One thread. */
#ifndef CLIENT_DEDUP_H
#define CLIENT_DEDUP_H

#include "client/journal.h"
#include "crypto/cose.h"

#include <stdbool.h>

struct dedup;

struct dedup_id {
	const char *sender;              /* CN */
	const char *topic;
	uint8_t stream[COSE_STREAM_LEN];
	uint64_t seq;
	uint64_t time_ms;                /* of the message, but no later than its arrival; 0: not known */
};

/* Opens or makes it; as journal_open. output: a file that gets the lines, or NULL; lines that a crash kept from it are written now. begin_ms: for a
 * new file, what was published earlier (by the broker's clock) is none of its matter; at least 1. */
struct dedup *dedup_open(const char *path, const char *filter, const char *output, struct keypair *owner, uint64_t begin_ms, uint64_t *torn, char *error,
                         size_t error_len) MUST_CHECK;
void dedup_close(struct dedup *d); /* NULL is fine; what was not committed is lost */

enum dedup_verdict {
	DEDUP_NEW,
	DEDUP_SEEN,
	DEDUP_GAP, /* new, and an outbox's numbers before it are missing: from *missing up to this one's */
};
enum dedup_verdict dedup_judge(const struct dedup *d, const struct dedup_id *id, uint64_t *missing);
/* Notes a message, and len bytes for the output (0 without one): on disk with the next commit. ERR_NOMEM. */
enum err dedup_add(struct dedup *d, const struct dedup_id *id, const void *line, size_t len) MUST_CHECK;
/* What was added is on disk, and then in the output. ERR_IO (errno), ERR_NOMEM: the file is to be closed. */
enum err dedup_commit(struct dedup *d) MUST_CHECK;
/* Bytes that wait for a commit. */
size_t dedup_waiting(const struct dedup *d);
/* The output is synced, and the file small. */
enum err dedup_finish(struct dedup *d) MUST_CHECK;

/* What was published before that time (ms) has been handed on, if clocks differ by less than margin_ms, or is none of its matter. is_new: nothing has been
 * handed on yet. */
uint64_t dedup_since(const struct dedup *d, uint64_t margin_ms, bool *is_new);

#endif
