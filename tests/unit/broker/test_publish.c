/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way in: what is acknowledged when, what is remembered when the store refuses, and what a client can make the broker keep. */
#include "tests/unit/broker/rig.h"

static struct client sub, pub;

static void begin_with(const char *settings, bool sub_clean, uint8_t qos, bool pub_clean)
{
	rig_start(settings);
	connect_as(&sub, 's', sub_clean, false);
	subscribe(&sub, "t", qos);
	connect_as(&pub, 'p', pub_clean, false);
}

static void begin(bool sub_clean, uint8_t qos, bool pub_clean) { begin_with("", sub_clean, qos, pub_clean); }

static void end(void)
{
	close(sub.fd);
	close(pub.fd);
	rig_end();
}

static void fail_next(enum store_verb verb, enum err result)
{
	rs.fail_verb = verb;
	rs.fail_result = result;
	rs.fail_count = 1;
}

/* ---- acknowledgements ---- */

/* A QoS 0 message for the store has no answer; its completion must not be taken for that of the next. */
START_TEST(a_puback_waits_for_its_own_commit)
{
	begin(false, 1, true);
	rs.hold = true;
	send_publish(&pub, 1, 't', 0, 'r'); /* QoS 0, retained */
	send_publish(&pub, 2, 't', 7, 'a');
	turn();
	rig_store_run(1);
	turn();
	expect_nothing(&pub);
	rig_store_run(1);
	turn();
	EXPECT(&pub, "\x40\x02\x00\x07");
	end();
}
END_TEST

START_TEST(answers_keep_the_order_of_their_questions)
{
	begin(false, 1, true);
	rs.hold = true;
	send_publish(&pub, 2, 't', 1, 'a'); /* for the store */
	send_publish(&pub, 2, 'u', 2, 'b'); /* for nobody */
	send_publish(&pub, 4, 'u', 3, 'c');
	SEND(&pub, "\x82\x06\x00\x04\x00\x01w\x00");
	SEND(&pub, "\xa2\x05\x00\x05\x00\x01w");
	turn();
	expect_nothing(&pub);
	rs.hold = false;
	turn();
	EXPECT(&pub, "\x40\x02\x00\x01\x40\x02\x00\x02\x50\x02\x00\x03\x90\x03\x00\x04\x00\xb0\x02\x00\x05");
	end();
}
END_TEST

START_TEST(a_message_that_the_store_refuses_ends_its_publisher_unacknowledged)
{
	begin_with("publish_wait 0", false, 1, true);
	fail_next(STORE_PUBLISH, ERR_FULL);
	send_publish(&pub, 2, 't', 1, 'a');
	expect_closed(&pub);
	ck_assert_uint_eq(pub.len, 0);
	expect_nothing(&sub);
	connect_as(&pub, 'p', true, false);
	end();
}
END_TEST

START_TEST(a_qos2_message_that_the_store_refused_is_new_when_it_is_repeated)
{
	begin_with("publish_wait 0", false, 2, false);
	fail_next(STORE_PUBLISH, ERR_FULL);
	send_publish(&pub, 4, 't', 5, 'a');
	expect_closed(&pub);
	connect_as(&pub, 'p', false, true);
	send_publish(&pub, 12, 't', 5, 'a');
	turn();
	EXPECT(&pub, "\x50\x02\x00\x05");
	expect_publish(&sub, 4, 'a');
	end();
}
END_TEST

/* Turns, with time passing, until the store was told that many messages. */
static void wait_for_publishes(unsigned n)
{
	for (int i = 0; i < 1000 && rs.submitted[STORE_PUBLISH] < n; i++) {
		usleep(10000);
		turn();
	}
	ck_assert_uint_ge(rs.submitted[STORE_PUBLISH], n);
	turn();
}

