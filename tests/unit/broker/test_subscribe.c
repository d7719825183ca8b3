/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a SUBSCRIBE costs in a turn, counted in places of the retained tree, and what comes in which order when it takes several. */
#include "broker/subscribe.h"
#include "tests/unit/broker/rig.h"

enum { TOPICS = 3000, FILTERS = 300, LARGE = 100000 };
enum { PAST_THE_BOUND = TOPIC_LEVELS_MAX + 3 * LARGE / 8 }; /* a step, or a copy of a table that is a third full */

static struct client sub, pub;

static void keep(const char *topic, const char *payload)
{
	struct msg *m = msg_new(&(struct msg_spec){ .topic = topic, .topic_len = strlen(topic), .payload = payload, .payload_len = strlen(payload),
		.time_ms = rig.l->wall_ms });
	ck_assert(m != NULL);
	ck_assert_int_eq(retained_put(rig.b->retained, rig.l->epoch_id, m, 0), ERR_OK);
	msg_unref(m);
}

/* Many topics that each filter has to look at, and for each filter two that match. */
static void begin(void)
{
	char topic[32];
	rig_start("");
	for (int i = 0; i < TOPICS; i++) {
		snprintf(topic, sizeof topic, "t%d", i);
		keep(topic, "x");
	}
	for (int i = 0; i < FILTERS; i++) {
		snprintf(topic, sizeof topic, "t%d/z%d", i, i);
		keep(topic, "o");
		snprintf(topic, sizeof topic, "t%d/z%d", FILTERS - i, i);
		keep(topic, "p");
	}
}

/* +/z0, +/z1, … */
static void send_subscribe(struct client *c, int n_filters)
{
	static uint8_t p[FILTERS * 16];
	size_t n = 5;
	for (int i = 0; i < n_filters; i++) {
		int len = snprintf((char *)p + n + 2, 12, "+/z%d", i);
		p[n] = 0;
		p[n + 1] = (uint8_t)len;
		n += (size_t)len + 2;
		p[n++] = 0;
	}
	memcpy(p, (uint8_t[]){ 0x82, (uint8_t)((n - 3) | 0x80), (uint8_t)((n - 3) >> 7), 0, 1 }, 5);
	send_bytes(c, p, n);
}

/* What it cost. (libev ends a turn and begins the next in one run: a SUBSCRIBE that comes when nothing waits is of the latter.) */
static uint64_t one_turn(void)
{
	uint64_t before = rig.l->retained_visited;
	ev_run(rig.l->ev, EVRUN_NOWAIT);
	ck_assert_uint_lt(rig.l->retained_visited - before, SUBSCRIBE_VISITS_PER_TURN + PAST_THE_BOUND);
	return rig.l->retained_visited - before;
}

static void expect_suback(struct client *c, size_t n_filters)
{
	struct packet p;
	ck_assert(next_packet(c, &p));
	ck_assert_uint_eq(p.type, MQTT_SUBACK);
	ck_assert_uint_eq(p.len, 2 + n_filters);
	for (size_t i = 0; i < n_filters; i++)
		ck_assert_uint_eq(p.body[2 + i], 0);
}

static void expect_message(struct client *c, uint8_t flags, const char *topic, char payload)
{
	struct packet p;
	ck_assert_msg(next_packet(c, &p), "no PUBLISH to %s", topic);
	ck_assert_uint_eq(p.type, MQTT_PUBLISH);
	ck_assert_msg((size_t)p.body[1] == strlen(topic) && memcmp(p.body + 2, topic, p.body[1]) == 0, "%.*s came, wanted %s", (int)p.body[1], (const char *)p.body + 2, topic);
	ck_assert_int_eq(p.body[p.len - 1], payload);
	ck_assert_uint_eq(p.flags, flags);
}

