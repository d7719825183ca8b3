/* SPDX-License-Identifier: GPL-3.0-or-later */
/* History in memory: what is kept per topic and over all of them, and reading it. Writer thread. */
#include "store/memory_int.h"

#include "base/clock.h"
#include "base/pool.h"
#include "base/siphash.h"

#include <stdlib.h>
#include <string.h>

#define LOOKED_AT_MAX 100000u /* entries that one read passes over at most: the writer has other work */

static struct past *past_find(const struct store *s, const uint8_t *topic, size_t len)
{
	for (struct map_node *n = map_first(&mem(s)->pasts, siphash13(&siphash_process_key, topic, len)); n; n = map_next(n)) {
		struct past *past = MAP_OF(n, struct past, node);
		if (past->len == len && memcmp(past->topic, topic, len) == 0)
			return past;
	}
	return NULL;
}

static bool history_limits(const struct store *s, const uint8_t *topic, size_t len, struct store_history_limits *out)
{
	*out = (struct store_history_limits){ 0 };
	return !s->options.history_limits || s->options.history_limits(s->options.arg, topic, len, out);
}

static bool too_old(const struct msg *m, const struct store_history_limits *limits, uint64_t now_ms)
{
	return limits->age_s && m->time_ms / 1000 + limits->age_s < now_ms / 1000;
}

static struct entry *queue_first(const struct queue *q) { return q->n > 0 ? &q->entries[q->start] : NULL; }

/* Drops what is beyond the topic's limits. */
static void past_trim(struct store *s, struct past *past)
{
	struct queue *q = &past->queue, *all = &mem(s)->history;
	struct store_history_limits limits;
	bool wanted = history_limits(s, past->topic, past->len, &limits);
	uint64_t now_ms = clock_wall_ms();
	for (struct entry *e; (e = queue_first(q));) {
		if (wanted && !(limits.count && q->n > limits.count) && !(limits.bytes && q->bytes > limits.bytes) && !too_old(e->msg, &limits, now_ms))
			break;
		mem_queue_remove(all, mem_queue_find(all, e->record));
		mem_queue_remove(q, e);
	}
	mem_queue_trim(q);
}

/* The topic's past with room for one more message, there and in what all topics keep. */
enum err mem_past_prepare(struct store *s, const struct msg *m, struct past **out)
{
	struct store_history_limits limits;
	*out = NULL;
	if (!history_limits(s, msg_topic(m), m->topic_len, &limits))
		return ERR_OK;
	struct past *past = past_find(s, msg_topic(m), m->topic_len);
	if (!past) {
		past = calloc(1, sizeof *past + m->topic_len);
		if (!past)
			return ERR_NOMEM;
		past->len = m->topic_len;
		memcpy(past->topic, msg_topic(m), past->len);
		map_insert(&mem(s)->pasts, &past->node, topic_hash(m));
	}
	enum err rc = mem_queue_reserve(&past->queue);
	*out = past;
	return rc == ERR_OK ? mem_queue_reserve(&mem(s)->history) : rc;
}

void mem_past_append(struct store *s, struct past *past, struct msg *m)
{
	struct entry e = { .record = s->last_record, .msg = msg_ref(m), .qos = m->qos & 3u };
	mem_queue_append(&past->queue, &e);
	e.msg = msg_ref(m);
	mem_queue_append(&mem(s)->history, &e);
	past_trim(s, past);
}

static bool selects(const struct store_op *op, const struct entry *e)
{
	return !e->gone && (op->u.history.topic || op->u.history.match(op->u.history.match_arg, msg_topic(e->msg), e->msg->topic_len));
}

/* Too old for its topic: nobody has published there since, to have it trimmed. */
static bool expired(const struct store *s, const struct entry *e)
{
	struct store_history_limits limits;
	return !history_limits(s, msg_topic(e->msg), e->msg->topic_len, &limits) || too_old(e->msg, &limits, clock_wall_ms());
}

/* Index of the first entry to read, from where since_ms and newest say. */
static size_t find_start(const struct store_op *op, const struct queue *q)
{
	if (q->n == 0)
		return q->end;
	size_t start = op->u.history.upto ? mem_queue_after(q, op->u.history.upto) : q->end;
	uint64_t n = 0;
	if (op->u.history.after || (!op->u.history.since_ms && !op->u.history.newest))
		return mem_queue_after(q, op->u.history.after);
	for (size_t i = start; i-- > q->start;) {
		if (q->entries[i].gone)
			continue;
		if (q->entries[i].msg->time_ms < op->u.history.since_ms)
			break;
		if (!selects(op, &q->entries[i]))
			continue;
		start = i;
		if (op->u.history.newest && ++n == op->u.history.newest)
			break;
	}
	return start;
}

enum err mem_history_read(struct store *s, struct store_op *op)
{
	struct past *past = op->u.history.topic ? past_find(s, op->u.history.topic, op->u.history.topic_len) : NULL;
	struct queue none = { 0 }, *q = past ? &past->queue : op->u.history.topic ? &none : &mem(s)->history;
	struct session *session = op->u.history.session ? mem_session_find(s, op->u.history.session) : NULL;
	uint32_t max = op->u.history.max_entries ? op->u.history.max_entries : 1, n = 0;
	size_t first = find_start(op, q), i = first, room = q->end - first < max ? q->end - first : max;
	uint64_t bytes = 0;
	op->u.history.entries = NULL;
	op->u.history.n_entries = 0;
	op->u.history.next = op->u.history.after;
	op->u.history.last_record = s->last_record;
	struct store_entry *out = room ? pool_alloc(room * sizeof *out) : NULL;
	if (room && !out)
		return ERR_NOMEM;
	for (; out && i < q->end && i - first < LOOKED_AT_MAX; i++) {
		const struct entry *e = &q->entries[i];
		if (selects(op, e) && !expired(s, e)) {
			bytes += msg_size(e->msg);
			if (n == max || (n > 0 && bytes > op->u.history.max_bytes))
				break;
			out[n] = (struct store_entry){ .record = e->record, .msg = msg_ref(e->msg), .qos = e->qos };
			if (session && mem_queue_find(&session->queue, e->record))
				out[n].state = STORE_ELSEWHERE;
			n++;
		}
		op->u.history.next = e->record;
	}
	if (n == 0)
		pool_free(out);
	op->u.history.entries = n > 0 ? out : NULL;
	op->u.history.n_entries = n;
	op->u.history.end = i == q->end;
	if (op->u.history.end) /* so that the next read does not look for its start again */
		op->u.history.next = s->last_record;
	return ERR_OK;
}
