/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The broker: what its loops share. Built by broker_new, immutable (or with its own protection) once loops run. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "base/epoch.h"
#include "base/err.h"
#include "base/siphash.h"
#include "broker/policy.h"
#include "store/store.h"
#include "topics/retained.h"
#include "topics/space.h"
#include "topics/trie.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LOOPS_MAX 8U

struct loop;
struct quota_table;
struct rate_table;
struct registrar;
struct vault;

/* One configured listener; every loop has its own socket for it (SO_REUSEPORT). Its settings are the policy's, by index. */
struct listener {
	size_t index;                     /* immutable */
	uint16_t port;                    /* immutable */
	atomic_uint connections;          /* any loop */
};

struct broker {
	struct policy *policy;            /* main thread: the one that loops have, or are going over to */
	struct policy *retired;           /* main thread: former ones that loops or connections may still hold */
	struct epoch *epoch;
	int epoch_id;                     /* main thread's, for what it does while no loop runs */
	struct trie *trie;
	struct retained *retained;
	struct store *store;
	struct history_policy *history;   /* one reference; NULL: no topic keeps its past */
	struct vault *vault;              /* NULL: the store is in memory */
	struct rate_table *addresses;     /* handshakes of each; any loop */
	struct quota_table *quotas;       /* of identities; its own lock */
	struct registrar *registrar;      /* of key spaces */
	pthread_mutex_t spaces_lock;
	struct space_map *spaces;         /* spaces_lock; one reference; for the store's thread, which asks how much of a topic's past is kept */
	struct listener *listeners;       /* n_listeners of them */
	size_t n_listeners;
	struct loop *loops[LOOPS_MAX];
	unsigned n_loops;
	struct siphash_key client_key;    /* client id → loop */
	atomic_uint connections;          /* sockets of all loops */
	atomic_uint generation;           /* of clean sessions */
	atomic_bool stopping;             /* no will is published from now on, unless configured */
	uint64_t started_ms;              /* monotonic */
};

/* Loads certificates and access rules, opens the store, restores sessions, creates the loops (threads not running). Takes conf. NULL:
 * what is wrong was printed to errors. */
struct broker *broker_new(struct conf *take_conf, FILE *errors) MUST_CHECK;
/* Opens all sockets; ERR_IO with error filled when one cannot be had. */
enum err broker_listen(struct broker *b, char *error, size_t error_len) MUST_CHECK;
/* Starts the threads. */
enum err broker_start(struct broker *b) MUST_CHECK;
/* Stops accepting and reading, finishes what is under way (2 s at the most), ends connections and threads. */
void broker_stop(struct broker *b);
void broker_free(struct broker *b);

/* The loop that owns a client id. */
unsigned broker_loop_of(const struct broker *b, const void *client_id, size_t len);

#endif