static void expect_retained(struct client *c, int first, int end)
{
	char topic[32];
	for (int i = first; i < end; i++) {
		snprintf(topic, sizeof topic, "t%d/z%d", i, i);
		expect_message(c, 1, topic, 'o');
		snprintf(topic, sizeof topic, "t%d/z%d", FILTERS - i, i);
		if (FILTERS - i != i)
			expect_message(c, 1, topic, 'p');
	}
}

/* The other client's pings are answered in each turn, by its end; how many turns until nothing waits. */
static int turns_to_the_end(void)
{
	int turns = 0;
	for (; rig.l->subscribing.first; turns++) {
		ck_assert_int_lt(turns, FILTERS);
		SEND(&pub, "\xc0\x00");
		one_turn();
		if (turns > 0)
			EXPECT(&pub, "\xd0\x00");
	}
	turn();
	EXPECT(&pub, "\xd0\x00");
	return turns;
}

/* Before the last filter is taken, what is published is retained for it; what is taken already is live. Nothing comes before SUBACK. */
START_TEST(many_filters_take_many_turns_and_others_are_served)
{
	begin();
	connect_as(&sub, 's', true, false);
	connect_as(&pub, 'p', true, false);
	send_subscribe(&sub, FILTERS - 1);
	SEND(&sub, "\xc0\x00");
	one_turn();
	ck_assert_ptr_nonnull(rig.l->subscribing.first);
	expect_nothing(&sub);
	SEND(&pub, "\x31\x08\x00\x05t0/z0l\x31\x0c\x00\x09t298/z298l\x30\x08\x00\x05t1/z0m");
	one_turn();
	expect_nothing(&sub);
	ck_assert_int_gt(turns_to_the_end(), FILTERS / 20);
	expect_suback(&sub, FILTERS - 1);
	expect_retained(&sub, 0, 1);
	struct packet p;
	unsigned live = 0, last = 0, retained = 0, answers = 0;
	while (next_packet(&sub, &p)) {
		if (p.type == MQTT_PINGRESP) {
			answers++; /* its own ping waited */
			continue;
		}
		char payload = (char)p.body[p.len - 1];
		retained += p.flags;
		if (p.flags == 0) /* the two that are live, in their order */
			ck_assert_int_eq(payload, live++ == 0 ? 'l' : 'm');
		else if (payload == 'l')
			last += p.body[1] == 9;
	}
	ck_assert_uint_eq(answers, 1);
	ck_assert_uint_eq(live, 2);
	ck_assert_uint_eq(last, 1);
	ck_assert_uint_eq(retained, 2 * (FILTERS - 2) - 1); /* t150/z150 is one topic */
	close(sub.fd);
	close(pub.fd);
	rig_end();
}
END_TEST

/* Its SUBACK is of the store alone. */
START_TEST(a_persistent_session_has_its_suback_first)
{
	begin();
	connect_as(&sub, 's', false, false);
	connect_as(&pub, 'p', true, false);
	send_subscribe(&sub, 100);
	one_turn();
	expect_nothing(&sub);
	rig_store_run(UINT32_MAX);
	one_turn();
	ck_assert_ptr_nonnull(rig.l->subscribing.first);
	expect_suback(&sub, 100);
	SEND(&sub, "\xa2\x08\x00\x05\x00\x04+/z0"); /* waits */
	ck_assert_int_gt(turns_to_the_end(), 5);
	expect_retained(&sub, 0, 100);
	EXPECT(&sub, "\xb0\x02\x00\x05");
	expect_nothing(&sub);
	close(sub.fd);
	close(pub.fd);
	rig_end();
}
END_TEST

START_TEST(who_hangs_up_costs_no_more)
{
	for (int clean = 0; clean < 2; clean++) {
		begin();
		connect_as(&sub, 's', clean, false);
		connect_as(&pub, 'p', true, false);
		send_subscribe(&sub, FILTERS);
		one_turn();
		rig_store_run(UINT32_MAX);
		one_turn();
		ck_assert_ptr_nonnull(rig.l->subscribing.first);
		close(sub.fd);
		uint64_t visited = rig.l->retained_visited;
		ck_assert_int_le(turns_to_the_end(), 1);
		ck_assert_uint_eq(rig.l->retained_visited, visited);
		ck_assert(clean ? !session_of('s') : !session_of('s')->conn);
		close(pub.fd);
		rig_end();
	}
}
END_TEST

