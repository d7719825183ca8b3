/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/topics/fixture.h"
#include "topics/retained.h"

static struct epoch *epoch;
static struct retained *tree;
static int thread;

static void open_tree(void)
{
	epoch = epoch_new();
	tree = retained_new(epoch);
	ck_assert_ptr_nonnull(tree);
	thread = epoch_register(epoch);
	epoch_online(epoch, thread);
}

static void close_tree(void)
{
	epoch_offline(epoch, thread);
	retained_free(tree);
	epoch_unregister(epoch, thread);
	epoch_free(epoch);
}

static struct msg *message(const char *topic, size_t topic_len, uint32_t value)
{
	struct msg_spec spec = { .topic = topic, .topic_len = topic_len, .payload = &value, .payload_len = value != 0 ? sizeof value : 0 };
	struct msg *m = msg_new(&spec);
	ck_assert_ptr_nonnull(m);
	return m;
}

/* value 0: an empty payload */
static enum err put_len(const char *topic, size_t len, uint32_t value, uint64_t max)
{
	struct msg *m = message(topic, len, value);
	enum err e = retained_put(tree, thread, m, max);
	msg_unref(m);
	return e;
}
static enum err put(const char *topic, uint32_t value) { return put_len(topic, strlen(topic), value, 0); }

struct seen {
	unsigned n, stop_after;
	uint32_t sum, last;
};

static bool see(void *arg, struct msg *m)
{
	struct seen *s = arg;
	uint32_t value;
	memcpy(&value, msg_payload(m), sizeof value);
	s->n++;
	s->sum += value;
	s->last = value;
	return s->n != s->stop_after;
}

static struct seen look(const char *filter)
{
	struct seen s = { 0 };
	retained_match(tree, bytes(filter), strlen(filter), see, &s);
	return s;
}

START_TEST(the_last_message_of_a_topic_is_kept)
{
	open_tree();
	ck_assert_uint_eq(look("#").n, 0);
	ck_assert_int_eq(put("a/b", 1), ERR_OK);
	ck_assert_int_eq(put("a/b", 2), ERR_OK);
	ck_assert_int_eq(put("a", 4), ERR_OK);
	ck_assert_uint_eq(look("a/b").n, 1);
	ck_assert_uint_eq(look("a/b").last, 2);
	ck_assert_uint_eq(look("a/#").sum, 6);
	struct retained_stats s;
	retained_stats(tree, &s);
	ck_assert_uint_eq(s.messages, 2);
	ck_assert_uint_eq(s.bytes, 2 * (sizeof(struct msg) + 4) + 3 + 1);
	close_tree();
}
END_TEST

START_TEST(an_empty_payload_removes)
{
	open_tree();
	ck_assert_int_eq(put("a/b/c", 0), ERR_OK); /* there was none */
	ck_assert_int_eq(put("a/b/c", 1), ERR_OK);
	ck_assert_int_eq(put("a/b", 1), ERR_OK);
	ck_assert_int_eq(put("a/b/c", 0), ERR_OK);
	ck_assert_int_eq(put("a", 0), ERR_OK);
	ck_assert_uint_eq(look("#").n, 1);
	ck_assert_int_eq(put("a/b", 0), ERR_OK);
	ck_assert_uint_eq(look("#").n, 0);
	struct retained_stats s;
	retained_stats(tree, &s);
	ck_assert_uint_eq(s.messages, 0);
	ck_assert_uint_eq(s.bytes, 0);
	close_tree();
}
END_TEST

START_TEST(a_full_tree_takes_updates_but_no_new_topics)
{
	open_tree();
	ck_assert_int_eq(put_len("a", 1, 1, 2), ERR_OK);
	ck_assert_int_eq(put_len("b", 1, 2, 2), ERR_OK);
	ck_assert_int_eq(put_len("c", 1, 3, 2), ERR_FULL);
	ck_assert_int_eq(put_len("c", 1, 0, 2), ERR_OK);
	ck_assert_int_eq(put_len("a", 1, 4, 2), ERR_OK);
	ck_assert_uint_eq(look("#").sum, 6);
	ck_assert_int_eq(put_len("a", 1, 0, 2), ERR_OK);
	ck_assert_int_eq(put_len("c", 1, 3, 2), ERR_OK);
	ck_assert_int_eq(put_len("d", 1, 3, 0), ERR_OK); /* 0: no limit */
	close_tree();
}
END_TEST

