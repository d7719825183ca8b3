/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the store alone does per second: publishers with one message in flight each, every message to one persistent session, which
 * acknowledges it at once, as the broker would submit it.
 *
 *   store_bench [-w publishers] [-l payload bytes] [-s sessions] [-t seconds] [-y extra fdatasync µs] [-d strict|relaxed|off] [-c] [-k] [-q] [-n messages] [-R] DIR
 *      -c  no encryption (otherwise a stand-in of about its cost)
 *      -k  sessions stay away: queues grow, nothing is acknowledged
 *      -q  QoS 2: packet identifier remembered and released, PUBREC and PUBCOMP of the receiver
 *      -n  stops after so many messages (with -k: to fill a store)
 *      -R  instead: opens a filled store, reads every queue page by page; start time, memory, messages per second */
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

/* ---- -R */

static store_session numbers[100000];
static size_t n_numbers;

static enum err note_session(void *arg, store_session number, const char *id, size_t id_len, const char *cn, size_t cn_len, uint64_t expiry_s,
    uint64_t away_ms)
{
	(void)arg, (void)id, (void)id_len, (void)cn, (void)cn_len, (void)expiry_s, (void)away_ms;
	if (n_numbers < sizeof numbers / sizeof *numbers)
		numbers[n_numbers++] = number;
	return ERR_OK;
}

/* Of this process, in kB; -1: not known. */
static long anonymous_kb(void)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "RssAnon: %ld", &kb) == 1)
			break;
	if (f)
		fclose(f);
	return kb;
}

static void page_done(struct store_op *op, void *owner)
{
	(void)op;
	((struct bench *)owner)->done++;
}

static uint64_t read_queue(struct bench *b, store_session number)
{
	uint64_t n = 0, after = 0;
	for (bool end = false; !end;) {
		struct store_op op = { .reply = &b->inbox, .done = page_done, .verb = STORE_PAGE, .u.page = { .session = number, .after = after,
			.max_entries = 100, .max_bytes = 1u << 20 } };
		uint64_t want = b->done + 1;
		store_submit(b->store, &op);
		while (mailbox_run(&b->inbox, b), b->done < want)
			sem_wait(&b->woken);
		for (uint32_t i = 0; i < op.u.page.n_entries; i++) {
			after = op.u.page.entries[i].record;
			msg_unref(op.u.page.entries[i].msg);
		}
		n += op.u.page.n_entries;
		end = op.u.page.end;
		pool_free(op.u.page.entries);
	}
	return n;
}

static int read_all(struct bench *b, const struct store_options *o)
{
	char error[256];
	struct store_loader loader = { .session = note_session };
	uint64_t start = clock_mono_us(), n = 0;
	long before = anonymous_kb();
	b->store = store_open(o, error, sizeof error);
	if (!b->store || store_load(b->store, &loader, b) != ERR_OK || store_start(b->store) != ERR_OK) {
		fprintf(stderr, "%s\n", error);
		return 1;
	}
	uint64_t opened = clock_mono_us();
	long after = anonymous_kb();
	for (size_t i = 0; i < n_numbers; i++)
		n += read_queue(b, numbers[i]);
	uint64_t took = clock_mono_us() - opened;
	printf("start %.3f s, RssAnon %ld kB more; %llu messages of %zu sessions read: %.0f msg/s, RssAnon %ld kB more\n", (double)(opened - start) / 1e6,
	    after - before, (unsigned long long)n, n_numbers, (double)n * 1e6 / (double)took, anonymous_kb() - before);
	store_stop(b->store);
	store_close(b->store);
	return 0;
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
	uint64_t limit = UINT64_MAX;
	bool reading = false;
	struct store_options o = { .max_size = UINT64_C(8) << 30, .crypto = &toy_crypto };
	siphash_init();
	b.payload = 100;
	for (int c; (c = getopt(argc, argv, "w:l:s:t:y:d:kqn:Rc")) != -1;) {
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
		else if (c == 'n')
			limit = strtoull(optarg, NULL, 10);
		else if (c == 'c')
			o.crypto = NULL;
		else if (c == 'R')
			reading = true;
		else
			return 2;
	}
	if (optind + 1 != argc)
		return 2;
	char error[256];
	o.dir = argv[optind];
	sem_init(&b.woken, 0, 0);
	mailbox_init(&b.inbox, wake, &b);
	if (reading)
		return read_all(&b, &o);
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
	while (clock_mono_us() - start < seconds * UINT64_C(1000000) && b.done < limit)
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
