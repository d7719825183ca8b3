"""`$SYS/broker/…`, with mosquitto's names."""
import re

import pytest

from lib import env, packets as p

STORES = (0,)

NUMBERS = ["clients/total", "clients/connected", "clients/disconnected", "clients/active", "clients/inactive", "clients/maximum",
           "messages/received", "messages/sent", "messages/stored", "subscriptions/count", "shared_subscriptions/count",
           "retained messages/count", "clients/expired", "heap/current", "heap/maximum",
           "publish/messages/received", "publish/messages/sent", "publish/messages/dropped", "publish/bytes/received",
           "publish/bytes/sent", "bytes/received", "bytes/sent", "store/messages/count", "store/messages/bytes"]
LOADS = ["messages/received", "messages/sent", "publish/received", "publish/sent", "publish/dropped", "bytes/received", "bytes/sent",
         "sockets", "connections"]


def values(c, topics):
    """The next value of each topic."""
    got = {}
    while missing := set(topics) - set(got):
        try:
            m = c.recv_publish(qos=None)
        except AssertionError as e:
            raise AssertionError(f"never came: {sorted(missing)} ({e})") from None
        got.setdefault(m.topic, m.payload.decode())
    return got


def test_names(connect, name):
    c = connect()
    c.subscribe("$SYS/#")
    c.publish(name, b"x", 1)
    topics = [f"$SYS/broker/{n}" for n in [*NUMBERS, "version", "uptime"]]
    got = values(c, topics)
    for n in NUMBERS:
        assert got[f"$SYS/broker/{n}"].isdigit(), (n, got[f"$SYS/broker/{n}"])
    assert got["$SYS/broker/uptime"].endswith(" seconds")


@pytest.mark.sealmqd_only("the names are ours")
def test_turns_of_the_loops(connect):
    c = connect()
    c.subscribe("$SYS/broker/loop/#")
    first, second = (values(c, ["$SYS/broker/loop/turns", "$SYS/broker/loop/longest_turn_us"]) for _ in range(2))
    assert int(second["$SYS/broker/loop/turns"]) > int(first["$SYS/broker/loop/turns"])
    assert int(second["$SYS/broker/loop/longest_turn_us"]) > 0


STORE = ["commits", "commit_time_us", "messages/written", "bytes/written", "bytes/used", "bytes/size", "oldest_unacknowledged_ms", "waiting",
         "operations_failed", "records_failed", "messages/dropped", "failing"]


@pytest.mark.sealmqd_only("the names are ours")
def test_store_is_shown(start_broker, name):
    """Each of 40 messages is acknowledged in a commit of its own, since its publisher waits for it."""
    broker = start_broker({"sys_interval": 1, "store": "lmdb", "store_dir": "store", "store_max_size": "64M"})
    away = broker.client(name, clean=False)
    away.subscribe((name, 1))
    away.disconnect()
    c = broker.client(name + "c")
    for _ in range(40):
        c.publish(name, b"12345678", 1)
    c.subscribe("$SYS/broker/store/#")
    settles(c, "$SYS/broker/store/messages/written", 40, among=True)
    got = values(c, [f"$SYS/broker/store/{n}" for n in [*STORE, "messages_per_commit"]])
    number = {n: int(got[f"$SYS/broker/store/{n}"]) for n in STORE}
    assert number["commits"] >= 40 and number["bytes/written"] >= 40 * 8
    assert 0 < number["bytes/used"] < number["bytes/size"] == 64 << 20
    assert [number[n] for n in ("waiting", "operations_failed", "records_failed", "messages/dropped", "failing")] == [0, 0, 0, 0, 0]
    float(got["$SYS/broker/store/messages_per_commit"])


