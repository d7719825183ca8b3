/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What matching, subscribing and remembering cost. Prints figures and asserts none.
 *     make build/release/tests/perf/trie && build/release/tests/perf/trie [largest]
 * The filters are those of mqload's "wild": 60 % exact, 15 % a/b/c/+, 10 % a/b/c/#, 10 % a/+/c/d, 5 % +/b/c/d, on 16 sessions; the
 * tree grows with their number so that a topic matches about 1.5 of them. */
#include "base/msg.h"
#include "topics/match_cache.h"
#include "topics/retained.h"
#include "topics/trie.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS 16u
#define TOPICS (1u << 19)

struct topic { uint8_t len, bytes[31]; };

static struct topic topics[TOPICS];
static struct epoch *epoch;
static int thread;

static double now_s(void)
{
	struct timespec ts;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint32_t rnd(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33);
}

static double rss_bytes(void)
{
	unsigned long size = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	if (f)
		(void)fclose(f);
	return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static void settle(void)
{
	do
		epoch_quiescent(epoch, thread);
	while (epoch_reclaim(epoch, thread) > 0);
}

static void add(struct trie *t, struct sub_set *set, const char *filter, size_t len, bool *added)
{
	if (trie_subscribe(t, thread, set, (const uint8_t *)filter, len, 1, 0, added) != ERR_OK) {
		(void)fprintf(stderr, "trie: out of memory\n");
		exit(1);
	}
}

static void sessions_init(struct sub_set *sets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sub_set_init(&sets[i], sub_handle_make(i % 4, i, i + 1));
}

static void sessions_clear(struct trie *t, struct sub_set *sets, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		trie_clear(t, thread, &sets[i]);
		settle();
	}
}

static size_t wild_filter(char *buf, size_t size, unsigned shape, const uint32_t *l)
{
	int n = 0;
	switch (shape) {
	case 0: n = snprintf(buf, size, "t1/w/%u/%u/%u/%u", l[0], l[1], l[2], l[3]); break;
	case 1: n = snprintf(buf, size, "t1/w/%u/%u/%u/+", l[0], l[1], l[2]); break;
	case 2: n = snprintf(buf, size, "t1/w/%u/%u/%u/#", l[0], l[1], l[2]); break;
	case 3: n = snprintf(buf, size, "t1/w/%u/+/%u/%u", l[0], l[2], l[3]); break;
	case 4: n = snprintf(buf, size, "t1/w/+/%u/%u/%u", l[1], l[2], l[3]); break;
	}
	return (size_t)n;
}

/* What a reader of packets would say: the next topics of the list. */
static uint32_t asked;

static size_t next_topics(void *arg, struct topic_bytes *out, size_t max)
{
	(void)arg;
	for (size_t i = 0; i < max; i++) {
		const struct topic *t = &topics[(asked + 1 + i) % TOPICS];
		out[i] = (struct topic_bytes){ t->bytes, t->len };
	}
	return max;
}

static double time_cached(struct match_cache *cache)
{
	double best = 1e9;
	for (int round = 0; round < 3; round++) {
		double t0 = now_s();
		for (asked = 0; asked < TOPICS; asked++) {
			if (!match_cache_get(cache, topics[asked].bytes, topics[asked].len))
				exit(1);
		}
		double took = now_s() - t0;
		best = took < best ? took : best;
	}
	return best;
}

