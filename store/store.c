/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writer thread: takes its mailbox in batches, has the backend apply and commit them, and posts the completions. What arrives while a
 * batch is being committed makes the next one, so the batch grows with the load and the disk's slowness. */
#include "store/store_int.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NUMBER_MAX UINT32_C(0x7fffffff)
#define BATCH_BYTES_MAX (64u << 20)  /* of messages in one transaction: bounds its dirty pages, and the wait of the last */
#define GATHER_SHARE 10u             /* of the last commit's time, waited for those who were just answered */
#define GATHER_MAX_US 2000u
#define REPLIES_MAX 32u              /* mailboxes served in one go; loops are fewer */

struct number {
	struct map_node node;
	store_session value;
};

/* ---- session numbers */

static struct number *number_find(const struct store *s, store_session value)
{
	for (struct map_node *n = map_first(&s->numbers, map_hash_u64(value)); n; n = map_next(n)) {
		struct number *number = MAP_OF(n, struct number, node);
		if (number->value == value)
			return number;
	}
	return NULL;
}

enum err store_number_take(struct store *s, store_session number)
{
	struct number *entry = malloc(sizeof *entry);
	if (!entry)
		return ERR_NOMEM;
	enum err rc = ERR_OK;
	pthread_mutex_lock(&s->numbers_lock);
	if (number_find(s, number)) {
		rc = ERR_EXISTS;
	} else {
		entry->value = number;
		map_insert(&s->numbers, &entry->node, map_hash_u64(number));
		if (number >= s->next_number) /* loaded: go on behind it, so that a number is reused as late as possible */
			s->next_number = number < NUMBER_MAX ? number + 1 : 1;
		entry = NULL;
	}
	pthread_mutex_unlock(&s->numbers_lock);
	free(entry);
	return rc;
}

void store_number_release(struct store *s, store_session number)
{
	pthread_mutex_lock(&s->numbers_lock);
	struct number *entry = number_find(s, number);
	if (entry)
		map_remove(&s->numbers, &entry->node);
	pthread_mutex_unlock(&s->numbers_lock);
	free(entry);
}

store_session store_session_number(struct store *s)
{
	pthread_mutex_lock(&s->numbers_lock);
	store_session value;
	do {
		value = s->next_number;
		s->next_number = value < NUMBER_MAX ? value + 1 : 1;
	} while (number_find(s, value));
	pthread_mutex_unlock(&s->numbers_lock);
	return value;
}

uint64_t store_will_number(struct store *s)
{
	return atomic_fetch_add_explicit(&s->last_will, 1, memory_order_relaxed) + 1;
}

/* ---- quota reports */

static void report_over_quota(struct store *s, store_session session)
{
	if (s->options.session_over_quota)
		s->options.session_over_quota(s->options.arg, session);
}

void store_note_over_quota(struct store *s, store_session session)
{
	if (s->n_over_quota == s->over_quota_room) {
		size_t room = s->over_quota_room ? 2 * s->over_quota_room : 16;
		store_session *bigger = realloc(s->over_quota, room * sizeof *bigger);
		if (!bigger) { /* early is better than never */
			report_over_quota(s, session);
			return;
		}
		s->over_quota = bigger;
		s->over_quota_room = room;
	}
	s->over_quota[s->n_over_quota++] = session;
}

/* ---- completions */

static struct store_op *op_of(struct mail *m)
{
	return (struct store_op *)(void *)m;
}

static void op_complete(struct mail *m, void *owner)
{
	struct store_op *op = op_of(m);
	op->done(op, owner);
}

struct reply_group {
	struct mailbox *mailbox;
	struct mail *first, *last;
	size_t n;
};

static void push_groups(struct reply_group *groups, size_t *n)
{
	for (size_t i = 0; i < *n; i++) {
		groups[i].last->next = NULL;
		mailbox_push_chain(groups[i].mailbox, groups[i].first, groups[i].last, groups[i].n, 0);
	}
	*n = 0;
}

/* Gives every op of the list to where it is awaited: one push per mailbox, in the list's order. */
static void answer(struct mail *list)
{
	struct reply_group groups[REPLIES_MAX];
	size_t n = 0, at = 0;
	for (struct mail *m = list, *next; m; m = next) {
		next = m->next; /* the op is its submitter's once pushed */
		struct store_op *op = op_of(m);
		if (!op->reply) {
			op->free_op(op);
			continue;
		}
		if (at >= n || groups[at].mailbox != op->reply)
			for (at = 0; at < n && groups[at].mailbox != op->reply; at++)
				;
		if (at == n) {
			if (n == REPLIES_MAX) {
				push_groups(groups, &n);
				at = 0;
			}
			groups[n++] = (struct reply_group){ .mailbox = op->reply, .first = m, .last = m };
		} else {
			groups[at].last->next = m;
			groups[at].last = m;
		}
		groups[at].n++;
	}
	push_groups(groups, &n);
}

