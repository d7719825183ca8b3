# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stored stays secret and whole: payloads are in no page of the file and, once delivered, in no memory of the broker; tampering is
noticed; no nonce comes twice."""
import os
import pathlib
import shutil
import struct
import subprocess
import time

import pytest

from lib import env
from lib import packets as p
from lib.memory import find_in_memory

pytestmark = pytest.mark.sealmqd_only("the durable store")

STORE = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M", "history": "2 h/#"}


@pytest.mark.skipif(os.getuid() != 0, reason="reads another process's memory")
@pytest.mark.skipif(env.BUILD_DIR.name in ("asan", "tsan"), reason="a sanitizer keeps what wolfSSL freed")
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


# -- records as they stand in the file: … topic, publisher, then boot id 8, counter 8, ciphertext, tag 16 (crypto/record.h)

def crash(broker):
    broker.process.kill()
    broker.process.wait()


def records(path, topic, publisher=b"device1"):
    """(place of the sealed part, its bytes) of each message on topic, in the nodes of every leaf page, whether the page is in use or free."""
    data, head = path.read_bytes(), topic.encode() + publisher
    for page in range(0, len(data), 4096):
        flags, lower = struct.unpack_from("<HH", data, page + 10)
        if not flags & 2 or flags & ~0x52 or not 16 <= lower <= 4096:     # P_LEAF
            continue
        for (offset,) in struct.iter_unpack("<H", data[page + 16:page + lower]):
            low, high, kind, key_len = struct.unpack_from("<HHHH", data, page + offset)
            begin, size = page + offset + 8 + key_len, low | high << 16
            clear = begin + 32 + len(head)
            if kind == 0 and key_len == 8 and data[begin + 32:clear] == head:
                yield clear, data[clear:begin + size]


def test_tampered_records_are_reported_counted_and_left_out(start_broker, name):
    broker = start_broker(STORE)
    topic, path = f"h/{name}/tampered", pathlib.Path(broker.dir, "store", "data.mdb")
    sub, pub = broker.client(name, clean=False), broker.client(name + "p")
    sub.subscribe((topic, 1))
    sub.disconnect()
    pub.publish(topic, b"first", 1)
    pub.publish(topic, b"other", 1)
    before = {sealed for _, sealed in records(path, topic)}
    crash(broker)
    assert len(before) == 2
    with open(path, "r+b") as f:
        first = min(before, key=lambda sealed: sealed[8:16])  # the lower counter
        for at, sealed in list(records(path, topic)):
            if sealed == first:
                f.seek(at + 16)
                f.write(bytes([sealed[16] ^ 1]))
    check = subprocess.run([str(env.SEALMQD), "-c", str(broker.config_path), "--check-store"], cwd=broker.dir, capture_output=True, text=True, check=False)
    assert check.returncode != 0 and "DAMAGED" in check.stdout, check
    mark = broker.log_mark()
    broker.start()
    sub = broker.client(name, clean=False)
    assert sub.recv_publish().payload == b"other"
    late = broker.client(name + "late")
    late.subscribe((topic, 1))
    assert late.recv_publish(retain=True).payload == b"other"
    assert len(broker.wait_log("record [0-9]+ fails verification", mark)) >= 1
    for one in (sub, late):
        one.ping()
        assert [m for m in one.inbox if m.type == p.PUBLISH] == []


def test_no_nonce_comes_twice(start_broker, name):
    """Over kills, an orderly restart, and a backup that is put back and goes on with other messages: looked for in every page of each file."""
    broker = start_broker({**STORE, "history": "1000 h/#"})
    topic, store = f"h/{name}/n", pathlib.Path(broker.dir, "store")
    seen, boots = {}, set()

    def look():
        for _, sealed in records(store / "data.mdb", topic):
            boots.add(sealed[:8])
            assert seen.setdefault(sealed[:16], sealed) == sealed, "one nonce, two records"

    def publish(text):
        pub = broker.client(name + "p")
        pub.publish_many([(topic, f"{text}{i:04}", 1 + i % 2) for i in range(60)])
        pub.drop()
        look()

    publish("aaaa")
    crash(broker)
    broker.start()
    publish("bbbb")
    assert subprocess.run([str(env.SEALMQD), "-c", str(broker.config_path), "--backup", "backup"], cwd=broker.dir, check=False).returncode == 0
    publish("cccc")
    broker.terminate()
    broker.start()
    publish("dddd")
    crash(broker)
    key = (store / "master.key").read_bytes()
    shutil.rmtree(store)
    shutil.copytree(pathlib.Path(broker.dir, "backup"), store)
    (store / "master.key").write_bytes(key)
    (store / "master.key").chmod(0o600)
    broker.start()
    publish("eeee")
    late = broker.client(name + "late")
    late.subscribe((topic, 1))
    assert [m.payload[:4] for m in (late.recv_publish() for _ in range(180))] == [b"aaaa"] * 60 + [b"bbbb"] * 60 + [b"eeee"] * 60
    assert len(boots) == 4 and len(seen) >= 5 * 60
