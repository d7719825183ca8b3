/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How sealmq sub prints a message: mosquitto_sub's -F, and jsonl. */
#ifndef CLIENT_CLI_FORMAT_H
#define CLIENT_CLI_FORMAT_H

#include "client/cli_options.h"
#include "client/sealmq.h"

#include <stdio.h>
#include <time.h>

struct shown {
	const char *topic;                     /* without $SEALED/ */
	const void *payload;
	size_t len;
	int qos, mid;
	bool retain;
	struct timespec arrived;               /* wall clock */
	const struct sealmq_message *sealed;   /* NULL: it came in plain text */
	const char *verdict;                   /* "live" …; "plain" */
};

/* NULL: the format is one; otherwise what is wrong with it. */
const char *format_fault(const char *format);
/* Prints one message. False: out of memory. */
bool format_print(FILE *to, const struct options *o, const struct shown *m);

#endif
