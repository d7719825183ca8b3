/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/spaces.h"

#include "base/pool.h"
#include "broker/recheck.h"
#include "broker/registrar_int.h"
#include "broker/sessions.h"
#include "topics/history_policy.h"

#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

bool spaces_has_prefix(struct mqtt_bytes text, const char *prefix)
{
	size_t n = strlen(prefix);
	return text.len > n && memcmp(text.p, prefix, n) == 0;
}

bool spaces_is_own(struct mqtt_bytes text)
{
	static const char control[] = "$CONTROL/";
	return text.len > 0 && text.p[0] == '$' &&
	       (spaces_has_prefix(text, SPACES_SEALED) || spaces_has_prefix(text, SPACES_KEYS) || spaces_has_prefix(text, SPACES_CERTS) ||
	        spaces_has_prefix(text, control));
}

static struct mqtt_bytes behind(struct mqtt_bytes text, const char *prefix)
{
	size_t n = strlen(prefix);
	return (struct mqtt_bytes){text.p + n, text.len - n};
}

static bool is(struct mqtt_bytes text, const char *what)
{
	return text.len == strlen(what) && memcmp(text.p, what, text.len) == 0;
}

/* ---- subscriptions ---- */

bool spaces_concern(const struct space_map *m, struct mqtt_bytes filter)
{
	struct topic_share share;
	if (!topic_share_parse(filter.p, filter.len, &share))
		return true;
	struct mqtt_bytes f = {share.filter, share.filter_len};
	if (spaces_has_prefix(f, SPACES_SEALED))
		return true;
	return space_map_overlaps(m, f.p, f.len);
}

static bool may_have_keys(const struct session *s, struct mqtt_bytes topic)
{
	const struct identity *id = s->identity;
	const struct space *space = space_map_find(s->loop->spaces, topic.p, topic.len);
	const struct space_member *m = space && space->spec.mode != SPACE_OPEN ? space_member(space, id->cn, id->cn_len) : NULL;
	if (!m || memchr(topic.p, '#', topic.len) || memchr(topic.p, '+', topic.len))
		return false;
	if (id->not_after_s == 0) /* restored: no certificate has been seen yet */
		return true;
	return id->rsa && (!m->pinned || memcmp(m->fingerprint, id->fingerprint, sizeof m->fingerprint) == 0);
}

enum space_verdict spaces_judge_filter(const struct session *s, struct mqtt_bytes filter)
{
	struct topic_share share;
	const struct space_map *map = s->loop->spaces;
	const struct identity *id = s->identity;
	if (!map && !(filter.len > 0 && filter.p[0] == '$'))
		return SPACE_ELSEWHERE;
	if (!topic_share_parse(filter.p, filter.len, &share))
		return SPACE_ELSEWHERE;
	struct mqtt_bytes f = {share.filter, share.filter_len};
	if (!spaces_is_own(f))
		return space_map_judge(map, f.p, f.len, id->cn, id->cn_len);
	if (spaces_has_prefix(f, SPACES_SEALED)) {
		f = behind(f, SPACES_SEALED);
		return space_map_judge(map, f.p, f.len, id->cn, id->cn_len) == SPACE_ALLOWED ? SPACE_ALLOWED : SPACE_DENIED;
	}
	if (share.group)
		return SPACE_DENIED;
	if (is(f, SPACES_RESPONSE))
		return SPACE_ALLOWED;
	if (spaces_has_prefix(f, SPACES_KEYS))
		return map && may_have_keys(s, behind(f, SPACES_KEYS)) ? SPACE_ALLOWED : SPACE_DENIED;
	if (spaces_has_prefix(f, SPACES_CERTS) && !memchr(f.p, '#', f.len) && !memchr(f.p, '+', f.len))
		return map || s->loop->conf->direct_messages > 0 ? SPACE_ALLOWED : SPACE_DENIED;
	return SPACE_DENIED;
}

static void no_memory(const struct session *s)
{
	if (s->conn)
		conn_fail(s->conn, "out of memory");
}

void spaces_subscribed(struct session *s, const uint8_t *filter, size_t len, uint8_t qos)
{
	struct mqtt_bytes f = {filter, len};
	bool keys = spaces_has_prefix(f, SPACES_KEYS);
	if (!keys && !spaces_has_prefix(f, SPACES_CERTS))
		return;
	if (!registrar_ask(s, keys ? ASK_KEYS : ASK_CERTIFICATE, filter, len, qos))
		no_memory(s);
}

