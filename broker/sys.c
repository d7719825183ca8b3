/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/sys.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "broker/audit_log.h"
#include "broker/procfile.h"
#include "broker/publish.h"
#include "broker/validity.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPIC_PREFIX "$SYS/broker/"

/* The sum over all loops. */
struct totals {
	uint64_t bytes_received, bytes_sent, packets_received, packets_sent, publish_received, publish_sent, publish_bytes_received,
		publish_bytes_sent, publish_dropped, publish_denied, publish_withheld, connects, handshakes, handshakes_failed, signatures_known,
		signatures_verified, protocol_errors, connected,
		connections, sessions, certificates_month, certificates_week, certificates_over, persistent_away, expired, queued, queued_bytes, inflight,
		limit_handshakes, limit_unfinished, limit_connections, limit_connects, limit_pauses, limit_subscriptions, limit_packets, limit_memory,
		limit_timeouts, limit_sockets, partial_bytes;
};

static struct totals sum(const struct broker *b)
{
	struct totals t = {0};
	for (unsigned i = 0; i < b->n_loops; i++) {
		const struct stats *s = &b->loops[i]->stats;
#define SUM(field) t.field += atomic_load_explicit(&s->field, memory_order_relaxed)
        SUM(bytes_received);
        SUM(bytes_sent);
        SUM(packets_received);
        SUM(packets_sent);
        SUM(publish_received);
        SUM(publish_sent);
        SUM(publish_bytes_received);
        SUM(publish_bytes_sent);
        SUM(publish_dropped);
        SUM(publish_denied);
        SUM(publish_withheld);
        SUM(connects);
        SUM(handshakes);
        SUM(handshakes_failed);
        SUM(signatures_known);
        SUM(signatures_verified);
        SUM(protocol_errors);
        SUM(connected);
        SUM(connections);
        SUM(sessions);
        SUM(persistent_away);
        SUM(expired);
        SUM(queued);
        SUM(queued_bytes);
        SUM(inflight);
        SUM(limit_handshakes);
        SUM(limit_unfinished);
        SUM(limit_connections);
        SUM(limit_connects);
        SUM(limit_pauses);
        SUM(limit_subscriptions);
        SUM(limit_packets);
        SUM(limit_memory);
        SUM(limit_timeouts);
        SUM(limit_sockets);
        SUM(partial_bytes);
        SUM(certificates_month);
        SUM(certificates_week);
        SUM(certificates_over);
#undef SUM
	}
	return t;
}

/* mosquitto's load averages: events per minute, smoothed over 1, 5 and 15 minutes. */
struct load {
	const char *name;
	size_t field; /* in struct totals */
	double average[3];
};

struct sys {
	ev_timer timer;
	struct loop *loop;
	struct totals last;
	struct store_stats store;      /* of the last interval's end */
	uint64_t last_ms, heap_max, clients_max;
	struct load loads[9];
	uint32_t interval_s; /* 0: none */
	bool quiet;          /* topics are made, but nobody is told their values */
	bool settled;
};

static const struct load loads[9] = {
	{"messages/received", offsetof(struct totals, packets_received), {0}},
	{"messages/sent", offsetof(struct totals, packets_sent), {0}},
	{"publish/received", offsetof(struct totals, publish_received), {0}},
	{"publish/sent", offsetof(struct totals, publish_sent), {0}},
	{"publish/dropped", offsetof(struct totals, publish_dropped), {0}},
	{"bytes/received", offsetof(struct totals, bytes_received), {0}},
	{"bytes/sent", offsetof(struct totals, bytes_sent), {0}},
	{"sockets", offsetof(struct totals, handshakes), {0}},
	{"connections", offsetof(struct totals, connects), {0}},
};

static struct sys the_sys; /* one per process: loop 0's */

