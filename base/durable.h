/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files that survive a power cut: small ones that are replaced as a whole, and long ones that are appended to. They wait for the disk: never in a loop. Any thread. */
#ifndef BASE_DURABLE_H
#define BASE_DURABLE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Makes path hold these bytes, mode 0600: after a crash at any moment it holds the old ones or the new ones, and when this returns the new ones.
 * "<path>.new" is used on the way: one writer at a time. ERR_NOMEM, ERR_IO (errno): path is as it was; or it
 * holds the new bytes, when nothing but the syncing of its folder failed (ERR_IO). */
enum err durable_replace(const char *path, const void *bytes, size_t len) MUST_CHECK;
/* Syncs the folder that path lies in, so that the name of a file that was made, renamed or removed lasts. ERR_IO (errno), ERR_NOMEM. */
enum err durable_sync_folder_of(const char *path) MUST_CHECK;
/* rename() and unlink(), after which the folder of path is synced. ERR_NOMEM: nothing was done; ERR_IO (errno). */
enum err durable_rename(const char *from, const char *path) MUST_CHECK;
enum err durable_unlink(const char *path) MUST_CHECK;
/* Makes the folder, and those above it as far as they are missing, mode 0700. ERR_IO (errno), ERR_NOMEM. */
enum err durable_make_folder(const char *path) MUST_CHECK;
/* Writes all of it at that place of an open file, and nothing else. False: errno tells; some of it may have been written. */
bool durable_write_at(int fd, off_t at, const void *bytes, size_t len) MUST_CHECK;
/* Appends to an open file of end bytes and syncs. ERR_IO (errno): the file has been cut to what it was. */
enum err durable_append(int fd, off_t end, const void *bytes, size_t len) MUST_CHECK;

#endif
