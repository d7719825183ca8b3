/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Disks that fail: nothing is acknowledged that is not on disk, and the store recovers when the disk does. */
#include "tests/crash/powercut.h"

#include "tests/unit/base/suite.h"
#include "tests/unit/store/dir.h"
#include "tests/unit/store/rig.h"

static struct store_options fault_options(void)
{
	return (struct store_options){ .dir = dir_fresh("faults"), .max_size = 64u << 20 };
}

/* Publishes until it works again. */
static uint64_t publish_until_stored(struct rig *r, store_session session)
{
	for (;;) {
		enum err rc;
		uint64_t record = do_publish(r, session, "after", &rc);
		if (rc == ERR_OK)
			return record;
		ck_assert_int_eq(rc, ERR_IO);
		usleep(20000);
	}
}

static bool is_failing(const struct rig *r)
{
	struct store_stats stats;
	store_stats(r->store, &stats);
	return stats.failing;
}

static void disk_fails(atomic_int *how, int error, enum err expected, bool final)
{
	struct store_options o = fault_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	uint64_t first = do_publish(&r, a, "before", NULL);
	atomic_store(how, error);
	enum err rc;
	do_publish(&r, a, "never", &rc);
	ck_assert_int_eq(rc, expected);
	ck_assert(is_failing(&r) == final);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_NEW, a + 1), expected);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, first, 1), expected);
	struct store_op page = op_page(a, 0, 10, 1000);
	rc = rig_do(&r, &page);
	ck_assert(rc == expected || rc == ERR_OK); /* reading may still be possible, and then shows what is stored */
	if (rc == ERR_OK)
		ck_assert_uint_eq(page.u.page.n_entries, 1);
	page_free(&page);
	atomic_store(how, 0);
	uint64_t last = publish_until_stored(&r, a);
	ck_assert(!is_failing(&r));
	page = do_page(&r, a, 0, 10, 100000);
	ck_assert_uint_eq(page.u.page.n_entries, 2);
	ck_assert_uint_eq(page.u.page.entries[0].record, first);
	ck_assert_mem_eq(msg_payload(page.u.page.entries[0].msg), "before", 6);
	ck_assert_uint_eq(page.u.page.entries[1].record, last);
	page_free(&page);
	/* what failed was undone in memory as well: number and entry are as before */
	ck_assert_int_eq(do_session(&r, STORE_SESSION_NEW, a + 1), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, first, 1), ERR_OK);
	rig_end(&r);
	FILE *out = tmpfile();
	ck_assert_int_eq(store_check(o.dir, NULL, out), ERR_OK);
	fclose(out);
}

START_TEST(a_failed_fdatasync_is_final_until_the_store_is_reopened)
{
	disk_fails(&sync_error, EIO, ERR_IO, true);
}
END_TEST

START_TEST(a_failed_write_is_final_until_the_store_is_reopened)
{
	disk_fails(&write_error, EIO, ERR_IO, true);
}
END_TEST

START_TEST(a_full_disk_recovers_by_itself)
{
	disk_fails(&write_error, ENOSPC, ERR_FULL, false);
}
END_TEST

/* Publishes until the store is full; the records. */
static size_t fill(struct rig *r, store_session session, uint64_t *records, size_t max)
{
	static char big[20001];
	memset(big, 'x', sizeof big - 1);
	size_t n = 0;
	for (enum err rc = ERR_OK;; n++) {
		ck_assert_uint_lt(n, max);
		records[n] = do_publish(r, session, big, &rc);
		if (rc == ERR_OK)
			continue;
		ck_assert_int_eq(rc, ERR_FULL);
		ck_assert(!is_failing(r));
		return n;
	}
}

static void small_disk(int durability)
{
	struct store_options o = fault_options();
	o.max_size = 20u << 20;
	o.durability = durability;
	o.sync_interval_ms = 50;
	struct rig r;
	atomic_store(&disk_limit, 6u << 20);
	rig_start(&r, &o);
	store_session a = new_session(&r);
	static uint64_t records[1000];
	size_t n = fill(&r, a, records, 1000);
	ck_assert_uint_gt(n, 50);
	for (size_t i = 0; i < n; i++) /* deleting goes on without any new space */
		ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, records[i], 1), ERR_OK);
	usleep(200000);
	n = fill(&r, a, records, 1000); /* what was deleted is used again */
	ck_assert_uint_gt(n, 10);
	atomic_store(&disk_limit, 0);
	enum err rc = ERR_FULL; /* somebody made room: it goes on by itself */
	while (rc == ERR_FULL) {
		do_publish(&r, a, "room again", &rc);
		usleep(10000);
	}
	ck_assert_int_eq(rc, ERR_OK);
	ck_assert_uint_eq(queue_length(&r, a), n + 1);
	rig_end(&r);
	FILE *out = tmpfile();
	ck_assert_int_eq(store_check(o.dir, NULL, out), ERR_OK);
	fclose(out);
}

START_TEST(a_small_disk_refuses_messages_and_still_deletes)
{
	small_disk(STORE_STRICT);
}
END_TEST

START_TEST(a_small_disk_does_so_under_relaxed_too)
{
	small_disk(STORE_RELAXED);
}
END_TEST

START_TEST(a_disk_that_stays_broken_is_tried_again_and_not_believed)
{
	struct store_options o = fault_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	atomic_store(&sync_error, EIO);
	for (int i = 0; i < 60; i++) { /* over several attempts to reopen */
		enum err rc;
		do_publish(&r, a, "x", &rc);
		ck_assert_int_eq(rc, ERR_IO);
		usleep(50000);
	}
	ck_assert(is_failing(&r));
	atomic_store(&sync_error, 0);
	publish_until_stored(&r, a);
	ck_assert_uint_eq(queue_length(&r, a), 1);
	rig_end(&r);
}
END_TEST

START_TEST(stopping_while_the_disk_fails_answers_everything)
{
	struct store_options o = fault_options();
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	atomic_store(&sync_error, EIO);
	static struct store_op ops[50];
	struct store_receiver to = { .session = a, .qos = 1 };
	struct msg *m = make_msg("t", "m", 1);
	for (int i = 0; i < 50; i++) {
		ops[i] = op_publish(m, &to, 1);
		rig_submit(&r, &ops[i]);
	}
	store_stop(r.store);
	rig_wait(&r, 51);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(ops[i].result, ERR_IO);
	atomic_store(&sync_error, 0);
	msg_unref(m);
	rig_end(&r);
}
END_TEST

int main(void)
{
	siphash_init();
	Suite *suite = suite_create("store/faults");
	TCase *t = tcase_create("faults");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_failed_fdatasync_is_final_until_the_store_is_reopened);
	tcase_add_test(t, a_failed_write_is_final_until_the_store_is_reopened);
	tcase_add_test(t, a_full_disk_recovers_by_itself);
	tcase_add_test(t, a_small_disk_refuses_messages_and_still_deletes);
	tcase_add_test(t, a_small_disk_does_so_under_relaxed_too);
	tcase_add_test(t, a_disk_that_stays_broken_is_tried_again_and_not_believed);
	tcase_add_test(t, stopping_while_the_disk_fails_answers_everything);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
