"""History: what topics keep, and how a new subscription gets it: the past first, oldest first, each once, then live."""
import collections
import contextlib
import random
import re
import signal
import threading

import pytest

from lib import env
from lib import packets as p
from lib.client import Closed, Timeout
from lib.receiver import Receiver

pytestmark = pytest.mark.sealmqd_only("history is ours")

MEMORY0, MEMORY20 = {"store": "memory", "store_memory_delay_ms": 0}, {"store": "memory", "store_memory_delay_ms": 20}
DISK = {"store": "lmdb", "store_dir": "store", "store_max_size": "256M"}
RULES = {"history": "100000 h/#", "history_age": "1h h/aged/#", "max_queued_messages": 200000, "threads": 4}


@pytest.fixture(params=[MEMORY0, MEMORY20, DISK], ids=["memory0ms", "memory20ms", "lmdb"])
def options(request):
    return {**RULES, **request.param}


@pytest.fixture
def broker(start_broker, options):
    return start_broker(options)


def past(c, n):
    """The next n messages, which must be of the past."""
    got = [c.recv_publish() for _ in range(n)]
    assert all(m.retain and not m.dup for m in got), got
    return [m.payload.decode() for m in got]


def live(c, n):
    """The next n messages, which must have been published after the SUBSCRIBE, even where the history brings them."""
    got = [c.recv_publish() for _ in range(n)]
    assert not any(m.retain for m in got), got
    return [m.payload.decode() for m in got]


def numbers(a, b):
    return [str(i) for i in range(a, b)]


def quiet(c):
    """Nothing more is on its way, as far as a fence through the store can tell."""
    c.publish("h/fence", b"", 1)
    c.ping()
    assert [m for m in c.inbox if m.type == p.PUBLISH and m.topic != "h/fence"] == []


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("clean", [True, False])
def test_the_past_comes_first_and_live_messages_follow(connect, qos, clean):
    pub = connect("p")
    pub.publish_many([("h/a", n, qos) for n in numbers(0, 300)])
    pub.publish("h/a", b"fence", 1)
    sub = connect("s", clean=clean)
    assert sub.subscribe(("h/a", qos)) == [qos]
    assert past(sub, 301) == [*numbers(0, 300), "fence"]
    pub.publish_many([("h/a", n, qos) for n in numbers(300, 350)])
    assert live(sub, 50) == numbers(300, 350)
    quiet(sub)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("what", ["h/a", "#", "$HISTORY/2000/h/a"])
def test_what_is_published_during_the_past_is_not_past(connect, qos, what):
    """[MQTT-3.3.1-9], although it comes from the history: the subscriber's window lets the past in slowly."""
    pub, sub = connect("p"), connect("s")
    pub.publish_many([("h/a", n, 1) for n in numbers(0, 2000)])
    sub.subscribe((what, 1))
    waiting = [sub.recv_publish(ack=False) for _ in range(20)]
    pub.publish_many([("h/a", n, qos) for n in numbers(2000, 2050)])
    pub.ping()
    for m in waiting:
        sub.acknowledge(m)
    assert [(m.payload.decode(), m.retain) for m in waiting] == [(n, True) for n in numbers(0, 20)]
    assert past(sub, 1980) == numbers(20, 2000)
    assert live(sub, 50) == numbers(2000, 2050)
    quiet(sub)


