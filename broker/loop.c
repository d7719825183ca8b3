/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/loop.h"

#include "base/clock.h"
#include "base/msg.h"
#include "base/pool.h"
#include "base/secmem.h"
#include "broker/access.h"
#include "broker/audit_flood.h"
#include "broker/conn.h"
#include "broker/listener.h"
#include "broker/packet.h"
#include "broker/recheck.h"
#include "broker/registrar.h"
#include "broker/sealing.h"
#include "broker/sessions.h"
#include "broker/subscribe.h"
#include "broker/will.h"

#include <assert.h>
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define HANDSHAKES_PER_TURN 1U /* steps, of 0.1 to 0.7 ms by the kind of key: what comes meanwhile waits for one; a turn itself costs 1 µs */
#define BUSY_DELIVERIES 8U     /* a turn with so many is worth a pause for bigger batches */
#define TICK_MAX_MS 60000U
#define STARVED_POLL_S 0.002

static struct loop *of(struct ev_loop *ev)
{
	return ev_userdata(ev);
}

void loop_assert_here(const struct loop *l)
{
	(void)l; /* used by debug builds alone */
	assert(!l->thread || pthread_equal(pthread_self(), l->thread));
}

static void read_clocks(struct loop *l)
{
	l->turn_began_us = clock_mono_us();
	l->now_ms = l->turn_began_us / 1000;
	l->wall_ms = clock_wall_ms();
}

/* ---- mail ---- */

/* Runs in the pushing thread. A loop that is awake looks into its mailbox before it blocks; asleep and the mailbox's head are
 * both sequentially consistent, so either the pusher sees asleep or the loop sees the mail. */
static void wake_loop(void *arg)
{
	struct loop *l = arg;
	if (atomic_load(&l->asleep))
		ev_async_send(l->ev, &l->wake);
}

static void on_wake(struct ev_loop *ev, ev_async *w, int revents)
{
	(void)w;
	(void)revents;
	mailbox_run(&of(ev)->mailbox, of(ev));
}

void loop_send(struct loop *from, unsigned to, struct mail *m, size_t bytes)
{
	struct outbox *o = &from->out[to];
	m->next = NULL;
	if (o->last)
		o->last->next = m;
	else
		o->first = m;
	o->last = m;
	o->items++;
	o->bytes += bytes;
}

static void send_outboxes(struct loop *l)
{
	for (unsigned i = 0; i < l->broker->n_loops; i++) {
		struct outbox *o = &l->out[i];
		if (!o->first)
			continue;
		mailbox_push_chain(&l->broker->loops[i]->mailbox, o->first, o->last, o->items, o->bytes);
		*o = (struct outbox){.ahead_items = o->ahead_items + o->items, .ahead_bytes = o->ahead_bytes + o->bytes};
	}
}

/* Once a turn: how far behind are the others? */
static void look_at_others(struct loop *l)
{
	for (unsigned i = 0; i < l->broker->n_loops; i++) {
		const struct mailbox *mb = &l->broker->loops[i]->mailbox;
		if (i == l->index)
			continue;
		l->out[i].ahead_items = atomic_load_explicit(&mb->items, memory_order_relaxed);
		l->out[i].ahead_bytes = atomic_load_explicit(&mb->bytes, memory_order_relaxed);
	}
}

void loop_submit(struct loop *l, struct store_op *op)
{
	op->reply = &l->mailbox;
	atomic_fetch_add_explicit(&l->ops, 1, memory_order_relaxed);
	store_submit(l->broker->store, op);
}

void loop_answered(struct loop *l)
{
	atomic_fetch_sub_explicit(&l->ops, 1, memory_order_relaxed);
}

/* ---- time ---- */

static void set_tick(struct loop *l, uint64_t due_ms)
{
	l->tick_due_ms = due_ms;
	ev_timer_stop(l->ev, &l->tick);
	uint64_t in_ms = due_ms > l->now_ms ? due_ms - l->now_ms : 0;
	ev_timer_set(&l->tick, (double)in_ms / 1000.0, 0.);
	ev_timer_start(l->ev, &l->tick);
}

