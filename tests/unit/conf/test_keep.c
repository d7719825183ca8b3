/* SPDX-License-Identifier: GPL-3.0-or-later */
/* At a reload: what stays as it runs, and what is said about it. */
#include "conf/conf.h"
#include "conf/parse.h"
#include "tests/unit/base/suite.h"

#include <stdlib.h>
#include <string.h>

#define TLS "cafile ca\ncertfile crt\nkeyfile key\n"

static struct conf *running, *next;
static char *messages;

static void keep(const char *running_text, const char *next_text)
{
	size_t len;
	FILE *f = open_memstream(&messages, &len);
	ck_assert_ptr_nonnull(f);
	running = conf_parse(running_text, strlen(running_text), "old", stderr);
	next = conf_parse(next_text, strlen(next_text), "new", stderr);
	ck_assert(running && next);
	ck_assert_int_eq(conf_keep(next, running, f), ERR_OK);
	ck_assert_int_eq(fclose(f), 0);
}

static void done(const char *expected)
{
	ck_assert_str_eq(messages, expected);
	conf_free(running);
	conf_free(next);
	free(messages);
}

START_TEST(the_same_file_keeps_everything_silently)
{
	const char text[] = TLS "listener 1883\nlistener 8883 ::1\nuser sealmq\nthreads 2\n";
	keep(text, text);
	ck_assert_uint_eq(next->n_listeners, 2);
	done("");
}
END_TEST

START_TEST(limits_and_files_change)
{
	keep(TLS "listener 8883\nmax_packet_size 1000\n", TLS "listener 8883\nmax_packet_size 2000\nmax_connections 7\ncrlfile crl\nacl_file acl\n");
	ck_assert_uint_eq(next->max_packet_size, 2000);
	ck_assert_str_eq(next->acl_file, "acl");
	ck_assert_uint_eq(next->listeners[0].max_connections, 7);
	ck_assert_str_eq(next->listeners[0].crlfile, "crl");
	done("");
}
END_TEST

START_TEST(what_needs_a_restart_stays_and_is_named)
{
	keep(TLS "listener 8883\nthreads 2\nuser a\nstore memory\n", TLS "listener 8883\nthreads 3\npid_file p\nstore lmdb\nstore_dir d\n");
	ck_assert_uint_eq(next->threads, 2);
	ck_assert_int_eq(next->store, CONF_STORE_MEMORY);
	ck_assert_str_eq(next->user, "a");
	ck_assert_str_eq(next->store_dir, running->store_dir);
	ck_assert_ptr_null(next->pid_file);
	done("new: warning: threads: another value needs a restart; it stays as it is\n"
		"new: warning: store: another value needs a restart; it stays as it is\n"
		"new: warning: store_dir: another value needs a restart; it stays as it is\n"
		"new: warning: user: another value needs a restart; it stays as it is\n"
		"new: warning: pid_file: another value needs a restart; it stays as it is\n");
}
END_TEST

START_TEST(listeners_are_found_by_address_wherever_they_stand)
{
	keep(TLS "listener 1\nlistener 2 ::1\nlistener 3\n", TLS "listener 3\nmax_connections 3\nlistener 2 ::1\nmax_connections 2\nlistener 1\nmax_connections 1\n");
	ck_assert_uint_eq(next->n_listeners, 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(next->listeners[i].port, i + 1);
		ck_assert_uint_eq(next->listeners[i].max_connections, i + 1);
	}
	done("");
}
END_TEST

START_TEST(listeners_that_come_or_go_wait_for_a_restart)
{
	keep(TLS "listener 1\nlistener 2 ::1\ncrlfile crl\n", TLS "listener 4\nlistener 1\nlistener 2 127.0.0.1\n");
	ck_assert_uint_eq(next->n_listeners, 2);
	ck_assert_uint_eq(next->listeners[0].port, 1);
	ck_assert_str_eq(next->listeners[1].address, "::1");
	ck_assert_str_eq(next->listeners[1].crlfile, "crl");
	done("new: warning: listener 2 ::1: to close it needs a restart; it stays as it is\n"
		"new:4: warning: listener 4: to open it needs a restart; it stays as it is\n"
		"new:6: warning: listener 2 127.0.0.1: to open it needs a restart; it stays as it is\n");
}
END_TEST

START_TEST(tls_is_not_taken_off_a_listener)
{
	keep("listener 1 ::1\n" TLS, "allow_plaintext_loopback true\nlistener 1 ::1\n");
	ck_assert(!next->listeners[0].plaintext);
	ck_assert_str_eq(next->listeners[0].keyfile, "key");
	done("new:2: warning: listener 1: to go from plain text to TLS or back needs a restart; it stays as it is\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("keep");
	TCase *t = tcase_create("keep");
	tcase_add_test(t, the_same_file_keeps_everything_silently);
	tcase_add_test(t, limits_and_files_change);
	tcase_add_test(t, what_needs_a_restart_stays_and_is_named);
	tcase_add_test(t, listeners_are_found_by_address_wherever_they_stand);
	tcase_add_test(t, listeners_that_come_or_go_wait_for_a_restart);
	tcase_add_test(t, tls_is_not_taken_off_a_listener);
	suite_add_tcase(s, t);
	return run_suite(s);
}
