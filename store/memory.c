/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The in-memory backend: everything that the disk backend keeps, gone with the process. All of it belongs to the writer thread. */
#include "store/memory_int.h"

#include "base/pool.h"
#include "base/siphash.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- sessions */

/* Also one whose queue alone is left. */
static struct session *session_find_any(const struct store *s, store_session number)
{
	for (struct map_node *n = map_first(&mem(s)->sessions, map_hash_u64(number)); n; n = map_next(n)) {
		struct session *session = MAP_OF(n, struct session, node);
		if (session->number == number)
			return session;
	}
	return NULL;
}

struct session *mem_session_find(const struct store *s, store_session number)
{
	struct session *session = session_find_any(s, number);
	return session && !session->ended ? session : NULL;
}

static void session_free(struct session *session)
{
	size_t at = 0;
	for (struct map_node *n = map_pop(&session->subscriptions, &at); n; n = map_pop(&session->subscriptions, &at))
		free(MAP_OF(n, struct subscription, node));
	map_destroy(&session->subscriptions);
	while (session->received) {
		struct packet_id *next = session->received->next;
		free(session->received);
		session->received = next;
	}
	mem_queue_free(&session->queue);
	free(session->client_id);
	free(session->cn);
	free(session);
}

static char *copy(const char *p, size_t len)
{
	char *q = malloc(len + 1);
	if (q && len)
		memcpy(q, p, len);
	return q;
}

static enum err session_new(struct store *s, const struct store_op *op)
{
	struct session *session = calloc(1, sizeof *session);
	if (!session)
		return ERR_NOMEM;
	session->number = op->u.session.number;
	session->connected = op->u.session.connected;
	session->expiry_s = op->u.session.expiry_s;
	session->time_ms = op->u.session.time_ms;
	session->client_id_len = op->u.session.client_id_len;
	session->client_id = copy(op->u.session.client_id, session->client_id_len);
	session->cn_len = op->u.session.cn_len;
	session->cn = copy(op->u.session.cn, session->cn_len);
	enum err rc = session->client_id && session->cn ? map_create(&session->subscriptions) : ERR_NOMEM;
	if (rc == ERR_OK)
		rc = store_number_take(s, session->number);
	if (rc == ERR_OK)
		map_insert(&mem(s)->sessions, &session->node, map_hash_u64(session->number));
	else
		session_free(session);
	return rc;
}

static enum err session_state(struct store *s, const struct store_op *op)
{
	struct session *session = mem_session_find(s, op->u.session.number);
	if (!session)
		return ERR_NOT_FOUND;
	session->connected = op->u.session.connected;
	session->expiry_s = op->u.session.expiry_s;
	session->time_ms = op->u.session.time_ms;
	return ERR_OK;
}

/* ---- retained messages and wills */

static struct keyed_msg *will_find(const struct store *s, uint64_t number)
{
	for (struct map_node *n = map_first(&mem(s)->wills, map_hash_u64(number)); n; n = map_next(n)) {
		struct keyed_msg *k = MAP_OF(n, struct keyed_msg, node);
		if (k->number == number)
			return k;
	}
	return NULL;
}

static struct keyed_msg *retained_find(const struct store *s, const struct msg *m)
{
	for (struct map_node *n = map_first(&mem(s)->retained, topic_hash(m)); n; n = map_next(n)) {
		struct keyed_msg *k = MAP_OF(n, struct keyed_msg, node);
		if (k->msg->topic_len == m->topic_len && memcmp(msg_topic(k->msg), msg_topic(m), m->topic_len) == 0)
			return k;
	}
	return NULL;
}

static void keyed_msg_free(struct keyed_msg *k)
{
	msg_unref(k->msg);
	free(k);
}

static enum err will_put(struct store *s, const struct store_op *op)
{
	struct keyed_msg *k = will_find(s, op->u.will.number);
	if (!k) {
		k = calloc(1, sizeof *k);
		if (!k)
			return ERR_NOMEM;
		k->number = op->u.will.number;
		map_insert(&mem(s)->wills, &k->node, map_hash_u64(k->number));
	}
	msg_unref(k->msg);
	k->msg = msg_ref(op->u.will.msg);
	return ERR_OK;
}

static void will_drop(struct store *s, uint64_t number)
{
	struct keyed_msg *k = will_find(s, number);
	if (!k)
		return;
	map_remove(&mem(s)->wills, &k->node);
	keyed_msg_free(k);
}

static enum err session_end(struct store *s, store_session number, bool hand_on)
{
	struct session *session = session_find_any(s, number);
	if (!session)
		return ERR_OK;
	session->ended = hand_on;
	if (hand_on)
		return ERR_OK;
	map_remove(&mem(s)->sessions, &session->node);
	session_free(session);
	store_number_release(s, number);
	return ERR_OK;
}