static void on_tick(struct ev_loop *ev, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	struct loop *l = of(ev);
	l->tick_due_ms = 0;
	wheel_advance(l->wheel, l->now_ms, l);
	uint64_t next = l->now_ms + wheel_next_ms(l->wheel, l->now_ms, TICK_MAX_MS);
	if (l->tick_due_ms == 0 || next < l->tick_due_ms)
		set_tick(l, next);
}

void loop_arm(struct loop *l, struct wheel_timer *t, uint64_t due_ms)
{
	wheel_arm(l->wheel, t, due_ms);
	if (l->tick_due_ms == 0 || due_ms + WHEEL_TICK_MS < l->tick_due_ms)
		set_tick(l, due_ms + WHEEL_TICK_MS);
}

/* ---- a turn ---- */

/* libev calls these around epoll_wait. */
static void before_block(struct ev_loop *ev) EV_NOEXCEPT
{
	epoch_offline(of(ev)->broker->epoch, of(ev)->epoch_id);
}

static void after_block(struct ev_loop *ev) EV_NOEXCEPT
{
	struct loop *l = of(ev);
	atomic_store_explicit(&l->asleep, false, memory_order_relaxed);
	epoch_online(l->broker->epoch, l->epoch_id);
	read_clocks(l);
	l->routed = l->routed_qos0 = 0;
	l->visited_before = match_cache_visited(l->cache);
	l->retained_before = l->retained_visited;
	look_at_others(l);
	STATS_ADD(l, turns, 1);
}

/* Other than what STATS_ADD does: $SYS takes it away at the end of its interval. */
static void measure_turn(struct loop *l)
{
	uint64_t took_us = clock_mono_us() - l->turn_began_us;
	if (took_us > atomic_load_explicit(&l->stats.longest_turn_us, memory_order_relaxed))
		atomic_store_explicit(&l->stats.longest_turn_us, took_us, memory_order_relaxed);
}

static void step_handshakes(struct loop *l)
{
	struct conn *c;
	for (unsigned n = 0; n < HANDSHAKES_PER_TURN && l->handshakes.first; n++) {
		CONN_LIST_POP(&l->handshakes, c, handshake_next);
		c->in_handshakes = false;
		conn_handshake_step(c);
	}
}

static void step_backlog(struct loop *l)
{
	struct conn_list work = l->backlog;
	struct conn *c;
	l->backlog = (struct conn_list){0};
	while (work.first) {
		CONN_LIST_POP(&work, c, backlog_next);
		c->in_backlog = false;
		conn_backlog_step(c);
	}
}

static void step_starved(struct loop *l)
{
	for (unsigned i = 0; l->starved.first && i < l->broker->n_loops; i++)
		if (loop_overloaded(l, i))
			return;
	struct conn *c;
	while (l->starved.first) {
		CONN_LIST_POP(&l->starved, c, starved_next);
		c->in_starved = false;
		conn_release(c, HOLD_STARVED);
	}
}

static void step_flush(struct loop *l)
{
	struct conn_list work = l->dirty;
	struct conn *c;
	l->dirty = (struct conn_list){0};
	while (work.first) {
		CONN_LIST_POP(&work, c, dirty_next);
		c->dirty = false;
		conn_flush(c);
	}
}

static void step_dead(struct loop *l)
{
	struct conn *c, *keep = NULL;
	while (l->dead.first) {
		CONN_LIST_POP(&l->dead, c, dead_next);
		if (c->in_handshakes || c->in_backlog || c->in_starved || c->dirty) {
			c->dead_next = keep; /* a list still leads to it; that list is walked next turn */
			keep = c;
		} else {
			conn_free(c);
		}
	}
	while (keep) {
		c = keep;
		keep = c->dead_next;
		CONN_LIST_PUSH(&l->dead, c, dead_next);
	}
}

