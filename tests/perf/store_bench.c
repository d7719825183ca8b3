/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the store alone does per second: publishers with one message in flight each, every message to one persistent session, which
 * acknowledges it at once, as the broker would submit it.
 *
 *   store_bench [-w publishers] [-l payload bytes] [-s sessions] [-t seconds] [-y extra fdatasync µs] [-d strict|relaxed|off] [-k] [-q] DIR
 *      -k  sessions stay away: queues grow, nothing is acknowledged
 *      -q  QoS 2: packet identifier remembered and released, PUBREC and PUBCOMP of the receiver */
#include "tests/crash/powercut.h"

#include "base/clock.h"
#include "base/pool.h"
#include "store/store.h"
#include "tests/unit/store/toy.h"

#include <semaphore.h>

static struct toy toy = { .key = { 5, 6 } };
static const struct store_crypto toy_crypto = { .arg = &toy, .overhead = TOY_OVERHEAD, .seal = toy_seal, .open = toy_open };

struct publisher {
	struct store_op op;
	struct store_receiver to;
	uint64_t since_us;
	uint16_t packet;
};

struct bench {
	struct store *store;
	struct mailbox inbox;
	sem_t woken;
	bool keep, qos2, stop;
	size_t payload, outstanding, n_samples;
	uint64_t done;
	uint32_t *samples;           /* µs from submit to completion */
};

#define SAMPLES_MAX (1u << 22)

static void wake(void *arg)
{
	sem_post(&((struct bench *)arg)->woken);
}

static void free_op(struct store_op *op)
{
	pool_free(op);
}

static void tell(struct bench *b, enum store_verb verb, store_session session, uint64_t record, uint16_t packet)
{
	struct store_op *op = pool_alloc(sizeof *op);
	if (!op)
		abort();
	*op = (struct store_op){ .verb = verb, .free_op = free_op, .u.delivery = { .session = session, .record = record, .packet_id = packet } };
	store_submit(b->store, op);
}

static void publish(struct bench *b, struct publisher *p);

static void published(struct store_op *op, void *owner)
{
	struct bench *b = owner;
	struct publisher *p = (struct publisher *)op;
	if (op->result != ERR_OK) {
		fprintf(stderr, "publish: %s\n", err_text(op->result));
		exit(1);
	}
	if (b->n_samples < SAMPLES_MAX)
		b->samples[b->n_samples++] = (uint32_t)(clock_mono_us() - p->since_us);
	b->done++;
	b->outstanding--;
	msg_unref(op->u.publish.msg);
	if (!b->keep) {
		tell(b, STORE_SENT, p->to.session, op->u.publish.record, 1);
		if (b->qos2) {
			tell(b, STORE_RELEASED, p->to.session, op->u.publish.record, 1);
			tell(b, STORE_QOS2_DONE, op->u.publish.publisher, 0, p->packet);
		}
		tell(b, STORE_ACKED, p->to.session, op->u.publish.record, 1);
	}
	if (!b->stop)
		publish(b, p);
}

static void publish(struct bench *b, struct publisher *p)
{
	static const char zeros[65536];
	struct msg_spec spec = { .topic = "plant/line1/machine42/temperature", .topic_len = 33, .publisher = "machine42", .publisher_len = 9,
		.payload = zeros, .payload_len = b->payload, .qos = 1, .time_ms = clock_wall_ms() };
	struct msg *m = msg_new(&spec);
	if (!m)
		abort();
	p->op = (struct store_op){ .reply = &b->inbox, .done = published, .verb = STORE_PUBLISH, .u.publish = { .msg = m, .receivers = &p->to,
		.n_receivers = 1 } };
	if (b->qos2) {
		p->op.u.publish.publisher = p->to.session;
		p->op.u.publish.packet_id = p->packet;
	}
	p->since_us = clock_mono_us();
	b->outstanding++;
	store_submit(b->store, &p->op);
}

