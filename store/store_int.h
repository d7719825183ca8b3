/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What store.c (thread, batches, completions) and a backend (what is kept, and where) know of each other. */
#ifndef STORE_STORE_INT_H
#define STORE_STORE_INT_H

#include "store/map_int.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

/* All of it runs on the writer thread, except open, load, meta_get, meta_put_all and meta_each (the opening thread, before the writer starts), read (the
 * reader thread where `reader` is set) and close (after both have ended). */
struct store_backend {
	bool reader;                        /* pages are read on a thread of their own */
	enum err (*open)(struct store *s, char *error, size_t error_len);
	enum err (*load)(struct store *s, const struct store_loader *l, void *arg);
	enum err (*meta_get)(struct store *s, const char *name, void *value, size_t *len);
	enum err (*meta_put_all)(struct store *s, const struct store_named *values, size_t n);
	enum err (*meta_each)(struct store *s, const char *prefix, enum err (*fn)(void *arg, const char *name, const void *value, size_t len),
	    void *arg);
	/* A batch: begin, apply for each op, then commit, or abort, which undoes it: after a failed begin or commit nothing of it stands, and
	 * every op gets the error. */
	enum err (*begin)(struct store *s, const struct store_op *batch); /* batch: linked by mail.next */
	/* One op, all or nothing; not for pages and STORE_BARRIER. The result is that op's alone, unless s->batch_error is set: then the whole
	 * batch is lost. */
	enum err (*apply)(struct store *s, struct store_op *op);
	enum err (*commit)(struct store *s);
	void (*abort)(struct store *s);
	/* Makes what was committed visible to read. */
	enum err (*publish_reads)(struct store *s);
	/* STORE_PAGE and STORE_HISTORY, after the commit. */
	enum err (*read)(struct store *s, struct store_op *op);
	/* When there is nothing else to do: a bounded piece of upkeep. Returns after how many ms it wants to be called again; -1: never. */
	int (*idle)(struct store *s);
	void (*close)(struct store *s); /* also after a failed open */
};

extern const struct store_backend store_memory, store_lmdb;

struct store {
	struct store_options options;       /* immutable after store_open */
	const struct store_backend *backend;
	void *state;                        /* the backend's; writer thread */
	struct mailbox inbox;
	int wake_fd;                        /* eventfd; readable: look at the inbox */
	struct mailbox pages;               /* for the reader thread */
	int page_fd;                        /* eventfd, as wake_fd */
	pthread_t writer, reader;
	bool started;                       /* owner of the store: start, stop, close */
	atomic_bool stopping, reader_stopping;

	uint64_t last_record;               /* writer thread; set by the backend */
	enum err batch_error;               /* writer thread; see apply */
	bool refuse_messages;               /* writer thread: the batch runs a second time, for want of space */
	store_session *over_quota;          /* writer thread: to be reported after the commit */
	size_t n_over_quota, over_quota_room;

	pthread_mutex_t numbers_lock;
	struct map numbers;                 /* numbers_lock: session numbers in use */
	store_session next_number;          /* numbers_lock */
	atomic_uint_fast64_t last_will;     /* number given out; any thread. The backend sets it when it opens */

	/* written by the writer, read by anyone */
	atomic_uint_fast64_t commits, operations, messages, bytes, sync_us, failed, dropped, corrupt, size, used;
	atomic_bool failing;
	atomic_uint_fast64_t batch_since_us; /* no op of the batch being worked on is older; 0: no batch */
};

typedef void (*store_fault_fn)(void *arg, enum store_fault where, const struct store_op *batch);
store_fault_fn store_fault_from_env(void); /* fault.c; NULL in release builds */

/* A counter of the above; any thread. */
static inline void store_count(atomic_uint_fast64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void store_close_gate(const struct store_op *op)
{
	if (op->verb == STORE_PUBLISH && op->u.publish.gate && op->result != ERR_OK && op->result != ERR_EXISTS)
		op->u.publish.gate->refused = op->result;
}

/* One operation's turn at the backend, but for reads and STORE_BARRIER; sets its result. */
static inline void store_apply(struct store *s, struct store_op *op)
{
	const struct store_gate *gate = op->verb == STORE_PUBLISH ? op->u.publish.gate : NULL;
	op->result = gate && gate->refused != ERR_OK ? gate->refused : s->backend->apply(s, op);
	store_close_gate(op);
}

/* For backends, on the writer thread: session goes over its quota (end-session); told to the broker after the commit. */
void store_note_over_quota(struct store *s, store_session session);
/* Session numbers in use, as sessions are created, loaded, ended. ERR_EXISTS: it is in use. */
enum err store_number_take(struct store *s, store_session number) MUST_CHECK;
void store_number_release(struct store *s, store_session number);

#endif
