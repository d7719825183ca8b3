/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A sender's stream (docs/formats.md 4.2): where sequence numbers come from. A new id at every start, connect and fork and after 2^32
 * messages, so that no pair of stream and number is ever used twice. One thread at a time. */
#ifndef CRYPTO_STREAM_H
#define CRYPTO_STREAM_H

#include "crypto/cose.h"

#define STREAM_MESSAGES_MAX (UINT64_C(1) << 32)

struct stream {
	uint8_t id[COSE_STREAM_LEN];
	uint64_t next, end; /* sequence numbers: the next one, and the first that is not this stream's to give */
	long pid;           /* of the process that drew the id, or goes on with it */
};

/* Draws a new id: at start and at every connect. A will takes a stream of its own. */
void stream_start(struct stream *s);
/* Goes on with a stream of this sender's, of which no number from next on was used and none below end will be used elsewhere. At end a new one is drawn. */
void stream_go_on(struct stream *s, const uint8_t id[static COSE_STREAM_LEN], uint64_t next, uint64_t end);
/* Sets h->stream and h->seq for one message. */
void stream_next(struct stream *s, struct cose_head *h);

#endif