static void wild(uint32_t m)
{
	static const unsigned shape_of[20] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4 };
	uint64_t seed = 1;
	uint32_t k = 2, l[4];
	char buf[64];
	while (k * k * k * 4 < m)
		k++;
	struct trie *t = trie_new(epoch);
	struct match_cache *cache = t ? match_cache_new(t, 4096) : NULL;
	if (!cache)
		exit(1);
	struct sub_set sets[SESSIONS];
	sessions_init(sets, SESSIONS);
	double rss0 = rss_bytes(), t0 = now_s();
	for (uint32_t i = 0; i < m;) {
		unsigned shape = shape_of[rnd(&seed) % 20];
		bool added;
		for (int j = 0; j < 4; j++)
			l[j] = rnd(&seed) % k;
		size_t len = wild_filter(buf, sizeof buf, shape, l);
		add(t, &sets[i % SESSIONS], buf, len, &added);
		i += added;
		if (i % 64 == 0) { /* a turn of the loop */
			epoch_quiescent(epoch, thread);
			(void)epoch_reclaim(epoch, thread);
		}
	}
	double subscribe_s = now_s() - t0;
	settle();
	double rss1 = rss_bytes();
	struct trie_stats s;
	trie_stats(t, &s);

	for (uint32_t i = 0; i < TOPICS; i++) {
		for (int j = 0; j < 4; j++)
			l[j] = rnd(&seed) % k;
		topics[i].len = (uint8_t)snprintf((char *)topics[i].bytes, sizeof topics[i].bytes, "t1/w/%u/%u/%u/%u", l[0], l[1], l[2], l[3]);
	}
	double best = 1e9;
	uint64_t targets = 0;
	for (int round = 0; round < 3; round++) {
		t0 = now_s();
		targets = 0;
		for (uint32_t i = 0; i < TOPICS; i++) {
			struct match *match = trie_match(t, topics[i].bytes, topics[i].len);
			if (!match)
				exit(1);
			targets += match->n_targets;
			match_unref(match);
		}
		double took = now_s() - t0;
		best = took < best ? took : best;
	}
	double best_cached = time_cached(cache);
	match_cache_look_ahead(cache, next_topics, NULL);
	double best_ahead = time_cached(cache), hit = 1e9;
	for (int round = 0; round < 3; round++) {
		t0 = now_s();
		for (uint32_t i = 0; i < TOPICS; i++) {
			if (!match_cache_get(cache, topics[i % 1000].bytes, topics[i % 1000].len))
				exit(1);
		}
		double took = now_s() - t0;
		hit = took < hit ? took : hit;
	}
	match_cache_free(cache);
	t0 = now_s();
	sessions_clear(t, sets, SESSIONS);
	double clear_s = now_s() - t0;
	printf("wild %8u: match %4.0f ns, through the cache %4.0f, looking ahead %4.0f, hit %3.0f, %.2f targets; subscribe %4.0f ns, clear %4.0f; "
	       "bytes each %5.1f counted, %5.1f RSS; %.2f nodes each\n",
	    m, best / TOPICS * 1e9, best_cached / TOPICS * 1e9, best_ahead / TOPICS * 1e9, hit / TOPICS * 1e9, (double)targets / TOPICS, subscribe_s / m * 1e9,
	    clear_s / m * 1e9, (double)s.bytes / m, (rss1 - rss0) / m, (double)s.nodes / m);
	trie_free(t);
}

/* n sessions on one filter. */
static void crowd(uint32_t n)
{
	struct trie *t = trie_new(epoch);
	struct sub_set *sets = calloc(n, sizeof *sets);
	if (!t || !sets)
		exit(1);
	sessions_init(sets, n);
	bool added;
	double t0 = now_s();
	for (uint32_t i = 0; i < n; i++)
		add(t, &sets[i], "one/filter", 10, &added);
	double join = now_s() - t0;
	settle();
	struct trie_stats s;
	trie_stats(t, &s);
	t0 = now_s();
	for (int i = 0; i < 10; i++)
		match_unref(trie_match(t, (const uint8_t *)"one/filter", 10));
	double match = (now_s() - t0) / 10;
	t0 = now_s();
	sessions_clear(t, sets, n);
	printf("crowd %7u: join %.0f ns, leave %.0f, match %.2f ms; %.1f bytes each\n", n, join / n * 1e9, (now_s() - t0) / n * 1e9,
	    match * 1e3, (double)s.bytes / n);
	free(sets);
	trie_free(t);
}

/* n sessions with one filter of their own each. */
static void fleet(uint32_t n)
{
	struct trie *t = trie_new(epoch);
	struct sub_set *sets = calloc(n, sizeof *sets);
	if (!t || !sets)
		exit(1);
	sessions_init(sets, n);
	bool added;
	char buf[64];
	double rss0 = rss_bytes(), t0 = now_s();
	for (uint32_t i = 0; i < n; i++)
		add(t, &sets[i], buf, (size_t)snprintf(buf, sizeof buf, "fleet/device-%08x/cmd", i * 2654435761u), &added);
	double took = now_s() - t0;
	struct trie_stats s;
	settle();
	trie_stats(t, &s);
	printf("fleet %7u of fleet/<device>/cmd: subscribe %.0f ns; bytes each %.1f counted, %.1f RSS\n", n, took / n * 1e9, (double)s.bytes / n,
	    (rss_bytes() - rss0) / n);
	sessions_clear(t, sets, n);
	free(sets);
	trie_free(t);
}

