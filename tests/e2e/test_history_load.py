"""History beside much that goes on: subscribers come while every QoS is published; one takes its past slowly."""
import random
import threading

import pytest

from lib import env
from lib import packets as p
from lib.history import DISK, RULES, STORES

pytestmark = pytest.mark.sealmqd_only("history is ours")


@pytest.fixture(**STORES)
def broker(start_broker, request):
    return start_broker({**RULES, **request.param})


class Publisher(threading.Thread):
    """Numbers on a topic of its own, as fast as they are taken."""

    def __init__(self, broker, name, qos):
        super().__init__()
        self.client, self.topic, self.qos, self.sent, self.ending = broker.client(name), f"h/load/{name}", qos, 0, threading.Event()
        self.failed = None

    def run(self):
        try:
            while not self.ending.is_set():
                self.client.publish_many([(self.topic, str(self.sent + i), self.qos) for i in range(20)])
                self.sent += 20
                if self.qos == 0:
                    self.client.ping()
            self.client.publish(self.topic, b"end", 1)
        except BaseException as e:                  # told by the test
            self.failed = e


class Subscriber(threading.Thread):
    def __init__(self, broker, name, filters, delay_s, topics, clean):
        super().__init__()
        self.broker, self.name_, self.filters, self.delay_s, self.topics, self.clean = broker, name, filters, delay_s, topics, clean
        self.failed, self.next = None, dict.fromkeys(topics, 0)

    def run(self):
        try:
            threading.Event().wait(self.delay_s)
            c = self.broker.client(self.name_, clean=self.clean)
            c.subscribe(*self.filters)
            left, past_over = set(self.topics), set()
            while left:
                m = c.recv_publish(timeout=30)
                if m.payload == b"end":
                    left.remove(m.topic)
                    continue
                assert not m.dup
                assert m.topic in left, f"{m} behind the end"
                assert int(m.payload) == self.next[m.topic], f"{m.topic}: {m.payload} instead of {self.next[m.topic]}"
                self.next[m.topic] += 1
                if m.retain:
                    assert m.topic not in past_over, f"{m}: the past behind live messages"
                else:
                    past_over.add(m.topic)
            c.ping()
            assert not c.inbox, list(c.inbox)[:5]
            c.drop()
        except BaseException as e:
            self.failed = e


def test_no_gap_and_no_duplicate_at_full_rate(broker):
    """24 subscribers of every kind come at random moments while every QoS is published from several loops."""
    come_while_published(broker, 24, 3)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_gap_and_no_duplicate_for_100_subscribers(start_broker, threads):
    """The same with 100, on disk."""
    broker = start_broker({**RULES, **DISK, "threads": threads})
    come_while_published(broker, 100 if env.SLOW <= 1 else 30, 1.5)


def come_while_published(broker, n, seconds):
    random.seed(7)
    publishers = [Publisher(broker, f"p{i}", i % 3) for i in range(4)]
    topics = [one.topic for one in publishers]
    subscribers = []
    for i in range(n):
        qos = i % 3
        kind = [("h/load/+", qos)], [(t, qos) for t in topics], [("$HISTORY/all/h/load/#", qos)]
        subscribers.append(Subscriber(broker, f"s{i}", kind[i // 3 % 3], random.uniform(0, seconds), topics, clean=i % 2 == 0))
    for one in publishers + subscribers:
        one.start()
    threading.Event().wait(seconds + 0.5)
    for one in publishers:
        one.ending.set()
    for one in publishers + subscribers:
        one.join(60)
        assert not one.is_alive()
    failed = [(one.name, one.failed) for one in publishers + subscribers if one.failed]
    assert not failed, failed
    for one in subscribers:
        assert one.next == {other.topic: other.sent for other in publishers}
    assert all(one.sent > 0 for one in publishers)
    for one in publishers:
        one.client.drop()


@pytest.mark.skipif(env.BUILD_DIR.name in ("asan", "tsan"), reason="a sanitizer keeps what was freed")
def test_replay_to_a_slow_subscriber_needs_little_memory(start_broker):
    """40,000 messages of 1 kB: while it does not acknowledge them, and while it takes them one window at a time."""
    broker = start_broker({**RULES, **DISK, "store_max_size": "512M", "threads": 1})
    pub, sub = broker.client("p"), broker.client("s")
    n = 40000
    for start in range(0, n, 500):
        batch = [(i, pub.pid()) for i in range(start, start + 500)]
        pub.send(b"".join(p.publish("h/a", str(i).encode().ljust(1000), 1, pid=pid) for i, pid in batch))
        for _, pid in batch:
            pub.expect(p.PUBACK, pid)
    before = broker.memory()
    sub.subscribe(("h/a", 1))
    waiting = [sub.recv_publish(ack=False) for _ in range(20)]     # the window
    sub.expect_nothing()
    most = broker.memory() - before
    for i in range(n):
        m = waiting.pop(0) if waiting else sub.recv_publish(ack=False)
        assert int(m.payload) == i
        sub.acknowledge(m)
        if i % 5000 == 0:
            most = max(most, broker.memory() - before)
    assert most < 8 << 20, f"{most} bytes for a replay of {n} kB"
