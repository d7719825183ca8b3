"""History: what topics keep, and how a new subscription gets it: the past first, oldest first, each once, then live."""
import collections
import contextlib
import random
import re
import signal

import pytest

from lib import packets as p
from lib.client import Closed, Timeout
from lib.history import DISK, RULES, STORES
from lib.receiver import Receiver

pytestmark = pytest.mark.sealmqd_only("history is ours")


@pytest.fixture(**STORES)
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
