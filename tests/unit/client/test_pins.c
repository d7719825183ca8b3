/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pins' file: what was seen is there again, only what was written is believed, and nothing is started afresh unasked. */
#include "client/pins.h"
#include "client/sealmq.h"
#include "tests/unit/crypto/vectors.h"
#include "tests/unit/store/dir.h"

#include <sys/stat.h>
#include <sys/wait.h>

static char path[256], error[PINS_ERROR_MAX];

static void setup(void)
{
	snprintf(path, sizeof path, "%s/state/sealmq/pins", dir_fresh("pins"));
}

static enum err add(const char *space, uint8_t issuer, int mode, uint32_t epoch)
{
	char broker[] = "host:8883", member[] = "ann", name[64];
	struct pin one = { .broker = broker, .member = member, .space = name, .mode = mode, .sign = SEALMQ_SIGN_OPTIONAL, .epoch = epoch };
	struct pins seen = { &one, 1 };
	snprintf(name, sizeof name, "%s", space);
	memset(one.issuer, issuer, sizeof one.issuer);
	return pins_add(path, &seen, error);
}

/* The epoch that is known of a space; -1: none. */
static int64_t epoch_of(const char *space)
{
	struct pins p;
	int64_t epoch = -1;
	ck_assert_msg(pins_read(&p, path, error) == ERR_OK, "%s", error);
	for (size_t i = 0; i < p.n; i++)
		if (strcmp(p.items[i].space, space) == 0)
			epoch = p.items[i].epoch;
	pins_free(&p);
	return epoch;
}

static void write_file(const char *text, size_t len)
{
	FILE *f = fopen(path, "we");
	ck_assert(f && fwrite(text, 1, len, f) == len && fclose(f) == 0);
}

START_TEST(what_was_seen_is_there_again)
{
	struct pins p;
	struct stat about;
	ck_assert_int_eq(pins_read(&p, path, error), ERR_OK); /* nothing yet: the first use */
	ck_assert_uint_eq(p.n, 0);
	ck_assert_int_eq(add("plant/\"é\"\n", 7, SEALMQ_OWNER, 4294967295u), ERR_OK);
	ck_assert_int_eq(add("", 8, SEALMQ_BROKER, 1), ERR_OK);
	ck_assert_int_eq(pins_read(&p, path, error), ERR_OK);
	ck_assert_uint_eq(p.n, 2);
	ck_assert_str_eq(p.items[0].space, "plant/\"é\"\n");
	ck_assert_str_eq(p.items[0].broker, "host:8883");
	ck_assert_str_eq(p.items[0].member, "ann");
	ck_assert_int_eq(p.items[0].mode, SEALMQ_OWNER);
	ck_assert_int_eq(p.items[0].sign, SEALMQ_SIGN_OPTIONAL);
	ck_assert_uint_eq(p.items[0].epoch, 4294967295u);
	ck_assert_uint_eq(p.items[0].issuer[31], 7);
	pins_free(&p);
	ck_assert(stat(path, &about) == 0 && (about.st_mode & 0777) == 0600);
	*strrchr(path, '/') = '\0';
	ck_assert(stat(path, &about) == 0 && (about.st_mode & 0777) == 0700);
}
END_TEST

START_TEST(epochs_rise_and_issuers_stay)
{
	ck_assert_int_eq(add("plant", 1, SEALMQ_BROKER, 3), ERR_OK);
	ck_assert_int_eq(add("plant", 1, SEALMQ_BROKER, 2), ERR_OK); /* of a process that has not seen the third yet */
	ck_assert_int_eq(epoch_of("plant"), 3);
	ck_assert_int_eq(add("plant", 1, SEALMQ_BROKER, 4), ERR_OK);
	ck_assert_int_eq(epoch_of("plant"), 4);
	ck_assert_int_eq(add("plant", 2, SEALMQ_BROKER, 5), ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(error, "'plant' is pinned to another issuer"));
	ck_assert_int_eq(epoch_of("plant"), 4);
}
END_TEST

