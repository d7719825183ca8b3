/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Counters of one loop: written by that loop alone, read by any thread. Relaxed atomics without read-modify-write:
 * as cheap as plain integers, and exact. */
#ifndef BROKER_STATS_H
#define BROKER_STATS_H

#include <stdatomic.h>
#include <stdint.h>

struct stats {
	_Atomic uint64_t bytes_received, bytes_sent;         /* on the wire, as the socket counts them */
	_Atomic uint64_t packets_received, packets_sent;     /* MQTT control packets of any type */
	_Atomic uint64_t publish_received, publish_sent;     /* PUBLISH packets */
	_Atomic uint64_t publish_bytes_received, publish_bytes_sent; /* payload bytes in them */
	_Atomic uint64_t publish_dropped;                    /* copies that a full queue or an absent QoS 0 receiver cost */
	_Atomic uint64_t publish_denied;                     /* by access control */
	_Atomic uint64_t publish_withheld;                   /* copies that access control kept from a receiver */
	_Atomic uint64_t connects, handshakes, handshakes_failed, protocol_errors;
	_Atomic uint64_t signatures_known, signatures_verified; /* over certificates, of completed handshakes */
	_Atomic uint64_t connected;                          /* connections with a session, now */
	_Atomic uint64_t connections;                        /* sockets, now */
	_Atomic uint64_t sessions;                           /* connected or not, now */
	_Atomic uint64_t persistent_away;                    /* persistent sessions without connection, now */
	_Atomic uint64_t expired;                            /* sessions that expired */
	_Atomic uint64_t queued, queued_bytes;               /* messages in memory queues, now */
	_Atomic uint64_t inflight;                           /* QoS 1 and 2 messages sent and not acknowledged, now */
	_Atomic uint64_t certificates_month, certificates_week, certificates_over; /* of connected clients: 30 to 7 days left, less, none */
	_Atomic uint64_t limit_handshakes, limit_unfinished, limit_connections, limit_connects, limit_pauses, limit_subscriptions,
		limit_packets, limit_memory, limit_timeouts, limit_sockets; /* how often each was reached (broker/limits.h, broker/quota.h) */
	_Atomic uint64_t partial_bytes;                      /* memory of packets that are not complete, now */
	_Atomic uint64_t turns, busy_delays;
	_Atomic uint64_t longest_turn_us;                    /* since $SYS last told it, and set it to 0 */
};

/* Owner loop only. delta may be negative in two's complement (STATS_SUB). */
#define STATS_ADD(loop, field, delta)                                                                                  \
	atomic_store_explicit(&(loop)->stats.field,                                                                        \
	                      atomic_load_explicit(&(loop)->stats.field, memory_order_relaxed) + (uint64_t)(delta),        \
	                      memory_order_relaxed)
#define STATS_SUB(loop, field, delta)                                                                                  \
	atomic_store_explicit(&(loop)->stats.field,                                                                        \
	                      atomic_load_explicit(&(loop)->stats.field, memory_order_relaxed) - (uint64_t)(delta),        \
	                      memory_order_relaxed)

#endif
