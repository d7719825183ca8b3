/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filter sets that are made to be slow: what a match looks at (match.visited), counted, against what bounds it. Not the clock. */
#include "tests/unit/topics/fixture.h"

#define SHAPES 100u /* as max_wildcard_shapes has it by default */

static struct fixture f;
static struct sub_set set;

static void open_set(void)
{
	f = fixture_open();
	sub_set_init(&set, sub_handle_make(0, 1, 1));
}

static void close_set(void)
{
	trie_clear(f.trie, f.thread, &set);
	ck_assert_ptr_null(set.shapes);
	fixture_close(&f);
}

/* As broker/subscribe.c does it. False: refused. */
static bool allowed(struct sub_set *s, const char *filter)
{
	if (!sub_set_shape_fits(s, bytes(filter), strlen(filter), SHAPES))
		return false;
	ck_assert_int_eq(subscribe(&f, s, filter, 0, 0), ERR_OK);
	return true;
}

static uint32_t visited(const char *topic)
{
	struct match *m = match(&f, topic);
	uint32_t n = m->visited;
	match_unref(m);
	return n;
}

/* "a/+/a": level i is '+' where bit i of plus is set. */
static void write_levels(char *out, unsigned levels, uint32_t plus, const char *end)
{
	for (unsigned i = 0; i < levels; i++) {
		*out++ = plus >> i & 1 ? '+' : 'a';
		*out++ = '/';
	}
	memcpy(out - 1, end, strlen(end) + 1);
}

/* What match.visited may be for one session and a topic of that many levels. */
static uint32_t bound(uint32_t levels)
{
	uint32_t nodes = 0;
	for (uint32_t k = 0; k <= levels; k++) {
		uint32_t shapes = 1 + k + SHAPES;
		nodes += k < 16 && 1U << k < shapes ? 1U << k : shapes;
	}
	return 2 * nodes; /* each with its '#' */
}

/* Every subset of 17 levels as '+': without a limit a match would look at 2^18 nodes. */
START_TEST(all_combinations_of_plus_are_cut_off_at_the_limit)
{
	open_set();
	char filter[64];
	unsigned taken = 0;
	for (uint32_t plus = 0; plus < 1U << 17; plus++) {
		write_levels(filter, 17, plus, "");
		taken += allowed(&set, filter);
	}
	ck_assert_uint_eq(taken, 1 + 17 + SHAPES);
	ck_assert_uint_le(visited("a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"), bound(17));
	close_set();
}
END_TEST

/* The shapes that cost most are taken first: long ones that differ early. Each with '#' at its end and on the way. */
START_TEST(hash_at_every_level_of_many_shapes_is_bounded)
{
	open_set();
	char filter[64];
	for (uint32_t plus = 0; plus < 1U << 10; plus++)
		for (unsigned levels = 10; levels <= 16; levels++) {
			write_levels(filter, levels, plus, "/#");
			(void)allowed(&set, filter);
		}
	uint32_t n = visited("a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a");
	ck_assert_uint_le(n, bound(16));
	ck_assert_uint_ge(n, 10 * SHAPES); /* it is a hostile set indeed */
	close_set();
}
END_TEST

/* "+", "+/+", …: one path, whatever its depth. */
START_TEST(a_chain_of_plus_is_one_path)
{
	open_set();
	char filter[2 * TOPIC_LEVELS_MAX + 8], topic[2 * TOPIC_LEVELS_MAX + 8];
	for (unsigned levels = 1; levels < SHAPES; levels++) {
		for (unsigned i = 0; i < levels; i++)
			memcpy(filter + 2 * i, "+/", 2);
		memcpy(filter + 2 * levels, "#", 2);
		ck_assert(allowed(&set, filter));
		filter[2 * levels - 1] = '\0';
		ck_assert(allowed(&set, filter));
	}
	for (unsigned i = 0; i < TOPIC_LEVELS_MAX; i++)
		memcpy(topic + 2 * i, "a/", 2);
	topic[2 * TOPIC_LEVELS_MAX - 1] = '\0';
	ck_assert_uint_le(visited(topic), 2 * SHAPES);
	close_set();
}
END_TEST