/* Its client id comes again while the packet waits: that was the former connection's. */
START_TEST(who_is_taken_over_costs_no_more)
{
	static struct client again;
	begin();
	connect_as(&sub, 's', true, false);
	connect_as(&pub, 'p', true, false);
	send_subscribe(&sub, FILTERS);
	one_turn();
	ck_assert_ptr_nonnull(rig.l->subscribing.first);
	connect_as(&again, 's', true, false);
	turn();
	ck_assert_ptr_null(rig.l->subscribing.first);
	expect_nothing(&again);
	close(again.fd);
	close(sub.fd);
	close(pub.fd);
	rig_end();
}
END_TEST

/* Round robin: one that asks for little waits for one step of each that asks for much. */
START_TEST(a_small_subscribe_does_not_wait_for_large_ones)
{
	enum { MANY = 5 };
	static struct client greedy[MANY];
	begin();
	connect_as(&sub, 's', true, false);
	for (int i = 0; i < MANY; i++) {
		connect_as(&greedy[i], (char)('A' + i), true, false);
		send_subscribe(&greedy[i], FILTERS);
	}
	one_turn();
	send_subscribe(&sub, 1);
	for (int i = 0; i <= MANY + 1; i++)
		one_turn();
	expect_suback(&sub, 1);
	expect_retained(&sub, 0, 1);
	for (int i = 0; i < MANY; i++)
		expect_nothing(&greedy[i]);
	for (int i = 0; i < MANY; i++)
		close(greedy[i].fd);
	close(sub.fd);
	turn();
	rig_end();
}
END_TEST

START_TEST(a_broker_may_end_before_it_is_over)
{
	begin();
	connect_as(&sub, 's', true, false);
	send_subscribe(&sub, FILTERS);
	one_turn();
	rig.l->stopping = true;
	ck_assert_uint_eq(one_turn() + one_turn(), 0);
	rig_end();
	close(sub.fd);
}
END_TEST

/* ---- one filter that takes many turns ---- */

/* t0, t1, … with payload o; the younger ones have the lower numbers. */
static void begin_large(bool clean)
{
	char topic[32];
	rig_start("max_queued_messages 0");
	for (int i = LARGE - 1; i >= 0; i--) {
		snprintf(topic, sizeof topic, "t%d", i);
		keep(topic, "o");
	}
	connect_as(&sub, 's', clean, false);
	connect_as(&pub, 'p', true, false);
}

static uint8_t to_send[8192];
static size_t n_to_send;

static void publish_to(int topic, bool retain, const char *payload)
{
	uint8_t *p = to_send + n_to_send;
	int n = snprintf((char *)p + 4, 40, "t%d%s", topic, payload);
	memcpy(p, (uint8_t[]){ retain ? 0x31 : 0x30, (uint8_t)(n + 2), 0, (uint8_t)(n - (int)strlen(payload)) }, 4);
	n_to_send += (size_t)n + 4;
}

static void send_published(void)
{
	send_bytes(&pub, to_send, n_to_send);
	n_to_send = 0;
}

static struct { unsigned retained, live; char live_payload; } came[LARGE];
static int n_came, last_retained;

