/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/recheck.h"

#include "base/log.h"
#include "base/pool.h"
#include "broker/access.h"
#include "broker/audit.h"
#include "broker/expiry.h"
#include "broker/quota.h"
#include "broker/replay.h"
#include "broker/session.h"
#include "broker/sessions.h"
#include "broker/spaces.h"
#include "broker/special.h"

#include <string.h>

#define CONNS_PER_TURN 64U /* each may have to be ended, in 20 µs */
#define SESSIONS_PER_TURN 64U

/* ---- connections */

const char *recheck_certificate(const struct conn *c)
{
	const struct tls_ctx *now = c->loop->policy->tls[c->listener->index];
	if (!c->transport.tls)
		return NULL;
	enum tls_cause cause = tls_conn_recheck(c->transport.tls, now);
	return cause == TLS_CAUSE_NONE ? NULL : tls_cause_text(cause);
}

static void check_conn(struct conn *c)
{
	if (c->state == CONN_CLOSING || c->state == CONN_HANDSHAKE) /* the handshake's result is judged with CONNECT */
		return;
	const char *why = recheck_certificate(c);
	if (!why) {
		if (c->state == CONN_UP)
			expiry_check(c);
		if (c->state == CONN_UP)
			quota_follow(c);
		return;
	}
	const struct audit_who who = audit_conn(c);
	audit_event(AUDIT_ENDED_BY_RELOAD, &who, why, AUDIT_NO_PAIRS);
	conn_end(c, LOG_INFO, true, "ended after a reload: %s", why);
}

/* ---- subscriptions */

struct denied {
	struct denied *next;
	size_t len;
	uint8_t filter[];
};

struct judging {
	struct session *session;
	struct denied *denied;
	bool no_memory;
};

static void judge(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	struct judging *j = arg;
	struct mqtt_bytes f = {filter, len};
	(void)options;
	(void)sub_id;
	if (access_subscribe(j->session, f)) {
		access_subscribed(j->session, f);
		return;
	}
	struct denied *d = pool_alloc(sizeof *d + len);
	if (!d) {
		j->no_memory = true;
		j->session->judge = true; /* it stays, and brings nothing */
		return;
	}
	*d = (struct denied){.next = j->denied, .len = len};
	memcpy(d->filter, filter, len);
	j->denied = d;
}

static void remove_denied(struct session *s, struct denied *d)
{
	struct loop *l = s->loop;
	if (trie_unsubscribe(l->broker->trie, l->epoch_id, &s->subs, d->filter, d->len) == ERR_NOMEM) {
		log_error("client '%.*s': out of memory: a subscription that the acl_file denies stays, and brings nothing", s->client_id_len,
		          s->client_id);
		s->judge = true;
		return;
	}
	const struct audit_who who = audit_session(s);
	audit_event(AUDIT_SUBSCRIPTION_REMOVED, &who, "the access rules no longer allow it",
	            AUDIT_PAIRS(AUDIT_PAIR("filter", d->filter, d->len)));
	if (s->persistent)
		session_forget_subscription(s, d->filter, d->len);
	special_forget(s, d->filter, d->len);
	replay_cancel(s, d->filter, d->len);
}

static void check_session(struct session *s)
{
	struct judging j = {.session = s};
	if (s->judged == s->loop->rules)
		return;
	s->judge = s->keys = false;
	sub_set_each(&s->subs, judge, &j);
	while (j.denied) {
		struct denied *d = j.denied;
		j.denied = d->next;
		remove_denied(s, d);
		pool_free(d);
	}
	if (s->queue.count > 0)
		session_judge_queue(s);
	s->judged = s->loop->rules;
	session_tell_presence(s);
}

/* ---- the walk */

static void finish(struct loop *l)
{
	l->recheck.active = false;
	if (l->recheck.of_policy)
		atomic_fetch_sub(&l->policy->busy, 1);
	l->recheck.of_policy = false;
	if (l->recheck.round)
		spaces_walked(l);
}

void recheck_conns(struct loop *l)
{
	if (l->recheck.active)
		return;
	l->recheck.conns_only = true;
	recheck_start(l);
	l->recheck.slot = UINT32_MAX;
}

void recheck_start(struct loop *l)
{
	l->recheck.active = true;
	l->recheck.slot = 0;
	l->recheck.conn = l->recheck.of_policy || l->recheck.conns_only ? l->conns : NULL; /* key spaces are no matter of certificates */
	l->recheck.conns_only = false;
}

void recheck_step(struct loop *l)
{
	if (!l->recheck.active)
		return;
	if (l->stopping) {
		finish(l);
		return;
	}
	for (unsigned n = 0; l->recheck.conn && n < CONNS_PER_TURN; n++) {
		struct conn *c = l->recheck.conn;
		l->recheck.conn = c->next;
		check_conn(c);
	}
	for (unsigned n = 0; l->recheck.slot < sessions_slots(l->sessions) && n < SESSIONS_PER_TURN; n++) {
		struct session *s = sessions_at(l->sessions, l->recheck.slot++);
		if (!s)
			continue;
		check_session(s);
		if (l->recheck.round)
			spaces_collect(s, l->recheck.round);
	}
	if (!l->recheck.conn && l->recheck.slot >= sessions_slots(l->sessions))
		finish(l);
}
