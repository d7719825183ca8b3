/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A line gets its place in the chain when it enters the buffer; what the disk does not take stays there in order, so a full disk tears
 * nothing. A crash in the middle of a write does: the torn bytes stay where they are, and the chain says so behind them. */
#include "broker/audit_file.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/textbytes.h"
#include "crypto/audit_chain.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE (256U * 1024)
#define ROOM (4U * AUDIT_LINE_MAX)    /* one line, with what a rotation adds to it */
#define TAIL_MAX (1024U * 1024)       /* bytes at a file's end that are searched for its last line */
#define NUMBER_DIGITS 12U             /* of a rotated file's name */
#define ROTATE_RETRY_MS 60000U
#define CERT_DER_MAX 8192U

struct audit_file {
	struct audit_file_limits limits;
	struct keypair *key;
	char *path;
	int fd;
	uint64_t size;          /* bytes in the file and the buffer */
	uint64_t began_ms;      /* wall clock of its first line */
	uint64_t first_seq;     /* of its first line */
	uint64_t retry_ms;      /* wall clock; no rotation before */
	uint64_t unsigned_lines;
	bool failing;           /* the last write failed; the log has said so */
	struct audit_chain chain;
	size_t len;             /* bytes of buffer */
	char buffer[BUFFER_SIZE];
};

/* ---- writing ---- */

static void add_line(struct audit_file *f, size_t n)
{
	f->len += n;
	f->size += n;
}

static void append(struct audit_file *f, uint64_t time_ms, const char *body, size_t body_len)
{
	add_line(f, audit_chain_line(&f->chain, f->buffer + f->len, time_ms, body, body_len));
	f->unsigned_lines++;
}

static void sign(struct audit_file *f, const char *why)
{
	char body[64];
	size_t n;
	int body_len = snprintf(body, sizeof body, "\"kind\":\"checkpoint\",\"why\":\"%s\"", why);
	if (audit_chain_signed(&f->chain, f->buffer + f->len, clock_wall_ms(), body, (size_t)body_len, f->key, &n) != ERR_OK) {
		log_error("audit log %s: the broker's key cannot sign", f->path);
		return;
	}
	add_line(f, n);
	f->unsigned_lines = 0;
}

bool audit_file_flush(struct audit_file *f)
{
	size_t done = 0;
	int error = 0;
	while (done < f->len && error == 0) {
		ssize_t n = write(f->fd, f->buffer + done, f->len - done);
		if (n > 0)
			done += (size_t)n;
		else if (n == 0 || errno != EINTR)
			error = n == 0 ? EIO : errno;
	}
	memmove(f->buffer, f->buffer + done, f->len - done);
	f->len -= done;
	if (error != 0 && !f->failing)
		log_error("audit log %s: cannot write: %s; lines wait in memory", f->path, strerror(error));
	if (error == 0 && f->failing)
		log_notice("audit log %s: is written again", f->path);
	f->failing = error != 0;
	return error == 0;
}

static bool write_through(struct audit_file *f)
{
	return audit_file_flush(f) && fdatasync(f->fd) == 0;
}

bool audit_file_has_room(const struct audit_file *f)
{
	return BUFFER_SIZE - f->len >= ROOM;
}

bool audit_file_unsigned(const struct audit_file *f)
{
	return f->unsigned_lines > 0;
}

void audit_file_checkpoint(struct audit_file *f, const char *why)
{
	if (!audit_file_has_room(f) && !audit_file_flush(f))
		return;
	sign(f, why);
	(void)write_through(f);
}

/* ---- a file's first line ---- */

/* The certificate whose key signs from here on. */
static void introduce_key(struct audit_file *f, const char *members)
{
	char body[AUDIT_BODY_MAX];
	const struct der der = keypair_cert(f->key)->whole;
	char *p = body + snprintf(body, sizeof body, "%s,\"certificate\":\"", members);
	p = base64_put(BASE64_STANDARD, p, der.p, der_len(der));
	*p++ = '"';
	append(f, clock_wall_ms(), body, (size_t)(p - body));
}

