"""MQTT 3.1.1, 3.3 PUBLISH to 3.7 PUBCOMP."""
import pytest

from lib import packets as p
from lib.client import Closed


def closes(c, data):
    c.send(data)
    c.expect_closed_silently()


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_3_3_1_1_redelivery_has_dup(connect, name, qos):
    s = connect("s", clean=False)
    s.subscribe((name, qos))
    connect("p").publish(name, b"x", qos)
    first = s.recv_publish(dup=False, ack=False)
    s.drop()
    again = connect("s", clean=False).recv_publish(dup=True, ack=False)
    assert (again.pid, again.payload, again.qos) == (first.pid, first.payload, qos)


@pytest.mark.sealmqd_only("mosquitto 2.0.11 lets it pass")
def test_mqtt_3_3_1_2_dup_with_qos_0_closes(connect, name):
    closes(connect(), p.publish(name, b"x", 0, dup=True))


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_3_3_1_3_incoming_dup_is_not_passed_on(connect, name, qos):
    s, pub = connect("s"), connect("p")
    s.subscribe((name, qos))
    pub.publish(name, b"x", qos, dup=True)
    s.recv_publish(name, b"x", dup=False)


@pytest.mark.parametrize("flags", [0x6, 0x7, 0xe, 0xf])
def test_mqtt_3_3_1_4_qos_3_closes(connect, name, flags):
    closes(connect(), p.packet(p.PUBLISH, p.string(name) + b"\0\1x", flags=flags))


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_3_3_1_5_retained_message_and_its_qos_are_stored(connect, name, qos):
    pub, s = connect("p"), connect("s")
    pub.publish(name, b"x", qos, retain=True)
    pub.ping()
    s.subscribe((name, 2))
    s.recv_publish(name, b"x", qos, retain=True)


def test_mqtt_3_3_1_6_new_subscription_gets_the_last_retained_of_each_topic(connect, name):
    pub, s = connect("p"), connect("s")
    for i in range(3):
        for t in "abc":
            pub.publish(f"{name}/{t}", str(i), 1, retain=True)
    s.subscribe((name + "/+", 1))
    assert {(s.recv_publish(retain=True, payload="2")).topic for _ in range(3)} == {f"{name}/{t}" for t in "abc"}
    s.ping()
    assert not s.inbox


def test_mqtt_3_3_1_7_retained_qos_0_replaces_a_former_one(connect, name):
    pub, s = connect("p"), connect("s")
    pub.publish(name, b"old", 2, retain=True)
    pub.publish(name, b"new", 0, retain=True)
    pub.ping()
    s.subscribe((name, 2))
    s.recv_publish(name, b"new", 0, retain=True)
    s.ping()
    assert not s.inbox


def test_mqtt_3_3_1_8_and_9_retain_flag_tells_stored_from_live(connect, name):
    live, late, pub = connect("live"), connect("late"), connect("p")
    live.subscribe((name, 1))
    pub.publish(name, b"x", 1, retain=True)
    live.recv_publish(name, retain=False)
    late.subscribe((name, 1))
    late.recv_publish(name, retain=True)


def test_mqtt_3_3_1_10_and_11_empty_retained_removes_and_is_not_stored(connect, name):
    live, late, pub = connect("live"), connect("late"), connect("p")
    pub.publish(name, b"x", 1, retain=True)
    live.subscribe((name, 1))
    live.recv_publish(name, retain=True)
    pub.publish(name, b"", 1, retain=True)
    live.recv_publish(name, b"", retain=False)
    late.subscribe((name, 1))
    late.ping()
    assert not late.inbox


def test_mqtt_3_3_1_12_without_retain_nothing_is_stored_or_replaced(connect, name):
    pub, s = connect("p"), connect("s")
    pub.publish(name + "/a", b"kept", 1, retain=True)
    pub.publish(name + "/a", b"passing", 1)
    pub.publish(name + "/b", b"passing", 1)
    s.subscribe((name + "/#", 1))
    s.recv_publish(name + "/a", b"kept")
    s.ping()
    assert not s.inbox


