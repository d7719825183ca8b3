/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Messages that cross from one loop to another: as if there were one loop, whatever travels together. */
#include "broker/packet.h"
#include "tests/unit/broker/rig.h"

enum { SUBS = 6 };
static struct client subs[SUBS], pub, other; /* client ids 0 to 5, p and q */

/* Publishers p and q on loop 0; loops: of the subscribers. */
static void meet(const char *loops, const char *filter, uint8_t qos)
{
	static const char ids[] = "012345";
	char placed[16], named[16];
	(void)snprintf(named, sizeof named, "%.*spq", (int)strlen(loops), ids);
	(void)snprintf(placed, sizeof placed, "%s00", loops);
	rig_place(named, placed);
	for (size_t i = 0; loops[i]; i++) {
		connect_as(&subs[i], ids[i], true, false);
		subscribe(&subs[i], filter, qos);
	}
	connect_as(&pub, 'p', true, false);
	connect_as(&other, 'q', true, false);
}

static void begin(const char *settings, const char *loops, const char *filter, uint8_t qos)
{
	char more[128];
	(void)snprintf(more, sizeof more, "threads 2\n%s", settings);
	rig_start(more);
	meet(loops, filter, qos);
}

/* Every message is gone with its last receiver: LeakSanitizer sees those that are not. */
static void end(const char *loops)
{
	for (size_t i = 0; loops[i]; i++) {
		fill_input(&subs[i]);
		ck_assert_uint_eq(subs[i].len, 0);
		close(subs[i].fd);
	}
	for (unsigned i = 0; i < rig.b->n_loops; i++) {
		ck_assert_uint_eq(rig.b->loops[i]->stats.queued, 0);
		ck_assert_uint_eq(rig.b->loops[i]->stats.queued_bytes, 0);
		ck_assert_uint_eq(atomic_load(&rig.b->loops[i]->mailbox.items), 0);
		ck_assert_uint_eq(atomic_load(&rig.b->loops[i]->mailbox.bytes), 0);
	}
	close(pub.fd);
	close(other.fd);
	rig_end();
}

/* Loop 0 reads, and its mail leaves. */
static void send_mail(void)
{
	ev_run(rig.l->ev, EVRUN_NOWAIT);
	ev_run(rig.l->ev, EVRUN_NOWAIT);
}

static struct session *session_at(unsigned i) { return session_of((char)('0' + i)); }

static uint8_t flags_of(uint16_t i, uint8_t qos)
{
	static const uint8_t flags[] = { 0, 2, 4 };
	return i % 100 == 50 ? 0 : flags[qos];
}

/* Alike ones in longer runs than a mail holds; a message here and there that is not alike; for one receiver, for few and for many (who get copies). */
START_TEST(each_receiver_gets_all_in_order)
{
	static const char *const places[] = { "1", "11", "01", "0011", "111111", "011111", "000001" };
	for (size_t k = 0; k < sizeof places / sizeof places[0]; k++)
		for (uint8_t qos = 0; qos <= 1; qos++) {
			enum { N = 300 };
			begin("max_inflight_messages 1000", places[k], "#", qos);
			uint8_t all[N * 8];
			size_t len = 0;
			for (uint16_t i = 1; i <= N; i++)
				len += put_publish(all + len, flags_of(i, qos), i % 100 == 70 ? 'u' : 't', i, (char)('!' + i % 90));
			send_bytes(&pub, all, len);
			turn();
			for (size_t s = 0; places[k][s]; s++)
				for (uint16_t i = 1; i <= N; i++)
					expect_publish(&subs[s], flags_of(i, qos), (char)('!' + i % 90));
			end(places[k]);
		}
}
END_TEST

