"""Topic filters: wildcards, `$` topics, overlapping subscriptions, UNSUBSCRIBE, re-SUBSCRIBE, limits of topics."""
import pytest

from lib import packets as p
from lib.client import Closed

MATCHES = [     # filter, topic, does it match; all below the test's own root
    ("a", "a", True), ("a", "b", False), ("a", "A", False), ("a", "a/", False), ("a", "a/b", False), ("a", "ab", False),
    ("a/b", "a/b", True), ("a/b", "a", False), ("/", "/", True), ("", "", True),
    ("+", "a", True), ("+", "", True), ("+", "a/b", False), ("+", "a/", False), ("+/", "a/", True), ("/+", "/a", True),
    ("+/+", "/a", True), ("+/+", "a/b", True), ("+/+", "/", True), ("+/+", "a/b/c", False),
    ("a/+", "a/", True), ("a/+", "a", False), ("a/+/c", "a/b/c", True), ("a/+/c", "a//c", True), ("a/+/c", "a/b/b/c", False),
    ("a/+/+/d", "a/b/c/d", True), ("+/b/+", "a/b/c", True), ("+/b/+", "a/c/c", False),
    ("#", "a", True), ("#", "a/b/c/d", True), ("#", "", True), ("#", "/", True),
    ("a/#", "a", True), ("a/#", "a/", True), ("a/#", "a/b/c", True), ("a/#", "ab", False), ("a/#", "b/a", False),
    ("a/b/#", "a", False), ("+/#", "a", True), ("+/#", "a/b/c", True), ("+/b/#", "a/b", True), ("+/b/#", "a/c/b", False),
    ("a/+/#", "a", False), ("a/+/#", "a/b", True), ("a/+/#", "a/", True), ("//#", "//a", True), ("//+", "//a", True),
    ("é/東", "é/東", True), ("é", "e", False), (" ", " ", True), ("a b/+", "a b/c d", True), ("$x", "$x", True), ("+", "$x", True),
]


@pytest.mark.parametrize("filter_,topic,match", MATCHES)
def test_match(connect, name, filter_, topic, match):
    c = connect()
    c.subscribe(f"{name}/{filter_}", name + "-fence")
    c.publish(f"{name}/{topic}", b"x")
    c.publish(name + "-fence")
    got = [c.recv_publish().topic]
    if got[0] != name + "-fence":
        got.append(c.recv_publish().topic)
    assert got == ([f"{name}/{topic}"] if match else []) + [name + "-fence"]


@pytest.mark.sealmqd_only("mosquitto lets `$` topics be published by anybody")
@pytest.mark.parametrize("filter_", ["#", "+/#", "+/+/+", "+/broker/#"])
def test_leading_wildcards_do_not_see_dollar_topics(connect, name, filter_):
    """$SYS is published every second; no leading wildcard sees it [MQTT-4.7.2-1]."""
    seen, hidden = connect("seen"), connect("hidden")
    hidden.subscribe(filter_)
    seen.subscribe("$SYS/#")
    mark = seen.recv_publish().topic
    while seen.recv_publish().topic != mark:        # a whole round of $SYS
        pass
    hidden.ping()
    assert not [m for m in hidden.inbox if m.topic.startswith("$")]


def test_dollar_topics_by_name(connect):
    c = connect()
    c.subscribe("$SYS/broker/version", "$SYS/broker/+", "$SYS/#")
    assert c.recv_publish().topic.startswith("$SYS/broker/")


# -- overlapping

def test_overlapping_subscriptions_give_one_copy_at_the_highest_qos(connect, name):
    c = connect()
    assert c.subscribe((name + "/#", 0), (name + "/a", 2), (name + "/+", 1)) == [0, 2, 1]
    c.publish(name + "/a", b"x", 2)
    c.publish(name + "/b", b"x", 2)
    c.publish(name + "/b/c", b"x", 2)
    got = [c.recv_publish() for _ in range(3)]
    assert {(m.topic, m.qos) for m in got} == {(name + "/a", 2), (name + "/b", 1), (name + "/b/c", 0)}
    c.ping()
    assert not c.inbox


def test_overlapping_in_an_offline_queue(connect, name):
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name + "/#", 1), (name + "/+", 2), (name + "/a", 0))
    sub.disconnect()
    pub.publish(name + "/a", b"x", 2)
    sub = connect("s", clean=False)
    sub.recv_publish(name + "/a", b"x", 2)
    sub.ping()
    assert not sub.inbox


# -- SUBSCRIBE, UNSUBSCRIBE

def test_resubscribe_changes_the_qos(connect, name):
    c = connect()
    for qos in (0, 2, 1):
        assert c.subscribe((name, qos)) == [qos]
        c.publish(name, b"x", 2)
        c.recv_publish(name, qos=qos)
    c.ping()
    assert not c.inbox


def test_same_filter_twice_in_one_packet(connect, name):
    c = connect()
    assert c.subscribe((name, 2), (name, 1)) == [2, 1]
    c.publish(name, b"x", 2)
    c.recv_publish(name, qos=1)
    c.ping()
    assert not c.inbox


