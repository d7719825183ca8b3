/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The files of the audit log: makes lines into a chain, signs checkpoints, writes, rotates (docs/formats.md, "Audit log"). The audit log's
 * thread, which may wait for the disk. */
#ifndef BROKER_AUDIT_FILE_H
#define BROKER_AUDIT_FILE_H

#include "base/err.h"
#include "crypto/keys.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct audit_file;

struct audit_file_limits {
	uint64_t max_size;         /* bytes, at least 64 KiB; 0: no limit */
	uint32_t max_age_s;        /* 0: no limit */
	uint32_t checkpoint_lines; /* at least 1 */
};

/* Opens path for appending, or makes it; the chain goes on behind the last line of it, or of the last rotated file. Takes key. On failure
 * key is the caller's, and error says why. */
enum err audit_file_open(struct audit_file **out, const char *path, const struct audit_file_limits *limits, struct keypair *take_key,
                         char *error, size_t error_len) MUST_CHECK;
/* Signs and writes what is left, closes. Returns how many lines could not be written. */
uint64_t audit_file_close(struct audit_file *f);

/* A reload: new limits, perhaps another key (taken; NULL: the old one), and if somebody has moved the file away, a new one. */
void audit_file_reload(struct audit_file *f, const struct audit_file_limits *limits, struct keypair *take_key);

/* Is there room for another line? If not, audit_file_flush has to succeed first. */
bool audit_file_has_room(const struct audit_file *f);
/* Adds one line (with room for it): body as in audit_chain_line. Signs and rotates when it is time to. */
void audit_file_add(struct audit_file *f, uint64_t time_ms, const char *body, size_t body_len);
/* Writes what was added. False: the disk did not take all of it; what is left waits for the next call. */
bool audit_file_flush(struct audit_file *f);

/* Are there lines that no signature covers yet? */
bool audit_file_unsigned(const struct audit_file *f);
/* Signs them (why: one word for the line), writes and syncs. */
void audit_file_checkpoint(struct audit_file *f, const char *why);

#endif
