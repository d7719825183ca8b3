"""QoS 0, 1 and 2 in both directions: handshakes, redelivery with DUP, order, the in-flight window."""
import itertools

import pytest

from lib import packets as p

WINDOW = 20         # max_inflight_messages of the tests' brokers


def numbered(payloads):
    return [int(x) for x in payloads]


@pytest.mark.parametrize("sub_qos", [0, 1, 2])
@pytest.mark.parametrize("pub_qos", [0, 1, 2])
def test_delivery_at_the_lower_qos(connect, name, pub_qos, sub_qos):
    sub, pub = connect("s"), connect("p")
    assert sub.subscribe((name, sub_qos)) == [sub_qos]
    pub.publish(name, b"hello", pub_qos)
    sub.recv_publish(name, b"hello", min(pub_qos, sub_qos), retain=False, dup=False)
    sub.ping()
    assert not sub.inbox


@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledged_without_a_subscriber(connect, name, qos):
    connect().publish(name, b"x", qos)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_client_hears_itself(connect, name, qos):
    c = connect()
    c.subscribe((name, qos))
    c.publish(name, b"me", qos)
    c.recv_publish(name, b"me", qos)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_zero_length_payload(connect, name, qos):
    c = connect()
    c.subscribe((name, 2))
    c.publish(name, b"", qos)
    c.recv_publish(name, b"", qos)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_order_of_many(connect, name, qos, clean):
    """Many messages of one publisher arrive in order, each once, whatever leaves in between."""
    sub, pub = connect("s", clean=clean), connect("p")
    sub.subscribe((name, qos))
    n = 100 if qos == 2 else 500
    for i in range(n):
        pub.send(p.publish(name, str(i), qos, pid=i + 1 if qos else None))
        if qos == 2 and i % WINDOW == WINDOW - 1:
            for k in range(i - WINDOW + 1, i + 1):
                pub.wait_for(p.PUBREC, k + 1)
                pub.send(p.ack(p.PUBREL, k + 1))
    assert numbered(sub.recv_payloads(n)) == list(range(n))
    if qos == 1:
        assert [pub.expect(p.PUBACK).pid for _ in range(n)] == list(range(1, n + 1))
    if qos == 2:
        assert [pub.expect(p.PUBCOMP).pid for _ in range(n)] == list(range(1, n + 1))


@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledgements_leave_in_the_order_of_arrival(connect, name, qos):
    """Some of these wait for the store (a persistent receiver), some wait for nothing: their order stays [MQTT-4.6.0-2, -3]."""
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name + "/kept", qos))
    topics = itertools.cycle([name + "/kept", name + "/nobody", name + "/kept", name + "/nobody", name + "/nobody"])
    n = 20 if qos == 2 else 60
    pub.send(b"".join(p.publish(next(topics), b"x", qos, pid=i) for i in range(1, n + 1)))
    wanted = p.PUBACK if qos == 1 else p.PUBREC
    assert [pub.expect(wanted).pid for _ in range(n)] == list(range(1, n + 1))
    if qos == 2:
        pub.send(b"".join(p.ack(p.PUBREL, i) for i in range(1, n + 1)))
        assert [pub.expect(p.PUBCOMP).pid for _ in range(n)] == list(range(1, n + 1))
        assert len(sub.recv_payloads(8)) == 8


@pytest.mark.sealmqd_only("mosquitto holds the PUBREC back beyond its own window")
def test_a_publisher_may_have_many_qos2_in_flight(connect, name):
    """3.1.1 knows no receive maximum: each PUBLISH gets its PUBREC though no PUBREL has come yet."""
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, 1))
    n = 500
    pub.send(b"".join(p.publish(name, str(i), 2, pid=i) for i in range(1, n + 1)))
    assert [pub.expect(p.PUBREC).pid for _ in range(n)] == list(range(1, n + 1))
    pub.send(b"".join(p.ack(p.PUBREL, i) for i in range(1, n + 1)))
    assert [pub.expect(p.PUBCOMP).pid for _ in range(n)] == list(range(1, n + 1))
    assert numbered(sub.recv_payloads(n)) == list(range(1, n + 1))


