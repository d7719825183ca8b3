/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What only the disk backend does: what a start finds, large messages, encryption, refusals, verification, backup, space. */
#include "tests/unit/base/suite.h"
#include "tests/unit/store/dir.h"
#include "tests/unit/store/rig.h"
#include "tests/unit/store/toy.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct toy toy = { .key = { 1, 2 } };
static const struct store_crypto toy_crypto = { .arg = &toy, .overhead = TOY_OVERHEAD, .seal = toy_seal, .open = toy_open };

static struct store_options disk_options(const char *dir)
{
	return (struct store_options){ .dir = dir, .max_size = 64u << 20 };
}

/* ---- what a start finds, as text */

struct found {
	char text[4096];
	size_t len;
};

static void note(struct found *f, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void note(struct found *f, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	int n = vsnprintf(f->text + f->len, sizeof f->text - f->len, fmt, args);
	va_end(args);
	ck_assert(n >= 0 && (size_t)n < sizeof f->text - f->len);
	f->len += (size_t)n;
}

static enum err found_session(void *arg, store_session number, const char *id, size_t id_len, const char *cn, size_t cn_len, uint64_t expiry_s,
    uint64_t away_since_ms)
{
	note(arg, "session %u %.*s %.*s %u %s\n", number, (int)id_len, id, (int)cn_len, cn, (unsigned)expiry_s,
	    away_since_ms == 1700000000000 ? "then" : away_since_ms > 1700000000000 ? "now" : "?");
	return ERR_OK;
}

static enum err found_subscription(void *arg, store_session number, const uint8_t *filter, size_t len, uint8_t options, uint32_t sub_id)
{
	note(arg, "subscription %u %.*s %u %u\n", number, (int)len, (const char *)filter, options, sub_id);
	return ERR_OK;
}

static enum err found_received(void *arg, store_session number, uint16_t packet_id)
{
	note(arg, "received %u %u\n", number, packet_id);
	return ERR_OK;
}

static enum err found_retained(void *arg, struct msg *m)
{
	note(arg, "retained %.*s=%.*s\n", m->topic_len, (const char *)msg_topic(m), (int)m->payload_len, (const char *)msg_payload(m));
	return ERR_OK;
}

static enum err found_will(void *arg, uint64_t number, const char *client_id, size_t len, const uint8_t *fingerprint, struct msg *m)
{
	note(arg, "will %u %.*s of %.32s %.*s=%.*s\n", (unsigned)number, (int)len, client_id, fingerprint ? (const char *)fingerprint : "nobody", m->topic_len, (const char *)msg_topic(m), (int)m->payload_len, (const char *)msg_payload(m));
	return ERR_OK;
}

static const struct store_loader finder = { .session = found_session, .subscription = found_subscription, .qos2_received = found_received,
	.retained = found_retained, .will = found_will };

/* Opens again, notes what is found, starts. */
static void reopen(struct rig *r, const struct store_options *options, struct found *f)
{
	char error[256] = "";
	struct store_options o = *options;
	o.session_over_quota = rig_over_quota;
	o.arg = r;
	rig_loop_init(r);
	memset(f, 0, sizeof *f);
	r->store = store_open(&o, error, sizeof error);
	ck_assert_msg(r->store != NULL, "%s", error);
	ck_assert_int_eq(store_load(r->store, &finder, f), ERR_OK);
	ck_assert_int_eq(store_start(r->store), ERR_OK);
}

/* The report of store_check, which must say `sound`. */
static const char *checked(const char *dir, const struct store_crypto *crypto)
{
	static char text[8192];
	memset(text, 0, sizeof text);
	FILE *f = tmpfile();
	ck_assert(f != NULL);
	enum err rc = store_check(dir, crypto, f);
	rewind(f);
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	ck_assert_msg(rc == ERR_OK && strstr(text, "sound") != NULL, "%.*s", (int)n, text);
	return text;
}

static bool reports(const char *report, const char *line)
{
	return strstr(report, line) != NULL;
}

START_TEST(everything_is_there_after_a_restart)
{
	const char *dir = dir_fresh("restart");
	struct store_options o = disk_options(dir);
	o.crypto = &toy_crypto;
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r), b = new_session(&r);
	struct store_op away = op_session(STORE_SESSION_STATE, b);
	away.u.session.connected = false;
	ck_assert_int_eq(rig_do(&r, &away), ERR_OK);
	struct store_op sub = op_subscription(STORE_SUBSCRIBE, a, "x/+/y", 2);
	ck_assert_int_eq(rig_do(&r, &sub), ERR_OK);
	sub = op_subscription(STORE_SUBSCRIBE, a, "x/+/y", 1);
	ck_assert_int_eq(rig_do(&r, &sub), ERR_OK);
	sub = op_subscription(STORE_SUBSCRIBE, a, "gone", 1);
	ck_assert_int_eq(rig_do(&r, &sub), ERR_OK);
	sub.verb = STORE_UNSUBSCRIBE;
	ck_assert_int_eq(rig_do(&r, &sub), ERR_OK);
	struct store_receiver to[] = { { .session = a, .qos = 2, .sub_id = 5 }, { .session = b, .qos = 1, .retain = 1 } };
	struct msg *m = make_msg("top/ic", "payload", 7), *n = make_msg("top/ic", "newer", 5), *w = make_msg("will", "bye", 3);
	struct store_op p = op_publish(m, to, 2);
	p.u.publish.publisher = b;
	p.u.publish.packet_id = 7;
	p.u.publish.retained = true;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	uint64_t first = p.u.publish.record;
	p = op_publish(n, to, 1);
	p.u.publish.retained = true;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	uint64_t second = p.u.publish.record;
	struct store_op will = { .verb = STORE_WILL_PUT, .u.will = { .number = 500, .client_id = "dev-9", .client_id_len = 5, .msg = w } };
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	will.u.will.number = 501;
	will.u.will.fingerprint = (const uint8_t *)"a certificate's 32 bytes of hash";
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, first, 11), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_RELEASED, a, first, 11), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, second, 12), ERR_OK);
	rig_end(&r);

	const char *report = checked(dir, &toy_crypto);
	ck_assert(reports(report, "sessions 2\n") && reports(report, "queued 3\n") && reports(report, "messages 4\n"));
	ck_assert(reports(checked(dir, NULL), "contents not verified (no key): 4"));
	reopen(&r, &o, &f);
	char expected[512];
	snprintf(expected, sizeof expected, "session %u dev-1 plant 3600 now\nsession %u dev-1 plant 3600 then\nsubscription %u x/+/y 1 7\n"
	    "received %u 7\nretained top/ic=newer\nwill 500 dev-9 of nobody will=bye\nwill 501 dev-9 of a certificate's 32 bytes of hash will=bye\n", a, b, a, b);
	ck_assert_str_eq(f.text, expected);
	struct store_op page = do_page(&r, a, 0, 10, 100000);
	ck_assert_uint_eq(page.u.page.n_entries, 2);
	ck_assert_uint_eq(page.u.page.entries[0].state, STORE_PUBREL);
	ck_assert_uint_eq(page.u.page.entries[0].packet_id, 11);
	ck_assert_uint_eq(page.u.page.entries[1].state, STORE_INFLIGHT);
	ck_assert_uint_eq(page.u.page.entries[1].packet_id, 12);
	ck_assert_mem_eq(msg_payload(page.u.page.entries[1].msg), "newer", 5);
	ck_assert_uint_eq(page.u.page.last_record, second + 2); /* the wills have records as well */
	page_free(&page);
	page = do_page(&r, b, 0, 10, 100000);
	ck_assert_uint_eq(page.u.page.n_entries, 1);
	ck_assert_uint_eq(page.u.page.entries[0].retain, 1);
	ck_assert_mem_eq(msg_payload(page.u.page.entries[0].msg), "payload", 7);
	page_free(&page);
	/* numbers and records go on; the packet identifier is still known */
	ck_assert_uint_gt(store_session_number(r.store), b);
	ck_assert_uint_eq(store_will_number(r.store), 502);
	p = op_publish(m, to, 1);
	p.u.publish.publisher = b;
	p.u.publish.packet_id = 7;
	ck_assert_int_eq(rig_do(&r, &p), ERR_EXISTS);
	ck_assert_uint_gt(do_publish(&r, a, "next", NULL), second + 1);
	/* all of it goes with the sessions, the retained message and the will */
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, a), ERR_OK);
	ck_assert_int_eq(do_session(&r, STORE_SESSION_END, b), ERR_OK);
	will.verb = STORE_WILL_DROP;
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	will.u.will.number = 500;
	ck_assert_int_eq(rig_do(&r, &will), ERR_OK);
	struct msg *none = make_msg("top/ic", "", 0);
	p = op_publish(none, NULL, 0);
	p.u.publish.retained = true;
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	rig_end(&r);
	report = checked(dir, &toy_crypto);
	ck_assert(reports(report, "sessions 0\n") && reports(report, "queued 0\n") && reports(report, "\nmessages 0\n"));
	msg_unref(m);
	msg_unref(n);
	msg_unref(w);
	msg_unref(none);
}
END_TEST

