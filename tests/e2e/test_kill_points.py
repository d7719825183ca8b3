# SPDX-License-Identifier: GPL-3.0-or-later
"""The broker killed at each point of the store's work: before the commit, after it, and between it and the answer (store/fault.c). Only builds
with assertions have these points: make asan, make MODE=debug e2e."""
import signal

import pytest

from lib import env
from lib import packets as p
from lib.client import Closed, Timeout

pytestmark = [pytest.mark.sealmqd_only("the durable store"),
              pytest.mark.skipif(not env.SEALMQD.exists() or b"SEALMQ_STORE_KILL" not in env.SEALMQD.read_bytes(),
                                 reason="this build has no kill points: make asan")]

STORE = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M"}
WHERE = ["before-commit", "after-commit", "before-answer"]


def arm(broker, where, verb):
    """Starts it anew, to be killed in the first batch with that operation."""
    broker._environ = {"SEALMQ_STORE_KILL": f"{where},{verb}"}
    broker.process.kill()
    broker.process.wait()
    return broker.start()


def killed(broker):
    assert broker.process.wait(env.TIMEOUT_S) == -signal.SIGKILL, "the point was not reached"
    broker._environ = {}
    return broker.start()


# ---- QoS 2, both sides as MQTT 4.3.3 and 4.4 say

class Sender:
    def __init__(self, broker, client_id):
        self.broker, self.id, self.state, self.pid = broker, client_id, None, 0
        self.client = broker.client(client_id, clean=False)

    def publish(self, topic, payload):
        self.pid += 1
        self.topic, self.payload, self.state = topic, payload, "PUBLISH"
        self.client.send_quietly(p.publish(topic, payload, 2, pid=self.pid))

    def come_back(self):
        self.client = self.broker.client(self.id, clean=False)
        assert self.client.connack.session_present
        if self.state == "PUBLISH":
            self.client.send(p.publish(self.topic, self.payload, 2, dup=True, pid=self.pid))
        elif self.state == "PUBREL":
            self.client.send(p.ack(p.PUBREL, self.pid))

    def take(self, got):
        if got.type == p.PUBREC:
            assert got.pid == self.pid
            self.state = "PUBREL"
            self.client.send_quietly(p.ack(p.PUBREL, self.pid))
        elif got.type == p.PUBCOMP:
            self.state = None


class Receiver:
    def __init__(self, broker, client_id):
        self.broker, self.id, self.held, self.delivered = broker, client_id, set(), []
        self.client = broker.client(client_id, clean=False)

    def come_back(self):
        self.client = self.broker.client(self.id, clean=False)
        assert self.client.connack.session_present

    def take(self, got):
        if got.type == p.PUBLISH:
            if got.pid not in self.held:
                self.held.add(got.pid)
                self.delivered.append(got.payload)
            self.client.send_quietly(p.ack(p.PUBREC, got.pid))
        elif got.type == p.PUBREL:
            self.held.discard(got.pid)
            self.client.send_quietly(p.ack(p.PUBCOMP, got.pid))


def converse(sender, receiver, until):
    """Both sides answer what comes, until that holds or the broker is gone."""
    for _ in range(int(2000 * env.SLOW)):
        if until():
            return True
        for side in (sender, receiver):
            try:
                side.take(side.client.recv(timeout=0.005))
            except Timeout:
                pass
            except Closed:
                return False
    raise AssertionError(f"nothing goes on: sender in {sender.state}, receiver holds {receiver.held}, has {receiver.delivered}")


