/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One reactor thread: its libev loop, buffers, timers, sessions and connections. All fields belong to the thread unless said otherwise.
 *
 * A turn: epoll reports, callbacks read and route (marking connections dirty), and before the loop blocks again loop_turn_end does
 * the bounded rest: handshakes, backlogs, one flush for each dirty connection, mail to other loops, reclamation. */
#ifndef BROKER_LOOP_H
#define BROKER_LOOP_H

#include "base/mailbox.h"
#include "base/wheel.h"
#include "broker/broker.h"
#include "broker/run.h"
#include "broker/stats.h"
#include "topics/match_cache.h"

#include <ev.h>
#include <pthread.h>

struct access_cache;
struct floods;
struct round;
struct sealer;
struct conn;
struct refused;
struct session;
struct sessions;
struct subscribing;
struct wills;

#define LOOP_READ_SIZE (64U * 1024)    /* bytes of one recv() */
#define LOOP_PLAIN_SIZE (160U * 1024)  /* a kept partial packet and what one recv() decrypts to */
#define LOOP_ENCODE_SIZE (80U * 1024)  /* plain bytes of one flush: a PUBLISH head with the longest topic fits */
#define LOOP_CIPHER_SIZE (LOOP_ENCODE_SIZE + TLS_FLIGHT_MAX + 8U * 1024)

#define MAILBOX_ITEMS_HIGH 200000U
#define MAILBOX_BYTES_HIGH (64U * 1024 * 1024)

/* FIFO of connections through one of their link members. */
struct conn_list {
	struct conn *first, *last;
};

struct accept_watcher {
	ev_io io;
	ev_timer retry;                    /* after EMFILE, and between accepts while max_unfinished_handshakes is reached */
	uint64_t due_us;                   /* monotonic; the next of those */
	struct loop *loop;
	struct listener *listener;
	int fd;
};

struct outbox {                        /* mail for another loop, gathered during a turn */
	struct mail *first, *last;
	size_t items, bytes;
	size_t ahead_items, ahead_bytes;   /* in the other's mailbox, as seen once a turn: its counters change too often to be looked at more */
};

struct loop { /* NOLINT(clang-analyzer-optin.performance.Padding): in groups by what they are about, and a cache line apart */
	/* What other threads write or look at, in a cache line of its own. */
	_Alignas(64) struct mailbox mailbox; /* any thread pushes */
	atomic_bool asleep;                /* about to block or blocked: pushers must wake it */
	char rest_of_line[64 - sizeof(struct mailbox) - sizeof(atomic_bool)];

	struct broker *broker;
	struct policy *policy;             /* one reference; replaced between turns (broker/reload.h) */
	const struct conf *conf;           /* the policy's */
	struct space_map *spaces;          /* one reference; NULL: there are no key spaces */
	struct sealer *sealer;             /* broker/sealing.h; NULL until a message is sealed or opened */
	uint32_t rules;                    /* counts changes of what clients may do: policies and key spaces' members */
	unsigned index;
	int epoch_id;
	struct ev_loop *ev;
	int epoll_fd;                      /* libev's own, or -1 */
	ev_prepare turn_end;
	ev_async wake;
	ev_timer tick;
	ev_idle again;                     /* active: do not block, there is work left */
	pthread_t thread;

	struct outbox out[LOOPS_MAX];
	atomic_uint ops;                   /* store operations whose done() is outstanding */

	struct wheel *wheel;
	uint64_t tick_due_ms;              /* when tick fires; 0: not set */
	uint64_t now_ms, wall_ms;          /* monotonic and wall clock, read once a turn */
	uint64_t turn_began_us;            /* monotonic */

