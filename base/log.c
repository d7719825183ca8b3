/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The log's thread sleeps behind a gate; because it dozes after having written something, the lines of a burst leave in few writes.
 *
 * Threads: log_start, log_reconfigure and log_stop are called by one thread at a time; log_write by any; `writer` is the log thread's. */
#include "base/log.h"

#include "base/clock.h"
#include "base/gate.h"
#include "base/log_line.h"
#include "base/log_sink.h"
#include "base/mailbox.h"
#include "base/ring.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RING_CELLS 8192u  /* 512 KiB: about 4,000 lines */
#define DOZE_MS 20
#define STOP_WAIT_MS 2000 /* of the 5 s that the broker has to end in */

/* What goes through the ring: cut after the text's last byte. */
struct line {
	uint64_t time_ms;
	enum log_level level;
	char text[LOG_TEXT_MAX + 4]; /* one byte more shows whether the cut falls into a UTF-8 sequence; and vsnprintf's NUL */
};

/* New sinks, for the records from a position of the ring on. */
struct change {
	struct mail mail; /* first */
	struct log_sinks *sinks;
	uint64_t from;
};

struct writer {
	struct log_sinks *sinks;
	struct mail *changes;  /* accepted and not yet come to, in order */
	uint64_t told;         /* of `dropped`: what a line has already reported */
};

static struct {
	atomic_uint mask;
	_Atomic uint64_t dropped;
	_Atomic(struct ring *) ring;     /* made by the first log_start, then kept: a producer may be late */
	struct mailbox changes;          /* from log_reconfigure to the thread; zero is an empty mailbox */
	atomic_bool reconfigured;        /* look into it instead of sleeping */
	struct gate gate;
	atomic_int ended;                /* futex; 1: the thread is done */
	atomic_bool stopping;
	atomic_bool stuck;               /* log_stop gave the thread up: stderr may be what it waits for */
	bool running;                    /* configuring thread */
	pthread_t thread;                /* configuring thread */
	struct writer writer;            /* log's thread while running */
} the_log = { .mask = LOG_ERROR | LOG_WARNING | LOG_NOTICE | LOG_INFO };

/* ---- producers */

bool log_enabled(enum log_level level)
{
	return (atomic_load_explicit(&the_log.mask, memory_order_relaxed) & level) != 0;
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&the_log.dropped, memory_order_relaxed);
}

static void drop(uint64_t lines)
{
	atomic_fetch_add_explicit(&the_log.dropped, lines, memory_order_relaxed);
}

static bool crowded(const struct ring *ring)
{
	return ring_put_position(ring) - ring_take_position(ring) > RING_CELLS / 2;
}

static void write_directly(const struct line *line, size_t len)
{
	if (atomic_load_explicit(&the_log.stuck, memory_order_relaxed)) {
		drop(1);
		return;
	}
	char out[LOG_LINE_MAX];
	size_t out_len = log_line_text(out, line->time_ms, line->level, line->text, len);
	if (write(STDERR_FILENO, out, out_len) < 0)
		drop(1);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	if (!log_enabled(level))
		return;
	int error = errno;
	struct line line;
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(line.text, sizeof line.text, fmt, args);
	va_end(args);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof line.text ? (size_t)n : sizeof line.text - 1;
	len = log_line_cut(line.text, len);
	line.time_ms = clock_wall_ms();
	line.level = level;

	struct ring *ring = atomic_load_explicit(&the_log.ring, memory_order_acquire);
	enum err e = ring ? ring_put(ring, &line, offsetof(struct line, text) + len) : ERR_CLOSED;
	if (e == ERR_OK)
		gate_fed(&the_log.gate, crowded(ring)); /* ring_put publishes seq_cst */
	else if (e == ERR_FULL)
		drop(1);
	else
		write_directly(&line, len);
	errno = error;
}

/* ---- the log's thread */

static void accept_changes(struct writer *w)
{
	struct mail **end = &w->changes;
	while (*end)
		end = &(*end)->next;
	*end = mailbox_take(&the_log.changes);
}

static void close_sinks(struct log_sinks *s)
{
	log_sinks_flush(s);
	drop(log_sinks_lost(s));
	log_sinks_close(s);
}

/* Goes over to the next sinks. */
static void change_sinks(struct writer *w)
{
	struct change *c = (struct change *)(void *)w->changes;
	w->changes = c->mail.next;
	close_sinks(w->sinks);
	w->sinks = c->sinks;
	free(c);
}

/* Lines up to a reconfiguration go where they would have gone without it. */
static void follow_changes(struct writer *w, const struct ring *ring)
{
	accept_changes(w);
	while (w->changes && ring_take_position(ring) >= ((struct change *)(void *)w->changes)->from)
		change_sinks(w);
}

/* Only after a flush that lost nothing: a full disk is no place to complain. */
static void tell_dropped(struct writer *w)
{
	uint64_t lost = log_sinks_lost(w->sinks), dropped = log_dropped();
	drop(lost);
	if (lost > 0 || dropped == w->told)
		return;
	char text[64];
	int len = snprintf(text, sizeof text, "%llu log lines were dropped", (unsigned long long)(dropped - w->told));
	w->told = dropped;
	log_sinks_add(w->sinks, clock_wall_ms(), LOG_WARNING, text, (size_t)len);
	log_sinks_flush(w->sinks);
	drop(log_sinks_lost(w->sinks));
}