/* ---- subscriptions */

static struct subscription *subscription_find(const struct session *session, const uint8_t *filter, size_t len, uint64_t hash)
{
	for (struct map_node *n = map_first(&session->subscriptions, hash); n; n = map_next(n)) {
		struct subscription *sub = MAP_OF(n, struct subscription, node);
		if (sub->len == len && memcmp(sub->filter, filter, len) == 0)
			return sub;
	}
	return NULL;
}

static enum err subscribe(struct store *s, const struct store_op *op)
{
	struct session *session = mem_session_find(s, op->u.subscription.session);
	if (!session)
		return ERR_NOT_FOUND;
	const uint8_t *filter = op->u.subscription.filter;
	size_t len = op->u.subscription.filter_len;
	uint64_t hash = siphash13(&siphash_process_key, filter, len);
	struct subscription *sub = subscription_find(session, filter, len, hash);
	if (!sub) {
		sub = malloc(sizeof *sub + len);
		if (!sub)
			return ERR_NOMEM;
		sub->len = len;
		memcpy(sub->filter, filter, len);
		map_insert(&session->subscriptions, &sub->node, hash);
	}
	sub->sub_id = op->u.subscription.sub_id;
	sub->options = op->u.subscription.options;
	return ERR_OK;
}

static enum err unsubscribe(struct store *s, const struct store_op *op)
{
	struct session *session = mem_session_find(s, op->u.subscription.session);
	if (!session)
		return ERR_NOT_FOUND;
	const uint8_t *filter = op->u.subscription.filter;
	size_t len = op->u.subscription.filter_len;
	struct subscription *sub = subscription_find(session, filter, len, siphash13(&siphash_process_key, filter, len));
	if (sub) {
		map_remove(&session->subscriptions, &sub->node);
		free(sub);
	}
	return ERR_OK;
}

/* ---- QoS 2 packet identifiers received */

static struct packet_id **received_find(struct session *session, uint16_t value)
{
	struct packet_id **at = &session->received;
	while (*at && (*at)->value != value)
		at = &(*at)->next;
	return at;
}

static enum err qos2_done(struct store *s, const struct store_op *op)
{
	struct session *session = mem_session_find(s, op->u.delivery.session);
	if (!session)
		return ERR_NOT_FOUND;
	struct packet_id **at = received_find(session, op->u.delivery.packet_id);
	struct packet_id *id = *at;
	if (id) {
		*at = id->next;
		free(id);
	}
	return ERR_OK;
}

/* ---- publishing */

static bool over_quota(const struct store *s, const struct queue *q, size_t size)
{
	const struct store_options *o = &s->options;
	return (o->max_queued_messages && q->messages >= o->max_queued_messages)
	    || (o->max_queued_bytes && q->bytes + size > o->max_queued_bytes);
}

/* drop-oldest: makes room for size bytes; false when what is left is all in flight. */
static bool drop_oldest(struct store *s, struct queue *q, size_t size)
{
	while (over_quota(s, q, size)) {
		if (q->queued < q->start)
			q->queued = q->start;
		while (q->queued < q->end && (q->entries[q->queued].gone || q->entries[q->queued].state != STORE_QUEUED))
			q->queued++;
		if (q->queued >= q->end)
			return false;
		mem_queue_remove(q, &q->entries[q->queued]);
		atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
	}
	return true;
}

/* Everything that can fail, before anything changes. */
static enum err publish_check(struct store *s, const struct store_op *op, struct session *publisher)
{
	if (publisher && *received_find(publisher, op->u.publish.packet_id))
		return ERR_EXISTS;
	for (uint32_t i = 0; i < op->u.publish.n_receivers; i++) {
		struct session *session = mem_session_find(s, op->u.publish.receivers[i].session);
		if (!session)
			continue;
		if (s->options.queue_full == STORE_REJECT && over_quota(s, &session->queue, msg_size(op->u.publish.msg)))
			return ERR_FULL;
		enum err rc = mem_queue_reserve(&session->queue);
		if (rc != ERR_OK)
			return rc;
	}
	return ERR_OK;
}

static void publish_to(struct store *s, struct msg *m, const struct store_receiver *r)
{
	struct session *session = mem_session_find(s, r->session);
	if (!session)
		return;
	struct queue *q = &session->queue;
	if (q->end > q->start && q->entries[q->end - 1].record == s->last_record)
		return; /* named twice: one copy */
	if (session->over_quota || over_quota(s, q, msg_size(m))) {
		if (s->options.queue_full != STORE_DROP_OLDEST) {
			atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
			if (!session->over_quota)
				store_note_over_quota(s, session->number);
			session->over_quota = true; /* stays: a session that lost one message is lost */
			return;
		}
		if (!drop_oldest(s, q, msg_size(m))) {
			atomic_fetch_add_explicit(&s->dropped, 1, memory_order_relaxed);
			return;
		}
	}
	struct entry e = { .record = s->last_record, .msg = msg_ref(m), .sub_id = r->sub_id, .share = r->share, .qos = r->qos & 3u, .retain = r->retain & 1u,
		.state = STORE_QUEUED };
	mem_queue_append(q, &e);
}

