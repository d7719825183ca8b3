/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What store.c (thread, batches, completions) and a backend (what is kept, and where) know of each other. */
#ifndef STORE_STORE_INT_H
#define STORE_STORE_INT_H

#include "store/map_int.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

/* All of it runs on the writer thread, except open and load (the opening thread, before the writer starts) and close (after it ended). */
struct store_backend {
	enum err (*open)(struct store *s, char *error, size_t error_len);
	enum err (*load)(struct store *s, const struct store_loader *l, void *arg);
	/* A batch: begin, apply for each op, commit. A failed begin or commit undoes the whole batch, and every op gets its error. */
	enum err (*begin)(struct store *s);
	/* One op, all or nothing; every verb but STORE_PAGE and STORE_BARRIER. The result is that op's alone. */
	enum err (*apply)(struct store *s, struct store_op *op);
	enum err (*commit)(struct store *s);
	/* After the commit: fills u.page. */
	enum err (*page)(struct store *s, struct store_op *op);
	void (*close)(struct store *s); /* also after a failed open */
};

extern const struct store_backend store_memory;

struct store {
	struct store_options options;       /* immutable after store_open */
	const struct store_backend *backend;
	void *state;                        /* the backend's; writer thread */
	struct mailbox inbox;
	int wake_fd;                        /* eventfd; readable: look at the inbox */
	pthread_t writer;
	bool started;                       /* owner of the store: start, stop, close */
	atomic_bool stopping;

	uint64_t last_record;               /* writer thread; set by the backend */
	store_session *over_quota;          /* writer thread: to be reported after the commit */
	size_t n_over_quota, over_quota_room;

	pthread_mutex_t numbers_lock;
	struct map numbers;                 /* numbers_lock: session numbers in use */
	store_session next_number;          /* numbers_lock */

	/* written by the writer, read by anyone */
	atomic_uint_fast64_t commits, operations, messages, bytes, sync_us, failed, dropped;
	atomic_uint_fast64_t batch_since_us; /* no op of the batch being worked on is older; 0: no batch */
};

/* For backends, on the writer thread: session goes over its quota (end-session); told to the broker after the commit. */
void store_note_over_quota(struct store *s, store_session session);
/* Session numbers in use, as sessions are created, loaded, ended. ERR_EXISTS: it is in use. */
enum err store_number_take(struct store *s, store_session number) MUST_CHECK;
void store_number_release(struct store *s, store_session number);

#endif
