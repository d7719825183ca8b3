/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Threads: audit_log_start, _prepare, _change and _stop are the main thread's; audit_log_put any thread's; `file` is the audit log's own thread's while it
 * runs. The thread looks at its ring as base/log.c's does. */
#include "broker/audit_log.h"

#include "base/clock.h"
#include "base/gate.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/ring.h"
#include "base/secmem.h"
#include "broker/audit_file.h"
#include "crypto/audit_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RING_CELLS 65536U       /* 4 MiB: about 10,000 lines */
#define STOP_WAIT_S 5
#define DOZE_MS 20
#define RETRY_MS 1000           /* after the disk took no more */
#define SIGN_AFTER_MS 60000U    /* no line stays unsigned for longer */
#define KEY_FILE_MAX (64U * 1024)

struct event {
	uint64_t time_ms;
	char body[AUDIT_EVENT_MAX];
};

struct audit_change {
	struct mail mail; /* first */
	struct audit_file_limits limits;
	struct keypair *key;
};

static struct {
	_Atomic(struct ring *) ring;   /* made by audit_log_start, then kept: a producer may be late; NULL: there is no audit log */
	_Atomic uint64_t lines, dropped;
	struct mailbox changes;
	struct gate gate;
	atomic_bool stopping, changed;
	bool running;                  /* main thread */
	pthread_t thread;              /* main thread */
	struct audit_file *file;       /* audit log's thread while running */
	uint64_t told;                 /* of dropped; audit log's thread */
	uint64_t signed_ms;            /* monotonic; when everything was signed last; audit log's thread */
} the_audit;

/* ---- producers ---- */

bool audit_log_on(void)
{
	return atomic_load_explicit(&the_audit.ring, memory_order_relaxed) != NULL;
}

uint64_t audit_log_lines(void)
{
	return atomic_load_explicit(&the_audit.lines, memory_order_relaxed);
}

uint64_t audit_log_dropped(void)
{
	return atomic_load_explicit(&the_audit.dropped, memory_order_relaxed);
}

static bool crowded(const struct ring *r)
{
	return ring_put_position(r) - ring_take_position(r) > RING_CELLS / 2;
}

void audit_log_put(uint64_t time_ms, const char *body, size_t len)
{
	struct ring *r = atomic_load_explicit(&the_audit.ring, memory_order_acquire);
	struct event e;
	if (!r)
		return;
	e.time_ms = time_ms;
	memcpy(e.body, body, len);
	if (ring_put(r, &e, offsetof(struct event, body) + len) == ERR_OK)
		gate_fed(&the_audit.gate, crowded(r));
	else
		atomic_fetch_add_explicit(&the_audit.dropped, 1, memory_order_relaxed);
}

/* ---- the thread ---- */

static void follow_changes(void)
{
	for (struct mail *m = mailbox_take(&the_audit.changes), *next; m; m = next) {
		struct audit_change *c = (struct audit_change *)(void *)m;
		next = m->next;
		audit_file_reload(the_audit.file, &c->limits, c->key);
		free(c);
	}
}

static void write_line(uint64_t time_ms, const char *body, size_t len)
{
	audit_file_add(the_audit.file, time_ms, body, len);
	atomic_fetch_add_explicit(&the_audit.lines, 1, memory_order_relaxed);
}

static void tell_dropped(void)
{
	char body[96];
	uint64_t dropped = audit_log_dropped();
	if (dropped == the_audit.told || !audit_file_has_room(the_audit.file))
		return;
	int len = snprintf(body, sizeof body, "\"kind\":\"dropped\",\"lines\":%llu", (unsigned long long)(dropped - the_audit.told));
	the_audit.told = dropped;
	write_line(clock_wall_ms(), body, (size_t)len);
}

