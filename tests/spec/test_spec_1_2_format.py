"""MQTT 3.1.1, chapters 1 and 2: strings, fixed header, packet identifiers."""
import pytest

from lib import packets as p

STORES = (0,)

ILL_FORMED = {
    "lone continuation": b"\x80", "invalid byte": b"\xff", "cut short": b"a\xc3", "overlong NUL": b"\xc0\x80", "overlong 2": b"\xc1\xbf",
    "overlong 3": b"\xe0\x9f\xbf", "overlong 4": b"\xf0\x8f\xbf\xbf", "above U+10FFFF": b"\xf4\x90\x80\x80", "five bytes": b"\xf8\x88\x80\x80\x80",
    "missing continuation": b"\xe2\x28\xa1", "surrogate D800": b"\xed\xa0\x80", "surrogate DFFF": b"\xed\xbf\xbf",
    "surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80",
}
NUL = {"NUL alone": b"\0", "NUL inside": b"a\0b", "NUL last": b"a\0"}

FIELDS = {
    "client id": lambda s: p.connect(s),
    "will topic": lambda s: p.connect("id", will=(s, b"x", 0, False)),
    "user name": lambda s: p.connect("id", username=s),
    "PUBLISH topic": lambda s: p.publish(s, b"x"),
    "SUBSCRIBE filter": lambda s: p.subscribe(1, (s, 0)),
    "second SUBSCRIBE filter": lambda s: p.subscribe(1, ("good", 0), (s, 0)),
    "UNSUBSCRIBE filter": lambda s: p.unsubscribe(1, s),
}


def refused(broker, connect, data):
    """The connection ends without an answer; a bystander notices nothing."""
    bystander = connect("bystander")
    if data[0] >> 4 == p.CONNECT:
        with broker.raw() as c:
            c.send(data)
            assert [x for x in c.expect_close() if x.code != 2] == [], "an accepted or answered packet"
    else:
        c = connect("c")
        c.send(data)
        c.expect_closed_silently()
    bystander.ping()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ILL_FORMED)
def test_mqtt_1_5_3_1_ill_formed_utf8_closes(broker, connect, field, kind):
    refused(broker, connect, FIELDS[field](ILL_FORMED[kind]))


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", NUL)
def test_mqtt_1_5_3_2_nul_closes(broker, connect, field, kind):
    refused(broker, connect, FIELDS[field](NUL[kind]))


def test_mqtt_1_5_3_3_bom_is_kept(connect, name):
    c = connect()
    c.subscribe(name + "/\ufefft")
    c.publish(name + "/t", b"without")
    c.publish(name + "/\ufefft", b"with")
    c.recv_publish(name + "/\ufefft", b"with")


@pytest.mark.parametrize("text", ["\u0800", "\ufffd", "\U00010000", "\U0010fffd", "\ud7ff", "\ue000"])
def test_mqtt_1_5_3_1_edges_of_utf8_are_accepted(connect, name, text):
    c = connect()
    c.subscribe(f"{name}/{text}")
    c.publish(f"{name}/{text}", b"x")
    c.recv_publish(f"{name}/{text}")


BODIES = {p.PUBACK: b"\0\1", p.PUBREC: b"\0\1", p.PUBREL: b"\0\1", p.PUBCOMP: b"\0\1", p.SUBSCRIBE: b"\0\1\0\1a\0", p.UNSUBSCRIBE: b"\0\1\0\1a",
          p.PINGREQ: b"", p.DISCONNECT: b""}


def invalid_flags():
    for ptype in BODIES:
        marks = pytest.mark.sealmqd_only("mosquitto 2.0.11 does not look") if ptype in (p.PUBACK, p.PUBREC, p.PUBCOMP, p.PINGREQ) else ()
        for flags in range(16):
            if flags != p.FLAGS.get(ptype, 0):
                yield pytest.param(ptype, flags, marks=marks, id=f"{p.NAMES[ptype]}-{flags}")


