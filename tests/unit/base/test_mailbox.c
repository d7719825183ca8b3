/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/mailbox.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct note {
	struct mail mail;
	unsigned sender, number;
};

struct reader {
	unsigned next[4]; /* by sender */
	unsigned order[64], ran;
	bool disordered;
};

static void read_note(struct mail *m, void *owner)
{
	struct note *n = (struct note *)(void *)m;
	struct reader *r = owner;
	if (n->number != r->next[n->sender]++)
		r->disordered = true;
	if (r->ran < 64)
		r->order[r->ran] = n->number;
	r->ran++;
}

static void count_wake(void *arg)
{
	++*(unsigned *)arg;
}

static struct note note(unsigned number)
{
	return (struct note){ .mail = { NULL, read_note }, .number = number };
}

START_TEST(an_empty_mailbox_gives_nothing)
{
	struct mailbox mb;
	mailbox_init(&mb, NULL, NULL);
	ck_assert_ptr_null(mailbox_take(&mb));
	ck_assert_uint_eq(mailbox_run(&mb, NULL), 0);
}
END_TEST

START_TEST(mail_runs_in_the_order_of_pushing)
{
	struct mailbox mb;
	struct note notes[] = { note(0), note(1), note(2) };
	struct reader reader = { 0 };
	mailbox_init(&mb, NULL, NULL);
	for (int i = 0; i < 3; i++)
		mailbox_push(&mb, &notes[i].mail);
	ck_assert_uint_eq(atomic_load(&mb.items), 3);
	ck_assert_uint_eq(mailbox_run(&mb, &reader), 3);
	ck_assert(!reader.disordered);
	ck_assert_uint_eq(reader.ran, 3);
	ck_assert_uint_eq(atomic_load(&mb.items), 0);
}
END_TEST

START_TEST(a_chain_keeps_its_order_among_single_mails)
{
	struct mailbox mb;
	struct note notes[] = { note(0), note(1), note(2), note(3), note(4) };
	struct reader reader = { 0 };
	mailbox_init(&mb, NULL, NULL);
	mailbox_push(&mb, &notes[0].mail);
	notes[1].mail.next = &notes[2].mail;
	notes[2].mail.next = &notes[3].mail;
	mailbox_push_chain(&mb, &notes[1].mail, &notes[3].mail, 3, 300);
	mailbox_push(&mb, &notes[4].mail);
	ck_assert_uint_eq(atomic_load(&mb.items), 5);
	ck_assert_uint_eq(atomic_load(&mb.bytes), 300);

	unsigned n = 0;
	for (struct mail *m = mailbox_take(&mb); m; m = m->next)
		ck_assert_uint_eq(((struct note *)(void *)m)->number, n++);
	ck_assert_uint_eq(n, 5);
	ck_assert_uint_eq(atomic_load(&mb.items), 5); /* taken is not done */
	mailbox_done(&mb, 5, 300);
	ck_assert_uint_eq(atomic_load(&mb.items), 0);
	ck_assert_uint_eq(atomic_load(&mb.bytes), 0);

	/* A chain of one, whose next is left over from elsewhere. */
	notes[0].mail.next = &notes[4].mail;
	mailbox_push_chain(&mb, &notes[0].mail, &notes[0].mail, 1, 0);
	ck_assert_uint_eq(mailbox_run(&mb, &reader), 1);
}
END_TEST

START_TEST(only_an_empty_mailbox_wakes)
{
	struct mailbox mb;
	struct note notes[] = { note(0), note(1), note(2), note(3) };
	struct reader reader = { 0 };
	unsigned wakes = 0;
	mailbox_init(&mb, count_wake, &wakes);
	mailbox_push(&mb, &notes[0].mail);
	ck_assert_uint_eq(wakes, 1);
	mailbox_push(&mb, &notes[1].mail);
	notes[2].mail.next = NULL;
	mailbox_push_chain(&mb, &notes[2].mail, &notes[2].mail, 1, 10);
	ck_assert_uint_eq(wakes, 1);
	ck_assert_uint_eq(mailbox_run(&mb, &reader), 3);
	mailbox_push(&mb, &notes[3].mail);
	ck_assert_uint_eq(wakes, 2);
}
END_TEST

/* Mail that sends itself again runs in the next round, not for ever in this one; mail may free itself. */
struct again {
	struct mail mail;
	struct mailbox *mb;
	unsigned left;
};

static void run_again(struct mail *m, void *owner)
{
	struct again *a = (struct again *)(void *)m;
	++*(unsigned *)owner;
	if (a->left-- > 0)
		mailbox_push(a->mb, m);
	else
		free(a);
}

START_TEST(running_mail_owns_itself)
{
	struct mailbox mb;
	unsigned runs = 0;
	mailbox_init(&mb, NULL, NULL);
	struct again *a = malloc(sizeof *a);
	*a = (struct again){ { NULL, run_again }, &mb, 2 };
	mailbox_push(&mb, &a->mail);
	for (unsigned round = 1; round <= 3; round++) {
		ck_assert_uint_eq(mailbox_run(&mb, &runs), 1);
		ck_assert_uint_eq(runs, round);
	}
	ck_assert_uint_eq(mailbox_run(&mb, &runs), 0);
}
END_TEST

/* Three senders, one consumer that looks only after it was woken, as a loop does. */
enum { SENDERS = 3, NOTES = 20000 };

struct sender {
	struct mailbox *mb;
	struct note *notes;
	unsigned number;
};

static void set_flag(void *arg)
{
	atomic_store((atomic_bool *)arg, true);
}

static void *send_notes(void *arg)
{
	struct sender *s = arg;
	for (unsigned i = 0; i < NOTES;) {
		unsigned n = i % 7 == 0 && i + 3 <= NOTES ? 3 : 1;
		for (unsigned k = 0; k < n; k++) {
			s->notes[i + k] = (struct note){ { NULL, read_note }, s->number, i + k };
			s->notes[i + k].mail.next = k + 1 < n ? &s->notes[i + k + 1].mail : NULL;
		}
		if (n == 1)
			mailbox_push(s->mb, &s->notes[i].mail);
		else
			mailbox_push_chain(s->mb, &s->notes[i].mail, &s->notes[i + n - 1].mail, n, 0);
		i += n;
	}
	return NULL;
}

START_TEST(no_mail_and_no_wake_up_is_lost_between_threads)
{
	struct mailbox mb;
	atomic_bool woken = false;
	struct reader reader = { 0 };
	struct sender senders[SENDERS];
	pthread_t threads[SENDERS];
	mailbox_init(&mb, set_flag, &woken);
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){ &mb, calloc(NOTES, sizeof(struct note)), i };
		ck_assert_ptr_nonnull(senders[i].notes);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, send_notes, &senders[i]), 0);
	}
	while (reader.ran < SENDERS * NOTES) { /* a lost wake-up would hang here: the runner's time limit catches it */
		if (atomic_exchange(&woken, false))
			mailbox_run(&mb, &reader);
		else
			sched_yield();
	}
	for (unsigned i = 0; i < SENDERS; i++) {
		pthread_join(threads[i], NULL);
		free(senders[i].notes);
		ck_assert_uint_eq(reader.next[i], NOTES);
	}
	ck_assert(!reader.disordered);
	ck_assert_uint_eq(atomic_load(&mb.items), 0);
}
END_TEST

SUITE_MAIN("mailbox", an_empty_mailbox_gives_nothing, mail_runs_in_the_order_of_pushing,
	   a_chain_keeps_its_order_among_single_mails, only_an_empty_mailbox_wakes, running_mail_owns_itself,
	   no_mail_and_no_wake_up_is_lost_between_threads)
