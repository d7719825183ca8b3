# SPDX-License-Identifier: GPL-3.0-or-later
"""What the store keeps of key spaces: wills that a crash leaves, verification, backups, another master key."""
import os
import pathlib
import shutil
import subprocess

import pytest

from lib import env
from lib.sealing import Member, control

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")

STORE = {"topic_admin": "device1", "store": "lmdb", "store_dir": "store", "store_max_size": "64M"}


def run(broker, *arguments):
    """sealmqd beside (or without) the running broker, with the same configuration."""
    return subprocess.run([str(env.SEALMQD), "-c", str(broker.config_path), *arguments], cwd=broker.dir, capture_output=True, text=True,
                          env=os.environ, timeout=env.TIMEOUT_S, check=False)


def crash(broker):
    broker.process.kill()
    broker.process.wait()


# ---- wills

@pytest.mark.parametrize("pinned", [False, True])
def test_wills_of_both_views_are_published_after_a_crash(start_broker, pki, name, pinned):
    broker = start_broker({**STORE, "will_grace": 1})
    admin = broker.client("admin")
    one = [{"certificate": pki.member(1).crt.read_text()}] if pinned else [{"cn": "member1"}]
    control(admin, command="createTopic", topic=name, members=one + [{"cn": "member2"}, {"cn": "device1"}])
    writer, reader = Member(broker, pki.member(1), name + "w"), Member(broker, pki.member(2), name + "r", clean=False)
    writer.ask_keys(name)
    reader.ask_keys(name)
    assert reader.mqtt.subscribe((f"$SEALED/{name}/#", 1)) == [1]
    sealed = writer.seal(name + "/sealed", b"sealed will")
    broker.client(name + "s", pki.member(1), will=(f"$SEALED/{name}/sealed", sealed, 1, False))
    broker.client(name + "p", pki.member(1), will=(f"{name}/plain", b"plain will", 1, False))
    broker.client(name + "x", pki.member(2), will=(f"$SEALED/{name}/sealed", sealed, 1, False))  # another's words
    crash(broker)
    broker.start()
    reader.mqtt = broker.client(name + "r", pki.member(2), clean=False)
    got = {}
    for _ in range(2):
        m = reader.mqtt.wait_for(3)
        while m.topic.startswith("$KEYS/"):
            reader.mqtt.acknowledge(m)
            m = reader.mqtt.wait_for(3)
        reader.mqtt.acknowledge(m)
        topic = m.topic.removeprefix("$SEALED/")
        got[topic], part = reader.open(topic, m.payload)
        assert (part["publisher"] == "member1") == topic.endswith("plain")
    assert got == {name + "/sealed": b"sealed will", name + "/plain": b"plain will"}
    assert broker.wait_log(f"client '{name}x': its will .* is dropped: its sender is not this connection's certificate")
    reader.mqtt.ping()
    assert not reader.mqtt.inbox
