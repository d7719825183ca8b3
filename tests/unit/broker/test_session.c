/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The outbound machine and the cursor: a persistent or clean subscriber, a publisher, and a store that answers when it is told to. */
#include "tests/unit/broker/rig.h"

static struct client sub, pub;

/* sub has subscribed to "t" with qos, pub is connected. */
static void begin(const char *settings, bool clean, uint8_t qos)
{
	rig_start(settings);
	connect_as(&sub, 's', clean, false);
	subscribe(&sub, "t", qos);
	connect_as(&pub, 'p', true, false);
}

static void end(void)
{
	close(sub.fd);
	close(pub.fd);
	rig_end();
}

/* pub publishes payload to "t" with QoS 1 and gets its PUBACK (which means that the store has it, if sub is persistent). */
static void publish1(char payload)
{
	send_publish(&pub, 2, 't', (uint16_t)payload, payload);
	turn();
	uint8_t puback[] = { 0x40, 2, 0, (uint8_t)payload };
	expect_bytes(&pub, (char *)puback, 4);
}

/* The same with QoS 2. */
static void publish2(char payload)
{
	send_publish(&pub, 4, 't', (uint16_t)payload, payload);
	turn();
	uint8_t pubrec[] = { 0x50, 2, 0, (uint8_t)payload }, pubcomp[] = { 0x70, 2, 0, (uint8_t)payload };
	expect_bytes(&pub, (char *)pubrec, 4);
	send_ack(&pub, MQTT_PUBREL, (uint16_t)payload);
	turn();
	expect_bytes(&pub, (char *)pubcomp, 4);
}

static void ack(struct client *c, enum mqtt_type type, uint16_t id)
{
	send_ack(c, type, id);
	turn();
}

static void expect_ack(struct client *c, enum mqtt_type type, uint16_t id)
{
	uint8_t p[] = { (uint8_t)((unsigned)type << 4 | (type == MQTT_PUBREL ? 2U : 0U)), 2, (uint8_t)(id >> 8), (uint8_t)id };
	expect_bytes(c, (char *)p, 4);
}

/* ---- each edge of the machine ---- */

START_TEST(qos1_ends_with_puback)
{
	begin("", true, 1);
	publish1('a');
	uint16_t id = expect_publish(&sub, 2, 'a');
	ck_assert_uint_ne(id, 0);
	ck_assert_uint_eq(session_of('s')->inflight_count, 1);
	ack(&sub, MQTT_PUBACK, id);
	ck_assert_uint_eq(session_of('s')->inflight_count, 0);
	ck_assert_uint_eq(session_of('s')->sent_ids.count, 0);
	end();
}
END_TEST

START_TEST(qos2_ends_with_pubcomp)
{
	for (int clean = 0; clean < 2; clean++) {
		begin("", clean, 2);
		publish2('a');
		uint16_t id = expect_publish(&sub, 4, 'a');
		ack(&sub, MQTT_PUBREC, id);
		expect_ack(&sub, MQTT_PUBREL, id);
		ack(&sub, MQTT_PUBREC, id); /* repeated */
		expect_ack(&sub, MQTT_PUBREL, id);
		ack(&sub, MQTT_PUBCOMP, id);
		ck_assert_uint_eq(session_of('s')->inflight_count, 0);
		ck_assert_uint_eq(session_of('s')->sent_ids.count, 0);
		end();
	}
}
END_TEST

/* What no entry in its state allows ends the connection. */
START_TEST(an_acknowledgement_out_of_place_ends_the_connection)
{
	static const struct { uint8_t qos; enum mqtt_type first, second; } cases[] = {
		{ 1, MQTT_PUBREC, 0 }, { 1, MQTT_PUBCOMP, 0 }, { 1, MQTT_PUBACK, MQTT_PUBACK }, { 2, MQTT_PUBACK, 0 },
		{ 2, MQTT_PUBCOMP, 0 }, { 2, MQTT_PUBREC, MQTT_PUBACK },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		begin("", true, cases[i].qos);
		if (cases[i].qos == 1)
			publish1('a');
		else
			publish2('a');
		uint16_t id = expect_publish(&sub, (uint8_t)(cases[i].qos << 1), 'a');
		ack(&sub, cases[i].first, id);
		if (cases[i].second) {
			ck_assert_ptr_nonnull(session_of('s'));
			ack(&sub, cases[i].second, id);
		}
		ck_assert_ptr_null(session_of('s'));
		end();
	}
}
END_TEST