	struct match_cache *cache;
	struct mqtt_bytes behind;          /* what has arrived behind the PUBLISH that is being handled (broker/packet.h) */
	uint64_t visited_before;           /* match_cache_visited when the turn began */
	struct tls_known *known;           /* certificates' signatures; of this policy; NULL: none are remembered */
	struct access_cache *access;       /* NULL until there is an acl_file */
	struct sessions *sessions;
	struct refused *refused;           /* publishers that wait for room in the store (broker/refused.h) */
	struct wheel_timer retry;          /* of their messages */
	struct wills *wills;               /* that a crash left; NULL: none */
	struct floods *floods;             /* NULL until there is something to count (broker/audit_flood.h) */
	struct conn *conns;                /* all of them (list through conn.next) */
	struct conn_list dirty;            /* have something to send */
	struct conn_list handshakes;       /* readable, before the handshake's end */
	struct conn_list backlog;          /* have undecoded input that is allowed to go on */
	struct {                           /* SUBSCRIBE packets that go on (broker/subscribe.h) */
		struct subscribing *first, *last;
	} subscribing;
	uint64_t retained_visited, retained_before; /* what SUBSCRIBEs looked at of the retained tree, since ever, and when the turn began */
	struct conn_list starved;          /* publishers stopped because another loop's mailbox is full */
	struct {                           /* before CONNECT, in order of arrival (broker/limits.h) */
		struct conn *first, **last;    /* last: the link that ends the list */
		uint32_t count;
	} unfinished;
	struct conn_list dead;             /* to be freed at the end of the turn */
	struct accept_watcher *accepts;    /* one for each listener */

	uint8_t *read_buf, *plain_buf, *encode_buf, *cipher_buf;
	size_t plain_used, encode_used;    /* bytes of these buffers written since they were wiped */
	bool secrets;                      /* … among them payloads that are stored encrypted */
	struct run run;                    /* alike PUBLISH packets of the connection that is being read */
	unsigned routed;                   /* deliveries of this turn */
	unsigned routed_qos0;              /* of these, the ones that wait for no acknowledgement */
	struct {                           /* after a reload: where judging again has come to (broker/recheck.h) */
		bool active;
		bool of_policy;                /* the policy waits for its end */
		struct round *round;           /* a round of the registrar does; or NULL */
		uint32_t slot;                 /* of sessions */
		struct conn *conn;             /* the next; moved on when that one is unlinked */
		bool conns_only;               /* not for a reload */
	} recheck;
	struct wheel_timer expiry;         /* the next look at the clients' certificates (broker/expiry.h) */
	bool stopping;                     /* reads and accepts no more */
	bool ending;                       /* ends when its last connection is gone */
	atomic_bool drained;               /* stopping, and nothing is left to flush; read by broker_stop */
	struct stats stats;
};

struct loop *loop_new(struct broker *b, unsigned index) MUST_CHECK;
enum err loop_start(struct loop *l) MUST_CHECK;
void loop_free(struct loop *l);        /* thread ended, or never started */

/* Queues mail for loop `to` until the end of this turn; bytes is what it holds in memory, which its run() gives back by mailbox_done(.., 0, bytes). */
void loop_send(struct loop *from, unsigned to, struct mail *m, size_t bytes);
/* Is loop `to` so far behind that publishers have to wait? As of the beginning of the turn, and by what this turn has added. */
static inline bool loop_overloaded(const struct loop *from, unsigned to)
{
	const struct outbox *o = &from->out[to];
	return o->ahead_items + o->items > MAILBOX_ITEMS_HIGH || o->ahead_bytes + o->bytes > MAILBOX_BYTES_HIGH;
}

/* Arms t on this loop's wheel. */
void loop_arm(struct loop *l, struct wheel_timer *t, uint64_t due_ms);

/* Takes a socket that is about to move out of this loop's epoll set: ev_io_stop alone leaves it there. */
void loop_forget_fd(struct loop *l, int fd);

/* Submits a store operation whose done() comes back to this loop, and calls loop_answered first. */
void loop_submit(struct loop *l, struct store_op *op);
void loop_answered(struct loop *l);

/* Debug builds: the caller is this loop's thread. */
void loop_assert_here(const struct loop *l);

#endif