START_TEST(too_many_levels_are_refused)
{
	open_tree();
	char topic[2 * TOPIC_LEVELS_MAX + 2];
	for (size_t i = 0; i < TOPIC_LEVELS_MAX + 1; i++) {
		topic[2 * i] = 'x';
		topic[2 * i + 1] = '/';
	}
	ck_assert_int_eq(put_len(topic, 2 * TOPIC_LEVELS_MAX - 1, 1, 0), ERR_OK);
	ck_assert_int_eq(put_len(topic, 2 * TOPIC_LEVELS_MAX + 1, 1, 0), ERR_INVALID);
	ck_assert_uint_eq(look("#").n, 1);
	struct seen s = { 0 };
	retained_match(tree, bytes(topic), 2 * TOPIC_LEVELS_MAX - 1, see, &s);
	ck_assert_uint_eq(s.n, 1);
	retained_match(tree, bytes(topic), 2 * TOPIC_LEVELS_MAX + 1, see, &s);
	ck_assert_uint_eq(s.n, 1);
	topic[2 * TOPIC_LEVELS_MAX] = '#'; /* 200 levels and '#' match those 200 */
	retained_match(tree, bytes(topic), 2 * TOPIC_LEVELS_MAX + 1, see, &s);
	ck_assert_uint_eq(s.n, 2);
	close_tree();
}
END_TEST

START_TEST(the_callback_can_stop)
{
	open_tree();
	for (unsigned i = 0; i < 100; i++) {
		char topic[16];
		(void)snprintf(topic, sizeof topic, "%u/%u", i % 10, i);
		ck_assert_int_eq(put(topic, i + 1), ERR_OK);
	}
	for (unsigned stop = 1; stop < 100; stop += 7) {
		struct seen s = { .stop_after = stop };
		retained_match(tree, bytes("+/#"), 3, see, &s);
		ck_assert_uint_eq(s.n, stop);
	}
	close_tree();
}
END_TEST

START_TEST(a_message_that_was_seen_can_be_kept_after_it_was_replaced)
{
	open_tree();
	struct msg *m = message("a", 1, 7);
	ck_assert_int_eq(retained_put(tree, thread, m, 0), ERR_OK);
	ck_assert_uint_eq(atomic_load(&m->refs), 2);
	ck_assert_int_eq(put("a", 8), ERR_OK);
	ck_assert_uint_eq(atomic_load(&m->refs), 2); /* a reader may be looking at it */
	epoch_quiescent(epoch, thread);
	ck_assert_uint_eq(epoch_reclaim(epoch, thread), 0);
	ck_assert_uint_eq(atomic_load(&m->refs), 1);
	msg_unref(m);
	close_tree();
}
END_TEST

START_TEST(the_same_message_can_be_put_again)
{
	open_tree();
	struct msg *m = message("a", 1, 7);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(retained_put(tree, thread, m, 0), ERR_OK);
	epoch_quiescent(epoch, thread);
	(void)epoch_reclaim(epoch, thread);
	ck_assert_uint_eq(atomic_load(&m->refs), 2);
	ck_assert_uint_eq(look("a").sum, 7);
	msg_unref(m);
	close_tree();
}
END_TEST

/* ---- against the plain reference ---- */

enum { WORDS = 7 };
struct kept { char topic[64]; uint32_t value; };
static struct kept kept[3000];
static unsigned n_kept;

static void make(uint64_t *r, char *buf, bool topic)
{
	static const char *const words[WORDS] = { "a", "b", "", "$s", "level-of-some-length", "c", "x" };
	unsigned levels = 1 + rnd(r) % 6;
	buf[0] = 0;
	for (unsigned i = 0; i < levels; i++) {
		unsigned k = rnd(r) % 10;
		if (i > 0)
			strcat(buf, "/");
		if (!topic && k <= 1 && i + 1 == levels)
			strcat(buf, "#");
		else if (!topic && k <= 4)
			strcat(buf, "+");
		else if (strlen(buf) < 30)
			strcat(buf, words[rnd(r) % WORDS]);
	}
}

