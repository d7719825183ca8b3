# SPDX-License-Identifier: GPL-3.0-or-later
"""Allocations and system calls of a PUBLISH's way through the broker."""
import select
import struct

import pytest

from count import ALLOCATIONS, RECEIVES, SENDS
from lib import packets as p

LONE = 100
EITHER = pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])


def dial(one, name, tls, cert="device1"):
    return (one.broker.raw(cert) if tls else one.broker.plain(one.plain)).connect(name)


def per_message(cost, names, n=LONE):
    return cost.get(*names, without=("log",)).calls / n


@EITHER
def test_lone_qos0_publish_to_three_subscribers(counted, tls):
    one = counted()
    readers = [dial(one, f"r{i}", tls) for i in range(3)]
    for r in readers:
        r.subscribe("t/lone")
    writer = dial(one, "w", tls)

    def act():
        for i in range(LONE):
            writer.publish("t/lone", b"%08d" % i)
            for r in readers:
                r.recv_publish("t/lone", b"%08d" % i)
    act()  # caches and free lists are warm
    cost = one.cost(act)
    assert per_message(cost, ALLOCATIONS) <= 2, str(cost)
    assert per_message(cost, RECEIVES) == 1, str(cost)
    assert per_message(cost, SENDS) == 3, str(cost)
    assert per_message(cost, ("epoll_ctl",)) == 0, str(cost)
    assert cost.get(*RECEIVES).failed == 0, "a second read up to EAGAIN"
    assert cost.get("write.other", "read.other", without=("log",)).calls == 0, "another loop or thread was woken"


@EITHER
def test_lone_qos1_publish_to_a_subscriber(counted, tls):
    """PUBLISH in, PUBACK and PUBLISH out, PUBACK in."""
    one = counted()
    reader, writer = dial(one, "r", tls), dial(one, "w", tls)
    reader.subscribe(("t/one", 1))

    def act():
        for i in range(LONE):
            writer.publish("t/one", b"%08d" % i, 1)
            reader.recv_publish("t/one", b"%08d" % i, 1)
            reader.ping()
    act()
    cost = one.cost(act)
    assert per_message(cost, ALLOCATIONS) <= 2, str(cost)
    assert per_message(cost, RECEIVES) <= 3, str(cost)  # the reader's PUBACK and PINGREQ may be read together
    assert per_message(cost, SENDS) == 3, str(cost)     # PUBACK, PUBLISH, PINGRESP
    assert per_message(cost, ("epoll_ctl",)) == 0, str(cost)


def tls_records(client):
    """Lengths of the TLS records that have arrived by the time at least one packet is complete, as they stand on the wire."""
    records, data = [], b""
    while not client.inbox:
        assert select.select([client.sock], [], [], 10)[0], "nothing came"
        chunk = client.sock.recv(262144)
        data += chunk
        client._in.write(chunk)
        for packet in client.parser.feed(client.tls.read(262144)):
            client.inbox.append(packet)
    while data:
        kind, _, length = struct.unpack_from("!BHH", data)
        assert kind == 23
        records.append(length)
        data = data[5 + length:]
    return records


@pytest.mark.parametrize("n", [2, 50, 190])
@pytest.mark.parametrize("qos", [0, 1])
def test_messages_of_one_turn_leave_in_one_record_and_one_send(counted, n, qos):
    one = counted()
    reader, writer = dial(one, "r", True), dial(one, "w", True)
    reader.subscribe(("t/burst", qos))
    burst = b"".join(p.publish("t/burst", b"%060d" % i, qos, pid=i + 1 if qos else None) for i in range(n))
    assert len(burst) < 16384  # one record in, hence one turn
    for _ in range(2):
        before = one.read()
        writer.send(burst)
        assert select.select([reader.sock], [], [], 10)[0], "nothing came"
        cost = one.read() - before
        assert len(tls_records(reader)) == 1
        assert [m.payload for m in reader.inbox] == [b"%060d" % i for i in range(n)]
        if qos:  # the writer's acknowledgements: one record and one send, too
            assert len(tls_records(writer)) == 1
            assert [m.pid for m in writer.inbox] == [i + 1 for i in range(n)]
            reader.send(b"".join(p.ack(p.PUBACK, m.pid) for m in reader.inbox))
        reader.inbox.clear()
        writer.inbox.clear()
        assert cost.get(*RECEIVES).calls == 1, str(cost)
        assert cost.get(*SENDS).calls == 1 + qos, str(cost)
        assert cost.get("epoll_ctl").calls == 0, str(cost)
    # The second burst finds everything warm: a message is one allocation, whatever else is per record.
    assert cost.get(*ALLOCATIONS, without=("log",)).calls <= n + 2, str(cost)


def test_two_loops_wake_each_other_once_for_a_burst(counted):
    """Messages to another loop go as one chain of mail: at most one wake-up each way, whatever their number."""
    one = counted(threads=2)
    readers = [dial(one, f"r{i}", True) for i in range(8)]
    for r in readers:
        r.subscribe("t/two")
    writer = dial(one, "w", True)
    n = 50
    burst = b"".join(p.publish("t/two", b"%060d" % i) for i in range(n))

    def act():
        writer.send(burst)
        for r in readers:
            assert r.recv_payloads(n) == [b"%060d" % i for i in range(n)]
    act()
    cost = one.cost(act)
    assert cost.get(*SENDS).calls == len(readers), str(cost)
    assert cost.get("write.other", without=("log",)).calls <= 2, str(cost)
