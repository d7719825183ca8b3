/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What belongs to an address: an IPv4 address, or the /64 of an IPv6 one. */
#include "broker/listener.h"
#include "tests/unit/broker/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>

enum { MOST = 32 };
static int fds[MOST];
static unsigned n_fds;

static struct sockaddr_storage address_of(const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(1000) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(1000) };
	struct sockaddr_storage out = { 0 };
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
		memcpy(&out, &in, sizeof in);
	else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		memcpy(&out, &in6, sizeof in6);
	else
		ck_abort_msg("%s is no address", text);
	return out;
}

/* A connection from there; is it let in? */
static bool comes_in(const char *from)
{
	struct sockaddr_storage peer = address_of(from);
	int fd[2];
	char byte;
	ck_assert_uint_lt(n_fds, MOST);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	fds[n_fds++] = fd[0];
	conn_accept(rig.l, &rig.b->listeners[0], fd[1], (struct sockaddr *)&peer);
	return recv(fd[0], &byte, 1, 0) < 0; /* not closed */
}

static uint64_t refused(void) { return atomic_load(&rig.l->stats.limit_handshakes); }

static void begin(const char *settings)
{
	n_fds = 0;
	rig_start(settings);
}

static void end(void)
{
	for (unsigned i = 0; i < n_fds; i++)
		close(fds[i]);
	rig_end();
}

START_TEST(a_64_of_ipv6_is_one_address)
{
	begin("max_handshakes_per_minute 3");
	ck_assert(comes_in("2001:db8:1:2::1"));
	ck_assert(comes_in("2001:db8:1:2::2"));
	ck_assert(comes_in("2001:db8:1:2:ffff:ffff:ffff:ffff"));
	ck_assert(!comes_in("2001:db8:1:2:a:b:c:d")); /* never seen, and of the same /64 */
	ck_assert(!comes_in("2001:db8:1:2::1"));
	ck_assert_uint_eq(refused(), 2);
	ck_assert(comes_in("2001:db8:1:3::1")); /* the next one */
	ck_assert(comes_in("2001:db8:1:1:ffff:ffff:ffff:ffff"));
	ck_assert(comes_in("::1"));
	ck_assert_uint_eq(refused(), 2);
	end();
}
END_TEST

START_TEST(ipv4_is_the_same_on_a_socket_of_both_families)
{
	begin("max_handshakes_per_minute 2");
	ck_assert(comes_in("10.0.0.1"));
	ck_assert(comes_in("::ffff:10.0.0.1"));
	ck_assert(!comes_in("::ffff:10.0.0.1"));
	ck_assert(!comes_in("10.0.0.1"));
	ck_assert(comes_in("::ffff:10.0.0.2")); /* mapped addresses share a /64, and are apart all the same */
	ck_assert(comes_in("10.0.0.3"));
	ck_assert_uint_eq(refused(), 2);
	end();
}
END_TEST

START_TEST(without_a_limit_nobody_is_refused)
{
	begin("");
	for (int i = 0; i < 20; i++)
		ck_assert(comes_in(i % 2 ? "2001:db8::1" : "10.0.0.1"));
	ck_assert_uint_eq(refused(), 0);
	end();
}
END_TEST

START_TEST(max_connections_holds_whoever_comes)
{
	begin("max_connections 4");
	for (int i = 0; i < 4; i++)
		ck_assert(comes_in("10.0.0.1"));
	ck_assert(!comes_in("2001:db8::1"));
	ck_assert_uint_eq(atomic_load(&rig.l->stats.limit_sockets), 1);
	close(fds[0]);
	turn();
	turn();
	ck_assert(comes_in("2001:db8::1"));
	fds[0] = dup(fds[1]); /* end() closes it */
	end();
}
END_TEST

START_TEST(the_oldest_unfinished_makes_room)
{
	begin("max_unfinished_handshakes 3");
	for (int i = 0; i < 5; i++)
		ck_assert(comes_in("10.0.0.1"));
	turn();
	char byte;
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(recv(fds[i], &byte, 1, 0) == 0, i < 2);
	ck_assert_uint_eq(atomic_load(&rig.l->stats.limit_unfinished), 2);
	end();
}
END_TEST

/* ---- sockets that are accepted */

static struct sockaddr_in own_address;

static void listen_too(void)
{
	socklen_t len = sizeof own_address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	own_address = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&own_address, len) | listen(fd, MOST), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own_address, &len), 0);
	rig.l->accepts[0].fd = fd;
	listener_start(rig.l);
}

static void stop_listening(void)
{
	listener_stop(rig.l);
	end();
}

/* A connection that waits to be accepted. */
static int comes(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_uint_lt(n_fds, MOST);
	fds[n_fds++] = fd;
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&own_address, sizeof own_address), 0);
	return fd;
}

static uint64_t made_room(void) { return atomic_load(&rig.l->stats.limit_unfinished); }

static void await_room_made(uint64_t times)
{
	for (int i = 0; made_room() < times && i < 10000; i++) {
		turn();
		usleep(1000); /* what a crowded listener rests for */
	}
	turn();
	ck_assert_uint_eq(made_room(), times);
}

START_TEST(who_said_nothing_is_reset)
{
	char byte;
	begin("max_unfinished_handshakes 2");
	listen_too();
	int silent = comes();
	turn();
	ck_assert_ptr_null(rig.l->conns->transport.ops); /* nothing was made for it */
	int slow = comes();
	ck_assert_int_eq(send(slow, "\x10", 1, 0), 1);
	turn();
	ck_assert_ptr_nonnull(rig.l->conns->transport.ops);
	comes();
	await_room_made(1);
	ck_assert_int_eq(recv(silent, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, ECONNRESET);
	comes();
	await_room_made(2);
	ck_assert_int_eq(recv(slow, &byte, 1, 0), 0);
	stop_listening();
}
END_TEST

START_TEST(a_crowded_listener_waits_for_its_time)
{
	begin("max_unfinished_handshakes 2");
	listen_too();
	rig.l->accepts[0].due_us = UINT64_MAX;
	comes();
	comes();
	turn();
	ck_assert_uint_eq(rig.l->unfinished.count, 2); /* before it is crowded there is no waiting */
	comes();
	for (int i = 0; i < 10; i++) {
		turn();
		usleep(1000);
	}
	ck_assert_uint_eq(made_room(), 0);
	rig.l->accepts[0].due_us = 0;
	await_room_made(1);
	ck_assert_uint_eq(rig.l->unfinished.count, 2);
	ck_assert_uint_gt(rig.l->accepts[0].due_us, 0);
	stop_listening();
}
END_TEST

static bool is_nodelay(int fd)
{
	int on = 0;
	socklen_t len = sizeof on;
	ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	return on;
}

START_TEST(accepted_sockets_have_the_listeners_nodelay)
{
	begin("");
	listen_too();
	comes();
	turn();
	ck_assert(is_nodelay(rig.l->conns->io.fd));
	rig.conf->set_tcp_nodelay = false;
	listener_follow(rig.l); /* as after a reload */
	comes();
	turn();
	ck_assert_uint_eq(rig.l->unfinished.count, 2);
	ck_assert(!is_nodelay(rig.l->conns->io.fd));
	stop_listening();
}
END_TEST

SUITE_MAIN("limits", a_64_of_ipv6_is_one_address, ipv4_is_the_same_on_a_socket_of_both_families, without_a_limit_nobody_is_refused,
	   max_connections_holds_whoever_comes, the_oldest_unfinished_makes_room, who_said_nothing_is_reset, a_crowded_listener_waits_for_its_time,
	   accepted_sockets_have_the_listeners_nodelay)
