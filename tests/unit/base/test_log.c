/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"
#include "tests/unit/base/folder.h"
#include "tests/unit/base/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[FOLDER_MAX], path_a[64], path_b[64], path_err[64];
static char contents[16 << 20];

static void make_dir(void)
{
	if (path_a[0] == '\0') {
		folder_make(dir);
		snprintf(path_a, sizeof path_a, "%s/a", dir);
		snprintf(path_b, sizeof path_b, "%s/b", dir);
		snprintf(path_err, sizeof path_err, "%s/err", dir);
	}
	unlink(path_a);
	unlink(path_b);
	unlink(path_err);
}

static void clean_up(void)
{
	folder_remove(dir);
}

static const char *read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return "(no file)";
	contents[fread(contents, 1, sizeof contents - 1, f)] = '\0';
	fclose(f);
	return contents;
}

static size_t count(const char *needle, const char *haystack)
{
	size_t n = 0;
	for (const char *p = strstr(haystack, needle); p; p = strstr(p + 1, needle))
		n++;
	return n;
}

/* What is written to stderr until release_stderr goes to path_err. */
static int saved_stderr;

static void capture_stderr(void)
{
	int fd = open(path_err, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

static void release_stderr(void)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
}

static const struct log_conf to_a = { .level_mask = LOG_ERROR | LOG_WARNING | LOG_NOTICE | LOG_INFO, .file = path_a };
static const struct log_conf to_b = { .level_mask = LOG_ERROR | LOG_DEBUG, .file = path_b, .json = true };

START_TEST(before_the_start_and_after_the_stop_lines_go_to_stderr)
{
	make_dir();
	capture_stderr();
	log_warning("early %d", 1);
	log_debug("too quiet"); /* not in the default mask */
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	log_warning("between");
	log_stop();
	log_error("late");
	release_stderr();
	ck_assert_uint_eq(count("\n", read_file(path_err)), 2);
	ck_assert_ptr_nonnull(strstr(contents, "Z warning: early 1\n"));
	ck_assert_ptr_nonnull(strstr(contents, "Z error: late\n"));
	ck_assert_uint_eq(count("\n", read_file(path_a)), 1);
	ck_assert_ptr_nonnull(strstr(contents, "Z warning: between\n"));
}
END_TEST

START_TEST(stop_writes_what_is_left_in_order)
{
	make_dir();
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	for (int i = 0; i < 1000; i++)
		log_info("line %04d of a thousand", i);
	log_stop();
	log_stop(); /* nothing to stop */
	const char *p = read_file(path_a);
	ck_assert_uint_eq(count("\n", p), 1000);
	for (int i = 0; i < 1000; i++) {
		char line[40];
		snprintf(line, sizeof line, "info: line %04d of a thousand\n", i);
		p = strstr(p, line);
		ck_assert_ptr_nonnull(p);
	}
}
END_TEST

START_TEST(the_mask_selects_levels)
{
	make_dir();
	ck_assert_int_eq(log_start(&to_b), ERR_OK);
	ck_assert(log_enabled(LOG_ERROR));
	ck_assert(log_enabled(LOG_DEBUG));
	ck_assert(!log_enabled(LOG_INFO));
	log_error("one");
	log_warning("two");
	log_debug("three");
	log_stop();
	ck_assert_uint_eq(count("\n", read_file(path_b)), 2);
	ck_assert_uint_eq(count("two", contents), 0);
	ck_assert_uint_eq(count("\"level\":\"debug\",\"msg\":\"three\"}\n", contents), 1);
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	ck_assert(!log_enabled(LOG_DEBUG));
	log_stop();
}
END_TEST

START_TEST(the_log_starts_once)
{
	make_dir();
	ck_assert_int_eq(log_reconfigure(&to_a), ERR_CLOSED);
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	ck_assert_int_eq(log_start(&to_b), ERR_EXISTS);
	log_stop();
}
END_TEST

START_TEST(a_file_is_appended_to_and_is_not_for_everyone)
{
	make_dir();
	mode_t mask = umask(0);
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	umask(mask);
	log_info("first");
	log_stop();
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	log_info("second");
	log_stop();
	ck_assert_uint_eq(count("\n", read_file(path_a)), 2);
	struct stat st;
	ck_assert_int_eq(stat(path_a, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0640);
}
END_TEST

START_TEST(a_file_that_cannot_be_opened_is_an_error)
{
	make_dir();
	struct log_conf bad = to_a;
	bad.file = "/nonexistent/log";
	errno = 0;
	ck_assert_int_eq(log_start(&bad), ERR_IO);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(mkfifo(path_b, 0600), 0);
	bad.file = path_b; /* a pipe that nobody reads */
	ck_assert_int_eq(log_start(&bad), ERR_IO);

	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	bad.level_mask = 0;
	ck_assert_int_eq(log_reconfigure(&bad), ERR_IO);
	ck_assert(log_enabled(LOG_INFO)); /* nothing changed */
	log_info("still here");
	log_stop();
	ck_assert_uint_eq(count("still here", read_file(path_a)), 1);
}
END_TEST

START_TEST(reconfiguration_parts_the_lines_exactly)
{
	make_dir();
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	for (int round = 0; round < 50; round++) {
		log_error("for a %d", round);
		ck_assert_int_eq(log_reconfigure(&to_b), ERR_OK);
		log_error("for b %d", round);
		ck_assert_int_eq(log_reconfigure(&to_a), ERR_OK);
	}
	log_stop();
	ck_assert_uint_eq(count("for a", read_file(path_a)), 50);
	ck_assert_uint_eq(count("for b", contents), 0);
	ck_assert_uint_eq(count("for b", read_file(path_b)), 50);
	ck_assert_uint_eq(count("for a", contents), 0);
	ck_assert_uint_eq(count("{\"ts\":", contents), 50);
}
END_TEST

START_TEST(a_rotated_file_is_reopened)
{
	make_dir();
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	log_info("old");
	ck_assert_int_eq(rename(path_a, path_b), 0);
	ck_assert_int_eq(log_reconfigure(&to_a), ERR_OK);
	log_info("new");
	log_stop();
	ck_assert_uint_eq(count("old", read_file(path_b)), 1);
	ck_assert_uint_eq(count("new", contents), 0);
	ck_assert_uint_eq(count("new", read_file(path_a)), 1);
}
END_TEST

START_TEST(stderr_and_file_can_both_be_asked_for)
{
	make_dir();
	struct log_conf both = to_a;
	both.to_stderr = true;
	capture_stderr();
	ck_assert_int_eq(log_start(&both), ERR_OK);
	log_info("twice");
	log_stop();
	release_stderr();
	ck_assert_uint_eq(count("twice", read_file(path_err)), 1);
	ck_assert_uint_eq(count("twice", read_file(path_a)), 1);
}
END_TEST

START_TEST(syslog_may_be_asked_for_where_there_is_none)
{
	make_dir();
	struct log_conf conf = to_a;
	conf.to_syslog = true;
	ck_assert_int_eq(log_start(&conf), ERR_OK);
	log_info("to both");
	log_stop();
	ck_assert_uint_eq(count("to both", read_file(path_a)), 1);
}
END_TEST

START_TEST(what_a_full_disk_loses_is_counted_and_told_when_there_is_room)
{
	make_dir();
	uint64_t dropped = log_dropped();
	struct log_conf full = to_a;
	full.file = "/dev/full";
	ck_assert_int_eq(log_start(&full), ERR_OK);
	for (int i = 0; i < 5; i++)
		log_info("lost");
	ck_assert_int_eq(log_reconfigure(&to_a), ERR_OK);
	log_info("kept");
	log_stop();
	ck_assert_uint_eq(log_dropped() - dropped, 5);
	ck_assert_uint_eq(count("\n", read_file(path_a)), 2);
	ck_assert_uint_eq(count("kept\n", contents), 1);
	ck_assert_uint_eq(count("warning: 5 log lines were dropped\n", contents), 1);
}
END_TEST

START_TEST(clients_forge_no_lines)
{
	make_dir();
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	log_info("%s", "evil\n2026-11-20T00:00:00.000Z error: forged");
	log_stop();
	ck_assert_uint_eq(count("\n", read_file(path_a)), 1);
	ck_assert_uint_eq(count("evil\\x0a2026", contents), 1);
}
END_TEST

START_TEST(a_long_line_is_cut)
{
	make_dir();
	static char big[5000];
	memset(big, 'y', sizeof big - 1);
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	log_info("%s", big);
	log_info("%.999s\xc3\xbc", big); /* the cut would fall into the last character */
	log_stop();
	read_file(path_a);
	ck_assert_uint_eq(count("y", contents), 1000 + 999);
	ck_assert_uint_eq(count("\\x", contents), 0);
}
END_TEST

START_TEST(errno_is_left_alone)
{
	make_dir();
	ck_assert_int_eq(log_start(&to_a), ERR_OK);
	errno = ENOTTY;
	log_info("failed: %s", strerror(errno));
	ck_assert_int_eq(errno, ENOTTY);
	log_stop();
	ck_assert_uint_eq(count(strerror(ENOTTY), read_file(path_a)), 1);
}
END_TEST

/* Every line is written or counted, whatever the threads do, also while the log starts, moves and stops. */
enum { WRITERS = 3, LINES = 8000 };

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_notice("writer %d line %05d", *(int *)arg, i);
	return NULL;
}

START_TEST(lines_of_all_threads_are_written_or_counted)
{
	make_dir();
	uint64_t dropped = log_dropped();
	int names[WRITERS];
	pthread_t threads[WRITERS];
	struct log_conf conf = to_a;
	capture_stderr();
	for (int i = 0; i < WRITERS; i++) {
		names[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, &names[i]), 0);
	}
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(log_start(&conf), ERR_OK);
		conf.file = i % 2 == 0 ? path_b : path_a;
		ck_assert_int_eq(log_reconfigure(&conf), ERR_OK);
		usleep(1000);
		log_stop();
	}
	ck_assert_int_eq(log_start(&conf), ERR_OK);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	log_stop();
	release_stderr();
	size_t written = count("notice: writer", read_file(path_a)) + count("notice: writer", read_file(path_b)) +
			 count("notice: writer", read_file(path_err));
	ck_assert_uint_eq(written + (log_dropped() - dropped), WRITERS * LINES);
}
END_TEST

