/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The file of what was shown, and the same in memory. Owns the descriptor. */
#include "client/inbox_read.h"

#include "base/durable.h"
#include "base/textbytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIME_DIGITS 13u
#define LINE_LEN (TIME_DIGITS + 1 + 2 * INBOX_HASH_LEN + 1)

struct entry {
	bool used;
	bool now;            /* shown in this run */
	uint8_t hash[INBOX_HASH_LEN];
};

struct inbox_read {
	int fd;              /* -1: none */
	struct entry *table; /* open addressing by the hash's first bytes */
	size_t cap, n;       /* cap: a power of two */
};

static struct entry *slot_of(struct entry *table, size_t cap, const uint8_t *hash)
{
	uint64_t first;
	memcpy(&first, hash, sizeof first); /* a hash is as random as can be */
	size_t i = (size_t)first & (cap - 1);
	while (table[i].used && memcmp(table[i].hash, hash, INBOX_HASH_LEN) != 0)
		i = (i + 1) & (cap - 1);
	return &table[i];
}

static bool grow(struct inbox_read *r)
{
	struct entry *old = r->table;
	size_t old_cap = r->cap, cap = old_cap ? 2 * old_cap : 256;
	struct entry *table = calloc(cap, sizeof *table);
	if (!table)
		return false;
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].used)
			*slot_of(table, cap, old[i].hash) = old[i];
	r->table = table;
	r->cap = cap;
	free(old);
	return true;
}

static bool put(struct inbox_read *r, const uint8_t *hash, bool now)
{
	if (2 * (r->n + 1) > r->cap && !grow(r))
		return false;
	struct entry *e = slot_of(r->table, r->cap, hash);
	r->n += !e->used;
	e->used = true;
	e->now |= now;
	memcpy(e->hash, hash, INBOX_HASH_LEN);
	return true;
}

/* ---- the file */

static bool parse(const char *line, uint64_t *ms, uint8_t hash[static INBOX_HASH_LEN])
{
	*ms = 0;
	for (size_t i = 0; i < TIME_DIGITS; i++) {
		if (line[i] < '0' || line[i] > '9')
			return false;
		*ms = *ms * 10 + (uint64_t)(line[i] - '0');
	}
	return line[TIME_DIGITS] == ' ' && hex_get(line + TIME_DIGITS + 1, (size_t)2 * INBOX_HASH_LEN, hash, INBOX_HASH_LEN) && line[LINE_LEN - 1] == '\n';
}

static void format(char line[static LINE_LEN + 1], const uint8_t *hash, uint64_t ms)
{
	snprintf(line, LINE_LEN + 1, "%0*llu ", (int)TIME_DIGITS, (unsigned long long)ms);
	*hex_put(line + TIME_DIGITS + 1, hash, INBOX_HASH_LEN) = '\n';
}

static bool append(int fd, const uint8_t *hash, uint64_t ms)
{
	char line[LINE_LEN + 1];
	format(line, hash, ms);
	return write(fd, line, LINE_LEN) == (ssize_t)LINE_LEN && fdatasync(fd) == 0;
}

/* What is in the file, but for what is too old; what a crash left of a last line is cut off. *old: how many lines were too old. */
static const char *load(struct inbox_read *r, uint64_t now_ms, size_t *old)
{
	char line[LINE_LEN];
	uint8_t hash[INBOX_HASH_LEN];
	uint64_t ms;
	off_t at = 0;
	ssize_t n;
	while ((n = pread(r->fd, line, LINE_LEN, at)) == (ssize_t)LINE_LEN) {
		if (!parse(line, &ms, hash))
			return "is not what was written (sealmq inbox keeps in it what was shown; without it all is shown again)";
		if (ms + INBOX_KEEP_MS < now_ms)
			++*old;
		else if (!put(r, hash, false))
			return "out of memory";
		at += (off_t)LINE_LEN;
	}
	return n < 0 || (n > 0 && ftruncate(r->fd, at) != 0) ? strerror(errno) : NULL;
}

/* The file of that name, shared with those who have it open. */
static bool open_shared(struct inbox_read *r, const char *path)
{
	struct stat there, ours;
	for (;;) {
		r->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (r->fd < 0 || flock(r->fd, LOCK_SH) != 0 || fstat(r->fd, &ours) != 0)
			return false;
		if (stat(path, &there) == 0 && there.st_ino == ours.st_ino && there.st_dev == ours.st_dev)
			return true;
		(void)close(r->fd); /* another process has just replaced it */
	}
}

/* The file without what is too old. Whoever has the old one open would append in vain, so only when nobody has. */
static bool rewrite(struct inbox_read *r, const char *path, uint64_t now_ms)
{
	if (flock(r->fd, LOCK_EX | LOCK_NB) != 0)
		return true; /* another time */
	char *text = malloc(r->n * LINE_LEN + 1), *end = text;
	for (size_t i = 0; i < r->cap && text; i++) {
		if (!r->table[i].used)
			continue;
		format(end, r->table[i].hash, now_ms);
		end += LINE_LEN;
	}
	bool good = text && durable_replace(path, text, (size_t)(end - text)) == ERR_OK;
	free(text);
	(void)close(r->fd);
	return open_shared(r, path) && good;
}

static const char *open_file(struct inbox_read *r, const char *path, uint64_t now_ms)
{
	size_t old = 0;
	if (!open_shared(r, path))
		return strerror(errno);
	const char *why = load(r, now_ms, &old);
	if (!why && old > r->n && !rewrite(r, path, now_ms))
		why = strerror(errno);
	return why;
}

struct inbox_read *inbox_read_open(const char *path, uint64_t now_ms, char *error, size_t error_len)
{
	struct inbox_read *r = calloc(1, sizeof *r);
	const char *why = NULL;
	if (r)
		r->fd = -1;
	if (!r || !grow(r))
		why = "out of memory";
	else if (path)
		why = open_file(r, path, now_ms);
	if (!why)
		return r;
	snprintf(error, error_len, "%s: %s", path ? path : "inbox", why);
	inbox_read_close(r);
	return NULL;
}

void inbox_read_close(struct inbox_read *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		(void)close(r->fd);
	free(r->table);
	free(r);
}

/* ---- asking and marking */

enum inbox_verdict inbox_read_look(const struct inbox_read *r, const uint8_t hash[static INBOX_HASH_LEN])
{
	const struct entry *e = slot_of(r->table, r->cap, hash);
	return !e->used ? INBOX_NEW : e->now ? INBOX_SHOWN : INBOX_READ;
}

enum err inbox_read_mark(struct inbox_read *r, const uint8_t hash[static INBOX_HASH_LEN], uint64_t now_ms)
{
	bool is_new = inbox_read_look(r, hash) == INBOX_NEW;
	if (!put(r, hash, true))
		return ERR_NOMEM;
	return is_new && r->fd >= 0 && !append(r->fd, hash, now_ms) ? ERR_IO : ERR_OK;
}
