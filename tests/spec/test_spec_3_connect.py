"""MQTT 3.1.1, 3.1 CONNECT and 3.2 CONNACK."""
import struct

import pytest

from lib import packets as p


def refused_silently(broker, data):
    with broker.raw() as c:
        c.send(data)
        c.expect_closed_silently()


@pytest.mark.parametrize("ptype", [t for t in range(16) if t != p.CONNECT], ids=lambda t: p.NAMES[t])
def test_mqtt_3_1_0_1_first_packet_must_be_connect(broker, ptype):
    bodies = {p.PUBLISH: p.string("t") + b"x", p.SUBSCRIBE: b"\0\1\0\1a\0", p.UNSUBSCRIBE: b"\0\1\0\1a", p.PINGREQ: b"", p.DISCONNECT: b""}
    refused_silently(broker, p.packet(ptype, bodies.get(ptype, b"\0\1")))


def test_mqtt_3_1_0_2_second_connect_closes(connect, name):
    c = connect()
    c.send(p.connect(name))
    c.expect_closed_silently()


def test_mqtt_3_1_0_2_second_connect_in_the_same_record_closes(broker, name):
    with broker.raw() as c:
        c.send(p.connect(name) + p.connect(name))
        assert [x.type for x in c.expect_close()] in ([p.CONNACK], [])


@pytest.mark.parametrize("protocol", ["", "M", "MQT", "mqtt", "MQTX", "MQTTT", "MQIsdP", "HTTP", "MQTT\0", "M" * 60000], ids=lambda s: repr(s[:8]))
def test_mqtt_3_1_2_1_unknown_protocol_name_closes(broker, name, protocol):
    refused_silently(broker, p.connect(name, name=protocol))


@pytest.mark.parametrize("protocol,level", [("MQTT", 0), ("MQTT", 3), ("MQTT", 6), ("MQTT", 255), ("MQIsdp", 4), ("MQIsdp", 2)])
def test_mqtt_3_1_2_2_unknown_level_gets_connack_1(broker, name, protocol, level):
    with broker.raw() as c:
        c.connect(name, name=protocol, level=level, expect=1)
        c.expect_closed_silently()


@pytest.mark.sealmqd_only("mosquitto speaks MQTT 5")
def test_mqtt_3_1_2_2_level_5_gets_connack_1(broker, name):
    with broker.raw() as c:
        body = p.string("MQTT") + b"\5\2\0\x3c" + b"\0" + p.string(name)        # as a client of MQTT 5 writes it
        c.send(p.packet(p.CONNECT, body))
        assert c.expect(p.CONNACK).body == b"\0\1"
        c.expect_closed_silently()


@pytest.mark.parametrize("flags", [0x01, 0x03, 0xc3])
def test_mqtt_3_1_2_3_reserved_flag_closes(broker, name, flags):
    refused_silently(broker, p.connect(name, username="u", password="p", connect_flags=flags))


def test_mqtt_3_1_2_4_clean_0_resumes_or_creates(connect):
    c = connect(clean=False)
    assert c.connack.session_present == 0
    c.disconnect()
    assert connect(clean=False).connack.session_present == 1


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_3_1_2_5_messages_are_stored_after_the_disconnect(connect, name, qos):
    c = connect("s", clean=False)
    c.subscribe((name, qos))
    c.disconnect()
    connect("p").publish(name, b"x", qos)
    connect("s", clean=False).recv_publish(name, b"x", qos)


def test_mqtt_3_1_2_6_clean_1_discards_the_former_session(connect, name):
    c = connect("s", clean=False)
    c.subscribe((name, 1))
    c.disconnect()
    c = connect("s", clean=True)
    assert c.connack.session_present == 0
    connect("p").publish(name, b"x", 1)
    c.ping()
    assert not c.inbox
    c.disconnect()
    assert connect("s", clean=False).connack.session_present == 0


def test_mqtt_3_1_2_7_retained_messages_outlive_the_session(connect, name):
    connect("p", clean=True).publish(name, b"x", 1, retain=True)
    connect("p", clean=True).disconnect()
    s = connect("s")
    s.subscribe((name, 1))
    s.recv_publish(name, b"x", retain=True)


def test_mqtt_3_1_2_8_will_is_published(connect, name):
    w = connect("w")
    w.subscribe((name, 1))
    connect("c", will=(name, b"gone", 1, False)).drop()
    w.recv_publish(name, b"gone", 1)


def test_mqtt_3_1_2_9_will_fields_are_used(connect, name):
    w = connect("w")
    w.subscribe((name, 2))
    connect("c", will=(name, b"\x00\xff\xfe", 2, True), username="u", password=b"\0p").drop()
    w.recv_publish(name, b"\x00\xff\xfe", 2)


def test_mqtt_3_1_2_10_will_goes_with_disconnect(connect, name):
    w = connect("w")
    w.subscribe((name, 1))
    connect("c", will=(name, b"gone", 1, False)).disconnect()
    connect("f").publish(name, b"fence", 1)
    w.recv_publish(name, b"fence")


