/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Verdicts and windows. */
#include "crypto/replay.h"

#include "tests/unit/crypto/vectors.h"

#define HOUR UINT64_C(3600000)

static struct replay *r;
static struct replay_clock now;
static struct cose_head h;

static void set_up(void)
{
	r = replay_new(1000);
	ck_assert_ptr_nonnull(r);
	now = (struct replay_clock){ .mono_ms = HOUR, .wall_ms = 1795173342000 };
	h = (struct cose_head){ .kid = "kid-kid", .stream = "stream0", .sender = "sender-sender-1", .time_ms = now.wall_ms };
}

static void tear_down(void)
{
	replay_free(r);
}

static enum verdict judge_in(const char *topic, uint64_t seq, bool past)
{
	h.seq = seq;
	return replay_judge(r, topic, strlen(topic), &h, past, &now);
}

static enum verdict judge(uint64_t seq)
{
	return judge_in("a/b", seq, false);
}

/* As a receiver does once the message has opened. */
static enum verdict receive(uint64_t seq)
{
	enum verdict v = judge(seq);
	if (v == VERDICT_LIVE || v == VERDICT_LATE)
		ck_assert_int_eq(replay_note(r, "a/b", 3, &h, &now), ERR_OK);
	return v;
}

START_TEST(messages_in_order_are_live_once)
{
	for (uint64_t i = 0; i < 5000; i++) {
		ck_assert_int_eq(receive(i), VERDICT_LIVE);
		ck_assert_int_eq(receive(i), VERDICT_DUPLICATE);
	}
}
END_TEST

START_TEST(within_the_window_order_does_not_matter)
{
	for (uint64_t i = 0; i < REPLAY_WINDOW; i++)
		ck_assert_int_eq(receive(i * 389 % REPLAY_WINDOW + 100), VERDICT_LIVE); /* 389 is prime: each number once */
	for (uint64_t i = 0; i < REPLAY_WINDOW; i++)
		ck_assert_int_eq(receive(i + 100), VERDICT_DUPLICATE);
	ck_assert_int_eq(receive(99), VERDICT_REFUSED_OLD);
}
END_TEST

START_TEST(gaps_are_remembered_as_gaps)
{
	ck_assert_int_eq(receive(10), VERDICT_LIVE);
	ck_assert_int_eq(receive(10 + 1023), VERDICT_LIVE);
	ck_assert_int_eq(receive(10), VERDICT_DUPLICATE);
	ck_assert_int_eq(receive(11), VERDICT_LIVE);
	ck_assert_int_eq(receive(11 + 1023), VERDICT_LIVE);
	ck_assert_int_eq(receive(10), VERDICT_REFUSED_OLD);
	ck_assert_int_eq(receive(12), VERDICT_LIVE);
	ck_assert_int_eq(receive(1000000), VERDICT_LIVE);
	ck_assert_int_eq(receive(1000000 - 1023), VERDICT_LIVE);
	ck_assert_int_eq(receive(1000000 - 1024), VERDICT_REFUSED_OLD);
}
END_TEST

START_TEST(the_ends_of_the_number_range_work)
{
	ck_assert_int_eq(receive(UINT64_MAX), VERDICT_LIVE);
	ck_assert_int_eq(receive(UINT64_MAX), VERDICT_DUPLICATE);
	ck_assert_int_eq(receive(UINT64_MAX - 1023), VERDICT_LIVE);
	ck_assert_int_eq(receive(0), VERDICT_REFUSED_OLD);
}
END_TEST

/* A forged high number is judged, fails to open, and is never noted. */
START_TEST(judging_moves_nothing)
{
	ck_assert_int_eq(receive(1), VERDICT_LIVE);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(judge(UINT64_MAX - (uint64_t)i), VERDICT_LIVE);
	ck_assert_int_eq(receive(2), VERDICT_LIVE);
	ck_assert_int_eq(receive(1), VERDICT_DUPLICATE);
	ck_assert_uint_eq(replay_windows(r), 1);
}
END_TEST

