"""MQTT 3.1.1, chapter 4: state, QoS flows, retry, order, topics, errors."""
import pytest

from lib import packets as p


@pytest.mark.sealmqd_only("mosquitto 2.0.11 takes the repeated one for another")
def test_mqtt_4_1_0_1_state_lasts_as_long_as_the_connection(connect, name):
    """A clean session keeps its QoS 2 identifiers while connected."""
    c = connect()
    c.subscribe((name, 2))
    c.send(p.publish(name, b"x", 2, pid=1))
    c.expect(p.PUBREC, 1)
    for _ in range(3):
        c.send(p.publish(name, b"x", 2, dup=True, pid=1))
        c.wait_for(p.PUBREC, 1)
    c.send(p.ack(p.PUBREL, 1))
    c.wait_for(p.PUBCOMP, 1)
    c.recv_publish(name)
    c.ping()
    assert not c.inbox


def test_mqtt_4_1_0_2_stored_state_outlives_the_connection(connect, name):
    c = connect("s", clean=False)
    c.subscribe((name, 1))
    for _ in range(3):
        c.drop()
        c = connect("s", clean=False)
        assert c.connack.session_present == 1
    connect("p").publish(name, b"x", 1)
    c.recv_publish(name)


def test_mqtt_4_3_1_1_qos0_is_not_acknowledged(connect, name):
    c = connect()
    c.send(p.publish(name, b"x") + p.pingreq())
    c.expect(p.PINGRESP)


def test_mqtt_4_3_2_1_qos1_sender(connect, name):
    """New deliveries carry an unused identifier, DUP 0; they stay unacknowledged until PUBACK."""
    s, pub = connect("s", clean=False), connect("p")
    s.subscribe((name, 1))
    pub.publish(name, b"1", 1)
    pub.publish(name, b"2", 1)
    one, two = (s.recv_publish(dup=False, qos=1, ack=False) for _ in range(2))
    assert one.pid != two.pid
    s.acknowledge(two)
    s.ping()
    s.drop()
    s = connect("s", clean=False)
    s.recv_publish(payload=b"1", dup=True)
    s.ping()
    assert not s.inbox


def test_mqtt_4_3_2_2_qos1_receiver_treats_a_repeated_identifier_as_new(connect, name):
    """After PUBACK the same identifier is a new message, whatever its DUP flag says."""
    s, pub = connect("s"), connect("p")
    s.subscribe((name, 1))
    pub.publish(name, b"1", 1, pid=3)
    pub.publish(name, b"2", 1, pid=3, dup=True)
    assert s.recv_payloads(2) == [b"1", b"2"]


def test_mqtt_4_3_3_1_qos2_sender(connect, name):
    s, pub = connect("s"), connect("p")
    s.subscribe((name, 2))
    pub.publish(name, b"x", 2)
    m = s.recv_publish(qos=2, dup=False, ack=False)
    s.ping()
    assert not s.inbox, "PUBREL before PUBREC"
    s.send(p.ack(p.PUBREC, m.pid))
    rel = s.expect(p.PUBREL, m.pid)
    assert rel.flags == 2
    s.send(p.ack(p.PUBCOMP, m.pid))
    s.ping()
    assert not s.inbox


def test_mqtt_4_3_3_2_qos2_receiver(connect, name):
    s, pub = connect("s"), connect("p")
    s.subscribe((name, 2))
    pub.send(p.publish(name, b"once", 2, pid=8))
    pub.expect(p.PUBREC, 8)
    pub.send(p.publish(name, b"once", 2, pid=8, dup=True))
    pub.expect(p.PUBREC, 8)
    pub.send(p.ack(p.PUBREL, 8))
    pub.expect(p.PUBCOMP, 8)
    pub.send(p.publish(name, b"again", 2, pid=8))
    pub.expect(p.PUBREC, 8)
    pub.send(p.ack(p.PUBREL, 8))
    pub.expect(p.PUBCOMP, 8)
    assert s.recv_payloads(2) == [b"once", b"again"]
    s.ping()
    assert not s.inbox