@pytest.mark.parametrize("flags", [0x0a, 0x12, 0x1a, 0x22, 0x2a, 0x3a], ids=hex)
def test_mqtt_3_1_2_11_will_bits_without_will_flag_close(broker, name, flags):
    """QoS [MQTT-3.1.2-13] and retain [MQTT-3.1.2-15] must be 0 without the will flag."""
    refused_silently(broker, p.connect(name, connect_flags=flags))


def test_mqtt_3_1_2_12_no_will_without_will_flag(connect, name):
    w = connect("w")
    w.subscribe((name + "/#", 1))
    c = connect("c")
    c.drop()
    connect("f").publish(name + "/fence", b"", 1)
    w.recv_publish(name + "/fence")


@pytest.mark.parametrize("retain", [False, True])
def test_mqtt_3_1_2_14_will_qos_3_closes(broker, name, retain):
    refused_silently(broker, p.connect(name, will=("t", b"x", 3, retain)))


@pytest.mark.parametrize("retain", [False, True])
def test_mqtt_3_1_2_16_and_17_will_retain(connect, name, retain):
    w = connect("w")
    w.subscribe((name, 1))
    connect("c", will=(name, b"gone", 1, retain)).drop()
    w.recv_publish(name, b"gone", retain=False)
    late = connect("late")
    late.subscribe((name, 1))
    if retain:
        late.recv_publish(name, b"gone", retain=True)
    late.ping()
    assert not late.inbox


def test_mqtt_3_1_2_18_user_name_without_its_flag_closes(broker, name):
    """A field that no flag announces is a length that does not fit."""
    refused_silently(broker, p.connect(name, username="u", connect_flags=0x02))


def test_mqtt_3_1_2_19_user_name_flag_without_the_field_closes(broker, name):
    refused_silently(broker, p.connect(name, connect_flags=0x82))


def test_mqtt_3_1_2_20_password_without_its_flag_closes(broker, name):
    refused_silently(broker, p.connect(name, username="u", password="p", connect_flags=0x82))


def test_mqtt_3_1_2_21_password_flag_without_the_field_closes(broker, name):
    refused_silently(broker, p.connect(name, username="u", connect_flags=0xc2))


def test_mqtt_3_1_2_22_password_without_user_name_closes(broker, name):
    refused_silently(broker, p.connect(name, password="p"))


@pytest.mark.parametrize("password", [b"", b"\0\1\2\xff\xfe\xc0", b"x" * 50000], ids=["empty", "binary", "long"])
def test_mqtt_3_1_3_5_password_is_binary(broker, name, password):
    with broker.client(name, username="u", password=password) as c:
        c.ping()


def test_mqtt_3_1_2_24_keepalive(connect):
    c = connect(keepalive=1)
    c.expect_closed_silently()


@pytest.mark.parametrize("cut", range(56))
def test_mqtt_3_1_3_1_fields_are_in_order_and_whole(broker, name, cut):
    """A CONNECT with every field, its remaining length and bytes cut short anywhere: never accepted."""
    whole = p.connect("id", will=("will/topic", b"will payload", 1, False), username="user", password="password")
    body = whole[2:]
    assert cut < len(body) == 56
    refused_silently(broker, p.packet(p.CONNECT, body[:cut]))


@pytest.mark.parametrize("tail", [b"\0", b"\0\0", b"\0\1x", b"x" * 100])
def test_mqtt_3_1_3_1_bytes_behind_the_last_field_close(broker, name, tail):
    refused_silently(broker, p.connect(name, tail=tail))


def test_mqtt_3_1_3_2_client_id_names_the_session(connect, name):
    connect("a", clean=False).disconnect()
    assert connect("b", clean=False).connack.session_present == 0
    assert connect("a", clean=False).connack.session_present == 1


def test_mqtt_3_1_3_3_client_id_must_be_present(broker):
    refused_silently(broker, p.packet(p.CONNECT, p.string("MQTT") + b"\4\2\0\x3c"))


@pytest.mark.parametrize("client_id", [b"\xff", b"a\0b", b"\xed\xa0\x80"])
def test_mqtt_3_1_3_4_client_id_must_be_utf8(broker, client_id):
    with broker.raw() as c:
        c.send(p.connect(client_id))
        assert [x for x in c.expect_close() if x.code != 2] == []


@pytest.mark.parametrize("client_id", ["0", "a", "Z", "0123456789abcdefghijklm", "ABCDEFGHIJKLMNOPQRSTUVW", "nopqrstuvwxyzXYZ"])
def test_mqtt_3_1_3_5_1_to_23_letters_and_digits_are_allowed(broker, client_id):
    broker.client(client_id).disconnect()


def test_mqtt_3_1_3_6_empty_client_id_gets_a_unique_one(broker):
    with broker.client("") as a, broker.client("") as b:
        a.ping()
        b.ping()