START_TEST(random_filters_find_what_the_reference_says)
{
	open_tree();
	uint64_t r = 5;
	char buf[64];
	n_kept = 0;
	for (unsigned step = 1; step < 15000; step++) {
		bool growing = step % 7500 < 5000;
		if (rnd(&r) % 10 < (growing ? 8 : 2) && n_kept < 3000) {
			unsigned i = 0;
			make(&r, buf, true);
			while (i < n_kept && strcmp(kept[i].topic, buf) != 0)
				i++;
			n_kept += i == n_kept;
			strcpy(kept[i].topic, buf);
			kept[i].value = step;
			ck_assert_int_eq(put(buf, step), ERR_OK);
		} else if (n_kept > 0) {
			unsigned i = rnd(&r) % n_kept;
			ck_assert_int_eq(put(kept[i].topic, 0), ERR_OK);
			kept[i] = kept[--n_kept];
		}
		if (step % 8 == 0) {
			make(&r, buf, false);
			unsigned n = 0;
			uint32_t sum = 0;
			for (unsigned i = 0; i < n_kept; i++) {
				if (topic_matches(bytes(buf), strlen(buf), bytes(kept[i].topic), strlen(kept[i].topic))) {
					n++;
					sum += kept[i].value;
				}
			}
			struct seen s = look(buf);
			ck_assert_msg(s.n == n && s.sum == sum, "'%s' finds %u, not %u", buf, s.n, n);
		}
		if (step % 100 == 0) {
			epoch_quiescent(epoch, thread);
			(void)epoch_reclaim(epoch, thread);
		}
	}
	struct retained_stats s;
	retained_stats(tree, &s);
	ck_assert_uint_eq(s.messages, n_kept);
	close_tree();
}
END_TEST

static uint64_t cost(const char *filter)
{
	struct seen s = { 0 };
	return retained_match(tree, bytes(filter), strlen(filter), see, &s);
}

START_TEST(a_walk_tells_what_it_looked_at)
{
	enum { MANY = 1000 };
	char topic[16];
	open_tree();
	ck_assert_int_eq(put("a/b/c", 1), ERR_OK);
	for (int i = 1; i < MANY; i++) {
		snprintf(topic, sizeof topic, "%d/x", i);
		ck_assert_int_eq(put(topic, 1), ERR_OK);
	}
	ck_assert_uint_eq(cost("a/b/c"), 3);
	ck_assert_uint_eq(cost("b/b/c"), 1);
	ck_assert_uint_ge(cost("+"), MANY);
	ck_assert_uint_le(cost("+"), 3 * MANY); /* places of a table that is not full */
	ck_assert_uint_eq(cost("+/nobody"), cost("+") + MANY);
	ck_assert_uint_eq(cost("+/nobody/+/x"), cost("+") + MANY);
	ck_assert_uint_ge(cost("#"), cost("+") + MANY);
	close_tree();
}
END_TEST

/* ---- in parts ---- */

enum { WIDE = 600, TOPICS = 2 * WIDE };
static struct {
	uint32_t before;    /* its value when the walk began; 0: none */
	bool touched;       /* since */
	unsigned n;         /* how often it came */
} state[TOPICS];

/* One level with many children, and a tree of three levels. */
static void topic_of(unsigned i, char buf[static 32])
{
	if (i < WIDE)
		(void)snprintf(buf, 32, "w/%u", i);
	else
		(void)snprintf(buf, 32, "d%u/%u/%u", i % 3, i % 20, i);
}

/* Values tell topic and time: above upto in time it is too new. */
static uint32_t value_of(unsigned topic, uint32_t time) { return time << 12 | topic; }

static bool see_state(void *arg, struct msg *m)
{
	uint32_t value;
	(void)arg;
	memcpy(&value, msg_payload(m), sizeof value);
	ck_assert_uint_eq(value, state[value & 0xfff].before); /* the one that was there */
	state[value & 0xfff].n++;
	return true;
}

static void change_some(uint64_t *r, unsigned n, uint32_t *time, uint32_t *now)
{
	char buf[32];
	unsigned from = rnd(r) % TOPICS; /* neighbours, so that tables and nodes go and come */
	bool removing = rnd(r) % 2;
	for (unsigned k = 0; k < n; k++) {
		unsigned i = (from + k) % TOPICS;
		topic_of(i, buf);
		now[i] = removing || rnd(r) % 8 == 0 ? 0 : value_of(i, ++*time);
		ck_assert_int_eq(put(buf, now[i]), ERR_OK);
		state[i].touched = true;
	}
	do
		epoch_quiescent(epoch, thread);
	while (epoch_reclaim(epoch, thread) > 0);
}

