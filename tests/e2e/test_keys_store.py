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
    clients = [broker.client(name + "s", pki.member(1), will=(f"$SEALED/{name}/sealed", sealed, 1, False)),
               broker.client(name + "p", pki.member(1), will=(f"{name}/plain", b"plain will", 1, False)),
               broker.client(name + "x", pki.member(2), will=(f"$SEALED/{name}/sealed", sealed, 1, False))]  # another's words
    crash(broker)
    clients.clear()
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
    assert all(m.topic.startswith("$KEYS/") for m in reader.mqtt.inbox)


# ---- verification, copies, another master key

OWNED = "e2e"


@pytest.fixture
def stopped(start_broker, pki, name):
    """A broker that has been stopped on a store with two epochs, sealed history, retained messages, an owner's space and certificates."""
    broker = start_broker(STORE)
    admin = broker.client("admin")
    control(admin, command="createTopic", topic=name, members=[{"certificate": pki.member(1).crt.read_text()}, {"cn": "device1"}], history={"count": 100})
    control(admin, command="createTopic", topic=OWNED, mode="owner", members=[{"cn": "member1"}])
    one = Member(broker, pki.member(1), name + "m")
    one.ask_keys(name)
    assert one.mqtt.subscribe((f"$KEYS/{OWNED}", 1)) == [1]
    one.publish(name + "/a", b"first epoch", retain=True)
    control(admin, command="rotateKey", topic=name)
    one.open_envelope(one.mqtt.recv_publish(f"$KEYS/{name}", retain=False).payload)
    one.publish(name + "/a", b"second epoch", retain=True)
    one.publish(name + "/b", b"z" * 20000)
    broker.terminate()
    return broker


def past(broker, pki, name):
    """What a member reads of the past, in order."""
    one = Member(broker, pki.member(1), name + "new")
    assert one.ask_keys(name) == [2, 1]
    assert one.mqtt.subscribe((f"$SEALED/{name}/#", 1)) == [1]
    return [one.open(m.topic.removeprefix("$SEALED/"), m.payload)[0] for m in (one.mqtt.recv_publish(retain=True) for _ in range(3))]


PAST = [b"first epoch", b"second epoch", b"z" * 20000]


def test_a_sound_store_is_found_sound(stopped):
    got = run(stopped, "--check-store")
    assert got.returncode == 0 and got.stdout.endswith("sound\n"), got.stdout
    assert "history 3\n" in got.stdout and "not verified" not in got.stdout


def flip(broker, key, offset):
    """A bit behind each place where the store's file has that key of the table of small values; old pages have it too."""
    path = pathlib.Path(broker.dir, "store", "data.mdb")
    data, at, n = bytearray(path.read_bytes()), 0, 0
    while (at := data.find(key, at)) >= 0:
        at = at + len(key)
        data[at + offset] ^= 1
        n += 1
    assert n > 0
    path.write_bytes(data)


@pytest.mark.parametrize("kind, tail, offset", [("space", 16, 0), ("space", 16, 9), ("space", 16, 200), ("cert", 64, 20), ("cert", 64, 300)])
def test_a_flipped_bit_of_a_value_is_found_and_named(stopped, kind, tail, offset):
    flip(stopped, f".{kind}/".encode(), tail + offset)
    got = run(stopped, "--check-store")
    assert got.returncode != 0 and got.stdout.endswith("DAMAGED\n"), got.stdout
    assert f'problem: value "{kind}/' in got.stdout and "it is damaged, or was stored under another name" in got.stdout
    stopped.start(wait=False)
    assert stopped.process.wait(env.TIMEOUT_S) != 0
    assert f'store: value "{kind}/' in stopped.log()
    stopped.kill()


def test_a_flipped_bit_of_the_store_s_own_key_is_found_and_named(stopped):
    flip(stopped, b".vault", 1 + 8 + 16 + 20)
    got = run(stopped, "--check-store")
    assert got.returncode != 0 and 'problem: value "vault": the store\'s root key does not open under the master key' in got.stdout
    stopped.start(wait=False)
    assert stopped.process.wait(env.TIMEOUT_S) != 0
    assert "the store's root key does not open under the master key" in stopped.log()
    stopped.kill()


def test_another_master_key_opens_the_same_past(stopped, pki, name):
    old = pathlib.Path(stopped.dir, "store", "master.key").read_bytes()
    assert run(stopped, "--rotate-master-key").returncode == 0
    assert pathlib.Path(stopped.dir, "store", "master.key").read_bytes() != old
    assert run(stopped, "--check-store").stdout.endswith("sound\n")
    stopped.start()
    assert past(stopped, pki, name) == PAST
    assert control(stopped.client("admin"), command="getTopic", topic=OWNED)["owner"] == "device1"


def test_a_backup_of_a_running_broker_brings_keys_and_past_back(stopped, pki, name):
    stopped.start()
    assert run(stopped, "--backup", "copy").returncode == 0
    admin = stopped.client("admin")
    control(admin, command="deleteTopic", topic=name)
    stopped.terminate()
    store = pathlib.Path(stopped.dir, "store")
    key = (store / "master.key").read_bytes()
    shutil.rmtree(store)
    shutil.copytree(pathlib.Path(stopped.dir, "copy"), store)
    (store / "master.key").write_bytes(key)
    (store / "master.key").chmod(0o600)
    assert run(stopped, "--check-store").stdout.endswith("sound\n")
    stopped.start()
    assert past(stopped, pki, name) == PAST


def test_membership_is_not_in_the_file_in_clear(stopped):
    data = pathlib.Path(stopped.dir, "store", "data.mdb").read_bytes()
    assert b'"members"' not in data and b'"fromJoin"' not in data
