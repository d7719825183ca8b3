/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What an inbox has shown: over runs, after a crash, when it is old, and for two processes at once. */
#include "client/inbox_read.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/base/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOW UINT64_C(1795702507123)
#define LINE 79

static char dir[FOLDER_MAX], path[64], error[256];

static const uint8_t *hash_of(unsigned n)
{
	static uint8_t hash[INBOX_HASH_LEN];
	memset(hash, 0xa5, sizeof hash);
	memcpy(hash, &n, sizeof n);
	return hash;
}

static struct inbox_read *open_now(uint64_t now)
{
	struct inbox_read *r = inbox_read_open(path, now, error, sizeof error);
	ck_assert_msg(r != NULL, "%s", error);
	return r;
}

static void mark(struct inbox_read *r, unsigned n, uint64_t now)
{
	ck_assert_int_eq(inbox_read_mark(r, hash_of(n), now), ERR_OK);
}

static long size(void)
{
	struct stat s;
	ck_assert_int_eq(stat(path, &s), 0);
	return (long)s.st_size;
}

static void put(const char *text, size_t len, const char *mode)
{
	FILE *f = fopen(path, mode);
	ck_assert(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
}

static void begin(void)
{
	folder_make(dir);
	snprintf(path, sizeof path, "%s/inbox", dir);
}

static void end(void)
{
	folder_remove(dir);
}

START_TEST(what_was_shown_is_known_in_the_next_run)
{
	begin();
	struct inbox_read *r = open_now(NOW);
	for (unsigned i = 0; i < 1000; i++) {
		ck_assert_int_eq(inbox_read_look(r, hash_of(i)), INBOX_NEW);
		mark(r, i, NOW);
		mark(r, i, NOW);
		ck_assert_int_eq(inbox_read_look(r, hash_of(i)), INBOX_SHOWN);
	}
	inbox_read_close(r);
	ck_assert_int_eq(size(), 1000 * LINE);
	r = open_now(NOW);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(inbox_read_look(r, hash_of(i)), INBOX_READ);
	ck_assert_int_eq(inbox_read_look(r, hash_of(1000)), INBOX_NEW);
	mark(r, 7, NOW); /* shown again: it stands there already */
	ck_assert_int_eq(inbox_read_look(r, hash_of(7)), INBOX_SHOWN);
	ck_assert_int_eq(size(), 1000 * LINE);
	inbox_read_close(r);
	end();
}
END_TEST

START_TEST(half_a_line_of_a_crash_is_cut_off)
{
	begin();
	struct inbox_read *r = open_now(NOW);
	mark(r, 1, NOW);
	inbox_read_close(r);
	put("1795702507123 a5a5", 18, "ae");
	r = open_now(NOW);
	mark(r, 2, NOW);
	inbox_read_close(r);
	ck_assert_int_eq(size(), 2 * LINE);
	r = open_now(NOW);
	ck_assert(inbox_read_look(r, hash_of(1)) == INBOX_READ && inbox_read_look(r, hash_of(2)) == INBOX_READ);
	inbox_read_close(r);
	end();
}
END_TEST

START_TEST(what_is_no_such_file_is_left_alone)
{
	static const char text[] = "these are the notes of somebody else, and long enough for a line of such a file ...\n";
	begin();
	put(text, sizeof text - 1, "we");
	ck_assert_ptr_null(inbox_read_open(path, NOW, error, sizeof error));
	ck_assert_msg(strstr(error, path) && strstr(error, "is not what was written"), "%s", error);
	ck_assert_int_eq(size(), (long)sizeof text - 1);
	end();
}
END_TEST

START_TEST(what_is_older_than_any_message_is_forgotten)
{
	begin();
	struct inbox_read *r = open_now(NOW);
	for (unsigned i = 0; i < 30; i++)
		mark(r, i, NOW - INBOX_KEEP_MS - 1);
	for (unsigned i = 30; i < 40; i++)
		mark(r, i, NOW);
	struct inbox_read *other = open_now(NOW - INBOX_KEEP_MS); /* has it open: nothing is replaced */
	inbox_read_close(r);
	r = open_now(NOW);
	ck_assert_int_eq(size(), 40 * LINE);
	inbox_read_close(r);
	inbox_read_close(other);
	r = open_now(NOW);
	ck_assert_int_eq(size(), 10 * LINE);
	mark(r, 99, NOW);
	ck_assert_int_eq(size(), 11 * LINE);
	ck_assert(inbox_read_look(r, hash_of(5)) == INBOX_NEW && inbox_read_look(r, hash_of(35)) == INBOX_READ);
	inbox_read_close(r);
	end();
}
END_TEST

START_TEST(without_a_file_it_lasts_for_the_run)
{
	struct inbox_read *r = inbox_read_open(NULL, NOW, error, sizeof error);
	mark(r, 1, NOW);
	ck_assert(inbox_read_look(r, hash_of(1)) == INBOX_SHOWN && inbox_read_look(r, hash_of(2)) == INBOX_NEW);
	inbox_read_close(r);
}
END_TEST

SUITE_MAIN("inbox_read", what_was_shown_is_known_in_the_next_run, half_a_line_of_a_crash_is_cut_off, what_is_no_such_file_is_left_alone,
           what_is_older_than_any_message_is_forgotten, without_a_file_it_lasts_for_the_run)