static void publish_text(struct loop *l, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void publish_text(struct loop *l, const char *name, const char *fmt, ...)
{
	char topic[128], text[64];
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	int topic_len = snprintf(topic, sizeof topic, TOPIC_PREFIX "%s", name);
	struct msg_spec spec = {.topic = topic, .topic_len = (size_t)topic_len, .payload = text, .payload_len = (size_t)n,
	                        .time_ms = l->wall_ms, .flags = MSG_RETAIN | MSG_SYS};
	struct msg *m = msg_new(&spec);
	if (!m)
		return;
	if (!the_sys.quiet)
		publish_own(l, m);
	else if (retained_put(l->broker->retained, l->epoch_id, m, 0) != ERR_OK)
		log_error("out of memory for $SYS");
	msg_unref(m);
}

static void publish_number(struct loop *l, const char *name, uint64_t value)
{
	publish_text(l, name, "%" PRIu64, value);
}

static void publish_loads(struct sys *y, const struct totals *now)
{
	static const char *const minutes[] = {"1min", "5min", "15min"};
	static const double seconds[] = {60, 300, 900};
	double passed_s = (double)(y->loop->now_ms - y->last_ms) / 1000.0;
	for (size_t i = 0; i < sizeof y->loads / sizeof *y->loads; i++) {
		struct load *d = &y->loads[i];
		uint64_t a, b;
		memcpy(&a, (const char *)&y->last + d->field, sizeof a);
		memcpy(&b, (const char *)now + d->field, sizeof b);
		double per_minute = passed_s > 0 ? (double)(b - a) * 60.0 / passed_s : 0; /* at the start: the topics are there, at zero */
		for (size_t k = 0; k < 3; k++) {
			char name[64];
			double keep = exp(-passed_s / seconds[k]);
			d->average[k] = per_minute + keep * (d->average[k] - per_minute);
			snprintf(name, sizeof name, "load/%s/%s", d->name, minutes[k]);
			publish_text(y->loop, name, "%.2f", d->average[k]);
		}
	}
}

/* Resident memory in bytes. */
static uint64_t resident(void)
{
	unsigned long pages, rss;
	if (!procfile_two_numbers("/proc/self/statm", &pages, &rss))
		return 0;
	return (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void publish_clients(struct sys *y, const struct totals *t)
{
	struct loop *l = y->loop;
	uint64_t total = t->connected + t->persistent_away;
	if (total > y->clients_max)
		y->clients_max = total;
	publish_number(l, "clients/total", total);
	publish_number(l, "clients/maximum", y->clients_max);
	publish_number(l, "clients/connected", t->connected);
	publish_number(l, "clients/active", t->connected);
	publish_number(l, "clients/disconnected", t->persistent_away);
	publish_number(l, "clients/inactive", t->persistent_away);
	publish_number(l, "clients/expired", t->expired);
}

static void publish_messages(struct sys *y, const struct totals *t)
{
	struct loop *l = y->loop;
	struct trie_stats trie;
	struct retained_stats retained;
	trie_stats(l->broker->trie, &trie);
	retained_stats(l->broker->retained, &retained);
	publish_number(l, "messages/received", t->packets_received);
	publish_number(l, "messages/sent", t->packets_sent);
	publish_number(l, "messages/inflight", t->inflight);
	publish_number(l, "messages/stored", t->queued + retained.messages);
	publish_number(l, "store/messages/count", t->queued + retained.messages);
	publish_number(l, "store/messages/bytes", t->queued_bytes + retained.bytes);
	publish_number(l, "publish/messages/received", t->publish_received);
	publish_number(l, "publish/messages/sent", t->publish_sent);
	publish_number(l, "publish/messages/dropped", t->publish_dropped);
	publish_number(l, "publish/bytes/received", t->publish_bytes_received);
	publish_number(l, "publish/bytes/sent", t->publish_bytes_sent);
	publish_number(l, "bytes/received", t->bytes_received);
	publish_number(l, "bytes/sent", t->bytes_sent);
	publish_number(l, "retained messages/count", retained.messages);
	publish_number(l, "subscriptions/count", trie.subscriptions);
	publish_number(l, "shared_subscriptions/count", trie.shared_subscriptions);
}

/* Means of the commits since the last interval; 0 when there were none. */
static void publish_store(struct sys *y)
{
	struct loop *l = y->loop;
	struct store_stats now;
	store_stats(l->broker->store, &now);
	uint64_t commits = now.commits - y->store.commits, messages = now.messages - y->store.messages, us = now.sync_us - y->store.sync_us;
	publish_number(l, "store/commits", now.commits);
	publish_text(l, "store/messages_per_commit", "%.1f", commits ? (double)messages / (double)commits : 0);
	publish_number(l, "store/commit_time_us", commits ? us / commits : 0);
	publish_number(l, "store/messages/written", now.messages);
	publish_number(l, "store/bytes/written", now.bytes);
	publish_number(l, "store/bytes/used", now.used);
	publish_number(l, "store/bytes/size", now.size);
	publish_number(l, "store/oldest_unacknowledged_ms", now.oldest_wait_us / 1000);
	publish_number(l, "store/waiting", now.waiting);
	publish_number(l, "store/operations_failed", now.failed);
	publish_number(l, "store/records_failed", now.corrupt);
	publish_number(l, "store/messages/dropped", now.dropped);
	publish_number(l, "store/failing", now.failing);
	y->store = now;
}

static void publish_own_names(struct sys *y, const struct totals *t)
{
	struct loop *l = y->loop;
	publish_number(l, "handshakes/completed", t->handshakes);
	publish_number(l, "handshakes/failed", t->handshakes_failed);
	publish_number(l, "handshakes/signatures/known", t->signatures_known);
	publish_number(l, "handshakes/signatures/verified", t->signatures_verified);
	publish_number(l, "connections", t->connections);
	publish_number(l, "publish/messages/denied", t->publish_denied);
	publish_number(l, "publish/messages/withheld", t->publish_withheld);
	publish_number(l, "protocol_errors", t->protocol_errors);
	publish_number(l, "log/dropped", log_dropped());
	publish_number(l, "audit/lines", audit_log_lines());
	publish_number(l, "audit/dropped", audit_log_dropped());
}

static void publish_end(struct loop *l, const char *kind, const char *listener, const char *what, const struct tls_date *d)
{
	char name[96], text[VALIDITY_TEXT];
	if (d->end_s == INT64_MAX)
		return;
	snprintf(name, sizeof name, "certificates/%s/%s/%s", kind, listener, what);
	publish_text(l, name, "%s", validity_text(d->end_s, text));
	snprintf(name, sizeof name, "certificates/%s/%s/days_left", kind, listener);
	publish_text(l, name, "%" PRId64, validity_days(d->end_s, (int64_t)(l->wall_ms / 1000)));
}

/* A listener is named by its port; by address too where that is not enough. */
static void listener_name(const struct conf *c, size_t listener, char *out, size_t size)
{
	const struct conf_listener *l = &c->listeners[listener];
	bool unique = true;
	for (size_t i = 0; i < c->n_listeners; i++)
		unique &= i == listener || c->listeners[i].port != l->port;
	snprintf(out, size, unique ? "%s%u" : "%s:%u", unique || !l->address ? "" : l->address, l->port);
}

static void publish_certificates(struct sys *y, const struct totals *t)
{
	struct loop *l = y->loop;
	for (size_t i = 0; i < l->policy->n_listeners; i++) {
		char name[64];
		if (!l->policy->tls[i])
			continue;
		const struct tls_dates *d = tls_ctx_dates(l->policy->tls[i]);
		listener_name(l->conf, i, name, sizeof name);
		publish_end(l, "server", name, "not_after", &d->own);
		publish_end(l, "ca", name, "not_after", &d->authority);
		publish_end(l, "crl", name, "next_update", &d->list);
	}
	publish_number(l, "certificates/clients/expiring_30d", t->certificates_month + t->certificates_week);
	publish_number(l, "certificates/clients/expiring_7d", t->certificates_week);
	publish_number(l, "certificates/clients/expired", t->certificates_over);
}

static void publish_limits(struct loop *l, const struct totals *t)
{
	publish_number(l, "limits/handshakes", t->limit_handshakes);
	publish_number(l, "limits/unfinished_handshakes", t->limit_unfinished);
	publish_number(l, "limits/connections", t->limit_connections);
	publish_number(l, "limits/connects", t->limit_connects);
	publish_number(l, "limits/pauses", t->limit_pauses);
	publish_number(l, "limits/subscriptions", t->limit_subscriptions);
	publish_number(l, "limits/packet_timeouts", t->limit_packets);
	publish_number(l, "limits/partial_packets", t->limit_memory);
	publish_number(l, "limits/handshake_timeouts", t->limit_timeouts);
	publish_number(l, "limits/sockets", t->limit_sockets);
	publish_number(l, "partial_packets/bytes", t->partial_bytes);
}

/* What a message waits for at most before the broker sees it. */
static void publish_turns(struct loop *l)
{
	const struct broker *b = l->broker;
	uint64_t turns = 0, longest_us = 0;
	for (unsigned i = 0; i < b->n_loops; i++) {
		struct stats *s = &b->loops[i]->stats;
		uint64_t us = atomic_exchange_explicit(&s->longest_turn_us, 0, memory_order_relaxed);
		longest_us = us > longest_us ? us : longest_us;
		turns += atomic_load_explicit(&s->turns, memory_order_relaxed);
	}
	publish_number(l, "loop/turns", turns);
	publish_number(l, "loop/longest_turn_us", longest_us);
}

static void publish_all(struct sys *y)
{
	struct loop *l = y->loop;
	struct totals t = sum(l->broker);
	uint64_t heap = resident();
	if (heap > y->heap_max)
		y->heap_max = heap;
	publish_text(l, "version", "sealmq %s", VERSION_NUMBER);
	publish_text(l, "uptime", "%" PRIu64 " seconds", (l->now_ms - l->broker->started_ms) / 1000);
	publish_clients(y, &t);
	publish_messages(y, &t);
	publish_number(l, "heap/current", heap);
	publish_number(l, "heap/maximum", y->heap_max);
	publish_loads(y, &t);
	publish_own_names(y, &t);
	publish_limits(l, &t);
	publish_turns(l);
	publish_store(y);
	publish_certificates(y, &t);
	y->last = t;
	y->last_ms = l->now_ms;
}

static void on_interval(struct ev_loop *ev, ev_timer *w, int revents)
{
	(void)ev;
	(void)revents;
	struct sys *y = w->data;
	if (y->loop->stopping)
		return;
	y->quiet = !y->settled;
	if (y->quiet) /* these topics are retained messages too: the second time, the count of those is right */
		publish_all(y);
	y->quiet = false;
	y->settled = true;
	publish_all(y);
}

static void set_interval(struct sys *y, uint32_t interval_s)
{
	ev_timer_stop(y->loop->ev, &y->timer);
	y->interval_s = interval_s;
	if (interval_s == 0)
		return;
	ev_timer_set(&y->timer, 0., (double)interval_s);
	ev_timer_start(y->loop->ev, &y->timer);
}

void sys_start(struct loop *l)
{
	struct sys *y = &the_sys;
	*y = (struct sys){.loop = l, .last_ms = l->now_ms};
	memcpy(y->loads, loads, sizeof loads);
	ev_timer_init(&y->timer, on_interval, 0., 0.);
	y->timer.data = y;
	set_interval(y, l->conf->sys_interval_s);
}

void sys_follow(struct loop *l)
{
	if (the_sys.interval_s != l->conf->sys_interval_s)
		set_interval(&the_sys, l->conf->sys_interval_s);
}
