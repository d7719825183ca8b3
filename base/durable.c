/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err open_folder_of(const char *path, int *fd)
{
	const char *slash = strrchr(path, '/');
	char *name = slash == path ? strdup("/") : slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	if (!name)
		return ERR_NOMEM;
	*fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int reason = errno;
	free(name);
	errno = reason;
	return *fd >= 0 ? ERR_OK : ERR_IO;
}

/* Syncs the folder, unless what was done in it has failed (errno), and closes it. */
static enum err sync_folder(int fd, bool done)
{
	done = done && fsync(fd) == 0;
	int reason = errno;
	close(fd);
	errno = reason;
	return done ? ERR_OK : ERR_IO;
}

enum err durable_sync_folder_of(const char *path)
{
	int fd;
	enum err e = open_folder_of(path, &fd);
	return e == ERR_OK ? sync_folder(fd, true) : e;
}

enum err durable_rename(const char *from, const char *path)
{
	int fd;
	enum err e = open_folder_of(path, &fd);
	return e == ERR_OK ? sync_folder(fd, rename(from, path) == 0) : e;
}

enum err durable_unlink(const char *path)
{
	int fd;
	enum err e = open_folder_of(path, &fd);
	return e == ERR_OK ? sync_folder(fd, unlink(path) == 0) : e;
}

static bool write_new(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool good = fd >= 0 && fchmod(fd, 0600) == 0 && durable_write_at(fd, 0, bytes, len) && fsync(fd) == 0;
	int reason = errno;
	if (fd >= 0 && close(fd) != 0 && good) {
		good = false;
		reason = errno;
	}
	errno = reason;
	return good;
}

enum err durable_replace(const char *path, const void *bytes, size_t len)
{
	char *fresh = NULL;
	if (asprintf(&fresh, "%s.new", path) < 0)
		return ERR_NOMEM;
	enum err e = write_new(fresh, bytes, len) ? durable_rename(fresh, path) : ERR_IO;
	int reason = errno;
	if (e != ERR_OK)
		(void)unlink(fresh); /* unless it has the other name already */
	free(fresh);
	errno = reason;
	return e;
}

enum err durable_make_folder(const char *path)
{
	char *whole = strdup(path);
	bool good = true;
	if (!whole)
		return ERR_NOMEM;
	for (char *p = whole + 1; good && p[-1]; p++) {
		char kept = *p;
		if (kept != '/' && kept != '\0')
			continue;
		*p = '\0';
		if (mkdir(whole, 0700) == 0)
			good = durable_sync_folder_of(whole) == ERR_OK;
		else
			good = errno == EEXIST;
		*p = kept;
		if (kept == '\0')
			break;
	}
	int reason = errno;
	free(whole);
	errno = reason;
	return good ? ERR_OK : ERR_IO;
}

bool durable_write_at(int fd, off_t at, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, (const char *)bytes + done, len - done, at + (off_t)done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

enum err durable_append(int fd, off_t end, const void *bytes, size_t len)
{
	if (durable_write_at(fd, end, bytes, len) && fdatasync(fd) == 0)
		return ERR_OK;
	int reason = errno;
	if (ftruncate(fd, end) != 0)
		reason = errno;
	errno = reason;
	return ERR_IO;
}
