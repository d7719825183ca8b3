/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/topics/fixture.h"

enum { N = 4 };

static struct sub_set sets[N];

static struct fixture open_with(const char *filter, unsigned n)
{
	struct fixture f = fixture_open();
	for (unsigned i = 0; i < N; i++)
		sub_set_init(&sets[i], sub_handle_make(i % 2, i + 1, i + 1));
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(subscribe(&f, &sets[i], filter, i % 3, 100 + i), ERR_OK);
	return f;
}

static void close_all(struct fixture *f)
{
	for (unsigned i = 0; i < N; i++)
		trie_clear(f->trie, f->thread, &sets[i]);
	fixture_close(f);
}

/* The session that the only group of topic picks, or -1. */
static int pick(struct fixture *f, const char *topic, sub_handle exclude)
{
	struct match *m = match(f, topic);
	ck_assert_uint_eq(m->n_groups, 1);
	struct target t;
	int session = share_pick(m->groups[0], exclude, &t) ? (int)sub_handle_slot(t.handle) - 1 : -1;
	if (session >= 0) {
		ck_assert(t.handle == sets[session].handle);
		ck_assert_uint_eq(t.sub_id, 100 + (unsigned)session);
		ck_assert_uint_eq(t.options, (unsigned)session % 3);
	}
	match_unref(m);
	return session;
}

START_TEST(a_group_is_one_result_and_no_target)
{
	struct fixture f = open_with("$share/g/a/+", 3);
	struct match *m = match(&f, "a/b");
	ck_assert_uint_eq(m->n_targets, 0);
	ck_assert_uint_eq(m->n_groups, 1);
	match_unref(m);
	struct trie_stats s;
	trie_stats(f.trie, &s);
	ck_assert_uint_eq(s.subscriptions, 3);
	ck_assert_uint_eq(s.shared_subscriptions, 3);
	close_all(&f);
}
END_TEST

START_TEST(groups_and_plain_subscriptions_on_one_filter_are_apart)
{
	struct fixture f = open_with("$share/g/a", 2);
	ck_assert_int_eq(subscribe(&f, &sets[0], "$share/h/a", 0, 0), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &sets[0], "a", 0, 0), ERR_OK);
	ck_assert_int_eq(subscribe(&f, &sets[1], "a/g", 0, 0), ERR_OK); /* a level of the group's name is no group */
	ck_assert_int_eq(subscribe(&f, &sets[1], "g/a", 0, 0), ERR_OK);
	fixture_check(&f);
	struct match *m = match(&f, "a");
	ck_assert_uint_eq(m->n_targets, 1);
	ck_assert_uint_eq(m->n_groups, 2);
	match_unref(m);
	ck_assert_uint_eq(reach(&f, "a/g"), 1);
	ck_assert_int_eq(unsubscribe(&f, &sets[0], "a"), ERR_OK);
	ck_assert_int_eq(unsubscribe(&f, &sets[1], "$share/h/a"), ERR_NOT_FOUND);
	ck_assert_int_eq(unsubscribe(&f, &sets[0], "$share/h/a"), ERR_OK);
	fixture_check(&f);
	m = match(&f, "a");
	ck_assert_uint_eq(m->n_targets, 0);
	ck_assert_uint_eq(m->n_groups, 1);
	match_unref(m);
	close_all(&f);
}
END_TEST

START_TEST(ready_members_take_turns)
{
	struct fixture f = open_with("$share/g/a", 4);
	unsigned picks[N] = { 0 };
	for (unsigned i = 0; i < 40; i++)
		picks[pick(&f, "a", 0)]++;
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(picks[i], 10);
	/* Who is passed over does not give its turn to a neighbour. */
	sub_set_presence(&sets[1], SHARE_BUSY);
	sub_set_presence(&sets[2], SHARE_AWAY);
	memset(picks, 0, sizeof picks);
	for (unsigned i = 0; i < 40; i++)
		picks[pick(&f, "a", 0)]++;
	ck_assert_uint_eq(picks[0], 20);
	ck_assert_uint_eq(picks[3], 20);
	close_all(&f);
}
END_TEST

START_TEST(busy_is_picked_when_none_is_ready_and_away_only_if_persistent)
{
	struct fixture f = fixture_open();
	for (unsigned i = 0; i < N; i++) {
		sub_set_init(&sets[i], sub_handle_make(0, i + 1, i == 2 ? 1 | SUB_PERSISTENT : 1));
		sub_set_presence(&sets[i], SHARE_AWAY); /* no shared subscription yet: fine, and forgotten */
		ck_assert_int_eq(subscribe(&f, &sets[i], "$share/g/a", i % 3, 100 + i), ERR_OK);
	}
	for (unsigned i = 0; i < 3; i++)
		sub_set_presence(&sets[i], SHARE_AWAY);
	sub_set_presence(&sets[3], SHARE_BUSY);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(pick(&f, "a", 0), 3);
	ck_assert_int_eq(pick(&f, "a", sets[3].handle), 2);
	sub_set_presence(&sets[3], SHARE_AWAY);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(pick(&f, "a", 0), 2);
	ck_assert_int_eq(pick(&f, "a", sets[2].handle), -1);
	sub_set_presence(&sets[1], SHARE_READY);
	ck_assert_int_eq(pick(&f, "a", 0), 1);
	close_all(&f);
}
END_TEST

