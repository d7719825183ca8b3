"""Sessions: client ids, session present, clean and persistent, take-over, another identity's session, offline queues."""
import pytest

from lib import env, packets as p
from lib.client import Closed


def test_session_present(connect, name):
    c = connect(clean=False)
    assert not c.connack.session_present
    c.disconnect()
    c = connect(clean=False)
    assert c.connack.session_present
    c.disconnect()
    c = connect(clean=True)
    assert not c.connack.session_present
    c.disconnect()
    c = connect(clean=False)
    assert not c.connack.session_present, "the clean session before must have left nothing"


def test_clean_connect_discards_subscriptions_and_queue(connect, name):
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name, 1))
    sub.disconnect()
    pub.publish(name, b"queued", 1)
    connect("s", clean=True).disconnect()
    sub = connect("s", clean=False)
    pub.publish(name, b"later", 1)
    sub.ping()
    assert not sub.inbox


@pytest.mark.parametrize("ending", ["disconnect", "drop", "reset"])
def test_persistent_session_keeps_subscriptions_and_queues(connect, name, ending):
    sub, pub = connect("s", clean=False), connect("p")
    assert sub.subscribe((name + "/0", 0), (name + "/1", 1), (name + "/+/x", 2)) == [0, 1, 2]
    getattr(sub, ending)()
    if ending != "disconnect":                      # the broker may not have seen the end yet: what it sends meanwhile is repeated
        connect("s", clean=False).disconnect()
    pub.publish_many([one for i in range(50) for one in ((name + "/1", f"one {i}", 1), (name + "/2/x", f"two {i}", 2))])
    pub.publish(name + "/0", b"zero")
    pub.publish(name + "/1", b"qos 0 to a qos 1 subscription")
    pub.disconnect()
    sub = connect("s", clean=False)
    assert sub.connack.session_present
    got = [sub.recv_publish() for _ in range(100)]
    for topic, kind in ((name + "/1", "one"), (name + "/2/x", "two")):
        assert [m.payload.decode() for m in got if m.topic == topic] == [f"{kind} {i}" for i in range(50)]
    assert all(m.qos == (1 if m.topic == name + "/1" else 2) for m in got)
    assert not any(m.dup or m.retain for m in got)
    pub = connect("p2")
    pub.publish(name + "/0", b"live")
    sub.recv_publish(name + "/0", b"live")          # QoS 0 was not kept while away, the subscription was


def test_live_messages_queue_behind_the_old_ones(connect, name):
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name, 1))
    sub.disconnect()
    pub.publish_many([(name, str(i), 1) for i in range(100)])
    sub = connect("s", clean=False)
    pub.publish_many([(name, str(i), 1) for i in range(100, 150)])
    assert [int(x) for x in sub.recv_payloads(150)] == list(range(150))


def test_persistent_publisher_without_subscriptions(connect, name):
    c = connect(clean=False)
    c.disconnect()
    c = connect(clean=False)
    assert c.connack.session_present
    c.ping()


def test_unsubscribe_survives_a_reconnect(connect, name):
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name + "/a", 1), (name + "/b", 1))
    sub.unsubscribe(name + "/a")
    sub.disconnect()
    pub.publish(name + "/a", b"", 1)
    pub.publish(name + "/b", b"", 1)
    sub = connect("s", clean=False)
    sub.recv_publish(name + "/b")
    sub.ping()
    assert not sub.inbox


def test_many_sessions_on_all_loops(connect, name):
    """Sessions of many client ids: each is found again, whichever loop accepts the connection."""
    n = 40
    for i in range(n):
        c = connect(str(i), clean=False)
        c.subscribe((f"{name}/{i}", 1))
        c.disconnect()
    connect("p").publish_many([(f"{name}/{i}", str(i), 1) for i in range(n)])
    for i in reversed(range(n)):
        c = connect(str(i), clean=False)
        assert c.connack.session_present
        c.recv_publish(f"{name}/{i}", str(i), 1)
        c.drop()


# -- take-over

@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_take_over_ends_the_older_connection(connect, name, clean):
    first = connect(clean=clean)
    first.subscribe((name, 1))
    second = connect(clean=clean)
    assert bool(second.connack.session_present) == (not clean)
    assert first.expect_close() == []
    second.publish(name, b"x", 1)
    if not clean:
        second.recv_publish(name, b"x")
    second.ping()
    assert not second.inbox


def test_take_over_redelivers_what_was_in_flight(connect, name):
    pub = connect("p")
    first = connect("s", clean=False)
    first.subscribe((name, 1), (name, 1))
    pub.publish(name, b"x", 1)
    m = first.recv_publish(ack=False)
    second = connect("s", clean=False)
    assert second.recv_publish(name, b"x", dup=True).pid == m.pid


