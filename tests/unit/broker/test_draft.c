/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The members of a key space's draft. */
#include "broker/keyspace.h"

#include "tests/unit/base/suite.h"

#include <stdio.h>
#include <string.h>

static void add(struct draft *d, const char *cn, unsigned access, uint32_t since)
{
	const struct space_member m = { .cn = cn, .cn_len = (uint16_t)strlen(cn), .access = (uint8_t)access, .since = since };
	ck_assert_int_eq(draft_add_member(d, &m), ERR_OK);
}

static void expect(const struct draft *d, size_t i, const char *cn, unsigned access, uint32_t since)
{
	const struct space_member *m = &d->spec.members[i];
	ck_assert(m->cn_len == strlen(cn) && memcmp(m->cn, cn, m->cn_len) == 0);
	ck_assert_uint_eq(m->access, access);
	ck_assert_uint_eq(m->since, since);
}

START_TEST(of_members_of_one_cn_the_last_counts_and_the_first_epoch_stays)
{
	struct draft d;
	ck_assert_int_eq(draft_begin(&d, NULL), ERR_OK);
	ck_assert_int_eq(draft_unite_members(&d), ERR_OK);
	ck_assert_uint_eq(d.spec.n_members, 0);
	add(&d, "bob", SPACE_READ, 2);
	add(&d, "bo", SPACE_READ, 5);
	add(&d, "ann", SPACE_WRITE, 7);
	add(&d, "bob", SPACE_WRITE, 9);
	add(&d, "bob", SPACE_READ | SPACE_WRITE, 8);
	ck_assert_int_eq(draft_unite_members(&d), ERR_OK);
	ck_assert_uint_eq(d.spec.n_members, 3);
	expect(&d, 0, "ann", SPACE_WRITE, 7);
	expect(&d, 1, "bo", SPACE_READ, 5);
	expect(&d, 2, "bob", SPACE_READ | SPACE_WRITE, 2);
	ck_assert(draft_remove_member(&d, "bob", 3) && !draft_remove_member(&d, "bob", 3));
	draft_drop(&d);
}
END_TEST

/* Each once more, in another order: 100,000 searches of a list would take minutes. */
START_TEST(many_members_are_united)
{
	enum { MANY = 50000 };
	static char names[MANY][8];
	struct draft d;
	ck_assert_int_eq(draft_begin(&d, NULL), ERR_OK);
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(names[i], sizeof names[i], "d%u", i);
		add(&d, names[i], SPACE_READ, 1);
	}
	for (unsigned i = MANY; i-- > 0;)
		add(&d, names[i], SPACE_WRITE, 2);
	ck_assert_int_eq(draft_unite_members(&d), ERR_OK);
	ck_assert_uint_eq(d.spec.n_members, MANY);
	for (size_t i = 0; i < MANY; i++)
		ck_assert(d.spec.members[i].access == SPACE_WRITE && d.spec.members[i].since == 1);
	draft_drop(&d);
}
END_TEST

SUITE_MAIN("broker/draft", of_members_of_one_cn_the_last_counts_and_the_first_epoch_stays, many_members_are_united)
