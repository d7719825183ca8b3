# SPDX-License-Identifier: GPL-3.0-or-later
"""The store on disk: what was acknowledged is there after kill -9, keys and damage are told clearly, backups restore."""
import os
import pathlib
import shutil
import subprocess
import time

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


def run(broker, *arguments, environ=None):
    """sealmqd beside (or without) the running broker, with the same configuration."""
    return subprocess.run([str(env.SEALMQD), "-c", str(broker.config_path), *arguments], cwd=broker.dir, capture_output=True, text=True,
                          env={**os.environ, **(environ or {})}, timeout=env.TIMEOUT_S, check=False)


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
    sub.ping()                                                                   # the last acknowledgement has been read,
    broker.client(name + "q").publish(f"fence/{name}", b"", 1, retain=True)      # and what was read before this is on disk with it
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


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_qos1_comes_again_under_its_identifier_with_dup(start_broker, name, end):
    """After a restart as after a lost connection [MQTT-4.4.0-1]; what was not sent yet comes behind, under other identifiers."""
    broker = start_broker({**STORE, "max_inflight_messages": 3})
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    pub = broker.client(name + "p")
    for i in range(6):
        pub.publish(name, str(i), 1)
    first = [sub.wait_for(p.PUBLISH) for _ in range(3)]
    assert [m.payload for m in first] == [b"0", b"1", b"2"]
    if end == "kill":
        sub.drop()  # then the store is told at once, and not only after a while
        broker.wait_log(f"client '{name}'.*closed by the client")
        pub.publish(name, b"6", 1)  # behind it in the store
        again(broker)
    else:
        assert broker.terminate() == 0
        broker.start()
    sub = broker.client(name, clean=False)
    repeated = [sub.wait_for(p.PUBLISH) for _ in range(3)]
    assert [(m.pid, m.payload, m.dup) for m in repeated] == [(m.pid, m.payload, True) for m in first]
    for m in repeated:
        sub.acknowledge(m)
    rest = [sub.recv_publish(dup=False) for _ in range(3)]
    assert [m.payload for m in rest] == [b"3", b"4", b"5"]
    assert not {m.pid for m in rest[:3]} & {m.pid for m in repeated}


def test_a_long_queue_is_on_disk_and_comes_in_order(start_broker, name):
    """20,000 messages here; SEALMQ_QUEUED=1000000 by hand (docs/store.md has the figures)."""
    n, window = int(os.environ.get("SEALMQ_QUEUED", "20000")), 100
    broker = start_broker({**STORE, "store_max_size": "2G", "max_queued_messages": 0, "max_inflight_messages": window, "log_type": "warning"})
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    sub.disconnect()
    pub = broker.client(name + "p")
    pub.publish(name, b"%08d" % 0 + bytes(92), 1)
    before, acked, began = broker.memory(), 0, time.monotonic()
    for at in range(1, n, 500):
        pub.send(b"".join(p.publish(name, b"%08d" % i + bytes(92), 1, pid=i % 65535 + 1) for i in range(at, min(at + 500, n))))
        while acked < at - 1:
            acked += pub.recv().type == p.PUBACK
    while acked < n - 1:
        acked += pub.recv().type == p.PUBACK
    queued_s, grown, began = time.monotonic() - began, broker.memory() - before, time.monotonic()
    sub = broker.client(name, clean=False)
    most, i = 0, 0
    while i < n:
        got = [sub.recv()]
        got += list(sub.inbox)
        sub.inbox.clear()
        most = max(most, len(got))
        for m in got:
            assert m.payload[:8] == b"%08d" % i and not m.dup
            i += 1
        sub.send(b"".join(p.ack(p.PUBACK, m.pid) for m in got))
    grown_after = broker.memory() - before
    print(f"{n} messages: queued in {queued_s:.1f} s, RssAnon grew by {grown / 2**20:.1f} MB; "
          f"delivered in {time.monotonic() - began:.1f} s, grown by {grown_after / 2**20:.1f} MB, at most {most} at once")
    assert grown < 64 << 20 and grown_after < 64 << 20
    assert most <= window
    sub.ping()
    assert not sub.inbox


# ---- wills

def watcher(broker, name):
    """A persistent session that gets what is published to name/will, whenever."""
    w = broker.client(name + "w", clean=False)
    w.subscribe((name + "/will", 1))
    w.disconnect()


