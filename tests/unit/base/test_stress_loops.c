/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Four threads that behave as the broker's loops do, on what they share: mailboxes, messages, and a table whose entries are replaced
 * under a lock, read without one, and freed by epochs. A loop sleeps offline when it has no mail. Meant for ThreadSanitizer. */
#include "base/epoch.h"
#include "base/mailbox.h"
#include "base/msg.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <string.h>

enum { LOOPS = 4, ENTRIES = 64, TURNS = 30000, ALIVE = 0x11FE, DEAD = 0xDEAD };

struct entry {
	struct epoch_item item; /* first */
	unsigned state, twin;   /* immutable until freed: state ALIVE, twin its complement */
};

struct loop {
	pthread_t thread;
	struct mailbox mail;
	sem_t wake;
	int id;                /* epoch's; owner, as all below */
	uint64_t random;
	unsigned sent, got, wrong;
	unsigned expected[LOOPS]; /* by sender: the next number */
	unsigned number[LOOPS];   /* by receiver: the last one sent */
	unsigned ended;           /* farewells received */
};

struct parcel {
	struct mail mail; /* first */
	struct msg *msg;
	unsigned from, number;
	bool last;
};

static struct epoch *epoch;
static _Atomic(struct entry *) table[ENTRIES];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct loop loops[LOOPS];
static atomic_uint made, freed;
static atomic_uint inserted, announced; /* see try_barrier */

static unsigned draw(struct loop *l, unsigned below)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return (unsigned)(l->random % below);
}

static struct entry *new_entry(unsigned twin)
{
	struct entry *e = malloc(sizeof *e);
	if (!e)
		abort();
	e->state = ALIVE + twin;
	e->twin = ~(ALIVE + twin);
	atomic_fetch_add_explicit(&made, 1, memory_order_relaxed);
	return e;
}

static void free_entry(struct epoch_item *item)
{
	struct entry *e = (struct entry *)(void *)item;
	e->state = DEAD; /* a reader's late look is a race that ThreadSanitizer reports, and a wrong value without it */
	e->twin = DEAD;
	free(e);
	atomic_fetch_add_explicit(&freed, 1, memory_order_relaxed);
}

static void read_table(struct loop *l)
{
	const struct entry *held[4];
	for (unsigned i = 0; i < 4; i++)
		held[i] = atomic_load_explicit(&table[draw(l, ENTRIES)], memory_order_acquire);
	for (unsigned i = 0; i < 4; i++)
		l->wrong += held[i]->state != ~held[i]->twin;
}

static void replace_entry(struct loop *l)
{
	struct entry *fresh = new_entry(draw(l, 1000));
	pthread_mutex_lock(&table_lock);
	struct entry *old = atomic_exchange_explicit(&table[draw(l, ENTRIES)], fresh, memory_order_acq_rel);
	pthread_mutex_unlock(&table_lock);
	epoch_retire(epoch, l->id, &old->item, free_entry);
}

/* Loop 0 inserts, waits for a barrier, then announces; who reads the announcement must find what was inserted, although both are
 * relaxed: everybody has been quiescent in between. */
static void try_barrier(struct loop *l)
{
	static uint64_t barrier; /* loop 0's */
	if (l == &loops[0]) {
		if (barrier != 0 && epoch_passed(epoch, barrier)) {
			atomic_store_explicit(&announced, atomic_load_explicit(&inserted, memory_order_relaxed), memory_order_relaxed);
			barrier = 0;
		}
		if (barrier == 0) {
			atomic_fetch_add_explicit(&inserted, 1, memory_order_relaxed);
			barrier = epoch_barrier(epoch);
		}
		return;
	}
	unsigned word = atomic_load_explicit(&announced, memory_order_relaxed);
	l->wrong += atomic_load_explicit(&inserted, memory_order_relaxed) < word;
}

static void wake_loop(void *arg)
{
	sem_post(&((struct loop *)arg)->wake);
}

static void open_parcel(struct mail *m, void *owner)
{
	struct parcel *p = (struct parcel *)(void *)m;
	struct loop *l = owner;
	l->wrong += p->number != ++l->expected[p->from];
	if (p->msg)
		l->wrong += p->msg->payload_len != 5 || memcmp(msg_payload(p->msg), "hello", 5) != 0;
	msg_unref(p->msg);
	l->got++;
	l->ended += p->last;
	free(p);
}

