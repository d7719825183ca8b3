/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/transcript.h"

#include "base/durable.h"
#include "client/transcript_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

struct transcript {
	int fd;
	off_t len;                   /* of the file: whole lines */
	uint64_t messages;
	uint8_t prev[HASH_LEN];      /* of the last line */
	uint8_t (*sender)[HASH_LEN]; /* whose certificates stand in it */
	size_t n_senders;
};

static enum err append(struct transcript *t, const char *bytes, size_t len)
{
	enum err e = durable_append(t->fd, t->len, bytes, len);
	if (e == ERR_OK)
		t->len += (off_t)len;
	return e;
}

/* ---- lines gathered for one write */

struct lines {
	char *text;
	size_t len;
	uint8_t prev[HASH_LEN]; /* of the last one gathered */
};

static enum err gather(struct lines *g, struct transcript_line *l)
{
	char *text;
	size_t len;
	memcpy(l->prev, g->prev, HASH_LEN);
	enum err e = transcript_line_format(l, &text, &len);
	if (e != ERR_OK)
		return e;
	char *more = realloc(g->text, g->len + len + 1);
	if (more) {
		g->text = more;
		memcpy(more + g->len, text, len);
		more[g->len + len] = '\n';
		g->len += len + 1;
		hash_sha256(text, len, g->prev);
	}
	free(text);
	return more ? ERR_OK : ERR_NOMEM;
}

static bool knows(const struct transcript *t, const uint8_t fingerprint[static HASH_LEN])
{
	for (size_t i = 0; i < t->n_senders; i++)
		if (memcmp(t->sender[i], fingerprint, HASH_LEN) == 0)
			return true;
	return false;
}

enum err transcript_add(struct transcript *t, const char *topic, uint64_t received_ms, const char *verdict, const void *sender, size_t sender_len,
                        const void *sealed, size_t sealed_len)
{
	struct lines g = { .text = NULL };
	struct transcript_line certificate = { .kind = TRANSCRIPT_CERTIFICATE, .bytes = sender, .bytes_len = sender_len };
	struct transcript_line message = { .kind = TRANSCRIPT_MESSAGE, .bytes = sealed, .bytes_len = sealed_len, .n = t->messages + 1,
		.received_ms = received_ms, .topic = topic, .verdict = verdict };
	memcpy(g.prev, t->prev, HASH_LEN);
	hash_sha256(sender, sender_len, message.sender);
	bool is_new = !knows(t, message.sender);
	enum err e = ERR_OK;
	if (is_new) {
		void *more = realloc(t->sender, (t->n_senders + 1) * HASH_LEN);
		if (!more)
			return ERR_NOMEM;
		t->sender = more;
		e = gather(&g, &certificate);
	}
	if (e == ERR_OK)
		e = gather(&g, &message);
	if (e == ERR_OK)
		e = append(t, g.text, g.len);
	free(g.text);
	if (e != ERR_OK)
		return e;
	if (is_new)
		memcpy(t->sender[t->n_senders++], message.sender, HASH_LEN);
	memcpy(t->prev, g.prev, HASH_LEN);
	t->messages++;
	return ERR_OK;
}

/* ---- opening */

static enum err begin(struct transcript *t, const uint8_t holder[static 32], uint64_t now_ms)
{
	struct lines g = { .text = NULL };
	struct transcript_line head = { .kind = TRANSCRIPT_HEAD, .started_ms = now_ms };
	memcpy(head.holder, holder, HASH_LEN);
	enum err e = gather(&g, &head);
	if (e == ERR_OK)
		e = append(t, g.text, g.len);
	free(g.text);
	memcpy(t->prev, g.prev, HASH_LEN);
	return e;
}

/* Takes over what the scan found; a torn line, whose transcript_add never returned, is cut off. */
static enum err go_on(struct transcript *t, struct transcript_scan *s)
{
	t->len = s->whole_len;
	t->messages = s->messages;
	memcpy(t->prev, s->hash[s->lines - 1], HASH_LEN);
	t->sender = s->sender;
	t->n_senders = s->n_senders;
	s->sender = NULL;
	return s->torn_len == 0 || (ftruncate(t->fd, t->len) == 0 && fdatasync(t->fd) == 0) ? ERR_OK : ERR_IO;
}

static enum err read_existing(struct transcript *t, const char *path, const uint8_t holder[static 32], uint64_t now_ms, char *error, size_t error_len)
{
	struct transcript_scan s = { .lines = 0 };
	int copy = dup(t->fd);
	FILE *f = copy >= 0 ? fdopen(copy, "r") : NULL;
	if (!f && copy >= 0)
		close(copy);
	enum err e = f ? transcript_scan(&s, f, NULL, NULL, NULL) : ERR_IO;
	if (e == ERR_CORRUPT) {
		snprintf(error, error_len, "%s:%llu: %s", path, (unsigned long long)s.fault_line, s.fault);
	} else if (e == ERR_OK && s.lines > 0 && memcmp(s.holder, holder, HASH_LEN) != 0) {
		snprintf(error, error_len, "%s:1: the transcript is another certificate's", path);
		e = ERR_REFUSED;
	} else if (e == ERR_OK && s.lines > 0) {
		e = go_on(t, &s);
	} else if (e == ERR_OK) {
		e = ftruncate(t->fd, 0) == 0 ? begin(t, holder, now_ms) : ERR_IO;
		if (e == ERR_OK) /* the entry of a new file must last as well */
			e = durable_sync_folder_of(path);
	}
	transcript_scan_free(&s);
	if (f) {
		int reason = errno;
		fclose(f);
		errno = reason;
	}
	return e;
}

struct transcript *transcript_open(const char *path, const uint8_t holder[static 32], uint64_t now_ms, char *error, size_t error_len)
{
	struct transcript *t = calloc(1, sizeof *t);
	if (!t) {
		snprintf(error, error_len, "%s: out of memory", path);
		return NULL;
	}
	error[0] = '\0';
	t->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	enum err e = t->fd >= 0 ? ERR_OK : ERR_IO;
	if (e == ERR_OK && flock(t->fd, LOCK_EX | LOCK_NB) != 0) { /* two writers would break the chain */
		snprintf(error, error_len, "%s: in use by another process", path);
		e = ERR_EXISTS;
	}
	if (e == ERR_OK)
		e = read_existing(t, path, holder, now_ms, error, error_len);
	if (e == ERR_OK)
		return t;
	if (error[0] == '\0')
		snprintf(error, error_len, "%s: %s", path, e == ERR_IO ? strerror(errno) : err_text(e));
	transcript_close(t);
	return NULL;
}

void transcript_close(struct transcript *t)
{
	if (!t)
		return;
	if (t->fd >= 0)
		close(t->fd);
	free(t->sender);
	free(t);
}
