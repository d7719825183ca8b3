/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/journal.h"

#include "base/be.h"
#include "base/durable.h"
#include "base/secmem.h"
#include "crypto/hash.h"
#include "crypto/ownseal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char magic[8] = "SEALMQJ1";

enum {
	HEAD_LEN = sizeof magic + JOURNAL_KIND_LEN + OWNSEAL_ID_LEN,
	FRAME_HEAD = 8,                                   /* a frame's length, and its check */
	ALIGN = 8,                                        /* a frame's head never straddles two sectors */
};

struct journal {
	int fd;
	char *path;
	char kind[JOURNAL_KIND_LEN];
	struct ownseal_key *key; /* secret memory */
	uint64_t end;            /* of the last whole frame */
};

static size_t frame_size(size_t len)
{
	return (FRAME_HEAD + len + OWNSEAL_OVERHEAD + ALIGN - 1) / ALIGN * ALIGN;
}

/* What a frame's content is sealed for; its hash checks the length. */
struct binding { char use[8]; uint8_t kind[JOURNAL_KIND_LEN], at[8], len[4]; };

static struct binding bind_frame(const struct journal *j, uint64_t at, size_t len)
{
	struct binding b = { .use = "journal/" };
	memcpy(b.kind, j->kind, sizeof b.kind);
	put_be(b.at, at, sizeof b.at);
	put_be(b.len, len, sizeof b.len);
	return b;
}

static void put_length(uint8_t out[static FRAME_HEAD], const struct binding *b)
{
	uint8_t hash[HASH_LEN];
	hash_sha256(b, sizeof *b, hash);
	memcpy(out, b->len, 4);
	memcpy(out + 4, hash, 4);
}

/* A frame for that place, on the heap; *size bytes. */
static enum err make_frame(const struct journal *j, uint64_t at, const void *bytes, size_t len, uint8_t **out, size_t *size)
{
	const struct binding b = bind_frame(j, at, len);
	if (len == 0 || len > JOURNAL_FRAME_MAX)
		return ERR_INVALID;
	*size = frame_size(len);
	*out = calloc(1, *size);
	if (!*out)
		return ERR_NOMEM;
	put_length(*out, &b);
	enum err e = ownseal_seal(j->key, &b, sizeof b, bytes, len, *out + FRAME_HEAD);
	if (e != ERR_OK)
		free(*out);
	return e;
}

/* ---- reading */

enum frame { FRAME_WHOLE, FRAME_TORN, FRAME_DAMAGED };

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* Opens the frame at place `at` of the file into content, which has room: *len bytes, *size bytes in the file. A frame is synced before the next one is
 * begun: only the last can be torn. */
static enum frame open_frame(const struct journal *j, const uint8_t *file, uint64_t at, uint64_t file_len, uint8_t *content, size_t *len, size_t *size)
{
	const uint8_t *p = file + at;
	uint8_t head[FRAME_HEAD];
	uint64_t left = file_len - at;
	if (left < FRAME_HEAD || all_zero(p, left))
		return FRAME_TORN;
	*len = (size_t)get_be(p, 4);
	const struct binding b = bind_frame(j, at, *len);
	put_length(head, &b);
	if (memcmp(head, p, FRAME_HEAD) != 0 || *len == 0 || *len > JOURNAL_FRAME_MAX)
		return FRAME_DAMAGED;
	*size = frame_size(*len);
	if (*size > left)
		return FRAME_TORN;
	if (ownseal_open(j->key, &b, sizeof b, p + FRAME_HEAD, *len + OWNSEAL_OVERHEAD, content) == ERR_OK)
		return FRAME_WHOLE;
	return *size == left ? FRAME_TORN : FRAME_DAMAGED;
}

struct failure { char *text; size_t cap; };

static enum err PRINTF_LIKE(3, 4) fail(const struct failure *f, enum err e, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(f->text, f->cap, fmt, ap);
	va_end(ap);
	return e;
}

