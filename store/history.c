/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What topics keep of their past: appended in record order, by topic and over all topics; trimmed by count, age and bytes, a few records at a
 * time. Writer thread. */
#include "store/lmdb_int.h"

#include "base/clock.h"

#include <stdlib.h>

/* ---- topics */

static uint64_t name_hash(const struct lmdb *l, const uint8_t *name, size_t len)
{
	return siphash24(&l->db.hash_key, name, len);
}

struct stored_topic *topic_find(const struct lmdb *l, const uint8_t *name, size_t len)
{
	for (struct map_node *n = map_first(&l->topics, name_hash(l, name, len)); n; n = map_next(n)) {
		struct stored_topic *topic = MAP_OF(n, struct stored_topic, node);
		if (topic->len == len && memcmp(topic->name, name, len) == 0)
			return topic;
	}
	return NULL;
}

static struct stored_topic *topic_add(struct lmdb *l, uint32_t id, const uint8_t *name, size_t len)
{
	struct stored_topic *topic = calloc(1, sizeof *topic + len);
	if (!topic)
		return NULL;
	topic->id = id;
	topic->len = len;
	memcpy(topic->name, name, len);
	map_insert(&l->topics, &topic->node, name_hash(l, name, len));
	topic->next = l->all_topics;
	topic->prev = &l->all_topics;
	if (topic->next)
		topic->next->prev = &topic->next;
	l->all_topics = topic;
	return topic;
}

static void topic_remove(struct lmdb *l, struct stored_topic *topic)
{
	if (l->sweep_at == topic)
		l->sweep_at = topic->next;
	map_remove(&l->topics, &topic->node);
	*topic->prev = topic->next;
	if (topic->next)
		topic->next->prev = topic->prev;
	free(topic);
}

static void topic_touch(struct lmdb *l, struct stored_topic *topic)
{
	if (topic->touched)
		return;
	topic->touched = true;
	topic->saved = topic->now;
	topic->next_touched = l->touched_topics;
	l->touched_topics = topic;
}

struct stored_topic *topic_get(struct store *s, const uint8_t *name, size_t len)
{
	struct lmdb *l = lmdb_of(s);
	struct stored_topic *topic = topic_find(l, name, len);
	if (topic)
		return topic;
	uint8_t key[NAME_KEY_MAX];
	MDB_val v;
	enum err rc = name_find(&l->db, l->txn, T_TOPIC_NAMES, NULL, 0, name, len, 4, key, &v);
	if (rc != ERR_NOT_FOUND || scratch_reserve(l, 4 + len) != ERR_OK)
		return NULL;
	put_be(l->scratch, l->next_topic, 4);
	memcpy(l->scratch + 4, name, len);
	if (db_put(s, T_TOPIC_NAMES, key, 9, l->scratch, 4 + len, 0) != ERR_OK)
		return NULL;
	topic = topic_add(l, l->next_topic, name, len);
	if (!topic) {
		s->batch_error = ERR_NOMEM;
		return NULL;
	}
	l->next_topic++;
	topic_touch(l, topic);
	topic->created = true;
	return topic;
}

/* ---- records */

static void history_key(uint8_t key[static HISTORY_KEY], uint32_t topic, uint64_t record)
{
	put_be(put_be(key, topic, 4), record, 8);
}

/* Deletes the oldest record. */
static enum err drop_oldest(struct store *s, struct stored_topic *topic)
{
	struct lmdb *l = lmdb_of(s);
	MDB_cursor *c;
	enum err rc = db_cursor(s, T_HISTORY, &c);
	if (rc != ERR_OK)
		return rc;
	uint8_t start[HISTORY_KEY], all_key[8];
	history_key(start, topic->id, 0);
	MDB_val k = { sizeof start, start }, v;
	int r = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	bool found = r == MDB_SUCCESS && k.mv_size == HISTORY_KEY && v.mv_size == HISTORY_VALUE && memcmp(k.mv_data, start, 4) == 0;
	uint64_t record = found ? get_be((const uint8_t *)k.mv_data + 4, 8) : 0;
	uint64_t size = found ? get_be((const uint8_t *)v.mv_data + 8, 4) : 0;
	if (found)
		r = mdb_cursor_del(c, 0);
	if (found && r == MDB_SUCCESS) { /* the next one's time is a lower bound from now on */
		r = mdb_cursor_get(c, &k, &v, MDB_NEXT);
		topic_touch(l, topic);
		topic->now.oldest_ms = r == MDB_SUCCESS && v.mv_size == HISTORY_VALUE && memcmp(k.mv_data, start, 4) == 0 ? get_be(v.mv_data, 8) : 0;
		r = r == MDB_NOTFOUND ? MDB_SUCCESS : r;
	}
	mdb_cursor_close(c);
	if (!found && (r == MDB_SUCCESS || r == MDB_NOTFOUND)) { /* the counts were wrong */
		topic_touch(l, topic);
		topic->now = (struct topic_counts){ 0 };
		return ERR_OK;
	}
	if (r != MDB_SUCCESS)
		return db_fail(s, r);
	topic->now.count -= topic->now.count > 0;
	topic->now.bytes -= size < topic->now.bytes ? size : topic->now.bytes;
	put_be(all_key, record, 8);
	rc = db_del(s, T_HISTORY_ALL, all_key, sizeof all_key);
	return rc == ERR_OK || rc == ERR_NOT_FOUND ? message_unref(s, record) : rc;
}