/* In its order: what is behind it waits too, although there is room for that, and nothing more is read. */
START_TEST(a_refused_message_is_tried_again)
{
	begin(false, 1, true);
	fail_next(STORE_PUBLISH, ERR_FULL);
	rs.hold = true;
	send_publish(&pub, 2, 't', 1, 'a');
	send_publish(&pub, 2, 't', 2, 'b');
	turn();
	rs.hold = false;
	turn();
	SEND(&pub, "\xc0\x00"); /* PINGREQ */
	turn();
	expect_nothing(&sub);
	expect_nothing(&pub);
	ck_assert_uint_eq(rs.submitted[STORE_PUBLISH], 2);
	ck_assert_uint_eq(session_of('p')->deferred, 2);
	wait_for_publishes(4);
	expect_publish(&sub, 2, 'a');
	expect_publish(&sub, 2, 'b');
	EXPECT(&pub, "\x40\x02\x00\x01\x40\x02\x00\x02\xd0\x00");
	ck_assert_uint_eq(session_of('p')->deferred, 0);
	send_publish(&pub, 2, 't', 3, 'c');
	turn();
	EXPECT(&pub, "\x40\x02\x00\x03");
	end();
}
END_TEST

START_TEST(a_message_that_is_refused_again_keeps_its_place)
{
	begin(false, 1, true);
	rs.fail_verb = STORE_PUBLISH;
	rs.fail_result = ERR_IO;
	rs.fail_count = 3;
	send_publish(&pub, 2, 't', 1, 'a');
	send_publish(&pub, 2, 't', 2, 'b');
	send_publish(&pub, 2, 't', 3, 'c');
	turn();
	rs.fail_count = 2; /* the first is tried alone */
	wait_for_publishes(8);
	EXPECT(&pub, "\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x03");
	ck_assert_uint_eq(rs.submitted[STORE_PUBLISH], 8);
	expect_publish(&sub, 2, 'a');
	expect_publish(&sub, 2, 'b');
	expect_publish(&sub, 2, 'c');
	end();
}
END_TEST

START_TEST(who_waits_too_long_is_closed_and_may_repeat)
{
	begin_with("publish_wait 1", false, 2, false);
	rs.fail_verb = STORE_PUBLISH;
	rs.fail_result = ERR_FULL;
	rs.fail_count = UINT32_MAX;
	send_publish(&pub, 4, 't', 5, 'a');
	turn();
	expect_nothing(&pub);
	for (int i = 0; i < 1000 && !pub.closed; i++) {
		usleep(10000);
		turn();
		fill_input(&pub);
	}
	ck_assert(pub.closed);
	ck_assert_uint_eq(pub.len, 0);
	close(pub.fd);
	connect_as(&pub, 'p', false, true);
	ck_assert_uint_eq(session_of('p')->deferred, 0);
	rs.fail_count = 0;
	send_publish(&pub, 12, 't', 5, 'a');
	turn();
	EXPECT(&pub, "\x50\x02\x00\x05");
	expect_publish(&sub, 4, 'a');
	end();
}
END_TEST

/* A connection that ends while it waits: what it sent goes with it, and the next one's are not held up by the closed gate. */
START_TEST(who_leaves_while_waiting_leaves_nothing)
{
	begin(false, 2, false);
	fail_next(STORE_PUBLISH, ERR_FULL);
	send_publish(&pub, 4, 't', 5, 'a');
	send_publish(&pub, 4, 't', 6, 'b');
	turn();
	expect_nothing(&pub);
	static struct client next;
	connect_as(&next, 'p', false, true);
	expect_closed(&pub);
	ck_assert_uint_eq(session_of('p')->deferred, 0);
	send_publish(&next, 12, 't', 5, 'a');
	turn();
	EXPECT(&next, "\x50\x02\x00\x05");
	expect_publish(&sub, 4, 'a');
	fail_next(STORE_PUBLISH, ERR_FULL);
	send_publish(&next, 4, 't', 7, 'c');
	turn();
	close(sub.fd);
	close(next.fd);
	rig_end(); /* while it waits */
}
END_TEST