/* Writes what is there. False: the disk does not take it, and lines stay in the ring. *lines: how many. */
static bool drain(struct ring *r, size_t *lines)
{
	struct event e;
	*lines = 0;
	for (;;) {
		if (!audit_file_has_room(the_audit.file) && !audit_file_flush(the_audit.file))
			return false;
		if (!ring_ready(r))
			break;
		size_t len = ring_take(r, &e, sizeof e);
		write_line(e.time_ms, e.body, len - offsetof(struct event, body));
		++*lines;
	}
	tell_dropped();
	return audit_file_flush(the_audit.file);
}

/* How long nothing has to be done if nobody wakes us. */
static int idle_ms(bool flowing, bool busy)
{
	if (!flowing)
		return RETRY_MS;
	if (busy)
		return DOZE_MS;
	if (!audit_file_unsigned(the_audit.file))
		return -1;
	uint64_t now = clock_mono_ms(), due = the_audit.signed_ms + SIGN_AFTER_MS;
	return due > now ? (int)(due - now) + 1 : 1;
}

static void sign_in_time(void)
{
	uint64_t now = clock_mono_ms();
	if (audit_file_unsigned(the_audit.file) && now >= the_audit.signed_ms + SIGN_AFTER_MS)
		audit_file_checkpoint(the_audit.file, "time");
	if (!audit_file_unsigned(the_audit.file))
		the_audit.signed_ms = now;
}

static void wait_for_lines(const struct ring *r, bool flowing, bool busy)
{
	bool doze = !flowing || busy;
	int timeout_ms = idle_ms(flowing, busy);
	gate_announce(&the_audit.gate, doze);
	bool wanted = atomic_load(&the_audit.stopping) || atomic_load(&the_audit.changed) ||
	              (flowing && (doze ? crowded(r) : ring_ready(r)));
	if (!wanted)
		gate_sleep(&the_audit.gate, timeout_ms);
	gate_rise(&the_audit.gate);
}

static void *audit_thread(void *arg)
{
	struct ring *r = arg;
	size_t lines = 0;
	while (!atomic_load(&the_audit.stopping)) {
		atomic_store(&the_audit.changed, false);
		follow_changes();
		bool flowing = drain(r, &lines);
		sign_in_time();
		wait_for_lines(r, flowing, lines > 0);
	}
	/* The ring is closed. A producer that has reserved its cells is about to fill them. */
	while (drain(r, &lines) && !ring_drained(r))
		sched_yield();
	follow_changes();
	uint64_t lost = audit_file_close(the_audit.file);
	for (struct event e; ring_take(r, &e, sizeof e) > 0;)
		lost++;
	if (lost > 0)
		log_error("audit log: %llu lines could not be written", (unsigned long long)lost);
	atomic_fetch_add_explicit(&the_audit.dropped, lost, memory_order_relaxed);
	return NULL;
}

/* ---- main thread ---- */

/* A whole file in secret memory; NULL with errno. */
static char *read_secret(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *buf = fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && (size_t)st.st_size <= KEY_FILE_MAX ? secmem_alloc((size_t)st.st_size) : NULL;
	ssize_t n = buf ? read(fd, buf, (size_t)st.st_size) : -1;
	int error = errno;
	if (fd >= 0)
		close(fd);
	if (n <= 0) {
		secmem_free(buf);
		errno = error;
		return NULL;
	}
	*len = (size_t)n;
	return buf;
}

/* The first TLS listener's. */
static enum err load_key(const struct conf *conf, struct keypair **out, char *error, size_t error_len)
{
	const struct conf_listener *l = NULL;
	for (size_t i = 0; i < conf->n_listeners && !l; i++)
		if (!conf->listeners[i].plaintext)
			l = &conf->listeners[i];
	if (!l) {
		snprintf(error, error_len, "audit_log: needs a listener with certfile and keyfile: its key signs");
		return ERR_INVALID;
	}
	size_t cert_len = 0, key_len = 0;
	char *cert = read_secret(l->certfile, &cert_len), *key = cert ? read_secret(l->keyfile, &key_len) : NULL;
	enum err e = key ? keypair_new(out, cert, cert_len, key, key_len) : ERR_IO;
	if (e != ERR_OK)
		snprintf(error, error_len, "audit_log: %s and %s cannot sign: %s", l->certfile, l->keyfile,
		         e == ERR_IO ? strerror(errno) : "expected a certificate and its key, RSA of 2,048 to 4,096 bits or P-256");
	secmem_free(key);
	secmem_free(cert);
	return e;
}