/* Writes what is there; returns how many lines. */
static size_t drain(struct writer *w, struct ring *ring)
{
	struct line line;
	size_t lines = 0;
	for (;; lines++) {
		bool ready = ring_ready(ring); /* before the look for a change: so a line put after it finds it followed */
		follow_changes(w, ring);
		if (!ready)
			break;
		size_t len = ring_take(ring, &line, sizeof line);
		log_sinks_add(w->sinks, line.time_ms, line.level, line.text, len - offsetof(struct line, text));
	}
	log_sinks_flush(w->sinks);
	tell_dropped(w);
	return lines;
}

/* Dozing ends by itself. */
static void wait_for_lines(const struct ring *ring, bool doze)
{
	gate_announce(&the_log.gate, doze);
	bool wanted = atomic_load(&the_log.stopping) || atomic_load(&the_log.reconfigured) || (doze ? crowded(ring) : ring_ready(ring));
	if (!wanted)
		gate_sleep(&the_log.gate, doze ? DOZE_MS : -1);
	gate_rise(&the_log.gate);
}

static void *log_thread(void *arg)
{
	struct writer *w = arg;
	struct ring *ring = atomic_load_explicit(&the_log.ring, memory_order_acquire);
	while (!atomic_load(&the_log.stopping)) {
		atomic_store(&the_log.reconfigured, false);
		wait_for_lines(ring, drain(w, ring) > 0);
	}
	/* Closed now. A producer that has reserved its cells is about to fill them. */
	while (drain(w, ring), !ring_drained(ring))
		sched_yield();
	while (accept_changes(w), w->changes)
		change_sinks(w);
	close_sinks(w->sinks);
	atomic_store(&the_log.ended, 1);
	futex_wake(&the_log.ended);
	return NULL;
}

/* ---- configuring thread */

/* Signals are the main thread's business: the new thread starts with all of them blocked. */
static int start_thread(void)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&the_log.thread, NULL, log_thread, &the_log.writer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		pthread_setname_np(the_log.thread, "log");
	return rc;
}

enum err log_start(const struct log_conf *conf)
{
	if (the_log.running)
		return ERR_EXISTS;
	if (atomic_load(&the_log.stuck))
		return ERR_CLOSED;
	struct ring *ring = atomic_load(&the_log.ring);
	if (!ring) {
		ring = ring_new(RING_CELLS);
		if (!ring)
			return ERR_NOMEM;
		atomic_store_explicit(&the_log.ring, ring, memory_order_release);
	}
	struct log_sinks *sinks;
	enum err e = log_sinks_open(conf, &sinks);
	if (e != ERR_OK)
		return e;
	the_log.writer = (struct writer){ .sinks = sinks, .told = log_dropped() };
	atomic_store(&the_log.stopping, false);
	atomic_store(&the_log.ended, 0);
	gate_rise(&the_log.gate);
	int rc = start_thread();
	if (rc != 0) {
		log_sinks_close(sinks);
		errno = rc;
		return ERR_NOMEM;
	}
	the_log.running = true;
	atomic_store_explicit(&the_log.mask, conf->level_mask, memory_order_relaxed);
	ring_open(ring);
	return ERR_OK;
}

enum err log_reconfigure(const struct log_conf *conf)
{
	if (!the_log.running)
		return ERR_CLOSED;
	struct change *c = malloc(sizeof *c);
	if (!c)
		return ERR_NOMEM;
	enum err e = log_sinks_open(conf, &c->sinks);
	if (e != ERR_OK) {
		int error = errno;
		free(c);
		errno = error;
		return e;
	}
	c->from = ring_put_position(atomic_load(&the_log.ring));
	mailbox_push(&the_log.changes, &c->mail);
	atomic_store_explicit(&the_log.mask, conf->level_mask, memory_order_relaxed);
	atomic_store(&the_log.reconfigured, true);
	gate_wake(&the_log.gate);
	return ERR_OK;
}

/* A thread that waits for a full pipe or a dead disk must not keep the broker from ending. */
static bool thread_ends_in_time(void)
{
	uint64_t until = clock_mono_ms() + STOP_WAIT_MS;
	while (atomic_load(&the_log.ended) == 0) {
		uint64_t now = clock_mono_ms();
		if (now >= until)
			return false;
		futex_wait(&the_log.ended, 0, (int)(until - now));
	}
	return true;
}

void log_stop(void)
{
	if (!the_log.running)
		return;
	the_log.running = false;
	ring_close(atomic_load(&the_log.ring));
	atomic_store(&the_log.stopping, true);
	gate_wake(&the_log.gate);
	if (thread_ends_in_time()) {
		pthread_join(the_log.thread, NULL);
	} else {
		atomic_store(&the_log.stuck, true);
		pthread_detach(the_log.thread);
	}
}