static void ask_again(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	struct session *s = arg;
	(void)sub_id;
	if (!spaces_has_prefix((struct mqtt_bytes){filter, len}, SPACES_KEYS))
		return;
	s->keys = true;
	spaces_subscribed(s, filter, len, options & SUB_QOS);
}

void spaces_resumed(struct session *s)
{
	if (s->persistent && s->loop->spaces)
		sub_set_each(&s->subs, ask_again, s);
}

/* ---- rounds ---- */

struct asker *registrar_asker(const struct session *s, const uint8_t *filter, size_t len, uint8_t qos)
{
	struct asker *a = malloc(sizeof *a + len);
	if (!a)
		return NULL;
	*a = (struct asker){.handle = s->subs.handle, .identity = identity_ref(s->identity), .qos = qos, .len = len};
	memcpy(a->filter, filter, len);
	return a;
}

static void drop_askers(struct round *r)
{
	while (r->askers) {
		struct asker *a = r->askers;
		r->askers = a->next;
		identity_unref(a->identity);
		free(a);
	}
}

struct collecting {
	struct session *session;
	struct round *round;
};

static void collect_one(void *arg, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	struct collecting *c = arg;
	struct mqtt_bytes f = {filter, len};
	(void)sub_id;
	if (!spaces_has_prefix(f, SPACES_KEYS))
		return;
	struct mqtt_bytes topic = behind(f, SPACES_KEYS);
	if (space_map_find(c->session->loop->spaces, topic.p, topic.len) != c->round->about)
		return;
	struct asker *a = registrar_asker(c->session, filter, len, options & SUB_QOS);
	if (!a) {
		c->round->failed = true;
		return;
	}
	a->next = c->round->askers;
	c->round->askers = a;
}

void spaces_collect(struct session *s, struct round *r)
{
	struct collecting c = {s, r};
	if (r->about && s->keys && s->conn)
		sub_set_each(&s->subs, collect_one, &c);
}

static void answer(struct round *r)
{
	r->mail.run = r->back;
	mailbox_push(r->answers, &r->mail);
}

struct barrier_op {
	struct store_op op;
	struct round *round;
};

static void on_barrier(struct store_op *op, void *owner)
{
	loop_answered(owner);
	answer(((struct barrier_op *)op)->round);
	pool_free(op);
}

/* The store has then what the walk removed, for its operations came before. */
void spaces_walked(struct loop *l)
{
	struct round *r = l->recheck.round;
	l->recheck.round = NULL;
	struct barrier_op *o = r->judge ? pool_alloc(sizeof *o) : NULL;
	if (!o) { /* nothing to wait for; or no memory, and the store has it soon */
		answer(r);
		return;
	}
	*o = (struct barrier_op){.op.verb = STORE_BARRIER, .op.done = on_barrier, .round = r};
	loop_submit(l, &o->op);
}

/* Between packets: nothing on the stack refers to the old map. */
void spaces_on_round(struct mail *m, void *loop)
{
	struct round *r = (struct round *)m;
	struct loop *l = loop;
	space_map_unref(l->spaces);
	l->spaces = space_map_count(r->map) > 0 ? space_map_ref(r->map) : NULL;
	if (r->judge)
		l->rules++;
	if (l->ending || (!r->judge && !r->about)) {
		answer(r);
		return;
	}
	drop_askers(r);
	l->recheck.round = r;
	recheck_start(l);
}

/* ---- history ---- */

const struct history_limits *spaces_history(const struct loop *l, const uint8_t *topic, size_t len)
{
	const struct space *s = l->spaces ? space_map_find(l->spaces, topic, len) : NULL;
	if (s && s->spec.history.given)
		return s->spec.history.off ? NULL : &s->history_limits;
	return history_policy_find(l->broker->history, topic, len);
}

bool spaces_history_overlaps(const struct loop *l, const uint8_t *filter, size_t len)
{
	return history_policy_overlaps(l->broker->history, filter, len) || (l->spaces && space_map_keeps_past(l->spaces, filter, len));
}
