/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The audit log: events go through a ring to a thread that makes them into signed, chained lines of a file. Nobody waits; what finds the
 * ring full is counted, and a line of the chain tells how much that was. */
#ifndef BROKER_AUDIT_LOG_H
#define BROKER_AUDIT_LOG_H

#include "conf/conf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Main thread. Opens the file that conf names and starts the thread; without one it does nothing. ERR_* with error filled. */
enum err audit_log_start(const struct conf *conf, char *error, size_t error_len) MUST_CHECK;
/* Could it sign with what conf names? ERR_* with error filled. Nothing is opened. */
enum err audit_log_check(const struct conf *conf, char *error, size_t error_len) MUST_CHECK;
/* In two steps, so that a reload changes all or nothing: reads the key anew; then goes over to limits and key, and makes a file anew if that
 * was moved away. *change is freed by audit_log_change, or by audit_log_forget. */
struct audit_change;
enum err audit_log_prepare(const struct conf *conf, struct audit_change **change, char *error, size_t error_len) MUST_CHECK;
void audit_log_change(struct audit_change *take_change);
void audit_log_forget(struct audit_change *take_change); /* NULL is fine */
/* Writes and signs what is left (5 s at the most), ends the thread. */
void audit_log_stop(void);

/* Any thread. */
bool audit_log_on(void);
#define AUDIT_EVENT_MAX 4096U /* bytes of body */
/* One event; body as in audit_chain_line, len <= AUDIT_EVENT_MAX. */
void audit_log_put(uint64_t time_ms, const char *body, size_t len);
uint64_t audit_log_lines(void);   /* written since the start */
uint64_t audit_log_dropped(void); /* lines that found the ring full, or no disk at the end */

#endif