static void new_session(struct bench *b, store_session number)
{
	struct store_op *op = pool_alloc(sizeof *op);
	if (!op)
		abort();
	*op = (struct store_op){ .verb = STORE_SESSION_NEW, .free_op = free_op, .u.session = { .number = number, .client_id = "c",
		.client_id_len = 1, .cn = "n", .cn_len = 1 } };
	store_submit(b->store, op);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x, y;
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return x < y ? -1 : x > y;
}

static void turn(struct bench *b)
{
	if (mailbox_run(&b->inbox, b) == 0)
		sem_wait(&b->woken);
}

int main(int argc, char **argv)
{
	static struct bench b;
	unsigned publishers = 1000, sessions = 100, seconds = 3;
	struct store_options o = { .max_size = UINT64_C(8) << 30, .crypto = &toy_crypto };
	siphash_init();
	b.payload = 100;
	for (int c; (c = getopt(argc, argv, "w:l:s:t:y:d:kq")) != -1;) {
		if (c == 'w')
			publishers = (unsigned)atoi(optarg);
		else if (c == 'l')
			b.payload = (size_t)atoi(optarg) % 65536;
		else if (c == 's')
			sessions = (unsigned)atoi(optarg);
		else if (c == 't')
			seconds = (unsigned)atoi(optarg);
		else if (c == 'y')
			atomic_store(&sync_delay_us, (unsigned)atoi(optarg));
		else if (c == 'd')
			o.durability = strcmp(optarg, "off") == 0 ? STORE_OFF : strcmp(optarg, "relaxed") == 0 ? STORE_RELAXED : STORE_STRICT;
		else if (c == 'k')
			b.keep = true;
		else if (c == 'q')
			b.qos2 = true;
		else
			return 2;
	}
	if (optind + 1 != argc)
		return 2;
	char error[256];
	o.dir = argv[optind];
	sem_init(&b.woken, 0, 0);
	mailbox_init(&b.inbox, wake, &b);
	b.samples = malloc(SAMPLES_MAX * sizeof *b.samples);
	b.store = store_open(&o, error, sizeof error);
	if (!b.samples || !b.store || store_start(b.store) != ERR_OK) {
		fprintf(stderr, "%s\n", error);
		return 1;
	}
	store_session first = store_session_number(b.store);
	for (unsigned i = 0; i < sessions; i++)
		new_session(&b, first + i);
	struct publisher *p = calloc(publishers, sizeof *p);
	if (!p)
		return 1;
	uint64_t start = clock_mono_us();
	for (unsigned i = 0; i < publishers; i++) {
		p[i].to = (struct store_receiver){ .session = first + i % sessions, .qos = b.qos2 ? 2 : 1 };
		p[i].packet = (uint16_t)(i / sessions + 1);
		publish(&b, &p[i]);
	}
	while (clock_mono_us() - start < seconds * UINT64_C(1000000))
		turn(&b);
	b.stop = true;
	uint64_t done = b.done, took = clock_mono_us() - start;
	while (b.outstanding)
		turn(&b);
	struct store_stats s;
	store_stats(b.store, &s);
	qsort(b.samples, b.n_samples, sizeof *b.samples, by_value);
	double syncs = (double)atomic_load(&sync_calls);
	printf("publishers %u payload %zu: %.0f msg/s, %.1f msg and %.1f operations per commit, PUBACK p50 %.2f ms p99 %.2f ms, "
	    "fdatasync %.2f ms, commit %.2f ms\n", publishers, b.payload, (double)done * 1e6 / (double)took, (double)b.done / (double)s.commits,
	    (double)s.operations / (double)s.commits, b.n_samples ? b.samples[b.n_samples / 2] / 1e3 : 0,
	    b.n_samples ? b.samples[b.n_samples - b.n_samples / 100 - 1] / 1e3 : 0, syncs > 0 ? (double)atomic_load(&sync_ns) / syncs / 1e6 : 0,
	    (double)s.sync_us / (double)s.commits / 1e3);
	store_stop(b.store);
	store_close(b.store);
	mailbox_run(&b.inbox, &b);
	free(p);
	free(b.samples);
	return 0;
}
