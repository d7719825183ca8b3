/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading a transcript from its beginning (docs/formats.md 10): form, chain and numbers of its lines, and which line is the first that is not what was
 * written. One thread. */
#ifndef CLIENT_TRANSCRIPT_SCAN_H
#define CLIENT_TRANSCRIPT_SCAN_H

#include "client/transcript_line.h"

#include <stdio.h>

#define TRANSCRIPT_FAULT_MAX 256u

/* Looks at a line whose form and place are right, before the next is read. Returns what is wrong with it (the text is copied), or NULL;
 * transcript_no_memory: nothing is wrong with the line. */
extern const char transcript_no_memory[];
typedef const char *(*transcript_visit)(void *arg, const struct transcript_line *l);

struct transcript_scan {
	uint64_t lines, messages;
	uint8_t (*hash)[HASH_LEN];        /* SHA-256 of each line, the first at [0] */
	uint8_t (*sender)[HASH_LEN];      /* of the certificates that stand in it */
	size_t n_senders;
	uint8_t holder[HASH_LEN];
	long whole_len;                   /* bytes of whole lines */
	long torn_len;                    /* and behind them, without a line feed: what a crash left */
	uint64_t fault_line;              /* from 1; 0: no fault */
	char fault[TRANSCRIPT_FAULT_MAX];
};

/* What is known of a transcript from elsewhere (a receipt): hashes of its lines number step, 2 * step, … and of the last one. */
#define TRANSCRIPT_MARKS_MAX 64u
struct transcript_known {
	uint64_t lines;                   /* the last one's number */
	uint8_t last[HASH_LEN];
	uint64_t step;                    /* at least 1 */
	size_t n_marks;
	uint8_t mark[TRANSCRIPT_MARKS_MAX][HASH_LEN];
};

/* Reads f from where it stands (its beginning). *out for transcript_scan_free in any case. known, visit: may be NULL. ERR_CORRUPT: out->fault tells; lines
 * behind it were not looked at. ERR_IO, ERR_NOMEM. That the file reaches known->lines is the caller's to see; lines behind that one are read too. */
enum err transcript_scan(struct transcript_scan *out, FILE *f, const struct transcript_known *known, transcript_visit visit, void *arg) MUST_CHECK;
void transcript_scan_free(struct transcript_scan *s);

#endif
