/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running out of memory at every place in turn, on each way through the broker: at most connections of those who take part end, the
 * bystander and the loop go on, what was acknowledged is there, and nothing leaks (LeakSanitizer). Linked with --wrap (Makefile). */
#include "base/pages.h"
#include "tests/unit/broker/rig.h"

/* 0: none fails; n: the n-th from now fails; after it none, or all while fail_on. */
static unsigned fail_at;
static bool fail_on, failed_one;

static bool fails(void)
{
	if (fail_at == 0 || --fail_at > 0)
		return false;
	fail_at = fail_on;
	failed_one = true;
	return true;
}

#include "tests/unit/base/nomem.h" /* asks fails() */

static struct client one, two, bystander;
static bool apart; /* client one is another loop's */

static void arm(unsigned n)
{
	pool_drain(); /* what the pool kept would hide allocations */
	failed_one = false;
	fail_at = n;
}

/* Sends to a broker that may have closed already. */
#define TRY(c, text) (void)!send((c)->fd, text, sizeof text - 1, MSG_NOSIGNAL)

#define TLS_TOO "log_dest none\nlistener 2 127.0.0.1\ncafile tests/vectors/ca.crt\ncertfile tests/vectors/rsa.crt\nkeyfile tests/vectors/rsa.key"

static void prepare(bool clean)
{
	rig_start(apart ? "threads 2\n" TLS_TOO : TLS_TOO);
	if (apart)
		rig_place("12b", "100");
	connect_as(&bystander, 'b', true, false);
	subscribe(&bystander, "z", 1);
	connect_as(&one, '1', clean, false);
	subscribe(&one, "t", 2);
	connect_as(&two, '2', true, false);
}

/* The same client ids still work, and so does the bystander, who was not disturbed. */
static void inspect(void)
{
	fail_at = 0;
	turn();
	turn();
	expect_nothing(&bystander);
	SEND(&bystander, "\xc0\x00");
	send_publish(&bystander, 2, 'z', 1, 'z');
	turn();
	EXPECT(&bystander, "\xd0\x00");
	struct packet p;
	unsigned seen = 0;
	while (next_packet(&bystander, &p))
		seen |= 1U << p.type;
	ck_assert_uint_eq(seen, 1U << MQTT_PUBACK | 1U << MQTT_PUBLISH);
	close(one.fd);
	close(two.fd);
	turn();
	connect_as(&one, '1', true, false);
	subscribe(&one, "t", 1);
	connect_as(&two, '2', true, false);
	send_publish(&two, 2, 't', 1, 'y');
	turn();
	EXPECT(&two, "\x40\x02\x00\x01");
	expect_publish(&one, 2, 'y');
	close(one.fd);
	close(two.fd);
	close(bystander.fd);
	rig_end();
}

/* Runs scenario with the n-th allocation failing, for every n; clean: of client one. */
static void each_allocation(void (*scenario)(unsigned n), bool clean)
{
	for (int on = 0; on < 2; on++)
		for (unsigned n = 1;; n++) {
			fail_on = on;
			prepare(clean);
			scenario(n);
			bool more = failed_one;
			inspect();
			if (!more)
				break;
			ck_assert_uint_lt(n, 2000);
		}
}

static void connecting(unsigned n)
{
	close(two.fd);
	turn();
	dial(&two);
	fill_input(&two);
	close(two.fd);
	turn();
	arm(n);
	dial(&two); /* with a will */
	TRY(&two, "\x10\x13\x00\x04MQTT\x04\x04\x00\x00\x00\x01q\x00\x01t\x00\x01w");
	turn();
	shutdown(two.fd, SHUT_WR); /* the will is published */
	turn();
}

/* To a TLS listener: what TLS needs is made for the first bytes, here those of a record that is not complete. */
static void saying_something(unsigned n)
{
	close(two.fd);
	turn();
	dial_to(&two, 1);
	turn();
	arm(n);
	TRY(&two, "\x16\x03\x01");
	turn();
}

START_TEST(beginning_a_handshake)
{
	each_allocation(saying_something, true);
}
END_TEST

START_TEST(connecting_and_leaving_a_will)
{
	each_allocation(connecting, true);
	each_allocation(connecting, false);
}
END_TEST

static void subscribing(unsigned n)
{
	send_publish(&two, 1, 'r', 0, 'r');
	turn();
	arm(n);
	TRY(&one, "\x82\x19\x00\x05\x00\x01r\x01\x00\x01+\x02\x00\x0a$share/g/t\x01");
	turn();
	TRY(&one, "\xa2\x05\x00\x06\x00\x01+");
	turn();
}

