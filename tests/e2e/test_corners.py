"""Corners that take many messages."""
import pytest

from lib import env
from lib import packets as p

STORES = (0,)
BROKER_OPTIONS = {"max_inflight_messages": "0", "max_queued_messages": "1000000"}


@pytest.mark.sealmqd_only("mosquitto's queue of 1,000 drops most of them")
def test_a_hundred_thousand_retained_on_one_subscription(connect, name):
    n = 20_000 if env.SLOW > 1 else 100_000
    pub, sub = connect("p"), connect("s")
    for start in range(0, n, 2000):
        pub.send(b"".join(p.publish(f"{name}/{i % 100}/{i}", b"%d" % i, 0, True) for i in range(start, start + 2000)))
    pub.ping()
    sub.subscribe(f"{name}/#")
    got = [sub.recv_publish(retain=True) for _ in range(n)]
    assert [int(m.payload) for m in got] == list(range(n)), "each once, oldest first"
    assert all(m.topic == f"{name}/{i % 100}/{i}" for i, m in enumerate(got))
    sub.expect_nothing()


@pytest.mark.sealmqd_only("mosquitto's max_inflight_messages 0 sends on with identifiers in use")
def test_when_all_packet_identifiers_are_in_use_the_next_message_waits_for_one(connect, name):
    """[MQTT-2.3.1-4]: 65,535 deliveries that nobody acknowledges; more wait, each for an identifier that has become free."""
    pub, sub = connect("p"), connect("s")
    sub.subscribe((name, 1))
    n = 65_535 + 3
    for start in range(0, n, 1000):
        count = min(1000, n - start)
        pub.send(b"".join(p.publish(name, b"%d" % (start + i), 1, pid=i + 1) for i in range(count)))
        for i in range(count):
            pub.wait_for(p.PUBACK, i + 1)
    got = [sub.recv_publish(ack=False) for _ in range(65_535)]
    assert {m.pid for m in got} == set(range(1, 65_536))
    sub.ping()
    sub.expect_nothing()
    for i, freed in enumerate((got[40_000], got[1], got[65_534])):
        sub.send(p.ack(p.PUBACK, freed.pid))
        late = sub.recv_publish(ack=False)
        assert (late.pid, int(late.payload)) == (freed.pid, 65_535 + i)
