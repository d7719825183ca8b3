# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens when the store has no room: publishers wait, in order, and nobody waits for ever."""
import subprocess

import pytest

from lib import packets as p
from lib.client import Timeout

pytestmark = pytest.mark.sealmqd_only("the durable store")

REJECT = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M", "queue_full": "reject", "max_queued_messages": 2}


def full_session(broker, name, topic):
    """A session that is away, and whose queue is full."""
    c = broker.client(name, clean=False)
    c.subscribe((topic, 1))
    c.disconnect()
    pub = broker.client(name + "filler")
    pub.publish(topic, b"1", 1)
    pub.publish(topic, b"2", 1)
    pub.disconnect()


def test_publisher_waits_until_the_queue_has_room(start_broker, name):
    broker = start_broker(REJECT)
    full_session(broker, name, name)
    pub = broker.client(name + "p", keepalive=1)
    for i in range(3, 7):
        pub.send(p.publish(name, str(i), 1, pid=i))
    broker.wait_log("client '" + name + "p'.* waits, its message cannot be kept: ")
    other = broker.client(name + "o")
    other.publish(name + "/other", b"x", 1)  # nobody else waits
    sub = broker.client(name, clean=False)
    assert sub.recv_payloads(6) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert [pub.recv().pid for _ in range(4)] == [3, 4, 5, 6]
    broker.wait_log("client '" + name + "p'.* its messages are kept again")
    pub.ping()
    sub.ping()
    assert not [m for m in sub.inbox if m.type == p.PUBLISH]


@pytest.mark.parametrize("qos", [1, 2])
def test_publisher_that_waits_too_long_is_closed_and_repeats(start_broker, name, qos):
    """It has no keepalive problem while it waits: publish_wait is longer than one and a half of its keepalives."""
    broker = start_broker({**REJECT, "publish_wait": 3})
    full_session(broker, name, name)
    pub = broker.client(name + "p", clean=False, keepalive=1)
    pub.send(p.publish(name, b"3", qos, pid=9))
    assert [m for m in pub.expect_close(timeout=30)] == []
    broker.wait_log("client '" + name + "p'.* its message cannot be kept, after 3 s: ")
    pub = broker.client(name + "p", clean=False)
    assert pub.connack.session_present
    sub = broker.client(name, clean=False)
    assert sub.recv_payloads(2) == [b"1", b"2"]
    pub.send(p.publish(name, b"3", qos, dup=True, pid=9))
    pub.wait_for(p.PUBACK if qos == 1 else p.PUBREC, 9)
    sub.recv_publish(name, b"3")


def test_two_full_clients_that_publish_to_each_other_are_both_closed(start_broker, name):
    broker = start_broker({**REJECT, "publish_wait": 1})
    pairs = []
    for me, other in (("a", "b"), ("b", "a")):
        c = broker.client(name + me, clean=False)
        c.subscribe((f"{name}/{me}", 1))
        pairs.append((c, other))
    for c, other in pairs:  # neither acknowledges what it gets
        for i in range(1, 4):
            c.send(p.publish(f"{name}/{other}", str(i), 1, pid=i))
    for c, _ in pairs:
        got = c.expect_close(timeout=30)
        assert [m.pid for m in got if m.type == p.PUBACK] == [1, 2]
    for me in "ab":
        broker.wait_log(f"client '{name}{me}'.* its message cannot be kept, after 1 s")
    for me, other in (("a", "b"), ("b", "a")):
        c = broker.client(name + me, clean=False)
        assert c.recv_payloads(2) == [b"1", b"2"]
        c.disconnect()
    c = broker.client(name + "a", clean=False)
    c.publish(name + "/b", b"3", 1, dup=True, pid=3)


def publish_until_waiting(broker, name, payload):
    """How many messages a publisher has sent when the last is refused, and its connection."""
    pub, sent = broker.client(name + "p"), 0
    while "waits, its message cannot be kept" not in broker.log():
        sent += 1
        assert sent < 400
        pub.send(p.publish(name, b"%06d" % sent + payload, 1, pid=sent))
        try:
            pub.wait_for(p.PUBACK, sent, timeout=0.5)
        except Timeout:
            pass
    return sent, pub


def has_room_once_drained(broker, name, payload):
    """The publisher waits, QoS 0 goes on, the subscriber (with a will) comes and drains, the publisher goes on."""
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    sub.disconnect()
    sent, pub = publish_until_waiting(broker, name, payload)
    broker.wait_log("store: full")
    broker.qos0_goes_on(name)
    sub = broker.client(name, clean=False, will=(name + "/w", b"", 1, False))
    assert [int(sub.recv_publish().payload[:6]) for _ in range(sent)] == list(range(1, sent + 1))
    pub.wait_for(p.PUBACK, sent)
    broker.wait_log("store: has room again")
    pub.publish(name, b"%06d" % 0 + payload, 1)
    assert sub.recv_publish().payload[:6] == b"000000"


def test_full_store_takes_no_message_and_lets_its_queues_be_emptied(start_broker, name):
    """16 MiB with a tenth kept free."""
    broker = start_broker({**REJECT, "store_max_size": "16M", "max_queued_messages": 0, "publish_wait": 60})
    has_room_once_drained(broker, name, bytes(100000))


def test_full_disk(start_broker, name):
    """A file system of 12 MiB under a store that may have 64."""
    mount = "mkdir -p store && mount -t tmpfs -o size=12m none store && exec \"$0\" \"$@\""
    if subprocess.run(["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("no file system of our own can be mounted here")
    broker = start_broker({**REJECT, "max_queued_messages": 0, "publish_wait": 60}, prefix=("unshare", "-rm", "sh", "-c", mount))
    has_room_once_drained(broker, name, bytes(50000))