START_TEST(messages_of_any_size_come_back_and_go_without_trace)
{
	const char *dir = dir_fresh("sizes");
	/* one piece holds 4,080 bytes: head 32, topic 3, publisher 3, encryption 16 */
	static const size_t sizes[] = { 0, 1, 2000, 4025, 4026, 4027, 8105, 8106, 8107, 100000, 5000000 };
	enum { N = sizeof sizes / sizeof *sizes };
	struct store_options o = disk_options(dir);
	o.crypto = &toy_crypto;
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct store_receiver to = { .session = a, .qos = 1 };
	uint64_t records[N];
	uint8_t *bytes = malloc(5000000);
	for (size_t i = 0; i < 5000000; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	for (size_t i = 0; i < N; i++) {
		struct msg *m = make_msg("a/b", bytes, sizes[i]);
		struct store_op p = op_publish(m, &to, 1);
		ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
		records[i] = p.u.publish.record;
		msg_unref(m);
	}
	rig_end(&r);
	checked(dir, &toy_crypto);
	reopen(&r, &o, &f);
	struct store_op page = do_page(&r, a, 0, 100, UINT64_MAX);
	ck_assert_uint_eq(page.u.page.n_entries, N);
	for (size_t i = 0; i < N; i++) {
		struct msg *m = page.u.page.entries[i].msg;
		ck_assert_uint_eq(m->payload_len, sizes[i]);
		ck_assert(sizes[i] == 0 || memcmp(msg_payload(m), bytes, sizes[i]) == 0);
	}
	page_free(&page);
	/* from the middle out: neighbours must stand */
	for (size_t i = N; i-- > 0;)
		ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, records[(i + N / 2) % N], 1), ERR_OK);
	rig_end(&r);
	ck_assert(reports(checked(dir, NULL), "\nmessages 0\nmessage bytes 0\n"));
	free(bytes);
}
END_TEST