@pytest.mark.sealmqd_only("our manual")
def test_every_topic_is_in_the_manual(connect):
    c = connect()
    c.subscribe("$SYS/broker/#")
    mark, seen = c.recv_publish().topic, set()
    while (topic := c.recv_publish().topic) != mark:        # a whole round
        seen.add(topic.removeprefix("$SYS/broker/"))
    assert len(seen) > 80
    text = "".join((env.ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("sys", "operations"))
    elsewhere = ("limits/", "certificates/")                # by groups
    assert [n for n in sorted(seen) if not n.startswith(elsewhere)
            and f"`{re.sub('/[0-9]+min$', '', n)}`" not in text and f"`{n.removeprefix('store/')}`" not in text] == []


def test_load_names(connect):
    c = connect()
    c.subscribe("$SYS/broker/load/#")
    got = values(c, [f"$SYS/broker/load/{n}/{span}" for n in LOADS for span in ("1min", "5min", "15min")])
    assert all(float(v) >= 0 for v in got.values())


def settles(c, topic, wanted, among=False):
    """The topic comes to the wanted value. among: others come too."""
    for _ in range(300 if among else 12):
        m = c.recv_publish(None if among else topic)
        if (m.topic, m.payload.decode()) == (topic, str(wanted)):
            return
    raise AssertionError(f"{topic} stays at {m.payload}, wanted {wanted}")


def test_clients_and_subscriptions_are_counted(start_broker, name):
    broker = start_broker({"sys_interval": 1})
    c = broker.client(name)
    away = broker.client(name + "away", clean=False)
    away.subscribe((name + "/x", 1), (name + "/y", 1))
    c.subscribe("$SYS/broker/clients/connected")
    settles(c, "$SYS/broker/clients/connected", 2)
    away.disconnect()
    settles(c, "$SYS/broker/clients/connected", 1)
    c.unsubscribe("$SYS/broker/clients/connected")
    c.inbox.clear()
    for topic, wanted in (("clients/total", 2), ("clients/disconnected", 1), ("subscriptions/count", 3)):
        c.subscribe(f"$SYS/broker/{topic}")
        settles(c, f"$SYS/broker/{topic}", wanted)
        c.unsubscribe(f"$SYS/broker/{topic}")
        c.inbox.clear()
    broker.stop()


@pytest.mark.sealmqd_only("mosquitto 2 does not publish it, though its manual names it")
@pytest.mark.parametrize("clean", [True, False])
def test_messages_in_flight_are_counted(start_broker, name, clean):
    broker = start_broker({"sys_interval": 1})
    c, s, topic = broker.client(name), broker.client(name + "s", clean=clean), "$SYS/broker/messages/inflight"
    s.subscribe((name, 2))
    c.subscribe(topic)
    for qos in (1, 2, 1):
        c.publish(name, b"x", qos)
    held = [s.recv_publish(ack=False) for _ in range(3)]
    settles(c, topic, 3)
    s.acknowledge(held[0])
    s.acknowledge(held[1])
    settles(c, topic, 1)
    if not clean:                   # it stays owed to a session that is away, and comes again
        s.drop()
        s = broker.client(name + "s", clean=False)
        s.recv_publish(name, dup=True)
    else:
        s.disconnect()
    settles(c, topic, 0)
    broker.stop()


@pytest.mark.sealmqd_only("mosquitto counts its own $SYS messages among the retained")
def test_retained_messages_are_counted(start_broker, name):
    broker = start_broker({"sys_interval": 1})
    c = broker.client(name)
    topic = "$SYS/broker/retained messages/count"
    c.subscribe(topic)
    before, last = -1, -2
    while before != last:           # until all of $SYS, which counts too, has been published
        before, last = last, int(c.recv_publish(topic).payload)
    c.publish(name, b"x", 1, retain=True)
    settles(c, topic, before + 1)
    c.publish(name, b"", 1, retain=True)
    settles(c, topic, before)


def test_publish_counters_grow(connect, name):
    c = connect()
    topic = "$SYS/broker/publish/messages/received"
    c.subscribe(topic)
    first = int(c.recv_publish(topic).payload)
    for _ in range(10):
        c.publish(name, b"12345", 1)
    for _ in range(12):
        m = c.recv_publish(topic)
        if int(m.payload) >= first + 10:
            return
    pytest.fail("the counter does not follow")


def test_values_are_retained(connect):
    """A subscriber need not wait for the next interval."""
    c = connect()
    c.subscribe("$SYS/broker/version")
    m = c.recv_publish("$SYS/broker/version", retain=True)
    assert m.payload and m.type == p.PUBLISH