@pytest.mark.parametrize("qos", [1, 2])
def test_in_flight_window_holds_the_rest_back(connect, name, qos):
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, qos))
    for i in range(WINDOW + 10):
        pub.publish(name, str(i), qos)
    first = [sub.wait_for(p.PUBLISH) for _ in range(WINDOW)]
    assert numbered(m.payload for m in first) == list(range(WINDOW))
    assert len({m.pid for m in first}) == WINDOW
    sub.expect_nothing()
    for i in range(10):
        sub.acknowledge(first[i])
        assert int(sub.wait_for(p.PUBLISH).payload) == WINDOW + i
    for m in first[10:]:
        sub.acknowledge(m)


def test_acknowledgements_out_of_order(connect, name):
    """A receiver may answer in any order; each answer frees its own place."""
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, 1))
    for i in range(WINDOW * 2):
        pub.publish(name, str(i), 1)
    first = [sub.wait_for(p.PUBLISH) for _ in range(WINDOW)]
    for m in reversed(first):
        sub.acknowledge(m)
    second = [sub.recv_publish() for _ in range(WINDOW)]
    assert numbered(m.payload for m in first + second) == list(range(WINDOW * 2))


def test_qos1_is_redelivered_with_dup_and_its_identifier(connect, name):
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name, 1))
    for i in range(5):
        pub.publish(name, str(i), 1)
    first = [sub.recv_publish(ack=False, dup=False) for _ in range(5)]
    sub.acknowledge(first[2])
    sub.ping()
    sub.drop()
    sub = connect("s", clean=False)
    assert sub.connack.session_present
    again = [sub.recv_publish(ack=False, dup=True, qos=1) for _ in range(4)]
    kept = [first[i] for i in (0, 1, 3, 4)]
    assert [(m.pid, m.payload) for m in again] == [(m.pid, m.payload) for m in kept]
    for m in again:
        sub.acknowledge(m)
    sub.ping()
    sub.drop()
    sub = connect("s", clean=False)
    sub.ping()
    assert not sub.inbox, "acknowledged messages came again"


def test_what_never_left_comes_without_dup(connect, name):
    """Behind a full window nothing has been sent yet: after the reconnect the first come with DUP, the rest without."""
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name, 1))
    for i in range(WINDOW + 5):
        pub.publish(name, str(i), 1)
    for _ in range(WINDOW):
        sub.recv_publish(ack=False)
    sub.drop()
    sub = connect("s", clean=False)
    got = [sub.recv_publish() for _ in range(WINDOW + 5)]
    assert numbered(m.payload for m in got) == list(range(WINDOW + 5))
    assert [m.dup for m in got] == [True] * WINDOW + [False] * 5


def test_qos2_outbound_resumes_at_each_step(connect, name):
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name, 2))
    pub.publish(name, b"once", 2)
    m = sub.recv_publish(ack=False, qos=2, dup=False)
    sub.drop()
    sub = connect("s", clean=False)                             # no PUBREC was sent: PUBLISH again
    again = sub.recv_publish(payload=b"once", ack=False, qos=2, dup=True)
    assert again.pid == m.pid
    sub.send(p.ack(p.PUBREC, m.pid))
    sub.expect(p.PUBREL, m.pid)
    sub.drop()
    sub = connect("s", clean=False)                             # PUBREC was sent: PUBREL again, never PUBLISH
    sub.expect(p.PUBREL, m.pid)
    sub.send(p.ack(p.PUBCOMP, m.pid))
    sub.ping()
    sub.drop()
    sub = connect("s", clean=False)
    sub.ping()
    assert not sub.inbox


def test_qos2_repeated_pubrec_gets_pubrel_again(connect, name):
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, 2))
    pub.publish(name, b"once", 2)
    m = sub.recv_publish(ack=False)
    for _ in range(3):
        sub.send(p.ack(p.PUBREC, m.pid))
        sub.expect(p.PUBREL, m.pid)
    sub.send(p.ack(p.PUBCOMP, m.pid))
    sub.ping()


def test_qos2_inbound_is_delivered_once(connect, name):
    sub = connect("s")
    sub.subscribe((name, 2), (name + "/fence", 2))
    pub = connect("p", clean=False)
    pub.send(p.publish(name, b"once", 2, pid=77))
    pub.expect(p.PUBREC, 77)
    pub.send(p.publish(name, b"once", 2, dup=True, pid=77))     # the same connection repeats
    pub.expect(p.PUBREC, 77)
    pub.drop()
    pub = connect("p", clean=False)                             # and so does the next one
    assert pub.connack.session_present
    pub.send(p.publish(name, b"once", 2, dup=True, pid=77))
    pub.expect(p.PUBREC, 77)
    pub.send(p.ack(p.PUBREL, 77))
    pub.expect(p.PUBCOMP, 77)
    pub.send(p.ack(p.PUBREL, 77))                               # a repeated PUBREL is answered too
    pub.expect(p.PUBCOMP, 77)
    pub.publish(name + "/fence", b"", 2)
    assert [sub.recv_publish().topic for _ in range(2)] == [name, name + "/fence"]


