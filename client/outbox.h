/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What sealmq pub --outbox has taken and the broker has not acknowledged yet (docs/formats.md 14.2). One topic's. Each message keeps the place in a
 * stream that it gets when it is taken, so that it is sealed to the same bytes whenever, and under another epoch still is the same message to whoever
 * has received it already. One thread. */
#ifndef CLIENT_OUTBOX_H
#define CLIENT_OUTBOX_H

#include "client/journal.h"
#include "crypto/cose.h"

#include <stdbool.h>

#define OUTBOX_SEQ_FIRST (UINT64_C(1) << 32) /* sequence numbers from here on are an outbox's: message n has OUTBOX_SEQ_FIRST + n */
#define OUTBOX_SIZE_MAX (64u << 20)          /* bytes: a file of that size takes nothing more until all is delivered */

struct outbox_message {
	uint64_t number;                 /* from 0, over all that the outbox ever took */
	uint64_t time_ms;                /* when it was taken */
	uint8_t stream[COSE_STREAM_LEN];
	uint8_t qos;
	bool retain;
	const uint8_t *bytes;            /* borrowed; may be empty */
	size_t len;
};

struct outbox;
/* Called for messages in their order; those below outbox_first turn out to have been delivered. NULL: go on; otherwise what is wrong. */
typedef const char *(*outbox_visit)(void *arg, const struct outbox_message *m);

/* Opens or makes it; as journal_open. */
struct outbox *outbox_open(const char *path, const char *topic, struct keypair *owner, outbox_visit visit, void *arg, uint64_t *torn, char *error,
                           size_t error_len) MUST_CHECK;
void outbox_close(struct outbox *o); /* NULL is fine */

/* Takes m->bytes, qos and retain, and sets the rest of *m. It is on disk only after outbox_commit. ERR_FULL: not before all is delivered; ERR_NOMEM. */
enum err outbox_add(struct outbox *o, struct outbox_message *m, uint64_t now_ms) MUST_CHECK;
/* All that was added is on disk on return. ERR_IO, ERR_NOMEM: it may not be; the outbox is to be closed. */
enum err outbox_commit(struct outbox *o) MUST_CHECK;
/* Messages with numbers below are delivered: noted with the next commit. When none is left, the file is made small now and then. */
enum err outbox_delivered(struct outbox *o, uint64_t below) MUST_CHECK;
/* Nothing more comes: what is noted is on disk on return. */
enum err outbox_finish(struct outbox *o) MUST_CHECK;
uint64_t outbox_first(const struct outbox *o); /* the number of the first message that is still to be delivered */
uint64_t outbox_taken(const struct outbox *o); /* how many messages it ever took: the next one's number */
bool outbox_is_full(const struct outbox *o);

#endif