/* ---- batches */

static size_t op_bytes(const struct store_op *op)
{
	switch (op->verb) {
	case STORE_PUBLISH:
		return msg_size(op->u.publish.msg);
	case STORE_WILL_PUT:
		return msg_size(op->u.will.msg);
	case STORE_SESSION_NEW: case STORE_SESSION_STATE: case STORE_SESSION_END: case STORE_SUBSCRIBE: case STORE_UNSUBSCRIBE:
	case STORE_ACKED: case STORE_SENT: case STORE_RELEASED: case STORE_QOS2_DONE: case STORE_WILL_DROP: case STORE_PAGE:
	case STORE_HISTORY: case STORE_BARRIER: case STORE_PAST: case STORE_PAST_SENT:
		break;
	case STORE_META:
		return op->u.meta.len;
	}
	return 0;
}

static bool is_read(const struct store_op *op)
{
	return op->verb == STORE_PAGE || op->verb == STORE_HISTORY;
}

static void fault(const struct store *s, enum store_fault where, struct mail *batch)
{
	if (s->options.fault && batch)
		s->options.fault(s->options.arg, where, op_of(batch));
}

static enum err apply_all(struct store *s, struct mail *list)
{
	s->batch_error = ERR_OK;
	s->n_over_quota = 0;
	enum err rc = s->backend->begin(s, op_of(list));
	if (rc != ERR_OK)
		return rc;
	for (struct mail *m = list; m && s->batch_error == ERR_OK; m = m->next) {
		struct store_op *op = op_of(m);
		op->result = ERR_OK;
		if (op->verb == STORE_BARRIER)
			op->u.barrier.last_record = s->last_record;
		else if (!is_read(op))
			store_apply(s, op);
	}
	if (s->batch_error != ERR_OK) {
		s->backend->abort(s);
		return s->batch_error;
	}
	fault(s, STORE_BEFORE_COMMIT, list);
	return s->backend->commit(s);
}

/* When it does not fit, a second try goes without new messages, so that what frees space still gets through. */
static enum err commit_batch(struct store *s, struct mail *list)
{
	enum err rc = apply_all(s, list);
	if (rc == ERR_FULL) {
		s->refuse_messages = true;
		rc = apply_all(s, list);
		s->refuse_messages = false;
	}
	return rc;
}

static void account(struct store *s, struct mail *list)
{
	uint64_t n = 0, n_messages = 0, bytes = 0, failed = 0;
	for (struct mail *m = list; m; m = m->next, n++) {
		struct store_op *op = op_of(m);
		if (op->result != ERR_OK) {
			failed++;
		} else if (op->verb == STORE_PUBLISH) {
			n_messages++;
			bytes += msg_size(op->u.publish.msg);
		}
	}
	store_count(&s->operations, n);
	store_count(&s->messages, n_messages);
	store_count(&s->bytes, bytes);
	store_count(&s->failed, failed);
}

/* Takes the pages out of *list, in order, and returns how many. */
static size_t split_reads(struct mail **list, struct mail **pages, struct mail **last)
{
	size_t n = 0;
	struct mail **at = list, **to = pages;
	*pages = *last = NULL;
	while (*at) {
		struct mail *m = *at;
		if (!is_read(op_of(m))) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		m->next = NULL;
		*to = *last = m;
		to = &m->next;
		n++;
	}
	return n;
}

/* One transaction, and what follows from it. Without a reader thread, pages are read after the commit and answered with the batch, before any
 * later one: what a page lacks is a record of a later batch, whose publisher learns of it later than the page's reader. */
static void work(struct store *s, struct mail *list)
{
	uint64_t start = clock_mono_us();
	enum err rc = commit_batch(s, list);
	fault(s, STORE_AFTER_COMMIT, list);
	if (rc == ERR_OK)
		for (size_t i = 0; i < s->n_over_quota; i++)
			report_over_quota(s, s->over_quota[i]);
	else
		for (struct mail *m = list; m; m = m->next) {
			op_of(m)->result = rc;
			store_close_gate(op_of(m));
		}
	store_count(&s->commits, 1);
	store_count(&s->sync_us, clock_mono_us() - start);
	account(s, list);
	struct mail *pages = NULL, *last = NULL;
	size_t n_pages = 0;
	if (rc == ERR_OK && s->backend->reader) {
		n_pages = split_reads(&list, &pages, &last);
		if (n_pages > 0 && s->backend->publish_reads(s) != ERR_OK)
			store_count(&s->failed, 1); /* the pages will say so themselves */
	} else if (rc == ERR_OK) {
		for (struct mail *m = list; m; m = m->next)
			if (is_read(op_of(m)))
				op_of(m)->result = s->backend->read(s, op_of(m));
	}
	fault(s, STORE_BEFORE_ANSWER, list);
	answer(list);
	if (n_pages > 0)
		mailbox_push_chain(&s->pages, pages, last, n_pages, 0);
}