START_TEST(properties_and_times_are_kept)
{
	struct store_options o = disk_options(dir_fresh("props"));
	o.crypto = &toy_crypto;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct msg_spec spec = { .topic = "t", .topic_len = 1, .publisher = "cn", .publisher_len = 2, .props = "PROPS", .props_len = 5,
		.payload = "pay", .payload_len = 3, .time_ms = 1234567890123, .expiry_ms = 9876543210, .qos = 2, .flags = MSG_WILL };
	struct msg *m = msg_new(&spec);
	struct store_receiver to = { .session = a, .qos = 2 };
	struct store_op p = op_publish(m, &to, 1);
	ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
	msg_unref(m);
	struct store_op page = do_page(&r, a, 0, 1, 1);
	m = page.u.page.entries->msg;
	ck_assert_uint_eq(m->props_len, 5);
	ck_assert_mem_eq(msg_props(m), "PROPS", 5);
	ck_assert_uint_eq(m->payload_len, 3);
	ck_assert_mem_eq(msg_payload(m), "pay", 3);
	ck_assert_mem_eq(msg_publisher(m), "cn", 2);
	ck_assert_uint_eq(m->time_ms, 1234567890123);
	ck_assert_uint_eq(m->expiry_ms, 9876543210);
	ck_assert_uint_eq(m->qos, 2);
	ck_assert_uint_eq(m->flags, MSG_WILL);
	page_free(&page);
	rig_end(&r);
}
END_TEST

/* ---- encryption */

/* Where text stands in the store's file; -1: nowhere. */
static long find_in_file(const char *dir, const char *text, size_t len)
{
	char path[256];
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	FILE *f = fopen(path, "r");
	ck_assert(f != NULL);
	fseek(f, 0, SEEK_END);
	size_t size = (size_t)ftell(f);
	rewind(f);
	char *bytes = malloc(size);
	ck_assert_uint_eq(fread(bytes, 1, size, f), size);
	fclose(f);
	char *at = memmem(bytes, size, text, len);
	long where = at ? at - bytes : -1;
	free(bytes);
	return where;
}

