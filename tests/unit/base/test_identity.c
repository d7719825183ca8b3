/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/identity.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <string.h>

START_TEST(a_new_identity_holds_its_name_and_nothing_else)
{
	struct identity *id = identity_new("pump-7", 6);
	ck_assert_ptr_nonnull(id);
	ck_assert_uint_eq(id->cn_len, 6);
	ck_assert_str_eq(id->cn, "pump-7");
	ck_assert_uint_eq(id->serial_len, 0);
	ck_assert_int_eq(id->not_after_s, 0);
	static const uint8_t zeros[32];
	ck_assert_mem_eq(id->fingerprint, zeros, sizeof zeros);
	identity_unref(id);
}
END_TEST

START_TEST(the_longest_name_fits_and_a_longer_one_does_not)
{
	char cn[IDENTITY_CN_MAX + 1];
	memset(cn, 'a', sizeof cn);
	struct identity *id = identity_new(cn, IDENTITY_CN_MAX);
	ck_assert_ptr_nonnull(id);
	ck_assert_uint_eq(strlen(id->cn), IDENTITY_CN_MAX);
	identity_unref(id);
	ck_assert_ptr_null(identity_new(cn, IDENTITY_CN_MAX + 1));
}
END_TEST

START_TEST(an_empty_name_is_a_name)
{
	struct identity *id = identity_new(NULL, 0);
	ck_assert_ptr_nonnull(id);
	ck_assert_str_eq(id->cn, "");
	identity_unref(id);
}
END_TEST

START_TEST(sameness_is_the_whole_name)
{
	struct identity *a = identity_new("dev", 3), *b = identity_new("dev", 3), *longer = identity_new("dev2", 4),
			*other = identity_new("dew", 3);
	ck_assert(identity_same(a, a));
	ck_assert(identity_same(a, b));
	ck_assert(!identity_same(a, longer));
	ck_assert(!identity_same(longer, a));
	ck_assert(!identity_same(a, other));
	identity_unref(a);
	identity_unref(b);
	identity_unref(longer);
	identity_unref(other);
}
END_TEST

START_TEST(nobody_can_be_given_back)
{
	identity_unref(NULL);
}
END_TEST

static void *ref_and_unref(void *arg)
{
	struct identity *id = arg;
	unsigned wrong = 0;
	for (int i = 0; i < 10000; i++) {
		wrong += identity_ref(id) != id || id->cn[0] != 'x';
		identity_unref(id);
	}
	identity_unref(id); /* the thread's own */
	return wrong ? arg : NULL;
}

START_TEST(references_are_counted_across_threads)
{
	struct identity *id = identity_new("x", 1);
	pthread_t threads[3];
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, ref_and_unref, identity_ref(id)), 0);
	identity_unref(id); /* so one of the threads frees it */
	for (int i = 0; i < 3; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
}
END_TEST

SUITE_MAIN("identity", a_new_identity_holds_its_name_and_nothing_else, the_longest_name_fits_and_a_longer_one_does_not,
	   an_empty_name_is_a_name, sameness_is_the_whole_name, nobody_can_be_given_back, references_are_counted_across_threads)
