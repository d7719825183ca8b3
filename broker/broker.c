/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/broker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/random.h"
#include "base/rate.h"
#include "broker/audit.h"
#include "broker/conn.h"
#include "broker/hand_on.h"
#include "broker/listener.h"
#include "broker/loop.h"
#include "broker/procfile.h"
#include "broker/quota.h"
#include "broker/registrar.h"
#include "broker/replay.h"
#include "broker/sessions.h"
#include "broker/special.h"
#include "broker/sys.h"
#include "broker/vault.h"
#include "broker/will.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define STOP_WAIT_MS 2000U
#define DESCRIPTORS_AHEAD 131000U /* 1 MiB in the kernel; more connections than that find a table that grows */
#define ADDRESS_SLOTS 65536U /* 512 KiB; a page of it exists when somebody has used it */

unsigned broker_loop_of(const struct broker *b, const void *client_id, size_t len)
{
	return (unsigned)(siphash13(&b->client_key, client_id, len) % b->n_loops);
}

/* ---- sizes ---- */

/* CPUs that the control group's quota pays for, rounded up; 0: no quota. */
static unsigned cgroup_cpus(void)
{
	unsigned long quota, period;
	if (!procfile_two_numbers("/sys/fs/cgroup/cpu.max", &quota, &period)) /* "max" */
		return 0;
	return period > 0 ? (unsigned)((quota + period - 1) / period) : 0;
}

static unsigned choose_loops(const struct conf *conf)
{
	if (conf->threads > 0)
		return conf->threads < LOOPS_MAX ? conf->threads : LOOPS_MAX;
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
	unsigned quota = cgroup_cpus();
	if (quota > 0 && quota < n)
		n = quota;
	return n < 1 ? 1 : n < LOOPS_MAX ? n : LOOPS_MAX;
}

/* ---- building ---- */

static enum err make_listeners(struct broker *b)
{
	const struct conf *conf = b->policy->conf;
	b->n_listeners = conf->n_listeners;
	b->listeners = calloc(b->n_listeners, sizeof *b->listeners);
	if (!b->listeners)
		return ERR_NOMEM;
	for (size_t i = 0; i < b->n_listeners; i++) {
		b->listeners[i].index = i;
		b->listeners[i].port = conf->listeners[i].port;
	}
	return ERR_OK;
}

struct over_quota_mail {
	struct mail mail;
	store_session number;
};

static void end_if_over_quota(struct session *s, void *arg)
{
	if (!s->persistent || session_number(s) != *(const store_session *)arg)
		return;
	const struct audit_who who = audit_session(s);
	audit_event(AUDIT_SESSION_OVER_QUOTA, &who, "its queue in the store is full; it is ended", AUDIT_NO_PAIRS);
	if (s->conn)
		conn_end(s->conn, LOG_WARNING, true, "session ended: its queue in the store is full");
	sessions_end(s, "queue full");
}

static void on_over_quota(struct mail *m, void *owner)
{
	struct loop *l = owner;
	sessions_each(l->sessions, end_if_over_quota, &((struct over_quota_mail *)m)->number);
	pool_free(m);
}

/* Store thread: the session may be on any loop. */
static void session_over_quota(void *arg, store_session number)
{
	struct broker *b = arg;
	for (unsigned i = 0; i < b->n_loops; i++) {
		struct over_quota_mail *m = pool_alloc(sizeof *m);
		if (!m) {
			log_error("out of memory: session %u stays over its quota", number);
			continue;
		}
		*m = (struct over_quota_mail){.mail.run = on_over_quota, .number = number};
		mailbox_push(&b->loops[i]->mailbox, &m->mail);
	}
}

static void record_failed(void *arg, uint64_t record)
{
	(void)arg;
	log_error("store: record %llu fails verification and is left out", (unsigned long long)record);
}

