/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Random histories against what MQTT promises: a persistent subscriber and two persistent publishers that come and go, a store that answers
 * late, pages that come later still, little memory, a small window. Every message arrives; QoS 2 exactly once; the first copies in
 * the order of each publisher and QoS. A history that fails is repeated by its seed. */
#include "tests/unit/broker/rig.h"

enum { MESSAGES = 300, WINDOW = 6 };

static uint64_t random_state;
static unsigned below(unsigned n) /* splitmix64 */
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (unsigned)((z ^ z >> 31) % n);
}

/* ---- a publisher: keeps what is not acknowledged, and sends it again on a new connection [MQTT-4.4.0-1] ---- */

struct publisher {
	struct client c;
	char id;
	bool up;      /* CONNACK has come */
	bool dialled;
	struct { uint16_t seq, pid; uint8_t qos, received; } open[WINDOW]; /* in order */
	unsigned n_open;
	uint16_t next_seq[3]; /* by QoS */
	uint16_t next_pid;
};
static struct publisher pubs[2];

static void send_message(struct publisher *p, unsigned i, bool dup)
{
	uint8_t b[] = { (uint8_t)(0x30 | p->open[i].qos << 1 | (dup ? 8 : 0)), 9, 0, 1, 't', (uint8_t)(p->open[i].pid >> 8), (uint8_t)p->open[i].pid,
		(uint8_t)p->id, p->open[i].qos, (uint8_t)(p->open[i].seq >> 8), (uint8_t)p->open[i].seq };
	send_bytes(&p->c, b, sizeof b);
}

static void publish_next(struct publisher *p)
{
	uint8_t qos = (uint8_t)(1 + below(2));
	if (!p->up || p->n_open == WINDOW || p->next_seq[qos] == MESSAGES)
		return;
	p->next_pid = (uint16_t)(p->next_pid % 20 + 1); /* identifiers come again soon */
	for (unsigned i = 0; i < p->n_open; i++)
		if (p->open[i].pid == p->next_pid)
			return;
	p->open[p->n_open].seq = p->next_seq[qos]++;
	p->open[p->n_open].pid = p->next_pid;
	p->open[p->n_open].qos = qos;
	p->open[p->n_open].received = 0;
	send_message(p, p->n_open++, false);
}

static void publisher_reads(struct publisher *p)
{
	struct packet k;
	while (p->dialled && next_packet(&p->c, &k)) {
		uint16_t pid = k.type == MQTT_CONNACK ? 0 : (uint16_t)((unsigned)k.body[0] << 8 | k.body[1]);
		unsigned i = 0;
		if (k.type == MQTT_CONNACK) {
			ck_assert_uint_eq(k.body[1], 0);
			p->up = true;
			for (; i < p->n_open; i++)
				if (p->open[i].received)
					send_ack(&p->c, MQTT_PUBREL, p->open[i].pid);
				else
					send_message(p, i, true);
			continue;
		}
		while (i < p->n_open && p->open[i].pid != pid)
			i++;
		ck_assert_uint_lt(i, p->n_open);
		if (k.type == MQTT_PUBREC) {
			ck_assert_uint_eq(p->open[i].qos, 2);
			p->open[i].received = 1;
			send_ack(&p->c, MQTT_PUBREL, pid);
			continue;
		}
		ck_assert_uint_eq(k.type, p->open[i].qos == 1 ? MQTT_PUBACK : MQTT_PUBCOMP);
		memmove(&p->open[i], &p->open[i + 1], (--p->n_open - i) * sizeof p->open[0]);
	}
	ck_assert(!p->c.closed);
}

/* Else the former connection's CONNECT may be read after the next one's, and take over from it. */
static void noticed(void)
{
	ev_run(rig.l->ev, EVRUN_NOWAIT);
	ev_run(rig.l->ev, EVRUN_NOWAIT);
}

static void publisher_comes_or_goes(struct publisher *p)
{
	if (p->dialled) {
		publisher_reads(p);
		close(p->c.fd);
		p->dialled = p->up = false;
		noticed();
		return;
	}
	dial(&p->c);
	send_connect(&p->c, p->id, false);
	p->dialled = true;
}

/* ---- the subscriber ---- */

static struct client sub;
static bool sub_dialled;
static bool holds[65536];                  /* QoS 2 identifiers received and not released */
static uint8_t copies[2][3][MESSAGES];     /* by publisher, QoS, number */
static int highest[2][3];
static struct { uint8_t type; uint16_t pid; } owed[64]; /* acknowledgements not sent yet, in order */
static unsigned n_owed;

static void take(const struct packet *k)
{
	uint16_t pid = (uint16_t)((unsigned)k->body[3] << 8 | k->body[4]);
	const uint8_t *m = k->body + 5;
	unsigned p = m[0] == 'q', qos = m[1];
	int seq = m[2] << 8 | m[3];
	ck_assert_uint_eq(k->flags >> 1 & 3, qos);
	ck_assert_uint_ne(pid, 0);
	if (qos == 2 && holds[pid])
		ck_assert_msg(k->flags & 8, "%c %d: identifier %u is in use", m[0], seq, pid);
	else {
		if (copies[p][qos][seq] == 0) {
			ck_assert_msg(seq == highest[p][qos] + 1, "publisher %c QoS %u: %d after %d", m[0], qos, seq, highest[p][qos]);
			highest[p][qos] = seq;
		}
		copies[p][qos][seq]++;
		ck_assert_msg(qos == 1 || copies[p][qos][seq] == 1, "publisher %c: %d came twice", m[0], seq);
	}
	holds[pid] |= qos == 2;
	ck_assert_uint_lt(n_owed, 64);
	owed[n_owed].type = qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
	owed[n_owed++].pid = pid;
}

