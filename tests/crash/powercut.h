/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Interposes on what LMDB writes with, to take back after a kill what was not synced, or to slow down or fail a sync.
 * Include in one file of a program: its definitions win over libc's, in liblmdb as well. */
#ifndef TESTS_CRASH_POWERCUT_H
#define TESTS_CRASH_POWERCUT_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct undo_head {                  /* one write of up to 4,096 bytes; the bytes before it follow */
	uint64_t offset;
	uint32_t len, had;          /* had: bytes that were there; the rest lay beyond the end */
};

static int undo_fd = -1;            /* where the journal goes; -1: no journal */
static atomic_int sync_error;       /* errno for the next fdatasync; 0: none */
static atomic_int write_error;      /* errno for every write of data; 0: none */
static atomic_uint_fast64_t disk_limit; /* bytes of the data file that the disk has room for; 0: no limit */
static atomic_uint sync_delay_us;
static atomic_uint_fast64_t sync_calls, sync_ns;

/* A descriptor of the store's data file that does not sync by itself. */
static bool is_data(int fd)
{
	char link[64], path[512];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path);
	return n > 9 && memcmp(path + n - 9, "/data.mdb", 9) == 0;
}

static bool is_dsync(int fd)
{
	return (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
}

/* Notes what stands where len bytes are about to be written; in pieces of a page, each of which a power cut may spare. */
static void note_undo(int fd, off_t offset, size_t len)
{
	static unsigned char old[4096];
	if (undo_fd < 0 || is_dsync(fd))
		return;
	for (size_t at = 0; at < len; at += sizeof old) {
		size_t piece = len - at < sizeof old ? len - at : sizeof old;
		ssize_t had = pread(fd, old, piece, offset + (off_t)at);
		struct undo_head h = { .offset = (uint64_t)offset + at, .len = (uint32_t)piece, .had = had > 0 ? (uint32_t)had : 0 };
		struct iovec v[] = { { &h, sizeof h }, { old, h.had } };
		if (syscall(SYS_writev, undo_fd, v, 2) != (long)(sizeof h + h.had))
			abort();
	}
}

/* How much of a write fits: a full disk cuts it short, as it does on a small file system. */
static size_t fitting(off_t offset, size_t len)
{
	uint64_t limit = atomic_load(&disk_limit), at = (uint64_t)offset;
	return !limit || at + len <= limit ? len : at >= limit ? 0 : (size_t)(limit - at);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset);
int fallocate(int fd, int mode, off_t offset, off_t len);
ssize_t writev(int fd, const struct iovec *v, int n);
int fdatasync(int fd);

/* As a slower disk would: on a sync, and on a write that syncs. */
static void delay_sync(void)
{
	struct timespec delay = { .tv_nsec = (long)atomic_load(&sync_delay_us) * 1000 };
	if (delay.tv_nsec)
		nanosleep(&delay, NULL);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
	if (is_data(fd)) {
		if (is_dsync(fd))
			delay_sync();
		if (atomic_load(&write_error)) {
			errno = atomic_load(&write_error);
			return -1;
		}
		note_undo(fd, offset, len);
		len = fitting(offset, len);
		if (len == 0) {
			errno = ENOSPC;
			return -1;
		}
	}
	return syscall(SYS_pwrite64, fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	if (is_data(fd)) {
		size_t len = 0;
		for (int i = 0; i < n; i++)
			len += v[i].iov_len;
		if (atomic_load(&write_error)) {
			errno = atomic_load(&write_error);
			return -1;
		}
		note_undo(fd, lseek(fd, 0, SEEK_CUR), len);
		if (fitting(lseek(fd, 0, SEEK_CUR), len) < len) {
			errno = ENOSPC;
			return -1;
		}
	}
	return syscall(SYS_writev, fd, v, n);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (is_data(fd) && fitting(offset, (size_t)len) < (size_t)len) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int fdatasync(int fd)
{
	struct timespec a, b;
	if (!is_data(fd))
		return (int)syscall(SYS_fdatasync, fd);
	int error = atomic_load(&sync_error);
	if (error) {
		errno = error;
		return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	delay_sync();
	int rc = (int)syscall(SYS_fdatasync, fd);
	clock_gettime(CLOCK_MONOTONIC, &b);
	atomic_fetch_add(&sync_calls, 1);
	atomic_fetch_add(&sync_ns, (uint64_t)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec));
	if (rc == 0 && undo_fd >= 0 && ftruncate(undo_fd, 0) != 0)
		abort();
	return rc;
}

/* Takes back, from the journal at journal_path, the unsynced writes to data_path: each with probability drop_percent, the last first. */
static inline void undo_apply(const char *journal_path, const char *data_path, unsigned drop_percent, unsigned *seed)
{
	int j = open(journal_path, O_RDWR), d = open(data_path, O_RDWR);
	struct stat st;
	if (j < 0 || d < 0 || fstat(j, &st) != 0)
		abort();
	unsigned char *bytes = malloc((size_t)st.st_size + 1);
	if (!bytes || pread(j, bytes, (size_t)st.st_size, 0) != st.st_size)
		abort();
	size_t n = 0, room = 0, *starts = NULL;
	for (size_t at = 0; at + sizeof(struct undo_head) <= (size_t)st.st_size;) {
		struct undo_head h;
		memcpy(&h, bytes + at, sizeof h);
		if (at + sizeof h + h.had > (size_t)st.st_size)
			break; /* noted in part: not written then */
		if (n == room)
			starts = realloc(starts, (room = 2 * room + 64) * sizeof *starts);
		if (!starts)
			abort();
		starts[n++] = at;
		at += sizeof h + h.had;
	}
	static const unsigned char zeros[4096];
	while (n-- > 0) {
		struct undo_head h;
		memcpy(&h, bytes + starts[n], sizeof h);
		if ((unsigned)rand_r(seed) % 100 >= drop_percent)
			continue;
		if (syscall(SYS_pwrite64, d, bytes + starts[n] + sizeof h, h.had, (off_t)h.offset) < 0
		    || syscall(SYS_pwrite64, d, zeros, h.len - h.had, (off_t)(h.offset + h.had)) < 0)
			abort();
	}
	free(starts);
	free(bytes);
	if (ftruncate(j, 0) != 0)
		abort();
	close(j);
	close(d);
}

#endif
