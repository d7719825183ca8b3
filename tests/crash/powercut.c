/* SPDX-License-Identifier: GPL-3.0-or-later */
/* powercut.h for a program that is not ours to change: by LD_PRELOAD.
 *   POWERCUT_JOURNAL=file   unsynced writes to data.mdb are noted there, for powercut.py to take back
 *   POWERCUT_BOOT_ID=file   stands for /proc/sys/kernel/random/boot_id: relaxed trusts what was not synced only within one boot
 *   POWERCUT_SYNC_US=n      each sync takes n microseconds longer */
#include "tests/crash/powercut.h"

#include <stdarg.h>

int open(const char *path, int flags, ...);

int open(const char *path, int flags, ...)
{
	const char *other = getenv("POWERCUT_BOOT_ID");
	va_list args;
	va_start(args, flags);
	unsigned mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, unsigned) : 0;
	va_end(args);
	if (other && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
		path = other;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

__attribute__((constructor)) static void powercut_init(void)
{
	const char *journal = getenv("POWERCUT_JOURNAL"), *delay = getenv("POWERCUT_SYNC_US");
	if (delay)
		atomic_store(&sync_delay_us, (unsigned)strtoul(delay, NULL, 10));
	if (journal) {
		undo_fd = open(journal, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (undo_fd < 0)
			abort();
	}
}
