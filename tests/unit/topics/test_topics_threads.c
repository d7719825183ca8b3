/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Readers without locks beside writers. What a reader finds is checked by filters that never change while others come and go around them;
 * make tsan and make asan say the rest. */
#include "tests/unit/topics/fixture.h"
#include "topics/match_cache.h"
#include "topics/retained.h"

#include <pthread.h>

enum { WRITERS = 2, READERS = 2, FIXED = 24 };

static struct epoch *epoch;
static struct trie *trie;
static struct retained *tree;
static atomic_uint writers_left;
static atomic_uint bad; /* Check's assertions are for the main thread */

/* Filters that stay, and a topic that each of them matches; among words that writers use too. */
static const char *const fixed[FIXED] = { "a/b/c", "a/+/c", "a/#", "+/b/#", "#", "x", "x/y", "+/+", "a/b/+", "$SYS/a", "$SYS/+", "a//c",
	"/", "+", "b/c/d/e", "b/+/d/+", "b/#", "+/+/+/+", "c/c/c", "c/+/+", "d", "d/#", "+/d", "b/c/d/#" };
static const char *const topics[] = { "a/b/c", "x", "x/y", "$SYS/a", "a//c", "/", "b/c/d/e", "c/c/c", "d", "d/d", "q" };
enum { TOPICS = sizeof topics / sizeof *topics };
static struct sub_set fixed_sets[FIXED];

static void random_filter(uint64_t *r, char *buf)
{
	static const char *const words[] = { "a", "b", "c", "d", "x", "", "+", "+", "word-that-is-longer" };
	unsigned levels = 1 + rnd(r) % 4;
	buf[0] = 0;
	if (rnd(r) % 8 == 0)
		strcat(buf, rnd(r) % 2 ? "$share/g/" : "$share/h/");
	for (unsigned i = 0; i < levels; i++) {
		strcat(buf, i > 0 ? "/" : "");
		strcat(buf, i + 1 == levels && rnd(r) % 4 == 0 ? "#" : words[rnd(r) % 9]);
	}
	if (rnd(r) % 4 == 0) /* the very nodes that the fixed ones use */
		strcpy(buf, fixed[rnd(r) % FIXED]);
}

static void turn(int id)
{
	epoch_quiescent(epoch, id);
	(void)epoch_reclaim(epoch, id);
}

static void *write_trie(void *arg)
{
	enum { SETS = 40, STEPS = 30000 };
	unsigned me = *(unsigned *)arg;
	struct sub_set sets[SETS];
	uint64_t r = me + 1;
	int id = epoch_register(epoch);
	epoch_online(epoch, id);
	for (unsigned i = 0; i < SETS; i++)
		sub_set_init(&sets[i], sub_handle_make(me + 1, i, i + 1));
	for (unsigned step = 0; step < STEPS; step++) {
		struct sub_set *s = &sets[rnd(&r) % SETS];
		char buf[128];
		bool added;
		random_filter(&r, buf);
		switch (rnd(&r) % 8) {
		case 0:
			trie_clear(trie, id, s);
			break;
		case 1:
		case 2:
			if (trie_unsubscribe(trie, id, s, bytes(buf), strlen(buf)) == ERR_NOMEM)
				atomic_fetch_add(&bad, 1);
			break;
		case 3:
			sub_set_presence(s, rnd(&r) % 3);
			break;
		default:
			/* (A random "$share/g/" is malformed.) Options and identifier belong together: a reader checks that it never sees one without the other. */
			if (trie_subscribe(trie, id, s, bytes(buf), strlen(buf), (uint8_t)(step % 3), (step % 3) + 1, &added) == ERR_NOMEM)
				atomic_fetch_add(&bad, 1);
		}
		if (step % 16 == 0)
			turn(id);
	}
	for (unsigned i = 0; i < SETS; i++)
		trie_clear(trie, id, &sets[i]);
	epoch_offline(epoch, id);
	epoch_unregister(epoch, id);
	atomic_fetch_sub(&writers_left, 1);
	return NULL;
}

static bool has(const struct match *m, sub_handle h)
{
	for (uint32_t i = 0; i < m->n_targets; i++) {
		if (m->targets[i].handle == h)
			return true;
	}
	return false;
}

static void check_match(const struct match *m, const char *topic)
{
	for (unsigned i = 0; i < FIXED; i++) {
		bool due = topic_matches(bytes(fixed[i]), strlen(fixed[i]), bytes(topic), strlen(topic));
		if (has(m, fixed_sets[i].handle) != due)
			atomic_fetch_add(&bad, 1);
	}
	for (uint32_t i = 0; i < m->n_targets; i++) {
		const struct target *t = &m->targets[i];
		if ((i > 0 && t[-1].handle >= t->handle) || (sub_handle_loop(t->handle) > 0 && t->sub_id != (t->options & SUB_QOS) + 1u))
			atomic_fetch_add(&bad, 1);
	}
	for (uint32_t i = 0; i < m->n_groups; i++) {
		struct target t;
		if (share_pick(m->groups[i], 0, &t) && (sub_handle_loop(t.handle) == 0 || t.sub_id != t.options + 1u))
			atomic_fetch_add(&bad, 1);
	}
}

