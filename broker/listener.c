/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/listener.h"

#include "base/log.h"
#include "broker/conn.h"
#include "broker/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 4 /* of a listener; each may end another connection (broker/limits.h) */
#define ACCEPT_RETRY_S 0.25 /* after EMFILE and its like */
/* While max_unfinished_handshakes is reached each newcomer ends another: 15,000 a second, five times what a CPU completes of handshakes. Strangers that say
 * nothing come as fast as they are closed, and each costs the kernel some 25 us on the CPUs that clients wait for, and as much again for a wake-up of its own. */
#define CROWDED_GAP_US 66U
#define CROWDED_BURST_US 2000U /* what may be caught up on */
#define CROWDED_REST_S 0.001   /* the shortest that a timer measures */
#define BACKLOG 4096

/* A bound socket, or -1 with errno. IPv6 wildcard sockets take IPv4 as well unless the family says 6. */
static int open_socket(const struct addrinfo *a, int family, bool reuse_port)
{
	int on = 1, off = 0;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, family == 6 ? &on : &off, sizeof on);
	if ((reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
		bind(fd, a->ai_addr, a->ai_addrlen) != 0) {
		int e = errno;
		close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

static struct addrinfo *resolve(const struct conf_listener *c, char *error, size_t error_len)
{
	char port[8];
	snprintf(port, sizeof port, "%u", c->port);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	hints.ai_family = c->family == 4 ? AF_INET : c->family == 6 ? AF_INET6 : AF_UNSPEC;
	struct addrinfo *list = NULL;
	int r = getaddrinfo(c->address, port, &hints, &list);
	if (r == 0)
		return list;
	snprintf(error, error_len, "%u %s: expected a port and an address of this machine: %s", c->port,
	         c->address ? c->address : "", gai_strerror(r));
	return NULL;
}

/* The wildcard wants one IPv6 socket that takes both families, or IPv4 where there is no IPv6. */
static const struct addrinfo *choose(const struct addrinfo *list, const struct conf_listener *c)
{
	if (c->address)
		return list;
	for (const struct addrinfo *a = list; a; a = a->ai_next)
		if (a->ai_family == AF_INET6) {
			int fd = socket(AF_INET6, SOCK_STREAM, 0);
			if (fd < 0)
				break;
			close(fd);
			return a;
		}
	for (const struct addrinfo *a = list; a; a = a->ai_next)
		if (a->ai_family == AF_INET)
			return a;
	return list;
}

static enum err open_one(struct broker *b, size_t i, char *error, size_t error_len)
{
	const struct conf_listener *c = &b->policy->conf->listeners[i];
	struct addrinfo *list = resolve(c, error, error_len);
	if (!list)
		return ERR_IO;
	const struct addrinfo *a = choose(list, c);
	enum err result = ERR_OK;
	/* Without SO_REUSEPORT first: another process's socket on this port is an error, not a partner. */
	int probe = open_socket(a, c->family, false);
	if (probe < 0)
		result = ERR_IO;
	else
		close(probe);
	for (unsigned n = 0; result == ERR_OK && n < b->n_loops; n++) {
		int fd = open_socket(a, c->family, true);
		if (fd < 0 || listen(fd, BACKLOG) != 0)
			result = ERR_IO;
		b->loops[n]->accepts[i].fd = fd;
	}
	if (result != ERR_OK)
		snprintf(error, error_len, "%u%s%s: cannot open: %s", c->port, c->address ? " " : "",
		         c->address ? c->address : "", strerror(errno));
	freeaddrinfo(list);
	return result;
}

struct tls_options listener_tls_options(const struct conf_listener *c)
{
	return (struct tls_options){
		.cafile = c->cafile,
		.capath = c->capath,
		.certfile = c->certfile,
		.keyfile = c->keyfile,
		.crlfile = c->crlfile,
		.crl_expired_ok = c->crl_expired_ok,
		.ciphers = c->ciphers,
		.ciphers_tls13 = c->ciphers_tls13,
		.tls12 = c->tls12,
	};
}

enum err listener_check(const struct conf_listener *c, char *error, size_t error_len)
{
	struct addrinfo *list = resolve(c, error, error_len);
	if (!list)
		return ERR_INVALID;
	freeaddrinfo(list);
	return ERR_OK;
}

enum err listener_open_all(struct broker *b, char *error, size_t error_len)
{
	for (size_t i = 0; i < b->n_listeners; i++) {
		enum err e = open_one(b, i, error, error_len);
		if (e != ERR_OK)
			return e;
	}
	return ERR_OK;
}

static void on_retry(struct ev_loop *ev, ev_timer *w, int revents)
{
	(void)revents;
	struct accept_watcher *a = w->data;
	if (a->fd >= 0)
		ev_io_start(ev, &a->io);
}

/* Instead of spinning on a socket that stays readable. */
static void rest(struct accept_watcher *a, double seconds)
{
	ev_io_stop(a->loop->ev, &a->io);
	ev_timer_set(&a->retry, seconds, 0.);
	ev_timer_start(a->loop->ev, &a->retry);
}

/* Out of descriptors or memory. */
static void cannot_accept(struct accept_watcher *a)
{
	log_warning("listener %u: cannot accept: %s; trying again in %d ms", a->listener->port, strerror(errno),
	            (int)(ACCEPT_RETRY_S * 1000));
	rest(a, ACCEPT_RETRY_S);
}

/* Is it time for another one? */
static bool may_accept(struct accept_watcher *a)
{
	const struct loop *l = a->loop;
	if (!limits_crowded(l))
		return true;
	if (a->due_us > l->turn_began_us) {
		rest(a, CROWDED_REST_S);
		return false;
	}
	uint64_t missed_us = l->turn_began_us - a->due_us;
	a->due_us = (missed_us > CROWDED_BURST_US ? l->turn_began_us - CROWDED_BURST_US : a->due_us) + CROWDED_GAP_US;
	return true;
}

static void on_accept(struct ev_loop *ev, ev_io *w, int revents)
{
	(void)ev;
	(void)revents;
	struct accept_watcher *a = w->data;
	for (int i = 0; i < ACCEPTS_PER_TURN && may_accept(a); i++) {
		struct sockaddr_storage peer;
		socklen_t peer_len = sizeof peer;
		int fd = accept4(a->fd, (struct sockaddr *)&peer, &peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				cannot_accept(a);
			else if (limits_crowded(a->loop))
				rest(a, CROWDED_REST_S); /* those who come meanwhile come in together */
			return; /* EAGAIN, or a client that is gone again */
		}
		conn_accept(a->loop, a->listener, fd, (const struct sockaddr *)&peer);
	}
}

void listener_follow(struct loop *l)
{
	int on = l->conf->set_tcp_nodelay;
	for (size_t i = 0; i < l->broker->n_listeners; i++)
		if (l->accepts[i].fd >= 0)
			setsockopt(l->accepts[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void listener_start(struct loop *l)
{
	listener_follow(l);
	for (size_t i = 0; i < l->broker->n_listeners; i++) {
		struct accept_watcher *a = &l->accepts[i];
		a->loop = l;
		a->listener = &l->broker->listeners[i];
		ev_io_init(&a->io, on_accept, a->fd, EV_READ);
		a->io.data = a;
		ev_timer_init(&a->retry, on_retry, 0., 0.);
		a->retry.data = a;
		ev_io_start(l->ev, &a->io);
	}
}

void listener_stop(struct loop *l)
{
	for (size_t i = 0; i < l->broker->n_listeners; i++) {
		struct accept_watcher *a = &l->accepts[i];
		if (a->fd < 0)
			continue;
		ev_io_stop(l->ev, &a->io);
		ev_timer_stop(l->ev, &a->retry);
		close(a->fd);
		a->fd = -1;
	}
}