START_TEST(a_payload_is_nowhere_in_the_file)
{
	const char *dir = dir_fresh("secret");
	static char text[6000];
	for (size_t i = 0; i + 16 <= sizeof text; i += 16)
		memcpy(text + i, "top-secret-value", 16);
	for (int encrypted = 0; encrypted < 2; encrypted++) {
		folder_remove(dir);
		struct store_options o = disk_options(dir);
		o.crypto = encrypted ? &toy_crypto : NULL;
		struct rig r;
		rig_start(&r, &o);
		store_session a = new_session(&r);
		struct store_receiver to = { .session = a, .qos = 1 };
		static const size_t lens[] = { 16, 600, 6000 };
		for (size_t i = 0; i < 3; i++) {
			struct msg *m = make_msg("t", text, lens[i]);
			struct store_op p = op_publish(m, &to, 1);
			ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
			if (i == 1)
				ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, p.u.publish.record, 1), ERR_OK);
			msg_unref(m);
		}
		rig_end(&r);
		ck_assert((find_in_file(dir, "secret-value", 12) < 0) == (encrypted == 1)); /* in clear it is found: the search works */
	}
}
END_TEST

static uint64_t failed_record;

static void record_failed(void *arg, uint64_t record)
{
	(void)arg;
	failed_record = record;
}

START_TEST(a_tampered_record_is_detected_reported_and_left_out)
{
	const char *dir = dir_fresh("tamper");
	struct store_options o = disk_options(dir);
	o.crypto = &toy_crypto;
	o.record_failed = record_failed;
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct store_receiver to = { .session = a, .qos = 1 };
	uint64_t records[3];
	for (int i = 0; i < 3; i++) {
		char topic[32];
		snprintf(topic, sizeof topic, "topic-%d", i);
		struct msg *m = make_msg(topic, "payload", 7);
		struct store_op p = op_publish(m, &to, 1);
		ck_assert_int_eq(rig_do(&r, &p), ERR_OK);
		records[i] = p.u.publish.record;
		msg_unref(m);
	}
	rig_end(&r);
	char path[256];
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	/* the topic is in clear, and authenticated: another one must not pass; older pages may hold it too */
	int fd = open(path, O_RDWR);
	for (long at; (at = find_in_file(dir, "topic-1pub", 10)) >= 0;)
		ck_assert_int_eq(pwrite(fd, "topic-9pub", 10, at), 10);
	close(fd);
	FILE *out = tmpfile();
	ck_assert_int_eq(store_check(dir, &toy_crypto, out), ERR_CORRUPT);
	fclose(out);
	reopen(&r, &o, &f);
	struct store_op page = do_page(&r, a, 0, 2, UINT64_MAX);
	ck_assert_uint_eq(page.u.page.n_entries, 2);
	ck_assert_uint_eq(page.u.page.entries[0].record, records[0]);
	ck_assert_uint_eq(page.u.page.entries[1].record, records[2]);
	ck_assert(page.u.page.end);
	page_free(&page);
	ck_assert_uint_eq(failed_record, records[1]);
	struct store_stats stats;
	store_stats(r.store, &stats);
	ck_assert_uint_eq(stats.corrupt, 1);
	ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, records[1], 1), ERR_OK); /* it can be got rid of */
	rig_end(&r);
}
END_TEST

/* ---- refusals */

static void refuses(const struct store_options *o, const char *because)
{
	char error[256] = "";
	struct store *s = store_open(o, error, sizeof error);
	ck_assert(s == NULL);
	ck_assert_msg(strstr(error, because) != NULL, "%s", error);
}

START_TEST(a_second_broker_is_refused)
{
	const char *dir = dir_fresh("second");
	struct store_options o = disk_options(dir);
	struct rig r;
	rig_start(&r, &o);
	refuses(&o, "in use by another sealmqd");
	FILE *out = tmpfile();
	ck_assert_int_eq(store_check(dir, NULL, out), ERR_EXISTS);
	fclose(out);
	new_session(&r);
	rig_end(&r);
	rig_start(&r, &o); /* and not any more */
	rig_end(&r);
}
END_TEST

