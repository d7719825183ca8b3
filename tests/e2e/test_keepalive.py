"""Keepalive × 1.5 and PINGREQ."""
import time

import pytest

from lib import env, packets as p

STORES = (0,)


def test_silence_ends_the_connection(connect, broker):
    """keepalive 1: alive within 1 s, closed after 1.5 s (never sooner) [MQTT-3.1.2-24]."""
    mark = broker.log_mark()
    c = connect(keepalive=1)
    since = time.monotonic()
    c.expect_closed_silently()
    assert time.monotonic() - since >= 1.4
    if not env.MOSQUITTO:
        broker.wait_log(r"keep.?alive|time[d]? ?out", mark)


def test_any_packet_keeps_it_alive(connect, name):
    kinds = [p.pingreq(), p.publish(name, b"x"), p.ack(p.PUBREL, 1), p.unsubscribe(4, name + "/none"), p.subscribe(3, (name + "/none", 0))]
    clients = [(connect(str(i), keepalive=1), data) for i, data in enumerate(kinds)]
    for _ in range(4):
        time.sleep(0.6)
        for c, data in clients:
            c.send(data)
    for c, _ in clients:
        c.ping()


def test_receiving_does_not_keep_it_alive(connect, name):
    """Only what the client sends counts."""
    c, pub = connect("c", keepalive=1), connect("p")
    c.subscribe(name)
    ended = time.monotonic() + 10 * env.SLOW
    while time.monotonic() < ended:
        pub.publish(name, b"tick")
        try:
            c.expect_close(timeout=0.2)
            return
        except AssertionError:
            c.inbox.clear()
    pytest.fail("still connected")


def test_zero_means_never(connect):
    c = connect("zero", keepalive=0)
    brief = connect("brief", keepalive=1)
    brief.expect_close()
    c.ping()


def test_greatest(connect):
    connect(keepalive=65535).ping()


def test_a_partial_packet_does_not_keep_it_alive(connect, name):
    """Bytes that never become a packet are no Control Packet."""
    c = connect(keepalive=1)
    whole = p.publish(name, bytes(100))
    try:
        for i in range(60):
            c.send(whole[i:i + 1])
            time.sleep(0.1)
    except Exception:               # noqa: BLE001 - closed while sending is what is wanted
        pass
    c.expect_close()


def test_pingresp(connect):
    c = connect()
    c.send(p.pingreq() * 50)
    for _ in range(50):
        c.expect(p.PINGRESP)