bool history_limits(const struct store *s, const struct stored_topic *topic, struct store_history_limits *out)
{
	*out = (struct store_history_limits){ 0 };
	return !s->options.history_limits || s->options.history_limits(s->options.arg, topic->name, topic->len, out);
}

bool history_exceeds(const struct stored_topic *topic, const struct store_history_limits *limits, uint64_t now_ms)
{
	if (topic->now.count == 0)
		return false;
	return (limits->count && topic->now.count > limits->count) || (limits->bytes && topic->now.bytes > limits->bytes)
	    || (limits->age_s && topic->now.oldest_ms / 1000 + limits->age_s < now_ms / 1000);
}

enum err history_trim(struct store *s, struct stored_topic *topic, const struct store_history_limits *limits, size_t max, size_t *deleted)
{
	uint64_t now_ms = clock_wall_ms();
	for (*deleted = 0; *deleted < max; ++*deleted) {
		bool drop = limits ? history_exceeds(topic, limits, now_ms) : topic->now.count > 0;
		if (!drop)
			break;
		enum err rc = drop_oldest(s, topic);
		if (rc != ERR_OK)
			return rc;
	}
	return ERR_OK;
}

enum err history_append(struct store *s, struct stored_topic *topic, uint64_t record, const struct msg *m)
{
	struct lmdb *l = lmdb_of(s);
	uint8_t key[HISTORY_KEY], value[HISTORY_VALUE];
	history_key(key, topic->id, record);
	put_be(put_be(value, m->time_ms, 8), msg_size(m), 4);
	enum err rc = db_put(s, T_HISTORY, key, sizeof key, value, sizeof value, 0);
	if (rc != ERR_OK)
		return rc;
	put_be(put_be(value, m->time_ms, 8), topic->id, 4); /* over all topics: keys are records, values name the topic */
	rc = db_put(s, T_HISTORY_ALL, key + 4, 8, value, sizeof value, MDB_APPEND);
	if (rc != ERR_OK)
		return rc;
	topic_touch(l, topic);
	if (topic->now.count++ == 0)
		topic->now.oldest_ms = m->time_ms;
	topic->now.bytes += msg_size(m);
	/* Two out for one in at most: the rest is the sweep's. */
	struct store_history_limits limits;
	size_t deleted;
	return history_limits(s, topic, &limits) ? history_trim(s, topic, &limits, 2, &deleted) : ERR_OK;
}

/* ---- transactions */

enum err history_save(struct store *s)
{
	struct lmdb *l = lmdb_of(s);
	enum err rc = ERR_OK;
	uint8_t key[4], name_key[NAME_KEY_MAX];
	MDB_val v;
	for (struct stored_topic *t = l->touched_topics; t && rc == ERR_OK; t = t->next_touched) {
		put_be(key, t->id, 4);
		if (t->now.count > 0) {
			rc = scratch_reserve(l, TOPIC_HEAD + t->len);
			if (rc != ERR_OK)
				return rc;
			put_be(put_be(l->scratch, t->now.count, 8), t->now.bytes, 8);
			memcpy(l->scratch + TOPIC_HEAD, t->name, t->len);
			rc = db_put(s, T_TOPICS, key, sizeof key, l->scratch, TOPIC_HEAD + t->len, 0);
			continue;
		}
		rc = db_del(s, T_TOPICS, key, sizeof key);
		if (rc == ERR_OK || rc == ERR_NOT_FOUND)
			rc = name_find(&l->db, l->txn, T_TOPIC_NAMES, NULL, 0, t->name, t->len, 4, name_key, &v);
		if (rc == ERR_OK)
			rc = db_del(s, T_TOPIC_NAMES, name_key, 9);
		rc = rc == ERR_NOT_FOUND ? ERR_OK : rc;
	}
	return rc;
}

