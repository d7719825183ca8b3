/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One client's connection: socket, transport, input, output. It belongs to the loop that accepted it until CONNECT, then to the loop
 * that owns its client id. An idle connection owns no buffer. */
#ifndef BROKER_CONN_H
#define BROKER_CONN_H

#include "base/identity.h"
#include "base/wheel.h"
#include "broker/ackq.h"
#include "broker/loop.h"
#include "broker/transport.h"
#include "mqtt/decode.h"

#include <netinet/in.h>

/* By what is expected next. Edges are in conn_enter. */
enum conn_state {
	CONN_HANDSHAKE, /* the TLS handshake */
	CONN_CONNECT,   /* the CONNECT packet */
	CONN_OPENING,   /* the store's answer about the session; input waits */
	CONN_UP,
	CONN_CLOSING,   /* detached from its session; what is encoded is flushed, then it is freed */
};

/* Why input waits (bits). */
enum { HOLD_OPENING = 1, HOLD_BACKLOG = 2, HOLD_ACKS = 4, HOLD_STARVED = 8, HOLD_STOPPING = 16, HOLD_OUTPUT = 32, HOLD_REFUSED = 64,
       HOLD_RATE = 128, HOLD_SUBSCRIBE = 256 };

struct meter;

struct conn {
	ev_io io;                  /* reads, and writes while pending is not empty */
	struct loop *loop;
	struct conn *next, **prev; /* loop->conns */
	struct conn *dirty_next, *handshake_next, *backlog_next, *starved_next, *dead_next;
	struct transport transport; /* its ops NULL: the client has not said anything yet */
	struct session *session;   /* from CONN_OPENING to the end of CONN_UP */
	struct identity *identity; /* from CONN_CONNECT on */
	struct listener *listener;
	struct msg *will;          /* published unless DISCONNECT comes */
	uint64_t will_number;      /* of it in the store; 0: it is not there */
	struct wheel_timer timer;  /* handshake and CONNECT together, then keepalive */
	uint64_t last_in_ms;       /* monotonic; when the last packet came */
	struct ackq acks;
	const char *failed;        /* conn_fail's cause */

	uint8_t *in;               /* undecoded plain bytes: an incomplete packet, or all that waits while input is held */
	uint32_t in_len, in_cap;
	uint8_t *ctl;              /* encoded control packets, from ctl_off */
	uint32_t ctl_off, ctl_len, ctl_cap;
	uint8_t *pending;          /* ciphertext that the socket did not take */
	uint32_t pending_off, pending_len;
	struct conn *unfinished_next, **unfinished_prev; /* before CONNECT; prev NULL: not in the list */
	struct meter *meter;       /* NULL: its identity has no limits (broker/quota.h) */
	struct msg *big;           /* a PUBLISH whose payload is being sent in pieces */
	size_t big_left;           /* bytes of it */

	uint32_t keepalive_ms;     /* 1.5 × what CONNECT said; 0: none */
	uint32_t partial_ms;       /* monotonic, its low bits: when the packet began that is not complete */
	uint32_t serial;           /* session->conn_serial when it was attached */
	uint16_t hold;
	uint16_t subscribing;      /* SUBSCRIBE packets that go on in later turns (broker/subscribe.h) */
	uint8_t state, version;
	uint8_t move_to;           /* loop + 1 that it moves to when its input has been kept; 0: stays */
	bool dirty, in_handshakes, in_backlog, in_starved, dead, placed, logged_up;
	bool partial;              /* the timer knows of the packet that is not complete */
	uint8_t family;            /* AF_INET, AF_INET6 */
	uint8_t certificate_level; /* enum validity, as counted (broker/expiry.h) */
	uint16_t peer_port;
	uint8_t peer[16];
};

/* A new socket from accept(); takes fd (closed on failure). */
void conn_accept(struct loop *l, struct listener *listener, int fd, const struct sockaddr *peer);

