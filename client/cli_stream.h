/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stream in which a command seals goes on where an earlier run of the same identity has left it: receivers keep 16 streams of a sender and refuse the next
 * one, and a shell script runs `sealmq pub` a hundred times. The numbers are in the file "streams" beside the pins, one slot for each command that runs at
 * the same time; formats.md 4.2 and 14.4. One thread. */
#ifndef CLIENT_CLI_STREAM_H
#define CLIENT_CLI_STREAM_H

#include "client/cli_options.h"
#include "client/sealmq.h"

struct cli_stream;

/* Has h seal in a stream of the file, and keeps its slot. NULL: there is no such file for this run (--no-state, no home, not writable, all slots in use):
 * h's own new stream stands. */
struct cli_stream *cli_stream_take(const struct options *o, struct sealmq *h) MUST_CHECK;
/* Notes how far h has come. Before h is closed. NULL is fine. */
void cli_stream_give_back(struct cli_stream *s, struct sealmq *h);

#endif
