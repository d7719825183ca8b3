# SPDX-License-Identifier: GPL-3.0-or-later
"""The store on disk: what was acknowledged is there after kill -9, keys and damage are told clearly, backups restore."""
import pathlib
import shutil
import subprocess

import pytest

from lib import env
from lib import packets as p

pytestmark = pytest.mark.sealmqd_only("the durable store")

STORE = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M"}


def crash(broker):
    broker.process.kill()
    broker.process.wait()


def again(broker):
    crash(broker)
    return broker.start()


def run(broker, *arguments):
    """sealmqd beside (or without) the running broker, with the same configuration."""
    return subprocess.run([str(env.SEALMQD), "-c", str(broker.config_path), *arguments], cwd=broker.dir, capture_output=True, text=True,
                          timeout=env.TIMEOUT_S, check=False)


def test_kill_9_keeps_what_was_acknowledged(start_broker, name):
    broker = start_broker(STORE)
    sub = broker.client(name, clean=False)
    sub.subscribe((name + "/#", 2))
    sub.disconnect()
    pub = broker.client(name + "p")
    for i in range(50):
        pub.publish(f"{name}/{i % 3}", str(i), 1 + i % 2)
    pub.publish(name + "/kept", b"kept", 1, retain=True)
    again(broker)
    sub = broker.client(name, clean=False)
    assert sub.connack.session_present
    got = [sub.recv_publish() for _ in range(51)]
    assert [int(m.payload) for m in got if m.payload != b"kept"] == list(range(50))
    late = broker.client(name + "late")
    late.subscribe((name + "/+", 1))
    assert late.recv_publish(name + "/kept", b"kept").retain
    again(broker)
    sub = broker.client(name, clean=False)
    sub.ping()
    assert not [m for m in sub.inbox if m.type == p.PUBLISH], "what was acknowledged does not come again"


def test_qos2_is_exactly_once_over_a_crash_in_every_step(start_broker, name):
    """Receiver's side: the broker dies after PUBLISH, after PUBREC, after PUBREL; sender's side: after PUBLISH, after PUBREC."""
    broker = start_broker(STORE)
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 2))
    sub.drop()
    broker.client(name + "p").publish(name, b"one", 2)
    sub = broker.client(name, clean=False)
    first = sub.wait_for(p.PUBLISH)
    again(broker)
    sub = broker.client(name, clean=False)
    repeated = sub.wait_for(p.PUBLISH)
    assert (repeated.pid, repeated.payload, repeated.dup) == (first.pid, b"one", True)
    sub.send(p.ack(p.PUBREC, first.pid))
    sub.wait_for(p.PUBREL)
    again(broker)
    sub = broker.client(name, clean=False)
    assert sub.wait_for(p.PUBREL).pid == first.pid
    sub.send(p.ack(p.PUBCOMP, first.pid))
    sub.ping()
    again(broker)
    sub = broker.client(name, clean=False)
    sub.ping()  # PUBREL may come again, if the crash was faster than PUBCOMP's commit: nobody promised that one
    assert not [m for m in sub.inbox if m.type == p.PUBLISH]
    sub.disconnect()

    pub = broker.client(name + "q", clean=False)
    pub.send(p.publish(name, b"two", 2, pid=7))
    pub.wait_for(p.PUBREC)
    again(broker)
    pub = broker.client(name + "q", clean=False)
    assert pub.connack.session_present
    pub.send(p.publish(name, b"two", 2, dup=True, pid=7))
    pub.wait_for(p.PUBREC)
    pub.send(p.ack(p.PUBREL, 7))
    pub.wait_for(p.PUBCOMP)
    sub = broker.client(name, clean=False)
    sub.recv_publish(name, b"two")
    sub.ping()
    assert not [m for m in sub.inbox if m.type == p.PUBLISH]


def test_payload_is_nowhere_in_the_file(start_broker, name):
    broker = start_broker(STORE)
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    sub.disconnect()
    secret = b"a payload that nobody may find 4711"
    broker.client(name + "p").publish(name, secret, 1, retain=True)
    crash(broker)
    for path in pathlib.Path(broker.dir, "store").iterdir():
        assert secret not in path.read_bytes(), path
    broker.start()


def test_check_store_and_a_second_broker(start_broker, name):
    broker = start_broker(STORE)
    broker.client(name, clean=False).disconnect()
    second = run(broker)
    assert second.returncode == 1 and "in use by another" in second.stderr
    assert "in use by another" in run(broker, "--check-store").stdout
    crash(broker)
    got = run(broker, "--check-store")
    assert got.returncode == 0 and "sound" in got.stdout and "sessions 1" in got.stdout, got
    broker.start()


def test_master_key_missing_or_wrong_stops_the_start(start_broker, name):
    broker = start_broker(STORE)
    broker.client(name, clean=False).disconnect()
    crash(broker)
    key = pathlib.Path(broker.dir, "store", "master.key")
    data = pathlib.Path(broker.dir, "store", "data.mdb").read_bytes()
    text = key.read_bytes()
    key.unlink()
    got = run(broker)
    assert got.returncode == 1 and "is missing" in got.stderr and not key.exists()
    other = start_broker({**STORE, "store_dir": "other"})
    shutil.copy(pathlib.Path(other.dir, "other", "master.key"), key)
    got = run(broker)
    assert got.returncode == 1 and "belongs to another store" in got.stderr
    key.chmod(0o644)
    got = run(broker)
    assert got.returncode == 1 and "0600" in got.stderr
    assert pathlib.Path(broker.dir, "store", "data.mdb").read_bytes() == data, "nothing was changed"
    key.write_bytes(text)
    key.chmod(0o600)
    broker.start()
    assert broker.client(name, clean=False).connack.session_present


def test_rotated_master_key(start_broker, name):
    """Also when the rotation was interrupted between the commit and the rename."""
    broker = start_broker(STORE)
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    sub.disconnect()
    broker.client(name + "p").publish(name, b"old key", 1)
    crash(broker)
    key = pathlib.Path(broker.dir, "store", "master.key")
    before = key.read_bytes()
    assert run(broker, "--rotate-master-key").returncode == 0
    after = key.read_bytes()
    assert after != before
    key.with_suffix(".key.new").write_bytes(after)
    key.with_suffix(".key.new").chmod(0o600)
    key.write_bytes(before)
    broker.start()
    assert key.read_bytes() == after
    broker.client(name, clean=False).recv_publish(name, b"old key")


def test_backup_of_a_running_broker_restores(start_broker, name):
    broker = start_broker(STORE)
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    sub.disconnect()
    broker.client(name + "p").publish(name, b"in the backup", 1)
    got = run(broker, "--backup", "backup")
    assert got.returncode == 0, got
    broker.client(name + "p").publish(name, b"after it", 1)
    crash(broker)
    store, key = pathlib.Path(broker.dir, "store"), pathlib.Path(broker.dir, "store", "master.key").read_bytes()
    shutil.rmtree(store)
    shutil.copytree(pathlib.Path(broker.dir, "backup"), store)
    (store / "master.key").write_bytes(key)
    (store / "master.key").chmod(0o600)
    broker.start()
    sub = broker.client(name, clean=False)
    sub.recv_publish(name, b"in the backup")
    sub.ping()
    assert not [m for m in sub.inbox if m.type == p.PUBLISH]