static void *read_trie(void *arg)
{
	uint64_t r = 100 + *(unsigned *)arg;
	int id = epoch_register(epoch);
	struct match_cache *cache = match_cache_new(trie, 8);
	struct match *kept = NULL;
	epoch_online(epoch, id);
	while (atomic_load(&writers_left) > 0) {
		const char *topic = topics[rnd(&r) % TOPICS];
		struct match *m = trie_match(trie, bytes(topic), strlen(topic));
		check_match(m, topic);
		match_unref(m);
		m = match_cache_get(cache, bytes(topic), strlen(topic));
		check_match(m, topic);
		if (rnd(&r) % 16 == 0) { /* as a message in another loop's mailbox would */
			match_unref(kept);
			kept = match_ref(m);
		}
		if (kept && kept->n_groups > 0) {
			struct target t;
			(void)share_pick(kept->groups[0], 0, &t);
		}
		turn(id);
	}
	match_unref(kept);
	match_cache_free(cache);
	epoch_offline(epoch, id);
	epoch_unregister(epoch, id);
	return NULL;
}

static void run(void *(*writer)(void *), void *(*reader)(void *))
{
	static unsigned numbers[] = { 0, 1, 2, 3, 4 };
	pthread_t threads[WRITERS + READERS];
	atomic_store(&writers_left, WRITERS);
	atomic_store(&bad, 0);
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i < WRITERS ? writer : reader, &numbers[i]), 0);
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	ck_assert_uint_eq(atomic_load(&bad), 0);
}

/* What other threads retired is theirs, or their successor's, to free: takes each place once. */
static void settle_all(struct fixture *f)
{
	int ids[EPOCH_THREADS_MAX + 1], n = 0;
	epoch_offline(f->epoch, f->thread);
	while ((ids[n] = epoch_register(f->epoch)) >= 0)
		n++;
	for (int i = 0; i < n; i++) {
		while (epoch_reclaim(f->epoch, ids[i]) > 0)
			;
		epoch_unregister(f->epoch, ids[i]);
	}
	epoch_online(f->epoch, f->thread);
}

START_TEST(matching_beside_changes_finds_what_stays)
{
	struct fixture f = fixture_open();
	epoch = f.epoch;
	trie = f.trie;
	for (uint32_t i = 0; i < FIXED; i++) {
		sub_set_init(&fixed_sets[i], sub_handle_make(0, i, i + 1));
		ck_assert_int_eq(subscribe(&f, &fixed_sets[i], fixed[i], i % 3, 0), ERR_OK);
	}
	epoch_offline(f.epoch, f.thread);
	run(write_trie, read_trie);
	epoch_online(f.epoch, f.thread);
	fixture_check(&f);
	struct trie_stats s;
	trie_stats(f.trie, &s);
	ck_assert_uint_eq(s.subscriptions, FIXED);
	for (unsigned i = 0; i < FIXED; i++)
		trie_clear(f.trie, f.thread, &fixed_sets[i]);
	settle_all(&f);
	fixture_close(&f);
}
END_TEST

/* ---- two sessions in turn in the same place of one node, a table of places above it: who and how belong together ---- */

static void *write_place(void *arg)
{
	unsigned me = *(unsigned *)arg;
	const char *filter = me == 0 ? "p" : "q";
	struct sub_set turns[2], stay[9];
	int id = epoch_register(epoch);
	epoch_online(epoch, id);
	for (unsigned i = 0; i < 9; i++) /* in q: a table with holes */
		sub_set_init(&stay[i], sub_handle_make(1, i, 7));
	for (unsigned i = 0; i < 2; i++)
		sub_set_init(&turns[i], sub_handle_make(0, i + 1, i + 1));
	for (unsigned step = 0; step < 60000; step++) {
		bool added;
		struct sub_set *s = &turns[step % 2];
		/* Session i subscribes with identifier i + 1, or i + 11 when it changes its mind. */
		if (me > 0 && step % 50 < 9 && stay[step % 50].count == 0)
			atomic_fetch_add(&bad, trie_subscribe(trie, id, &stay[step % 50], bytes(filter), 1, 0, 0, &added) != ERR_OK);
		uint32_t sub_id = sub_handle_slot(s->handle);
		atomic_fetch_add(&bad, trie_subscribe(trie, id, s, bytes(filter), 1, 1, sub_id, &added) != ERR_OK);
		atomic_fetch_add(&bad, trie_subscribe(trie, id, s, bytes(filter), 1, 2, sub_id + 10, &added) != ERR_OK);
		atomic_fetch_add(&bad, trie_unsubscribe(trie, id, s, bytes(filter), 1) != ERR_OK);
		if (step % 8 == 0)
			turn(id);
	}
	for (unsigned i = 0; i < 9; i++)
		trie_clear(trie, id, &stay[i]);
	epoch_offline(epoch, id);
	epoch_unregister(epoch, id);
	atomic_fetch_sub(&writers_left, 1);
	return NULL;
}