/* Acknowledgements that are read together, the last of which is of nothing: those before it count, and their answers leave. */
START_TEST(acknowledgements_that_come_together_count_up_to_one_out_of_place)
{
	static const struct { uint8_t qos; enum mqtt_type type; } cases[] = { { 1, MQTT_PUBACK }, { 2, MQTT_PUBREC }, { 2, MQTT_PUBCOMP } };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint16_t ids[3];
		bool released = cases[i].type == MQTT_PUBCOMP;
		begin("", false, cases[i].qos);
		for (char p = 'a'; p < 'd'; p++) {
			if (cases[i].qos == 1)
				publish1(p);
			else
				publish2(p);
			ids[p - 'a'] = expect_publish(&sub, (uint8_t)(cases[i].qos << 1), p);
		}
		for (unsigned k = 0; released && k < 3; k++) {
			ack(&sub, MQTT_PUBREC, ids[k]);
			expect_ack(&sub, MQTT_PUBREL, ids[k]);
		}
		struct session *s = session_of('s');
		send_ack(&sub, cases[i].type, ids[1]);
		send_ack(&sub, cases[i].type, ids[0]);
		send_ack(&sub, cases[i].type, 99);
		send_ack(&sub, cases[i].type, ids[2]);
		turn();
		ck_assert_ptr_null(s->conn);
		ck_assert_uint_eq(s->inflight_count, cases[i].type == MQTT_PUBREC ? 3 : 1);
		ck_assert_uint_eq(s->sent_ids.count, cases[i].type == MQTT_PUBREC ? 3 : 1);
		ck_assert_uint_eq(rig.l->stats.inflight, s->inflight_count);
		end();
	}
}
END_TEST

/* A QoS 2 publisher's PUBRELs that come together, of what is known and what is not: each has its PUBCOMP, in order. */
START_TEST(pubrels_that_come_together_are_answered_in_order)
{
	for (int clean = 0; clean < 2; clean++) {
		rig_start("");
		connect_as(&sub, 's', true, false);
		connect_as(&pub, 'p', clean, false);
		for (uint16_t id = 1; id <= 4; id++)
			send_publish(&pub, 4, 't', id, 'x');
		turn();
		EXPECT(&pub, "\x50\x02\x00\x01\x50\x02\x00\x02\x50\x02\x00\x03\x50\x02\x00\x04");
		rs.hold = true;
		for (uint16_t id = 4; id > 0; id--) {
			send_ack(&pub, MQTT_PUBREL, id);
			send_ack(&pub, MQTT_PUBREL, (uint16_t)(id + 10));
		}
		turn();
		rs.hold = false;
		turn();
		for (uint16_t id = 4; id > 0; id--) {
			expect_ack(&pub, MQTT_PUBCOMP, id);
			expect_ack(&pub, MQTT_PUBCOMP, (uint16_t)(id + 10));
		}
		expect_nothing(&pub);
		ck_assert_uint_eq(session_of('p')->received.count, 0);
		end();
	}
}
END_TEST

START_TEST(the_window_holds_back_and_an_ack_lets_one_more_out)
{
	begin("max_inflight_messages 2", true, 1);
	for (char p = 'a'; p < 'f'; p++)
		publish1(p);
	uint16_t a = expect_publish(&sub, 2, 'a'), b = expect_publish(&sub, 2, 'b');
	expect_nothing(&sub);
	ack(&sub, MQTT_PUBACK, b); /* out of order */
	uint16_t c = expect_publish(&sub, 2, 'c');
	expect_nothing(&sub);
	ack(&sub, MQTT_PUBACK, a);
	expect_publish(&sub, 2, 'd');
	ack(&sub, MQTT_PUBACK, c);
	expect_publish(&sub, 2, 'e');
	end();
}
END_TEST

START_TEST(packet_identifiers_in_use_are_passed_over)
{
	begin("max_inflight_messages 3", true, 1);
	publish1('a');
	uint16_t stuck = expect_publish(&sub, 2, 'a');
	for (unsigned i = 0; i < 65600; i++) {
		send_publish(&pub, 2, 't', 1, 'b');
		ev_run(rig.l->ev, EVRUN_NOWAIT);
		ev_run(rig.l->ev, EVRUN_NOWAIT);
		ev_run(rig.l->ev, EVRUN_NOWAIT);
		uint16_t id = expect_publish(&sub, 2, 'b');
		ck_assert_uint_ne(id, stuck);
		ck_assert_uint_ne(id, 0);
		send_ack(&sub, MQTT_PUBACK, id);
		pub.len = 0;
		fill_input(&pub);
	}
	turn();
	ck_assert_uint_eq(session_of('s')->inflight_count, 1);
	ck_assert_uint_le(session_of('s')->inflight.cap, 16);
	end();
}
END_TEST