static void pause_when_busy(struct loop *l)
{
	unsigned us = l->conf->busy_delay_us;
	if (l->routed_qos0 < BUSY_DELIVERIES || us == 0)
		return; /* QoS 1 and 2 are bound by windows: waiting gathers nothing, it only delays their acknowledgements */
	STATS_ADD(l, busy_delays, 1);
	struct timespec t = {.tv_nsec = (long)us * 1000};
	nanosleep(&t, NULL);
}

static bool work_left(const struct loop *l)
{
	return l->recheck.active || sessions_clearing(l->sessions) || l->dirty.first || l->handshakes.first || l->backlog.first || l->dead.first;
}

/* What is stored encrypted does not stay behind in clear. */
static void wipe_buffers(struct loop *l)
{
	secmem_wipe(l->plain_buf, l->plain_used);
	secmem_wipe(l->encode_buf, l->encode_used);
	l->plain_used = l->encode_used = 0;
	l->secrets = false;
}

static void on_turn_end(struct ev_loop *ev, ev_prepare *w, int revents)
{
	(void)w;
	(void)revents;
	struct loop *l = of(ev);
	mailbox_run(&l->mailbox, l);
	step_handshakes(l);
	step_backlog(l);
	step_starved(l);
	subscribe_step(l);
	recheck_step(l);
	sessions_clear_step(l->sessions);
	send_outboxes(l); /* first, so that the others write to their clients while we write to ours */
	step_flush(l);
	step_dead(l);
	send_outboxes(l);
	if (l->secrets)
		wipe_buffers(l);
	epoch_quiescent(l->broker->epoch, l->epoch_id);
	if (epoch_reclaim(l->broker->epoch, l->epoch_id) > 0 && (l->tick_due_ms == 0 || l->tick_due_ms > l->now_ms + 2 * WHEEL_TICK_MS))
		set_tick(l, l->now_ms + WHEEL_TICK_MS); /* the rest soon, also when nothing else wakes us */
	if (l->stopping && !work_left(l) && atomic_load(&l->ops) == 0)
		atomic_store(&l->drained, true);
	if (l->ending && !l->conns && atomic_load(&l->ops) == 0)
		ev_break(ev, EVBREAK_ALL);
	measure_turn(l);
	pause_when_busy(l);

	atomic_store(&l->asleep, true);
	bool more = work_left(l) || (l->subscribing.first && !l->stopping) || atomic_load(&l->mailbox.head) != NULL;
	if (more)
		ev_idle_start(ev, &l->again);
	else
		ev_idle_stop(ev, &l->again);
	if (l->starved.first) /* nothing wakes us when the other loop has caught up */
		set_tick(l, l->now_ms + (uint64_t)(STARVED_POLL_S * 1000));
}

static void on_idle(struct ev_loop *ev, ev_idle *w, int revents)
{
	(void)ev;
	(void)w;
	(void)revents;
}

/* ---- life ---- */

/* libev does not tell its epoll descriptor, and never removes a socket from the set by itself: it would leave that to a stray
 * wake-up, when the socket belongs to another thread already. Main thread; -1: not found, and the stray wake-ups it is. */
static int find_epoll_fd(const struct broker *b, unsigned index)
{
	DIR *d = opendir("/proc/self/fd");
	int found = -1;
	for (struct dirent *e; d && found < 0 && (e = readdir(d));) {
		char target[64];
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);
		if (n < 0 || (target[n] = '\0', strcmp(target, "anon_inode:[eventpoll]") != 0))
			continue;
		found = (int)strtol(e->d_name, NULL, 10);
		for (unsigned i = 0; i < index; i++)
			if (b->loops[i]->epoll_fd == found)
				found = -1;
	}
	if (d)
		closedir(d);
	return found;
}

