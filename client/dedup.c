/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/dedup.h"

#include "base/be.h"
#include "base/durable.h"
#include "base/secmem.h"
#include "client/outbox.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMPACT_AT (4u << 20)                  /* bytes of the file; or four times what it has then */
#define SILENT_MS (UINT64_C(30) * 86400 * 1000) /* after that, streams other than outboxes' are forgotten */
#define BUCKETS 4096u
static const char kind[JOURNAL_KIND_LEN] = "dedup";

struct range { uint64_t first, last; };

/* Numbers of one sender's stream in one topic. */
struct seen {
	struct seen *next;             /* in its bucket */
	uint8_t stream[COSE_STREAM_LEN];
	uint64_t time_ms;              /* of its last message */
	struct range *range;           /* apart from each other, rising */
	size_t n, cap;
	const char *topic;             /* behind the sender */
	char sender[];
};

struct dedup {
	struct journal *journal;
	const char *filter, *output_name; /* borrowed */
	int output;                       /* -1: none */
	uint64_t begin_ms, newest_ms;     /* begin 0: the file is new; the newest message that was handed on */
	uint64_t output_len;              /* as of the last commit */
	bool redo;                        /* the file holds lines that may not be on disk in the output */
	struct seen *bucket[BUCKETS];
	uint64_t compact_at;              /* bytes */
	char *lines;                      /* for the next commit */
	size_t lines_len, lines_cap;
	uint8_t *ids;
	size_t ids_len, ids_cap;
	char why[160];
};

/* ---- numbers */

