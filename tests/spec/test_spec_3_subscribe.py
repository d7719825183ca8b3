"""MQTT 3.1.1, 3.8 SUBSCRIBE to 3.14 DISCONNECT."""
import pytest

from lib import packets as p

BAD_FILTERS = ["", "a#", "#a", "a/#/b", "#/", "##", "a/b#", "a/##", "a+", "+a", "a/+b", "a/b+/c", "++", "+/a+", "a/#+", "+#"]


def closes(c, data):
    c.send(data)
    c.expect_closed_silently()


@pytest.mark.parametrize("flags", [0, 1, 3, 4, 6, 8, 10, 15])
def test_mqtt_3_8_1_1_subscribe_flags(connect, name, flags):
    closes(connect(), p.subscribe(1, (name, 0), flags=flags))


@pytest.mark.parametrize("filter_", [b"\xff", b"a\0", b"\xed\xa0\x80"], ids=["invalid", "NUL", "surrogate"])
def test_mqtt_3_8_3_1_filter_must_be_utf8(connect, filter_):
    closes(connect(), p.subscribe(1, (filter_, 0)))


@pytest.mark.parametrize("filter_", ["+", "#", "a/+", "a/#", "+/a", "+/+", "+/#", "/+", "/#", "a/+/b/#"])
def test_mqtt_3_8_3_2_wildcards_are_supported(connect, filter_):
    assert connect().subscribe((filter_, 0)) == [0]


def test_mqtt_3_8_3_3_subscribe_without_a_filter_closes(connect):
    closes(connect(), p.packet(p.SUBSCRIBE, b"\0\1"))


@pytest.mark.parametrize("options", [3, 4, 8, 0x10, 0x20, 0x40, 0x80, 0x81, 0xff], ids=hex)
def test_mqtt_3_8_3_4_reserved_bits_of_the_qos_byte_close(connect, name, options):
    closes(connect(), p.subscribe(1, (name, options)))


@pytest.mark.sealmqd_only("mosquitto subscribes pair by pair")
@pytest.mark.parametrize("options", [3, 0x80], ids=hex)
def test_mqtt_3_8_3_4_and_nothing_of_the_packet_is_kept(connect, name, options):
    """A malformed second pair: the first one subscribes nothing."""
    c = connect("s", clean=False)
    closes(c, p.subscribe(1, (name, 1), (name + "/2", options)))
    connect("p").publish(name, b"x", 1)
    c = connect("s", clean=False)
    c.ping()
    assert not c.inbox


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\1\0", b"\0\1\0\5abc", b"\0\1\0\1a", b"\0\1\0\1a\0\0", b"\0\1\0\1a\0\0\1b", b"\0\1\xff\xffabc\0"],
                         ids=["empty", "half identifier", "half length", "short filter", "no qos", "half second", "second without qos", "65535"])
def test_mqtt_3_8_3_subscribe_lengths_that_do_not_fit_close(connect, body):
    closes(connect(), p.packet(p.SUBSCRIBE, body))


def test_mqtt_3_8_4_1_and_2_suback_has_the_identifier(connect, name):
    c = connect()
    for pid in (1, 300, 65535):
        c.send(p.subscribe(pid, (name, 0)))
        c.expect(p.SUBACK, pid)


def test_mqtt_3_8_4_3_same_filter_replaces_and_resends_the_retained(connect, name):
    c = connect()
    c.publish(name, b"kept", 1, retain=True)
    c.subscribe((name, 0))
    c.recv_publish(name, b"kept", 0, retain=True)
    c.subscribe((name, 1))
    c.recv_publish(name, b"kept", 1, retain=True)
    c.publish(name, b"live", 1)
    c.recv_publish(name, b"live", 1, retain=False)
    c.ping()
    assert not c.inbox


