/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/ring.h"
#include "tests/unit/base/suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { CELLS = 16 }; /* 1 KiB: records of at most 256 bytes */

static struct ring *ring(void)
{
	struct ring *r = ring_new(CELLS);
	ck_assert_ptr_nonnull(r);
	ring_open(r);
	return r;
}

START_TEST(records_come_out_as_they_went_in)
{
	struct ring *r = ring();
	uint8_t in[256], out[256];
	/* Every length, and so every place of the ring's end within a record. */
	for (size_t round = 0; round < 40; round++)
		for (size_t len = 1; len <= sizeof in; len++) {
			memset(in, (int)(len + round), len);
			in[0] = 1;
			in[len - 1] = 2;
			ck_assert_int_eq(ring_put(r, in, len), ERR_OK);
			ck_assert_uint_eq(ring_take(r, out, sizeof out), len);
			ck_assert(memcmp(in, out, len) == 0);
			len += len > 66 ? 6 : 0;
		}
	ck_assert_uint_eq(ring_take(r, out, sizeof out), 0);
	ring_free(r);
	ring_free(NULL);
}
END_TEST

START_TEST(a_full_ring_refuses_until_something_is_taken)
{
	struct ring *r = ring();
	uint8_t record[65] = { 0 }, out[65];
	for (uint8_t i = 0; i < CELLS / 2; i++) { /* two cells each */
		record[64] = i;
		ck_assert_int_eq(ring_put(r, record, sizeof record), ERR_OK);
	}
	ck_assert_int_eq(ring_put(r, record, 1), ERR_FULL);
	ck_assert_uint_eq(ring_put_position(r) - ring_take_position(r), CELLS);
	ck_assert_uint_eq(ring_take(r, out, sizeof out), 65);
	ck_assert_uint_eq(out[64], 0);
	ck_assert_int_eq(ring_put(r, record, 64), ERR_OK);
	ck_assert_int_eq(ring_put(r, record, 64), ERR_OK);
	ck_assert_int_eq(ring_put(r, record, 64), ERR_FULL);
	ring_free(r);
}
END_TEST

START_TEST(a_record_longer_than_the_readers_buffer_is_cut)
{
	struct ring *r = ring();
	char out[4] = "....";
	ck_assert_int_eq(ring_put(r, "abcdefgh", 8), ERR_OK);
	ck_assert_int_eq(ring_put(r, "next", 4), ERR_OK);
	ck_assert_uint_eq(ring_take(r, out, 3), 3);
	ck_assert_mem_eq(out, "abc.", 4);
	ck_assert_uint_eq(ring_take(r, out, 4), 4);
	ck_assert_mem_eq(out, "next", 4);
	ring_free(r);
}
END_TEST

START_TEST(a_closed_ring_takes_nothing_more_and_gives_what_it_has)
{
	struct ring *r = ring_new(CELLS);
	char out[4];
	ck_assert_int_eq(ring_put(r, "a", 1), ERR_CLOSED); /* born closed */
	ck_assert(ring_drained(r));
	ring_open(r);
	ck_assert_int_eq(ring_put(r, "b", 1), ERR_OK);
	ring_close(r);
	ring_close(r);
	ck_assert_int_eq(ring_put(r, "c", 1), ERR_CLOSED);
	ck_assert(ring_ready(r));
	ck_assert(!ring_drained(r));
	ck_assert_uint_eq(ring_take(r, out, sizeof out), 1);
	ck_assert_int_eq(out[0], 'b');
	ck_assert(!ring_ready(r));
	ck_assert(ring_drained(r));
	ring_open(r);
	ck_assert_int_eq(ring_put(r, "d", 1), ERR_OK);
	ring_free(r);
}
END_TEST

/* Three producers with records of changing length; each record says whose it is, its number, and repeats that byte. */
enum { PRODUCERS = 3, RECORDS = 20000 };

struct record {
	unsigned producer, number;
	uint8_t fill[120];
};

static struct ring *shared;
static atomic_uint refused, producing;

static void *produce(void *arg)
{
	struct record rec = { .producer = *(unsigned *)arg };
	for (unsigned i = 0; i < RECORDS; i++) {
		rec.number = i;
		size_t fill = i % sizeof rec.fill;
		memset(rec.fill, (int)(i & 0xFF), fill);
		enum err e = ring_put(shared, &rec, offsetof(struct record, fill) + fill);
		if (e != ERR_OK) {
			atomic_fetch_add(&refused, 1);
			sched_yield();
		}
		if (e == ERR_CLOSED)
			break;
	}
	atomic_fetch_sub(&producing, 1);
	return NULL;
}

START_TEST(concurrent_records_stay_whole_and_in_each_producers_order)
{
	pthread_t threads[PRODUCERS];
	unsigned names[PRODUCERS], next[PRODUCERS] = { 0 }, taken = 0, wrong = 0;
	shared = ring();
	atomic_store(&producing, PRODUCERS);
	for (unsigned i = 0; i < PRODUCERS; i++) {
		names[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, produce, &names[i]), 0);
	}
	bool more = true;
	while (more) {
		more = atomic_load(&producing) > 0;
		struct record rec;
		size_t len;
		while ((len = ring_take(shared, &rec, sizeof rec)) > 0) {
			wrong += rec.producer >= PRODUCERS || rec.number < next[rec.producer];
			wrong += len != offsetof(struct record, fill) + rec.number % sizeof rec.fill;
			for (size_t i = 0; i < len - offsetof(struct record, fill); i++)
				wrong += rec.fill[i] != (rec.number & 0xFF);
			next[rec.producer % PRODUCERS] = rec.number + 1;
			taken++;
		}
	}
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(wrong, 0);
	ck_assert_uint_eq(taken + atomic_load(&refused), PRODUCERS * RECORDS);
	ck_assert(ring_drained(shared));
	ring_free(shared);
}
END_TEST

SUITE_MAIN("ring", records_come_out_as_they_went_in, a_full_ring_refuses_until_something_is_taken,
	   a_record_longer_than_the_readers_buffer_is_cut, a_closed_ring_takes_nothing_more_and_gives_what_it_has,
	   concurrent_records_stay_whole_and_in_each_producers_order)