/* The last range that does not begin behind seq: its index + 1, or 0. */
static size_t at_or_before(const struct seen *s, uint64_t seq)
{
	size_t low = 0, high = s->n;
	while (low < high) {
		size_t mid = (low + high) / 2;
		if (s->range[mid].first <= seq)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool has(const struct seen *s, uint64_t seq)
{
	size_t i = at_or_before(s, seq);
	return i > 0 && seq <= s->range[i - 1].last;
}

static bool adjoins(uint64_t last, uint64_t first) { return first <= last || first == last + 1; }

/* Notes first..last; the ranges that it meets become one with it. */
static enum err note(struct seen *s, uint64_t first, uint64_t last)
{
	size_t i = at_or_before(s, first), end;
	assert(i == 0 || s->range);
	if (i > 0 && adjoins(s->range[i - 1].last, first))
		i--;
	for (end = i; end < s->n && adjoins(last, s->range[end].first); end++)
		;
	if (end > i) {
		struct range *r = &s->range[i];
		r->first = first < r->first ? first : r->first;
		r->last = last > s->range[end - 1].last ? last : s->range[end - 1].last;
		memmove(r + 1, &s->range[end], (s->n - end) * sizeof *s->range);
		s->n -= end - i - 1;
		return ERR_OK;
	}
	if (s->n == s->cap) {
		struct range *more = realloc(s->range, (2 * s->cap + 1) * sizeof *more);
		if (!more)
			return ERR_NOMEM;
		s->range = more;
		s->cap = 2 * s->cap + 1;
	}
	memmove(&s->range[i + 1], &s->range[i], (s->n - i) * sizeof *s->range);
	s->range[i] = (struct range){ first, last };
	s->n++;
	return ERR_OK;
}

/* ---- streams: their ids are random, and those who may write choose them for themselves alone */

static size_t bucket_of(const uint8_t stream[static COSE_STREAM_LEN])
{
	return (size_t)(get_be(stream, COSE_STREAM_LEN) % BUCKETS);
}

static struct seen *find(const struct dedup *d, const struct dedup_id *id)
{
	struct seen *s = d->bucket[bucket_of(id->stream)];
	while (s && (memcmp(s->stream, id->stream, sizeof s->stream) != 0 || strcmp(s->sender, id->sender) != 0 || strcmp(s->topic, id->topic) != 0))
		s = s->next;
	return s;
}

static struct seen *get(struct dedup *d, const struct dedup_id *id)
{
	struct seen *s = find(d, id);
	if (s)
		return s;
	size_t sender = strlen(id->sender) + 1, topic = strlen(id->topic) + 1;
	s = calloc(1, sizeof *s + sender + topic);
	if (!s)
		return NULL;
	memcpy(s->sender, id->sender, sender);
	memcpy(s->sender + sender, id->topic, topic);
	s->topic = s->sender + sender;
	memcpy(s->stream, id->stream, sizeof s->stream);
	struct seen **b = &d->bucket[bucket_of(id->stream)];
	s->next = *b;
	*b = s;
	return s;
}

static void drop(struct seen **at)
{
	struct seen *s = *at;
	*at = s->next;
	free(s->range);
	free(s);
}

static bool is_outbox(const struct seen *s)
{
	return s->n > 0 && s->range[s->n - 1].last >= OUTBOX_SEQ_FIRST;
}

enum dedup_verdict dedup_judge(const struct dedup *d, const struct dedup_id *id, uint64_t *missing)
{
	const struct seen *s = find(d, id);
	if (!s || s->n == 0)
		return DEDUP_NEW;
	if (has(s, id->seq))
		return DEDUP_SEEN;
	*missing = s->range[s->n - 1].last + 1;
	return id->seq > *missing && is_outbox(s) ? DEDUP_GAP : DEDUP_NEW;
}

static enum err take(struct dedup *d, const struct dedup_id *id, uint64_t last)
{
	struct seen *s = get(d, id);
	enum err e = s ? note(s, id->seq, last) : ERR_NOMEM;
	if (e != ERR_OK)
		return e;
	if (id->time_ms > s->time_ms)
		s->time_ms = id->time_ms;
	if (id->time_ms > d->newest_ms)
		d->newest_ms = id->time_ms;
	return ERR_OK;
}

/* ---- frames: begin, newest, length of the output before, of the lines, of the filter; filter, lines, ids */

enum { HEAD = 8 + 8 + 8 + 4 + 2, ID_HEAD = COSE_STREAM_LEN + 8 + 8 + 8 + 2 + 2 };

static enum err put_id(uint8_t **ids, size_t *len, size_t *cap, const struct dedup_id *id, uint64_t last)
{
	size_t sender = strlen(id->sender), topic = strlen(id->topic), size = ID_HEAD + sender + topic;
	if (*cap - *len < size) {
		uint8_t *more = realloc(*ids, 2 * (*len + size));
		if (!more)
			return ERR_NOMEM;
		*ids = more;
		*cap = 2 * (*len + size);
	}
	assert(*ids);
	uint8_t *p = *ids + *len;
	memcpy(p, id->stream, COSE_STREAM_LEN);
	p = put_be(put_be(put_be(p + COSE_STREAM_LEN, id->seq, 8), last, 8), id->time_ms, 8);
	p = put_be(put_be(p, sender, 2), topic, 2);
	memcpy(p, id->sender, sender);
	memcpy(p + sender, id->topic, topic);
	*len += size;
	return ERR_OK;
}

static enum err write_frame(struct dedup *d, enum err (*write)(struct journal *, const void *, size_t), const char *lines, size_t lines_len,
                            const uint8_t *ids, size_t ids_len)
{
	size_t filter = strlen(d->filter), len = HEAD + filter + lines_len + ids_len;
	uint8_t *frame = malloc(len);
	if (!frame)
		return ERR_NOMEM;
	uint8_t *p = put_be(put_be(put_be(frame, d->begin_ms, 8), d->newest_ms, 8), d->output_len, 8);
	p = put_be(put_be(p, lines_len, 4), filter, 2);
	memcpy(p, d->filter, filter);
	p += filter;
	if (lines_len)
		memcpy(p, lines, lines_len);
	if (ids_len)
		memcpy(p + lines_len, ids, ids_len);
	enum err e = write(d->journal, frame, len);
	secmem_wipe(frame, len);
	free(frame);
	return e;
}

static const char *read_ids(struct dedup *d, const uint8_t *p, const uint8_t *end)
{
	while (p < end) {
		if (end - p < ID_HEAD)
			return "a message's name is cut off";
		struct dedup_id id = { .seq = get_be(p + 8, 8), .time_ms = get_be(p + 24, 8) };
		uint64_t last = get_be(p + 16, 8);
		size_t sender = (size_t)get_be(p + 32, 2), topic = (size_t)get_be(p + 34, 2);
		memcpy(id.stream, p, COSE_STREAM_LEN);
		p += ID_HEAD;
		if (sender + topic > (size_t)(end - p) || last < id.seq)
			return "a message's name is cut off";
		if (memchr(p, 0, sender + topic))
			return "a message's name holds a NUL";
		char *sender_text = strndup((const char *)p, sender), *topic_text = strndup((const char *)p + sender, topic);
		id.sender = sender_text;
		id.topic = topic_text;
		p += sender + topic;
		enum err e = sender_text && topic_text ? take(d, &id, last) : ERR_NOMEM;
		free(sender_text);
		free(topic_text);
		if (e != ERR_OK)
			return "out of memory";
	}
	return NULL;
}

static const char *read_frame(void *arg, const uint8_t *bytes, size_t len)
{
	struct dedup *d = arg;
	size_t lines = len < HEAD ? 0 : (size_t)get_be(bytes + 24, 4), filter = len < HEAD ? 0 : (size_t)get_be(bytes + 28, 2);
	if (len < HEAD || len - HEAD < filter || len - HEAD - filter < lines)
		return "a frame is cut off";
	if (filter != strlen(d->filter) || memcmp(bytes + HEAD, d->filter, filter) != 0)
		return "it is another filter's: expected the -t it was begun with";
	const uint8_t *p = bytes + HEAD + filter;
	d->begin_ms = get_be(bytes, 8);
	d->newest_ms = get_be(bytes + 8, 8);
	d->output_len = get_be(bytes + 16, 8);
	if (lines > 0 && d->output < 0)
		return "it has lines for a file: expected --output, as before";
	/* What was committed is written once more: the same bytes at the same place. */
	if (lines > 0 && !durable_write_at(d->output, (off_t)d->output_len, p, lines)) {
		snprintf(d->why, sizeof d->why, "%s: %s", d->output_name, strerror(errno));
		return d->why;
	}
	d->output_len += lines;
	d->redo = d->redo || lines > 0;
	return read_ids(d, p + lines, bytes + len);
}

/* ---- opening */

static bool open_output(struct dedup *d, const char *output, char *error, size_t error_len)
{
	d->output = output ? open(output, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;
	if (!output || d->output >= 0)
		return true;
	snprintf(error, error_len, "%s: %s", output, strerror(errno));
	return false;
}

/* Nobody else may have written to it; one that is empty was put in the place of one that was whole. */
static bool check_output(struct dedup *d, bool had_frames, char *error, size_t error_len)
{
	struct stat st;
	if (d->output < 0)
		return true;
	if (fstat(d->output, &st) != 0) {
		snprintf(error, error_len, "%s: %s", d->output_name, strerror(errno));
		return false;
	}
	uint64_t len = (uint64_t)st.st_size;
	if (!had_frames || (len == 0 && !d->redo))
		d->output_len = len;
	if (len == d->output_len)
		return true;
	snprintf(error, error_len, "%s: expected %llu bytes, it has %llu: somebody else has written to it, or cut it while lines for it were on their way", d->output_name,
	         (unsigned long long)d->output_len, (unsigned long long)len);
	return false;
}

struct dedup *dedup_open(const char *path, const char *filter, const char *output, struct keypair *owner, uint64_t begin_ms, uint64_t *torn, char *error,
                         size_t error_len)
{
	struct dedup *d = calloc(1, sizeof *d);
	if (!d) {
		snprintf(error, error_len, "%s: out of memory", path);
		return NULL;
	}
	d->filter = filter;
	d->output_name = output;
	d->output = -1;
	d->compact_at = COMPACT_AT;
	*torn = 0;
	bool good = open_output(d, output, error, error_len);
	d->journal = good ? journal_open(path, kind, owner, read_frame, d, torn, error, error_len) : NULL;
	bool had_frames = d->journal && d->begin_ms > 0;
	good = d->journal && check_output(d, had_frames, error, error_len);
	if (good && !had_frames) {
		d->begin_ms = begin_ms;
		enum err e = write_frame(d, journal_append, NULL, 0, NULL, 0);
		good = e == ERR_OK;
		if (!good)
			snprintf(error, error_len, "%s: %s", path, e == ERR_IO ? strerror(errno) : err_text(e));
	}
	if (good)
		return d;
	dedup_close(d);
	return NULL;
}

void dedup_close(struct dedup *d)
{
	if (!d)
		return;
	journal_close(d->journal);
	if (d->output >= 0)
		close(d->output);
	for (size_t i = 0; i < BUCKETS; i++)
		while (d->bucket[i])
			drop(&d->bucket[i]);
	free(d->lines);
	free(d->ids);
	free(d);
}

/* ---- committing */

enum err dedup_add(struct dedup *d, const struct dedup_id *id, const void *line, size_t len)
{
	if (d->lines_cap - d->lines_len < len) {
		char *more = realloc(d->lines, 2 * (d->lines_len + len));
		if (!more)
			return ERR_NOMEM;
		d->lines = more;
		d->lines_cap = 2 * (d->lines_len + len);
	}
	size_t before = d->ids_len;
	enum err e = put_id(&d->ids, &d->ids_len, &d->ids_cap, id, id->seq);
	if (e == ERR_OK)
		e = take(d, id, id->seq);
	if (e != ERR_OK) {
		d->ids_len = before;
		return e;
	}
	if (len)
		memcpy(d->lines + d->lines_len, line, len);
	d->lines_len += len;
	return ERR_OK;
}

size_t dedup_waiting(const struct dedup *d)
{
	return d->lines_len + d->ids_len;
}

/* Outboxes are few and stay; of other streams, a new one begins with each connection. */
static void forget(struct dedup *d)
{
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct seen **at = &d->bucket[i]; *at;) {
			if (!is_outbox(*at) && (*at)->time_ms + SILENT_MS < d->newest_ms)
				drop(at);
			else
				at = &(*at)->next;
		}
}

/* The file is replaced by what it says: a range is an id as long as it is. */
static enum err compact(struct dedup *d)
{
	uint8_t *ids = NULL;
	size_t len = 0, cap = 0;
	enum err e = ERR_OK;
	if (d->output >= 0 && d->redo && fsync(d->output) != 0)
		return ERR_IO;
	forget(d);
	for (size_t i = 0; i < BUCKETS && e == ERR_OK; i++)
		for (const struct seen *s = d->bucket[i]; s && e == ERR_OK; s = s->next)
			for (size_t k = 0; k < s->n && e == ERR_OK; k++) {
				struct dedup_id id = { .sender = s->sender, .topic = s->topic, .seq = s->range[k].first, .time_ms = s->time_ms };
				memcpy(id.stream, s->stream, sizeof id.stream);
				e = put_id(&ids, &len, &cap, &id, s->range[k].last);
			}
	if (e == ERR_OK)
		e = write_frame(d, journal_rewrite, NULL, 0, ids, len);
	free(ids);
	if (e == ERR_OK) {
		d->redo = false;
		d->compact_at = journal_size(d->journal) > COMPACT_AT / 4 ? 4 * journal_size(d->journal) : COMPACT_AT;
	}
	return e;
}

enum err dedup_commit(struct dedup *d)
{
	if (d->ids_len == 0)
		return ERR_OK;
	enum err e = write_frame(d, journal_append, d->lines, d->lines_len, d->ids, d->ids_len);
	if (e != ERR_OK)
		return e;
	if (d->lines_len > 0 && !durable_write_at(d->output, (off_t)d->output_len, d->lines, d->lines_len))
		return ERR_IO;
	d->output_len += d->lines_len;
	d->redo = d->redo || d->lines_len > 0;
	d->lines_len = d->ids_len = 0;
	return journal_size(d->journal) > d->compact_at ? compact(d) : ERR_OK;
}

enum err dedup_finish(struct dedup *d)
{
	enum err e = dedup_commit(d);
	return e == ERR_OK ? compact(d) : e;
}

uint64_t dedup_since(const struct dedup *d, uint64_t margin_ms, bool *is_new)
{
	*is_new = d->newest_ms == 0;
	return d->newest_ms > d->begin_ms + margin_ms ? d->newest_ms - margin_ms : d->begin_ms;
}
