/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines for stderr and the file look the same, so one buffer serves both. */
#include "base/log_sink.h"

#include "base/log_line.h"
#include "base/log_syslog.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_MAX (64u * 1024u)

struct output {
	int fd;    /* -1: none */
	bool torn; /* the last write stopped within a line: end it before the next */
};

struct log_sinks {
	struct output err, file;
	bool to_syslog, json;
	unsigned lines;  /* in batch */
	uint64_t lost;
	size_t len;      /* bytes of batch */
	char batch[BATCH_MAX];
};

static int open_file(const char *path)
{
	/* O_NONBLOCK: a pipe that nobody reads is an error now, not a start that hangs. */
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
	if (fd < 0)
		return -1;
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0)
		fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
	return fd;
}

enum err log_sinks_open(const struct log_conf *conf, struct log_sinks **out)
{
	struct log_sinks *s = malloc(sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->err = (struct output){ conf->to_stderr ? STDERR_FILENO : -1, false };
	s->file = (struct output){ -1, false };
	s->to_syslog = conf->to_syslog;
	s->json = conf->json;
	s->lines = 0;
	s->lost = 0;
	s->len = 0;
	if (conf->file) {
		s->file.fd = open_file(conf->file);
		if (s->file.fd < 0) {
			int error = errno;
			free(s);
			errno = error;
			return ERR_IO;
		}
	}
	if (s->to_syslog)
		log_syslog_open();
	*out = s;
	return ERR_OK;
}

void log_sinks_close(struct log_sinks *s)
{
	if (!s)
		return;
	if (s->file.fd >= 0)
		close(s->file.fd);
	free(s);
}

/* Returns whether all of it was written; *done says how much was. */
static bool write_all(int fd, const char *p, size_t len, size_t *done)
{
	*done = 0;
	while (*done < len) {
		ssize_t n = write(fd, p + *done, len - *done);
		if (n > 0)
			*done += (size_t)n;
		else if (n < 0 && errno == EAGAIN) { /* a terminal that somebody else made non-blocking */
			if (poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 1000) <= 0)
				return false;
		} else if (n == 0 || errno != EINTR)
			return false;
	}
	return true;
}

static void write_batch(struct log_sinks *s, struct output *o)
{
	size_t done;
	if (o->fd < 0)
		return;
	if (o->torn && !write_all(o->fd, "\n", 1, &done)) {
		s->lost += s->lines;
		return;
	}
	o->torn = false;
	if (write_all(o->fd, s->batch, s->len, &done))
		return;
	o->torn = done > 0 && s->batch[done - 1] != '\n';
	for (size_t i = done; i < s->len; i++)
		s->lost += s->batch[i] == '\n'; /* a line ends with the only newline that it has */
}

void log_sinks_flush(struct log_sinks *s)
{
	if (s->len == 0)
		return;
	write_batch(s, &s->err);
	write_batch(s, &s->file);
	s->len = 0;
	s->lines = 0;
}

static int severity(enum log_level level)
{
	return 3 + __builtin_ctz(level);
}

void log_sinks_add(struct log_sinks *s, uint64_t time_ms, enum log_level level, const char *text, size_t text_len)
{
	if (s->to_syslog) {
		char line[LOG_LINE_MAX];
		log_syslog_write(severity(level), line, (int)log_line_escape(line, text, text_len));
	}
	if (s->err.fd < 0 && s->file.fd < 0)
		return;
	if (BATCH_MAX - s->len < LOG_LINE_MAX)
		log_sinks_flush(s);
	char *at = s->batch + s->len;
	s->len += s->json ? log_line_json(at, time_ms, level, text, text_len) : log_line_text(at, time_ms, level, text, text_len);
	s->lines++;
}

uint64_t log_sinks_lost(struct log_sinks *s)
{
	uint64_t lost = s->lost;
	s->lost = 0;
	return lost;
}