def test_unsubscribe(connect, name):
    c = connect()
    c.subscribe((name + "/a", 1), (name + "/+", 0), (name + "/fence", 1))
    c.unsubscribe(name + "/+")
    c.publish(name + "/b", b"no", 1)
    c.publish(name + "/a", b"yes", 1)
    c.recv_publish(name + "/a", b"yes", 1)
    c.unsubscribe(name + "/a", name + "/nothing", name + "/+/also/nothing/#")
    c.publish(name + "/a", b"no", 1)
    c.publish(name + "/fence", b"", 1)
    c.recv_publish(name + "/fence")


def test_unsubscribe_compares_filters_literally(connect, name):
    c = connect()
    c.subscribe((name + "/a", 1))
    c.unsubscribe(name + "/+", name + "/#", name + "/A", name + "/a/", name)
    c.publish(name + "/a", b"x", 1)
    c.recv_publish(name + "/a")


def test_unsubscribe_lets_what_is_in_flight_end(connect, name):
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name + "/1", 1), (name + "/2", 2))
    pub.publish(name + "/1", b"", 1)
    pub.publish(name + "/2", b"", 2)
    got = [sub.wait_for(p.PUBLISH) for _ in range(2)]
    sub.unsubscribe(name + "/1", name + "/2")
    for m in got:
        sub.acknowledge(m)
    sub.ping()


def test_many_filters_in_one_packet(connect, name):
    c = connect()
    n = 1000
    assert c.subscribe(*[(f"{name}/{i}", i % 3) for i in range(n)]) == [i % 3 for i in range(n)]
    for i in (0, 500, 999):
        c.publish(f"{name}/{i}", b"x", 2)
        c.recv_publish(f"{name}/{i}", qos=i % 3)
    c.unsubscribe(*[f"{name}/{i}" for i in range(n)])
    c.publish(f"{name}/500", b"x", 1)
    c.ping()
    assert not c.inbox


def test_fan_out(connect, name):
    """One message to many subscribers on all loops, each its own QoS."""
    subs = [connect(f"s{i}") for i in range(30)]
    for i, s in enumerate(subs):
        s.subscribe((name, i % 3))
    pub = connect("p")
    for k in range(20):
        pub.publish(name, str(k), 2)
    for i, s in enumerate(subs):
        got = [s.recv_publish(qos=i % 3) for _ in range(20)]
        assert [int(m.payload) for m in got] == list(range(20))


def test_subscriptions_come_and_go_while_messages_flow(connect, name):
    """A subscription acknowledged before a PUBLISH is sent gets it; one ended before does not."""
    pub, steady, other = connect("p"), connect("steady"), connect("other")
    steady.subscribe((name, 1))
    for i in range(50):
        other.subscribe((name, 0))
        pub.publish(name, f"yes {i}", 1)
        other.recv_publish(payload=f"yes {i}")
        other.unsubscribe(name)
        pub.publish(name, f"no {i}", 1)
    other.ping()
    assert not other.inbox
    assert len(steady.recv_payloads(100)) == 100


# -- limits

def test_topic_of_65535_bytes(connect, name):
    topic = name + "/" + "x" * (65535 - len(name) - 1)
    c = connect()
    c.subscribe((topic, 1))
    c.publish(topic, b"long", 1, retain=True)
    c.recv_publish(topic, b"long")
    c.publish(topic, b"", 1, retain=True)


def test_200_levels(connect, name):
    topic = "/".join([name] + ["l"] * 199)
    c = connect()
    assert c.subscribe((topic, 1)) == [1]
    c.publish(topic, b"deep", 1)
    c.recv_publish(topic, b"deep")
    other = connect("o")
    other.subscribe(("/".join([name] + ["+"] * 199), 1))
    c.publish(topic, b"deep", 1)
    other.recv_publish(topic, b"deep")


@pytest.mark.sealmqd_only("our limit of levels is 200")
@pytest.mark.parametrize("levels", [201, 10000])
def test_more_levels_are_refused(connect, name, levels):
    topic = "/".join([name] + ["l"] * (levels - 1))
    c = connect("sub")
    c.send(p.subscribe(1, (topic, 1), (name, 1)))
    try:
        got = c.recv()
        assert got.type == p.SUBACK and got.codes == [0x80, 1]
    except Closed:                  # or the connection ends
        pass
    c = connect("pub")
    c.send(p.publish(topic, b"x", 1, pid=1))
    assert c.expect_close() == []


def test_empty_levels(connect, name):
    for topic in (f"{name}//", f"{name}///x", f"/{name}", f"//{name}/"):
        c = connect()
        c.subscribe((topic, 1))
        c.publish(topic, topic, 1)
        c.recv_publish(topic, topic)


def test_bom_is_kept(connect, name):
    """U+FEFF is a character like any other [MQTT-1.5.3-3]."""
    c = connect()
    topic = name + "/\ufeffx"
    c.subscribe((topic, 0), (name + "/x", 0))
    c.publish(topic, b"bom")
    c.recv_publish(topic, b"bom")
    c.ping()
    assert not c.inbox


@pytest.mark.parametrize("topic", ["$SYS/broker/uptime", "$SYS/x", "$SYS"])
def test_clients_do_not_write_to_sys(connect, topic):
    """Acknowledged or the connection ends; nobody receives it."""
    watcher = connect("w")
    watcher.subscribe("$SYS/#")
    c = connect("c")
    c.send_quietly(p.publish(topic, b"forged", 1, pid=1))
    try:
        c.recv()
    except Closed:
        pass
    with connect("other") as o:
        o.ping()
    watcher.ping()
    assert not [m for m in watcher.inbox if m.payload == b"forged"]
