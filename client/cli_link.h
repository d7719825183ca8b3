/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A connection to the broker by libmosquitto, and another one when it is lost: pauses double from a second to --reconnect-max. One thread;
 * handlers run inside of link_wait. */
#ifndef CLIENT_CLI_LINK_H
#define CLIENT_CLI_LINK_H

#include "client/cli_options.h"

struct mosquitto_message;
struct link;

/* Unused ones may be NULL. */
struct link_handlers {
	void (*connected)(void *ctx, bool session_present);
	void (*lost)(void *ctx); /* what was not acknowledged may or may not have arrived */
	void (*message)(void *ctx, const struct mosquitto_message *m);
	void (*subscribed)(void *ctx, int mid, int n, const int *granted);
	void (*published)(void *ctx, int mid);
	void (*unsubscribed)(void *ctx, int mid);
	/* SIGINT or SIGTERM has come: NULL, or the second time, the connection ends by itself. */
	void (*interrupted)(void *ctx);
};

/* o and h outlive it. keep_session: reconnecting resumes the client's side of the session, too (what libmosquitto has in flight); without it
 * nothing of the former connection is sent again. NULL: the reason has been printed. */
struct link *link_new(const struct options *o, const struct link_handlers *h, void *ctx, bool keep_session) MUST_CHECK;
void link_free(struct link *l);

/* The will of the connections to come (link_restart, when one is up); payload may be NULL. A topic that cannot be one fails the link. False: printed. */
bool link_will(struct link *l, const char *topic, const void *payload, size_t len, int qos, bool retain) MUST_CHECK;

enum link_event {
	LINK_FAILED,   /* for good; the reason has been printed */
	LINK_GO_ON,
	LINK_READABLE, /* the caller's descriptor is */
	LINK_ENDED,    /* by link_end, or by SIGINT or SIGTERM: everything is sent and the connection closed */
	LINK_TIMEOUT,  /* -W has run out */
};
/* Does what there is to do, or waits for it, at most timeout_ms (-1: no limit). fd: also waits for that descriptor; -1: none. */
enum link_event link_wait(struct link *l, int fd, int timeout_ms);
/* Ends it in an orderly way: link_wait is called until LINK_ENDED. */
void link_end(struct link *l);
/* Nothing more is to be done, after a reason that the caller has printed: link_wait returns LINK_FAILED. */
void link_fail(struct link *l);

/* Ends the connection in an orderly way and makes another one at once; handlers are told as always. */
void link_restart(struct link *l);

bool link_is_up(const struct link *l);
bool link_is_busy(const struct link *l); /* more to write than the socket takes */
const char *link_id(const struct link *l);

/* 0: not possible (not connected, out of memory, no topic …; a reason that will not pass was printed). Otherwise the packet identifier. */
int link_subscribe(struct link *l, const char *filter, int qos);
int link_unsubscribe(struct link *l, const char *filter);
int link_publish(struct link *l, const char *topic, const void *payload, size_t len, int qos, bool retain);

#endif
