/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A program of its own: a log that was given up does not start again. */
#include "base/log.h"
#include "tests/unit/base/suite.h"

#include <fcntl.h>
#include <unistd.h>

START_TEST(a_reader_that_reads_nothing_does_not_keep_the_broker_from_ending)
{
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	struct log_conf conf = { .level_mask = LOG_INFO, .to_stderr = true };
	ck_assert_int_eq(log_start(&conf), ERR_OK);
	uint64_t dropped = log_dropped();
	while (log_dropped() == dropped) /* the pipe is full, then the ring */
		log_info("%0900u", 1u);
	log_stop();
	dropped = log_dropped();
	log_info("this must not wait either");
	ck_assert_uint_eq(log_dropped(), dropped + 1);
	ck_assert_int_eq(log_start(&conf), ERR_CLOSED);

	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	dup2(null, STDERR_FILENO);
	close(null);
	close(fds[0]); /* the thread's write fails, and it ends */
}
END_TEST

SUITE_MAIN("log_stuck", a_reader_that_reads_nothing_does_not_keep_the_broker_from_ending)
