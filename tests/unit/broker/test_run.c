/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packets that are handled together look, from outside, as if each had been handled by itself. */
#include "broker/packet.h"
#include "tests/unit/broker/rig.h"

static struct client sub, pub;

static void meet(const char *filter, uint8_t qos)
{
	connect_as(&sub, 's', true, false);
	subscribe(&sub, filter, qos);
	connect_as(&pub, 'p', true, false);
}

static void begin(const char *settings, const char *filter, uint8_t qos)
{
	rig_start(settings);
	meet(filter, qos);
}

static void end(void)
{
	close(sub.fd);
	close(pub.fd);
	rig_end();
}

static void expect_acks(struct client *c, uint8_t type, uint16_t from, uint16_t to)
{
	for (uint16_t id = from; id <= to; id++)
		expect_bytes(c, (char[]){(char)type, 2, (char)(id >> 8), (char)id}, 4);
}

START_TEST(a_run_keeps_order_and_every_message_is_acknowledged)
{
	enum { N = 3 * RUN_MAX + 5 };
	for (uint8_t qos = 0; qos <= 2; qos++) {
		begin("max_inflight_messages 1000", "t", qos);
		for (uint16_t i = 1; i <= N; i++)
			send_publish(&pub, (uint8_t)(qos << 1), 't', i, (char)('!' + i % 90));
		turn();
		for (uint16_t i = 1; i <= N; i++)
			expect_publish(&sub, (uint8_t)(qos << 1), (char)('!' + i % 90));
		expect_nothing(&sub);
		if (qos > 0)
			expect_acks(&pub, qos == 1 ? 0x40 : 0x50, 1, N);
		expect_nothing(&pub);
		ck_assert_uint_eq(rig.l->stats.publish_received, N);
		ck_assert_uint_eq(rig.l->stats.queued, 0);
		ck_assert_uint_eq(rig.l->stats.queued_bytes, 0);
		end();
	}
}
END_TEST

START_TEST(nothing_of_a_run_is_left_when_its_buffer_goes)
{
	begin("", "t", 0);
	struct conn *c = session_of('p')->conn;
	static const uint8_t buf[] = "\x30\x04\0\1ta" "\x30\x04\0\1tb" "\x30\x04\0\1tc";
	ck_assert_uint_eq(packet_consume(c, buf, sizeof buf - 1), sizeof buf - 1);
	ck_assert_uint_eq(session_of('s')->queue.count, 3);
	ck_assert_ptr_null(rig.l->run.match); /* nothing of buf is remembered */
	ck_assert_uint_eq(rig.l->run.n, 0);
	end();
}
END_TEST

START_TEST(another_topic_qos_or_packet_between_ends_it_in_order)
{
	begin("", "#", 1);
	send_publish(&pub, 0, 't', 0, 'a');
	send_publish(&pub, 0, 't', 0, 'b');
	send_publish(&pub, 0, 'u', 0, 'c');
	send_publish(&pub, 0, 't', 0, 'd');
	send_publish(&pub, 2, 't', 1, 'e');
	send_publish(&pub, 2, 't', 2, 'f');
	send_publish(&pub, 10, 't', 3, 'g'); /* DUP */
	SEND(&pub, "\xc0\x00");
	send_publish(&pub, 2, 't', 4, 'h');
	send_publish(&pub, 0, 't', 0, 'i');
	turn();
	static const char got[] = "abcdefghi";
	for (size_t i = 0; i < sizeof got - 1; i++)
		expect_publish(&sub, i >= 4 && i <= 7 ? 2 : 0, got[i]);
	EXPECT(&pub, "\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x03\xd0\x00\x40\x02\x00\x04");
	end();
}
END_TEST

/* A publisher's own SUBSCRIBE between its messages holds for those behind it, and for no other. */
/* Different topics in one read are matched together, but for those that the last ones were to have been. */
START_TEST(topics_that_follow_are_matched_together)
{
	struct match_cache_stats before, after;
	begin("", "#", 0);
	match_cache_stats(rig.l->cache, &before);
	for (char t = 'a'; t < 'a' + 9; t++)
		send_publish(&pub, 0, t, 0, t);
	SEND(&pub, "\xc0\x00\x30\x04\0"); /* and the beginning of another */
	turn();
	for (char t = 'a'; t < 'a' + 9; t++)
		expect_publish(&sub, 0, t);
	match_cache_stats(rig.l->cache, &after);
	ck_assert_uint_eq(after.misses - before.misses, 9);
	ck_assert_uint_eq(after.ahead - before.ahead, 7);
	ck_assert_uint_eq(rig.l->behind.len, 0);
	SEND(&pub, "\x01zz");
	turn();
	expect_publish(&sub, 0, 'z');
	end();
}
END_TEST

START_TEST(a_subscription_within_the_buffer_counts_from_there)
{
	begin("", "t", 0);
	send_publish(&pub, 0, 't', 0, 'a');
	send_publish(&pub, 0, 't', 0, 'b');
	SEND(&pub, "\x82\x06\x00\x09\x00\x01t\x00");
	send_publish(&pub, 0, 't', 0, 'c');
	send_publish(&pub, 0, 't', 0, 'd');
	SEND(&pub, "\xa2\x05\x00\x0a\x00\x01t");
	send_publish(&pub, 0, 't', 0, 'e');
	turn();
	for (char x = 'a'; x <= 'e'; x++)
		expect_publish(&sub, 0, x);
	EXPECT(&pub, "\x90\x03\x00\x09\x00\xb0\x02\x00\x0a");
	expect_publish(&pub, 0, 'c');
	expect_publish(&pub, 0, 'd');
	expect_nothing(&pub);
	end();
}
END_TEST

