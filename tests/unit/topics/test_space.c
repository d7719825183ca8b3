/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/unit/base/suite.h"
#include "topics/space.h"

#include <stdlib.h>
#include <string.h>

static struct space *make(const char *name, const char *reader, const char *writer)
{
	struct space_member members[] = {
		{ .cn = reader, .cn_len = (uint16_t)strlen(reader), .access = SPACE_READ, .since = 1 },
		{ .cn = writer, .cn_len = (uint16_t)strlen(writer), .access = SPACE_WRITE, .since = 1 },
	};
	struct space_spec spec = { .name = name, .name_len = strlen(name), .owner = "o", .owner_len = 1, .members = members, .n_members = 2 };
	struct space *s = space_new(&spec);
	ck_assert_ptr_nonnull(s);
	return s;
}

static struct space_map *map_of(const char *const *names, size_t n)
{
	struct space *list[8] = { NULL };
	for (size_t i = 0; i < n; i++)
		list[i] = make(names[i], "r", "w");
	struct space_map *m = space_map_new(list, n);
	ck_assert_ptr_nonnull(m);
	for (size_t i = 0; i < n; i++)
		space_unref(list[i]);
	return m;
}

static const char *found(const struct space_map *m, const char *topic)
{
	const struct space *s = space_map_find(m, (const uint8_t *)topic, strlen(topic));
	return s ? s->spec.name : "-";
}

START_TEST(the_innermost_space_covers_a_topic)
{
	const char *names[] = { "a", "a/b/c", "x/y", "/", "t/" };
	struct space_map *m = map_of(names, 5);
	const char *cases[][2] = { { "a", "a" }, { "a/b", "a" }, { "a/b/c", "a/b/c" }, { "a/b/c/d/e", "a/b/c" }, { "a/b/cc", "a" }, { "ab", "-" },
		{ "x", "-" }, { "x/y/z", "x/y" }, { "/", "/" }, { "//q", "/" }, { "/q", "-" }, { "t", "-" }, { "t/", "t/" }, { "t//u", "t/" },
		{ "t/u", "-" }, { "$a", "-" }, { "a/", "a" } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		ck_assert_msg(strcmp(found(m, cases[i][0]), cases[i][1]) == 0, "%s: %s", cases[i][0], found(m, cases[i][0]));
	ck_assert_ptr_null(space_map_find(NULL, (const uint8_t *)"a", 1));
	space_map_unref(m);
}
END_TEST

static enum space_verdict judged(const struct space_map *m, const char *filter, const char *cn)
{
	return space_map_judge(m, (const uint8_t *)filter, strlen(filter), cn, strlen(cn));
}

START_TEST(subscriptions_are_judged_by_the_spaces_that_they_meet)
{
	const char *names[] = { "a/b", "c" };
	struct space_map *m = map_of(names, 2);
	const char *inside[] = { "a/b", "a/b/#", "a/b/x", "a/b/+/y", "c/#", "c/+" }, *around[] = { "a/#", "#", "+/b", "a/+", "+/+/#", "+" };
	for (size_t i = 0; i < 6; i++) {
		ck_assert_msg(judged(m, inside[i], "r") == SPACE_ALLOWED, "%s", inside[i]);
		ck_assert_msg(judged(m, inside[i], "w") == SPACE_DENIED, "%s: who may only write", inside[i]);
		ck_assert_msg(judged(m, inside[i], "z") == SPACE_DENIED, "%s", inside[i]);
		ck_assert_msg(judged(m, around[i], "r") == SPACE_ALLOWED, "%s", around[i]);
		ck_assert_msg(judged(m, around[i], "z") == SPACE_ELSEWHERE, "%s", around[i]);
		ck_assert_msg(space_map_overlaps(m, (const uint8_t *)around[i], strlen(around[i])), "%s", around[i]);
	}
	const char *beside[] = { "a", "a/c/#", "d/+", "d", "a/bb", "$SYS/#", "b/#" };
	for (size_t i = 0; i < 7; i++) {
		ck_assert_msg(judged(m, beside[i], "r") == SPACE_ELSEWHERE, "%s", beside[i]);
		ck_assert_msg(!space_map_overlaps(m, (const uint8_t *)beside[i], strlen(beside[i])), "%s", beside[i]);
	}
	ck_assert_int_eq(judged(NULL, "a/b", "z"), SPACE_ELSEWHERE);
	space_map_unref(m);
}
END_TEST

START_TEST(members_are_found_by_their_whole_name)
{
	struct space *s = make("a", "dev10", "dev1");
	ck_assert_int_eq(space_member(s, "dev1", 4)->access, SPACE_WRITE);
	ck_assert_int_eq(space_member(s, "dev10", 5)->access, SPACE_READ);
	ck_assert_ptr_null(space_member(s, "dev", 3));
	ck_assert_ptr_null(space_member(s, "dev100", 6));
	space_unref(s);
}
END_TEST

START_TEST(roots_are_copied_and_epochs_found_by_kid)
{
	uint8_t root[SPACE_KEY_LEN] = { 7 };
	struct space_epoch epochs[] = { { .number = 4, .kid = { 1 }, .root = root }, { .number = 5, .kid = { 2 }, .root = root } };
	struct space_spec spec = { .name = "a", .name_len = 1, .owner = "", .mode = SPACE_BROKER, .epochs = epochs, .n_epochs = 2 };
	struct space *s = space_new(&spec);
	root[0] = 0;
	const uint8_t first[SPACE_KID_LEN] = { 1 }, unknown[SPACE_KID_LEN] = { 3 };
	ck_assert_uint_eq(space_epoch_number(s), 5);
	ck_assert_uint_eq(space_epoch_of(s, first)->number, 4);
	ck_assert_uint_eq(space_epoch_of(s, first)->root[0], 7);
	ck_assert_ptr_null(space_epoch_of(s, unknown));
	space_unref(s);
}
END_TEST

SUITE_MAIN("space", the_innermost_space_covers_a_topic, subscriptions_are_judged_by_the_spaces_that_they_meet, members_are_found_by_their_whole_name,
	   roots_are_copied_and_epochs_found_by_kid)