/* The thread is held up by a pipe that is full; the ring runs over; then somebody reads. */
START_TEST(a_full_ring_drops_counts_and_says_so)
{
	make_dir();
	int pipe_fds[2];
	ck_assert_int_eq(pipe(pipe_fds), 0);
	uint64_t dropped = log_dropped();
	saved_stderr = dup(STDERR_FILENO);
	dup2(pipe_fds[1], STDERR_FILENO);
	close(pipe_fds[1]);
	struct log_conf conf = { .level_mask = LOG_INFO, .to_stderr = true };
	ck_assert_int_eq(log_start(&conf), ERR_OK);
	unsigned sent = 0;
	for (; log_dropped() == dropped; sent++) /* ends: neither pipe nor ring grows */
		log_info("%0900u", sent);
	dropped = log_dropped() - dropped;

	/* The report stands after the lines of the write that was held up, not necessarily at the end. */
	char expected[64];
	snprintf(expected, sizeof expected, "Z warning: %llu log lines were dropped\n", (unsigned long long)dropped);
	size_t len = 0;
	contents[0] = '\0';
	fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
	while (!strstr(contents, expected) || count(" info: ", contents) < sent - dropped) {
		ssize_t n = read(pipe_fds[0], contents + len, sizeof contents - 1 - len);
		len += n > 0 ? (size_t)n : 0;
		contents[len] = '\0';
		if (n <= 0)
			usleep(1000);
	}
	log_stop();
	release_stderr();
	close(pipe_fds[0]);
	ck_assert_uint_eq(count(" info: ", contents), sent - dropped);
}
END_TEST

START_TEST(clean)
{
	clean_up();
}
END_TEST

SUITE_MAIN("log", before_the_start_and_after_the_stop_lines_go_to_stderr, stop_writes_what_is_left_in_order, the_mask_selects_levels,
	   the_log_starts_once, a_file_is_appended_to_and_is_not_for_everyone, a_file_that_cannot_be_opened_is_an_error,
	   reconfiguration_parts_the_lines_exactly, a_rotated_file_is_reopened, stderr_and_file_can_both_be_asked_for,
	   syslog_may_be_asked_for_where_there_is_none, what_a_full_disk_loses_is_counted_and_told_when_there_is_room,
	   clients_forge_no_lines, a_long_line_is_cut, errno_is_left_alone,
	   lines_of_all_threads_are_written_or_counted, a_full_ring_drops_counts_and_says_so, clean)