def test_take_over_again_and_again(connect, name):
    last = connect("s", clean=False)
    last.subscribe((name, 1))
    for _ in range(20):
        previous, last = last, connect("s", clean=False)
        assert last.connack.session_present
        assert previous.expect_close() == []
    last.publish(name, b"x", 1)
    last.recv_publish(name, b"x")


def test_take_over_race_leaves_one(connect, broker, name):
    """Many connections with one client id at once: every CONNECT is answered or closed, exactly one stays."""
    many = [broker.raw() for _ in range(10)]
    for c in many:
        c.send(p.connect(name, clean=False))
    alive = []
    for c in many:
        try:
            if c.recv().code == 0 and c.is_alive():
                alive.append(c)
        except Closed:                  # taken over before or after its CONNACK
            pass
    alive = [c for c in alive if c.is_alive()]
    assert len(alive) == 1
    for c in many:
        c.drop()


@pytest.mark.sealmqd_only("mosquitto lets any identity take a client id over")
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_another_identity_is_refused(connect, broker, name, clean):
    owner = connect(clean=False)
    owner.subscribe((name, 1))
    mark = broker.log_mark()
    with broker.raw("device2") as thief:
        thief.connect(name, clean=clean, expect=2)
        assert thief.connack.session_present == 0
        assert thief.expect_close() == []
    broker.wait_log(f"device2.*{name}", mark)
    owner.ping()
    owner.disconnect()
    with broker.raw("device2") as thief:            # nor may it have the session while its owner is away
        thief.connect(name, clean=clean, expect=2)
    connect("p").publish(name, b"for the owner", 1)
    owner = connect(clean=False)
    assert owner.connack.session_present
    owner.recv_publish(name, b"for the owner")


@pytest.mark.sealmqd_only("mosquitto lets any identity take a client id over")
def test_clean_client_id_is_free_again_after_its_end(connect, broker, name):
    connect().disconnect()
    with broker.raw("device2") as other:
        other.connect(name)
        other.ping()


def test_refused_client_may_pipeline(connect, broker, name):
    """Nothing behind a refused CONNECT is acted upon [MQTT-3.1.4-5]."""
    watcher = connect("w")
    watcher.subscribe(name)
    with broker.raw("device2") as c:
        c.send(p.connect(name, level=9) + p.publish(name, b"from behind a refusal"))
        assert [x.type for x in c.expect_close()] == [p.CONNACK]
    watcher.publish(name, b"fence")
    watcher.recv_publish(name, b"fence")


@pytest.mark.parametrize("ending", ["take-over", "drop", "reset"])
def test_connack_is_first_though_the_store_answers_the_former_connection_late(connect, broker, name, ending):
    """PUBREC and PUBLISH of a connection that ends are still with the store when the next one comes [MQTT-3.2.0-1]."""
    pub = connect("p")
    first = connect("s", clean=False)
    first.subscribe((name, 2))
    for i in range(10):
        pub.publish(name, str(i), 2)
    pids = [first.recv_publish(ack=False).pid for _ in range(10)]
    second = broker.raw()
    first.send(b"".join(p.ack(p.PUBREC, pid) for pid in pids) + p.publish(name + "/x", b"x", 2, pid=7) + p.publish(name + "/x", b"x", 1, pid=8))
    if ending != "take-over":
        getattr(first, ending)()
    second.send(p.connect(name + "s", clean=False))
    connack = second.recv()
    assert connack.type == p.CONNACK and connack.body == b"\1\0", connack
    second.ping()
    done = set()
    while done != set(pids):
        m = second.recv()
        if m.type == p.PUBREL:
            second.send(p.ack(p.PUBCOMP, m.pid))
            done.add(m.pid)
        else:
            assert m.type == p.PUBLISH and m.pid in pids, f"an answer to the former connection: {m}"
            second.send(p.ack(p.PUBREC, m.pid))
    second.drop()


@pytest.mark.parametrize("qos", [1, pytest.param(2, marks=pytest.mark.sealmqd_only("mosquitto delivers at PUBREL, which is not sent here"))])
@pytest.mark.parametrize("ending", ["take-over", "drop", "reset"])
def test_order_holds_over_reconnects_while_messages_flow(connect, broker, name, qos, ending):
    """A subscriber that leaves and returns all the time sees each message's first copy in the publisher's order [MQTT-4.6.0-6]."""
    pub, sub = connect("p"), connect("s", clean=False)
    sub.subscribe((name, qos))
    n, sent, seen, trace = 200, 0, [], []
    for round_ in range(100):
        if sent < n:
            pub.send(b"".join(p.publish(name, str(i), qos, pid=i + 1) for i in range(sent, sent + 10)))
            sent += 10
        for _ in range(4 if sent < n else 40):
            if len(seen) == n:
                break
            m = sub.recv()
            if m.type == p.PUBREL:
                sub.send(p.ack(p.PUBCOMP, m.pid))
                continue
            number = int(m.payload)
            trace.append((round_, number, m.pid, m.dup))
            if number not in seen:
                seen.append(number)
                assert number == len(seen) - 1, f"{number} before {len(seen) - 1} (round, number, identifier, dup): {trace[-12:]}"
            else:
                assert m.dup, f"{number} is sent again without DUP: {trace[-12:]}"
            sub.send(p.ack(p.PUBACK if m.qos == 1 else p.PUBREC, m.pid))
        if len(seen) == n:
            break
        if ending != "take-over":
            getattr(sub, ending)()
        sub = connect("s", clean=False)
    assert seen == list(range(n))