START_TEST(the_excluded_member_is_not_picked)
{
	struct fixture f = open_with("$share/g/a", 2);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(pick(&f, "a", sets[0].handle), 1);
	ck_assert_int_eq(unsubscribe(&f, &sets[1], "$share/g/a"), ERR_OK);
	ck_assert_int_eq(pick(&f, "a", sets[0].handle), -1);
	close_all(&f);
}
END_TEST

START_TEST(a_group_that_a_match_holds_outlives_its_members)
{
	struct fixture f = open_with("$share/g/a", 1);
	struct match *m = match(&f, "a");
	struct share_group *g = share_ref(m->groups[0]);
	struct target t;
	ck_assert(share_pick(g, 0, &t));
	ck_assert_int_eq(unsubscribe(&f, &sets[0], "$share/g/a"), ERR_OK);
	ck_assert_ptr_null(sets[0].presence);
	fixture_settle(&f);
	ck_assert(!share_pick(m->groups[0], 0, &t));
	match_unref(m);
	ck_assert(!share_pick(g, 0, &t));
	share_unref(g);
	close_all(&f);
}
END_TEST

START_TEST(subscribing_again_changes_a_members_options)
{
	struct fixture f = open_with("$share/g/a", 1);
	bool added = true;
	ck_assert_int_eq(trie_subscribe(f.trie, f.thread, &sets[0], bytes("$share/g/a"), 10, 2, 9, &added), ERR_OK);
	ck_assert(!added);
	struct match *m = match(&f, "a");
	struct target t;
	ck_assert(share_pick(m->groups[0], 0, &t));
	ck_assert_uint_eq(t.options, 2);
	ck_assert_uint_eq(t.sub_id, 9);
	match_unref(m);
	close_all(&f);
}
END_TEST

START_TEST(many_members_join_and_leave_in_any_order)
{
	enum { MANY = 3000 };
	static struct sub_set many[MANY];
	static uint8_t picked[MANY];
	struct fixture f = fixture_open();
	uint64_t r = 7;
	unsigned in = 0;
	for (uint32_t i = 0; i < MANY; i++)
		sub_set_init(&many[i], sub_handle_make(i % 3, i, i + 1));
	for (unsigned step = 0; step < 12 * MANY; step++) {
		struct sub_set *s = &many[rnd(&r) % MANY];
		bool leave = rnd(&r) % 10 < (step < 6 * MANY ? 3 : 7);
		if (leave && s->count > 0) {
			ck_assert_int_eq(unsubscribe(&f, s, "$share/g/a"), ERR_OK);
			in--;
		} else if (!leave && s->count == 0) {
			ck_assert_int_eq(subscribe(&f, s, "$share/g/a", 0, 0), ERR_OK);
			in++;
		}
		if (step % 1000 == 0)
			fixture_check(&f);
	}
	/* One full round meets each member once. */
	if (in > 0) {
		struct match *m = match(&f, "a");
		for (unsigned i = 0; i < in; i++) {
			struct target t;
			ck_assert(share_pick(m->groups[0], 0, &t));
			ck_assert_uint_eq(many[sub_handle_slot(t.handle)].count, 1);
			ck_assert_uint_eq(picked[sub_handle_slot(t.handle)]++, 0);
		}
		match_unref(m);
	}
	for (uint32_t i = 0; i < MANY; i++)
		trie_clear(f.trie, f.thread, &many[i]);
	fixture_close(&f);
}
END_TEST

START_TEST(many_groups_hang_on_one_filter)
{
	enum { MANY = 500 };
	struct fixture f = fixture_open();
	struct sub_set a;
	sub_set_init(&a, sub_handle_make(0, 1, 1));
	for (unsigned i = 0; i < MANY; i++) {
		char filter[32];
		(void)snprintf(filter, sizeof filter, "$share/group%u/a/#", i);
		ck_assert_int_eq(subscribe(&f, &a, filter, 0, 0), ERR_OK);
	}
	fixture_check(&f);
	struct match *m = match(&f, "a");
	ck_assert_uint_eq(m->n_groups, MANY);
	match_unref(m);
	for (unsigned i = 0; i < MANY; i += 2) {
		char filter[32];
		(void)snprintf(filter, sizeof filter, "$share/group%u/a/#", i);
		ck_assert_int_eq(unsubscribe(&f, &a, filter), ERR_OK);
	}
	fixture_check(&f);
	m = match(&f, "a/x/y");
	ck_assert_uint_eq(m->n_groups, MANY / 2);
	match_unref(m);
	trie_clear(f.trie, f.thread, &a);
	fixture_close(&f);
}
END_TEST

SUITE_MAIN("share", a_group_is_one_result_and_no_target, groups_and_plain_subscriptions_on_one_filter_are_apart, ready_members_take_turns,
    busy_is_picked_when_none_is_ready_and_away_only_if_persistent, the_excluded_member_is_not_picked,
    a_group_that_a_match_holds_outlives_its_members, subscribing_again_changes_a_members_options,
    many_members_join_and_leave_in_any_order, many_groups_hang_on_one_filter)