def test_mqtt_4_4_0_1_redelivery_on_reconnect(connect, name):
    """Unacknowledged PUBLISH and PUBREL come again with their identifiers."""
    s, pub = connect("s", clean=False), connect("p")
    s.subscribe((name, 2))
    pub.publish(name + "/retained", b"0", 2, retain=True)
    pub.publish(name, b"1", 1)
    pub.publish(name, b"2", 2)
    pub.publish(name, b"3", 2)
    one, two, three = (s.recv_publish(ack=False) for _ in range(3))
    s.subscribe((name + "/retained", 2))
    four = s.recv_publish(ack=False)
    for m in (three, four):
        s.send(p.ack(p.PUBREC, m.pid))
        s.expect(p.PUBREL, m.pid)
    s.drop()
    s = connect("s", clean=False)
    again = [s.recv() for _ in range(4)]
    assert {(m.type, m.pid) for m in again} == {(p.PUBLISH, one.pid), (p.PUBLISH, two.pid), (p.PUBREL, three.pid), (p.PUBREL, four.pid)}
    assert all(m.dup for m in again if m.type == p.PUBLISH)


def test_mqtt_4_4_0_1_no_redelivery_within_a_connection(connect, name):
    """Only a reconnect repeats."""
    s, pub = connect("s"), connect("p")
    s.subscribe((name, 1))
    pub.publish(name, b"x", 1)
    s.recv_publish(ack=False)
    s.expect_nothing()


def test_mqtt_4_5_0_1_messages_go_to_all_matching_sessions(connect, name):
    subs = [connect(f"s{i}", clean=bool(i % 2)) for i in range(6)]
    for i, s in enumerate(subs):
        s.subscribe((name if i < 3 else name + "/#", 1))
    connect("p").publish(name, b"x", 1)
    for s in subs:
        s.recv_publish(name, b"x")


def test_mqtt_4_5_0_2_a_delivery_is_acknowledged_by_its_session_alone(connect, name):
    a, b = connect("a", clean=False), connect("b", clean=False)
    for c in (a, b):
        c.subscribe((name, 1))
    connect("p").publish(name, b"x", 1)
    a.recv_publish()
    b.recv_publish(ack=False)
    a.ping()
    b.drop()
    connect("b", clean=False).recv_publish(name, dup=True)


def test_mqtt_4_6_0_1_redelivery_is_in_the_original_order(connect, name):
    s, pub = connect("s", clean=False), connect("p")
    s.subscribe((name, 2))
    for i in range(20):
        pub.publish(name, str(i), i % 2 + 1)
    first = [s.recv_publish(ack=False) for _ in range(20)]
    s.drop()
    s = connect("s", clean=False)
    again = [s.recv_publish(ack=False, dup=True) for _ in range(20)]
    assert [m.pid for m in again] == [m.pid for m in first]
    assert [int(m.payload) for m in again] == list(range(20))


@pytest.mark.parametrize("qos,answer", [(1, p.PUBACK), (2, p.PUBREC)])
def test_mqtt_4_6_0_2_and_3_answers_are_in_the_order_of_the_publishes(connect, name, qos, answer):
    c = connect()
    pids = [7, 3, 20, 1, 65535, 2, 9, 4, 8, 100]
    c.send(b"".join(p.publish(f"{name}/{i % 3}", b"x", qos, pid=pid) for i, pid in enumerate(pids)))
    assert [c.expect(answer).pid for _ in pids] == pids


def test_mqtt_4_6_0_4_pubrels_are_in_the_order_of_the_pubrecs(connect, name):
    s, pub = connect("s"), connect("p")
    s.subscribe((name, 2))
    for i in range(10):
        pub.publish(name, str(i), 2)
    pids = [s.recv_publish(ack=False).pid for _ in range(10)]
    order = pids[::-1]
    s.send(b"".join(p.ack(p.PUBREC, pid) for pid in order))
    assert [s.expect(p.PUBREL).pid for _ in order] == order
    s.send(b"".join(p.ack(p.PUBCOMP, pid) for pid in order))
    s.ping()


def test_mqtt_4_6_0_4_pubrels_do_not_overtake_one_that_waits_for_the_store(connect, name):
    """The live message is in the store, which must hear of its PUBREC; the retained copy is not."""
    s, pub = connect("s", clean=False), connect("p")
    pub.publish(name + "/retained", b"x", 2, retain=True)
    s.subscribe((name + "/#", 2))
    pub.publish(name + "/live", b"x", 2)
    pids = {m.topic: m.pid for m in (s.recv_publish(ack=False) for _ in range(2))}
    order = [pids[name + "/live"], pids[name + "/retained"]]
    s.send(b"".join(p.ack(p.PUBREC, pid) for pid in order))
    assert [s.expect(p.PUBREL).pid for _ in order] == order


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_4_6_0_5_and_6_topics_are_ordered(connect, name, qos):
    s, pub = connect("s"), connect("p")
    s.subscribe((name + "/#", qos))
    for i in range(100):
        pub.publish(name + "/t", str(i), qos)
    assert [int(x) for x in s.recv_payloads(100)] == list(range(100))