/* {a,+}^k, each followed by a level that no topic has: as many nodes as one can make a topic visit for nothing. The trie itself has no limit; in a
 * broker a session may have 100 of these (max_wildcard_shapes). */
static void hostile(unsigned k)
{
	struct trie *t = trie_new(epoch);
	struct sub_set set;
	char buf[128], topic[128] = "";
	if (!t)
		exit(1);
	sessions_init(&set, 1);
	for (uint32_t mask = 0; mask < 1u << k; mask++) {
		bool added;
		buf[0] = 0;
		for (unsigned i = 0; i < k; i++)
			strcat(buf, mask >> i & 1 ? "+/" : "a/");
		strcat(buf, "z");
		add(t, &set, buf, strlen(buf), &added);
	}
	for (unsigned i = 0; i < k; i++)
		strcat(topic, "a/");
	strcat(topic, "y");
	double t0 = now_s();
	for (int i = 0; i < 10; i++)
		match_unref(trie_match(t, (const uint8_t *)topic, strlen(topic)));
	double took = (now_s() - t0) / 10;
	printf("hostile {a,+}^%u/z, %u filters: %.1f us for a topic that matches none, %.1f ns a filter\n", k, 1u << k, took * 1e6,
	    took * 1e9 / (double)(1u << k));
	sessions_clear(t, &set, 1);
	trie_free(t);
}

/* One thread subscribes 500,000 filters; how long does another wait for a match meanwhile? */
static struct trie *shared;
static atomic_bool subscribing;

static void *match_beside(void *arg)
{
	enum { STEP_NS = 50, STEPS = 4000 };
	static uint32_t times[STEPS];
	uint64_t n = 0, seed = 9, *max_ns = arg;
	int id = epoch_register(epoch);
	epoch_online(epoch, id);
	while (atomic_load(&subscribing)) {
		struct timespec a, b;
		uint32_t i = rnd(&seed) % TOPICS;
		(void)clock_gettime(CLOCK_MONOTONIC, &a);
		match_unref(trie_match(shared, topics[i].bytes, topics[i].len));
		(void)clock_gettime(CLOCK_MONOTONIC, &b);
		uint64_t ns = (uint64_t)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec);
		*max_ns = ns > *max_ns ? ns : *max_ns;
		times[ns / STEP_NS < STEPS ? ns / STEP_NS : STEPS - 1]++;
		n++;
		epoch_quiescent(epoch, id);
		(void)epoch_reclaim(epoch, id);
	}
	uint64_t sum = 0;
	unsigned i50 = 0, i99 = 0, i999 = 0;
	for (unsigned i = 0; i < STEPS; i++) {
		sum += times[i];
		i50 = sum * 2 < n ? i + 1 : i50;
		i99 = sum * 100 < n * 99 ? i + 1 : i99;
		i999 = sum * 1000 < n * 999 ? i + 1 : i999;
	}
	printf("matching beside subscribing: %llu matches, p50 %u ns, p99 %u, p99.9 %u, longest %.0f us (the scheduler's slices included)\n",
	    (unsigned long long)n, i50 * STEP_NS, i99 * STEP_NS, i999 * STEP_NS, (double)*max_ns / 1000);
	epoch_offline(epoch, id);
	epoch_unregister(epoch, id);
	return NULL;
}

static void beside(void)
{
	pthread_t reader;
	uint64_t seed = 5, max_ns = 0;
	struct sub_set sets[SESSIONS];
	shared = trie_new(epoch);
	sessions_init(sets, SESSIONS);
	atomic_store(&subscribing, true);
	if (!shared || pthread_create(&reader, NULL, match_beside, &max_ns) != 0)
		exit(1);
	for (uint32_t i = 0; i < 500000; i++) {
		char buf[64];
		bool added;
		uint32_t l[4] = { rnd(&seed) % 50, rnd(&seed) % 50, rnd(&seed) % 50, rnd(&seed) % 50 };
		add(shared, &sets[i % SESSIONS], buf, wild_filter(buf, sizeof buf, i % 5, l), &added);
		epoch_quiescent(epoch, thread);
		(void)epoch_reclaim(epoch, thread);
	}
	atomic_store(&subscribing, false);
	(void)pthread_join(reader, NULL);
	sessions_clear(shared, sets, SESSIONS);
	trie_free(shared);
}