static enum err publish(struct store *s, struct store_op *op)
{
	struct msg *m = op->u.publish.msg;
	struct session *publisher = op->u.publish.packet_id && op->u.publish.publisher ? mem_session_find(s, op->u.publish.publisher) : NULL;
	struct keyed_msg *kept = op->u.publish.retained ? retained_find(s, m) : NULL, *fresh = NULL;
	struct packet_id *id = NULL;
	struct past *past = NULL;
	enum err rc = publish_check(s, op, publisher);
	if (rc == ERR_OK && op->u.publish.history)
		rc = mem_past_prepare(s, m, &past);
	if (rc == ERR_OK && publisher && !(id = malloc(sizeof *id)))
		rc = ERR_NOMEM;
	if (rc == ERR_OK && op->u.publish.retained && m->payload_len && !kept && !(fresh = calloc(1, sizeof *fresh)))
		rc = ERR_NOMEM;
	if (rc != ERR_OK) {
		free(id);
		free(fresh);
		return rc;
	}
	op->u.publish.record = ++s->last_record;
	if (id) {
		*id = (struct packet_id){ .next = publisher->received, .value = op->u.publish.packet_id };
		publisher->received = id;
	}
	for (uint32_t i = 0; i < op->u.publish.n_receivers; i++)
		publish_to(s, m, &op->u.publish.receivers[i]);
	will_drop(s, op->u.publish.will);
	if (past)
		mem_past_append(s, past, m);
	if (fresh) {
		fresh->msg = msg_ref(m);
		map_insert(&mem(s)->retained, &fresh->node, topic_hash(m));
	} else if (kept && m->payload_len) {
		msg_unref(kept->msg);
		kept->msg = msg_ref(m);
	} else if (kept) {
		map_remove(&mem(s)->retained, &kept->node);
		keyed_msg_free(kept);
	}
	return ERR_OK;
}

/* ---- deliveries */

/* The one place where an entry's state changes. */
static enum err deliver(struct store *s, const struct store_op *op)
{
	struct session *session = mem_session_find(s, op->u.delivery.session);
	struct entry *e = session ? mem_queue_find(&session->queue, op->u.delivery.record) : NULL;
	if (!e)
		return ERR_NOT_FOUND;
	if (op->verb == STORE_ACKED) {
		mem_queue_remove(&session->queue, e);
		mem_queue_trim(&session->queue);
	} else if (op->verb == STORE_SENT) {
		if (e->state == STORE_PUBREL) /* its message is gone */
			return ERR_INVALID;
		e->state = STORE_INFLIGHT;
		e->packet_id = op->u.delivery.packet_id;
	} else {
		assert(op->verb == STORE_RELEASED);
		mem_entry_drop_msg(&session->queue, e);
		e->state = STORE_PUBREL;
		if (op->u.delivery.packet_id)
			e->packet_id = op->u.delivery.packet_id;
	}
	return ERR_OK;
}

/* ---- the backend */

static enum err memory_open(struct store *s, char *error, size_t error_len)
{
	(void)error, (void)error_len;
	struct memory *m = calloc(1, sizeof *m);
	s->state = m;
	if (!m)
		return ERR_NOMEM;
	enum err rc = map_create(&m->sessions);
	if (rc == ERR_OK)
		rc = map_create(&m->retained);
	if (rc == ERR_OK)
		rc = map_create(&m->pasts);
	return rc == ERR_OK ? map_create(&m->wills) : rc;
}

static enum err memory_load(struct store *s, const struct store_loader *l, void *arg)
{
	(void)s, (void)l, (void)arg;
	return ERR_OK;
}

static enum err memory_begin(struct store *s, const struct store_op *batch)
{
	(void)s, (void)batch;
	return ERR_OK;
}

static enum err memory_commit(struct store *s)
{
	(void)s;
	return ERR_OK;
}