START_TEST(windows_are_apart_by_topic_kid_sender_and_stream)
{
	ck_assert_int_eq(receive(5), VERDICT_LIVE);
	ck_assert_int_eq(judge_in("a/c", 5, false), VERDICT_LIVE);
	h.kid[0] ^= 1;
	ck_assert_int_eq(judge(5), VERDICT_LIVE);
	h.kid[0] ^= 1;
	h.sender[0] ^= 1;
	ck_assert_int_eq(judge(5), VERDICT_LIVE);
	h.sender[0] ^= 1;
	h.stream[0] ^= 1;
	ck_assert_int_eq(judge(5), VERDICT_LIVE);
	h.stream[0] ^= 1;
	ck_assert_int_eq(judge(5), VERDICT_DUPLICATE);
}
END_TEST

START_TEST(age_decides_between_live_and_late)
{
	h.time_ms = now.wall_ms - REPLAY_LIVE_MS;
	ck_assert_int_eq(judge(1), VERDICT_LIVE);
	h.time_ms = now.wall_ms - REPLAY_LIVE_MS - 1;
	ck_assert_int_eq(judge(1), VERDICT_LATE);
	h.time_ms = now.wall_ms + REPLAY_LIVE_MS;
	ck_assert_int_eq(judge(1), VERDICT_LIVE);
	h.time_ms = now.wall_ms + REPLAY_LIVE_MS + 1;
	ck_assert_int_eq(judge(1), VERDICT_REFUSED_AHEAD);
	ck_assert_int_eq(judge_in("a/b", 1, true), VERDICT_REFUSED_AHEAD);
	h.time_ms = COSE_TIME_MAX;
	ck_assert_int_eq(judge(1), VERDICT_REFUSED_AHEAD);
}
END_TEST

START_TEST(without_a_clock_on_either_side_nothing_is_live)
{
	h.time_ms = 0;
	ck_assert_int_eq(receive(1), VERDICT_LATE);
	ck_assert_int_eq(receive(1), VERDICT_DUPLICATE);
	h.time_ms = now.wall_ms;
	now.wall_ms = 0;
	ck_assert_int_eq(judge(2), VERDICT_LATE);
	h.time_ms = COSE_TIME_MAX; /* nothing to compare it with */
	ck_assert_int_eq(judge(2), VERDICT_LATE);
}
END_TEST

START_TEST(after_an_hour_offline_all_is_late_and_nothing_lost)
{
	for (uint64_t i = 0; i < 10; i++)
		ck_assert_int_eq(receive(i), VERDICT_LIVE);
	now.mono_ms += HOUR;
	now.wall_ms += HOUR;
	for (uint64_t i = 10; i < 2010; i++)
		ck_assert_int_eq(receive(i), VERDICT_LATE);
}
END_TEST

START_TEST(retained_and_history_are_past_and_touch_no_window)
{
	ck_assert_int_eq(receive(1), VERDICT_LIVE);
	ck_assert_int_eq(judge_in("a/b", 1, true), VERDICT_PAST); /* a live message replayed with RETAIN is never live */
	ck_assert_int_eq(judge_in("a/b", 2, true), VERDICT_PAST);
	ck_assert_int_eq(judge_in("a/b", 2, true), VERDICT_PAST); /* the history twice */
	h.time_ms = 1;
	ck_assert_int_eq(judge_in("a/b", 0, true), VERDICT_PAST);
}
END_TEST

