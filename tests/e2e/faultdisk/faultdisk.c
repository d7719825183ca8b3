/* SPDX-License-Identifier: GPL-3.0-or-later */
/* LD_PRELOAD: makes writes or syncs of the store's file fail while a test wants it. The file that FAULTDISK names holds "write N" or "sync N",
 * N the errno; without it, or when it is empty, nothing fails. With FAULTDISK_KILL=N the process is killed before the Nth of all calls that
 * change or sync files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static void step(void)
{
    static int n;
    const char *at = getenv("FAULTDISK_KILL");
    if (at && __atomic_add_fetch(&n, 1, __ATOMIC_RELAXED) == atoi(at))
        raise(SIGKILL);
}

static int fault(const char *kind, int fd)
{
    step();
    if (!getenv("FAULTDISK"))
        return 0;
    char link[64], path[512], found[16];
    int error = 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 9 || memcmp(path + n - 9, "/data.mdb", 9) != 0)
        return 0;
    FILE *f = fopen(getenv("FAULTDISK"), "r");
    if (!f)
        return 0;
    if (fscanf(f, "%15s %d", found, &error) != 2 || strcmp(found, kind) != 0)
        error = 0;
    fclose(f);
    return error;
}

#define WRAP(kind, type, name, parameters, arguments)                                                                  \
    type name parameters;                                                                                              \
    type name parameters                                                                                               \
    {                                                                                                                  \
        type(*real) parameters;                                                                                        \
        *(void **)&real = dlsym(RTLD_NEXT, #name);                                                                     \
        int error = fault(kind, fd);                                                                                   \
        if (!error)                                                                                                    \
            return real arguments;                                                                                     \
        errno = error;                                                                                                 \
        return -1;                                                                                                     \
    }

WRAP("write", ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
WRAP("write", ssize_t, pwrite64, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
WRAP("write", ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at))
WRAP("write", ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off_t at), (fd, v, n, at))
WRAP("sync", int, fdatasync, (int fd), (fd))
WRAP("sync", int, fsync, (int fd), (fd))

ssize_t write(int fd, const void *p, size_t n)
{
    step();
    ssize_t (*real)(int, const void *, size_t);
    *(void **)&real = dlsym(RTLD_NEXT, "write");
    return real(fd, p, n);
}

int unlink(const char *path)
{
    step();
    int (*real)(const char *);
    *(void **)&real = dlsym(RTLD_NEXT, "unlink");
    return real(path);
}

int rename(const char *from, const char *to)
{
    step();
    int (*real)(const char *, const char *);
    *(void **)&real = dlsym(RTLD_NEXT, "rename");
    return real(from, to);
}
