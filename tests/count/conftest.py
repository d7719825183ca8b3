# SPDX-License-Identifier: GPL-3.0-or-later
"""Counting tests: what one message, one connection or one subscription costs, in calls, bytes and instructions. No clock is read, so
a busy machine does not move them. They share the library of tests/e2e and the shim of bench/count."""
import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "bench" / "count")]

from count import Counters  # noqa: E402
from lib import env  # noqa: E402
from lib.broker import Port  # noqa: E402
from lib.fixtures import *  # noqa: E402,F401,F403
from lib.fixtures import _slot  # noqa: E402,F401

SHIM = ROOT / "build" / "count.so"
# One loop that neither waits for more nor talks by itself: the same input gives the same turns.
QUIET = {"threads": 1, "busy_delay_us": 0, "sys_interval": 0, "max_inflight_messages": 1000, "log_type": "error"}


def pytest_collection_modifyitems(items):
    if os.environ.get("BUILD_DIR", "").endswith(("asan", "tsan")):
        for item in items:
            item.add_marker(pytest.mark.skip(reason="sanitizers bring their own malloc; release builds are counted"))


class Counted:
    """A broker under the shim. `plain` is the address of a second listener without TLS."""

    def __init__(self, broker, plain, counters):
        self.broker, self.plain, self._counters = broker, plain, counters

    def read(self):
        """Counts when the broker has come to rest: its client may see the effect before the call that caused it is counted."""
        return self._counters.settled(wait_s=env.TIMEOUT_S)

    def cost(self, act):
        before = self.read()
        act()
        return self.read() - before


@pytest.fixture
def counted(start_broker, tmp_path):
    """counted(options): a broker whose allocations and system calls are counted."""
    ports = []

    def start(**options):
        port = Port()
        ports.append(port)
        path = tmp_path / "counts"
        broker = start_broker({**QUIET, **options}, extra=[(port.number, "127.0.0.1", {"allow_plaintext_loopback": "true"})],
                              environ={"LD_PRELOAD": str(SHIM), "SEALMQ_COUNT_FILE": str(path)})
        return Counted(broker, ("127.0.0.1", port.number), Counters(path))
    yield start
    for port in ports:
        port.release()