/* Store thread. */
static bool history_limits(void *arg, const uint8_t *topic, size_t len, struct store_history_limits *out)
{
	struct broker *b = arg;
	const struct history_limits *l = history_policy_find(b->history, topic, len);
	pthread_mutex_lock(&b->spaces_lock);
	const struct space *s = space_map_find(b->spaces, topic, len);
	if (s && s->spec.history.given)
		l = s->spec.history.off ? NULL : &s->history_limits;
	if (l)
		*out = (struct store_history_limits){.count = l->count, .age_s = l->age_s, .bytes = l->bytes};
	pthread_mutex_unlock(&b->spaces_lock);
	return l != NULL;
}

static enum err open_store(struct broker *b, char *error, size_t error_len)
{
	const struct conf *c = b->policy->conf;
	if (c->store != CONF_STORE_MEMORY && !(b->vault = vault_new(c, error, error_len)))
		return ERR_INVALID;
	struct store_options o = {
		.memory = c->store == CONF_STORE_MEMORY,
		.memory_delay_ms = c->store_memory_delay_ms,
		.dir = c->store_dir,
		.max_size = c->store_max_size,
		.durability = (int)c->durability,
		.sync_interval_ms = c->sync_interval_ms,
		.max_queued_messages = c->max_queued_messages,
		.max_queued_bytes = c->max_queued_bytes,
		.queue_full = (int)c->queue_full,
		.session_over_quota = session_over_quota,
		.record_failed = record_failed,
		.history_limits = history_limits,
		.crypto = b->vault ? vault_crypto(b->vault) : NULL,
		.arg = b,
	};
	b->store = store_open(&o, error, error_len);
	if (!b->store)
		return ERR_IO;
	return b->vault ? vault_unlock(b->vault, b->store, error, error_len) : ERR_OK;
}

/* ---- what the store brings back ---- */

struct numbered { /* by the store's number, while restoring */
	UT_hash_handle hh;
	struct numbered *next; /* of all */
	store_session number;
	struct session *session;
};

struct restoring {
	struct broker *b;
	struct numbered *by_number, *all;
};

static struct session *restored_session(const struct restoring *r, store_session number)
{
	struct numbered *n;
	HASH_FIND(hh, r->by_number, &number, sizeof number, n);
	return n ? n->session : NULL;
}

static enum err remember(struct restoring *r, store_session number, struct session *s)
{
	struct numbered *n = calloc(1, sizeof *n);
	if (!n)
		return ERR_NOMEM;
	n->number = number;
	n->session = s;
	HASH_ADD(hh, r->by_number, number, sizeof number, n);
	n->next = r->all;
	r->all = n;
	return n->hh.tbl ? ERR_OK : ERR_NOMEM;
}

static enum err restore_session(void *arg, store_session number, const char *client_id, size_t client_id_len, const char *cn,
                                size_t cn_len, uint64_t expiry_s, uint64_t away_since_ms)
{
	struct restoring *r = arg;
	struct loop *l = r->b->loops[broker_loop_of(r->b, client_id, client_id_len)];
	struct identity *id = identity_new(cn, cn_len);
	struct session *s = id ? sessions_add(l->sessions, client_id, client_id_len, id, number) : NULL;
	identity_unref(id);
	if (!s)
		return ERR_NOMEM;
	STATS_SUB(l, persistent_away, 1); /* sessions_age counts it */
	s->judged = 0; /* the access rules may have changed since */
	s->cursor = s->restored = true;
	s->expiry_s = expiry_s;
	sessions_age(s, away_since_ms ? away_since_ms : l->wall_ms);
	return remember(r, number, s);
}

static enum err restore_subscription(void *arg, store_session number, const uint8_t *filter, size_t len, uint8_t options,
                                     uint32_t sub_id)
{
	struct restoring *r = arg;
	struct session *s = restored_session(r, number);
	bool added;
	if (!s)
		return ERR_CORRUPT;
	return special_subscribe(s, r->b->epoch_id, filter, len, options, sub_id, &added);
}

static enum err restore_past(void *arg, store_session number, const uint8_t *filter, size_t len, const struct store_past *p)
{
	struct session *s = restored_session(arg, number);
	return s ? replay_restore(s, filter, len, special_qos(s, filter, len), p) : ERR_CORRUPT;
}