/* content: room for the largest frame. */
static enum err read_frames(struct journal *j, const uint8_t *file, uint64_t file_len, uint8_t *content, journal_visit visit, void *arg, const struct failure *f)
{
	size_t len = 0, size = 0;
	for (j->end = HEAD_LEN; j->end < file_len; j->end += size) {
		switch (open_frame(j, file, j->end, file_len, content, &len, &size)) {
		case FRAME_TORN: return ERR_OK;
		case FRAME_DAMAGED:
			return fail(f, ERR_CORRUPT, "%s: damaged at byte %llu: what stands there was not written so", j->path, (unsigned long long)j->end);
		case FRAME_WHOLE: break;
		}
		const char *why = visit(arg, content, len);
		if (why)
			return fail(f, ERR_CORRUPT, "%s: at byte %llu: %s", j->path, (unsigned long long)j->end, why);
	}
	return ERR_OK;
}

static enum err check_head(const struct journal *j, const uint8_t *file, uint64_t file_len, const struct failure *f)
{
	if (file_len < HEAD_LEN || memcmp(file, magic, sizeof magic) != 0)
		return fail(f, ERR_CORRUPT, "%s: at byte 0: not a file of sealmq's", j->path);
	if (memcmp(file + sizeof magic, j->kind, sizeof j->kind) != 0)
		return fail(f, ERR_CORRUPT, "%s: at byte %zu: expected '%.8s', this file is for something else", j->path, sizeof magic, j->kind);
	if (memcmp(file + sizeof magic + sizeof j->kind, j->key->id, OWNSEAL_ID_LEN) != 0)
		return fail(f, ERR_REFUSED, "%s: sealed under another key than this identity's", j->path);
	return ERR_OK;
}

static enum err read_file(struct journal *j, uint8_t *file, uint64_t len)
{
	for (uint64_t done = 0; done < len;) {
		ssize_t n = pread(j->fd, file + done, len - done, (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ERR_IO;
		done += (uint64_t)n;
	}
	return ERR_OK;
}

static enum err read_existing(struct journal *j, uint64_t file_len, journal_visit visit, void *arg, uint64_t *torn, const struct failure *f)
{
	uint8_t *file = malloc(file_len + 1), *content = malloc(file_len + 1);
	enum err e = !file || !content ? ERR_NOMEM : read_file(j, file, file_len);
	if (e == ERR_OK)
		e = check_head(j, file, file_len, f);
	if (e == ERR_OK)
		e = read_frames(j, file, file_len, content, visit, arg, f);
	if (e == ERR_OK && j->end < file_len) {
		*torn = file_len - j->end;
		e = ftruncate(j->fd, (off_t)j->end) == 0 && fdatasync(j->fd) == 0 ? ERR_OK : ERR_IO;
	}
	if (content)
		secmem_wipe(content, file_len);
	free(content);
	free(file);
	return e;
}

/* ---- writing */

/* A first file takes no other's place: another process may have made one meanwhile. */
static enum err take_name(const struct journal *j, const char *path)
{
	if (j->fd >= 0)
		return durable_rename(path, j->path);
	if (link(path, j->path) != 0)
		return ERR_IO;
	enum err e = durable_unlink(path);
	return e == ERR_IO && errno == ENOENT ? ERR_OK : e; /* another process took it for what a crash left */
}

/* A new file of that name, or what a crash left of one; not the journal itself under this name, which a crash between link() and unlink() leaves. */
static int open_new(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_nlink == 1)
		return fd;
	close(fd);
	return unlink(path) == 0 ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
}

/* A file beside the other one, locked before it takes its name. */
static enum err write_new(struct journal *j, const char *path, const void *frame, size_t size, int *out)
{
	uint8_t head[HEAD_LEN];
	memcpy(head, magic, sizeof magic);
	memcpy(head + sizeof magic, j->kind, sizeof j->kind);
	memcpy(head + sizeof magic + sizeof j->kind, j->key->id, OWNSEAL_ID_LEN);
	int fd = open_new(path);
	if (fd < 0)
		return ERR_IO;
	enum err e = ERR_IO;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0 && ftruncate(fd, 0) == 0 && durable_write_at(fd, 0, head, sizeof head) &&
	    durable_write_at(fd, HEAD_LEN, frame, size) && fsync(fd) == 0)
		e = take_name(j, path);
	if (e == ERR_OK) {
		*out = fd;
		return ERR_OK;
	}
	int reason = errno;
	close(fd);
	errno = reason;
	return e;
}