/* One '+' is never refused, at whichever level, and costs a node per level and filter at most. */
START_TEST(one_plus_is_always_allowed)
{
	open_set();
	char filter[64];
	for (uint32_t plus = 0; plus < 1U << 12; plus++) { /* uses up the shapes */
		write_levels(filter, 12, plus, "/x");
		(void)allowed(&set, filter);
	}
	for (unsigned i = 0; i < 20; i++) {
		write_levels(filter, 20, 1U << i, "");
		ck_assert(allowed(&set, filter));
	}
	ck_assert_uint_le(visited("a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"), bound(20));
	close_set();
}
END_TEST

/* 10^5 filters, all of a few shapes: they share their beginnings, or are siblings. A topic sees the same few nodes as with ten. */
START_TEST(many_filters_of_few_shapes_cost_as_much_as_few)
{
	/* Where '=' stands comes the number of the filter. */
	static const char *const shapes[] = { "p/q/=/=/x", "p/+/=/+/x", "+/q/=/+/#", "+/+/+/=/x", "p/+/+/=/#" };
	open_set();
	uint32_t with[2];
	for (unsigned step = 0; step < 2; step++) {
		for (uint32_t i = step ? 2 : 0; i < (step ? 20000 : 2); i++)
			for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
				char filter[64] = "", *end = filter;
				for (const char *c = shapes[s]; *c; c++)
					end += *c == '=' ? snprintf(end, 16, "%u", i) : (*end = *c, 1);
				*end = '\0';
				ck_assert(allowed(&set, filter));
			}
		with[step] = visited("p/q/1/1/x");
	}
	ck_assert_uint_eq(set.count, 100000);
	ck_assert_uint_eq(with[0], with[1]);
	close_set();
}
END_TEST

/* What several sessions may have adds up, and no more: they share nodes where their shapes are the same. */
START_TEST(sessions_with_the_same_shapes_share_the_work)
{
	enum { N = 50 };
	struct sub_set sets[N];
	char filter[64];
	open_set();
	for (unsigned i = 0; i < N; i++) {
		sub_set_init(&sets[i], sub_handle_make(0, i + 2, 1));
		for (uint32_t plus = 0; plus < 1U << 10; plus++) {
			write_levels(filter, 16, plus, "");
			(void)allowed(&sets[i], filter);
		}
	}
	ck_assert_uint_le(visited("a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"), bound(16));
	for (unsigned i = 0; i < N; i++)
		trie_clear(f.trie, f.thread, &sets[i]);
	close_set();
}
END_TEST

/* A shape is free again with its last filter: plain, shared, and where the tree has been pruned. */
START_TEST(unsubscribing_makes_room_for_another_shape)
{
	open_set();
	char filter[64], shared[96];
	uint32_t plus = 3;
	for (unsigned n = 0; n < SHAPES; plus++) {
		if (__builtin_popcount(plus) < 2)
			continue;
		write_levels(filter, 12, plus, "");
		ck_assert(allowed(&set, filter));
		n++;
	}
	while (__builtin_popcount(plus) < 2)
		plus++;
	char other[64];
	write_levels(other, 12, plus, "");
	ck_assert(!allowed(&set, other));
	ck_assert(allowed(&set, filter)); /* again, or the same shape elsewhere */
	(void)snprintf(shared, sizeof shared, "$share/g/%s", filter);
	ck_assert(allowed(&set, shared));
	ck_assert_int_eq(unsubscribe(&f, &set, filter), ERR_OK);
	ck_assert(!allowed(&set, other));
	ck_assert_int_eq(unsubscribe(&f, &set, shared), ERR_OK);
	ck_assert(allowed(&set, other));
	ck_assert(!allowed(&set, filter));
	close_set();
}
END_TEST

SUITE_MAIN("hostile_filters", all_combinations_of_plus_are_cut_off_at_the_limit, hash_at_every_level_of_many_shapes_is_bounded, a_chain_of_plus_is_one_path,
    one_plus_is_always_allowed, many_filters_of_few_shapes_cost_as_much_as_few, sessions_with_the_same_shapes_share_the_work,
    unsubscribing_makes_room_for_another_shape)