def test_mqtt_3_8_4_3_replacing_does_not_interrupt_the_flow(connect, name):
    s, pub = connect("s"), connect("p")
    s.subscribe((name, 1))
    n = 200
    for i in range(n):
        pub.send(p.publish(name, str(i), 1, pid=i + 1))
        if i % 10 == 5:
            s.send(p.subscribe(s.pid(), (name, 1)))
    assert [int(x) for x in s.recv_payloads(n)] == list(range(n))


def test_mqtt_3_8_4_4_many_filters_are_as_many_packets(connect, name):
    c = connect()
    assert c.subscribe((name + "/a", 0), (name + "/b", 1), (name + "/c", 2)) == [0, 1, 2]
    for i, t in enumerate("abc"):
        c.publish(f"{name}/{t}", b"x", 2)
        c.recv_publish(f"{name}/{t}", qos=i)


def test_mqtt_3_8_4_5_one_code_for_each_filter(connect, name):
    assert len(connect().subscribe(*[(f"{name}/{i}", i % 3) for i in range(100)])) == 100


@pytest.mark.parametrize("granted", [0, 1, 2])
@pytest.mark.parametrize("published", [0, 1, 2])
def test_mqtt_3_8_4_6_delivery_qos_is_the_lower_one(connect, name, granted, published):
    c = connect()
    assert c.subscribe((name, granted)) == [granted]
    c.publish(name, b"x", published)
    c.recv_publish(name, qos=min(granted, published))


def test_mqtt_3_9_3_1_codes_are_in_the_order_of_the_filters(connect, name):
    assert connect().subscribe((name + "/a", 2), (name + "/b", 0), (name + "/c", 1), (name + "/d", 0)) == [2, 0, 1, 0]


def test_mqtt_3_9_3_2_no_other_codes(connect, name):
    """0, 1, 2 or 0x80: the decoder of the tests refuses any other."""
    for qos in range(3):
        connect(str(qos)).subscribe((name, qos), ("$SYS/#", qos), ("#", qos))


@pytest.mark.parametrize("flags", [0, 1, 3, 4, 6, 8, 10, 15])
def test_mqtt_3_10_1_1_unsubscribe_flags(connect, name, flags):
    closes(connect(), p.unsubscribe(1, name, flags=flags))


@pytest.mark.parametrize("filter_", [b"\xff", b"a\0", b"\xed\xa0\x80"], ids=["invalid", "NUL", "surrogate"])
def test_mqtt_3_10_3_1_filter_must_be_utf8(connect, filter_):
    closes(connect(), p.unsubscribe(1, filter_))


def test_mqtt_3_10_3_2_unsubscribe_without_a_filter_closes(connect):
    closes(connect(), p.packet(p.UNSUBSCRIBE, b"\0\1"))


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\1\0", b"\0\1\0\5abc", b"\0\1\0\1a\0", b"\0\1\0\1a\0\2b", b"\0\1\xff\xffabc"],
                         ids=["empty", "half identifier", "half length", "short filter", "half second", "short second", "65535"])
def test_mqtt_3_10_3_unsubscribe_lengths_that_do_not_fit_close(connect, body):
    closes(connect(), p.packet(p.UNSUBSCRIBE, body))


def test_mqtt_3_10_4_1_filters_are_compared_character_by_character(connect, name):
    c = connect()
    c.subscribe((name + "/a", 1), (name + "/+", 0))
    c.unsubscribe(name + "/A", name + "/#", "+/a", name + "/a ")
    c.publish(name + "/a", b"x", 1)
    c.recv_publish(name + "/a", qos=1)
    c.unsubscribe(name + "/a")
    c.publish(name + "/a", b"x", 1)
    c.recv_publish(name + "/a", qos=0)


def test_mqtt_3_10_4_2_nothing_new_after_unsuback(connect, name):
    s, pub = connect("s"), connect("p")
    s.subscribe((name, 1))
    s.unsubscribe(name)
    pub.publish(name, b"x", 1)
    s.ping()
    assert not s.inbox