static enum err replace(struct journal *j, const void *frame, size_t size)
{
	char *path;
	int fd = -1;
	if (asprintf(&path, "%s.new", j->path) < 0)
		return ERR_NOMEM;
	enum err e = write_new(j, path, frame, size, &fd);
	free(path);
	if (e != ERR_OK)
		return e;
	if (j->fd >= 0)
		close(j->fd);
	j->fd = fd;
	j->end = HEAD_LEN + size;
	return ERR_OK;
}

enum err journal_rewrite(struct journal *j, const void *bytes, size_t len)
{
	uint8_t *frame;
	size_t size;
	enum err e = make_frame(j, HEAD_LEN, bytes, len, &frame, &size);
	if (e != ERR_OK)
		return e;
	e = replace(j, frame, size);
	free(frame);
	return e;
}

enum err journal_append(struct journal *j, const void *bytes, size_t len)
{
	uint8_t *frame;
	size_t size;
	enum err e = make_frame(j, j->end, bytes, len, &frame, &size);
	if (e != ERR_OK)
		return e;
	e = durable_append(j->fd, (off_t)j->end, frame, size);
	if (e == ERR_OK)
		j->end += size;
	free(frame);
	return e;
}

uint64_t journal_size(const struct journal *j)
{
	return j->end;
}

/* ---- opening */

/* Opens and locks what has the name now: another process may be replacing it. *out -1: there is none. */
static enum err open_locked(const struct journal *j, int *out, uint64_t *len, const struct failure *f)
{
	struct stat opened = { .st_size = 0 }, named = { .st_size = 0 };
	int fd = open(j->path, O_RDWR | O_CLOEXEC);
	*out = -1;
	if (fd < 0)
		return errno == ENOENT ? ERR_OK : ERR_IO;
	enum err e = ERR_OK;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		e = fail(f, ERR_EXISTS, "%s: in use by another process", j->path);
	else if (fstat(fd, &opened) != 0 || stat(j->path, &named) != 0)
		e = ERR_IO;
	else if (opened.st_ino != named.st_ino || opened.st_dev != named.st_dev)
		e = fail(f, ERR_EXISTS, "%s: another process has just replaced it", j->path);
	if (e != ERR_OK) {
		int reason = errno;
		close(fd);
		errno = reason;
		return e;
	}
	*out = fd;
	*len = (uint64_t)opened.st_size;
	return ERR_OK;
}

struct journal *journal_open(const char *path, const char kind[static JOURNAL_KIND_LEN], struct keypair *owner, journal_visit visit, void *arg,
                             uint64_t *torn, char *error, size_t error_len)
{
	const struct failure f = { error, error_len };
	uint64_t len = 0;
	struct journal *j = calloc(1, sizeof *j);
	error[0] = '\0';
	*torn = 0;
	if (j) {
		j->fd = -1;
		j->path = strdup(path);
		j->key = secmem_alloc(sizeof *j->key);
		memcpy(j->kind, kind, sizeof j->kind);
	}
	enum err e = !j || !j->path || !j->key ? ERR_NOMEM : ERR_OK;
	if (e == ERR_OK)
		e = ownseal_key_of(owner, j->key);
	if (e == ERR_OK)
		e = open_locked(j, &j->fd, &len, &f);
	if (e == ERR_OK && j->fd >= 0)
		e = read_existing(j, len, visit, arg, torn, &f);
	else if (e == ERR_OK)
		e = replace(j, "", 0);
	if (e == ERR_OK)
		return j;
	if (error[0] == '\0')
		snprintf(error, error_len, "%s: %s", path, e == ERR_IO ? strerror(errno) : err_text(e));
	journal_close(j);
	return NULL;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	if (j->fd >= 0)
		close(j->fd);
	secmem_free(j->key);
	free(j->path);
	free(j);
}

enum err journal_place(const struct journal *j, uint8_t out[static PLACE_LEN])
{
	return place_of(j->fd, out);
}