void loop_forget_fd(struct loop *l, int fd)
{
	if (l->epoll_fd >= 0)
		epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, fd, &(struct epoll_event){0});
}

struct loop *loop_new(struct broker *b, unsigned index)
{
	struct loop *l = aligned_alloc(64, (sizeof *l + 63) / 64 * 64);
	if (!l)
		return NULL;
	*l = (struct loop){.broker = b, .index = index, .epoch_id = -1, .policy = policy_ref(b->policy), .conf = b->policy->conf, .rules = 1};
	l->spaces = b->registrar ? registrar_map(b->registrar) : NULL;
	l->unfinished.last = &l->unfinished.first;
	read_clocks(l);
	l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	l->epoll_fd = l->ev ? find_epoll_fd(b, index) : -1;
	l->wheel = wheel_new(l->now_ms);
	l->cache = match_cache_new(b->trie, 8192);
	l->known = tls_known_new(l->conf->known_certificates); /* NULL will do */
	l->sessions = sessions_new(l);
	l->read_buf = malloc(LOOP_READ_SIZE);
	l->plain_buf = malloc(LOOP_PLAIN_SIZE);
	l->encode_buf = malloc(LOOP_ENCODE_SIZE);
	l->cipher_buf = malloc(LOOP_CIPHER_SIZE);
	l->accepts = calloc(b->n_listeners, sizeof *l->accepts);
	if (!l->ev || !l->wheel || !l->cache || !l->sessions || !l->read_buf || !l->plain_buf || !l->encode_buf ||
		!l->cipher_buf || !l->accepts) {
		loop_free(l);
		return NULL;
	}
	match_cache_look_ahead(l->cache, packet_topics_behind, l);
	for (size_t i = 0; i < b->n_listeners; i++)
		l->accepts[i].fd = -1;
	mailbox_init(&l->mailbox, wake_loop, l);
	ev_set_userdata(l->ev, l);
	ev_set_loop_release_cb(l->ev, before_block, after_block);
	ev_prepare_init(&l->turn_end, on_turn_end);
	ev_set_priority(&l->turn_end, EV_MINPRI);
	ev_prepare_start(l->ev, &l->turn_end);
	ev_async_init(&l->wake, on_wake);
	ev_async_start(l->ev, &l->wake);
	ev_timer_init(&l->tick, on_tick, 0., 0.);
	ev_idle_init(&l->again, on_idle);
	return l;
}

static void *thread_main(void *arg)
{
	struct loop *l = arg;
	epoch_online(l->broker->epoch, l->epoch_id);
	listener_start(l);
	l->recheck.of_policy = true;
	recheck_start(l); /* of what the store brought back */
	ev_run(l->ev, 0);
	audit_floods_free(l);
	epoch_offline(l->broker->epoch, l->epoch_id);
	pool_drain();
	return NULL;
}

enum err loop_start(struct loop *l)
{
	l->epoch_id = epoch_register(l->broker->epoch);
	if (l->epoch_id < 0)
		return ERR_FULL;
	sigset_t all, old; /* signals go to the main thread */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int failed = pthread_create(&l->thread, NULL, thread_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return failed ? ERR_NOMEM : ERR_OK;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	while (l->conns) {
		struct conn *c = l->conns;
		msg_unref(c->will);
		c->will = NULL;
		conn_free(c);
	}
	subscribe_drop_all(l);
	wills_free(l->wills);
	sessions_free(l->sessions);
	match_cache_free(l->cache);
	access_cache_free(l->access);
	tls_known_free(l->known);
	audit_floods_free(l); /* of a loop whose thread never ran */
	wheel_free(l->wheel);
	if (l->ev)
		ev_loop_destroy(l->ev);
	free(l->accepts);
	free(l->read_buf);
	free(l->plain_buf);
	free(l->encode_buf);
	free(l->cipher_buf);
	sealer_free(l->sealer);
	space_map_unref(l->spaces);
	policy_unref(l->policy);
	free(l);
}