/* It is repeated while the store has not answered about the first yet: that it fails is not acknowledged either. */
START_TEST(a_repetition_shares_the_fate_of_the_first)
{
	begin_with("publish_wait 0", false, 2, false);
	rs.hold = true;
	send_publish(&pub, 4, 't', 5, 'a');
	turn();
	hang_up(&pub);
	struct store_op *first = rig_take(&rs.first, &rs.last); /* is slow */
	rs.hold = false;
	connect_as(&pub, 'p', false, true);
	send_publish(&pub, 12, 't', 5, 'a');
	rs.hold = true;
	turn();
	expect_nothing(&pub);
	fail_next(STORE_PUBLISH, ERR_FULL);
	rig_apply(first);
	rig_store_run(UINT32_MAX);
	expect_closed(&pub);
	ck_assert_uint_eq(pub.len, 0);
	rs.hold = false;
	connect_as(&pub, 'p', false, true);
	send_publish(&pub, 12, 't', 5, 'a');
	turn();
	EXPECT(&pub, "\x50\x02\x00\x05");
	expect_publish(&sub, 4, 'a');
	end();
}
END_TEST

START_TEST(a_repeated_qos2_message_is_routed_once)
{
	begin(false, 2, false);
	send_publish(&pub, 4, 't', 5, 'a');
	turn();
	send_publish(&pub, 12, 't', 5, 'a');
	turn();
	EXPECT(&pub, "\x50\x02\x00\x05\x50\x02\x00\x05");
	hang_up(&pub);
	connect_as(&pub, 'p', false, true);
	send_publish(&pub, 12, 't', 5, 'a');
	turn();
	EXPECT(&pub, "\x50\x02\x00\x05");
	send_ack(&pub, MQTT_PUBREL, 5);
	send_publish(&pub, 4, 't', 5, 'b'); /* the identifier is free again */
	turn();
	EXPECT(&pub, "\x70\x02\x00\x05\x50\x02\x00\x05");
	expect_publish(&sub, 4, 'a');
	expect_publish(&sub, 4, 'b');
	expect_nothing(&sub);
	end();
}
END_TEST

/* ---- sessions that the store does not have ---- */

START_TEST(a_session_that_the_store_could_not_create_is_not_there)
{
	rig_start("");
	fail_next(STORE_SESSION_NEW, ERR_NOMEM);
	dial(&sub);
	send_connect(&sub, 's', false);
	turn();
	EXPECT(&sub, "\x20\x02\x00\x03");
	expect_closed(&sub);
	ck_assert_ptr_null(session_of('s'));
	connect_as(&sub, 's', false, false);
	rig_end();
	close(sub.fd);
}
END_TEST

START_TEST(a_session_whose_client_left_before_the_store_failed_is_not_there)
{
	rig_start("");
	fail_next(STORE_SESSION_NEW, ERR_IO);
	rs.hold = true;
	dial(&sub);
	send_connect(&sub, 's', false);
	turn();
	dial(&pub);
	send_connect(&pub, 's', false); /* takes over */
	turn();
	rs.hold = false;
	turn();
	EXPECT(&pub, "\x20\x02\x00\x03");
	ck_assert_ptr_null(session_of('s'));
	close(sub.fd);
	close(pub.fd);
	connect_as(&sub, 's', false, false);
	close(sub.fd);
	rig_end();
}
END_TEST

/* A will belongs to a connection that was accepted [MQTT-3.1.2-8]. */
START_TEST(a_connection_taken_over_before_connack_leaves_no_will)
{
	begin(true, 0, true);
	rs.hold = true;
	hang_up(&pub);
	dial(&pub);
	SEND(&pub, "\x10\x13\x00\x04MQTT\x04\x04\x00\x00\x00\x01q\x00\x01t\x00\x01w");
	turn();
	hang_up(&pub);
	dial(&pub);
	SEND(&pub, "\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01q");
	turn();
	rs.hold = false;
	turn();
	EXPECT(&pub, "\x20\x02\x01\x00");
	expect_nothing(&sub);
	end();
}
END_TEST