static void expect_each_once(const char *filter)
{
	for (unsigned i = 0; i < TOPICS; i++) {
		char buf[32];
		topic_of(i, buf);
		bool matches = state[i].before && topic_matches(bytes(filter), strlen(filter), bytes(buf), strlen(buf));
		ck_assert_msg(state[i].n <= matches && (state[i].touched || state[i].n == matches), "'%s': %s came %u times", filter, buf, state[i].n);
	}
}

/* Whatever happens to the tree between the parts: what was there and stays comes once, what is new never. */
START_TEST(a_walk_in_parts_brings_what_was_there_and_stays)
{
	static const char *const filters[] = { "#", "+/#", "w/+", "w/#", "d1/+/#", "+/7/+", "d2/+/+", "d0/3/#", "w/5", "none/+" };
	static uint32_t now[TOPICS];
	uint64_t r = 11;
	uint32_t time = 0;
	unsigned in_parts = 0, missed = 0;
	open_tree();
	for (unsigned round = 0; round < 600; round++) {
		const char *filter = filters[round % 10];
		struct retained_part part = { .upto = retained_number(tree) };
		unsigned parts = 0, calm = rnd(&r) % 4;
		for (unsigned i = 0; i < TOPICS; i++) {
			state[i].before = now[i];
			state[i].touched = false;
			state[i].n = 0;
		}
		do {
			part.most = 1 + rnd(&r) % (round % 3 ? 50 : 1000);
			ck_assert_int_eq(retained_match_part(tree, bytes(filter), strlen(filter), &part, see_state, NULL), ERR_OK);
			ck_assert_uint_le(part.visited, part.most + TOPIC_LEVELS_MAX + 2 * TOPICS / 8);
			if (calm == 0 || rnd(&r) % 16 == 0)
				change_some(&r, rnd(&r) % (calm == 0 ? 40 : 400), &time, now);
			parts++;
		} while (part.cursor);
		expect_each_once(filter);
		in_parts += parts > 1;
		for (unsigned i = 0; i < TOPICS; i++)
			missed += state[i].touched && state[i].before && state[i].n == 0;
		change_some(&r, rnd(&r) % TOPICS, &time, now);
	}
	ck_assert_uint_gt(in_parts, 200);
	ck_assert_uint_gt(missed, 100); /* the changes did go in between */
	close_tree();
}
END_TEST

START_TEST(a_walk_may_be_given_up)
{
	char buf[32];
	open_tree();
	for (unsigned i = 0; i < TOPICS; i++) {
		topic_of(i, buf);
		ck_assert_int_eq(put(buf, value_of(i, 1)), ERR_OK);
		state[i].before = value_of(i, 1);
	}
	for (uint64_t most = 1; most < 2000; most += 97) {
		struct retained_part part = { .upto = UINT64_MAX, .most = most };
		ck_assert_int_eq(retained_match_part(tree, bytes("#"), 1, &part, see_state, NULL), ERR_OK);
		ck_assert_ptr_nonnull(part.cursor);
		retained_cursor_free(part.cursor);
	}
	retained_cursor_free(NULL);
	close_tree();
}
END_TEST

START_TEST(what_is_put_behind_the_number_is_left_out)
{
	struct seen s = { 0 };
	open_tree();
	ck_assert_int_eq(put("a", 1), ERR_OK);
	ck_assert_int_eq(put("b", 2), ERR_OK);
	struct retained_part part = { .upto = retained_number(tree), .most = 100 };
	ck_assert_uint_eq(part.upto, retained_number(tree));
	ck_assert_int_eq(put("b", 4), ERR_OK);
	ck_assert_int_eq(put("c", 8), ERR_OK);
	ck_assert_int_eq(retained_match_part(tree, bytes("#"), 1, &part, see, &s), ERR_OK);
	ck_assert_ptr_null(part.cursor);
	ck_assert_uint_eq(s.sum, 1);
	ck_assert_uint_eq(look("#").sum, 13);
	close_tree();
}
END_TEST

SUITE_MAIN("retained", the_last_message_of_a_topic_is_kept, an_empty_payload_removes, a_full_tree_takes_updates_but_no_new_topics,
    too_many_levels_are_refused, the_callback_can_stop, a_walk_tells_what_it_looked_at,
    a_walk_in_parts_brings_what_was_there_and_stays, a_walk_may_be_given_up, what_is_put_behind_the_number_is_left_out,
    a_message_that_was_seen_can_be_kept_after_it_was_replaced,
    the_same_message_can_be_put_again, random_filters_find_what_the_reference_says)