START_TEST(an_encrypted_store_needs_its_key_and_a_plain_one_takes_none)
{
	const char *dir = dir_fresh("key");
	struct store_options o = disk_options(dir);
	o.crypto = &toy_crypto;
	struct rig r;
	rig_start(&r, &o);
	rig_end(&r);
	o.crypto = NULL;
	refuses(&o, "master key");
	folder_remove(dir);
	rig_start(&r, &o);
	rig_end(&r);
	o.crypto = &toy_crypto;
	refuses(&o, "not encrypted");
}
END_TEST

static void overwrite(const char *dir, const void *bytes, size_t len, long at)
{
	char path[256];
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert(fd >= 0);
	ck_assert_int_eq(pwrite(fd, bytes, len, at), (ssize_t)len);
	close(fd);
}

START_TEST(files_that_are_no_sound_store_are_refused_and_left_alone)
{
	const char *dir = dir_fresh("foreign");
	struct store_options o = disk_options(dir);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	static char junk[20000];
	memset(junk, 'j', sizeof junk);
	overwrite(dir, junk, sizeof junk, 0);
	refuses(&o, "damaged or not a store");
	ck_assert(find_in_file(dir, junk, 20000) == 0);

	folder_remove(dir); /* another version: the number stands behind the key "format" */
	struct rig r;
	rig_start(&r, &o);
	new_session(&r);
	rig_end(&r);
	long at;
	uint8_t format[] = { 'f', 'o', 'r', 'm', 'a', 't', 0, 0, 0, 1 }, other[] = { 'f', 'o', 'r', 'm', 'a', 't', 0, 0, 0, 9 };
	while ((at = find_in_file(dir, (char *)format, sizeof format)) >= 0)
		overwrite(dir, other, sizeof other, at);
	refuses(&o, "format version 9");

	folder_remove(dir); /* cut short */
	rig_start(&r, &o);
	store_session a = new_session(&r);
	for (int i = 0; i < 100; i++)
		do_publish(&r, a, "some message", NULL);
	rig_end(&r);
	char path[256];
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	ck_assert_int_eq(truncate(path, 5 * 4096), 0);
	refuses(&o, "cut short");
}
END_TEST

START_TEST(any_page_overwritten_is_found)
{
	const char *dir = dir_fresh("pages");
	struct store_options o = disk_options(dir);
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	for (int i = 0; i < 300; i++)
		do_publish(&r, a, "some message of some length, so that there are pages", NULL);
	rig_end(&r);
	checked(dir, NULL);
	char path[256];
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	FILE *f = fopen(path, "r");
	fseek(f, 0, SEEK_END);
	long pages = ftell(f) / 4096;
	fclose(f);
	int found = 0;
	for (long page = 2; page < pages; page += 3) {
		uint8_t before[4096], junk[4096];
		int fd = open(path, O_RDWR);
		ck_assert(fd >= 0);
		ck_assert_int_eq(pread(fd, before, sizeof before, page * 4096), 4096);
		memset(junk, 0xff, sizeof junk);
		ck_assert_int_eq(pwrite(fd, junk, sizeof junk, page * 4096), 4096);
		FILE *out = tmpfile();
		bool damaged = store_check(dir, NULL, out) != ERR_OK; /* a free page's contents do not matter */
		found += damaged;
		fclose(out);
		char error[256] = "";
		struct store *s = store_open(&o, error, sizeof error); /* the start finds it too */
		ck_assert((s == NULL) == damaged);
		ck_assert(!damaged || strstr(error, "damaged") != NULL);
		store_close(s);
		ck_assert_int_eq(pwrite(fd, before, sizeof before, page * 4096), 4096);
		close(fd);
	}
	ck_assert_int_gt(found, 0);
	checked(dir, NULL);
}
END_TEST

