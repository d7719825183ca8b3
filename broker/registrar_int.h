/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The registrar's parts among themselves. All on its thread (or the main thread before it runs). */
#ifndef BROKER_REGISTRAR_INT_H
#define BROKER_REGISTRAR_INT_H

#include "broker/directory.h"
#include "broker/envelopes.h"
#include "broker/keyspace.h"
#include "broker/registrar.h"

#include <pthread.h>
#include <semaphore.h>

#define UPLOAD_STORE_PREFIX "envelope/" /* space's id, epoch, recipient's fingerprint: what an owner has uploaded */
#define KEYSPACE_GRACE_MS 60000U /* a rotation's former epoch is accepted for so long */

/* A subscription to $KEYS/… that a round found, or that asks. */
struct asker {
	struct asker *next;
	sub_handle handle;
	struct identity *identity; /* one reference */
	uint8_t qos;
	size_t len;
	uint8_t filter[];          /* $KEYS/<topic> */
};

struct registrar {
	struct broker *b;
	struct policy *policy;     /* one reference */
	struct space_map *map;     /* one reference; NULL: no spaces */
	struct directory *directory;
	struct envelopes *envelopes;
	struct asker *askers;      /* what the round under way has found */
	unsigned answered;         /* of what it waits for */
	struct mailbox inbox, answers;
	sem_t wake, answer;
	pthread_t thread;
	bool started;              /* main thread */
	bool alone;                /* neither loops nor the store's thread run yet: changes are made on the spot */
	bool pending;              /* something is not yet as the topics_file declares it */
	atomic_bool stopping;
	atomic_bool in_use;        /* certificates are worth knowing */
};

/* What a change is about. */
struct change {
	struct space *old;         /* NULL: the space is new */
	struct space *next;        /* NULL: it is deleted */
	bool turned;               /* next has another epoch: envelopes go out before it is used */
	bool members;              /* its members are others, or may do other things */
	bool cut;                  /* somebody is no longer a member */
};
/* Makes a change durable and brings it to all loops; on return it is in force everywhere. ERR_NOMEM, or the store's error: nothing has changed. */
enum err registrar_apply(struct registrar *r, const struct change *c) MUST_CHECK;

/* A message to one session, RETAIN as said, QoS at most 1. Takes m (NULL: out of memory, nothing is sent). */
void registrar_send(struct registrar *r, sub_handle to, struct msg *take_m, uint8_t qos, bool retain);
/* NULL: out of memory. Any loop's thread. */
struct asker *registrar_asker(const struct session *s, const uint8_t *filter, size_t len, uint8_t qos) MUST_CHECK;
/* Answers one asker of $KEYS, by map. retain: it has just subscribed. */
void registrar_send_envelope(struct registrar *r, const struct space_map *map, const struct asker *a, bool retain);

/* Who subscribes to $KEYS of this space, which has not changed, gets the envelope that there is now. ERR_NOMEM. */
enum err registrar_offer(struct registrar *r, const struct space *s) MUST_CHECK;

/* Submits one value (NULL: removal) and waits for the store. */
enum err registrar_store(struct registrar *r, const char *name, const void *value, size_t len) MUST_CHECK;

/* A certificate for the directory and, if it is new there, the store, whose failure is only logged. ERR_INVALID, ERR_NOMEM. */
enum err registrar_keep_certificate(struct registrar *r, const uint8_t *der, size_t len) MUST_CHECK;

/* Makes the key spaces what the policy's topics_file declares (broker/declare.c). What fails is logged, and r->pending says so. */
void declare_all(struct registrar *r);
/* Warns of key spaces that one file declared and the next does not. */
void declare_left(const struct topics_file *former, const struct topics_file *now);
/* Does the topics_file declare that key space? Then commands do not change it. */
bool declared(const struct registrar *r, const char *name, size_t len);

/* The answer to a command, which is JSON: text for free(), or NULL when out of memory (broker/control.c). */
char *control_run(struct registrar *r, const struct identity *who, const uint8_t *json, size_t len) MUST_CHECK;

/* Does the configuration let that client create key spaces? */
bool registrar_is_admin(const struct registrar *r, const char *cn);

#endif