/* CONNACK says that the will is kept; a clean session without one waits for nothing. Where it can't be kept the client is served all the same. */
START_TEST(connack_waits_for_the_will)
{
	begin(true, 0, true);
	rs.hold = true;
	hang_up(&pub);
	dial(&pub);
	SEND(&pub, "\x10\x13\x00\x04MQTT\x04\x06\x00\x00\x00\x01q\x00\x01t\x00\x01w");
	turn();
	expect_nothing(&pub);
	rs.hold = false;
	turn();
	EXPECT(&pub, "\x20\x02\x00\x00");
	hang_up(&pub);
	expect_publish(&sub, 0, 'w');
	dial(&pub);
	rs.fail_verb = STORE_WILL_PUT;
	rs.fail_result = ERR_IO;
	rs.fail_count = 1;
	SEND(&pub, "\x10\x13\x00\x04MQTT\x04\x06\x00\x00\x00\x01q\x00\x01t\x00\x01w");
	turn();
	EXPECT(&pub, "\x20\x02\x00\x00");
	hang_up(&pub);
	expect_publish(&sub, 0, 'w');
	ck_assert_uint_eq(rs.submitted[STORE_WILL_PUT], 2);
	ck_assert_uint_eq(rs.submitted[STORE_WILL_DROP], 1);
	end();
}
END_TEST

static uint64_t will_put, will_published;
static void watch_will(const struct store_op *op)
{
	if (op->verb == STORE_WILL_PUT)
		will_put = op->u.will.number;
	else if (op->verb == STORE_PUBLISH)
		will_published = op->u.publish.will;
}

/* For a persistent subscriber it is stored as a message and dropped as a will in one transaction; a taken-over connection's will does not
 * take that of its successor along. */
START_TEST(a_will_goes_with_its_publication)
{
	begin(false, 1, true);
	rs.watch = watch_will;
	hang_up(&pub);
	dial(&pub);
	SEND(&pub, "\x10\x13\x00\x04MQTT\x04\x0c\x00\x00\x00\x01q\x00\x01t\x00\x01w");
	turn();
	EXPECT(&pub, "\x20\x02\x00\x00");
	uint64_t first = will_put;
	static struct client next;
	dial(&next);
	SEND(&next, "\x10\x13\x00\x04MQTT\x04\x0c\x00\x00\x00\x01q\x00\x01t\x00\x01x");
	turn();
	expect_closed(&pub);
	EXPECT(&next, "\x20\x02\x01\x00");
	ck_assert_uint_ne(first, 0);
	ck_assert_uint_eq(will_published, first);
	ck_assert_uint_ne(will_put, first);
	expect_publish(&sub, 2, 'w');
	hang_up(&next);
	ck_assert_uint_eq(will_published, will_put);
	expect_publish(&sub, 2, 'x');
	ck_assert_uint_eq(rs.submitted[STORE_WILL_DROP], 0);
	rs.watch = NULL;
	close(sub.fd);
	rig_end();
}
END_TEST

/* ---- a session that ends with many subscriptions ---- */

static uint64_t subscriptions(void)
{
	struct trie_stats stats;
	trie_stats(rig.b->trie, &stats);
	return stats.subscriptions;
}

START_TEST(many_subscriptions_of_a_clean_session_end_by_and_by)
{
	enum { MANY = 20000 };
	begin(true, 1, true);
	struct session *s = sessions_find(rig.l->sessions, "s", 1);
	sub_handle was = s->subs.handle;
	for (int i = 0; i < MANY; i++) {
		char filter[16];
		bool added;
		int n = snprintf(filter, sizeof filter, "t/%d", i);
		ck_assert_int_eq(trie_subscribe(rig.b->trie, rig.l->epoch_id, &s->subs, (uint8_t *)filter, (size_t)n, 0, 0, &added), ERR_OK);
	}
	hang_up(&sub);
	ck_assert_ptr_null(sessions_find(rig.l->sessions, "s", 1));
	ck_assert_ptr_null(sessions_get(rig.l->sessions, was));
	ck_assert(sessions_clearing(rig.l->sessions));
	uint64_t left = subscriptions();
	ck_assert(left > 0 && left < MANY);
	send_publish(&pub, 2, 't', 1, 'a'); /* what still matches meets nobody */
	turn();
	EXPECT(&pub, "\x40\x02\x00\x01");
	connect_as(&sub, 's', true, false); /* the same client again: another handle, and nothing of the old one */
	ck_assert(sessions_clearing(rig.l->sessions));
	ck_assert_uint_ne(sub_handle_slot(sessions_find(rig.l->sessions, "s", 1)->subs.handle), sub_handle_slot(was));
	send_publish(&pub, 2, 't', 2, 'b');
	turn();
	EXPECT(&pub, "\x40\x02\x00\x02");
	expect_nothing(&sub);
	for (int i = 0; i < 20 && sessions_clearing(rig.l->sessions); i++)
		turn();
	ck_assert_uint_eq(subscriptions(), 0);
	end();
}
END_TEST

