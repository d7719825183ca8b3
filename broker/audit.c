/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/audit.h"

#include "base/clock.h"
#include "base/log.h"
#include "broker/audit_body.h"
#include "broker/audit_log.h"
#include "broker/conn.h"
#include "broker/session.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 200U /* bytes of a value in a log line */

static const struct {
	const char *name;
	enum log_level level; /* 0: not in the log, where another line tells it */
} kinds[] = {
	[AUDIT_STARTED] = {"started", 0},
	[AUDIT_STOPPED] = {"stopped", 0},
	[AUDIT_RELOADED] = {"reloaded", LOG_NOTICE},
	[AUDIT_RELOAD_REFUSED] = {"reload-refused", 0},
	[AUDIT_HANDSHAKE_REFUSED] = {"handshake-refused", 0},
	[AUDIT_CONNECT_REFUSED] = {"connect-refused", 0},
	[AUDIT_CLIENT_ID_REFUSED] = {"client-id-refused", LOG_WARNING},
	[AUDIT_CONNECTED] = {"connected", 0},
	[AUDIT_DISCONNECTED] = {"disconnected", 0},
	[AUDIT_ENDED_BY_RELOAD] = {"ended-after-a-reload", LOG_WARNING},
	[AUDIT_CERTIFICATE_EXPIRED] = {"certificate-expired", LOG_WARNING},
	[AUDIT_CERTIFICATE_REVOKED] = {"certificate-revoked", LOG_NOTICE},
	[AUDIT_SESSION_TAKEN_OVER] = {"session-taken-over", 0},
	[AUDIT_SESSION_ENDED] = {"session-ended", 0},
	[AUDIT_SESSION_OVER_QUOTA] = {"session-over-its-quota", LOG_WARNING},
	[AUDIT_SUBSCRIBED] = {"subscribed", 0},
	[AUDIT_UNSUBSCRIBED] = {"unsubscribed", 0},
	[AUDIT_SUBSCRIPTION_REMOVED] = {"subscription-removed", LOG_WARNING},
	[AUDIT_SUBSCRIBE_DENIED] = {"subscribe-denied", 0},
	[AUDIT_PUBLISH_DENIED] = {"publish-denied", 0},
	[AUDIT_WILL_DENIED] = {"will-denied", 0},
	[AUDIT_LIMIT] = {"limit", 0},
	[AUDIT_TOPIC_CREATED] = {"topic-created", LOG_NOTICE},
	[AUDIT_TOPIC_DELETED] = {"topic-deleted", LOG_NOTICE},
	[AUDIT_MEMBERS_ADDED] = {"members-added", LOG_NOTICE},
	[AUDIT_MEMBER_REMOVED] = {"member-removed", LOG_NOTICE},
	[AUDIT_KEY_ROTATED] = {"key-rotated", LOG_NOTICE},
	[AUDIT_HISTORY_SET] = {"history-set", LOG_NOTICE},
	[AUDIT_CONTROL_DENIED] = {"control-denied", LOG_WARNING},
};

struct audit_who audit_session(const struct session *s)
{
	struct audit_who who = {.identity = s->identity, .client_id = s->client_id, .client_id_len = s->client_id_len};
	if (s->conn) {
		who.peer = s->conn->peer;
		who.family = s->conn->family;
		who.peer_port = s->conn->peer_port;
	}
	return who;
}

struct audit_who audit_conn(const struct conn *c)
{
	struct audit_who who = {.identity = c->identity, .peer = c->peer, .family = c->family, .peer_port = c->peer_port};
	if (c->session) {
		who.client_id = c->session->client_id;
		who.client_id_len = c->session->client_id_len;
	}
	return who;
}

/* ---- the line of the log ---- */

struct line {
	char text[1024];
	size_t len;
};

static void add(struct line *l, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void add(struct line *l, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(l->text + l->len, sizeof l->text - l->len, fmt, args);
	va_end(args);
	if (n > 0)
		l->len += (size_t)n < sizeof l->text - l->len ? (size_t)n : sizeof l->text - l->len - 1;
}

static int shown(size_t len)
{
	return (int)(len > SHOWN_MAX ? SHOWN_MAX : len);
}

static void add_who(struct line *l, const struct audit_who *who)
{
	char address[INET6_ADDRSTRLEN];
	if (who->identity)
		add(l, " CN '%s'", who->identity->cn);
	if (who->client_id)
		add(l, " client '%.*s'", shown(who->client_id_len), (const char *)who->client_id);
	if (who->peer && inet_ntop(who->family, who->peer, address, sizeof address))
		add(l, who->family == AF_INET6 ? " [%s]:%u" : " %s:%u", address, who->peer_port);
}

static void log_event(enum audit_kind kind, const struct audit_who *who, const char *text, const struct audit_pair *pairs, size_t n_pairs)
{
	struct line l = {.len = 0};
	add(&l, "audit:");
	add_who(&l, who);
	add(&l, "%s ", l.len > strlen("audit:") ? ":" : "");
	for (const char *p = kinds[kind].name; *p; p++)
		add(&l, "%c", *p == '-' ? ' ' : *p);
	add(&l, "%s%s", *text ? ": " : "", text);
	for (size_t i = 0; i < n_pairs; i++) {
		add(&l, "%s%s ", i == 0 ? " (" : ", ", pairs[i].name);
		if (pairs[i].text)
			add(&l, "'%.*s'", shown(pairs[i].len), (const char *)pairs[i].text);
		else
			add(&l, "%" PRIu64, pairs[i].number);
	}
	log_write(kinds[kind].level, "%s%s", l.text, n_pairs > 0 ? ")" : "");
}

void audit_say(enum log_level level, const struct audit_who *who, const char *text)
{
	struct line l = {.len = 0};
	add_who(&l, who);
	log_write(level, "%s%s%s", l.len > 0 ? l.text + 1 : "", l.len > 0 ? ": " : "", text);
}

const char *audit_kind_name(enum audit_kind kind)
{
	return kinds[kind].name;
}

void audit_event(enum audit_kind kind, const struct audit_who *who, const char *text, const struct audit_pair *pairs, size_t n_pairs)
{
	if (audit_log_on()) {
		char body[AUDIT_EVENT_MAX];
		audit_log_put(clock_wall_ms(), body, audit_body(body, kinds[kind].name, who, text, pairs, n_pairs));
	}
	if (kinds[kind].level != 0 && log_enabled(kinds[kind].level))
		log_event(kind, who, text, pairs, n_pairs);
}