/* previous: the name of the file before; "": none. Names are ours and the operator's, with nothing to escape: audit_file_open has looked. */
static void begin_file(struct audit_file *f, const char *previous)
{
	char members[512];
	f->began_ms = clock_wall_ms();
	f->first_seq = f->chain.seq;
	snprintf(members, sizeof members, "\"kind\":\"file\",\"format\":\"" AUDIT_FORMAT "\",\"previous\":\"%.255s\"", previous);
	introduce_key(f, members);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* ---- opening ---- */

/* A file of ours, which nobody else writes; -1 with errno. */
static int open_log(const char *path, int more)
{
	int fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | more, 0640);
	struct stat st;
	if (fd < 0)
		return -1;
	int error = fstat(fd, &st) != 0 ? errno : !S_ISREG(st.st_mode) ? EINVAL : flock(fd, LOCK_EX | LOCK_NB) != 0 ? EBUSY : 0;
	if (error == 0)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

/* What a file ends with: views into buf. */
struct tail {
	char *buf;         /* heap */
	const char *last;  /* its last whole line, without newline; NULL: there is none */
	size_t last_len;
	const char *torn;  /* bytes behind that */
	size_t torn_len;
};

static bool read_tail(int fd, uint64_t size, struct tail *t)
{
	size_t n = size < TAIL_MAX ? (size_t)size : TAIL_MAX;
	*t = (struct tail){.buf = malloc(n + 1)};
	if (!t->buf)
		return false;
	for (size_t done = 0; done < n;) {
		ssize_t got = pread(fd, t->buf + done, n - done, (off_t)(size - n + done));
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	const char *end = memrchr(t->buf, '\n', n);
	t->torn = end ? end + 1 : t->buf;
	t->torn_len = (size_t)(t->buf + n - t->torn);
	if (!end)
		return size <= TAIL_MAX;
	const char *before = memrchr(t->buf, '\n', (size_t)(end - t->buf));
	t->last = before ? before + 1 : t->buf;
	t->last_len = (size_t)(end - t->last);
	return true;
}

/* The rotated file of path with the highest number, as its name; false: there is none. */
static bool find_rotated(const char *path, char name[static 256])
{
	char dir[4096];
	const char *base = base_name(path);
	size_t base_len = strlen(base), found = 0;
	snprintf(dir, sizeof dir, "%.*s", base == path ? 1 : (int)(base - path), base == path ? "." : path);
	DIR *d = opendir(dir);
	for (struct dirent *e; d && (e = readdir(d));) {
		size_t len = strlen(e->d_name);
		if (len != base_len + 1 + NUMBER_DIGITS || len > 255 || strncmp(e->d_name, base, base_len) != 0 || e->d_name[base_len] != '.' ||
			strspn(e->d_name + base_len + 1, "0123456789") != NUMBER_DIGITS)
			continue;
		if (found == 0 || strcmp(e->d_name, name) > 0)
			memcpy(name, e->d_name, len + 1);
		found++;
	}
	if (d)
		closedir(d);
	return found > 0;
}

/* Sets the chain to go on behind the last line of the file `name` beside path. */
static enum err resume_behind(struct audit_file *f, const char *name)
{
	char path[4096 + 256];
	struct stat st;
	struct tail t = {0};
	snprintf(path, sizeof path, "%.*s%s", (int)(base_name(f->path) - f->path), f->path, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum err e = fd >= 0 && fstat(fd, &st) == 0 && read_tail(fd, (uint64_t)st.st_size, &t) && t.last ? ERR_OK : ERR_IO;
	if (e == ERR_OK)
		e = audit_chain_resume(&f->chain, t.last, t.last_len);
	free(t.buf);
	if (fd >= 0)
		close(fd);
	return e;
}

/* A crash left bytes behind the last whole line: they stay, and the chain names them. */
static void note_torn(struct audit_file *f, const char *torn, size_t len)
{
	char body[256], *p = body;
	uint8_t hash[HASH_LEN];
	audit_chain_hash(torn, len, hash);
	f->buffer[f->len++] = '\n';
	f->size++;
	p += snprintf(body, sizeof body, "\"kind\":\"torn\",\"bytes\":%zu,\"sha256\":\"", len);
	p = hex_put(p, hash, HASH_LEN);
	*p++ = '"';
	append(f, clock_wall_ms(), body, (size_t)(p - body));
	log_warning("audit log %s: its last line was torn by a crash (%zu bytes); the chain says so", f->path, len);
}

/* The time of its first line and that one's number, from which its age and its name come. */
static void read_first(struct audit_file *f)
{
	char buf[AUDIT_LINE_MAX];
	struct audit_line l;
	ssize_t n = pread(f->fd, buf, sizeof buf, 0);
	const char *end = n > 0 ? memchr(buf, '\n', (size_t)n) : NULL;
	f->began_ms = clock_wall_ms();
	f->first_seq = f->chain.seq;
	if (end && audit_line_parse(&l, buf, (size_t)(end - buf)) == ERR_OK) {
		f->began_ms = l.time_ms;
		f->first_seq = l.seq;
	}
}

/* False: error says why. */
static bool resume(struct audit_file *f, char *error, size_t error_len)
{
	char previous[256] = "";
	struct tail t = {0};
	bool rotated = find_rotated(f->path, previous), good = true;
	if (f->size > 0 && !read_tail(f->fd, f->size, &t)) {
		snprintf(error, error_len, "its end cannot be read");
		good = false;
	} else if (t.last && audit_chain_resume(&f->chain, t.last, t.last_len) != ERR_OK) {
		snprintf(error, error_len, "its last line is none of an audit log: look into it, and move the file away");
		good = false;
	} else if (!t.last && rotated && resume_behind(f, previous) != ERR_OK) {
		snprintf(error, error_len, "the last line of %s, which it would go on from, cannot be read", previous);
		good = false;
	}
	if (good && t.last)
		read_first(f);
	if (good && t.torn_len > 0)
		note_torn(f, t.torn, t.torn_len);
	if (good && !t.last)
		begin_file(f, previous);
	else if (good)
		introduce_key(f, "\"kind\":\"key\"");
	free(t.buf);
	return good;
}

static bool plain_name(const char *name)
{
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < 0x21 || (unsigned char)*p > 0x7e || *p == '"' || *p == '\\')
			return false;
	return *name && strlen(name) < 200;
}

static void free_file(struct audit_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	free(f);
}

enum err audit_file_open(struct audit_file **out, const char *path, const struct audit_file_limits *limits, struct keypair *take_key,
                         char *error, size_t error_len)
{
	if (!plain_name(base_name(path)) || der_len(keypair_cert(take_key)->whole) > CERT_DER_MAX) {
		snprintf(error, error_len, "expected a file name of letters, digits and the like, and a certificate of at most 8 KiB");
		return ERR_INVALID;
	}
	struct audit_file *f = malloc(sizeof *f);
	struct stat st;
	if (!f || !(f->path = strdup(path))) {
		free(f);
		snprintf(error, error_len, "out of memory");
		return ERR_NOMEM;
	}
	f->fd = open_log(path, 0);
	f->len = f->unsigned_lines = f->retry_ms = 0;
	f->failing = false;
	f->limits = *limits;
	f->key = take_key;
	audit_chain_start(&f->chain);
	if (f->fd < 0 || fstat(f->fd, &st) != 0) {
		snprintf(error, error_len, "cannot open: %s%s", strerror(errno), errno == EBUSY ? ": another process writes it" : "");
		free_file(f);
		return ERR_IO;
	}
	f->size = (uint64_t)st.st_size;
	if (!resume(f, error, error_len)) {
		free_file(f);
		return ERR_CORRUPT;
	}
	if (!write_through(f)) {
		snprintf(error, error_len, "cannot write: %s", strerror(errno));
		free_file(f);
		return ERR_IO;
	}
	*out = f;
	return ERR_OK;
}

/* ---- rotating ---- */

/* Goes over to an empty file at path; the one before is called `previous` now. False: the old one stays. */
static bool next_file(struct audit_file *f, const char *previous)
{
	int fd = open_log(f->path, O_EXCL);
	if (fd < 0)
		return false;
	close(f->fd);
	f->fd = fd;
	f->size = 0;
	begin_file(f, previous);
	return write_through(f);
}

static void rotate(struct audit_file *f)
{
	char name[4096 + 32];
	snprintf(name, sizeof name, "%s.%0*llu", f->path, (int)NUMBER_DIGITS, (unsigned long long)f->first_seq);
	sign(f, "rotation");
	int error = EEXIST;
	if (write_through(f) && access(name, F_OK) != 0) {
		bool renamed = rename(f->path, name) == 0;
		if (renamed && next_file(f, base_name(name)))
			return;
		error = errno;
		if (renamed)
			(void)rename(name, f->path);
	}
	log_error("audit log %s: cannot rotate to %s: %s; trying again in a minute", f->path, name, strerror(error));
	f->retry_ms = clock_wall_ms() + ROTATE_RETRY_MS;
}

static bool time_to_rotate(const struct audit_file *f, uint64_t time_ms)
{
	const struct audit_file_limits *l = &f->limits;
	bool full = l->max_size > 0 && f->size >= l->max_size;
	bool old = l->max_age_s > 0 && time_ms >= f->began_ms + (uint64_t)l->max_age_s * 1000;
	return (full || old) && time_ms >= f->retry_ms;
}

void audit_file_add(struct audit_file *f, uint64_t time_ms, const char *body, size_t body_len)
{
	append(f, time_ms, body, body_len);
	if (time_to_rotate(f, time_ms))
		rotate(f);
	else if (f->unsigned_lines >= f->limits.checkpoint_lines)
		audit_file_checkpoint(f, "count");
}

/* ---- reloading, ending ---- */

/* Somebody (logrotate) has moved the file. */
static bool was_moved(const struct audit_file *f)
{
	struct stat ours, there;
	return fstat(f->fd, &ours) == 0 && (stat(f->path, &there) != 0 || ours.st_ino != there.st_ino || ours.st_dev != there.st_dev);
}

static bool same_certificate(const struct keypair *a, const struct keypair *b)
{
	const struct der x = keypair_cert(a)->whole, y = keypair_cert(b)->whole;
	return der_equal(x, y.p, der_len(y));
}

void audit_file_reload(struct audit_file *f, const struct audit_file_limits *limits, struct keypair *take_key)
{
	f->limits = *limits;
	if (!audit_file_has_room(f))
		(void)audit_file_flush(f);
	if (audit_file_has_room(f) && was_moved(f)) {
		sign(f, "rotation");
		if (!write_through(f) || !next_file(f, ""))
			log_error("audit log %s: cannot open it again: %s; the moved file is written on", f->path, strerror(errno));
	}
	if (take_key && !same_certificate(f->key, take_key) && audit_file_has_room(f)) {
		if (f->unsigned_lines > 0)
			sign(f, "key");
		keypair_free(f->key);
		f->key = take_key;
		introduce_key(f, "\"kind\":\"key\"");
		(void)write_through(f);
	} else {
		keypair_free(take_key); /* the same, or the disk is full: the old key signs on */
	}
}

uint64_t audit_file_close(struct audit_file *f)
{
	audit_file_checkpoint(f, "end");
	uint64_t lost = 0;
	for (size_t i = 0; i < f->len; i++)
		lost += f->buffer[i] == '\n';
	keypair_free(f->key);
	free_file(f);
	return lost;
}