def wills_seen(broker, name, n=1):
    """The payloads of n wills; no more come."""
    w = broker.client(name + "w", clean=False)
    payloads = [w.recv_publish().payload for _ in range(n)]
    w.ping()
    assert not [m for m in w.inbox if m.type == p.PUBLISH]
    w.disconnect()
    return payloads


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will_is_published_after_a_crash(start_broker, name, clean, qos):
    broker = start_broker({**STORE, "will_grace": 1})
    c = broker.client(name + "c", clean=clean, will=(name + "/will", b"gone", qos, True))
    again(broker)
    c.drop()
    w = broker.client(name + "w")
    w.subscribe((name + "/will", 2))
    got = w.wait_for(p.PUBLISH)
    assert (got.topic, got.payload, got.qos, got.retain) == (name + "/will", b"gone", qos, False)
    broker.wait_log("will is published")             # before the next crash, which takes the log's last lines along
    w.publish(name + "/fence", b"", 1, retain=True)  # behind it in the store
    again(broker)
    late = broker.client(name + "l")
    late.subscribe((name + "/will", 2))
    late.recv_publish(name + "/will", b"gone", retain=True)  # as its connection asked
    assert len(broker.wait_log("will is published")) == 1, "it is gone from the store"


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_return_in_time_silences_the_will(start_broker, name, clean):
    broker = start_broker({**STORE, "will_grace": int(3 * env.SLOW)})
    watcher(broker, name)
    kept = [broker.client(name + "c", clean=clean, will=(name + "/will", b"old", 1, False)),
            broker.client(name + "other", will=(name + "/will", b"other", 1, False))]
    again(broker)
    kept.clear()
    c = broker.client(name + "c", clean=clean, will=(name + "/will", b"new", 1, False))
    broker.wait_log("will is published")
    assert wills_seen(broker, name) == [b"other"]
    c.drop()
    broker.wait_log("client '" + name + "c'.*closed by the client")
    assert wills_seen(broker, name) == [b"new"]


def test_client_id_of_another_identity_does_not_silence_the_will(start_broker, name):
    broker = start_broker({**STORE, "will_grace": 1})
    watcher(broker, name)
    c = broker.client(name + "c", will=(name + "/will", b"gone", 1, False))
    again(broker)
    c.drop()
    broker.client(name + "c", cert="device2")
    broker.wait_log("will is published")
    assert wills_seen(broker, name) == [b"gone"]


def test_wills_that_are_settled_do_not_outlive_the_broker(start_broker, name):
    """After DISCONNECT, after their publication, after an orderly end: --check-store finds none."""
    broker = start_broker({**STORE, "will_grace": 0})
    watcher(broker, name)
    broker.client(name + "a", will=(name + "/will", b"a", 1, False)).disconnect()
    broker.client(name + "b", will=(name + "/will", b"b", 1, False)).drop()
    broker.wait_log("client '" + name + "b'.*closed by the client")
    w = broker.client(name + "w", clean=False)
    w.recv_publish(name + "/will", b"b")
    w.disconnect()
    crash(broker)
    assert "\nwills 0\n" in run(broker, "--check-store").stdout
    broker.start()
    c = broker.client(name + "c", clean=False, will=(name + "/will", b"c", 1, False))
    crash(broker)
    c.drop()
    assert "\nwills 1\n" in run(broker, "--check-store").stdout
    broker.start()
    broker.wait_log("will is published")
    d = broker.client(name + "d", will=(name + "/will", b"d", 1, False))
    assert broker.terminate() == 0
    d.drop()
    assert "\nwills 0\n" in run(broker, "--check-store").stdout


def test_will_is_judged_by_the_rules_of_the_new_start(start_broker, name, tmp_path):
    rules = tmp_path / "acl"
    rules.write_text("pattern readwrite #\n", encoding="utf-8")
    broker = start_broker({**STORE, "will_grace": 0, "acl_file": str(rules)})
    watcher(broker, name)
    c = broker.client(name + "c", will=(name + "/will", b"gone", 1, False))
    crash(broker)
    c.drop()
    rules.write_text("pattern read #\nuser device2\ntopic readwrite #\n", encoding="utf-8")
    broker.start()
    broker.wait_log("its will on '.*' is denied")
    broker.client(name + "d", cert="device2").publish(name + "/will", b"fence", 1)
    assert wills_seen(broker, name) == [b"fence"]


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


def test_rotation_killed_at_each_step(start_broker, name, faultdisk):
    """Before each call that writes, syncs, removes or renames a file: the next start finds the key that fits, and so does the next rotation."""
    broker = start_broker(STORE)
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    sub.disconnect()
    broker.client(name + "p").publish(name, b"kept", 1)
    crash(broker)
    store, steps, keys = pathlib.Path(broker.dir, "store"), 0, set()
    while True:
        steps += 1
        assert steps < 100
        got = run(broker, "--rotate-master-key", environ={**faultdisk, "FAULTDISK_KILL": str(steps)})
        assert "sound" in run(broker, "--check-store").stdout, f"after {steps} steps"
        broker.start()
        sub = broker.client(name, clean=False)
        assert sub.connack.session_present
        assert sub.wait_for(p.PUBLISH).payload == b"kept"
        keys.add((store / "master.key").read_bytes())
        crash(broker)
        if got.returncode == 0:
            break
        assert got.returncode == -9, got
    assert steps > 5 and len(keys) > 2, "some rotations had got far enough to hold"
    assert not (store / "master.key.new").exists()


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
