# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes of heap that connections, sessions and subscriptions hold. The shim counts malloc's usable sizes; pages that come from the
system directly show in RssAnon. Bounds are what was measured plus a little; PERFORMANCE's must for an idle connection is 6 kB of RSS."""
import os

from lib import packets as p

MANY = 200


def heap(one):
    return one.read().live_bytes()


def grown(one, act):
    before = heap(one)
    act()
    return heap(one) - before


def connections(one, n, prefix, **options):
    return [one.broker.raw().connect(f"{prefix}{i:06d}", **options) for i in range(n)]


def test_idle_tls_connection_with_one_subscription(counted):
    one = counted()
    clients = connections(one, 10, "warm")
    for c in clients:
        c.subscribe("warm/up")

    def act():
        for i, c in enumerate(connections(one, MANY, "c")):
            c.subscribe(f"idle/{i}")
            clients.append(c)
    bytes_each = grown(one, act) / MANY
    print(f"idle connection: {bytes_each:.0f} bytes of heap")
    assert bytes_each <= 4000


def test_persistent_session_that_is_away(counted):
    one = counted()

    def leave(name, n):  # one after the other: the free lists hold what one connection had
        for i in range(n):
            c = one.broker.raw().connect(f"{name}{i}", clean=False)
            c.subscribe((f"away/{name}/{i}", 1))
            c.disconnect()
    leave("warm", 10)

    def act():
        leave("s", MANY)
    bytes_each = grown(one, act) / MANY
    print(f"session away: {bytes_each:.0f} bytes of heap")
    assert bytes_each <= 1200


def test_subscriptions(counted):
    """20,000 exact filters of one session, then as many with wildcards; heap and pages together."""
    one = counted()
    client = one.broker.raw().connect("s")

    def subscribe(make, n):
        for at in range(0, n, 500):
            client.subscribe(*(make(i) for i in range(at, at + 500)))
    subscribe(lambda i: f"warm/{i}", 2000)
    for name, make, bound in (("exact", lambda i: f"plant/{i // 100}/line/{i % 100}/t", 150),
                              ("wildcard", lambda i: f"site/{i // 100}/+/{i % 100}/#", 200)):
        before = one.broker.memory()
        subscribe(make, 20000)
        bytes_each = (one.broker.memory() - before) / 20000
        print(f"{name} subscription: {bytes_each:.0f} bytes of RssAnon")
        assert bytes_each <= bound


def test_idle_connection_owns_no_buffer(counted):
    """Each of many connections sends half a packet, the rest, and gets it back. What the first one left in free lists serves all."""
    one = counted()
    clients = connections(one, 50, "b")
    packets = {}
    for i, c in enumerate(clients):
        c.subscribe(f"b/{i:03d}")
        c.publish(f"b/{i:03d}", b"the loop's cache of matches knows the topic")
        c.recv_publish()
        packets[c] = p.publish(f"b/{i:03d}", os.urandom(6000))

    def busy(c):
        c.send(packets[c][:3000])
        c.send(packets[c][3000:])
        c.recv_publish()
        c.ping()
    for c in clients[:5]:
        busy(c)
    # Not even the smallest block each. One block may join the free lists: whether the first ones' halves came apart is up to the kernel.
    assert grown(one, lambda: [busy(c) for c in clients[5:]]) < 64 * 45 + 4096


def test_partial_packets_are_held_and_given_back(counted):
    """The control of the test above: while packets are incomplete their bytes are held, and no longer."""
    one = counted()
    clients = connections(one, 30, "h")
    whole = p.publish("nobody/reads", os.urandom(20000))

    def begin():
        for c in clients:
            c.send(whole[:15000])

    def end():
        for c in clients:
            c.send(whole[15000:])
            c.ping()
    held = grown(one, begin)
    assert held >= 30 * 15000
    end()
    assert grown(one, lambda: (begin(), end())) < 64 * 30  # not even the smallest block each


def test_connects_leave_nothing(counted):
    one = counted()

    def come_and_go(n):
        for i in range(n):
            c = one.broker.raw().connect(f"g{i % 7}")
            c.subscribe((f"g/{i % 7}/#", 1))
            c.publish(f"g/{i % 7}/x", b"y" * 100, 1)
            c.recv_publish()
            c.disconnect()
    come_and_go(30)
    assert grown(one, lambda: come_and_go(120)) <= 0


def test_stored_messages_leave_nothing(counted):
    """Messages of a persistent session are freed by the store's thread, whose free lists are full (256 KiB a size) after a while."""
    one = counted()
    client = one.broker.plain(one.plain).connect("p", clean=False)
    client.subscribe(("p/x", 1))

    def pass_on(n):
        for _ in range(n):
            client.publish("p/x", b"y" * 100, 1)
            client.recv_publish()
        client.ping()
    pass_on(10000)  # 256 KiB are 4,096 blocks of the smallest size
    assert grown(one, lambda: pass_on(1000)) <= 1000