/* ---- reconnecting ---- */

START_TEST(what_was_sent_comes_again_with_dup_under_its_identifier)
{
	begin("", false, 1);
	publish1('a');
	publish1('b');
	uint16_t a = expect_publish(&sub, 2, 'a'), b = expect_publish(&sub, 2, 'b');
	hang_up(&sub);
	publish1('c');
	connect_as(&sub, 's', false, true);
	ck_assert_uint_eq(expect_publish(&sub, 10, 'a'), a);
	ck_assert_uint_eq(expect_publish(&sub, 10, 'b'), b);
	expect_publish(&sub, 2, 'c');
	expect_nothing(&sub);
	end();
}
END_TEST

START_TEST(a_released_qos2_message_is_not_sent_again_its_pubrel_is)
{
	begin("", false, 2);
	publish2('a');
	uint16_t id = expect_publish(&sub, 4, 'a');
	ack(&sub, MQTT_PUBREC, id);
	expect_ack(&sub, MQTT_PUBREL, id);
	hang_up(&sub);
	connect_as(&sub, 's', false, true);
	expect_ack(&sub, MQTT_PUBREL, id);
	ack(&sub, MQTT_PUBCOMP, id);
	hang_up(&sub);
	connect_as(&sub, 's', false, true);
	expect_nothing(&sub);
	end();
}
END_TEST

START_TEST(a_qos2_message_leaves_after_the_store_has_its_identifier)
{
	begin("", false, 2);
	send_publish(&pub, 4, 't', 1, 'a');
	rs.hold = true;
	turn();
	rig_store_run(1); /* the message */
	turn();
	expect_nothing(&sub);
	ck_assert_uint_eq(rs.submitted[STORE_SENT], 1);
	rig_store_run(1); /* its identifier */
	turn();
	expect_publish(&sub, 4, 'a');
	rs.hold = false;
	end();
}
END_TEST

START_TEST(pubrel_leaves_after_the_store_knows)
{
	begin("", false, 2);
	publish2('a');
	uint16_t id = expect_publish(&sub, 4, 'a');
	rs.hold = true;
	ack(&sub, MQTT_PUBREC, id);
	expect_nothing(&sub);
	rs.hold = false;
	turn();
	expect_ack(&sub, MQTT_PUBREL, id);
	end();
}
END_TEST

/* A new connection waits for the store's word about the session while the former one's PUBREC is being stored. */
START_TEST(nothing_is_sent_before_connack)
{
	begin("", false, 2);
	publish2('a');
	uint16_t id = expect_publish(&sub, 4, 'a');
	rs.hold = true;
	ack(&sub, MQTT_PUBREC, id);
	hang_up(&sub);
	dial(&sub);
	send_connect(&sub, 's', false);
	turn();
	rig_store_run(1); /* the PUBREC; the session's state waits */
	turn();
	expect_nothing(&sub);
	rs.hold = false;
	turn();
	EXPECT(&sub, "\x20\x02\x01\x00");
	expect_ack(&sub, MQTT_PUBREL, id);
	expect_nothing(&sub);
	end();
}
END_TEST

/* The store may have dropped the entry (queue_full drop-oldest): what is under way ends as if it knew it. */
START_TEST(an_entry_that_the_store_has_dropped_ends_all_the_same)
{
	begin("", false, 2);
	rs.fail_verb = STORE_RELEASED;
	rs.fail_result = ERR_NOT_FOUND;
	rs.fail_count = 1;
	publish2('a');
	uint16_t id = expect_publish(&sub, 4, 'a');
	ack(&sub, MQTT_PUBREC, id);
	expect_ack(&sub, MQTT_PUBREL, id);
	ack(&sub, MQTT_PUBCOMP, id);
	ck_assert_uint_eq(session_of('s')->inflight_count, 0);
	end();
}
END_TEST

