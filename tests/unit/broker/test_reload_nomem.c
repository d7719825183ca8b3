/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory at every place in turn, while the main thread reloads and while a loop takes the new policy: a reload is taken whole
 * or refused whole, at most the connection that the new rules are about ends, and nothing leaks (LeakSanitizer). Linked with --wrap
 * (Makefile). */
#include "base/pages.h"
#include "broker/reload.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/broker/rig.h"

#include <pthread.h>

/* 0: none fails; n: the n-th from now fails, of the thread that armed it. */
static _Thread_local unsigned fail_at;
static atomic_bool failed_one;

static bool fails(void)
{
	if (fail_at == 0 || --fail_at > 0)
		return false;
	atomic_store(&failed_one, true);
	return true;
}

#include "tests/unit/base/nomem.h" /* asks fails() */

/* ---- files ---- */

static char dir[FOLDER_MAX], conf_path[64], open_acl[64], closed_acl[64];

static void write_file(char path[static 64], const char *name, const char *text)
{
	(void)snprintf(path, 64, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
}

#define SETTINGS \
	"log_dest none\nlistener 2 127.0.0.1\ncafile tests/vectors/ca.crt\ncertfile tests/vectors/rsa.crt\nkeyfile tests/vectors/rsa.key\n"

static void write_files(void)
{
	char text[1024];
	folder_make(dir);
	write_file(open_acl, "open", "group all (loopback) another\ntopic readwrite #\n");
	write_file(closed_acl, "closed", "group all (loopback) another\ntopic readwrite #\npattern read %u/+\nuser (loopback)\ntopic deny x\n");
	(void)snprintf(text, sizeof text, "allow_plaintext_loopback true\nsys_interval 0\nthreads 1\nstore memory\nlog_type error\n"
		"listener 1 127.0.0.1\n" SETTINGS);
	write_file(conf_path, "conf", text);
}

static void remove_files(void)
{
	folder_remove(dir);
}

/* ---- a reload beside the loop ---- */

struct work {
	const char *acl;
	unsigned fail_at; /* in this thread */
	atomic_bool done;
};

static struct conf *load(void *arg, FILE *errors)
{
	struct conf *c = conf_load(conf_path, errors);
	if (!c)
		return NULL;
	free(c->acl_file);
	c->acl_file = strdup(((struct work *)arg)->acl);
	return c;
}

static void *reload_thread(void *arg)
{
	struct work *w = arg;
	pool_drain(); /* what the pool kept would hide allocations */
	fail_at = w->fail_at;
	reload(rig.b, "test", load, w);
	fail_at = 0;
	pool_drain();
	atomic_store(&w->done, true);
	return NULL;
}

/* Turns the loop until the reload is through. True: taken. main_at, loop_at: which allocation of which thread fails. */
static bool reload_with(const char *acl, unsigned main_at, unsigned loop_at)
{
	const struct policy *before = rig.b->policy;
	struct work w = { .acl = acl, .fail_at = main_at };
	pthread_t thread;
	atomic_store(&failed_one, false); /* before the thread, which may be through before this one goes on */
	ck_assert_int_eq(pthread_create(&thread, NULL, reload_thread, &w), 0);
	pool_drain();
	fail_at = loop_at;
	while (!atomic_load(&w.done))
		turn();
	turn();
	fail_at = 0; /* before Check's next allocation */
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	return rig.b->policy != before;
}

static struct client one, bystander;

static void bystander_is_well(void)
{
	struct packet p;
	unsigned seen = 0;
	SEND(&bystander, "\xc0\x00");
	send_publish(&bystander, 2, 'z', 1, 'z');
	turn();
	while (next_packet(&bystander, &p))
		seen |= 1U << p.type;
	ck_assert_uint_eq(seen, 1U << MQTT_PINGRESP | 1U << MQTT_PUBACK | 1U << MQTT_PUBLISH);
}

static void begin(void)
{
	write_files();
	rig_start(SETTINGS);
	ck_assert_int_eq(log_start(&rig.l->conf->log), ERR_OK);
	ck_assert(reload_with(open_acl, 0, 0));
	connect_as(&bystander, 'b', true, false);
	subscribe(&bystander, "z", 1);
}

static void end(void)
{
	close(bystander.fd);
	rig_end();
	log_stop();
	remove_files();
}

START_TEST(a_reload_is_taken_whole_or_refused_whole)
{
	begin();
	unsigned n = 0, refused = 0;
	do {
		ck_assert_uint_lt(++n, 20000);
		const struct acl *acl = rig.b->policy->acl;
		if (!reload_with(closed_acl, n, 0)) {
			refused++;
			ck_assert_ptr_eq(rig.b->policy->acl, acl);
		}
		ck_assert_ptr_eq(rig.l->policy, rig.b->policy);
		bystander_is_well();
	} while (atomic_load(&failed_one));
	ck_assert_uint_gt(refused, 30);
	end();
}
END_TEST

/* Client one subscribes to what the new rules deny: without memory its connection may end, but it never gets a message. */
START_TEST(a_loop_without_memory_still_keeps_the_new_rules)
{
	begin();
	bool again = true;
	for (unsigned n = 1; again; n++) {
		ck_assert_uint_lt(n, 1000);
		connect_as(&one, '1', false, n > 1); /* its subscriptions are in the store too */
		subscribe(&one, "x", 1);
		subscribe(&one, "y", 1);
		ck_assert(reload_with(closed_acl, 0, n));
		again = atomic_load(&failed_one);
		send_publish(&bystander, 2, 'x', 2, 'x');
		turn();
		EXPECT(&bystander, "\x40\x02\x00\x02");
		fill_input(&one);
		ck_assert(one.len == 0);
		bystander_is_well();
		close(one.fd);
		turn();
		ck_assert(reload_with(open_acl, 0, 0));
	}
	end();
}
END_TEST

SUITE_MAIN("broker/reload_nomem", a_reload_is_taken_whole_or_refused_whole, a_loop_without_memory_still_keeps_the_new_rules)