static bool count_msg(void *arg, struct msg *m)
{
	msg_unref(msg_ref(m));
	++*(uint64_t *)arg;
	return true;
}

struct kept { struct msg **v; uint32_t n; };

static bool keep_msg(void *arg, struct msg *m)
{
	struct kept *k = arg;
	k->v[k->n++] = msg_ref(m);
	return true;
}

/* n topics below one node, removed in the order in which '#' lists them. */
static void retain_wide(uint32_t n)
{
	struct retained *r = retained_new(epoch);
	struct kept kept = { calloc(n, sizeof(struct msg *)), 0 };
	char topic[64];
	struct msg_spec spec = { .topic = topic, .payload = "x", .payload_len = 1 };
	if (!r || !kept.v)
		exit(1);
	for (uint32_t i = 0; i < n; i++) {
		spec.topic_len = (size_t)snprintf(topic, sizeof topic, "wide/%u", i);
		struct msg *m = msg_new(&spec);
		if (!m || retained_put(r, thread, m, 0) != ERR_OK)
			exit(1);
		msg_unref(m);
	}
	settle();
	retained_match(r, (const uint8_t *)"#", 1, keep_msg, &kept);
	double t0 = now_s();
	for (uint32_t i = 0; i < kept.n; i++) {
		struct msg_spec none = { .topic = msg_topic(kept.v[i]), .topic_len = kept.v[i]->topic_len };
		struct msg *m = msg_new(&none);
		if (!m || retained_put(r, thread, m, 0) != ERR_OK)
			exit(1);
		msg_unref(m);
		msg_unref(kept.v[i]);
		if (i % 64 == 0)
			settle();
	}
	printf("retained %7u on one level: removed in the order of '#', %.0f ns each\n", kept.n, (now_s() - t0) / n * 1e9);
	free(kept.v);
	retained_free(r);
}

static void retain(uint32_t n)
{
	struct retained *r = retained_new(epoch);
	if (!r)
		exit(1);
	double rss0 = rss_bytes(), t0 = now_s();
	for (uint32_t i = 0; i < n; i++) {
		char topic[64], payload[64] = { 1 };
		struct msg_spec spec = { .topic = topic, .payload = payload, .payload_len = sizeof payload, .qos = 1 };
		spec.topic_len = (size_t)snprintf(topic, sizeof topic, "t1/ret/%u/%u/%u", i % 4, i / 4000, i / 4 % 1000);
		struct msg *m = msg_new(&spec);
		if (!m || retained_put(r, thread, m, 0) != ERR_OK)
			exit(1);
		msg_unref(m);
	}
	double put = now_s() - t0, rss = rss_bytes() - rss0;
	settle();
	uint64_t found = 0;
	t0 = now_s();
	for (int i = 0; i < 5; i++)
		retained_match(r, (const uint8_t *)"#", 1, count_msg, &found);
	double all = (now_s() - t0) / 5;
	t0 = now_s();
	for (int i = 0; i < 5; i++)
		retained_match(r, (const uint8_t *)"t1/+/+/+/7", 10, count_msg, &found);
	printf("retained %7u: put %.0f ns, '#' %.2f ms (%.0f ns each), 't1/+/+/+/7' %.1f us; %.0f bytes each with the message\n", n,
	    put / n * 1e9, all * 1e3, all / n * 1e9, (now_s() - t0) / 5 * 1e6, rss / n);
	retained_free(r);
}

int main(int argc, char **argv)
{
	uint32_t largest = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
	epoch = epoch_new();
	if (!epoch)
		return 1;
	thread = epoch_register(epoch);
	epoch_online(epoch, thread);
	for (uint32_t m = 1000; m <= largest; m *= 10)
		wild(m);
	beside();
	crowd(100000);
	fleet(100000);
	hostile(8);
	hostile(16);
	retain(50000);
	retain(500000);
	retain_wide(200000);
	epoch_offline(epoch, thread);
	epoch_unregister(epoch, thread);
	epoch_free(epoch);
	return 0;
}
