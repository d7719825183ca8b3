/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where log lines end up. Made by the configuring thread, used and freed by the log's thread. */
#ifndef BASE_LOG_SINK_H
#define BASE_LOG_SINK_H

#include "base/log.h"

#include <stddef.h>
#include <stdint.h>

struct log_sinks;

/* Opens what conf names. ERR_IO: the file cannot be opened (errno tells); ERR_NOMEM. */
enum err log_sinks_open(const struct log_conf *conf, struct log_sinks **out) MUST_CHECK;
void log_sinks_close(struct log_sinks *s); /* without a flush; NULL is fine */

/* Adds one line; it leaves with the others at the next flush, or when 64 KiB are waiting. text_len <= LOG_TEXT_MAX. */
void log_sinks_add(struct log_sinks *s, uint64_t time_ms, enum log_level level, const char *text, size_t text_len);
/* Writes what is waiting; may wait for a disk or a reader. */
void log_sinks_flush(struct log_sinks *s);
/* Lines that a sink could not take since the last call (disk full, reader gone). */
uint64_t log_sinks_lost(struct log_sinks *s);

#endif