static struct audit_file_limits limits_of(const struct conf *c)
{
	return (struct audit_file_limits){c->audit_log_max_size, c->audit_log_max_age_s, c->audit_checkpoint_lines};
}

static enum err start_thread(struct ring *r)
{
	sigset_t all, before; /* signals are the main thread's business */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(&the_audit.thread, NULL, audit_thread, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == 0)
		pthread_setname_np(the_audit.thread, "audit");
	return rc == 0 ? ERR_OK : ERR_NOMEM;
}

enum err audit_log_check(const struct conf *conf, char *error, size_t error_len)
{
	struct keypair *key = NULL;
	enum err e = conf->audit_log ? load_key(conf, &key, error, error_len) : ERR_OK;
	keypair_free(key);
	return e;
}

enum err audit_log_start(const struct conf *conf, char *error, size_t error_len)
{
	struct keypair *key = NULL;
	struct audit_file_limits limits = limits_of(conf);
	char why[256];
	if (!conf->audit_log)
		return ERR_OK;
	enum err e = load_key(conf, &key, error, error_len);
	if (e != ERR_OK)
		return e;
	e = audit_file_open(&the_audit.file, conf->audit_log, &limits, key, why, sizeof why);
	if (e != ERR_OK) {
		snprintf(error, error_len, "audit_log %s: %s", conf->audit_log, why);
		keypair_free(key);
		return e;
	}
	struct ring *r = ring_new(RING_CELLS);
	the_audit.signed_ms = clock_mono_ms();
	if (!r || start_thread(r) != ERR_OK) {
		snprintf(error, error_len, "audit_log: out of memory");
		ring_free(r);
		(void)audit_file_close(the_audit.file);
		return ERR_NOMEM;
	}
	ring_open(r);
	atomic_store_explicit(&the_audit.ring, r, memory_order_release);
	the_audit.running = true;
	return ERR_OK;
}

enum err audit_log_prepare(const struct conf *conf, struct audit_change **change, char *error, size_t error_len)
{
	*change = NULL;
	if (!the_audit.running)
		return ERR_OK;
	struct audit_change *c = malloc(sizeof *c);
	if (!c) {
		snprintf(error, error_len, "audit_log: out of memory");
		return ERR_NOMEM;
	}
	*c = (struct audit_change){.limits = limits_of(conf)};
	enum err e = load_key(conf, &c->key, error, error_len);
	if (e == ERR_OK)
		*change = c;
	else
		free(c);
	return e;
}

void audit_log_change(struct audit_change *take_change)
{
	if (!take_change)
		return;
	mailbox_push(&the_audit.changes, &take_change->mail);
	atomic_store(&the_audit.changed, true);
	gate_wake(&the_audit.gate);
}

void audit_log_forget(struct audit_change *take_change)
{
	if (!take_change)
		return;
	keypair_free(take_change->key);
	free(take_change);
}

void audit_log_stop(void)
{
	struct timespec until;
	if (!the_audit.running)
		return;
	the_audit.running = false;
	ring_close(atomic_load(&the_audit.ring));
	atomic_store(&the_audit.stopping, true);
	gate_wake(&the_audit.gate);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_WAIT_S;
	if (pthread_timedjoin_np(the_audit.thread, NULL, &until) == 0)
		return;
	log_error("audit log: the disk takes nothing: its last lines are lost");
	pthread_detach(the_audit.thread);
}
