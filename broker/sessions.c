/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker/sessions.h"

#include "base/log.h"
#include "base/pool.h"
#include "broker/audit.h"
#include "broker/conn.h"
#include "broker/entry_ring.h"
#include "broker/hand_on.h"
#include "broker/refused.h"
#include "broker/replay.h"
#include "broker/special.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 64U
#define SLOTS_MAX (1U << 24) /* a handle's slot has 24 bits */
#define CLEAR_AT_ONCE 256U   /* subscriptions; about 0.7 us each */
#define CLEAR_PER_TURN 1000U

struct slot {
	struct session *session; /* NULL: free */
	uint32_t next_free;
};

/* Subscriptions of a session that has ended. They keep its slot, so that its handle still means nobody. */
struct leftover {
	struct leftover *next;
	struct sub_set subs;
};

struct sessions {
	struct loop *loop;
	struct leftover *leftovers;
	struct session *by_id; /* uthash */
	struct slot *slots;
	uint32_t n_slots, first_free; /* first_free == n_slots: none */
};

struct sessions *sessions_new(struct loop *l)
{
	struct sessions *t = calloc(1, sizeof *t);
	if (t)
		t->loop = l;
	return t;
}

static enum err take_slot(struct sessions *t, struct session *s, uint32_t *slot)
{
	if (t->first_free == t->n_slots) {
		uint32_t n = t->n_slots ? t->n_slots * 2 : SLOTS_MIN;
		if (n > SLOTS_MAX)
			return ERR_FULL;
		struct slot *p = realloc(t->slots, n * sizeof *p);
		if (!p)
			return ERR_NOMEM;
		for (uint32_t i = t->n_slots; i < n; i++)
			p[i] = (struct slot){.next_free = i + 1};
		t->slots = p;
		t->n_slots = n;
	}
	*slot = t->first_free;
	t->first_free = t->slots[*slot].next_free;
	t->slots[*slot].session = s;
	return ERR_OK;
}

static void give_slot(struct sessions *t, uint32_t slot)
{
	t->slots[slot] = (struct slot){.next_free = t->first_free};
	t->first_free = slot;
}

struct session *sessions_find(const struct sessions *t, const void *client_id, size_t len)
{
	struct session *s;
	HASH_FIND(hh, t->by_id, client_id, (unsigned)len, s);
	return s;
}

struct session *sessions_get(const struct sessions *t, sub_handle h)
{
	uint32_t slot = sub_handle_slot(h);
	struct session *s = slot < t->n_slots ? t->slots[slot].session : NULL;
	return s && s->subs.handle == h ? s : NULL;
}

uint32_t sessions_slots(const struct sessions *t)
{
	return t->n_slots;
}

struct session *sessions_at(const struct sessions *t, uint32_t slot)
{
	return t->slots[slot].session;
}

static void free_session(struct session *s)
{
	identity_unref(s->identity);
	refused_release(s);
	specials_free(s);
	free(s);
}

static uint32_t clean_generation(struct broker *b)
{
	uint32_t g;
	do {
		g = atomic_fetch_add_explicit(&b->generation, 1, memory_order_relaxed) & ~SUB_PERSISTENT;
	} while (g == 0);
	return g;
}

static void on_timer(struct wheel_timer *t, void *owner)
{
	struct session *s = (struct session *)((char *)t - offsetof(struct session, timer));
	struct loop *l = owner;
	if (s->conn) {
		session_tell_sent(s);
		return;
	}
	STATS_ADD(l, expired, 1);
	sessions_end(s, "expired");
}

struct session *sessions_add(struct sessions *t, const void *client_id, size_t len, struct identity *identity,
                             store_session number)
{
	struct loop *l = t->loop;
	struct session *s = calloc(1, sizeof *s + len);
	uint32_t slot;
	if (!s)
		return NULL;
	s->loop = l;
	s->identity = identity_ref(identity);
	s->persistent = number != 0;
	s->window = l->conf->max_inflight_messages ? l->conf->max_inflight_messages : UINT16_MAX;
	s->judged = l->rules;
	s->timer.fire = on_timer;
	s->client_id_len = (uint16_t)len;
	memcpy(s->client_id, client_id, len);
	if (take_slot(t, s, &slot) != ERR_OK) {
		free_session(s);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, t->by_id, s->client_id, (unsigned)len, s);
	if (!s->hh.tbl) { /* HASH_NONFATAL_OOM */
		give_slot(t, slot);
		free_session(s);
		return NULL;
	}
	sub_set_init(&s->subs, sub_handle_make(l->index, slot, number ? number | SUB_PERSISTENT : clean_generation(l->broker)));
	STATS_ADD(l, sessions, 1);
	if (s->persistent)
		STATS_ADD(l, persistent_away, 1); /* until it is connected */
	return s;
}

struct session_op {
	struct store_op op;
};

static void free_session_op(struct store_op *op)
{
	pool_free(op);
}

