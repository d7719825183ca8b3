/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reads an audit log offline, line by line, and names what was edited, dropped, inserted, reordered or cut off (docs/formats.md, "Audit log").
 * One thread. */
#ifndef CRYPTO_AUDIT_VERIFY_H
#define CRYPTO_AUDIT_VERIFY_H

#include "crypto/audit_chain.h"
#include "crypto/trust.h"

enum audit_finding {
	AUDIT_PROBLEM, /* the log is not what the broker wrote, or not all of it */
	AUDIT_NOTE,    /* the broker itself says so: a crash, lines that it could not write */
};

struct audit_verify_options {
	struct trust *trust;      /* who may issue the broker's certificate */
	const struct cert *issuer;/* the one certificate (or its key, renewed) that may sign; NULL: any of trust's for servers */
	bool open;                /* the last file may be one that a broker still writes to */
	/* file and line (from 1; 0: the file as a whole) say where; text is valid during the call */
	void (*report)(void *arg, enum audit_finding f, const char *file, uint64_t line, const char *text);
	void *arg;
};

struct audit_totals {
	uint64_t lines, checkpoints, problems, first_seq, last_seq;
	uint64_t unsigned_lines; /* at the end, behind the last checkpoint */
};

struct audit_verify;

/* o is copied, what it points to borrowed. NULL: out of memory. */
struct audit_verify *audit_verify_new(const struct audit_verify_options *o) MUST_CHECK;
void audit_verify_free(struct audit_verify *v); /* NULL is fine */

/* Files in the order in which they were written; name outlives v. */
void audit_verify_file(struct audit_verify *v, const char *name);
/* Its next line, without newline; whole: there was one. */
void audit_verify_line(struct audit_verify *v, const char *line, size_t len, bool whole);
/* After the last line of the last file. */
struct audit_totals audit_verify_end(struct audit_verify *v);

#endif