START_TEST(a_broker_may_end_before_they_have)
{
	begin(true, 1, true);
	struct session *s = sessions_find(rig.l->sessions, "s", 1);
	for (int i = 0; i < 20000; i++) {
		bool added;
		uint8_t filter[3] = { 't', (uint8_t)('0' + i / 200), (uint8_t)('0' + i % 200) };
		ck_assert_int_eq(trie_subscribe(rig.b->trie, rig.l->epoch_id, &s->subs, filter, sizeof filter, 0, 0, &added), ERR_OK);
	}
	hang_up(&sub);
	ck_assert(sessions_clearing(rig.l->sessions));
	close(pub.fd);
	rig_end();
}
END_TEST

/* ---- what a match costs ---- */

/* As many shapes as a session may have; each new topic meets some hundred nodes of the trie. */
static void subscribe_shapes(struct sub_set *set, unsigned levels)
{
	char filter[64];
	bool added;
	for (uint32_t plus = 0; plus < 1U << 10; plus++) {
		for (unsigned i = 0; i < levels; i++) {
			filter[2 * i] = plus >> i & 1 ? '+' : 'a';
			filter[2 * i + 1] = '/';
		}
		filter[2 * levels] = '#';
		size_t len = 2 * (size_t)levels + 1;
		if (sub_set_shape_fits(set, (uint8_t *)filter, len, rig.conf->max_wildcard_shapes))
			ck_assert_int_eq(trie_subscribe(rig.b->trie, rig.l->epoch_id, set, (uint8_t *)filter, len, 0, 0, &added), ERR_OK);
	}
}

/* One turn looks at no more of the trie than it may, and one PUBLISH of each publisher: the others wait for the next, and nobody is lost. */
START_TEST(topics_that_cost_much_share_a_turn)
{
	enum { MANY = 600, LEVELS = 20, VISITS = 200000 };
	struct sub_set set;
	static uint8_t burst[MANY * 64];
	size_t len = 0;
	uint64_t dearest = 0;
	begin(true, 1, true);
	sub_set_init(&set, sub_handle_make(0, 77, 1)); /* a session that has ended: nothing is delivered */
	subscribe_shapes(&set, LEVELS);
	for (int i = 0; i < MANY; i++) {
		uint8_t *p = burst + len, *topic = p + 4;
		for (int k = 0; k < LEVELS; k++)
			memcpy(topic + (size_t)k * 2, "a/", 2);
		int n = 2 * LEVELS + snprintf((char *)topic + (size_t)(2 * LEVELS), 16, "%d", i);
		memcpy(p, (uint8_t[]){0x30, (uint8_t)(n + 2), 0, (uint8_t)n}, 4);
		len += (size_t)n + 4;
	}
	send_bytes(&pub, burst, len);
	uint64_t received = rig.l->stats.publish_received, before = match_cache_visited(rig.l->cache), first = 0;
	for (int turns = 0; rig.l->stats.publish_received - received < MANY; turns++) {
		ck_assert_int_lt(turns, 100);
		uint64_t at = match_cache_visited(rig.l->cache);
		ev_run(rig.l->ev, EVRUN_NOWAIT);
		uint64_t cost = match_cache_visited(rig.l->cache) - at;
		dearest = cost > dearest ? cost : dearest;
		first = first ? first : rig.l->stats.publish_received - received;
	}
	uint64_t each = (match_cache_visited(rig.l->cache) - before) / MANY;
	ck_assert_uint_gt(each, 1000);           /* the set is hostile indeed */
	ck_assert_uint_lt(first, MANY);          /* one turn was not enough */
	ck_assert_uint_lt(dearest, VISITS + 3 * each);
	trie_clear(rig.b->trie, rig.l->epoch_id, &set);
	end();
}
END_TEST

/* ---- shared subscriptions ---- */

