/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Questions to the broker, one after another, each waited for: commands on $CONTROL/topics/v1 and certificates from $CERTS (docs/control.md). One thread. */
#ifndef CLIENT_CLI_CONTROL_H
#define CLIENT_CLI_CONTROL_H

#include "client/cli_options.h"

#include <cjson/cJSON.h>

struct control;

enum control_result {
	CONTROL_DONE,
	CONTROL_REFUSED, /* the broker's answer is an error: control_error; it has changed nothing */
	CONTROL_FAILED,  /* no connection, no answer that could be understood …: printed. Whether the command was done is not known */
	CONTROL_TIMEOUT, /* the same after -W, or 30 s for one question: printed */
};

/* Connects. o outlives it. With --id it is a connection of that id: no other of this process may have it. NULL: printed. */
struct control *control_open(const struct options *o) MUST_CHECK;
void control_close(struct control *c); /* NULL is fine */

/* Sends a command (takes it; NULL: out of memory) and waits for its answer. *data (may be NULL): its data, or NULL, until the next question.
 * When the connection is lost meanwhile it is asked again on the next: a command may then be done twice. */
enum control_result control_ask(struct control *c, cJSON *take_command, const cJSON **data) MUST_CHECK;
const char *control_error(const struct control *c);

/* The certificate (DER) that the broker has under $CERTS/<name>: *der of *len bytes, until the next question; len 0: none. Nothing of it is verified. */
enum control_result control_cert(struct control *c, const char *name, const uint8_t **der, size_t *len) MUST_CHECK;

/* {"command": command, "topic": topic}; topic may be NULL. NULL: no memory. */
cJSON *control_command(const char *command, const char *topic) MUST_CHECK;

#endif
