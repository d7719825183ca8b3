/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Counters of the shim library, kept in a file that a test maps and reads while the counted process runs. See README.md. */
#ifndef BENCH_COUNT_COUNT_H
#define BENCH_COUNT_COUNT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Memory: bytes are usable bytes. COUNT_FREE's bytes include what a realloc gave back, so that live bytes are
 * malloc + calloc + realloc + memalign - free.
 * System calls: bytes are those that were transferred (of epoll_wait: events). read and write count apart for sockets and for all else (event
 * descriptors, files, pipes). */
#define COUNTERS(X)                                                                                                        \
	X(MALLOC, "malloc") X(CALLOC, "calloc") X(REALLOC, "realloc") X(MEMALIGN, "memalign") X(FREE, "free")              \
	X(RECV, "recv") X(RECVFROM, "recvfrom") X(RECVMSG, "recvmsg")                                                      \
	X(READ_SOCKET, "read.socket") X(READ_OTHER, "read.other") X(READV_SOCKET, "readv.socket") X(READV_OTHER, "readv.other") \
	X(SEND, "send") X(SENDTO, "sendto") X(SENDMSG, "sendmsg")                                                          \
	X(WRITE_SOCKET, "write.socket") X(WRITE_OTHER, "write.other")                                                      \
	X(WRITEV_SOCKET, "writev.socket") X(WRITEV_OTHER, "writev.other")                                                  \
	X(EPOLL_CTL, "epoll_ctl") X(EPOLL_WAIT, "epoll_wait") X(ACCEPT, "accept") X(FDATASYNC, "fdatasync")

#define COUNT_NAME(id, name) COUNT_##id,
enum counter { COUNTERS(COUNT_NAME) COUNTER_TOTAL };
#undef COUNT_NAME

/* Any thread; these allocate nothing and cannot fail. */
void count_call(enum counter c);
/* Bytes when positive, a failure when negative. */
void count_result(enum counter c, ssize_t result);

#endif