static void forget_in_store(struct session *s)
{
	struct session_op *e = pool_alloc(sizeof *e);
	if (!e) {
		log_error("client '%.*s': out of memory: its session stays in the store", s->client_id_len, s->client_id);
		return;
	}
	*e = (struct session_op){.op.verb = STORE_SESSION_END, .op.free_op = free_session_op};
	e->op.u.session.number = session_number(s);
	e->op.u.session.hand_on = s->member;
	store_submit(s->loop->broker->store, &e->op);
	if (s->member)
		hand_on_start(s->loop, session_number(s));
}

/* Takes s's subscriptions out of the trie. Of a clean session without shared ones (another member is chosen only when this one is out) the
 * rest may wait, so that one client's 100,000 do not hold up everybody's messages. False: it does, and so does the slot. */
static bool clear_subscriptions(struct session *s)
{
	struct loop *l = s->loop;
	struct leftover *rest = NULL;
	if (!s->persistent && !s->subs.presence && s->subs.count > CLEAR_AT_ONCE)
		rest = pool_alloc(sizeof *rest);
	if (!rest) {
		trie_clear(l->broker->trie, l->epoch_id, &s->subs);
		return true;
	}
	*rest = (struct leftover){.next = l->sessions->leftovers, .subs = s->subs};
	l->sessions->leftovers = rest;
	l->sessions->slots[sub_handle_slot(s->subs.handle)].session = NULL;
	return false;
}

void sessions_clear_step(struct sessions *t)
{
	struct leftover *rest = t->leftovers;
	if (rest && trie_clear_some(t->loop->broker->trie, t->loop->epoch_id, &rest->subs, CLEAR_PER_TURN)) {
		give_slot(t, sub_handle_slot(rest->subs.handle));
		t->leftovers = rest->next;
		pool_free(rest);
	}
}

bool sessions_clearing(const struct sessions *t)
{
	return t->leftovers != NULL;
}

void sessions_end(struct session *s, const char *why)
{
	struct loop *l = s->loop;
	struct sessions *t = l->sessions;
	loop_assert_here(l);
	assert(!s->conn);
	if (why) {
		const struct audit_who who = audit_session(s);
		log_info("client '%.*s': session ended: %s", s->client_id_len, s->client_id, why);
		audit_event(AUDIT_SESSION_ENDED, &who, why, AUDIT_NO_PAIRS);
	}
	s->member |= s->subs.presence != NULL;
	bool cleared = clear_subscriptions(s); /* first: no new copy comes, hand-on chooses others */
	session_drop_queues(s);
	replay_free_all(s);
	if (s->persistent) {
		forget_in_store(s);
		STATS_SUB(l, persistent_away, 1);
	}
	wheel_cancel(l->wheel, &s->timer);
	HASH_DELETE(hh, t->by_id, s);
	if (cleared)
		give_slot(t, sub_handle_slot(s->subs.handle));
	STATS_SUB(l, sessions, 1);
	free_session(s);
}

void sessions_leave(struct session *s)
{
	struct loop *l = s->loop;
	struct session_op *o = pool_alloc(sizeof *o);
	sessions_age(s, l->wall_ms);
	if (!o)
		return; /* a restart lets it live a little longer */
	*o = (struct session_op){.op.verb = STORE_SESSION_STATE, .op.free_op = free_session_op};
	o->op.u.session.number = session_number(s);
	o->op.u.session.expiry_s = s->expiry_s;
	o->op.u.session.time_ms = l->wall_ms;
	store_submit(l->broker->store, &o->op);
}

void sessions_age(struct session *s, uint64_t away_ms)
{
	STATS_ADD(s->loop, persistent_away, 1);
	if (s->expiry_s == 0)
		return;
	uint64_t end_ms = away_ms + s->expiry_s * 1000, left_ms = end_ms > s->loop->wall_ms ? end_ms - s->loop->wall_ms : 0;
	loop_arm(s->loop, &s->timer, s->loop->now_ms + left_ms);
}

void sessions_each(struct sessions *t, void (*fn)(struct session *s, void *arg), void *arg)
{
	struct session *s, *next;
	HASH_ITER(hh, t->by_id, s, next)
	{
		fn(s, arg);
	}
}

static void release_ring(struct entry_ring *r)
{
	for (uint32_t i = 0; i < r->count; i++) {
		msg_unref(ring_at(r, i)->msg);
		if (ring_at(r, i)->group)
			share_unref(ring_at(r, i)->group);
	}
	ring_free(r);
}

static void release(struct sessions *t, struct session *s)
{
	trie_clear(t->loop->broker->trie, t->loop->broker->epoch_id, &s->subs);
	release_ring(&s->inflight);
	release_ring(&s->queue);
	replay_free_all(s);
	pidset_clear(&s->received);
	pidset_clear(&s->sent_ids);
	free_session(s);
}

void sessions_free(struct sessions *t)
{
	if (!t)
		return;
	HASH_CLEAR(hh, t->by_id);
	for (struct leftover *rest = t->leftovers, *next; rest; rest = next) {
		next = rest->next;
		trie_clear(t->loop->broker->trie, t->loop->broker->epoch_id, &rest->subs);
		pool_free(rest);
	}
	for (uint32_t i = 0; i < t->n_slots; i++)
		if (t->slots[i].session)
			release(t, t->slots[i].session);
	free(t->slots);
	free(t);
}