def test_qos2_identifier_may_be_reused_after_pubcomp(connect, name):
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, 2))
    for i in range(5):
        pub.publish(name, str(i), 2, pid=9)
    assert numbered(sub.recv_payloads(5)) == list(range(5))


def test_qos2_discarded_session_forgets_identifiers(connect, name):
    """After a clean CONNECT the same identifier is a new message."""
    sub = connect("s")
    sub.subscribe((name, 2))
    pub = connect("p", clean=False)
    pub.send(p.publish(name, b"first", 2, pid=5))
    pub.expect(p.PUBREC, 5)
    pub.drop()
    connect("p", clean=True).disconnect()
    pub = connect("p", clean=False)
    assert not pub.connack.session_present
    pub.publish(name, b"second", 2, pid=5)
    got = {sub.recv_publish().payload}          # the first was delivered at its PUBREC or is gone with its session
    if got == {b"first"}:
        got = {sub.recv_publish().payload}
    assert got == {b"second"}


def test_pubrel_of_an_unknown_identifier_is_completed(connect, name):
    """The first PUBCOMP may have been lost: PUBREL always gets one, or its sender would be stuck [MQTT-4.3.3-2]."""
    c = connect()
    c.send(p.ack(p.PUBREL, 4713))
    c.expect(p.PUBCOMP, 4713)
    c.subscribe((name, 1))
    c.publish(name, b"still here", 1)
    c.recv_publish(name, b"still here")


def test_identifiers_of_both_directions_are_apart(connect, name):
    """The broker's packet identifiers and the client's may be equal at the same time [MQTT-2.3.1-4]."""
    c = connect()
    c.subscribe((name, 2))
    c.send(p.publish(name, b"a", 2, pid=1))
    c.expect(p.PUBREC, 1)
    c.send(p.ack(p.PUBREL, 1))
    c.wait_for(p.PUBCOMP, 1)
    m = c.recv_publish(ack=False)
    c.send(p.publish(name + "/other", b"b", 2, pid=m.pid))
    c.expect(p.PUBREC, m.pid)
    c.send(p.ack(p.PUBREC, m.pid))
    c.expect(p.PUBREL, m.pid)
    c.send(p.ack(p.PUBREL, m.pid))
    c.expect(p.PUBCOMP, m.pid)
    c.send(p.ack(p.PUBCOMP, m.pid))
    c.ping()


@pytest.mark.sealmqd_only("mosquitto 2.0.11 uses an identifier again that is in flight")
def test_packet_identifiers_go_round(connect, name):
    """More than 65,535 QoS 1 deliveries on one session: no identifier 0, none in use twice."""
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, 1))
    n, batch, in_flight = 66000, 500, set()
    held = None
    for start in range(0, n, batch):
        pub.send(b"".join(p.publish(name, b"", 1, pid=(start + i) % 65535 + 1) for i in range(batch)))
        for _ in range(batch):
            m = sub.wait_for(p.PUBLISH)
            assert m.pid not in in_flight
            if held is None:
                held = m                # one stays in flight all the time: its identifier must be passed over
                in_flight.add(m.pid)
            else:
                sub.acknowledge(m)
        for _ in range(batch):
            pub.expect(p.PUBACK)
    sub.acknowledge(held)
    sub.ping()


def test_qos0_to_a_reader_that_is_slow_does_not_hold_up_others(connect, name):
    slow, quick, pub = connect("slow"), connect("quick"), connect("p")
    slow.subscribe((name, 0))
    quick.subscribe((name, 0), (name + "/fence", 0))
    payload = bytes(50000)
    for _ in range(200):                # 10 MB: more than the sockets hold; `slow` reads nothing meanwhile
        pub.publish(name, payload)
    pub.publish(name + "/fence", b"end")
    got = 0
    while quick.recv_publish().topic == name:
        got += 1
    assert got == 200
    pub.ping()
    assert slow.is_alive()