START_TEST(the_seventeenth_stream_is_refused_and_none_evicted)
{
	for (uint8_t i = 0; i < REPLAY_STREAMS_MAX; i++) {
		h.stream[7] = i;
		ck_assert_int_eq(receive(1), VERDICT_LIVE);
	}
	h.stream[7] = 99;
	ck_assert_int_eq(judge(1), VERDICT_REFUSED_STREAM);
	ck_assert_int_eq(replay_note(r, "a/b", 3, &h, &now), ERR_FULL);
	for (uint8_t i = 0; i < REPLAY_STREAMS_MAX; i++) {
		h.stream[7] = i;
		ck_assert_int_eq(judge(1), VERDICT_DUPLICATE);
	}
	now.mono_ms += REPLAY_KEEP_MS; /* still kept */
	h.stream[7] = 99;
	ck_assert_int_eq(judge(1), VERDICT_REFUSED_STREAM);
	h.stream[7] = 3;
	ck_assert_int_eq(receive(2), VERDICT_LIVE); /* in use again */
	now.mono_ms += 1;
	h.stream[7] = 99;
	ck_assert_int_eq(receive(1), VERDICT_LIVE);
	ck_assert_uint_eq(replay_windows(r), 2);
	h.stream[7] = 3;
	ck_assert_int_eq(judge(2), VERDICT_DUPLICATE);
}
END_TEST

START_TEST(the_number_of_windows_is_bounded)
{
	for (unsigned i = 0; i < 1000; i++) {
		char topic[16];
		snprintf(topic, sizeof topic, "t/%u", i);
		ck_assert_int_eq(judge_in(topic, 1, false), VERDICT_LIVE);
		ck_assert_int_eq(replay_note(r, topic, strlen(topic), &h, &now), ERR_OK);
	}
	ck_assert_int_eq(judge_in("other", 1, false), VERDICT_REFUSED_FULL);
	ck_assert_int_eq(replay_note(r, "other", 5, &h, &now), ERR_FULL);
	ck_assert_int_eq(judge_in("t/7", 1, false), VERDICT_DUPLICATE);
	now.mono_ms += REPLAY_KEEP_MS + 1;
	ck_assert_int_eq(judge_in("other", 1, false), VERDICT_LIVE);
	ck_assert_int_eq(replay_note(r, "other", 5, &h, &now), ERR_OK);
	ck_assert_uint_eq(replay_windows(r), 1);
}
END_TEST

/* Against a plain model: a set of all numbers, with numbers by a fixed generator. */
START_TEST(the_window_agrees_with_a_model)
{
	static bool seen[20000];
	uint64_t highest = 0, x = 12345;
	bool any = false;
	memset(seen, 0, sizeof seen);
	for (int i = 0; i < 50000; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint64_t base = (uint64_t)i * 18000 / 50000, seq = base + (x >> 40) % 1500;
		enum verdict expected = any && seq + REPLAY_WINDOW <= highest ? VERDICT_REFUSED_OLD : seen[seq] ? VERDICT_DUPLICATE : VERDICT_LIVE;
		ck_assert_int_eq(receive(seq), expected);
		if (expected == VERDICT_LIVE) {
			seen[seq] = true;
			any = true;
			highest = seq > highest ? seq : highest;
		}
	}
}
END_TEST

int main(void)
{
	TCase *t = tcase_create("all");
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, messages_in_order_are_live_once);
	tcase_add_test(t, within_the_window_order_does_not_matter);
	tcase_add_test(t, gaps_are_remembered_as_gaps);
	tcase_add_test(t, the_ends_of_the_number_range_work);
	tcase_add_test(t, judging_moves_nothing);
	tcase_add_test(t, windows_are_apart_by_topic_kid_sender_and_stream);
	tcase_add_test(t, age_decides_between_live_and_late);
	tcase_add_test(t, without_a_clock_on_either_side_nothing_is_live);
	tcase_add_test(t, after_an_hour_offline_all_is_late_and_nothing_lost);
	tcase_add_test(t, retained_and_history_are_past_and_touch_no_window);
	tcase_add_test(t, the_seventeenth_stream_is_refused_and_none_evicted);
	tcase_add_test(t, the_number_of_windows_is_bounded);
	tcase_add_test(t, the_window_agrees_with_a_model);
	return run_case("replay", t);
}