/* All that has arrived: of retained ones the topics go down. (Each packet is short.) */
static void take_all(void)
{
	fill_input(&sub);
	size_t at = 0;
	while (sub.len - at >= 2 && sub.len - at >= 2U + sub.in[at + 1]) {
		const uint8_t *p = sub.in + at;
		at += 2U + p[1];
		if (p[0] >> 4 != MQTT_PUBLISH)
			continue;
		int topic = 0;
		for (int i = 1; i < p[3]; i++)
			topic = 10 * topic + p[4 + i] - '0';
		ck_assert_int_lt(topic, LARGE);
		n_came++;
		if (p[0] & 1) {
			ck_assert_int_lt(topic, last_retained);
			last_retained = topic;
			came[topic].retained++;
			ck_assert_uint_eq(came[topic].live, 0); /* never behind a later one */
			ck_assert_int_eq(p[4 + p[3]], 'o');
		} else {
			came[topic].live++;
			came[topic].live_payload = p[1] == p[3] + 2 ? '-' : (char)p[4 + p[3]];
		}
	}
	memmove(sub.in, sub.in + at, sub.len - at);
	sub.len -= at;
}

/* Meanwhile the tree changes, some of it where the walk has been, some where it has not. */
static void walk_beside_changes(bool clean)
{
	memset(came, 0, sizeof came);
	n_came = 0;
	last_retained = LARGE;
	begin_large(clean);
	SEND(&sub, "\x82\x06\x00\x01\x00\x01#\x00");
	one_turn();
	if (!clean) {
		rig_store_run(UINT32_MAX);
		one_turn();
	}
	ck_assert_ptr_nonnull(rig.l->subscribing.first);
	int turns = 0;
	for (; rig.l->subscribing.first; turns++) {
		ck_assert_int_lt(turns, 50);
		SEND(&pub, "\xc0\x00");
		for (int i = turns; turns < 2 && i < 300; i += 2) {
			publish_to(i, true, "n");       /* replaced */
			publish_to(1000 + i, true, ""); /* removed */
			publish_to(2000 + i, false, "l");
		}
		send_published();
		one_turn();
		if (turns > 0)
			EXPECT(&pub, "\xd0\x00");
		if (rig.l->subscribing.first) {
			take_all(); /* SUBACK of the persistent one */
			ck_assert_int_eq(n_came, 0);
		}
	}
	ck_assert_int_ge(turns, 3);
	for (int before = -1; before != n_came;) {
		before = n_came;
		turn();
		take_all();
	}
	for (int i = 0; i < LARGE; i++) {
		bool changed = i < 300 || (i >= 1000 && i < 1300), live = changed || (i >= 2000 && i < 2300);
		ck_assert_msg(came[i].live == live && (changed ? came[i].retained <= 1 : came[i].retained == 1), "t%d came %u times retained, %u live", i,
			came[i].retained, came[i].live);
		if (live)
			ck_assert_int_eq(came[i].live_payload, i < 300 ? 'n' : i < 1300 ? '-' : 'l');
	}
	ck_assert_uint_eq(session_of('s')->reading, 0);
	close(sub.fd);
	close(pub.fd);
	turn();
	rig_end();
}

START_TEST(a_large_tree_is_walked_in_parts_beside_changes)
{
	walk_beside_changes(true);
	walk_beside_changes(false);
}
END_TEST

/* Its connection ends within the walk, and it comes back: what it is sent is not held any more. */
START_TEST(a_session_that_comes_back_does_not_wait_for_a_walk_that_has_ended)
{
	begin_large(false);
	SEND(&sub, "\x82\x06\x00\x01\x00\x01#\x00");
	one_turn();
	rig_store_run(UINT32_MAX);
	one_turn();
	ck_assert_uint_eq(session_of('s')->reading, 1);
	hang_up(&sub);
	ck_assert_ptr_null(rig.l->subscribing.first);
	ck_assert_uint_eq(session_of('s')->reading, 0);
	connect_as(&sub, 's', false, true);
	publish_to(5, false, "l");
	send_published();
	turn();
	expect_message(&sub, 0, "t5", 'l');
	expect_nothing(&sub);
	close(sub.fd);
	close(pub.fd);
	rig_end();
}
END_TEST