static void *read_place(void *arg)
{
	const char *topic = *(unsigned *)arg % 2 == 0 ? "p" : "q";
	int id = epoch_register(epoch);
	epoch_online(epoch, id);
	while (atomic_load(&writers_left) > 0) {
		for (unsigned i = 0; i < 20; i++) {
			struct match *m = trie_match(trie, bytes(topic), 1);
			for (uint32_t k = 0; k < m->n_targets; k++) {
				const struct target *t = &m->targets[k];
				if (sub_handle_loop(t->handle) == 0 && t->sub_id != sub_handle_slot(t->handle) + (t->options == 2 ? 10 : 0))
					atomic_fetch_add(&bad, 1);
			}
			match_unref(m);
		}
		turn(id);
	}
	epoch_offline(epoch, id);
	epoch_unregister(epoch, id);
	return NULL;
}

START_TEST(a_reader_never_sees_one_session_with_anothers_options)
{
	struct fixture f = fixture_open();
	struct sub_set below; /* keeps the nodes */
	epoch = f.epoch;
	trie = f.trie;
	sub_set_init(&below, sub_handle_make(2, 1, 1));
	ck_assert_int_eq(subscribe(&f, &below, "p/x", 0, 0), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &below, "q/x", 0, 0), ERR_OK);
	epoch_offline(f.epoch, f.thread);
	run(write_place, read_place);
	epoch_online(f.epoch, f.thread);
	fixture_check(&f);
	trie_clear(f.trie, f.thread, &below);
	settle_all(&f);
	fixture_close(&f);
}
END_TEST

/* ---- retained: every topic holds "<topic>" in its payload's place, so a reader can tell a torn or freed one ---- */

static void *write_retained(void *arg)
{
	unsigned me = *(unsigned *)arg;
	uint64_t r = me + 50;
	int id = epoch_register(epoch);
	epoch_online(epoch, id);
	for (unsigned step = 0; step < 40000; step++) {
		char topic[64];
		(void)snprintf(topic, sizeof topic, "r/%u/%u", rnd(&r) % 8, rnd(&r) % 40);
		struct msg_spec spec = { .topic = topic, .topic_len = strlen(topic), .payload = topic };
		spec.payload_len = rnd(&r) % 3 == 0 ? 0 : spec.topic_len;
		struct msg *m = msg_new(&spec);
		if (retained_put(tree, id, m, 0) != ERR_OK)
			atomic_fetch_add(&bad, 1);
		msg_unref(m);
		if (step % 16 == 0)
			turn(id);
	}
	epoch_offline(epoch, id);
	epoch_unregister(epoch, id);
	atomic_fetch_sub(&writers_left, 1);
	return NULL;
}

struct reader { struct msg *kept; unsigned stays; };

static bool read_one(void *arg, struct msg *m)
{
	struct reader *reader = arg;
	if (m->payload_len != m->topic_len || memcmp(msg_payload(m), msg_topic(m), m->topic_len) != 0)
		atomic_fetch_add(&bad, 1);
	reader->stays += m->topic_len == 7 && memcmp(msg_topic(m), "r/3/777", 7) == 0;
	msg_unref(reader->kept);
	reader->kept = msg_ref(m);
	return true;
}

static void *read_retained(void *arg)
{
	static const char *const filters[] = { "#", "r/+/777", "r/3/#", "r/+/+" };
	uint64_t r = *(unsigned *)arg;
	int id = epoch_register(epoch);
	struct reader reader = { 0 };
	epoch_online(epoch, id);
	while (atomic_load(&writers_left) > 0) {
		const char *filter = filters[rnd(&r) % 4];
		reader.stays = 0;
		retained_match(tree, bytes(filter), strlen(filter), read_one, &reader);
		if (reader.stays != 1)
			atomic_fetch_add(&bad, 1);
		turn(id);
	}
	msg_unref(reader.kept);
	epoch_offline(epoch, id);
	epoch_unregister(epoch, id);
	return NULL;
}

START_TEST(retained_messages_are_whole_beside_changes)
{
	epoch = epoch_new();
	tree = retained_new(epoch);
	int id = epoch_register(epoch);
	struct msg_spec spec = { .topic = "r/3/777", .topic_len = 7, .payload = "r/3/777", .payload_len = 7 };
	struct msg *m = msg_new(&spec);
	ck_assert_int_eq(retained_put(tree, id, m, 0), ERR_OK);
	run(write_retained, read_retained);
	ck_assert_uint_eq(atomic_load(&m->refs), 2);
	msg_unref(m);
	epoch_unregister(epoch, id);
	retained_free(tree);
	epoch_free(epoch);
}
END_TEST

SUITE_MAIN("topics_threads", matching_beside_changes_finds_what_stays, a_reader_never_sees_one_session_with_anothers_options,
    retained_messages_are_whole_beside_changes)
