/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The system calls of a loop's turn, as called through libc by the program and its shared libraries (libev). Calls that libc makes
 * inside itself (stdio's write) are not seen. Built without _FORTIFY_SOURCE, but the counted program may be built with it: hence
 * the _chk names. __SOCKADDR_ARG is how <sys/socket.h> declares addresses under _GNU_SOURCE. */
#include "bench/count/count.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Fortified forms: libc's own check of the buffer's size comes after counting. */
ssize_t __read_chk(int fd, void *buf, size_t len, size_t buf_len);
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t buf_len, int flags);
ssize_t __recvfrom_chk(int fd, void *restrict buf, size_t len, size_t buf_len, int flags, struct sockaddr *restrict from,
		       socklen_t *restrict from_len);

/* Declares `next`, libc's own function of that name, found once. Looking twice at the same time does no harm. */
#define FIND_NEXT(type, name)                                                                                              \
	static _Atomic(type) found;                                                                                        \
	type next = found;                                                                                                 \
	if (!next) {                                                                                                       \
		void *symbol = dlsym(RTLD_NEXT, name);                                                                     \
		memcpy(&next, &symbol, sizeof next);                                                                       \
		found = next;                                                                                              \
	}

/* The call counts before it is made: who sees its effect finds it counted. What it returned counts after. */
#define RETURN_COUNTED(type, what, call)                                                                                   \
	do {                                                                                                               \
		enum counter which = (what);                                                                               \
		count_call(which);                                                                                         \
		type returned = (call);                                                                                    \
		count_result(which, returned);                                                                             \
		return returned;                                                                                           \
	} while (0)

static int is_socket(int fd)
{
	struct stat st;
	int error = errno;
	int yes = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
	errno = error;
	return yes;
}

typedef ssize_t (*recv_fn)(int, void *, size_t, int);
ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	FIND_NEXT(recv_fn, "recv");
	RETURN_COUNTED(ssize_t, COUNT_RECV, next(fd, buf, len, flags));
}

typedef ssize_t (*recv_chk_fn)(int, void *, size_t, size_t, int);
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t buf_len, int flags)
{
	FIND_NEXT(recv_chk_fn, "__recv_chk");
	RETURN_COUNTED(ssize_t, COUNT_RECV, next(fd, buf, len, buf_len, flags));
}

typedef ssize_t (*recvfrom_fn)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags, __SOCKADDR_ARG from, socklen_t *restrict from_len)
{
	FIND_NEXT(recvfrom_fn, "recvfrom");
	RETURN_COUNTED(ssize_t, COUNT_RECVFROM, next(fd, buf, len, flags, from.__sockaddr__, from_len));
}

typedef ssize_t (*recvfrom_chk_fn)(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *);
ssize_t __recvfrom_chk(int fd, void *restrict buf, size_t len, size_t buf_len, int flags, struct sockaddr *restrict from,
		       socklen_t *restrict from_len)
{
	FIND_NEXT(recvfrom_chk_fn, "__recvfrom_chk");
	RETURN_COUNTED(ssize_t, COUNT_RECVFROM, next(fd, buf, len, buf_len, flags, from, from_len));
}

typedef ssize_t (*recvmsg_fn)(int, struct msghdr *, int);
ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	FIND_NEXT(recvmsg_fn, "recvmsg");
	RETURN_COUNTED(ssize_t, COUNT_RECVMSG, next(fd, msg, flags));
}

typedef ssize_t (*read_fn)(int, void *, size_t);
ssize_t read(int fd, void *buf, size_t len)
{
	FIND_NEXT(read_fn, "read");
	RETURN_COUNTED(ssize_t, is_socket(fd) ? COUNT_READ_SOCKET : COUNT_READ_OTHER, next(fd, buf, len));
}

typedef ssize_t (*read_chk_fn)(int, void *, size_t, size_t);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t buf_len)
{
	FIND_NEXT(read_chk_fn, "__read_chk");
	RETURN_COUNTED(ssize_t, is_socket(fd) ? COUNT_READ_SOCKET : COUNT_READ_OTHER, next(fd, buf, len, buf_len));
}