@pytest.mark.parametrize("qos", [1, 2])
def test_mqtt_3_10_4_3_deliveries_begun_are_completed(connect, name, qos):
    s, pub = connect("s", clean=False), connect("p")
    s.subscribe((name, qos))
    pub.publish(name, b"x", qos)
    s.recv_publish(name, ack=False)
    s.unsubscribe(name)
    s.drop()
    s = connect("s", clean=False)
    s.recv_publish(name, b"x", qos, dup=True)


def test_mqtt_3_10_4_4_and_5_unsuback_always_comes(connect, name):
    c = connect()
    c.send(p.unsubscribe(77, name + "/never/subscribed"))
    c.expect(p.UNSUBACK, 77)


def test_mqtt_3_10_4_6_many_filters_get_one_unsuback(connect, name):
    c = connect()
    c.subscribe(*[f"{name}/{i}" for i in range(10)])
    c.send(p.unsubscribe(9, *[f"{name}/{i}" for i in range(10)]))
    c.expect(p.UNSUBACK, 9)
    for i in range(10):
        c.publish(f"{name}/{i}", b"x", 1)
    c.ping()
    assert not c.inbox


def test_mqtt_3_12_4_1_pingreq_gets_pingresp(connect):
    c = connect()
    c.send(p.pingreq())
    assert c.recv().type == p.PINGRESP


@pytest.mark.sealmqd_only("mosquitto 2.0.11 lets PINGREQ pass")
@pytest.mark.parametrize("body", [b"\0", b"\0\0", b"x" * 130])
@pytest.mark.parametrize("ptype", [p.PINGREQ, p.DISCONNECT], ids=lambda t: p.NAMES[t])
def test_mqtt_3_12_and_3_14_have_no_body(connect, ptype, body):
    closes(connect(), p.packet(ptype, body))


def test_mqtt_3_12_disconnect_with_a_body_is_no_disconnect(connect, name):
    """A malformed DISCONNECT ends the connection as an error: the will goes out."""
    w = connect("w")
    w.subscribe((name, 1))
    closes(connect("c", will=(name, b"gone", 1, False)), p.packet(p.DISCONNECT, b"\0\0"))
    w.recv_publish(name, b"gone")


@pytest.mark.parametrize("flags", [1, 2, 4, 8, 15])
def test_mqtt_3_14_1_1_disconnect_flags(connect, name, flags):
    w = connect("w")
    w.subscribe((name, 1))
    closes(connect("c", will=(name, b"gone", 1, False)), p.packet(p.DISCONNECT, flags=flags))
    w.recv_publish(name, b"gone")


def test_mqtt_3_14_4_1_and_2_server_closes_after_disconnect(connect):
    c = connect()
    closes(c, p.disconnect())


def test_mqtt_3_14_4_2_nothing_behind_disconnect_is_processed(connect, name):
    w = connect("w")
    w.subscribe((name, 1))
    c = connect("c")
    c.send(p.disconnect() + p.publish(name, b"no") + p.pingreq())
    c.expect_closed_silently()
    w.publish(name, b"fence", 1)
    w.recv_publish(name, b"fence")


def test_mqtt_3_14_4_3_will_is_discarded(connect, name):
    w = connect("w")
    w.subscribe((name, 1))
    closes(connect("c", will=(name, b"gone", 1, False)), p.disconnect())
    w.publish(name, b"fence", 1)
    w.recv_publish(name, b"fence")


@pytest.mark.parametrize("filter_", BAD_FILTERS)
def test_mqtt_4_7_1_2_and_3_misplaced_wildcards_close_subscribe(connect, filter_):
    closes(connect(), p.subscribe(1, (filter_, 0)))


@pytest.mark.parametrize("filter_", BAD_FILTERS)
def test_mqtt_4_7_1_2_and_3_misplaced_wildcards_close_unsubscribe(connect, filter_):
    closes(connect(), p.unsubscribe(1, filter_))