START_TEST(alike_messages_of_two_publishers_travel_together)
{
	begin("", "11", "t", 0);
	for (char i = 0; i < 10; i++) {
		send_publish(&pub, 0, 't', 0, (char)('a' + i));
		send_publish(&other, 0, 't', 0, (char)('A' + i));
	}
	send_mail();
	ck_assert_uint_eq(atomic_load(&rig.b->loops[1]->mailbox.items), 1);
	turn();
	for (size_t s = 0; s < 2; s++) {
		char next[2] = { 'a', 'A' };
		struct packet p;
		while (next_packet(&subs[s], &p)) {
			char payload = (char)p.body[p.len - 1];
			ck_assert_int_eq(payload, next[payload < 'a']++);
		}
		ck_assert_int_eq(next[0], 'a' + 10);
		ck_assert_int_eq(next[1], 'A' + 10);
	}
	end("11");
}
END_TEST

/* To one receiver only its handle travels, and another topic has other rules. */
START_TEST(each_topic_is_judged_by_its_own_rule)
{
	rig_start_ruled("threads 2", "user (loopback)\ntopic write t\ntopic readwrite u\n");
	meet("1", "+", 0);
	for (int i = 0; i < 8; i++)
		send_publish(&pub, 0, i & 1 ? 't' : 'u', 0, (char)('a' + i));
	send_publish(&pub, 0, 't', 0, 'x');
	send_publish(&pub, 0, 't', 0, 'y');
	turn();
	for (int i = 0; i < 8; i += 2)
		expect_publish(&subs[0], 0, (char)('a' + i));
	ck_assert_uint_eq(rig.b->loops[1]->stats.publish_withheld, 6);
	end("1");
}
END_TEST

/* RETAIN, set by the publisher, is of one message alone; so is its QoS. */
START_TEST(what_is_not_alike_keeps_its_own_properties)
{
	begin("", "11", "t", 2);
	send_publish(&pub, 0, 't', 0, 'a');
	send_publish(&pub, 1, 't', 0, 'b');
	send_publish(&pub, 2, 't', 1, 'c');
	send_publish(&pub, 4, 't', 2, 'd');
	send_publish(&pub, 0, 't', 0, 'e');
	turn();
	for (size_t s = 0; s < 2; s++) {
		expect_publish(&subs[s], 0, 'a');
		expect_publish(&subs[s], 0, 'b'); /* to those who are subscribed already it goes without RETAIN [MQTT-3.3.1-9] */
		expect_publish(&subs[s], 2, 'c');
		expect_publish(&subs[s], 4, 'd');
		expect_publish(&subs[s], 0, 'e');
	}
	end("11");
}
END_TEST

START_TEST(a_session_that_has_ended_meanwhile_gets_nothing)
{
	static const char *const places[] = { "11", "01" };
	for (size_t k = 0; k < 2; k++)
		for (unsigned n = 1; n <= 2; n++) {
			begin("", places[k], "t", 0);
			for (unsigned i = 0; i < n; i++)
				send_publish(&pub, 0, 't', 0, (char)('a' + i));
			send_mail();
			conn_end(session_at(1)->conn, LOG_INFO, false, "the test ends it");
			turn();
			for (unsigned i = 0; i < n; i++)
				expect_publish(&subs[0], 0, (char)('a' + i));
			fill_input(&subs[1]);
			ck_assert(subs[1].closed);
			ck_assert_uint_eq(subs[1].len, 0);
			end(places[k]);
		}
}
END_TEST

START_TEST(a_full_queue_on_the_other_loop_takes_the_first_ones)
{
	begin("max_queued_messages 4", "1", "t", 0);
	for (int i = 0; i < 10; i++)
		send_publish(&pub, 0, 't', 0, (char)('a' + i));
	turn();
	for (char x = 'a'; x <= 'd'; x++)
		expect_publish(&subs[0], 0, x);
	ck_assert_uint_eq(rig.b->loops[1]->stats.publish_dropped, 6);
	end("1");
}
END_TEST

SUITE_MAIN("broker/route", each_receiver_gets_all_in_order, alike_messages_of_two_publishers_travel_together, each_topic_is_judged_by_its_own_rule,
	what_is_not_alike_keeps_its_own_properties, a_session_that_has_ended_meanwhile_gets_nothing, a_full_queue_on_the_other_loop_takes_the_first_ones)