typedef ssize_t (*vector_fn)(int, const struct iovec *, int);
ssize_t readv(int fd, const struct iovec *iov, int n_iov)
{
	FIND_NEXT(vector_fn, "readv");
	RETURN_COUNTED(ssize_t, is_socket(fd) ? COUNT_READV_SOCKET : COUNT_READV_OTHER, next(fd, iov, n_iov));
}

typedef ssize_t (*send_fn)(int, const void *, size_t, int);
ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	FIND_NEXT(send_fn, "send");
	RETURN_COUNTED(ssize_t, COUNT_SEND, next(fd, buf, len, flags));
}

typedef ssize_t (*sendto_fn)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
ssize_t sendto(int fd, const void *buf, size_t len, int flags, __CONST_SOCKADDR_ARG to, socklen_t to_len)
{
	FIND_NEXT(sendto_fn, "sendto");
	RETURN_COUNTED(ssize_t, COUNT_SENDTO, next(fd, buf, len, flags, to.__sockaddr__, to_len));
}

typedef ssize_t (*sendmsg_fn)(int, const struct msghdr *, int);
ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	FIND_NEXT(sendmsg_fn, "sendmsg");
	RETURN_COUNTED(ssize_t, COUNT_SENDMSG, next(fd, msg, flags));
}

typedef ssize_t (*write_fn)(int, const void *, size_t);
ssize_t write(int fd, const void *buf, size_t len)
{
	FIND_NEXT(write_fn, "write");
	RETURN_COUNTED(ssize_t, is_socket(fd) ? COUNT_WRITE_SOCKET : COUNT_WRITE_OTHER, next(fd, buf, len));
}

ssize_t writev(int fd, const struct iovec *iov, int n_iov)
{
	FIND_NEXT(vector_fn, "writev");
	RETURN_COUNTED(ssize_t, is_socket(fd) ? COUNT_WRITEV_SOCKET : COUNT_WRITEV_OTHER, next(fd, iov, n_iov));
}

typedef int (*epoll_ctl_fn)(int, int, int, struct epoll_event *);
int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	FIND_NEXT(epoll_ctl_fn, "epoll_ctl");
	RETURN_COUNTED(int, COUNT_EPOLL_CTL, next(epfd, op, fd, event));
}

typedef int (*epoll_wait_fn)(int, struct epoll_event *, int, int);
int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
	FIND_NEXT(epoll_wait_fn, "epoll_wait");
	RETURN_COUNTED(int, COUNT_EPOLL_WAIT, next(epfd, events, max, timeout_ms));
}

typedef int (*epoll_pwait_fn)(int, struct epoll_event *, int, int, const sigset_t *);
int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask)
{
	FIND_NEXT(epoll_pwait_fn, "epoll_pwait");
	RETURN_COUNTED(int, COUNT_EPOLL_WAIT, next(epfd, events, max, timeout_ms, mask));
}

typedef int (*accept4_fn)(int, struct sockaddr *, socklen_t *, int);
int accept4(int fd, __SOCKADDR_ARG from, socklen_t *restrict from_len, int flags)
{
	FIND_NEXT(accept4_fn, "accept4");
	RETURN_COUNTED(int, COUNT_ACCEPT, next(fd, from.__sockaddr__, from_len, flags));
}

typedef int (*accept_fn)(int, struct sockaddr *, socklen_t *);
int accept(int fd, __SOCKADDR_ARG from, socklen_t *restrict from_len)
{
	FIND_NEXT(accept_fn, "accept");
	RETURN_COUNTED(int, COUNT_ACCEPT, next(fd, from.__sockaddr__, from_len));
}

typedef int (*fdatasync_fn)(int);
int fdatasync(int fd)
{
	FIND_NEXT(fdatasync_fn, "fdatasync");
	RETURN_COUNTED(int, COUNT_FDATASYNC, next(fd));
}