static bool retained_seen;
static unsigned most_receivers;
static void watch(const struct store_op *op)
{
	if (op->verb != STORE_PUBLISH)
		return;
	retained_seen |= op->u.publish.retained;
	if (op->u.publish.n_receivers > most_receivers)
		most_receivers = op->u.publish.n_receivers;
}

/* What a member leaves behind goes to another; it does not become the topic's retained message again. */
START_TEST(a_message_handed_on_is_not_retained_again)
{
	struct client away;
	rig_start("");
	connect_as(&sub, 's', true, false);
	subscribe(&sub, "$share/g/t", 1);
	connect_as(&pub, 'p', true, false);
	send_publish(&pub, 3, 't', 1, 'a');
	turn();
	expect_publish(&sub, 2, 'a');
	connect_as(&away, 'a', false, false);
	subscribe(&away, "$share/g/t", 1);
	send_publish(&pub, 1, 't', 0, 0); /* removes the retained message */
	turn();
	retained_seen = false;
	rs.watch = watch;
	hang_up(&sub);
	ck_assert(!retained_seen);
	close(away.fd);
	close(pub.fd);
	rig_end();
}
END_TEST

START_TEST(a_session_is_one_receiver_however_it_subscribed)
{
	begin(false, 1, true);
	subscribe(&sub, "$share/g/t", 2);
	subscribe(&sub, "$share/h/+", 1);
	rs.watch = watch;
	most_receivers = 0;
	send_publish(&pub, 4, 't', 1, 'a');
	turn();
	ck_assert_uint_eq(most_receivers, 1);
	end();
}
END_TEST

/* ---- refused subscriptions ---- */

/* 3.1 has no code for failure: the SUBACK says yes, and nothing else does. */
START_TEST(a_subscription_refused_in_3_1_gets_nothing)
{
	for (int clean = 0; clean < 2; clean++) {
		rig_start("max_subscriptions_per_client 1");
		connect_as(&pub, 'p', true, false);
		send_publish(&pub, 1, 'r', 0, 'x');
		turn();
		dial(&sub);
		uint8_t hello[] = "\x10\x0f\x00\x06MQIsdp\x03\x00\x00\x00\x00\x01s";
		hello[11] = clean ? 2 : 0;
		send_bytes(&sub, hello, sizeof hello - 1);
		turn();
		EXPECT(&sub, "\x20\x02\x00\x00");
		SEND(&sub, "\x82\x0a\x00\x01\x00\x01t\x00\x00\x01r\x00");
		turn();
		EXPECT(&sub, "\x90\x04\x00\x01\x00\x00");
		expect_nothing(&sub);
		ck_assert_uint_eq(rs.submitted[STORE_SUBSCRIBE], clean ? 0 : 1);
		end();
	}
}
END_TEST

/* ---- what a client can make the broker keep ---- */

START_TEST(who_does_not_read_his_answers_is_not_read)
{
	static uint8_t pings[100000];
	begin(true, 1, true);
	for (size_t i = 0; i < sizeof pings; i += 2)
		memcpy(pings + i, "\xc0\x00", 2);
	size_t sent = 0;
	for (unsigned quiet = 0; quiet < 20; quiet++) {
		ssize_t n = send(pub.fd, pings, sizeof pings, MSG_NOSIGNAL);
		if (n > 0) {
			sent += (size_t)n;
			quiet = 0;
		}
		turn();
		ck_assert_uint_lt(sent, 64U << 20);
	}
	ck_assert_uint_lt(session_of('p')->conn->ctl_cap, 1U << 18);
	for (size_t got = 0; got < sent / 2 * 2;) { /* all are answered once he does */
		pub.len = 0;
		fill_input(&pub);
		got += pub.len;
		turn();
		ck_assert(!pub.closed);
	}
	end();
}
END_TEST