/* Tests' wait between taking a batch and answering it; cut short by store_stop. */
static void wait_delay(const struct store *s, uint64_t since_us)
{
	uint64_t due = since_us + UINT64_C(1000) * s->options.memory_delay_ms;
	for (uint64_t now = clock_mono_us(); now < due && !atomic_load(&s->stopping); now = clock_mono_us()) {
		uint64_t step = due - now < 5000 ? due - now : 5000;
		struct timespec t = { .tv_nsec = (long)(step * 1000) };
		nanosleep(&t, NULL);
	}
}

/* Publishers that were just answered publish again in a moment. Taking only what came during the last commit would split them into two groups
 * that wait for each other's commits: a tenth of a commit's time spent here saves up to a whole one. Nothing is waited for when commits
 * are fast, or the last one had a single operation. */
static void gather(const struct store *s, uint64_t commit_us, size_t n)
{
	uint64_t us = commit_us / GATHER_SHARE < GATHER_MAX_US ? commit_us / GATHER_SHARE : GATHER_MAX_US;
	if (n < 2 || us < 100 || atomic_load(&s->stopping))
		return;
	struct timespec t = { .tv_nsec = (long)us * 1000 };
	nanosleep(&t, NULL);
}

/* Cuts off the front of *pending that makes one transaction; counts its bytes and items. */
static struct mail *cut_batch(struct mail **pending, size_t *n, size_t *bytes)
{
	struct mail *first = *pending, *last = first;
	*n = 1;
	*bytes = op_bytes(op_of(first));
	while (last->next && *bytes < BATCH_BYTES_MAX) {
		last = last->next;
		++*n;
		*bytes += op_bytes(op_of(last));
	}
	*pending = last->next;
	last->next = NULL;
	return first;
}

/* Sleeps until fd is woken, at most timeout_ms (-1: for ever). */
static void wait_woken(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n;
	if (poll(&p, 1, timeout_ms) > 0 && read(fd, &n, sizeof n) < 0 && errno != EAGAIN)
		abort(); /* an eventfd of our own: only a closed descriptor does this */
}