def test_suback_is_before_the_past(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish("h/a", b"1", 1)
    sub.send(p.subscribe(7, ("h/+", 1)))
    sub.expect(p.SUBACK, 7)
    assert past(sub, 1) == ["1"]


def test_wildcards_bring_all_topics_under_their_own_names_in_order(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish_many([(f"h/{i % 3}", str(i), 1) for i in range(30)])
    pub.publish("plain", b"no history", 1)
    sub.subscribe(("#", 1))
    got = [sub.recv_publish(retain=True) for _ in range(30)]
    assert [(m.topic, m.payload) for m in got] == [(f"h/{i % 3}", str(i).encode()) for i in range(30)]
    quiet(sub)


def test_a_repeated_subscribe_brings_retained_messages_alone(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish("h/a", b"1", 1)
    pub.publish("h/a", b"2", 1, retain=True)
    pub.publish("h/a", b"3", 1)
    sub.subscribe(("h/a", 1))
    assert past(sub, 3) == ["1", "2", "3"]
    sub.subscribe(("h/a", 1))
    assert past(sub, 1) == ["2"]
    quiet(sub)
    sub.unsubscribe("h/a")
    sub.subscribe(("h/a", 1))
    assert past(sub, 3) == ["1", "2", "3"]


def test_the_retained_message_is_not_sent_twice(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish("h/a", b"1", 1)
    pub.publish("h/a", b"newest", 1, retain=True)
    sub.subscribe(("h/#", 1))
    assert past(sub, 2) == ["1", "newest"]
    quiet(sub)


def test_a_retained_message_that_history_has_forgotten_is_sent(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish("h/a", b"retained", 1, retain=True)
    pub.publish_many([("h/a", n, 1) for n in numbers(0, 5)])
    pub.publish("plain", b"retained elsewhere", 1, retain=True)
    assert sub.subscribe(("$HISTORY/2/h/a", 1)) == [1]
    assert past(sub, 3) == ["3", "4", "retained"]
    sub.subscribe(("plain", 1))
    assert past(sub, 1) == ["retained elsewhere"]


def test_history_is_unsubscribed_by_its_literal_name(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish("h/a", b"1", 1)
    assert sub.subscribe(("$HISTORY/all/h/#", 1)) == [1]
    assert past(sub, 1) == ["1"]
    sub.unsubscribe("h/#")
    pub.publish("h/a", b"2", 1)
    assert live(sub, 1) == ["2"]
    sub.unsubscribe("$HISTORY/all/h/#")
    pub.publish("h/a", b"3", 1)
    quiet(sub)


@pytest.mark.parametrize("spec", ["5", "15m", "since-0", "since-4000000000000"])
def test_a_spec_chooses_how_much(connect, spec):
    n = {"5": 5, "15m": 20, "since-0": 20, "since-4000000000000": 0}[spec]
    pub, sub = connect("p"), connect("s")
    pub.publish_many([(f"h/{i % 2}", str(i), 1) for i in range(20)])
    assert sub.subscribe((f"$HISTORY/{spec}/h/#", 2)) == [2]
    assert past(sub, n) == numbers(20 - n, 20)
    pub.publish("h/1", b"live", 2)
    assert live(sub, 1) == ["live"]
    quiet(sub)


def test_a_bad_spec_is_refused_and_logged(connect, broker):
    sub = connect("s")
    mark = broker.log_mark()
    bad = ["$HISTORY/x/h/a", "$HISTORY/0/h/a", "$HISTORY/all", "$HISTORY/1y/h/a", "$HISTORY/since-/h/a", "$HISTORY/all/$share/g/h/a"]
    assert sub.subscribe(*bad) == [0x80] * len(bad)
    for one in bad:
        broker.wait_log(re.escape(f"SUBSCRIBE to '{one}' refused"), mark)
    assert sub.subscribe(("$HISTORY/all/h/a", 1), "$HISTORY/x/h/a") == [1, 0x80]


def test_the_plain_filter_and_its_history_are_two_subscriptions(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish("h/a", b"1", 1)
    sub.subscribe(("h/a", 0))
    assert past(sub, 1) == ["1"]
    sub.subscribe(("$HISTORY/all/h/a", 1))
    assert past(sub, 1) == ["1"]
    pub.publish("h/a", b"2", 1)
    assert sub.recv_publish("h/a", b"2").qos == 1   # the higher of both, once
    sub.unsubscribe("$HISTORY/all/h/a")
    pub.publish("h/a", b"3", 1)
    assert sub.recv_publish("h/a", b"3").qos == 0
    sub.subscribe(("$HISTORY/1/h/a", 1))
    assert past(sub, 1) == ["3"]
    sub.unsubscribe("h/a")
    pub.publish("h/a", b"4", 1)
    assert sub.recv_publish("h/a", b"4").qos == 1
    sub.unsubscribe("$HISTORY/1/h/a")
    pub.publish("h/a", b"5", 1)
    quiet(sub)


def test_a_session_that_comes_back_gets_what_it_missed_alone(connect):
    pub, sub = connect("p"), connect("s", clean=False)
    pub.publish_many([("h/a", n, 1) for n in numbers(0, 10)])
    sub.subscribe(("h/a", 1))
    assert past(sub, 10) == numbers(0, 10)
    sub.disconnect()
    pub.publish_many([("h/a", n, 1) for n in numbers(10, 20)])
    sub = connect("s", clean=False)
    assert sub.connack.session_present
    assert live(sub, 10) == numbers(10, 20)
    quiet(sub)


@pytest.mark.parametrize("ending", ["disconnect", "drop"])
def test_an_interrupted_replay_goes_on(connect, ending):
    pub, sub = connect("p"), connect("s", clean=False)
    pub.publish_many([("h/a", n, 1) for n in numbers(0, 5000)])
    sub.subscribe(("h/a", 1))
    got = past(sub, 700)
    getattr(sub, ending)()
    pub.publish_many([("h/a", n, 1) for n in numbers(5000, 5100)])
    sub = connect("s", clean=False)
    while len(set(got)) < 5100:                     # QoS 1: what was not acknowledged comes again
        got.append(sub.recv_publish().payload.decode())
    assert list(dict.fromkeys(got)) == numbers(0, 5100)
    quiet(sub)


@pytest.mark.parametrize("ending", ["kill", "stop"])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("what", ["h/a", "$HISTORY/2500/h/#"])
def test_an_interrupted_replay_goes_on_after_a_restart(start_broker, what, qos, ending):
    """QoS 1 and 2: nothing is missing, QoS 2 comes once, of QoS 1 what the store was not told of comes again."""
    broker = start_broker({**RULES, **DISK})
    receiver = Receiver()
    pub = broker.client("p")
    pub.publish_many([("h/a", n, 1 + int(n) % 2) for n in numbers(-500, 2000)])
    c = broker.client("s", clean=False)
    c.subscribe((what, qos))
    n, more = 2500, random.Random(qos)
    for _ in range(3):
        part = len(receiver.messages) + more.randrange(200, 900)
        while len(receiver.messages) < part:
            receiver.take(c)
        pub.publish_many([("h/a", k, 1 + int(k) % 2) for k in numbers(n - 500, n - 450)])
        n += 50
        broker.process.send_signal(signal.SIGKILL if ending == "kill" else signal.SIGTERM)
        broker.process.wait()
        with contextlib.suppress(Closed):           # what was on its way; acknowledged in vain
            while True:
                receiver.take(c, 1)
        broker.start()
        pub, c = broker.client("p"), broker.client("s", clean=False)
        assert c.connack.session_present
    while len(set(receiver.payloads())) < n:
        receiver.take(c)
    c.ping()
    assert [m for m in c.inbox if m.type == p.PUBLISH] == []
    got = receiver.payloads()
    for odd in (0, 1):                              # published with QoS 1, 2: a restart keeps the order of each
        mine = [int(m) for m in dict.fromkeys(got) if int(m) % 2 == odd]
        assert mine == sorted(mine)
    assert set(got) == set(numbers(-500, n - 500))
    if qos == 2:
        assert [m for m, times in collections.Counter(got).items() if times > 1 and int(m) % 2] == [], "delivered with QoS 2"
    if ending == "stop":
        assert len(got) - n <= 3 * 20, "what was in flight"


def test_unsubscribe_ends_a_replay(connect):
    pub, sub = connect("p"), connect("s")
    pub.publish_many([("h/a", n, 1) for n in numbers(0, 5000)])
    sub.subscribe(("h/a", 1))
    assert past(sub, 10) == numbers(0, 10)
    sub.unsubscribe("h/a")
    got = 0
    try:
        while True:
            sub.recv_publish(timeout=1)
            got += 1
    except Timeout:
        assert got < 4000


def test_off_elsewhere_and_for_a_part(start_broker, options):
    broker = start_broker({**options, "history": "2 h/#\nhistory 0 h/off/#\nhistory 1 h/+/one"})
    pub, sub = broker.client("p"), broker.client("s")
    for topic in ("h/x", "h/off/x", "h/off", "h/a/one", "other"):
        pub.publish_many([(topic, n, 1) for n in numbers(0, 4)])
    sub.subscribe(("#", 1))
    got = collections.defaultdict(list)
    for _ in range(3):
        m = sub.recv_publish(retain=True)
        got[m.topic].append(m.payload)
    assert got == {"h/x": [b"2", b"3"], "h/a/one": [b"3"]}
    sub.ping()
    assert not sub.inbox
    pub.drop()
    sub.drop()


def test_the_past_survives_a_restart(start_broker):
    broker = start_broker({**RULES, **DISK})
    pub = broker.client("p")
    pub.publish_many([("h/a", n, n_qos % 3) for n_qos, n in enumerate(numbers(0, 100))])
    pub.publish("h/a", b"fence", 1)
    sub = broker.client("s", clean=False)
    sub.subscribe(("$HISTORY/10/h/a", 1))
    assert past(sub, 10) == [*numbers(91, 100), "fence"]
    sub.disconnect()
    pub.drop()
    broker.stop()
    broker.start()
    sub = broker.client("s", clean=False)
    assert sub.connack.session_present
    other = broker.client("o")
    other.subscribe(("h/#", 1))
    assert past(other, 101) == [*numbers(0, 100), "fence"]
    other.publish("h/a", b"live", 1)
    assert live(sub, 1) == ["live"]
    sub.unsubscribe("$HISTORY/10/h/a")
    other.publish("h/a", b"gone", 1)
    sub.ping()
    assert not sub.inbox
    sub.drop()
    other.drop()


def test_the_acl_holds_for_the_past_as_for_live(start_broker, options, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("user device1\ntopic readwrite h/#\nuser device2\ntopic readwrite h/#\ntopic deny h/secret\n", encoding="ascii")
    broker = start_broker({**options, "acl_file": acl})
    pub, sub = broker.client("p"), broker.client("s", "device2")
    pub.publish_many([(t, b"x", 1) for t in ("h/open", "h/secret", "h/open")])
    assert sub.subscribe(("$HISTORY/all/h/secret", 1), ("$HISTORY/all/other", 1)) == [0x80, 0x80]
    assert sub.subscribe(("h/#", 1)) == [1]
    assert [sub.recv_publish(retain=True).topic for _ in range(2)] == ["h/open", "h/open"]
    sub.ping()
    assert not sub.inbox
    pub.drop()
    sub.drop()


# -- no gap and no duplicate

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
