"""Shared subscriptions: `$share/<group>/<filter>`."""
import collections

import pytest

from lib import env, packets as p
from lib.client import Closed


def collect(members, n, ack=True):
    """n messages, from whichever member has one; {member index: [payload]}."""
    got = collections.defaultdict(list)
    seen = 0
    while seen < n:
        before = seen
        for i, c in enumerate(members):
            while c.inbox or _readable(c):
                m = c.recv_publish(ack=ack)
                got[i].append(int(m.payload))
                seen += 1
        if seen == before:
            _wait_any(members)
    for c in members:
        c.ping()
        assert not c.inbox, f"more than {n} came"
    return got


def _readable(c):
    try:
        c.inbox.appendleft(c.recv(0.0001))  # in its place: more may have come with it
        return True
    except AssertionError:
        return False


def _wait_any(members):
    import select
    assert select.select([c.sock for c in members], [], [], env.TIMEOUT_S)[0], "nothing came to any member"


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_message_to_exactly_one_member(connect, name, qos):
    members = [connect(f"m{i}") for i in range(4)]
    for c in members:
        assert c.subscribe((f"$share/g/{name}/#", qos)) == [qos]
    pub = connect("p")
    n = 80
    for i in range(n):
        pub.publish(f"{name}/{i % 7}", str(i), qos)
    got = collect(members, n)
    assert sorted(x for part in got.values() for x in part) == list(range(n))
    assert len(got) == 4, "every member has a share"


def test_groups_are_apart(connect, name):
    """Each group gets every message once; an ordinary subscription gets its own copy."""
    a, b, plain = connect("a"), connect("b"), connect("plain")
    a.subscribe((f"$share/one/{name}", 1))
    b.subscribe((f"$share/two/{name}", 1))
    plain.subscribe((name, 1))
    for i in range(10):
        plain.publish(name, str(i), 1)
    for c in (a, b, plain):
        assert [int(x) for x in c.recv_payloads(10)] == list(range(10))
        c.ping()
        assert not c.inbox


def test_filters_of_one_group_are_apart(connect, name):
    a, b = connect("a"), connect("b")
    a.subscribe((f"$share/g/{name}/+", 1))
    b.subscribe((f"$share/g/{name}/x", 1))
    a.publish(name + "/x", b"1", 1)
    a.recv_publish(name + "/x")
    b.recv_publish(name + "/x")


@pytest.mark.sealmqd_only("design 3: what is judged is the inner filter")
def test_shared_and_plain_on_one_session(connect, name):
    """A session in a group with an ordinary subscription too: one copy for each [as mosquitto; they do not overlap]."""
    c = connect()
    c.subscribe((f"$share/g/{name}", 1), (name, 0))
    c.publish(name, b"x", 1)
    assert sorted(c.recv_publish(payload=b"x").qos for _ in range(2)) == [0, 1]
    c.ping()
    assert not c.inbox


def test_unsubscribe_leaves_the_group(connect, name):
    a, b = connect("a"), connect("b")
    for c in (a, b):
        c.subscribe((f"$share/g/{name}", 1))
    a.unsubscribe(f"$share/g/{name}")
    for i in range(10):
        a.publish(name, str(i), 1)
    assert [int(x) for x in b.recv_payloads(10)] == list(range(10))
    a.ping()
    assert not a.inbox


def test_unsubscribe_of_the_inner_filter_is_another_one(connect, name):
    c = connect()
    c.subscribe((f"$share/g/{name}", 1))
    c.unsubscribe(name)
    c.publish(name, b"x", 1)
    c.recv_publish(name)


@pytest.mark.sealmqd_only("mosquitto goes round over offline members too")
@pytest.mark.parametrize("qos", [1, 2])
def test_connected_members_are_preferred(connect, name, qos):
    members = [connect(f"m{i}", clean=False) for i in range(3)]
    for c in members:
        c.subscribe((f"$share/g/{name}", qos))
    members[0].disconnect()
    members[1].disconnect()
    pub = connect("p")
    for i in range(15):
        pub.publish(name, str(i), qos)
    assert sorted(int(x) for x in members[2].recv_payloads(15)) == list(range(15))


@pytest.mark.sealmqd_only("mosquitto drops it")
def test_all_members_away_one_queue_keeps_it(connect, name):
    members = [connect(f"m{i}", clean=False) for i in range(2)]
    for c in members:
        c.subscribe((f"$share/g/{name}", 1))
        c.disconnect()
    pub = connect("p")
    for i in range(10):
        pub.publish(name, str(i), 1)
    members = [connect(f"m{i}", clean=False) for i in range(2)]
    got = collect(members, 10)
    assert sorted(x for part in got.values() for x in part) == list(range(10))


@pytest.mark.sealmqd_only("mosquitto keeps them with the member")
@pytest.mark.parametrize("ending", ["disconnect", "drop"])
def test_unacknowledged_qos1_goes_to_another_member(connect, name, ending):
    """What a clean member leaves unacknowledged at its end is sent to who remains."""
    a = connect("a")
    a.subscribe((f"$share/g/{name}", 1))
    pub = connect("p")
    for i in range(10):
        pub.publish(name, str(i), 1)
    first = [a.recv_publish(ack=False) for _ in range(10)]
    a.acknowledge(first[0])
    a.ping()
    b = connect("b")
    b.subscribe((f"$share/g/{name}", 1))
    getattr(a, ending)()
    assert sorted(int(x) for x in b.recv_payloads(9)) == list(range(1, 10))
    b.ping()
    assert not b.inbox


