/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages in the order of their arrival, opened: one whose key or sender's certificate has still to come holds up those behind it. One thread;
 * handlers run inside of the calls. */
#ifndef CLIENT_CLI_RECEIVE_H
#define CLIENT_CLI_RECEIVE_H

#include "client/cli_keys.h"

#include <time.h>

struct received {
	const char *whole_topic;   /* as it came */
	const char *topic;         /* without $SEALED/ */
	bool sealed_view;          /* it came under $SEALED/ */
	const uint8_t *payload;    /* as it came */
	size_t payload_len;
	int qos, mid;
	bool retain;
	struct timespec arrived;   /* wall clock */
};

struct receive_handlers {
	/* NULL: all are wanted. False: this one is dropped unopened. */
	bool (*wanted)(void *ctx, const struct received *m);
	/* An authentic message; its verdict is still to be judged. plain: sealed->len bytes. */
	void (*opened)(void *ctx, const struct received *m, const void *plain, const struct sealmq_message *sealed);
	/* What was not sealed at all. NULL: it is refused. */
	void (*plain)(void *ctx, const struct received *m);
	void (*refused)(void *ctx, const struct received *m, const char *why);
};

struct receive;
/* flags: SEALMQ_REQUIRE_SIGNATURE, SEALMQ_OWN_WINDOWS. All outlive it. NULL: the reason has been printed. */
struct receive *receive_new(const struct options *o, struct keys *k, unsigned flags, const struct receive_handlers *h, void *ctx) MUST_CHECK;
void receive_free(struct receive *r);

/* Takes a message, and opens what can be. */
void receive_message(struct receive *r, struct link *l, const struct mosquitto_message *m);
/* Goes on with what was held up: when a key or certificate has come, and now and then, for nothing waits longer than ten seconds. */
void receive_go_on(struct receive *r, struct link *l);
bool receive_is_waiting(const struct receive *r);
/* What is held up goes, unopened; not from a handler. */
void receive_drop(struct receive *r);
/* Nothing more is handed out. */
void receive_stop(struct receive *r);

#endif