START_TEST(a_space_is_forgotten_by_name)
{
	size_t n;
	ck_assert_int_eq(add("plant", 1, SEALMQ_BROKER, 3), ERR_OK);
	ck_assert_int_eq(add("lab", 1, SEALMQ_BROKER, 1), ERR_OK);
	ck_assert_int_eq(pins_remove(path, "other:8883", "plant", &n, error), ERR_OK);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(pins_remove(path, "host:8883", "plant", &n, error), ERR_OK);
	ck_assert_uint_eq(n, 1);
	ck_assert_int_eq(epoch_of("plant"), -1);
	ck_assert_int_eq(epoch_of("lab"), 1);
}
END_TEST

/* Changed, cut, emptied: it is refused, said, and left alone. */
START_TEST(a_damaged_file_is_refused_and_never_started_afresh)
{
	struct pins p;
	size_t len, n;
	ck_assert_int_eq(add("plant", 1, SEALMQ_BROKER, 3), ERR_OK);
	ck_assert_int_eq(add("lab", 1, SEALMQ_BROKER, 1), ERR_OK);
	char *good = read_text(path, &len);
	for (size_t i = 0; i < len; i++) {
		good[i] ^= 1;
		write_file(good, len);
		ck_assert_msg(pins_read(&p, path, error) == ERR_CORRUPT && strstr(error, path), "byte %zu flipped", i);
		good[i] ^= 1;
	}
	for (size_t i = 0; i < len; i++) {
		write_file(good, i);
		ck_assert_msg(pins_read(&p, path, error) == ERR_CORRUPT, "cut after %zu bytes", i);
	}
	ck_assert_int_eq(add("new", 1, SEALMQ_BROKER, 1), ERR_CORRUPT);
	ck_assert_int_eq(pins_remove(path, "host:8883", "plant", &n, error), ERR_CORRUPT);
	write_file(good, len);
	ck_assert_int_eq(epoch_of("plant"), 3);
	free(good);
}
END_TEST

START_TEST(what_others_may_write_is_refused)
{
	struct pins p;
	ck_assert_int_eq(add("plant", 1, SEALMQ_BROKER, 3), ERR_OK);
	ck_assert(chmod(path, 0620) == 0);
	ck_assert_int_eq(pins_read(&p, path, error), ERR_REFUSED);
	ck_assert_ptr_nonnull(strstr(error, "expected mode 0600"));
}
END_TEST

START_TEST(a_place_that_cannot_be_written_is_named)
{
	snprintf(path, sizeof path, "/proc/nowhere/pins");
	ck_assert_int_eq(add("plant", 1, SEALMQ_BROKER, 3), ERR_IO);
	ck_assert_ptr_nonnull(strstr(error, "/proc/nowhere"));
}
END_TEST

START_TEST(processes_at_the_same_time_lose_nothing)
{
	enum { PROCESSES = 4, SPACES = 12 };
	pid_t child[PROCESSES];
	for (int c = 0; c < PROCESSES; c++) {
		child[c] = fork();
		if (child[c] != 0)
			continue;
		for (int i = 0; i < SPACES; i++) {
			char space[32];
			snprintf(space, sizeof space, "space/%d/%d", c, i);
			if (add(space, 1, SEALMQ_BROKER, 1) != ERR_OK)
				_exit(1);
		}
		_exit(0);
	}
	for (int c = 0; c < PROCESSES; c++) {
		int status;
		ck_assert(child[c] > 0 && waitpid(child[c], &status, 0) == child[c] && status == 0);
	}
	struct pins p;
	ck_assert_int_eq(pins_read(&p, path, error), ERR_OK);
	ck_assert_uint_eq(p.n, PROCESSES * SPACES);
	pins_free(&p);
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("all");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, what_was_seen_is_there_again);
	tcase_add_test(t, epochs_rise_and_issuers_stay);
	tcase_add_test(t, a_space_is_forgotten_by_name);
	tcase_add_test(t, a_damaged_file_is_refused_and_never_started_afresh);
	tcase_add_test(t, what_others_may_write_is_refused);
	tcase_add_test(t, a_place_that_cannot_be_written_is_named);
	tcase_add_test(t, processes_at_the_same_time_lose_nothing);
	return run_case("pins", t);
}
