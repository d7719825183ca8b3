# SPDX-License-Identifier: GPL-3.0-or-later
"""bench/count: a program whose calls are known is counted exactly, while it runs."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "count"))
from count import ALLOCATIONS, RECEIVES, SENDS, Counters  # noqa: E402

# Runs one step for each line on stdin (nothing else is allocated or read meanwhile), then says so.
PROGRAM = r"""
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile size_t size = 100; /* volatile, as the pointers: nothing is optimised away, and fortify checks at run time */
static void *volatile kept;
static int pair[2], event, poll_fd;

static void allocate(void)
{
	void *volatile a = malloc(size), *volatile b = calloc(3, size);
	a = realloc(a, 10 * size);
	free(NULL);
	free(a);
	free(b);
	void *volatile c = aligned_alloc(64, 128), *volatile d = NULL;
	void *e;
	if (posix_memalign(&e, 64, 128) == 0)
		d = e;
	free(c);
	free(d);
	kept = malloc(50000);
	a = malloc((size_t)-1 / 4 * (size > 0));
}

static void transfer(void)
{
	char buf[64];
	volatile size_t n = 10;
	struct iovec iov = { buf, 10 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (send(pair[0], buf, n, 0) != 10 || write(pair[0], buf, n) != 10 || writev(pair[0], &iov, 1) != 10 ||
	    sendmsg(pair[0], &msg, 0) != 10 || sendto(pair[0], buf, n, 0, NULL, 0) != 10)
		abort();
	if (recv(pair[1], buf, n, 0) != 10 || read(pair[1], buf, n) != 10 || readv(pair[1], &iov, 1) != 10 ||
	    recvmsg(pair[1], &msg, 0) != 10 || recvfrom(pair[1], buf, n, 0, NULL, NULL) != 10)
		abort();
	if (recv(pair[1], buf, n, MSG_DONTWAIT) != -1)
		abort();
}

static void other(void)
{
	unsigned long long one = 1;
	struct epoll_event ev = { .events = EPOLLIN };
	if (write(event, &one, 8) != 8 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, event, &ev) != 0 || epoll_wait(poll_fd, &ev, 1, 0) != 1 ||
	    read(event, &one, 8) != 8)
		abort();
}

static void *thread(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "second");
	for (int i = 0; i < 7; i++)
		free(malloc(size));
	static pthread_barrier_t never;
	pthread_barrier_init(&never, NULL, 2);
	pthread_barrier_wait(&never);
	return NULL;
}

int main(void)
{
	pthread_t t;
	char step;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		abort();
	event = eventfd(0, 0);
	poll_fd = epoll_create1(0);
	while (read(0, &step, 1) == 1) {
		if (step == 'a') allocate();
		if (step == 't') transfer();
		if (step == 'o') other();
		if (step == '2') { pthread_create(&t, NULL, thread, NULL); usleep(200000); }
		if (write(1, &step, 1) != 1)
			abort();
	}
	return 0;
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("count")
    (out / "program.c").write_text(PROGRAM)
    subprocess.run(["make", "-s", "-C", ROOT, "build/count.so"], check=True, timeout=120)
    subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-D_FORTIFY_SOURCE=2", "-w", "-o", out / "program", out / "program.c", "-lpthread"],
                   check=True, timeout=120)
    return out


@pytest.fixture
def program(built):
    env = {**os.environ, "LD_PRELOAD": str(ROOT / "build" / "count.so"), "SEALMQ_COUNT_FILE": f"{built}/count.%p"}
    process = subprocess.Popen([built / "program"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0)
    counters = Counters(f"{built}/count.{process.pid}")

    def step(name):
        before = counters.settled()
        process.stdin.write(name.encode())
        assert process.stdout.read(1) == name.encode()
        return counters.settled() - before

    step("x")  # started, and the first calls' symbols are found
    yield step
    process.stdin.close()
    assert process.wait(10) == 0


def test_memory_is_counted_exactly(program):
    program("a")
    cost = program("a")
    calls = {name: cost.get(name).calls for name in (*ALLOCATIONS, "free")}
    assert calls == {"malloc": 3, "calloc": 1, "realloc": 1, "memalign": 2, "free": 4}
    assert cost.get("malloc").failed == 1
    assert 50000 <= cost.live_bytes() < 50032  # the block that was kept


def test_transfers_are_counted_by_call_with_bytes_and_failures(program):
    cost = program("t")
    for name in SENDS:
        assert cost.get(name) == (1, 10, 0), name
    for name in set(RECEIVES) - {"recv"}:
        assert cost.get(name) == (1, 10, 0), name
    assert cost.get("recv") == (2, 10, 1)  # the second found nothing
    assert cost.get(*ALLOCATIONS).calls == 0


def test_event_descriptors_are_no_sockets(program):
    cost = program("o")
    assert cost.get("epoll_ctl").calls == 1
    assert cost.get("epoll_wait") == (1, 1, 0)  # one event
    assert cost.get("write.other").calls == 2  # the event, and the answer to this test
    assert cost.get("read.other").calls == 2  # the event, and this test's step
    assert cost.get(*SENDS, *RECEIVES).calls == 0


def test_threads_are_told_apart(program):
    cost = program("2")
    assert cost.get("malloc", thread="second").calls == 7
    assert cost.get("malloc", "free", without=("second",)).calls < 7  # what starting a thread takes


def test_without_a_file_nothing_changes(built):
    env = {**os.environ, "LD_PRELOAD": str(ROOT / "build" / "count.so")}
    assert subprocess.run([built / "program"], input=b"ato", capture_output=True, env=env, timeout=10).stdout == b"ato"


def test_a_file_that_cannot_be_written_ends_the_program(built):
    env = {**os.environ, "LD_PRELOAD": str(ROOT / "build" / "count.so"), "SEALMQ_COUNT_FILE": "/nonexistent/count"}
    run = subprocess.run([built / "program"], input=b"", capture_output=True, env=env, timeout=10)
    assert run.returncode == 127 and b"/nonexistent/count" in run.stderr