static struct parcel *new_parcel(struct loop *l, unsigned to, struct msg *take_msg, bool last)
{
	struct parcel *p = malloc(sizeof *p);
	if (!p)
		abort();
	*p = (struct parcel){ { NULL, open_parcel }, take_msg, (unsigned)(l - loops), ++l->number[to], last };
	l->sent++;
	return p;
}

/* One message for everybody, by one or by a chain of two parcels each. */
static void publish(struct loop *l)
{
	struct msg *m = msg_new(&(struct msg_spec){ .topic = "t", .topic_len = 1, .payload = "hello", .payload_len = 5 });
	if (!m)
		abort();
	for (unsigned to = 0; to < LOOPS; to++) {
		struct parcel *first = new_parcel(l, to, msg_ref(m), false);
		if (draw(l, 2) == 0) {
			mailbox_push(&loops[to].mail, &first->mail);
			continue;
		}
		struct parcel *second = new_parcel(l, to, msg_ref(m), false);
		first->mail.next = &second->mail;
		mailbox_push_chain(&loops[to].mail, &first->mail, &second->mail, 2, 0);
	}
	msg_unref(m);
}

static void turn(struct loop *l)
{
	mailbox_run(&l->mail, l);
	read_table(l);
	try_barrier(l);
	epoch_quiescent(epoch, l->id);
	epoch_reclaim(epoch, l->id);
}

static void *run_loop(void *arg)
{
	struct loop *l = arg;
	l->id = epoch_register(epoch);
	epoch_online(epoch, l->id);
	for (unsigned i = 0; i < TURNS; i++) {
		if (draw(l, 3) == 0)
			publish(l);
		if (draw(l, 4) == 0)
			replace_entry(l);
		turn(l);
		if (draw(l, 8) == 0) { /* as round epoll_wait */
			epoch_offline(epoch, l->id);
			if (draw(l, 2) == 0)
				sched_yield();
			epoch_online(epoch, l->id);
		}
	}
	for (unsigned to = 0; to < LOOPS; to++)
		mailbox_push(&loops[to].mail, &new_parcel(l, to, NULL, true)->mail);
	/* From here on it only moves when woken: a lost wake-up hangs, and the runner's time limit catches it. */
	while (l->ended < LOOPS) {
		epoch_offline(epoch, l->id);
		sem_wait(&l->wake);
		epoch_online(epoch, l->id);
		turn(l);
	}
	epoch_unregister(epoch, l->id);
	return NULL;
}

START_TEST(loops_share_messages_mail_and_a_table)
{
	epoch = epoch_new();
	ck_assert_ptr_nonnull(epoch);
	for (unsigned i = 0; i < ENTRIES; i++)
		atomic_init(&table[i], new_entry(i));
	for (unsigned i = 0; i < LOOPS; i++) {
		loops[i].random = UINT64_C(0x9E3779B97F4A7C15) * (i + 1);
		sem_init(&loops[i].wake, 0, 0);
		mailbox_init(&loops[i].mail, wake_loop, &loops[i]);
	}
	for (unsigned i = 0; i < LOOPS; i++)
		ck_assert_int_eq(pthread_create(&loops[i].thread, NULL, run_loop, &loops[i]), 0);
	unsigned sent = 0, got = 0, wrong = 0;
	for (unsigned i = 0; i < LOOPS; i++) {
		pthread_join(loops[i].thread, NULL);
		sent += loops[i].sent;
		got += loops[i].got;
		wrong += loops[i].wrong;
		ck_assert_uint_eq(atomic_load(&loops[i].mail.items), 0);
		sem_destroy(&loops[i].wake);
	}
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(got, sent);
	ck_assert_uint_gt(atomic_load(&announced), 0);
	ck_assert_uint_gt(atomic_load(&freed), 0); /* while they ran */
	epoch_free(epoch);
	ck_assert_uint_eq(atomic_load(&freed), atomic_load(&made) - ENTRIES);
	for (unsigned i = 0; i < ENTRIES; i++)
		free(atomic_load(&table[i]));
}
END_TEST

SUITE_MAIN("stress_loops", loops_share_messages_mail_and_a_table)