static enum err memory_apply(struct store *s, struct store_op *op)
{
	switch (op->verb) {
	case STORE_SESSION_NEW:
		return session_new(s, op);
	case STORE_SESSION_STATE:
		return session_state(s, op);
	case STORE_SESSION_END:
		return session_end(s, op->u.session.number, op->u.session.hand_on);
	case STORE_SUBSCRIBE:
		return subscribe(s, op);
	case STORE_UNSUBSCRIBE:
		return unsubscribe(s, op);
	case STORE_PUBLISH:
		return publish(s, op);
	case STORE_ACKED: case STORE_SENT: case STORE_RELEASED:
		return deliver(s, op);
	case STORE_QOS2_DONE:
		return qos2_done(s, op);
	case STORE_WILL_PUT:
		return will_put(s, op);
	case STORE_WILL_DROP:
		will_drop(s, op->u.will.number);
		return ERR_OK;
	case STORE_META: case STORE_PAST: /* would be gone at the only time when it is read */
		return ERR_OK;
	case STORE_PAST_SENT: /* likewise */
		return ERR_NOT_FOUND;
	case STORE_PAGE: case STORE_HISTORY: case STORE_BARRIER:
		break;
	}
	return ERR_INVALID;
}

static void memory_abort(struct store *s)
{
	(void)s; /* no op sets batch_error */
}

static int memory_idle(struct store *s)
{
	(void)s;
	return -1;
}

static enum err memory_meta_get(struct store *s, const char *name, void *value, size_t *len)
{
	(void)s, (void)name, (void)value, (void)len;
	return ERR_NOT_FOUND;
}

static enum err memory_meta_put_all(struct store *s, const struct store_named *values, size_t n)
{
	(void)s, (void)values, (void)n;
	return ERR_OK;
}

static enum err memory_meta_each(struct store *s, const char *prefix, enum err (*fn)(void *arg, const char *name, const void *value, size_t len),
    void *arg)
{
	(void)s, (void)prefix, (void)fn, (void)arg;
	return ERR_OK;
}

static enum err memory_page(struct store *s, struct store_op *op)
{
	struct session *session = session_find_any(s, op->u.page.session);
	op->u.page.entries = NULL;
	op->u.page.n_entries = 0;
	op->u.page.end = true;
	op->u.page.last_record = s->last_record;
	if (!session)
		return ERR_NOT_FOUND;
	struct queue *q = &session->queue;
	size_t from = mem_queue_after(q, op->u.page.after), max = q->end - from;
	uint32_t wanted = op->u.page.max_entries ? op->u.page.max_entries : 1;
	if (max > wanted)
		max = wanted;
	if (max == 0)
		return ERR_OK;
	struct store_entry *out = pool_alloc(max * sizeof *out);
	if (!out)
		return ERR_NOMEM;
	uint64_t bytes = 0;
	uint32_t n = 0;
	size_t i = from;
	for (; i < q->end; i++) {
		struct entry *e = &q->entries[i];
		if (e->gone)
			continue;
		bytes += e->msg ? msg_size(e->msg) : 0;
		if (n == max || (n > 0 && bytes > op->u.page.max_bytes))
			break;
		out[n++] = (struct store_entry){ .record = e->record, .msg = e->msg ? msg_ref(e->msg) : NULL, .sub_id = e->sub_id, .share = e->share,
			.packet_id = e->packet_id, .qos = e->qos, .retain = e->retain, .state = e->state };
	}
	if (n == 0) { /* gaps alone */
		pool_free(out);
		out = NULL;
	}
	op->u.page.entries = out;
	op->u.page.n_entries = n;
	op->u.page.end = i == q->end;
	return ERR_OK;
}

static enum err memory_read(struct store *s, struct store_op *op)
{
	return op->verb == STORE_PAGE ? memory_page(s, op) : mem_history_read(s, op);
}

static void free_keyed_msgs(struct map *m)
{
	size_t at = 0;
	for (struct map_node *n = map_pop(m, &at); n; n = map_pop(m, &at))
		keyed_msg_free(MAP_OF(n, struct keyed_msg, node));
	map_destroy(m);
}

static void memory_close(struct store *s)
{
	struct memory *m = mem(s);
	if (!m)
		return;
	size_t at = 0;
	for (struct map_node *n = map_pop(&m->sessions, &at); n; n = map_pop(&m->sessions, &at))
		session_free(MAP_OF(n, struct session, node));
	map_destroy(&m->sessions);
	free_keyed_msgs(&m->retained);
	free_keyed_msgs(&m->wills);
	at = 0;
	for (struct map_node *n = map_pop(&m->pasts, &at); n; n = map_pop(&m->pasts, &at)) {
		struct past *past = MAP_OF(n, struct past, node);
		mem_queue_free(&past->queue);
		free(past);
	}
	map_destroy(&m->pasts);
	mem_queue_free(&m->history);
	free(m);
	s->state = NULL;
}

const struct store_backend store_memory = {
	.open = memory_open, .load = memory_load, .meta_get = memory_meta_get, .meta_put_all = memory_meta_put_all, .meta_each = memory_meta_each, .begin = memory_begin,
	.apply = memory_apply, .commit = memory_commit, .abort = memory_abort,
	.publish_reads = memory_commit, .read = memory_read, .idle = memory_idle, .close = memory_close,
};
