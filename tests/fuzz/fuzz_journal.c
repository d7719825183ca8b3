/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Fuzzer of journals. Input: a byte, and behind it
 *   0  a file as it is
 *   1  frames of an outbox of topic "t", each behind its length (2 bytes, big endian), which are sealed here
 *   2  frames of an account of filter "t", in the same way
 *   3  pairs of bytes: first and last number of a range in such an account, which is compared with a list of what was handed on
 * Any bytes are refused with a reason, or can be gone on with: what is added then is there when the file is opened once more. */
#include "client/dedup.h"
#include "client/outbox.h"

#include "base/be.h"
#include "crypto/ownseal.h"
#include "tests/fuzz/own_key.h"

static char error[512];
static uint64_t torn;

static const char *ignore_frame(void *arg, const uint8_t *bytes, size_t len)
{
	(void)arg;
	require(bytes && len > 0);
	return NULL;
}

static const char *last_message(void *arg, const struct outbox_message *m)
{
	uint64_t *last = arg;
	*last = m->number;
	require(m->qos <= 2 && (m->len == 0 || m->bytes[0] + m->bytes[m->len - 1] >= 0)); /* all of it can be read */
	return NULL;
}

/* A file of these frames. False: they are none. */
static bool make_file(const char *path, const char kind[static JOURNAL_KIND_LEN], const uint8_t *p, size_t left)
{
	unlink(path);
	struct journal *j = journal_open(path, kind, own_key("ec"), ignore_frame, NULL, &torn, error, sizeof error);
	bool good = j != NULL;
	require(good);
	while (good && left >= 2) {
		size_t n = (size_t)get_be(p, 2);
		p += 2, left -= 2;
		n = n < left ? n : left;
		good = n > 0 && journal_append(j, p, n) == ERR_OK;
		p += n, left -= n;
	}
	journal_close(j);
	return good;
}

static void outbox(const char *path)
{
	uint64_t last = 0;
	struct outbox *o = outbox_open(path, "t", own_key("ec"), last_message, &last, &torn, error, sizeof error);
	require(o || error[0]);
	if (!o)
		return;
	struct outbox_message m = { .bytes = (const uint8_t *)"x", .len = 1, .qos = 1 };
	uint64_t first = outbox_first(o);
	require(outbox_add(o, &m, 1) == ERR_OK && outbox_commit(o) == ERR_OK);
	outbox_close(o);
	o = outbox_open(path, "t", own_key("ec"), last_message, &last, &torn, error, sizeof error);
	require(o && outbox_first(o) == first && outbox_taken(o) == m.number + 1 && (m.number < first || last == m.number));
	require(outbox_delivered(o, outbox_taken(o)) == ERR_OK && outbox_finish(o) == ERR_OK);
	outbox_close(o);
}

static void account(const char *path)
{
	const struct dedup_id id = { .sender = "ann", .topic = "t", .stream = "stream0", .seq = 7, .time_ms = 7 };
	uint64_t missing;
	struct dedup *d = dedup_open(path, "t", NULL, own_key("ec"), 5, &torn, error, sizeof error);
	require(d || error[0]);
	if (!d)
		return;
	require(dedup_add(d, &id, NULL, 0) == ERR_OK && dedup_judge(d, &id, &missing) == DEDUP_SEEN && dedup_finish(d) == ERR_OK);
	dedup_close(d);
	d = dedup_open(path, "t", NULL, own_key("ec"), 5, &torn, error, sizeof error);
	require(d != NULL && dedup_finish(d) == ERR_OK);
	dedup_close(d);
}

/* ---- ranges */

static const struct dedup_id seen_id = { .sender = "ann", .topic = "t", .stream = "stream0" };

/* A frame (docs/formats.md 14.3) that says: first to last. */
static void append_range(struct journal *j, uint64_t first, uint64_t last)
{
	uint8_t frame[128], *p = put_be(put_be(put_be(frame, 5, 8), 6, 8), 0, 8);
	p = put_be(put_be(p, 0, 4), 1, 2);
	*p++ = 't';
	memcpy(p, seen_id.stream, sizeof seen_id.stream);
	p = put_be(put_be(put_be(p + sizeof seen_id.stream, first, 8), last, 8), 6, 8);
	p = put_be(put_be(p, strlen(seen_id.sender), 2), strlen(seen_id.topic), 2);
	p = (uint8_t *)stpcpy(stpcpy((char *)p, seen_id.sender), seen_id.topic);
	require(journal_append(j, frame, (size_t)(p - frame)) == ERR_OK);
}

/* Opens it, compares it with the list, and makes it one frame of the sums. */
static void compare(const char *path, const bool seen[static 256])
{
	struct dedup_id id = seen_id;
	uint64_t missing;
	struct dedup *d = dedup_open(path, "t", NULL, own_key("ec"), 5, &torn, error, sizeof error);
	require(d != NULL);
	for (id.seq = 0; id.seq < 256; id.seq++)
		require((dedup_judge(d, &id, &missing) == DEDUP_SEEN) == seen[id.seq]);
	require(dedup_finish(d) == ERR_OK);
	dedup_close(d);
}

static void ranges(const char *path, const uint8_t *p, size_t len)
{
	bool seen[256] = { false };
	unlink(path);
	struct journal *j = journal_open(path, "dedup\0\0", own_key("ec"), ignore_frame, NULL, &torn, error, sizeof error);
	require(j != NULL);
	for (; len >= 2; p += 2, len -= 2) {
		uint8_t first = p[0] < p[1] ? p[0] : p[1], last = p[0] < p[1] ? p[1] : p[0];
		append_range(j, first, last);
		memset(seen + first, true, (size_t)(last - first) + 1);
	}
	journal_close(j);
	compare(path, seen);
	compare(path, seen);
}

/* ---- the input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	const char *path = scratch_name(0);
	error[0] = '\0';
	if (data[0] % 4 == 0) {
		struct journal *j = journal_open(scratch_file(0, data + 1, len - 1), "outbox\0", own_key("ec"), ignore_frame, NULL, &torn, error, sizeof error);
		require(j || error[0]);
		journal_close(j);
	} else if (data[0] % 4 == 3) {
		ranges(path, data + 1, len - 1);
	} else if (make_file(path, data[0] % 4 == 1 ? "outbox\0" : "dedup\0\0", data + 1, len - 1)) {
		if (data[0] % 4 == 1)
			outbox(path);
		else
			account(path);
	}
	scratch_remove(0);
	return 0;
}