void history_settle(struct lmdb *l, bool committed)
{
	while (l->touched_topics) {
		struct stored_topic *t = l->touched_topics;
		l->touched_topics = t->next_touched;
		if (!committed)
			t->now = t->saved;
		bool gone = committed ? t->now.count == 0 : t->created;
		t->touched = t->created = false;
		if (gone)
			topic_remove(l, t);
	}
}

/* ---- the sweep: topics nobody publishes to grow old as well */

static struct stored_topic *sweep_next(struct lmdb *l)
{
	struct stored_topic *t = l->sweep_at ? l->sweep_at : l->all_topics;
	l->sweep_at = t ? t->next : NULL;
	return t;
}

bool history_has_work(struct store *s, size_t topics)
{
	struct lmdb *l = lmdb_of(s);
	uint64_t now_ms = clock_wall_ms();
	for (size_t i = 0; i < topics; i++) {
		struct stored_topic *before = l->sweep_at, *t = sweep_next(l);
		struct store_history_limits limits;
		if (!t)
			return false;
		if (!history_limits(s, t, &limits) || history_exceeds(t, &limits, now_ms)) {
			l->sweep_at = before ? before : l->all_topics; /* the sweep meets it again */
			return true;
		}
		if (!l->sweep_at) /* once round */
			return false;
	}
	return false;
}

enum err history_sweep(struct store *s, size_t topics, size_t max, bool *more)
{
	struct lmdb *l = lmdb_of(s);
	*more = false;
	for (size_t i = 0; i < topics && max > 0; i++) {
		struct stored_topic *t = sweep_next(l);
		struct store_history_limits limits;
		size_t deleted = 0;
		if (!t)
			break;
		bool wanted = history_limits(s, t, &limits);
		enum err rc = history_trim(s, t, wanted ? &limits : NULL, max, &deleted);
		if (rc != ERR_OK)
			return rc;
		max -= deleted;
		if (max == 0) {
			l->sweep_at = t;
			*more = true;
		}
		if (!l->sweep_at)
			break;
	}
	return ERR_OK;
}

/* ---- life */

/* The time of the topic's oldest record. */
static uint64_t oldest(const struct lmdb *l, MDB_txn *txn, uint32_t id)
{
	MDB_cursor *c;
	if (mdb_cursor_open(txn, l->db.t[T_HISTORY], &c) != MDB_SUCCESS)
		return 0;
	uint8_t start[HISTORY_KEY];
	history_key(start, id, 0);
	MDB_val k = { sizeof start, start }, v;
	uint64_t ms = 0;
	if (mdb_cursor_get(c, &k, &v, MDB_SET_RANGE) == MDB_SUCCESS && k.mv_size == HISTORY_KEY && memcmp(k.mv_data, start, 4) == 0
	    && v.mv_size == HISTORY_VALUE)
		ms = get_be(v.mv_data, 8);
	mdb_cursor_close(c);
	return ms;
}

enum err history_load(struct store *s, MDB_txn *txn)
{
	struct lmdb *l = lmdb_of(s);
	MDB_cursor *c;
	int r = mdb_cursor_open(txn, l->db.t[T_TOPICS], &c);
	if (r != MDB_SUCCESS)
		return db_err(r);
	MDB_val k, v;
	enum err rc = ERR_OK;
	l->next_topic = 1;
	while (rc == ERR_OK && (r = mdb_cursor_get(c, &k, &v, MDB_NEXT)) == MDB_SUCCESS) {
		const uint8_t *p = v.mv_data;
		if (k.mv_size != 4 || v.mv_size < TOPIC_HEAD) {
			rc = ERR_CORRUPT;
			break;
		}
		uint32_t id = (uint32_t)get_be(k.mv_data, 4);
		struct stored_topic *t = topic_add(l, id, p + TOPIC_HEAD, v.mv_size - TOPIC_HEAD);
		if (!t) {
			rc = ERR_NOMEM;
			break;
		}
		t->now = (struct topic_counts){ .count = get_be(p, 8), .bytes = get_be(p + 8, 8), .oldest_ms = oldest(l, txn, id) };
		if (id >= l->next_topic)
			l->next_topic = id + 1;
	}
	mdb_cursor_close(c);
	return rc != ERR_OK ? rc : r == MDB_NOTFOUND ? ERR_OK : db_err(r);
}

void history_free(struct lmdb *l)
{
	l->touched_topics = NULL;
	while (l->all_topics)
		topic_remove(l, l->all_topics);
	map_destroy(&l->topics);
}