def test_mqtt_3_1_3_7_empty_client_id_is_never_a_stored_session(broker):
    for _ in range(2):
        with broker.client("", clean=True) as c:
            assert c.connack.session_present == 0


def test_mqtt_3_1_3_8_empty_client_id_with_clean_0_gets_connack_2(broker):
    with broker.raw() as c:
        c.connect("", clean=False, expect=2)
        assert c.connack.session_present == 0
        c.expect_closed_silently()


@pytest.mark.sealmqd_only("mosquitto does not tell identities apart")
def test_mqtt_3_1_3_9_refused_client_id_gets_connack_2(broker, name):
    with broker.client(name, "device1"), broker.raw("device2") as other:
        other.connect(name, expect=2)
        other.expect_closed_silently()


@pytest.mark.parametrize("topic", [b"\xff", b"a\0b", b"\xed\xa0\x80"])
def test_mqtt_3_1_3_10_will_topic_must_be_utf8(broker, name, topic):
    refused_silently(broker, p.connect(name, will=(topic, b"x", 0, False)))


@pytest.mark.parametrize("topic", ["a/#", "+", "#", "", "a/+/b"])
def test_mqtt_3_1_3_10_will_topic_must_be_a_topic_name(broker, name, topic):
    refused_silently(broker, p.connect(name, will=(topic, b"x", 0, False)))


@pytest.mark.parametrize("username", [b"\xff", b"a\0b", b"\xed\xa0\x80"])
def test_mqtt_3_1_3_11_user_name_must_be_utf8(broker, name, username):
    refused_silently(broker, p.connect(name, username=username))


def test_mqtt_3_1_4_1_connect_is_validated_first(broker, connect, name):
    """A malformed CONNECT with a live client id disturbs nobody."""
    c = connect(clean=False)
    refused_silently(broker, p.connect(name, tail=b"x"))
    refused_silently(broker, p.connect(name, clean=True, connect_flags=0x03))
    c.ping()


def test_mqtt_3_1_4_2_take_over_disconnects_the_former(connect):
    first = connect()
    second = connect()
    first.expect_closed_silently()
    second.ping()


def test_mqtt_3_1_4_3_clean_session_processing_precedes_the_connack(connect, name):
    s = connect("s", clean=False)
    s.subscribe((name, 1))
    s.disconnect()
    connect("s", clean=True)
    pub = connect("p")
    pub.publish(name, b"x", 1)
    assert connect("s", clean=False).connack.session_present == 0


def test_mqtt_3_1_4_4_accepted_gets_connack_0(broker, name):
    with broker.raw() as c:
        c.send(p.connect(name))
        assert c.recv().body == b"\0\0"


@pytest.mark.parametrize("bad", [p.connect("rejected", level=9), p.connect("", clean=False)])
def test_mqtt_3_1_4_5_nothing_behind_a_rejected_connect_is_processed(broker, connect, name, bad):
    w = connect("w")
    w.subscribe((name, 1))
    with broker.raw() as c:
        c.send(bad + p.publish(name, b"no") + p.subscribe(1, (name, 0)) + p.pingreq())
        assert [x.type for x in c.expect_close()] == [p.CONNACK]
    w.publish(name, b"fence", 1)
    w.recv_publish(name, b"fence")


def test_mqtt_3_2_0_1_connack_is_the_first_packet(connect, broker, name):
    """Even when a queue waits and packets are pipelined."""
    s = connect("s", clean=False)
    s.subscribe((name, 1))
    s.disconnect()
    pub = connect("p")
    for i in range(10):
        pub.publish(name, str(i), 1)
    with broker.raw() as c:
        c.send(p.connect(name + "s", clean=False) + p.pingreq())
        assert c.recv().type == p.CONNACK
        assert [int(x) for x in c.recv_payloads(10)] == list(range(10))


def test_mqtt_3_2_2_1_clean_1_has_session_present_0(connect):
    connect(clean=False).disconnect()
    assert connect(clean=True).connack.body == b"\0\0"


def test_mqtt_3_2_2_2_stored_session_has_session_present_1(connect):
    connect(clean=False).disconnect()
    assert connect(clean=False).connack.body == b"\1\0"


def test_mqtt_3_2_2_3_no_stored_session_has_session_present_0(connect):
    assert connect(clean=False).connack.body == b"\0\0"


def test_mqtt_3_2_2_4_refusal_has_session_present_0(connect, broker, name):
    connect(clean=False).disconnect()
    with broker.raw() as c:
        c.send(p.connect(name, clean=False, level=77))
        assert c.recv().body == b"\0\1"


def test_mqtt_3_2_2_5_refusal_closes(broker, name):
    with broker.raw() as c:
        c.connect(name, level=77, expect=1)
        c.expect_closed_silently()


def test_mqtt_3_2_2_6_where_no_code_applies_it_closes_without_connack(broker, name):
    refused_silently(broker, p.packet(p.CONNECT, struct.pack("!H", 4) + b"MQTT\4\2"))