static void fill_tree(void)
{
	char topic[16];
	for (int i = 0; i < 25000; i++) {
		int len = snprintf(topic, sizeof topic, "%d", i);
		struct msg *m = msg_new(&(struct msg_spec){ .topic = topic, .topic_len = (uint16_t)len, .payload = "x", .payload_len = 1 });
		ck_assert_int_eq(retained_put(rig.b->retained, rig.l->epoch_id, m, 0), ERR_OK);
		msg_unref(m);
	}
}

/* A tree that is dear to walk: the second filter waits for a later turn. */
static void subscribing_by_and_by(unsigned n)
{
	fill_tree();
	arm(n);
	TRY(&one, "\x82\x10\x00\x05\x00\x03+/q\x00\x00\x01" "5\x01\x00\x01" "6\x01");
	turn();
	turn();
}

/* The walk of the one filter is left and gone on with; what was found is merged, and is much more than the socket takes. */
static void subscribing_to_all(unsigned n)
{
	fill_tree();
	arm(n);
	TRY(&one, "\x82\x06\x00\x05\x00\x01+\x00");
	turn();
	turn();
}

START_TEST(subscribing_and_unsubscribing)
{
	each_allocation(subscribing_to_all, true);
	each_allocation(subscribing_to_all, false);
	each_allocation(subscribing, true);
	each_allocation(subscribing, false);
	each_allocation(subscribing_by_and_by, true);
	each_allocation(subscribing_by_and_by, false);
}
END_TEST

static void publishing(unsigned n)
{
	arm(n);
	TRY(&two, "\x30\x04\x00\x01t0" "\x33\x06\x00\x01v\x00\x01r" "\x32\x06\x00\x01t\x00\x02" "1" "\x34\x06\x00\x01t\x00\x03" "2");
	turn();
	TRY(&two, "\x62\x02\x00\x03");
	turn();
	for (unsigned id = 1; id < 4; id++) { /* whatever came; what did not ends the connection */
		uint8_t ack[] = { id < 3 ? 0x40 : 0x50, 2, 0, (uint8_t)id, 0x70, 2, 0, (uint8_t)id };
		(void)!send(one.fd, ack, id < 3 ? 4 : 8, MSG_NOSIGNAL);
		turn();
	}
}

START_TEST(publishing_with_each_qos)
{
	each_allocation(publishing, true);
	each_allocation(publishing, false);
}
END_TEST

START_TEST(publishing_to_another_loop)
{
	apart = true;
	each_allocation(publishing, true);
	each_allocation(publishing, false);
	apart = false;
}
END_TEST

/* A queue in the store, QoS 1 and 2 in flight, and a connection that comes back for it. */
static void resuming(unsigned n)
{
	TRY(&two, "\x34\x06\x00\x01t\x00\x01" "a" "\x32\x06\x00\x01t\x00\x02" "b");
	turn();
	TRY(&two, "\x62\x02\x00\x01");
	turn();
	close(one.fd);
	turn();
	TRY(&two, "\x32\x06\x00\x01t\x00\x03" "c" "\x34\x06\x00\x01t\x00\x04" "d");
	turn();
	arm(n);
	dial(&one);
	TRY(&one, "\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01" "1");
	turn();
	TRY(&one, "\x50\x02\x00\x01\x40\x02\x00\x02\x70\x02\x00\x01");
	turn();
	close(one.fd);
	turn();
	fail_at = 0; /* nothing that was acknowledged is lost */
	dial(&one);
	TRY(&one, "\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01" "1");
	turn();
	struct packet p;
	unsigned seen = 0;
	while (next_packet(&one, &p))
		if (p.type == MQTT_PUBLISH)
			seen |= 1U << (p.body[p.len - 1] - 'a');
	ck_assert_uint_eq(seen & 12U, 12U);
}

START_TEST(coming_back_for_a_queue)
{
	each_allocation(resuming, false);
}
END_TEST

/* Leaves shared messages to others, and a clean session in place of a persistent one. */
static void replacing(unsigned n)
{
	subscribe(&one, "$share/g/u", 1);
	connect_as(&two, 'm', true, false);
	subscribe(&two, "$share/g/u", 1);
	for (char i = 0; i < 10; i++)
		send_publish(&bystander, 0, 'u', 0, 'u');
	turn();
	arm(n);
	shutdown(two.fd, SHUT_WR);
	turn();
	close(one.fd);
	dial(&one);
	TRY(&one, "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01" "1");
	turn();
}

START_TEST(replacing_a_session)
{
	each_allocation(replacing, false);
}
END_TEST

SUITE_MAIN("broker/nomem", beginning_a_handshake, connecting_and_leaving_a_will, subscribing_and_unsubscribing, publishing_with_each_qos, publishing_to_another_loop, coming_back_for_a_queue,
	replacing_a_session)