# PUBLISH in, PUBREL in; PUBLISH out, PUBREC in (and PUBREL out), PUBCOMP in. PUBREC and PUBCOMP out are what the first two wait to send.
@pytest.mark.parametrize("verb", ["publish", "qos2-done", "sent", "released", "acked"])
@pytest.mark.parametrize("where", WHERE)
def test_qos2_is_exactly_once(start_broker, name, where, verb):
    broker = start_broker(STORE)
    Receiver(broker, name + "r").client.subscribe((name, 2))
    Sender(broker, name + "s")
    arm(broker, where, verb)
    sender, receiver = Sender(broker, name + "s"), Receiver(broker, name + "r")
    sender.publish(name, b"one")
    assert not converse(sender, receiver, lambda: False)
    killed(broker)
    receiver.come_back()
    sender.come_back()
    assert converse(sender, receiver, lambda: sender.state is None and receiver.delivered and not receiver.held)
    sender.publish(name, b"two")
    assert converse(sender, receiver, lambda: sender.state is None and b"two" in receiver.delivered and not receiver.held)
    assert receiver.delivered == [b"one", b"two"]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_member_that_ends_leaves_nothing_behind(start_broker, name, where, batch):
    """Killed when its session ends, and when its queue has been handed on."""
    broker = start_broker(STORE)
    a = broker.client(name + "a", clean=False)
    a.subscribe((f"$share/{name}/{name}", 1))
    a.disconnect()
    broker.client(name + "p").publish_many([(name, str(i), 1) for i in range(20)])
    b = broker.client(name + "b", clean=False)
    b.subscribe((f"$share/{name}/{name}", 1))
    arm(broker, where, f"session-end,{batch}")
    b.drop()
    broker.raw().send(p.connect(name + "a", clean=True))
    killed(broker)
    broker.client(name + "a", clean=True)
    b, got = broker.client(name + "b", clean=False), []
    while set(got) != {b"%d" % i for i in range(20)}:
        got.append(b.recv_publish().payload)
    assert [m for i, m in enumerate(got) if m not in got[:i]] == [b"%d" % i for i in range(20)]


# ---- no answer before its commit: each of these acts, and what it may get before is taken by itself

def connect_new(c, name):
    c.send(p.connect(name, clean=False))


def connect_with_will(c, name):
    c.send(p.connect(name + "x", clean=True, will=(name, b"will", 0, False)))


def connect_clean(c, name):
    c.send(p.connect(name + "old", clean=True))


def resume(c, name):
    c.send(p.connect(name + "old", clean=False))


def connected(send):
    def do(c, name):
        c.connect(name + "old", clean=False)
        c.send(send(name))
    return do


def release(c, name):
    c.connect(name + "old", clean=False)
    c.send(p.publish(name + "/other", b"x", 2, pid=1))
    c.expect(p.PUBREC)
    c.send(p.ack(p.PUBREL, 1))


def receive(c, name):
    """Its PUBREC may leave or not: the message goes on to its receiver, and to the end, in the same turn."""
    c.connect(name + "old", clean=False)
    c.send(p.publish(name, b"x", 2, pid=1))
    try:
        c.expect(p.PUBREC)
    except Closed:
        pass


def receive_and_answer(c, name):
    c.connect(name + "old", clean=False)
    c.send(p.publish(name, b"x", 2, pid=1))
    c.expect(p.PUBREC)
    c.send(p.ack(p.PUBREC, c.expect(p.PUBLISH).pid))


ANSWERS = {
    "CONNACK, new session": ("session-new", connect_new),
    "CONNACK, resumed": ("session-state", resume),
    "CONNACK, discarded": ("session-end", connect_clean),
    "CONNACK, will": ("will-put", connect_with_will),
    "SUBACK": ("subscribe", connected(lambda name: p.subscribe(1, (name + "/other", 1)))),
    "UNSUBACK": ("unsubscribe", connected(lambda name: p.unsubscribe(1, name))),
    "PUBACK": ("publish", connected(lambda name: p.publish(name, b"x", 1, pid=1))),
    "PUBREC": ("publish", connected(lambda name: p.publish(name, b"x", 2, pid=1))),
    "PUBCOMP": ("qos2-done", release),
    "PUBLISH of QoS 2": ("sent", receive),
    "PUBREL": ("released", receive_and_answer),
}


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("where", WHERE)
def test_no_answer_leaves_before_its_commit(start_broker, name, where, answer):
    verb, act = ANSWERS[answer]
    broker = start_broker(STORE)
    old = broker.client(name + "old", clean=False)
    old.subscribe((name, 2))
    old.disconnect()
    arm(broker, where, verb)
    c = broker.raw()
    act(c, name)
    assert c.expect_close() == []
    killed(broker)