/* Opens what may be damaged and uses it a little. Ends the process: 0, also when it is refused. */
static void use_and_exit(const struct store_options *o, store_session a)
{
	char error[256];
	struct rig r;
	rig_loop_init(&r);
	r.store = store_open(o, error, sizeof error);
	if (!r.store)
		_exit(0);
	struct found f = { .len = 0 };
	if (store_load(r.store, &finder, &f) != ERR_OK || store_start(r.store) != ERR_OK)
		_exit(0);
	struct store_receiver to = { .session = a, .qos = 1 };
	struct msg *m = make_msg("t", "m", 1);
	for (int i = 0; i < 3; i++) {
		struct store_op page = op_page(a, 0, 1000, UINT64_MAX), p = op_publish(m, &to, 1);
		if (rig_do(&r, &page) == ERR_OK && page.u.page.n_entries > 1 && rig_do(&r, &p) == ERR_OK)
			(void)!do_delivery(&r, STORE_ACKED, a, page.u.page.entries[1].record, 1);
		page_free(&page);
	}
	(void)!do_session(&r, STORE_SESSION_END, a);
	store_stop(r.store);
	_exit(0);
}

START_TEST(flipped_bits_never_end_the_process)
{
	const char *dir = dir_fresh("flips");
	struct store_options o = disk_options(dir);
	o.crypto = &toy_crypto;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	static char big[9000];
	memset(big, 'b', sizeof big - 1);
	for (int i = 0; i < 60; i++)
		do_publish(&r, a, i % 20 ? "some message of some length, so that there are pages" : big, NULL);
	rig_end(&r);
	char path[256];
	snprintf(path, sizeof path, "%s/data.mdb", dir);
	static uint8_t sound[8 << 20], damaged[8 << 20];
	int fd = open(path, O_RDWR);
	ck_assert(fd >= 0);
	ssize_t size = pread(fd, sound, sizeof sound, 0);
	ck_assert(size > 8192 && size < (ssize_t)sizeof sound);
	unsigned seed = 7;
	for (int round = 0; round < 150; round++) {
		memcpy(damaged, sound, sizeof sound);
		for (int n = 1 + rand_r(&seed) % 4; n > 0; n--) /* half of them in the heads of pages, where it hurts most */
			damaged[rand_r(&seed) % 2 ? (rand_r(&seed) % (size / 4096)) * 4096 + rand_r(&seed) % 64 : rand_r(&seed) % size]
			    ^= (uint8_t)(1 << rand_r(&seed) % 8);
		ck_assert_int_eq(ftruncate(fd, 0), 0);
		ck_assert_int_eq(pwrite(fd, damaged, (size_t)size, 0), size);
		int status;
		pid_t pid = fork();
		if (pid == 0)
			use_and_exit(&o, a);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "round %d: status %x", round, (unsigned)status);
	}
	close(fd);
}
END_TEST

/* ---- small values, backup */

START_TEST(small_values_are_kept)
{
	struct store_options o = disk_options(dir_fresh("meta"));
	char error[256], value[64];
	size_t len = sizeof value;
	struct store *s = store_open(&o, error, sizeof error);
	ck_assert(s != NULL);
	ck_assert_int_eq(store_meta_get(s, "root", value, &len), ERR_NOT_FOUND);
	ck_assert_int_eq(store_meta_put(s, "root", "wrapped", 7), ERR_OK);
	store_close(s);
	struct rig r;
	rig_start(&r, &o);
	struct store_op op = { .verb = STORE_META, .u.meta = { .name = "other", .value = "longer value", .len = 12 } };
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	rig_end(&r);
	s = store_open(&o, error, sizeof error);
	len = sizeof value;
	ck_assert_int_eq(store_meta_get(s, "root", value, &len), ERR_OK);
	ck_assert_uint_eq(len, 7);
	ck_assert_mem_eq(value, "wrapped", 7);
	len = 3;
	ck_assert_int_eq(store_meta_get(s, "other", value, &len), ERR_FULL);
	ck_assert_uint_eq(len, 12);
	store_close(s);
	rig_start(&r, &o);
	op.u.meta.value = NULL;
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	ck_assert_int_eq(rig_do(&r, &op), ERR_OK);
	rig_end(&r);
	s = store_open(&o, error, sizeof error);
	len = sizeof value;
	ck_assert_int_eq(store_meta_get(s, "other", value, &len), ERR_NOT_FOUND);
	store_close(s);
}
END_TEST