static enum err restore_received(void *arg, store_session number, uint16_t packet_id)
{
	struct session *s = restored_session(arg, number);
	return s ? pidset_add(&s->received, packet_id) : ERR_CORRUPT;
}

static enum err restore_retained(void *arg, struct msg *m)
{
	struct restoring *r = arg;
	return retained_put(r->b->retained, r->b->epoch_id, m, 0);
}

static enum err restore_hand_on(void *arg, store_session number)
{
	const struct restoring *r = arg;
	hand_on_start(r->b->loops[0], number); /* submitted now, answered when the store runs */
	return ERR_OK;
}

static enum err restore_will(void *arg, uint64_t number, const char *client_id, size_t client_id_len, const uint8_t *fingerprint,
                             struct msg *m)
{
	struct restoring *r = arg;
	return wills_restore(r->b->loops[broker_loop_of(r->b, client_id, client_id_len)], number, client_id, client_id_len, fingerprint, m);
}

static enum err restore(struct broker *b)
{
	static const struct store_loader loader = {restore_session, restore_subscription, restore_past, restore_received, restore_retained,
	                                           restore_hand_on, restore_will};
	struct restoring r = {.b = b};
	enum err e = store_load(b->store, &loader, &r);
	HASH_CLEAR(hh, r.by_number);
	for (struct numbered *n = r.all, *next; n; n = next) {
		next = n->next;
		free(n);
	}
	return e;
}

/* ---- life ---- */

/* All that there is before the loops. */
static enum err make_shared(struct broker *b, FILE *errors)
{
	char error[512] = "out of memory";
	b->epoch = epoch_new();
	b->addresses = rate_table_new(ADDRESS_SLOTS);
	b->quotas = quota_table_new();
	b->trie = b->epoch ? trie_new(b->epoch) : NULL;
	b->retained = b->epoch ? retained_new(b->epoch) : NULL;
	enum err e = ERR_NOMEM;
	b->history = history_policy_ref(b->policy->conf->history);
	if (b->addresses && b->quotas && b->trie && b->retained && (b->epoch_id = epoch_register(b->epoch)) >= 0)
		e = make_listeners(b);
	if (e == ERR_OK)
		e = open_store(b, error, sizeof error);
	if (e != ERR_OK)
		(void)fprintf(errors, "%s\n", error);
	return e;
}

static enum err make_loops(struct broker *b, FILE *errors)
{
	for (unsigned i = 0; i < b->n_loops; i++)
		if (!(b->loops[i] = loop_new(b, i))) {
			(void)fputs("out of memory\n", errors);
			return ERR_NOMEM;
		}
	epoch_online(b->epoch, b->epoch_id);
	enum err e = restore(b);
	epoch_offline(b->epoch, b->epoch_id);
	if (e != ERR_OK)
		(void)fprintf(errors, "the store cannot be loaded: %s\n", err_text(e));
	return e;
}

struct broker *broker_new(struct conf *take_conf, FILE *errors)
{
	struct broker *b = calloc(1, sizeof *b);
	if (!b) {
		(void)fputs("out of memory\n", errors);
		conf_free(take_conf);
		return NULL;
	}
	b->started_ms = clock_mono_ms();
	b->n_loops = choose_loops(take_conf);
	random_bytes(&b->client_key, sizeof b->client_key);
	pthread_mutex_init(&b->spaces_lock, NULL);
	b->policy = policy_new(take_conf, b->n_loops, 1, errors);
	if (b->policy && make_shared(b, errors) == ERR_OK && (b->registrar = registrar_new(b, errors)) && make_loops(b, errors) == ERR_OK)
		return b;
	broker_free(b);
	return NULL;
}

enum err broker_listen(struct broker *b, char *error, size_t error_len)
{
	char why[256];
	enum err e = listener_open_all(b, why, sizeof why);
	if (e != ERR_OK)
		snprintf(error, error_len, "listener %s", why);
	return e;
}

