/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Connecting, waiting, connecting again. Owns libmosquitto's handle; one thread. */
#include "client/cli_link.h"

#include "base/clock.h"
#include "base/random.h"

#include <mosquitto.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 1000u
#define MISC_EVERY_MS 500 /* keepalive and time-outs of libmosquitto */
#define ID_MAX 64         /* bytes of a client id that we make */

enum state { CLOSED, CONNECTING, UP, ENDING, ENDED };

struct link {
	struct mosquitto *m;
	const struct options *o;
	const struct link_handlers *h;
	void *ctx;
	enum state state;
	bool keep_session, was_up, fatal, again, told_interrupted; /* again: ENDING is followed by another connection */
	uint64_t next_try_ms, backoff_ms, deadline_ms; /* steady clock; deadline 0: none */
	char id[ID_MAX];
	char why[256];                                 /* what libmosquitto has said last about an error */
	char *will_topic;
	void *will_payload;
	size_t will_len;
	int will_qos;
	bool will_retain;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

/* ---- libmosquitto's calls */

static void on_connect(struct mosquitto *m, void *arg, int rc, int flags)
{
	struct link *l = arg;
	(void)m;
	if (rc != 0) {
		complain(l->o, "%s: %s", l->o->host, mosquitto_connack_string(rc));
		l->fatal = !l->was_up && rc != 3; /* 3: the server is unavailable; it may become available */
		return;
	}
	l->state = UP;
	l->was_up = true;
	l->backoff_ms = BACKOFF_FIRST_MS;
	if (l->h->connected)
		l->h->connected(l->ctx, (flags & 1) != 0);
}

static void on_message(struct mosquitto *m, void *arg, const struct mosquitto_message *message)
{
	struct link *l = arg;
	(void)m;
	if (l->h->message)
		l->h->message(l->ctx, message);
}

static void on_subscribe(struct mosquitto *m, void *arg, int mid, int n, const int *granted)
{
	struct link *l = arg;
	(void)m;
	if (l->h->subscribed)
		l->h->subscribed(l->ctx, mid, n, granted);
}

static void on_unsubscribe(struct mosquitto *m, void *arg, int mid)
{
	struct link *l = arg;
	(void)m;
	if (l->h->unsubscribed)
		l->h->unsubscribed(l->ctx, mid);
}

static void on_publish(struct mosquitto *m, void *arg, int mid)
{
	struct link *l = arg;
	(void)m;
	if (l->h->published)
		l->h->published(l->ctx, mid);
}

static void on_log(struct mosquitto *m, void *arg, int level, const char *text)
{
	struct link *l = arg;
	(void)m;
	if (level == MOSQ_LOG_ERR)
		snprintf(l->why, sizeof l->why, "%s", text);
	if (l->o->debug) {
		puts(text);
		(void)fflush(stdout);
	}
}

/* ---- the handle */

static bool set_tls(struct link *l)
{
	const struct options *o = l->o;
	if (!o->cafile && !o->capath)
		return true;
	int rc = mosquitto_tls_set(l->m, o->cafile, o->capath, o->certfile, o->keyfile, NULL);
	if (rc == MOSQ_ERR_INVAL)
		complain(o, "one of the files %s, %s, %s cannot be read", o->cafile ? o->cafile : o->capath, o->certfile ? o->certfile : "(no --cert)",
		         o->keyfile ? o->keyfile : "(no --key)");
	else if (rc != MOSQ_ERR_SUCCESS)
		complain(o, "TLS: %s", mosquitto_strerror(rc));
	if (rc != MOSQ_ERR_SUCCESS)
		return false;
	if (o->insecure)
		(void)mosquitto_tls_insecure_set(l->m, true);
	if (o->tls_alpn)
		(void)mosquitto_string_option(l->m, MOSQ_OPT_TLS_ALPN, o->tls_alpn);
	if ((o->ciphers || o->tls_version) && mosquitto_tls_opts_set(l->m, 1, o->tls_version, o->ciphers) != MOSQ_ERR_SUCCESS) {
		complain(o, "TLS: expected --tls-version tlsv1.2 or tlsv1.3, and cipher suites that OpenSSL knows");
		return false;
	}
	return true;
}

/* A fresh handle, with everything but the connection. */
static bool make_handle(struct link *l, bool clean)
{
	const struct options *o = l->o;
	mosquitto_destroy(l->m);
	l->m = mosquitto_new(l->id, clean, l);
	if (!l->m) {
		if (errno == ENOMEM)
			complain(o, "out of memory");
		else
			complain(o, "--id '%s': expected a client id in UTF-8 that is not empty", l->id);
		return false;
	}
	mosquitto_connect_with_flags_callback_set(l->m, on_connect);
	mosquitto_message_callback_set(l->m, on_message);
	mosquitto_subscribe_callback_set(l->m, on_subscribe);
	mosquitto_unsubscribe_callback_set(l->m, on_unsubscribe);
	mosquitto_publish_callback_set(l->m, on_publish);
	mosquitto_log_callback_set(l->m, on_log);
	(void)mosquitto_int_option(l->m, MOSQ_OPT_PROTOCOL_VERSION, o->version31 ? MQTT_PROTOCOL_V31 : MQTT_PROTOCOL_V311);
	(void)mosquitto_int_option(l->m, MOSQ_OPT_TCP_NODELAY, o->nodelay);
	(void)mosquitto_max_inflight_messages_set(l->m, (unsigned)o->max_inflight);
	if (o->username && mosquitto_username_pw_set(l->m, o->username, o->password) != MOSQ_ERR_SUCCESS) {
		complain(o, "--username, --pw: expected a user name in UTF-8, and no more than 65535 bytes of each");
		return false;
	}
	return set_tls(l);
}

static void name_client(struct link *l)
{
	char host[24] = "";
	uint32_t random;
	if (l->o->id) {
		snprintf(l->id, sizeof l->id, "%s", l->o->id);
		return;
	}
	if (l->o->id_prefix) {
		snprintf(l->id, sizeof l->id, "%s%ld", l->o->id_prefix, (long)getpid());
		return;
	}
	random_bytes(&random, sizeof random);
	(void)gethostname(host, sizeof host - 1);
	snprintf(l->id, sizeof l->id, "sealmq-%s-%08x", host, (unsigned)random);
}

struct link *link_new(const struct options *o, const struct link_handlers *h, void *ctx, bool keep_session)
{
	struct link *l = calloc(1, sizeof *l);
	if (!l || mosquitto_lib_init() != MOSQ_ERR_SUCCESS) {
		complain(o, "out of memory");
		free(l);
		return NULL;
	}
	*l = (struct link){ .o = o, .h = h, .ctx = ctx, .keep_session = keep_session, .backoff_ms = BACKOFF_FIRST_MS };
	if (o->timeout_s)
		l->deadline_ms = clock_mono_ms() + (uint64_t)o->timeout_s * 1000;
	if (o->id && strlen(o->id) >= ID_MAX) {
		complain(o, "--id: longer than %d bytes", ID_MAX - 1);
		link_free(l);
		return NULL;
	}
	name_client(l);
	const struct sigaction act = { .sa_handler = on_signal };
	(void)sigaction(SIGINT, &act, NULL);
	(void)sigaction(SIGTERM, &act, NULL);
	if (make_handle(l, !o->disable_clean_session))
		return l;
	link_free(l);
	return NULL;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	mosquitto_destroy(l->m);
	(void)mosquitto_lib_cleanup();
	free(l->will_topic);
	free(l->will_payload);
	free(l);
}

bool link_will(struct link *l, const char *topic, const void *payload, size_t len, int qos, bool retain)
{
	free(l->will_topic);
	free(l->will_payload);
	l->will_topic = strdup(topic);
	l->will_payload = malloc(len + 1);
	if (!l->will_topic || !l->will_payload) {
		complain(l->o, "out of memory");
		return false;
	}
	if (len)
		memcpy(l->will_payload, payload, len);
	l->will_len = len;
	l->will_qos = qos;
	l->will_retain = retain;
	return true;
}

/* ---- connecting */

static uint64_t jittered(uint64_t ms)
{
	uint32_t random;
	random_bytes(&random, sizeof random);
	return ms / 2 + random % (ms / 2 + 1); /* so that a fleet does not come back all at once */
}

static void schedule(struct link *l)
{
	uint64_t pause = jittered(l->backoff_ms), longest = (uint64_t)l->o->reconnect_max_s * 1000;
	l->next_try_ms = clock_mono_ms() + pause;
	l->backoff_ms = l->backoff_ms * 2 < longest ? l->backoff_ms * 2 : longest;
	if (l->o->verbose || l->o->debug)
		complain(l->o, "%s: next try in %.1f s", l->o->host, (double)pause / 1000);
}

/* The connection is gone, or was never there. */
static void lose(struct link *l, int rc)
{
	bool was_up = l->state == UP;
	if (l->state == ENDING && l->again) {
		l->again = false;
		l->state = CLOSED;
		l->next_try_ms = 0;
		if (l->h->lost)
			l->h->lost(l->ctx);
		return;
	}
	if (l->state == ENDING) {
		l->state = ENDED;
		return;
	}
	l->state = CLOSED;
	if (!l->fatal)
		complain(l->o, "%s: %s", l->o->host, l->why[0] ? l->why : rc == MOSQ_ERR_ERRNO ? strerror(errno) : mosquitto_strerror(rc));
	l->why[0] = '\0';
	if (!l->was_up && !l->o->keep_trying)
		l->fatal = true;
	if (was_up && l->h->lost)
		l->h->lost(l->ctx);
	if (!l->fatal)
		schedule(l);
}

static void try_connect(struct link *l)
{
	/* Without a session to resume, what libmosquitto still holds would go out again behind our back. */
	if (l->was_up && !l->keep_session && !make_handle(l, true)) {
		l->fatal = true;
		return;
	}
	if (l->will_topic && mosquitto_will_set(l->m, l->will_topic, (int)l->will_len, l->will_payload, l->will_qos, l->will_retain) != MOSQ_ERR_SUCCESS) {
		complain(l->o, "%s: cannot be a will's topic", l->will_topic);
		l->fatal = true;
		return;
	}
	l->state = CONNECTING;
	int rc = mosquitto_connect_bind(l->m, l->o->host, options_port(l->o), l->o->keepalive_s, l->o->bind_address);
	if (rc != MOSQ_ERR_SUCCESS)
		lose(l, rc);
}

/* ---- waiting */

static int remaining(const struct link *l, int timeout_ms)
{
	uint64_t now = clock_mono_ms(), left = timeout_ms < 0 || timeout_ms > MISC_EVERY_MS ? MISC_EVERY_MS : (uint64_t)timeout_ms;
	if (l->state == CLOSED)
		left = l->next_try_ms <= now ? 0 : l->next_try_ms - now < left ? l->next_try_ms - now : left;
	if (l->deadline_ms)
		left = l->deadline_ms <= now ? 0 : l->deadline_ms - now < left ? l->deadline_ms - now : left;
	return (int)left;
}

/* Whether it was refused or cut off before CONNACK. libmosquitto (2.0.11) does not see that once its TLS handshake has begun: it would
 * try to go on for ever. *rc: why. */
static bool is_dead(struct link *l, short events, int *rc)
{
	char byte;
	int fd = mosquitto_socket(l->m), error = 0;
	socklen_t len = sizeof error;
	if (l->state != CONNECTING || !(events & POLLHUP) || recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
		return false;
	(void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	errno = error;
	*rc = error ? MOSQ_ERR_ERRNO : MOSQ_ERR_CONN_LOST;
	return true;
}

/* One turn of the socket. */
static void serve(struct link *l, short events)
{
	int rc = MOSQ_ERR_SUCCESS;
	if (is_dead(l, events, &rc)) {
		lose(l, rc);
		return;
	}
	if (events & (POLLIN | POLLHUP | POLLERR))
		rc = mosquitto_loop_read(l->m, 1);
	if (rc == MOSQ_ERR_SUCCESS && (events & POLLOUT))
		rc = mosquitto_loop_write(l->m, 1);
	if (rc == MOSQ_ERR_SUCCESS)
		rc = mosquitto_loop_misc(l->m);
	if (rc != MOSQ_ERR_SUCCESS || mosquitto_socket(l->m) < 0)
		lose(l, rc ? rc : MOSQ_ERR_CONN_LOST);
}

static void finish(struct link *l)
{
	l->again = false;
	if (l->state == UP) {
		l->state = ENDING;
		(void)mosquitto_disconnect(l->m);
	} else if (l->state != ENDING) {
		l->state = ENDED;
	}
}

static void interrupt(struct link *l)
{
	if (l->told_interrupted || !l->h->interrupted) {
		finish(l);
		return;
	}
	l->told_interrupted = true;
	interrupted = 0; /* the next one ends it */
	l->h->interrupted(l->ctx);
}

enum link_event link_wait(struct link *l, int fd, int timeout_ms)
{
	struct pollfd p[2] = { { .fd = -1 }, { .fd = fd, .events = POLLIN } };
	if (interrupted)
		interrupt(l);
	if (l->state == CLOSED && clock_mono_ms() >= l->next_try_ms)
		try_connect(l);
	if (l->fatal)
		return LINK_FAILED;
	if (l->state == ENDED)
		return LINK_ENDED;
	if (l->state != CLOSED) {
		p[0].fd = mosquitto_socket(l->m);
		p[0].events = (short)(POLLIN | (mosquitto_want_write(l->m) ? POLLOUT : 0));
	}
	bool gone = l->state != CLOSED && p[0].fd < 0; /* libmosquitto has closed it behind a DISCONNECT */
	int n = poll(p, 2, gone ? 0 : remaining(l, timeout_ms));
	if (n < 0 && errno != EINTR) {
		complain(l->o, "poll: %s", strerror(errno));
		return LINK_FAILED;
	}
	if (l->state != CLOSED)
		serve(l, (short)(n > 0 ? p[0].revents : 0));
	if (l->state == ENDED)
		return LINK_ENDED;
	if (l->deadline_ms && clock_mono_ms() >= l->deadline_ms)
		return LINK_TIMEOUT;
	return l->fatal ? LINK_FAILED : n > 0 && p[1].revents ? LINK_READABLE : LINK_GO_ON;
}

void link_end(struct link *l)
{
	finish(l);
}

void link_fail(struct link *l)
{
	l->fatal = true;
}

void link_restart(struct link *l)
{
	finish(l);
	l->again = l->state == ENDING;
}

bool link_is_up(const struct link *l)
{
	return l->state == UP;
}

bool link_is_busy(const struct link *l)
{
	return mosquitto_want_write(l->m);
}

const char *link_id(const struct link *l)
{
	return l->id;
}

/* ---- packets */

static int sent(struct link *l, int rc, int mid, const char *topic)
{
	if (rc == MOSQ_ERR_SUCCESS)
		return mid;
	if (rc != MOSQ_ERR_NO_CONN && rc != MOSQ_ERR_CONN_LOST)
		complain(l->o, "%s: %s", topic, mosquitto_strerror(rc));
	return 0;
}

int link_subscribe(struct link *l, const char *filter, int qos)
{
	int mid = 0, rc = mosquitto_subscribe(l->m, &mid, filter, qos);
	return sent(l, rc, mid, filter);
}

int link_unsubscribe(struct link *l, const char *filter)
{
	int mid = 0, rc = mosquitto_unsubscribe(l->m, &mid, filter);
	return sent(l, rc, mid, filter);
}

int link_publish(struct link *l, const char *topic, const void *payload, size_t len, int qos, bool retain)
{
	int mid = 0, rc = mosquitto_publish(l->m, &mid, topic, (int)len, payload, qos, retain);
	return sent(l, rc, mid, topic);
}
