/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libsealmq: sealed messages for any MQTT client. Bytes go in and bytes come out; nothing here opens a socket, starts a thread or waits.
 * The formats: sealmq-formats(7). How it stands beside an MQTT library: examples/.
 *
 * A handle is one member: its certificate, keys, streams and replay windows. One thread at a time may use a handle; several handles
 * may be used at once by several threads. After fork() the child opens a handle of its own: every call on its parent's returns
 * SEALMQ_FORKED (keys are not copied to it), but for sealmq_close.
 *
 * Text is UTF-8 and NUL-terminated. Topics are names as MQTT has them, without $SEALED/. Lengths are bytes; times are since 1970. */
#ifndef SEALMQ_H
#define SEALMQ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SEALMQ_MUST_CHECK __attribute__((warn_unused_result))
#define SEALMQ_API __attribute__((visibility("default")))
#else
#define SEALMQ_MUST_CHECK
#define SEALMQ_API
#endif

/* The library's version, "0.1.0". */
SEALMQ_API const char *sealmq_version(void);

#ifdef __cplusplus
}
#endif

#endif
