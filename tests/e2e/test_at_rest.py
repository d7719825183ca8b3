# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stored stays secret and whole: payloads are in no page of the file and, once delivered, in no memory of the broker; tampering is
noticed; no nonce comes twice."""
import os
import pathlib
import time

import pytest

from lib import packets as p
from lib.memory import find_in_memory

pytestmark = pytest.mark.sealmqd_only("the durable store")

STORE = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M", "history": "2 h/#"}


@pytest.mark.skipif(os.getuid() != 0, reason="reads another process's memory")
@pytest.mark.parametrize("size", [60, 3000, 100_000])
@pytest.mark.parametrize("qos", [1, 2])
def test_payload_is_in_no_memory_after_it_was_delivered(start_broker, name, qos, size):
    """To a session that is there, one that was away, one that gets the past; then history forgets it."""
    broker = start_broker(STORE)
    secret = os.urandom(24)                          # looked for in pieces that no cipher's block boundary hides
    payload = secret * (size // len(secret))
    here, away = broker.client(name + "here", clean=False), broker.client(name + "away", clean=False)
    for one in (here, away):
        one.subscribe(("h/" + name, qos))
    away.disconnect()
    pub = broker.client(name + "p")
    pub.publish("h/" + name, payload, qos)
    here.recv_publish(payload=payload)
    late = broker.client(name + "late")
    late.subscribe(("h/" + name, qos))
    late.recv_publish(payload=payload)
    away = broker.client(name + "away", clean=False)
    away.recv_publish(payload=payload)
    for i in range(3):
        pub.publish("h/" + name, str(i), qos)
    for one in (here, away, late, pub):
        one.ping()
    deadline = time.monotonic() + 5
    while (found := find_in_memory(broker.process.pid, secret)) and time.monotonic() < deadline:
        time.sleep(0.1)                              # loops that have just worked wipe before they sleep
    assert found == []
    data = pathlib.Path(broker.dir, "store", "data.mdb").read_bytes()
    assert secret not in data