/* Linux doubles a process's table of descriptors when it is full, and when threads share it waits until every CPU has passed through the scheduler: accept() at
 * the 256th, 512th, ... connection then takes 5 to 20 ms. So the table is made large now. */
static void reserve_descriptors(const struct broker *b)
{
	uint32_t most = b->policy->max_connections;
	int one = eventfd(0, EFD_CLOEXEC), last = fcntl(one, F_DUPFD_CLOEXEC, most < DESCRIPTORS_AHEAD ? most : DESCRIPTORS_AHEAD);
	if (last >= 0)
		close(last);
	if (one >= 0)
		close(one);
}

enum err broker_start(struct broker *b)
{
	enum err e = registrar_begin(b->registrar);
	if (e == ERR_OK)
		e = store_start(b->store);
	reserve_descriptors(b);
	sys_start(b->loops[0]);
	for (unsigned i = 0; e == ERR_OK && i < b->n_loops; i++)
		e = loop_start(b->loops[i]);
	return e == ERR_OK ? registrar_start(b->registrar) : e;
}

/* ---- stopping ---- */

static void on_stop_reading(struct mail *m, void *owner)
{
	struct loop *l = owner;
	pool_free(m);
	listener_stop(l);
	l->stopping = true;
	for (struct conn *c = l->conns; c; c = c->next) {
		conn_hold(c, HOLD_STOPPING);
		conn_publish_will(c); /* now, while those who get it are still connected */
	}
}

static void on_end(struct mail *m, void *owner)
{
	struct loop *l = owner;
	pool_free(m);
	l->ending = true;
	for (struct conn *c = l->conns, *next; c; c = next) {
		next = c->next;
		conn_end(c, LOG_INFO, true, "the broker is shutting down");
	}
}

static void tell_all(struct broker *b, void (*run)(struct mail *m, void *owner))
{
	for (unsigned i = 0; i < b->n_loops; i++) {
		struct mail *m = pool_alloc(sizeof *m);
		if (!m)
			abort(); /* shutting down, and not even memory for that */
		*m = (struct mail){.run = run};
		mailbox_push(&b->loops[i]->mailbox, m);
	}
}

static bool all_drained(const struct broker *b)
{
	for (unsigned i = 0; i < b->n_loops; i++)
		if (!atomic_load(&b->loops[i]->drained) || atomic_load(&b->loops[i]->mailbox.head))
			return false;
	return true;
}

void broker_stop(struct broker *b)
{
	struct timespec tick = {.tv_nsec = 2000000};
	atomic_store(&b->stopping, true);
	registrar_stop(b->registrar);
	tell_all(b, on_stop_reading);
	for (uint64_t end = clock_mono_ms() + STOP_WAIT_MS; !all_drained(b) && clock_mono_ms() < end;)
		nanosleep(&tick, NULL);
	tell_all(b, on_end);
	for (unsigned i = 0; i < b->n_loops; i++)
		if (b->loops[i]->thread)
			pthread_join(b->loops[i]->thread, NULL);
	store_stop(b->store);
	for (unsigned i = 0; i < b->n_loops; i++) /* what came too late is freed by its own run() */
		b->loops[i]->thread = 0;
	bool more = true;
	while (more) {
		more = false;
		for (unsigned i = 0; i < b->n_loops; i++)
			more |= mailbox_run(&b->loops[i]->mailbox, b->loops[i]) > 0;
	}
}

void broker_free(struct broker *b)
{
	if (!b)
		return;
	for (unsigned i = 0; i < b->n_loops; i++)
		loop_free(b->loops[i]);
	registrar_free(b->registrar);
	if (b->store)
		store_close(b->store);
	space_map_unref(b->spaces);
	pthread_mutex_destroy(&b->spaces_lock);
	history_policy_unref(b->history);
	vault_free(b->vault);
	quota_table_free(b->quotas);
	rate_table_free(b->addresses);
	free(b->listeners);
	if (b->retained)
		retained_free(b->retained);
	if (b->trie)
		trie_free(b->trie);
	if (b->epoch)
		epoch_free(b->epoch);
	policy_retire(&b->retired, b->policy);
	free(b);
}