static void subscriber_reads(void)
{
	struct packet k;
	while (sub_dialled && next_packet(&sub, &k)) {
		if (k.type == MQTT_PUBLISH) {
			take(&k);
		} else if (k.type == MQTT_PUBREL) {
			uint16_t pid = (uint16_t)((unsigned)k.body[0] << 8 | k.body[1]);
			holds[pid] = false;
			ck_assert_uint_lt(n_owed, 64);
			owed[n_owed].type = MQTT_PUBCOMP;
			owed[n_owed++].pid = pid;
		} else {
			ck_assert(k.type == MQTT_CONNACK && k.body[1] == 0 && k.body[0] == 1);
		}
	}
	ck_assert(!sub_dialled || !sub.closed);
}

static void subscriber_acknowledges(unsigned n)
{
	for (; sub_dialled && n_owed > 0 && n > 0; n--) {
		send_ack(&sub, owed[0].type, owed[0].pid);
		memmove(owed, owed + 1, --n_owed * sizeof owed[0]);
	}
}

static void subscriber_comes_or_goes(void)
{
	n_owed = 0;
	if (sub_dialled) {
		subscriber_reads();
		n_owed = 0;
		close(sub.fd);
		sub_dialled = false;
		noticed();
		return;
	}
	dial(&sub);
	send_connect(&sub, 's', false);
	sub_dialled = true;
}

/* ---- the history ---- */

static void short_turn(void)
{
	for (unsigned i = 0; i < 2; i++)
		ev_run(rig.l->ev, EVRUN_NOWAIT);
	subscriber_reads();
	publisher_reads(&pubs[0]);
	publisher_reads(&pubs[1]);
}

static void step(void)
{
	switch (below(64)) {
	case 0:
		subscriber_comes_or_goes();
		break;
	case 1:
		publisher_comes_or_goes(&pubs[below(2)]);
		break;
	case 2: case 3:
		rs.hold_pages = !rs.hold_pages;
		break;
	case 4: case 5:
		rig_pages_run();
		rs.read_early = below(2);
		break;
	default:
		switch (below(4)) {
		case 0:
			rig_store_run(below(6));
			break;
		case 1:
			subscriber_acknowledges(below(4));
			break;
		default:
			publish_next(&pubs[below(2)]);
		}
	}
	if (below(2))
		short_turn();
}

static bool all_there(void)
{
	for (unsigned p = 0; p < 2; p++)
		if (pubs[p].n_open > 0 || highest[p][1] != pubs[p].next_seq[1] - 1 || highest[p][2] != pubs[p].next_seq[2] - 1)
			return false;
	return n_owed == 0 && session_of('s')->queue.count == 0 && session_of('s')->inflight_count == 0;
}

static void history(uint64_t seed)
{
	random_state = seed;
	memset(pubs, 0, sizeof pubs);
	memset(holds, 0, sizeof holds);
	memset(copies, 0, sizeof copies);
	memset(highest, -1, sizeof highest);
	n_owed = 0;
	rig_start("max_inflight_messages 4");
	rig.conf->max_queued_memory = 100 + below(600); /* the cursor's time comes often */
	connect_as(&sub, 's', false, false);
	subscribe(&sub, "t", 2);
	sub_dialled = true;
	for (unsigned i = 0; i < 2; i++) {
		pubs[i].id = (char)('p' + i);
		publisher_comes_or_goes(&pubs[i]);
	}
	rs.hold = true;
	for (unsigned i = 0; i < 3000; i++)
		step();
	rs.hold = rs.hold_pages = false;
	rig_pages_run();
	if (!sub_dialled)
		subscriber_comes_or_goes();
	for (unsigned i = 0; i < 2; i++)
		if (!pubs[i].dialled)
			publisher_comes_or_goes(&pubs[i]);
	for (unsigned i = 0; i < 2000 && !all_there(); i++) {
		turn();
		short_turn();
		subscriber_acknowledges(64);
	}
	ck_assert_msg(all_there(), "missing: p %d of %u, %d of %u; q %d of %u, %d of %u", highest[0][1] + 1, pubs[0].next_seq[1], highest[0][2] + 1,
		pubs[0].next_seq[2], highest[1][1] + 1, pubs[1].next_seq[1], highest[1][2] + 1, pubs[1].next_seq[2]);
	turn();
	struct session *s = session_of('s');
	ck_assert_uint_eq(s->queue.count, 0);
	ck_assert_uint_eq(s->queue_bytes, 0);
	ck_assert_uint_eq(s->inflight_count, 0);
	ck_assert_uint_eq(s->releasing, 0);
	ck_assert_uint_eq(s->sent_ids.count, 0);
	ck_assert_uint_eq(atomic_load(&rig.l->stats.queued), 0);
	ck_assert_uint_eq(atomic_load(&rig.l->stats.queued_bytes), 0);
	ck_assert_uint_eq(session_of('p')->deferred, 0);
	close(sub.fd);
	close(pubs[0].c.fd);
	close(pubs[1].c.fd);
	rig_end();
}

START_TEST(every_message_arrives_in_order_and_qos2_once)
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1, n = one ? 1 : many ? strtoull(many, NULL, 10) : 40;
	for (uint64_t seed = first; seed < first + n; seed++) {
		if (getenv("VERBOSE"))
			fprintf(stderr, "SEED=%llu\n", (unsigned long long)seed);
		history(seed);
	}
}
END_TEST

SUITE_MAIN("broker/model", every_message_arrives_in_order_and_qos2_once)