START_TEST(a_backup_of_a_running_store_opens)
{
	const char *dir = dir_fresh("live"), *to = dir_fresh("backup");
	struct store_options o = disk_options(dir);
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	for (int i = 0; i < 200; i++)
		do_publish(&r, a, "message", NULL);
	for (int again = 0; again < 2; again++) { /* the second must not overwrite the first */
		int status;
		pid_t pid = fork();
		if (pid == 0) { /* as `sealmqd --backup`: another process altogether */
			execl("/proc/self/exe", "test_disk", "--backup", dir, to, (char *)NULL);
			_exit(99);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(WEXITSTATUS(status), again ? ERR_EXISTS : ERR_OK);
	}
	do_publish(&r, a, "after the backup", NULL);
	rig_end(&r);
	checked(to, NULL);
	o.dir = to;
	reopen(&r, &o, &f);
	ck_assert_uint_eq(queue_length(&r, a), 200);
	rig_end(&r);
}
END_TEST

#ifdef NDEBUG
#define KILLED_BY 0
#else
#define KILLED_BY SIGKILL
#endif

START_TEST(a_kill_point_of_the_environment_works_except_in_release_builds)
{
	struct store_options o = disk_options(dir_fresh("kill"));
	struct rig r;
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		setenv("SEALMQ_STORE_KILL", "after-commit,publish,2", 1);
		rig_start(&r, &o);
		store_session a = new_session(&r);
		do_publish(&r, a, "one", NULL);
		do_publish(&r, a, "two", NULL);
		rig_end(&r);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(WIFSIGNALED(status) ? WTERMSIG(status) : 0, KILLED_BY);
	rig_start(&r, &o); /* the second was committed all the same */
	ck_assert_uint_eq(queue_length(&r, 1), 2);
	rig_end(&r);
}
END_TEST

/* ---- ending, quotas over a restart, space */

START_TEST(a_long_queue_goes_piece_by_piece_also_over_a_restart)
{
	const char *dir = dir_fresh("sweep");
	struct store_options o = disk_options(dir);
	struct rig r;
	struct found f;
	enum { N = 8000 };
	static struct store_op ops[N];
	rig_start(&r, &o);
	store_session a = new_session(&r);
	struct store_receiver to = { .session = a, .qos = 1 };
	struct msg *m = make_msg("t", "m", 1);
	for (int i = 0; i < N; i++) {
		ops[i] = op_publish(m, &to, 1);
		rig_submit(&r, &ops[i]);
	}
	rig_wait(&r, r.done + 1);
	struct store_op end = op_session(STORE_SESSION_END, a);
	rig_submit(&r, &end);
	rig_wait(&r, N + 2);
	struct store_op page = op_page(a, 0, 10, 1000);
	ck_assert_int_eq(rig_do(&r, &page), ERR_NOT_FOUND);
	rig_end(&r); /* while it is being swept */
	checked(dir, NULL);
	reopen(&r, &o, &f);
	ck_assert_str_eq(f.text, "");
	for (enum err rc = ERR_EXISTS; rc != ERR_OK;) { /* the number is free again when the last entry is gone */
		rc = do_session(&r, STORE_SESSION_NEW, a);
		ck_assert(rc == ERR_OK || rc == ERR_EXISTS);
	}
	ck_assert_uint_eq(queue_length(&r, a), 0);
	rig_end(&r);
	ck_assert(reports(checked(dir, NULL), "\nmessages 0\n"));
	msg_unref(m);
}
END_TEST

START_TEST(a_session_over_its_quota_is_gone_after_a_crash)
{
	const char *dir = dir_fresh("over");
	struct store_options o = disk_options(dir);
	o.max_queued_messages = 2;
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r), b = new_session(&r);
	for (int i = 0; i < 3; i++)
		do_publish(&r, a, "m", NULL);
	ck_assert_uint_eq(r.n_over, 1);
	rig_end(&r); /* before the broker could end it */
	reopen(&r, &o, &f);
	char expected[128];
	snprintf(expected, sizeof expected, "session %u dev-1 plant 3600 now\n", b);
	ck_assert_str_eq(f.text, expected);
	rig_end(&r);
	ck_assert(reports(checked(dir, NULL), "\nmessages 0\n"));
}
END_TEST

START_TEST(quotas_count_what_an_earlier_process_stored)
{
	struct store_options o = disk_options(dir_fresh("count"));
	o.max_queued_messages = 3;
	o.queue_full = STORE_REJECT;
	struct rig r;
	struct found f;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	do_publish(&r, a, "m", NULL);
	uint64_t second = do_publish(&r, a, "m", NULL);
	ck_assert_int_eq(do_delivery(&r, STORE_SENT, a, second, 1), ERR_OK);
	ck_assert_int_eq(do_delivery(&r, STORE_RELEASED, a, second, 1), ERR_OK);
	rig_end(&r);
	reopen(&r, &o, &f);
	enum err rc;
	do_publish(&r, a, "m", NULL);
	do_publish(&r, a, "m", NULL);
	do_publish(&r, a, "m", &rc);
	ck_assert_int_eq(rc, ERR_FULL);
	rig_end(&r);
}
END_TEST