START_TEST(what_came_before_an_error_is_delivered)
{
	static const char *const bad[] = { "\x32\x06\0\1t\0\0x", "\x36\x06\0\1t\0\1x", "\x32\x06\0\1+\0\1x", "\x31\x03\0\2t", "\xf0" };
	static const size_t len[] = { 8, 8, 8, 5, 2 };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		begin("", "t", 0);
		send_publish(&pub, 2, 't', 1, 'a');
		send_publish(&pub, 2, 't', 2, 'b');
		send_publish(&pub, 2, 't', 3, 'c');
		send_bytes(&pub, bad[i], len[i]);
		turn();
		for (char x = 'a'; x <= 'c'; x++)
			expect_publish(&sub, 0, x);
		expect_nothing(&sub);
		fill_input(&pub);
		ck_assert(pub.closed);
		end();
	}
}
END_TEST

START_TEST(a_repeated_qos2_identifier_is_not_routed_again)
{
	begin("", "t", 2);
	send_publish(&pub, 4, 't', 1, 'a');
	send_publish(&pub, 4, 't', 2, 'b');
	send_publish(&pub, 4, 't', 2, 'x');
	send_publish(&pub, 4, 't', 3, 'c');
	send_publish(&pub, 12, 't', 1, 'x');
	turn();
	for (char x = 'a'; x <= 'c'; x++)
		expect_publish(&sub, 4, x);
	expect_nothing(&sub);
	EXPECT(&pub, "\x50\x02\x00\x01\x50\x02\x00\x02\x50\x02\x00\x02\x50\x02\x00\x03\x50\x02\x00\x01");
	end();
}
END_TEST

START_TEST(retained_messages_are_kept_one_by_one)
{
	begin("", "t", 0);
	send_publish(&pub, 0, 't', 0, 'a');
	send_publish(&pub, 0, 't', 0, 'b');
	send_publish(&pub, 1, 't', 0, 'c');
	send_publish(&pub, 1, 't', 0, 'd');
	send_publish(&pub, 0, 't', 0, 'e');
	turn();
	for (char x = 'a'; x <= 'e'; x++)
		expect_publish(&sub, 0, x);
	SEND(&sub, "\x82\x06\x00\x09\x00\x01t\x00");
	turn();
	EXPECT(&sub, "\x90\x03\x00\x09\x00");
	expect_publish(&sub, 1, 'd');
	expect_nothing(&sub);
	end();
}
END_TEST

/* One decision for all of them: who may not read the topic gets none. */
START_TEST(the_access_rules_hold_for_each_of_them)
{
	rig_start_ruled("", "user (loopback)\ntopic write t\ntopic readwrite u\ntopic read w\n");
	meet("+", 0);
	for (uint16_t i = 0; i < 3; i++)
		send_publish(&pub, 0, 't', 0, 'x');
	for (uint16_t i = 1; i <= 3; i++)
		send_publish(&pub, 2, 'w', i, 'x'); /* acknowledged and dropped */
	for (uint16_t i = 0; i < 3; i++)
		send_publish(&pub, 0, 'u', 0, (char)('a' + i));
	turn();
	for (char x = 'a'; x <= 'c'; x++)
		expect_publish(&sub, 0, x);
	expect_nothing(&sub);
	expect_acks(&pub, 0x40, 1, 3);
	ck_assert_uint_eq(rig.l->stats.publish_withheld, 3);
	ck_assert_uint_eq(rig.l->stats.publish_denied, 3);
	end();
}
END_TEST

/* The queue takes what it has room for, as it does with messages that come one by one. */
START_TEST(a_full_queue_takes_the_first_ones)
{
	begin("max_queued_messages 4", "t", 0);
	for (int i = 0; i < 10; i++)
		send_publish(&pub, 0, 't', 0, (char)('a' + i));
	turn();
	for (char x = 'a'; x <= 'd'; x++)
		expect_publish(&sub, 0, x);
	expect_nothing(&sub);
	ck_assert_uint_eq(rig.l->stats.publish_dropped, 6);
	end();
}
END_TEST

START_TEST(a_persistent_receiver_keeps_what_it_must)
{
	rig_start("");
	connect_as(&sub, 's', false, false);
	subscribe(&sub, "t", 1);
	connect_as(&pub, 'p', true, false);
	for (int i = 0; i < 6; i++) /* QoS 0 waits behind QoS 1 that waits for the store */
		send_publish(&pub, i < 3 ? 0 : i < 5 ? 2 : 0, 't', (uint16_t)i, (char)('a' + i));
	turn();
	for (int i = 0; i < 6; i++)
		expect_publish(&sub, i == 3 || i == 4 ? 2 : 0, (char)('a' + i));
	EXPECT(&pub, "\x40\x02\x00\x03\x40\x02\x00\x04");
	ck_assert_uint_eq(rs.submitted[STORE_PUBLISH] >= 2, 1);
	hang_up(&sub);
	for (int i = 0; i < 3; i++)
		send_publish(&pub, 0, 't', 0, 'x'); /* nobody promised these */
	turn();
	end();
}
END_TEST

SUITE_MAIN("broker/run", a_run_keeps_order_and_every_message_is_acknowledged, nothing_of_a_run_is_left_when_its_buffer_goes,
	another_topic_qos_or_packet_between_ends_it_in_order, topics_that_follow_are_matched_together, a_subscription_within_the_buffer_counts_from_there,
	what_came_before_an_error_is_delivered, a_repeated_qos2_identifier_is_not_routed_again, retained_messages_are_kept_one_by_one,
	the_access_rules_hold_for_each_of_them, a_full_queue_takes_the_first_ones, a_persistent_receiver_keeps_what_it_must)