/* Two walks of one session at a time: what is live stays behind both. */
START_TEST(two_walks_of_a_session_keep_what_is_live_behind)
{
	begin_large(false);
	SEND(&sub, "\x82\x06\x00\x01\x00\x01#\x00\x82\x06\x00\x02\x00\x01+\x00");
	one_turn();
	rig_store_run(UINT32_MAX);
	one_turn();
	one_turn();
	ck_assert_uint_ge(session_of('s')->reading, 1);
	publish_to(7, false, "l");
	send_published();
	for (int turns = 0; rig.l->subscribing.first; turns++) {
		ck_assert_int_lt(turns, 100);
		one_turn();
	}
	ck_assert_uint_eq(session_of('s')->reading, 0);
	const struct session *s = session_of('s');
	const struct entry_ring *q = &s->queue;
	ck_assert_uint_ge(q->count, 1);
	const struct entry *last = ring_at(q, q->count - 1);
	ck_assert_uint_eq(last->retain, 0);
	ck_assert_int_eq(msg_payload(last->msg)[0], 'l');
	for (uint32_t i = 0; i + 1 < q->count; i++)
		ck_assert_uint_eq(ring_at(q, i)->retain, 1);
	close(sub.fd);
	close(pub.fd);
	turn();
	rig_end();
}
END_TEST

/* Judging filters has its price too, for a persistent session as for a clean one; SUBACK comes when all are stored. */
START_TEST(thousands_of_filters_are_judged_in_many_turns)
{
	enum { MANY = 7000, PER_TURN = SUBSCRIBE_VISITS_PER_TURN / SUBSCRIBE_FILTER_VISITS };
	static uint8_t p[MANY * 12 + 32];
	for (int clean = 0; clean < 2; clean++) {
		size_t n = 6;
		rig_start("max_packet_size 1000000");
		connect_as(&sub, 's', clean, false);
		connect_as(&pub, 'p', true, false);
		for (int i = 0; i < MANY; i++) {
			int len = snprintf((char *)p + n + 2, 16, "f/%d", i);
			p[n] = 0;
			p[n + 1] = (uint8_t)len;
			n += (size_t)len + 2;
			p[n++] = 0;
		}
		memcpy(p, (uint8_t[]){ 0x82, (uint8_t)((n - 4) | 0x80), (uint8_t)((n - 4) >> 7 | 0x80), (uint8_t)((n - 4) >> 14), 0, 9 }, 6);
		send_bytes(&sub, p, n);
		rs.hold = true;
		int turns = 0;
		do {
			SEND(&pub, "\xc0\x00");
			one_turn();
			ck_assert_uint_le(session_of('s')->subs.count, (uint32_t)(turns + 1) * (PER_TURN + 1));
			ck_assert_int_lt(++turns, 20);
		} while (rig.l->subscribing.first);
		ck_assert_int_ge(turns, MANY / PER_TURN);
		ck_assert_uint_eq(session_of('s')->subs.count, MANY);
		if (!clean) {
			ck_assert_uint_eq(rs.submitted[STORE_SUBSCRIBE], MANY);
			rig_store_run(MANY - 1);
			one_turn();
			expect_nothing(&sub);
		}
		rs.hold = false;
		turn();
		expect_suback(&sub, MANY);
		expect_nothing(&sub);
		close(sub.fd);
		close(pub.fd);
		turn();
		rig_end();
	}
}
END_TEST

SUITE_MAIN("broker/subscribe", a_large_tree_is_walked_in_parts_beside_changes, a_session_that_comes_back_does_not_wait_for_a_walk_that_has_ended,
	two_walks_of_a_session_keep_what_is_live_behind, thousands_of_filters_are_judged_in_many_turns,
	many_filters_take_many_turns_and_others_are_served, a_persistent_session_has_its_suback_first, who_hangs_up_costs_no_more,
	who_is_taken_over_costs_no_more, a_small_subscribe_does_not_wait_for_large_ones, a_broker_may_end_before_it_is_over)