START_TEST(a_full_store_refuses_messages_and_still_deletes)
{
	const char *dir = dir_fresh("full");
	struct store_options o = disk_options(dir);
	o.max_size = 4u << 20;
	struct rig r;
	rig_start(&r, &o);
	store_session a = new_session(&r);
	static char big[20001];
	memset(big, 'x', 20000);
	static uint64_t records[1000];
	for (int round = 0; round < 3; round++) { /* what is deleted can be filled again, each time */
		size_t n = 0;
		enum err rc = ERR_OK;
		while (rc == ERR_OK) {
			ck_assert(n < 1000);
			records[n] = do_publish(&r, a, big, &rc);
			n += rc == ERR_OK;
		}
		ck_assert_int_eq(rc, ERR_FULL);
		ck_assert_uint_gt(n, 100); /* of 4 MiB, less 10 %, in pieces of 20 kB */
		struct store_stats stats;
		store_stats(r.store, &stats);
		ck_assert(!stats.failing);
		ck_assert_uint_eq(stats.size, o.max_size);
		ck_assert_uint_ge(stats.used, stats.size - stats.size / 10); /* of a tenth, most is still free */
		ck_assert_uint_le(stats.used, stats.size - stats.size / 20);
		for (size_t i = 0; i < n; i++)
			ck_assert_int_eq(do_delivery(&r, STORE_ACKED, a, records[i], 1), ERR_OK);
	}
	/* one batch larger than the whole store */
	static struct store_op ops[400];
	struct store_receiver to = { .session = a, .qos = 1 };
	struct msg *m = make_msg("t", big, 20000);
	size_t before = r.done;
	for (int i = 0; i < 400; i++) {
		ops[i] = op_publish(m, &to, 1);
		rig_submit(&r, &ops[i]);
	}
	rig_wait(&r, before + 400);
	uint32_t stored = 0;
	for (int i = 0; i < 400; i++) {
		ck_assert(ops[i].result == ERR_OK || ops[i].result == ERR_FULL);
		stored += ops[i].result == ERR_OK;
	}
	ck_assert_uint_eq(queue_length(&r, a), stored);
	msg_unref(m);
	rig_end(&r);
	checked(dir, NULL);
}
END_TEST

static int backup(const char *dir, const char *to)
{
	char error[256];
	return (int)store_backup(dir, to, error, sizeof error);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "--backup") == 0)
		return backup(argv[2], argv[3]);
	siphash_init();
	Suite *suite = suite_create("store/disk");
	TCase *t = tcase_create("disk");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, everything_is_there_after_a_restart);
	tcase_add_test(t, messages_of_any_size_come_back_and_go_without_trace);
	tcase_add_test(t, properties_and_times_are_kept);
	tcase_add_test(t, a_payload_is_nowhere_in_the_file);
	tcase_add_test(t, a_tampered_record_is_detected_reported_and_left_out);
	tcase_add_test(t, a_second_broker_is_refused);
	tcase_add_test(t, an_encrypted_store_needs_its_key_and_a_plain_one_takes_none);
	tcase_add_test(t, files_that_are_no_sound_store_are_refused_and_left_alone);
	tcase_add_test(t, any_page_overwritten_is_found);
	tcase_add_test(t, flipped_bits_never_end_the_process);
	tcase_add_test(t, small_values_are_kept);
	tcase_add_test(t, a_kill_point_of_the_environment_works_except_in_release_builds);
	tcase_add_test(t, a_backup_of_a_running_store_opens);
	tcase_add_test(t, a_long_queue_goes_piece_by_piece_also_over_a_restart);
	tcase_add_test(t, a_session_over_its_quota_is_gone_after_a_crash);
	tcase_add_test(t, quotas_count_what_an_earlier_process_stored);
	tcase_add_test(t, a_full_store_refuses_messages_and_still_deletes);
	suite_add_tcase(suite, t);
	return run_suite(suite);
}