static void wake(void *arg)
{
	int *fd = arg;
	uint64_t one = 1;
	while (write(*fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

static void *writer_main(void *arg)
{
	struct store *s = arg;
	uint64_t looked_us = clock_mono_us(); /* what is found at the next look came after this */
	uint64_t commit_us = 0;
	size_t last_n = 0;
	for (;;) {
		bool stopping = atomic_load(&s->stopping); /* before the look: what was submitted before store_stop is seen below */
		gather(s, commit_us, last_n);
		commit_us = 0;
		struct mail *pending = mailbox_take(&s->inbox);
		if (!pending) {
			if (stopping) {
				if (s->backend->publish_reads(s) != ERR_OK) /* nothing stays uncommitted */
					store_count(&s->failed, 1);
				return NULL;
			}
			wait_woken(s->wake_fd, s->backend->idle(s));
			looked_us = clock_mono_us();
			continue;
		}
		uint64_t since = looked_us;
		looked_us = clock_mono_us();
		atomic_store_explicit(&s->batch_since_us, since, memory_order_relaxed);
		if (s->options.memory)
			wait_delay(s, looked_us);
		while (pending) {
			size_t n, bytes;
			struct mail *batch = cut_batch(&pending, &n, &bytes);
			uint64_t start_us = clock_mono_us();
			work(s, batch);
			mailbox_done(&s->inbox, n, bytes);
			commit_us = s->options.memory ? 0 : clock_mono_us() - start_us;
			last_n = n;
		}
		atomic_store_explicit(&s->batch_since_us, 0, memory_order_relaxed);
	}
}

static void *reader_main(void *arg)
{
	struct store *s = arg;
	for (;;) {
		bool stopping = atomic_load(&s->reader_stopping);
		struct mail *list = mailbox_take(&s->pages);
		if (!list) {
			if (stopping)
				return NULL;
			wait_woken(s->page_fd, -1);
			continue;
		}
		while (list) { /* one by one: the first page need not wait for the last */
			struct mail *next = list->next;
			list->next = NULL;
			struct store_op *op = op_of(list);
			op->result = s->backend->read(s, op);
			if (op->result != ERR_OK)
				store_count(&s->failed, 1);
			answer(list);
			mailbox_done(&s->pages, 1, 0);
			list = next;
		}
	}
}

/* ---- life */

static enum err store_init(struct store *s)
{
	s->next_number = 1;
	s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->page_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	mailbox_init(&s->inbox, wake, &s->wake_fd);
	mailbox_init(&s->pages, wake, &s->page_fd);
	if (pthread_mutex_init(&s->numbers_lock, NULL) != 0)
		return ERR_NOMEM;
	enum err rc = map_create(&s->numbers);
	return rc != ERR_OK ? rc : s->wake_fd < 0 || s->page_fd < 0 ? ERR_IO : ERR_OK;
}

struct store *store_open(const struct store_options *o, char *error, size_t error_len)
{
	struct store *s = calloc(1, sizeof *s);
	if (!s) {
		snprintf(error, error_len, "out of memory");
		return NULL;
	}
	s->options = *o;
	if (!s->options.fault)
		s->options.fault = store_fault_from_env();
	s->backend = o->memory ? &store_memory : &store_lmdb;
	snprintf(error, error_len, "out of memory");
	enum err rc = store_init(s);
	if (rc == ERR_OK)
		rc = s->backend->open(s, error, error_len);
	if (rc != ERR_OK) {
		store_close(s);
		return NULL;
	}
	return s;
}

enum err store_load(struct store *s, const struct store_loader *l, void *arg)
{
	return s->backend->load(s, l, arg);
}

enum err store_meta_get(struct store *s, const char *name, void *value, size_t *len)
{
	return s->backend->meta_get(s, name, value, len);
}

enum err store_meta_put(struct store *s, const char *name, const void *value, size_t len)
{
	struct store_named one = { name, value, len };
	return s->backend->meta_put_all(s, &one, 1);
}

enum err store_meta_put_all(struct store *s, const struct store_named *values, size_t n)
{
	return s->backend->meta_put_all(s, values, n);
}

enum err store_meta_each(struct store *s, const char *prefix, enum err (*fn)(void *arg, const char *name, const void *value, size_t len), void *arg)
{
	return s->backend->meta_each(s, prefix, fn, arg);
}

/* Signals are the loops' business. */
static int start_thread(pthread_t *thread, void *(*run)(void *arg), struct store *s)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_create(thread, NULL, run, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static void stop_reader(struct store *s)
{
	if (!s->backend->reader)
		return;
	atomic_store(&s->reader_stopping, true);
	wake(&s->page_fd);
	pthread_join(s->reader, NULL);
}

enum err store_start(struct store *s)
{
	if (s->backend->reader && start_thread(&s->reader, reader_main, s) != 0)
		return ERR_NOMEM;
	if (start_thread(&s->writer, writer_main, s) != 0) {
		stop_reader(s);
		return ERR_NOMEM;
	}
	s->started = true;
	return ERR_OK;
}

void store_submit(struct store *s, struct store_op *op)
{
	op->mail.next = NULL;
	op->mail.run = op_complete;
	mailbox_push_chain(&s->inbox, &op->mail, &op->mail, 1, op_bytes(op));
}

void store_stop(struct store *s)
{
	if (!s->started)
		return;
	atomic_store(&s->stopping, true);
	wake(&s->wake_fd);
	pthread_join(s->writer, NULL);
	stop_reader(s); /* the writer gave it its last pages */
	s->started = false;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_stop(s);
	s->backend->close(s);
	size_t at = 0;
	for (struct map_node *n = map_pop(&s->numbers, &at); n; n = map_pop(&s->numbers, &at))
		free(MAP_OF(n, struct number, node));
	map_destroy(&s->numbers);
	pthread_mutex_destroy(&s->numbers_lock);
	if (s->wake_fd >= 0)
		close(s->wake_fd);
	if (s->page_fd >= 0)
		close(s->page_fd);
	free(s->over_quota);
	free(s);
}

static uint64_t get(const atomic_uint_fast64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

bool store_failing(const struct store *s)
{
	return atomic_load_explicit(&s->failing, memory_order_relaxed);
}

void store_stats(const struct store *s, struct store_stats *out)
{
	uint64_t since = get(&s->batch_since_us), now = clock_mono_us();
	*out = (struct store_stats){
		.commits = get(&s->commits), .operations = get(&s->operations), .messages = get(&s->messages), .bytes = get(&s->bytes),
		.sync_us = get(&s->sync_us), .failed = get(&s->failed), .dropped = get(&s->dropped),
		.oldest_wait_us = since && now > since ? now - since : 0,
		.waiting = atomic_load_explicit(&s->inbox.items, memory_order_relaxed)
		    + atomic_load_explicit(&s->pages.items, memory_order_relaxed),
		.waiting_bytes = atomic_load_explicit(&s->inbox.bytes, memory_order_relaxed),
		.corrupt = get(&s->corrupt), .size = get(&s->size), .used = get(&s->used), .failing = atomic_load(&s->failing),
	};
}