/* CONNECT was accepted: waits for the store's answer, or is up (the session is attached). */
void conn_opening(struct conn *c);
void conn_up(struct conn *c);

/* Ends the connection: detaches the session (publishing the will unless will is false), sends what is encoded, closes. cause is logged
 * with the client's name. level: how. The conn may still be used in this turn, its state is CONN_CLOSING. */
void conn_end(struct conn *c, enum log_level level, bool publish_will, const char *cause, ...) PRINTF_LIKE(4, 5);
/* The same at the end of the turn, for callers that still use the session; cause is static. */
void conn_fail(struct conn *c, const char *cause);
/* The broker is stopping: its will is published if it is configured so, and forgotten. */
void conn_publish_will(struct conn *c);
/* A packet broke a rule. */
void conn_protocol_error(struct conn *c, enum mqtt_reason reason, const char *where);

/* Room for n bytes of control packet at the end of what is to be sent; NULL: out of memory, and the connection will end. Marks it dirty.
 * conn_ctl_add says how many were used. */
uint8_t *conn_ctl(struct conn *c, size_t n) MUST_CHECK;
void conn_ctl_add(struct conn *c, size_t n);
/* n packets that carry an identifier and nothing else. */
void conn_send_acks(struct conn *c, enum mqtt_type type, const uint16_t *packet_ids, size_t n);

/* An answer that keeps its place among the others: sent now if ready and none waits before it. *seq (unless ready): for
 * conn_ack_ready. A SUBACK brings its encoded bytes, which are taken. */
void conn_owe(struct conn *c, enum mqtt_type type, uint16_t packet_id, bool ready, uint32_t *seq);
/* n answers that are ready. */
void conn_owe_ready(struct conn *c, enum mqtt_type type, const uint16_t *packet_ids, size_t n);
void conn_owe_bytes(struct conn *c, uint8_t *take_bytes, size_t len, bool ready, uint32_t *seq);
void conn_ack_ready(struct conn *c, uint32_t seq);
/* Does the store owe so much to this client that its input has to wait? Goes on when that has become less. */
bool conn_behind(const struct conn *c);
void conn_release_acks(struct conn *c);
/* Submits a store operation about this session and packet identifier whose answer makes seq ready; a failed one ends the connection. */
void conn_ack_after_store(struct conn *c, enum store_verb verb, uint16_t packet_id, uint32_t seq);

/* Will be flushed at the end of the turn. */
void conn_mark_dirty(struct conn *c);

/* Input waits, or goes on (at the end of this turn). */
void conn_hold(struct conn *c, uint16_t why);
void conn_release(struct conn *c, uint16_t why);

/* The work of loop_turn_end. */
void conn_handshake_step(struct conn *c);
void conn_backlog_step(struct conn *c);
void conn_flush(struct conn *c);
void conn_free(struct conn *c);

/* Moves c to the loop that owns its client id; its input goes along. Nothing of c may be touched by the old loop afterwards. */
void conn_move(struct conn *c, unsigned to);

/* "CN 'x' client 'y' 127.0.0.1:1234" for log lines, in a per-thread buffer. */
const char *conn_name(const struct conn *c);

/* List helpers for loop.h's struct conn_list. POP takes the first of a list that is not empty. */
#define CONN_LIST_PUSH(list, c, link)                                                                                  \
	do {                                                                                                               \
		(c)->link = NULL;                                                                                              \
		if ((list)->last)                                                                                              \
			(list)->last->link = (c);                                                                                  \
		else                                                                                                           \
			(list)->first = (c);                                                                                       \
		(list)->last = (c);                                                                                            \
	} while (0)
#define CONN_LIST_POP(list, c, link)                                                                                   \
	do {                                                                                                               \
		(c) = (list)->first;                                                                                           \
		(list)->first = (c)->link;                                                                                     \
		if (!(list)->first)                                                                                            \
			(list)->last = NULL;                                                                                       \
	} while (0)

#endif