# -- client ids

@pytest.mark.parametrize("client_id", ["a", "A" * 23, "Z" * 24, "x" * 1000, "y" * 65535, "mit Leerzeichen", "gerät/東京", "+#/$SYS", "'\"\\%s%n"],
                         ids=["1", "23", "24", "1000", "65535", "space", "unicode", "wildcards", "quotes"])
def test_client_id_is_accepted(connect, client_id):
    with connect(client_id=client_id, clean=False) as c:
        c.ping()
        c.disconnect()
    with connect(client_id=client_id, clean=False) as c:
        assert c.connack.session_present
        c.disconnect()
    connect(client_id=client_id, clean=True).disconnect()


def test_empty_client_ids_are_each_their_own(connect, name):
    clients = [connect(client_id="") for _ in range(10)]
    for i, c in enumerate(clients):
        c.subscribe(f"{name}/{i}")
    for i, c in enumerate(clients):
        c.publish(f"{name}/{(i + 1) % 10}", str(i))
    for i, c in enumerate(clients):
        c.recv_publish(f"{name}/{i}", str((i - 1) % 10))


def test_client_ids_are_case_sensitive(connect, name):
    a, b = connect("x"), connect("X")
    a.ping()
    b.ping()


def test_username_is_overridden_by_the_cn(connect, broker, name):
    """A user name and password in CONNECT change nothing: the session belongs to the certificate."""
    c = connect(clean=False, username="admin", password="secret")
    c.disconnect()
    c = connect(clean=False, username="someone else")
    assert c.connack.session_present
    if not env.MOSQUITTO:
        with broker.raw("device2") as other:
            other.connect(name, clean=False, username="device1", expect=2)


def test_mqtt_3_1(connect, name):
    with connect(name="MQIsdp", level=3, clean=False) as c:
        assert c.connack.session_present == 0
        c.subscribe((name, 2))
        for qos in (0, 1, 2):
            c.publish(name, str(qos), qos)
            c.recv_publish(name, str(qos), qos)
        c.disconnect()


def test_mqtt_3_1_bridge_bit_is_not_a_level(connect, broker):
    """0x84 announces a bridge to mosquitto; either it is known or refused as a level with code 1."""
    with broker.raw() as c:
        c.send(p.connect("bridge", level=0x84))
        got = c.recv()
        assert got.code in (0, 1)


# -- queue limit

def test_queue_limit_ends_or_drops(start_broker, name):
    """Past max_queued_messages an offline session is ended (queue_full end-session): its client is told, the log too."""
    broker = start_broker({"max_queued_messages": 10, "max_inflight_messages": 5})
    sub = broker.client(name, clean=False)
    sub.subscribe((name, 1))
    sub.disconnect()
    mark = broker.log_mark()
    with broker.client(name + "p") as pub:
        for i in range(40):
            pub.publish(name, str(i), 1)
    sub = broker.client(name, clean=False)
    if env.MOSQUITTO:
        return
    assert not sub.connack.session_present, "queue_full end-session: the client sees that it lost something"
    broker.wait_log(name, mark)
    sub.ping()
    assert not sub.inbox


# -- expiry

@pytest.mark.sealmqd_only("mosquitto's shortest expiry is an hour")
def test_session_expires(start_broker, name):
    """A session that stays away longer than persistent_client_expiration is gone; one that returns in time, or stays, is not."""
    broker = start_broker({"persistent_client_expiration": "2s"})
    away, stays, returns = (broker.client(name + x, clean=False) for x in ("away", "stays", "returns"))
    for c in (away, stays, returns):
        c.subscribe((name, 1))
    away.disconnect()
    returns.disconnect()
    watch = broker.client(name + "watch")
    watch.subscribe("$SYS/broker/clients/disconnected")
    returns = broker.client(name + "returns", clean=False)
    assert returns.connack.session_present
    seen = []
    for _ in range(20):
        seen.append(watch.recv_publish().payload)
        if seen[-1] == b"0" and b"1" in seen:
            break
    else:
        pytest.fail("the session never expires")
    away = broker.client(name + "away", clean=False)
    assert not away.connack.session_present
    for c in (stays, returns):
        c.ping()
    watch.publish(name, b"x", 1)
    stays.recv_publish(name, b"x")
    returns.recv_publish(name, b"x")
    away.ping()
    assert not away.inbox