@pytest.mark.sealmqd_only("mosquitto routes QoS 2 at its PUBREL")
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("kept,later", [(2, 2), (2, 1), (2, 0), (1, 0)])
def test_mqtt_4_6_0_6_order_holds_where_only_some_wait_for_the_store(connect, name, clean, kept, later):
    """The retained ones wait for the disk before a QoS 2 receiver or a persistent session gets them; those behind them need not by
    themselves, and do not overtake."""
    s, pub = connect("s", clean=clean), connect("p")
    s.subscribe((name, 2))
    for qos, retain, i in ((kept, True, 0), (later, False, 1)) * 6:
        pub.send(p.publish(name, str(i), qos, retain, pid=pub.pid() if qos else None))
    assert [int(x) for x in s.recv_payloads(12)] == [0, 1] * 6


def test_mqtt_4_7_1_1_wildcards_are_for_filters_alone(connect, name):
    c = connect()
    c.send(p.publish(name + "/+", b"x"))
    c.expect_closed_silently()


@pytest.mark.parametrize("filter_", ["#", "+/#", "+/broker/+", "+/health/+", "+"])
def test_mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar(connect, name, filter_):
    """Neither what is retained nor what is live: a client's $SYS/health here, any $ topic in mosquitto."""
    hidden, seen = connect("hidden"), connect("seen")
    hidden.subscribe(filter_, name + "/fence")
    seen.subscribe("$SYS/#")
    seen.recv_publish()
    for topic in ("$SYS/health", "$" + name, name + "/fence"):
        seen.publish(topic, b"x", 1)
    seen.ping()
    while (topic := hidden.recv_publish().topic) != name + "/fence":
        assert not topic.startswith("$")


@pytest.mark.parametrize("data", [p.publish("", b"x"), p.subscribe(1, ("", 0)), p.unsubscribe(1, "")], ids=["PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"])
def test_mqtt_4_7_3_1_topics_have_at_least_one_character(connect, data):
    c = connect()
    c.send(data)
    c.expect_closed_silently()


@pytest.mark.parametrize("data", [p.publish("a\0b", b"x"), p.subscribe(1, ("a\0", 0)), p.unsubscribe(1, "\0")], ids=["PUBLISH", "SUBSCRIBE", "UNSUBSCRIBE"])
def test_mqtt_4_7_3_2_topics_have_no_nul(connect, data):
    c = connect()
    c.send(data)
    c.expect_closed_silently()


def test_mqtt_4_7_3_3_topics_of_65535_bytes(connect, name):
    topic = name + "é" * 32000
    topic += "x" * (65535 - len(topic.encode()))
    c = connect()
    assert c.subscribe((topic, 1)) == [1]
    c.publish(topic, b"x", 1)
    c.recv_publish(topic, b"x")


@pytest.mark.parametrize("a,b", [("é", "e\u0301"), ("A", "a"), ("x", "x "), ("x", " x"), ("x", "x/"), ("x", "/x"), ("ß", "ss"), ("ﬁ", "fi")])
def test_mqtt_4_7_3_4_topics_are_not_normalised(connect, name, a, b):
    c = connect()
    c.subscribe((f"{name}/{a}", 0), (name + "-fence", 0))
    c.publish(f"{name}/{b}", b"other")
    c.publish(f"{name}/{a}", b"same")
    c.recv_publish(f"{name}/{a}", b"same")


@pytest.mark.parametrize("violation", [b"\0\0", p.connect("x"), p.publish("#", b""), p.packet(p.SUBSCRIBE, b"\0\1"), b"\x30\xff\xff\xff\xff\xff"])
def test_mqtt_4_8_0_1_protocol_violation_closes_that_connection_alone(connect, name, violation):
    others = [connect(f"o{i}") for i in range(3)]
    c = connect()
    c.send(violation)
    c.expect_closed_silently()
    for o in others:
        o.ping()


def test_mqtt_4_8_0_1_what_came_before_a_violation_counts(connect, name):
    """Packets before the malformed one are processed; nothing behind it is."""
    w = connect("w")
    w.subscribe((name, 1))
    c = connect("c")
    c.send(p.publish(name, b"before", 1, pid=1) + b"\xf0\0" + p.publish(name, b"behind", 1, pid=2))
    assert all((x.type, x.pid) == (p.PUBACK, 1) for x in c.expect_close())
    w.recv_publish(name, b"before")
    connect("f").publish(name, b"fence", 1)
    w.recv_publish(name, b"fence")