START_TEST(who_subscribes_again_and_takes_nothing_is_ended)
{
	static uint8_t again[500 * 8];
	begin(true, 1, true);
	for (char topic = 'A'; topic <= 'Z'; topic++)
		send_publish(&pub, 3, topic, 1, 'r');
	for (size_t i = 0; i < 500; i++)
		memcpy(again + 8 * i, "\x82\x06\x00\x01\x00\x01#\x01", 8);
	unsigned rounds = 0;
	while (session_of('s') && ++rounds < 200) { /* 26 messages for 8 bytes */
		sub.len = 0; /* he reads, but acknowledges nothing */
		fill_input(&sub);
		(void)!send(sub.fd, again, sizeof again, MSG_NOSIGNAL);
		turn();
	}
	ck_assert_ptr_null(session_of('s'));
	end();
}
END_TEST

static void send_large(struct client *c, uint8_t flags, unsigned packets, size_t payload)
{
	static uint8_t p[1U << 19];
	size_t n = 3 + (flags & 6 ? 2U : 0U) + payload;
	p[0] = (uint8_t)(0x30 | flags);
	p[1] = (uint8_t)(n % 128 | 128);
	p[2] = (uint8_t)(n / 128 % 128 | 128);
	p[3] = (uint8_t)(n / 128 / 128);
	memcpy(p + 4, "\0\1t\0\1", 5);
	for (unsigned i = 0, idle = 0; i < packets && idle < 10; i++)
		for (size_t at = 0; at < n + 4 && idle < 10;) {
			ssize_t sent = send(c->fd, p + at, n + 4 - at, MSG_NOSIGNAL);
			at += sent > 0 ? (size_t)sent : 0;
			idle = sent > 0 ? 0 : idle + 1;
			turn();
		}
}

START_TEST(a_publisher_waits_while_the_store_owes_it_much)
{
	for (uint8_t qos = 0; qos < 2; qos++) {
		begin(true, 0, true);
		rs.hold = true;
		send_large(&pub, (uint8_t)(1 | qos << 1), 100, 400000);
		ck_assert_uint_lt(session_of('p')->deferred, 30);
		ck_assert_uint_lt(session_of('p')->deferred, 30);
		rs.hold = false;
		for (unsigned i = 0; i < 20; i++)
			turn();
		ck_assert_uint_eq(session_of('p')->deferred, 0);
		ck_assert_uint_eq(session_of('p')->deferred_bytes, 0);
		ck_assert_uint_eq(session_of('p')->conn->hold, 0);
		end();
	}
}
END_TEST

static unsigned told_away;
static void watch_away(const struct store_op *op)
{
	if (op->verb == STORE_SESSION_STATE && !op->u.session.connected && op->u.session.time_ms == rig.l->wall_ms)
		told_away++;
}

/* Else each restart of the broker would begin the time to its expiry anew. */
START_TEST(the_store_is_told_since_when_a_session_is_away)
{
	begin(false, 1, true);
	rs.watch = watch_away;
	hang_up(&sub);
	ck_assert_uint_eq(told_away, 1);
	hang_up(&pub);
	ck_assert_uint_eq(told_away, 1);
	rig_end();
}
END_TEST

SUITE_MAIN("broker/publish", a_puback_waits_for_its_own_commit, answers_keep_the_order_of_their_questions,
	a_message_that_the_store_refuses_ends_its_publisher_unacknowledged,
	a_refused_message_is_tried_again, a_message_that_is_refused_again_keeps_its_place, who_waits_too_long_is_closed_and_may_repeat,
	who_leaves_while_waiting_leaves_nothing,
	a_qos2_message_that_the_store_refused_is_new_when_it_is_repeated, a_repetition_shares_the_fate_of_the_first,
	a_repeated_qos2_message_is_routed_once, a_session_that_the_store_could_not_create_is_not_there,
	a_session_whose_client_left_before_the_store_failed_is_not_there, a_connection_taken_over_before_connack_leaves_no_will,
	connack_waits_for_the_will, a_will_goes_with_its_publication,
	a_message_handed_on_is_not_retained_again,
	many_subscriptions_of_a_clean_session_end_by_and_by, a_broker_may_end_before_they_have,
	topics_that_cost_much_share_a_turn, a_session_is_one_receiver_however_it_subscribed,
	a_subscription_refused_in_3_1_gets_nothing, who_does_not_read_his_answers_is_not_read,
	who_subscribes_again_and_takes_nothing_is_ended, a_publisher_waits_while_the_store_owes_it_much,
	the_store_is_told_since_when_a_session_is_away)
