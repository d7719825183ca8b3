"""Wills, in every way that a connection can end."""
import time

import pytest

from lib import env, packets as p


def watcher_of(connect, name):
    w = connect("w")
    w.subscribe((name + "/#", 2))
    return w


def no_will(connect, watcher, name):
    """Nothing but a fence, which another client publishes after the connection is gone, arrives."""
    with connect("fence") as f:
        f.publish(name + "/fence", b"fence", 2)
        f.disconnect()
    watcher.recv_publish(name + "/fence", b"fence")
    watcher.expect_nothing()


@pytest.mark.parametrize("ending", ["drop", "reset"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_network_ends(connect, name, ending, qos):
    w = watcher_of(connect, name)
    c = connect("c", will=(name + "/will", b"gone", qos, False))
    getattr(c, ending)()
    w.recv_publish(name + "/will", b"gone", qos, retain=False)


def test_disconnect_discards_it(connect, name):
    w = watcher_of(connect, name)
    connect("c", will=(name + "/will", b"gone", 1, False)).disconnect()
    no_will(connect, w, name)


def test_close_notify_without_disconnect_sends_it(connect, name):
    w = watcher_of(connect, name)
    c = connect("c", will=(name + "/will", b"gone", 1, False))
    try:
        c.tls.unwrap()
    except Exception:               # noqa: BLE001 - wants the answer, which is not waited for
        pass
    c.send_tcp(c._out.read())
    w.recv_publish(name + "/will", b"gone")


@pytest.mark.parametrize("clean", [True, pytest.param(False, marks=pytest.mark.sealmqd_only("mosquitto forgets this will"))],
                         ids=["clean", "persistent"])
def test_take_over_sends_it(connect, name, clean):
    w = watcher_of(connect, name)
    first = connect("c", clean=clean, will=(name + "/will", b"first", 1, False))
    second = connect("c", clean=clean, will=(name + "/will", b"second", 1, False))
    first.expect_close()
    w.recv_publish(name + "/will", b"first")
    second.disconnect()
    no_will(connect, w, name)


@pytest.mark.parametrize("violation", [pytest.param(p.connect("again"), marks=pytest.mark.sealmqd_only("mosquitto forgets this will")),
                                       p.publish("a/#", b"x"), p.packet(p.CONNACK, b"\0\0"), b"\xf0\0",
                                       p.packet(p.PUBLISH, b"", flags=6)],
                         ids=["second CONNECT", "wildcard topic", "CONNACK", "reserved type", "QoS 3"])
def test_protocol_error_sends_it(connect, name, violation):
    w = watcher_of(connect, name)
    c = connect("c", will=(name + "/will", b"gone", 1, False))
    c.send(violation)
    c.expect_close()
    w.recv_publish(name + "/will", b"gone")


def test_keepalive_timeout_sends_it(connect, name):
    w = watcher_of(connect, name)
    c = connect("c", keepalive=1, will=(name + "/will", b"gone", 1, False))
    w.recv_publish(name + "/will", b"gone")
    c.expect_close()


def test_retained_will(connect, name):
    w = watcher_of(connect, name)
    connect("c", will=(name + "/will", b"gone", 1, True)).drop()
    w.recv_publish(name + "/will", b"gone", 1, retain=False)
    late = connect("late")
    late.subscribe((name + "/will", 2))
    late.recv_publish(name + "/will", b"gone", 1, retain=True)


def test_will_without_retain_leaves_what_is_retained(connect, name):
    w = watcher_of(connect, name)
    w.publish(name + "/will", b"kept", 1, retain=True)
    w.recv_publish(payload=b"kept")
    connect("c", will=(name + "/will", b"gone", 1, False)).drop()
    w.recv_publish(payload=b"gone")
    late = connect("late")
    late.subscribe((name + "/will", 2))
    late.recv_publish(name + "/will", b"kept", retain=True)


def test_empty_retained_will_clears(connect, name):
    w = watcher_of(connect, name)
    w.publish(name + "/will", b"kept", 1, retain=True)
    w.recv_publish(payload=b"kept")
    connect("c", will=(name + "/will", b"", 1, True)).drop()
    w.recv_publish(name + "/will", b"")
    late = connect("late")
    late.subscribe((name + "/will", 2))
    late.ping()
    assert not late.inbox


def test_will_reaches_its_own_session(connect, name):
    """A persistent session that subscribes to its own will finds it at its return."""
    w = watcher_of(connect, name)
    c = connect("c", clean=False, will=(name + "/will", b"gone", 1, False))
    c.subscribe((name + "/will", 1))
    c.drop()
    w.recv_publish(name + "/will")
    connect("c", clean=False).recv_publish(name + "/will", b"gone")


def test_will_is_of_one_connection(connect, name):
    """A later connection of the session without a will sends none."""
    w = watcher_of(connect, name)
    connect("c", clean=False, will=(name + "/will", b"gone", 1, False)).disconnect()
    c = connect("c", clean=False)
    c.drop()
    with connect("c", clean=False) as again:
        again.disconnect()
    no_will(connect, w, name)


def test_big_will(connect, name):
    w = watcher_of(connect, name)
    payload = bytes(range(256)) * 255
    connect("c", will=(name + "/will", payload, 1, False)).drop()
    w.recv_publish(name + "/will", payload)


def test_will_follows_what_was_published_before(connect, name):
    """One publisher's order: everything that it published comes before its will."""
    w = watcher_of(connect, name)
    c = connect("c", will=(name + "/x", b"will", 1, False))
    for i in range(100):
        c.publish(name + "/x", str(i), 1)
    c.drop()
    assert w.recv_payloads(101) == [str(i).encode() for i in range(100)] + [b"will"]


@pytest.mark.sealmqd_only("the key is ours")
@pytest.mark.parametrize("at_shutdown", [False, True])
def test_sigterm(start_broker, name, at_shutdown):
    """SIGTERM ends connections without their wills, unless wills_at_shutdown says so."""
    broker = start_broker({"wills_at_shutdown": "true" if at_shutdown else "false"})
    w = broker.client(name + "w")
    w.subscribe((name + "/#", 1))
    c = broker.client(name + "c", will=(name + "/will", b"gone", 0, False))
    started = time.monotonic()
    assert broker.terminate() == 0
    assert time.monotonic() - started < 5 * env.SLOW
    c.expect_close()
    got = [m.payload for m in w.expect_close() if m.type == p.PUBLISH]
    assert got == ([b"gone"] if at_shutdown else [])