START_TEST(a_store_that_fails_ends_the_connection)
{
	static const enum store_verb verbs[] = { STORE_SENT, STORE_RELEASED };
	for (size_t i = 0; i < 2; i++) {
		begin("", false, 2);
		rs.fail_verb = verbs[i];
		rs.fail_result = ERR_IO;
		rs.fail_count = 1;
		publish2('a');
		if (verbs[i] == STORE_RELEASED)
			ack(&sub, MQTT_PUBREC, expect_publish(&sub, 4, 'a'));
		ck_assert_ptr_null(session_of('s')->conn);
		expect_closed(&sub);
		connect_as(&sub, 's', false, true);
		end();
	}
}
END_TEST

/* PUBRELs leave in the order of their PUBRECs [MQTT-4.6.0-4], also when one message is in the store and the other is not. */
START_TEST(pubrels_keep_the_order_of_pubrecs)
{
	rig_start("");
	connect_as(&pub, 'p', true, false);
	send_publish(&pub, 5, 't', 1, 'r'); /* retained */
	turn();
	connect_as(&sub, 's', false, false);
	subscribe(&sub, "t", 2);
	uint16_t r = expect_publish(&sub, 5, 'r');
	EXPECT(&pub, "\x50\x02\x00\x01");
	publish2('a');
	uint16_t a = expect_publish(&sub, 4, 'a');
	rs.hold = true;
	send_ack(&sub, MQTT_PUBREC, a);
	send_ack(&sub, MQTT_PUBREC, r);
	turn();
	rs.hold = false;
	turn();
	expect_ack(&sub, MQTT_PUBREL, a);
	expect_ack(&sub, MQTT_PUBREL, r);
	end();
}
END_TEST

/* After a restart, the identifiers in use are known to the store alone. */
START_TEST(after_a_restart_no_identifier_is_given_twice)
{
	rig_start("");
	connect_as(&pub, 'p', true, false);
	send_publish(&pub, 3, 'r', 9, 'r'); /* retained */
	turn();
	EXPECT(&pub, "\x40\x02\x00\x09");
	connect_as(&sub, 's', false, false);
	subscribe(&sub, "t", 2);
	publish2('a');
	publish2('b');
	uint16_t a = expect_publish(&sub, 4, 'a'), b = expect_publish(&sub, 4, 'b');
	hang_up(&sub);
	struct session *s = session_of('s'); /* what a restart leaves of it */
	session_drop_queues(s);
	s->cursor = s->restored = true;
	s->last_packet_id = 0;
	rs.hold_pages = true;
	connect_as(&sub, 's', false, true);
	subscribe(&sub, "r", 1);
	rs.hold_pages = false;
	rig_pages_run();
	turn();
	uint16_t r = expect_publish(&sub, 3, 'r');
	ck_assert_uint_ne(r, a);
	ck_assert_uint_ne(r, b);
	ck_assert_uint_eq(expect_publish(&sub, 12, 'a'), a);
	ck_assert_uint_eq(expect_publish(&sub, 12, 'b'), b);
	end();
}
END_TEST

/* ---- the cursor ---- */

/* A page that the former connection asked for leaves out what was in memory then, and was forgotten since. */
START_TEST(a_page_of_the_former_connection_is_ignored)
{
	begin("max_inflight_messages 1", false, 1);
	rig.conf->max_queued_memory = 100;
	for (char p = 'a'; p <= 'e'; p++)
		publish1(p); /* the last ones only to the store */
	ck_assert(session_of('s')->cursor);
	uint16_t a = expect_publish(&sub, 2, 'a');
	rs.hold_pages = true;
	ack(&sub, MQTT_PUBACK, a); /* a page is asked for */
	ck_assert(session_of('s')->page_pending);
	expect_publish(&sub, 2, 'b');
	hang_up(&sub);
	connect_as(&sub, 's', false, true);
	rs.hold_pages = false;
	rig_pages_run();
	turn();
	ack(&sub, MQTT_PUBACK, expect_publish(&sub, 10, 'b'));
	for (char p = 'c'; p <= 'e'; p++)
		ack(&sub, MQTT_PUBACK, expect_publish(&sub, 2, p));
	publish1('f');
	ack(&sub, MQTT_PUBACK, expect_publish(&sub, 2, 'f'));
	expect_nothing(&sub);
	ck_assert(!session_of('s')->cursor);
	end();
}
END_TEST