@pytest.mark.parametrize("ptype,flags", invalid_flags())
def test_mqtt_2_2_2_2_invalid_flags_close(connect, ptype, flags):
    """Reserved flag bits have one value [MQTT-2.2.2-1]; any other closes."""
    c = connect()
    c.send(p.packet(ptype, BODIES[ptype], flags=flags))
    c.expect_closed_silently()


@pytest.mark.parametrize("flags", range(1, 16))
def test_mqtt_2_2_2_2_invalid_flags_of_connect_close(broker, flags):
    with broker.raw() as c:
        c.send(p.connect("id", header_flags=flags))
        c.expect_closed_silently()


@pytest.mark.sealmqd_only("mosquitto takes some of them as a bridge's")
@pytest.mark.parametrize("ptype", [0, p.CONNACK, p.SUBACK, p.UNSUBACK, p.PINGRESP, 15])
@pytest.mark.parametrize("body", [b"", b"\0\1", b"\0\1\0"])
def test_mqtt_2_2_1_types_that_no_client_sends_close(connect, ptype, body):
    c = connect()
    c.send(p.packet(ptype, body))
    c.expect_closed_silently()


@pytest.mark.parametrize("first", [0x30, 0x32, 0x82, 0xc0, 0x40, 0x00, 0xf0])
@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff\x01", b"\x80\x80\x80\x80\x00", b"\xff\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff"],
                         ids=["ff01", "8000", "ff7f", "ffff"])
def test_mqtt_2_2_3_remaining_length_of_five_bytes_closes(connect, first, length):
    c = connect()
    c.send(bytes([first]) + length)
    c.expect_closed_silently()


def test_mqtt_2_2_3_remaining_length_of_five_bytes_in_connect_closes(broker):
    with broker.raw() as c:
        c.send(b"\x10\x80\x80\x80\x80\x01")
        c.expect_closed_silently()


@pytest.mark.parametrize("length", [127, 128, 16383, 16384, 2097151, 2097152])
def test_mqtt_2_2_3_remaining_length_at_each_width(connect, name, length):
    c = connect()
    c.subscribe(name)
    payload = bytes(length - 2 - len(name))
    c.send(p.publish(name, payload))
    assert len(c.recv_publish(name).payload) == len(payload)


@pytest.mark.parametrize("data", [p.publish("t", b"x", 1, pid=0), p.publish("t", b"x", 2, pid=0), p.subscribe(0, ("t", 0)), p.unsubscribe(0, "t")],
                         ids=["PUBLISH 1", "PUBLISH 2", "SUBSCRIBE", "UNSUBSCRIBE"])
def test_mqtt_2_3_1_1_packet_identifier_0_closes(connect, data):
    c = connect()
    c.send(data)
    c.expect_closed_silently()


def test_mqtt_2_3_1_4_server_uses_unused_identifiers(connect, name):
    """While deliveries are in flight, no identifier comes twice."""
    c = connect()
    c.subscribe((name, 2))
    for i in range(20):
        c.publish(name, b"x", i % 2 + 1)
    got = [c.recv_publish(ack=False) for _ in range(20)]
    assert len({m.pid for m in got}) == 20
    assert all(m.pid for m in got)


def test_mqtt_2_3_1_5_qos0_publish_has_no_identifier(connect, name):
    """The payload begins right behind the topic, both ways."""
    c = connect()
    c.subscribe((name, 2))
    c.send(p.publish(name, b"\0\1payload"))
    c.recv_publish(name, b"\0\1payload", 0)


@pytest.mark.parametrize("pid", [1, 255, 256, 65535])
def test_mqtt_2_3_1_6_and_7_acknowledgements_carry_the_identifier(connect, name, pid):
    c = connect()
    c.send(p.publish(name, b"x", 1, pid=pid))
    c.expect(p.PUBACK, pid)
    c.send(p.publish(name, b"x", 2, pid=pid))
    c.expect(p.PUBREC, pid)
    c.send(p.ack(p.PUBREL, pid))
    c.expect(p.PUBCOMP, pid)
    c.send(p.subscribe(pid, (name, 0)))
    c.expect(p.SUBACK, pid)
    c.send(p.unsubscribe(pid, name))
    c.expect(p.UNSUBACK, pid)
