#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads the counters that build/count.so keeps of a running process; see README.md.

    count.py FILE              counts since the start, by thread
    count.py FILE SECONDS      what is added in that time
"""
import mmap
import struct
import sys
import time
from collections import namedtuple
from pathlib import Path

Count = namedtuple("Count", "calls bytes failed")
SENDS = ("send", "sendto", "sendmsg", "write.socket", "writev.socket")
RECEIVES = ("recv", "recvfrom", "recvmsg", "read.socket", "readv.socket")
ALLOCATIONS = ("malloc", "calloc", "realloc", "memalign")

_HEADER = struct.Struct("=8sIIQ")
_NAME_LEN = 16


class Counts:
    """Counts of one moment: {(tid, thread name): {counter: Count}}; subtract an earlier one to see what happened between."""

    def __init__(self, threads):
        self.threads = threads

    def __sub__(self, before):
        zero = Count(0, 0, 0)
        return Counts({
            key: {name: Count(*(a - b for a, b in zip(now, before.threads.get(key, {}).get(name, zero)))) for name, now in row.items()}
            for key, row in self.threads.items()})

    def get(self, *names, thread=None, without=()):
        """The sum of the named counters, over the threads called `thread` (default: all), except those named in `without`."""
        rows = [row for (_, name), row in self.threads.items() if (thread is None or name == thread) and name not in without]
        return Count(*(sum(part) for part in zip(Count(0, 0, 0), *(row[n] for row in rows for n in names))))

    def live_bytes(self, **which):
        """Heap bytes in use (usable sizes); over all threads only, since a block may be freed by another one."""
        return self.get(*ALLOCATIONS, **which).bytes - self.get("free", **which).bytes

    def __str__(self):
        lines = []
        for (tid, name), row in self.threads.items():
            used = {n: c for n, c in row.items() if any(c)}
            if used:
                lines.append(f"{name} ({tid})")
                lines += [f"  {n:<14} {c.calls:>10} calls {c.bytes:>14} bytes {c.failed:>8} failed" for n, c in used.items()]
        return "\n".join(lines)


class Counters:
    """The counters' file of a process that runs under the shim."""

    def __init__(self, path, wait_s=5):
        deadline = time.monotonic() + wait_s
        while not Path(path).exists() or Path(path).read_bytes()[:8] != b"SMQCNT1\0":
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: no counts; does the process run with LD_PRELOAD=count.so?")
            time.sleep(0.01)
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _, counters, self._rows, _ = _HEADER.unpack_from(self._map, 0)
        at = _HEADER.size
        self._names = [self._map[at + i * _NAME_LEN:at + (i + 1) * _NAME_LEN].rstrip(b"\0").decode() for i in range(counters)]
        self._row = struct.Struct(f"={1 + 3 * counters}Q")
        self._first = at + counters * _NAME_LEN

    def read(self):
        taken = min(_HEADER.unpack_from(self._map, 0)[3], self._rows)
        threads = {}
        for i in range(taken):
            tid, *numbers = self._row.unpack_from(self._map, self._first + i * self._row.size)
            threads[tid, _thread_name(tid)] = {
                name: Count(*numbers[3 * k:3 * k + 3]) for k, name in enumerate(self._names)}
        return Counts(threads)

    def settled(self, quiet_s=0.05, wait_s=5):
        """The counts once nothing has been added for quiet_s: what follows the effect that a test has seen (the end of the loop's turn,
        the next epoll_wait) is in. TimeoutError when the process never rests."""
        deadline = time.monotonic() + wait_s
        counts, since = self.read(), time.monotonic()
        while time.monotonic() - since < quiet_s:
            time.sleep(quiet_s / 10)
            now = self.read()
            if now.threads != counts.threads:
                counts, since = now, time.monotonic()
            if since > deadline:
                raise TimeoutError(f"the process does not rest: {now - counts}")
        return counts


def _thread_name(tid):
    try:
        return Path(f"/proc/{tid}/comm").read_text().rstrip("\n")
    except OSError:
        return "(ended)"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    counters = Counters(sys.argv[1], wait_s=0)
    counts = counters.read()
    if len(sys.argv) == 3:
        time.sleep(float(sys.argv[2]))
        counts = counters.read() - counts
    print(counts)


if __name__ == "__main__":
    main()