@pytest.mark.parametrize("topic", [b"", b"\xff", b"a\0", b"\xed\xa0\x80"], ids=["empty", "invalid", "NUL", "surrogate"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mqtt_3_3_2_1_topic_must_be_a_utf8_string(connect, topic, qos):
    closes(connect(), p.publish(topic, b"x", qos, pid=1 if qos else None))


@pytest.mark.parametrize("topic", ["#", "+", "a/#", "a/+", "a/+/b", "a#", "a+", "+a", "#/a", "$SYS/#", "a/b/#"])
@pytest.mark.parametrize("qos", [0, 2])
def test_mqtt_3_3_2_2_wildcards_in_a_topic_close(connect, topic, qos):
    closes(connect(), p.publish(topic, b"x", qos, pid=1 if qos else None))


def test_mqtt_3_3_2_3_delivered_topic_is_the_published_one(connect, name):
    s, pub = connect("s"), connect("p")
    s.subscribe(name + "/+/#")
    for topic in (f"{name}/A/b", f"{name}//", f"{name}/a/é/$x", f"{name}/a b"):
        pub.publish(topic, b"x")
        s.recv_publish(topic)


@pytest.mark.parametrize("qos,answers", [(0, []), (1, [p.PUBACK]), (2, [p.PUBREC])])
def test_mqtt_3_3_4_1_answer_follows_the_qos(connect, name, qos, answers):
    c = connect()
    c.send(p.publish(name, b"x", qos, pid=5 if qos else None) + p.pingreq())
    got = [c.recv() for _ in range(len(answers) + 1)]
    assert sorted(m.type for m in got) == sorted([*answers, p.PINGRESP])
    assert all(m.pid == 5 for m in got if m.type != p.PINGRESP)


@pytest.mark.sealmqd_only("mosquitto 2.0.11 takes the first match")
def test_mqtt_3_3_5_1_overlapping_subscriptions_get_the_highest_qos(connect, name):
    s, pub = connect("s"), connect("p")
    s.subscribe((name + "/a", 0), (name + "/#", 2), (name + "/+", 1))
    pub.publish(name + "/a", b"x", 2)
    s.recv_publish(name + "/a", b"x", 2)
    s.ping()
    assert not s.inbox


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\5abc", b"\xff\xff" + b"a" * 100, b"\0\1"], ids=["empty", "half a length", "short", "65535", "no topic"])
@pytest.mark.parametrize("flags", [0, 1, 2, 4])
def test_mqtt_3_3_2_topic_length_beyond_the_packet_closes(connect, body, flags):
    closes(connect(), p.packet(p.PUBLISH, body, flags=flags))


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("rest", [b"", b"\0"], ids=["none", "half"])
def test_mqtt_3_3_2_2_missing_identifier_closes(connect, name, qos, rest):
    closes(connect(), p.packet(p.PUBLISH, p.string(name) + rest, flags=qos << 1))


ACKS = [p.PUBACK, p.PUBREC, p.PUBREL, p.PUBCOMP]


@pytest.mark.parametrize("body", [b"", b"\0"], ids=["none", "half"])
@pytest.mark.parametrize("ptype", ACKS, ids=lambda t: p.NAMES[t])
def test_mqtt_3_4_to_3_7_short_acknowledgement_closes(connect, ptype, body):
    closes(connect(), p.packet(ptype, body))


@pytest.mark.sealmqd_only("mosquitto 2.0.11 reads no further")
@pytest.mark.parametrize("body", [b"\0\1\0", b"\0\1\0\0", b"\0\1" + b"x" * 200], ids=["3", "4", "202"])
@pytest.mark.parametrize("ptype", ACKS, ids=lambda t: p.NAMES[t])
def test_mqtt_3_4_to_3_7_long_acknowledgement_closes(connect, ptype, body):
    closes(connect(), p.packet(ptype, body))


@pytest.mark.parametrize("ptype", ACKS, ids=lambda t: p.NAMES[t])
def test_mqtt_3_4_to_3_7_acknowledgement_of_identifier_0_closes(connect, ptype):
    closes(connect(), p.ack(ptype, 0))


@pytest.mark.parametrize("flags", [0, 1, 3, 6, 10, 15])
def test_mqtt_3_6_1_1_pubrel_flags(connect, name, flags):
    c = connect()
    c.send(p.publish(name, b"x", 2, pid=1))
    c.expect(p.PUBREC, 1)
    closes(c, p.ack(p.PUBREL, 1, flags=flags))


def test_mqtt_3_6_4_pubrel_for_an_unknown_identifier_gets_pubcomp(connect):
    c = connect()
    c.send(p.ack(p.PUBREL, 999))
    c.expect(p.PUBCOMP, 999)


@pytest.mark.sealmqd_only("mosquitto logs them and goes on")
@pytest.mark.parametrize("ptype", [p.PUBACK, p.PUBREC, p.PUBCOMP], ids=lambda t: p.NAMES[t])
def test_mqtt_3_4_3_5_and_3_7_acknowledgements_of_nothing_close(connect, ptype):
    """Ours to choose: an acknowledgement of what was never sent is a protocol error."""
    closes(connect(), p.ack(ptype, 999))


@pytest.mark.sealmqd_only("mosquitto 2.0.11 takes one for the other")
def test_mqtt_3_4_wrong_kind_of_acknowledgement_ends_no_delivery(connect, name):
    """PUBACK for a QoS 2 delivery, PUBREC and PUBCOMP for a QoS 1 delivery: the delivery is still owed, or the connection ends."""
    s = connect("s", clean=False)
    s.subscribe((name + "/1", 1), (name + "/2", 2))
    pub = connect("p")
    pub.publish(name + "/1", b"x", 1)
    pub.publish(name + "/2", b"x", 2)
    got = {m.qos: m for m in (s.recv_publish(ack=False) for _ in range(2))}
    s.send_quietly(p.ack(p.PUBACK, got[2].pid))
    s.send_quietly(p.ack(p.PUBCOMP, got[1].pid))
    try:
        s.ping()
    except Closed:
        pass
    s.drop()
    s = connect("s", clean=False)
    again = {(m.qos, m.topic) for m in (s.recv_publish() for _ in range(2))}
    assert again == {(1, name + "/1"), (2, name + "/2")}