@pytest.mark.sealmqd_only("our design: QoS 2 never changes the member")
def test_qos2_in_flight_never_goes_to_another_member(connect, name):
    a, b = connect("a", clean=False), connect("b")
    for c in (a, b):
        c.subscribe((f"$share/g/{name}", 2))
    pub = connect("p")
    for i in range(8):
        pub.publish(name, str(i), 2)
    b_got = set()
    a_first = []
    while len(a_first) + len(b_got) < 8:
        for c in (a, b):
            if c.inbox or _readable(c):
                m = c.wait_for(p.PUBLISH)
                if c is a:
                    a_first.append(m)
                else:
                    c.acknowledge(m)
                    b_got.add(int(m.payload))
    assert a_first, "a has a share"
    a.drop()
    b.ping()
    b.expect_nothing()
    a = connect("a", clean=False)
    again = [a.recv_publish(dup=True) for _ in a_first]
    assert [int(m.payload) for m in again] == [int(m.payload) for m in a_first]


@pytest.mark.sealmqd_only("mosquitto fills the queue of a member that does not answer")
def test_members_with_room_in_their_window_are_preferred(connect, name):
    stuck, free = connect("stuck"), connect("free")
    for c in (stuck, free):
        c.subscribe((f"$share/g/{name}", 1))
    pub = connect("p")
    n = 200
    for i in range(n):
        pub.publish(name, str(i), 1)
        while free.inbox or _readable(free):
            free.recv_publish()
    stuck.ping()
    taken = len(stuck.inbox)
    assert taken <= 20, "the one that does not acknowledge gets no more than its window"


@pytest.mark.parametrize("filter_", ["$share/g/", "$share//x", "$share/g", "$share/g+/x", "$share/g#/x", "$share/+/x", "$share"])
@pytest.mark.sealmqd_only("mosquitto accepts some of these")
def test_malformed_share_is_refused(connect, name, filter_):
    """A group without a name, with a wildcard, or without a filter: 0x80 or the end of the connection."""
    c = connect()
    c.send(p.subscribe(1, (filter_, 1)))
    try:
        assert c.recv().codes == [0x80]
    except Closed:
        pass


def test_publish_to_a_share_topic_reaches_no_group(connect, name):
    """`$share/g/t` is no topic of t's subscribers."""
    c = connect()
    c.subscribe((f"$share/g/{name}", 1), (name, 1))
    c.send_quietly(p.publish(f"$share/g/{name}", b"x", 0))
    other = connect("o")
    other.publish(name + "/else", b"x", 1)
    try:
        c.ping()
    except Closed:
        pass
    assert not [m for m in c.inbox if m.type == p.PUBLISH]


# ---- what a persistent member leaves

DISK = {"store": "lmdb", "store_dir": "store", "store_max_size": "64M", "max_queued_messages": 0}


def leave_behind(broker, name, n):
    """A member that is away, with n QoS 1 messages and one of QoS 2 that came by its group, and one QoS 1 that did not; then another joins."""
    a = broker.client(name + "a", clean=False)
    a.subscribe((f"$share/{name}/{name}/#", 2), (name + "/plain", 1))
    a.disconnect()
    pub = broker.client(name + "p")
    pub.publish(name + "/plain", b"by both", 1)
    pub.publish(name + "/x", b"twice", 2)
    pub.publish_many([(name + "/x", str(i), 1) for i in range(n)])
    b = broker.client(name + "b", clean=False)
    b.subscribe((f"$share/{name}/{name}/#", 1))
    return b, [b"%d" % i for i in range(n)]


@pytest.mark.sealmqd_only("mosquitto drops them")
def test_queue_of_a_member_that_ends_goes_to_another(start_broker, name):
    """More than one page of them. QoS 2 never, and what also came by a plain subscription is its own."""
    broker = start_broker(DISK)
    b, messages = leave_behind(broker, name, 1200)
    broker.client(name + "a", clean=True)
    assert b.recv_payloads(len(messages)) == messages
    broker.wait_log("1200 messages of its shared subscriptions went to other members; for 0")
    b.ping()
    assert not [m for m in b.inbox if m.type == p.PUBLISH]


@pytest.mark.sealmqd_only("mosquitto drops them")
def test_queue_of_a_member_that_ends_over_a_crash(start_broker, name):
    """Whatever was handed on when the broker was killed: all of it arrives."""
    broker = start_broker(DISK)
    b, messages = leave_behind(broker, name, 300)
    b.drop()
    c = broker.client(name + "a", clean=True)
    assert not c.connack.session_present
    broker.process.kill()
    broker.process.wait()
    broker.start()
    b = broker.client(name + "b", clean=False)
    got = []
    while set(got) != set(messages):
        got.append(b.recv_publish().payload)
    assert [m for i, m in enumerate(got) if m not in got[:i]] == messages, "in order, apart from repetitions"
    assert not broker.client(name + "a", clean=False).connack.session_present
