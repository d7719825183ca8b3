/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages that are sealed and signed here, and kept until the broker has acknowledged each: on a new connection they go out again, the same
 * bytes as long as their epoch is current, sealed anew afterwards. One thread. */
#ifndef CLIENT_CLI_OUTGOING_H
#define CLIENT_CLI_OUTGOING_H

#include "client/cli_keys.h"

struct outgoing;

/* Both outlive it. NULL: the reason has been printed. */
struct outgoing *outgoing_new(const struct options *o, struct keys *k) MUST_CHECK;
void outgoing_free(struct outgoing *q);

struct outgoing_about {
	const char *topic;     /* outlives the queue; without $SEALED/ */
	bool retain;
	bool comes_back;       /* it is done when its bytes have come back from the broker, too: outgoing_seen */
};
/* Behind what is there. False: printed. */
bool outgoing_add(struct outgoing *q, struct outgoing_about about, const void *text, size_t len) MUST_CHECK;

/* Sends what the connection takes. False: a message cannot be sealed at all; printed. */
bool outgoing_send(struct outgoing *q, struct link *l) MUST_CHECK;
/* The connection is lost. */
void outgoing_lost(struct outgoing *q);
/* A PUBACK has come. */
void outgoing_published(struct outgoing *q, int mid);
/* These bytes have come from the broker. Whether they are one of ours, that had not come before. */
bool outgoing_seen(struct outgoing *q, const void *payload, size_t len);
/* Drops those that were acknowledged longer than wait_ms ago and have not come back: the broker has not handed them on. How many. */
size_t outgoing_drop_overdue(struct outgoing *q, uint64_t wait_ms);

size_t outgoing_waiting(const struct outgoing *q);

#endif