/* A reader thread's page may be older than the copies that were ignored while it was on its way. */
START_TEST(what_was_ignored_after_the_page_was_read_comes_with_the_next)
{
	begin("", false, 1);
	hang_up(&sub);
	publish1('a');
	rs.hold_pages = rs.read_early = true;
	connect_as(&sub, 's', false, true);
	publish1('b');
	publish1('c');
	expect_nothing(&sub);
	rs.hold_pages = false;
	rig_pages_run();
	turn();
	publish1('d');
	for (char p = 'a'; p <= 'd'; p++)
		ack(&sub, MQTT_PUBACK, expect_publish(&sub, 2, p));
	expect_nothing(&sub);
	ck_assert(!session_of('s')->cursor);
	end();
}
END_TEST

START_TEST(over_its_share_of_memory_a_session_reads_from_the_store)
{
	begin("max_inflight_messages 2", false, 1);
	rig.conf->max_queued_memory = 100;
	for (char p = 'a'; p <= 'z'; p++)
		publish1(p);
	ck_assert_uint_le(session_of('s')->queue.count, 3);
	for (char p = 'a'; p <= 'z'; p++) {
		ack(&sub, MQTT_PUBACK, expect_publish(&sub, 2, p));
		if (p == 'm') {
			publish1('A');
			publish1('B');
		}
	}
	ack(&sub, MQTT_PUBACK, expect_publish(&sub, 2, 'A'));
	ack(&sub, MQTT_PUBACK, expect_publish(&sub, 2, 'B'));
	publish1('C');
	ack(&sub, MQTT_PUBACK, expect_publish(&sub, 2, 'C'));
	expect_nothing(&sub);
	ck_assert(!session_of('s')->cursor);
	ck_assert_uint_eq(session_of('s')->queue_bytes, 0);
	end();
}
END_TEST

/* Messages of any size: a page's worth of them is in memory at a time, not a thousand. */
START_TEST(a_backlog_of_large_messages_is_read_by_bytes)
{
	static uint8_t big[9 + 300000];
	const size_t n = 5 + 300000;
	begin("max_inflight_messages 1", false, 1);
	hang_up(&sub);
	big[0] = 0x32;
	big[1] = (uint8_t)(n % 128 | 128);
	big[2] = (uint8_t)(n / 128 % 128 | 128);
	big[3] = (uint8_t)(n / 128 / 128);
	memcpy(big + 4, "\0\1t\0\1", 5);
	for (unsigned i = 0; i < 20; i++) {
		for (size_t at = 0; at < n + 4;) {
			ssize_t sent = send(pub.fd, big + at, n + 4 - at, MSG_NOSIGNAL);
			at += sent > 0 ? (size_t)sent : 0;
			turn();
		}
		EXPECT(&pub, "\x40\x02\0\1");
	}
	connect_as(&sub, 's', false, true);
	turn();
	ck_assert_uint_lt(session_of('s')->queue_bytes, 3U << 20);
	for (unsigned i = 0; i < 20; i++) {
		struct packet p;
		while (!next_packet(&sub, &p))
			turn();
		ck_assert_uint_eq(p.len, n);
		ck_assert_uint_lt(session_of('s')->queue_bytes, 3U << 20);
		ack(&sub, MQTT_PUBACK, (uint16_t)((unsigned)p.body[3] << 8 | p.body[4]));
	}
	expect_nothing(&sub);
	end();
}
END_TEST

SUITE_MAIN("broker/session", qos1_ends_with_puback, qos2_ends_with_pubcomp, an_acknowledgement_out_of_place_ends_the_connection,
	acknowledgements_that_come_together_count_up_to_one_out_of_place, pubrels_that_come_together_are_answered_in_order,
	the_window_holds_back_and_an_ack_lets_one_more_out, packet_identifiers_in_use_are_passed_over,
	what_was_sent_comes_again_with_dup_under_its_identifier, a_released_qos2_message_is_not_sent_again_its_pubrel_is,
	a_qos2_message_leaves_after_the_store_has_its_identifier, pubrel_leaves_after_the_store_knows, nothing_is_sent_before_connack,
	an_entry_that_the_store_has_dropped_ends_all_the_same, a_store_that_fails_ends_the_connection, pubrels_keep_the_order_of_pubrecs,
	after_a_restart_no_identifier_is_given_twice, a_page_of_the_former_connection_is_ignored,
	what_was_ignored_after_the_page_was_read_comes_with_the_next, over_its_share_of_memory_a_session_reads_from_the_store,
	a_backlog_of_large_messages_is_read_by_bytes)
