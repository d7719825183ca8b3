"""Packets behind CONNECT without waiting for its CONNACK: in one record, cut at every byte, on the loops of other client ids."""
import pytest

from lib import env, packets as p
from lib.client import Closed

BROKER_OPTIONS = {"threads": max(3, env.THREADS)}


def conversation(client_id, topic, qos=1):
    return p.connect(client_id) + p.subscribe(1, (topic, 1)) + p.publish(topic, b"pipelined", qos, pid=2 if qos else None)


def answered(c, topic):
    """CONNACK, SUBACK, PUBACK and the message itself, in an order that is allowed."""
    assert c.expect(p.CONNACK).code == 0
    c.wait_for(p.SUBACK, 1)
    c.recv_publish(topic, b"pipelined", 1)
    c.wait_for(p.PUBACK, 2)
    c.ping()
    assert not c.inbox


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_one_record(broker, name, version):
    for i in range(12):             # the client ids fall on all loops
        with broker.raw(version=version) as c:
            c.send(conversation(f"{name}-{i}", f"{name}/{i}"))
            answered(c, f"{name}/{i}")


def test_two_records_cut_at_every_byte(broker, name):
    """Both records in one TCP segment."""
    for i in range(1, len(conversation(f"{name}-{0:03}", name))):
        data = conversation(f"{name}-{i:03}", name)
        with broker.raw() as c:
            c.send(data, split=[i])
            answered(c, name)


def test_two_segments_cut_at_every_byte(broker, name):
    """The second part leaves after a moment, when the first may have moved to its loop already."""
    for i in range(1, len(conversation(f"{name}-{0:03}", name))):
        data = conversation(f"{name}-{i:03}", name)
        with broker.raw() as c:
            c.send(data, split=[i], gap_s=0.002)
            answered(c, name)


def test_every_byte_a_record(broker, name):
    for i in range(6):
        data = conversation(f"{name}-{i}", name)
        with broker.raw() as c:
            c.send(data, split=range(1, len(data)))
            answered(c, name)


def test_ciphertext_cut_at_every_byte(broker, name):
    """One record, its TCP segments cut anywhere."""
    step = 3
    for i in range(1, 130, step):
        with broker.raw() as c:
            data = c.encrypt(conversation(f"{name}-{i}", name))
            c.send_tcp(data[:i])
            c.send_tcp(data[i:])
            answered(c, name)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_everything_in_the_segment_of_the_last_flight(broker, name, version):
    """The client's Finished and its first packets come in one read."""
    for i in range(6):
        with broker.raw(version=version, handshake=False) as c:
            c.handshake(behind=conversation(f"{name}-{i}", name))
            answered(c, name)


def test_much_behind_connect(broker, name):
    """1,000 messages in the same write as CONNECT, more than one record: none is lost, order stays."""
    for i in range(4):
        with broker.raw() as c:
            n = 1000
            c.send(p.connect(f"{name}-{i}") + p.subscribe(1, (f"{name}/{i}", 1))
                   + b"".join(p.publish(f"{name}/{i}", str(k) + "." * 40, 1, pid=k + 1) for k in range(n)))
            assert c.expect(p.CONNACK).code == 0
            assert [int(c.recv_publish().payload.rstrip(b".")) for _ in range(n)] == list(range(n))
            for k in range(n):
                c.wait_for(p.PUBACK, k + 1)


def test_everything_and_goodbye(broker, connect, name):
    """CONNECT, PUBLISH and DISCONNECT in one record: the message arrives, the will does not."""
    w = connect("w")
    w.subscribe((name + "/#", 1))
    for i in range(12):
        with broker.raw() as c:
            c.send(p.connect(f"{name}-{i}", will=(name + "/will", b"no", 1, False)) + p.publish(f"{name}/{i}", b"yes", 1, pid=1) + p.disconnect())
            c.expect_close()
        w.recv_publish(f"{name}/{i}", b"yes")
    w.expect_nothing()


def test_pipelined_to_a_session_with_a_queue(broker, connect, name):
    """A resumed session: CONNACK first, then the queue, and what is pipelined is served too."""
    for i in range(6):
        c = connect(f"s{i}", clean=False)
        c.subscribe((f"{name}/{i}", 1))
        c.disconnect()
        connect("p").publish(f"{name}/{i}", b"queued", 1)
        with broker.raw() as c:
            c.send(p.connect(f"{name}s{i}", clean=False) + p.publish(f"{name}/{i}", b"pipelined", 1, pid=1) + p.pingreq())
            connack = c.expect(p.CONNACK)
            assert connack.session_present == 1
            assert [c.recv_publish().payload for _ in range(2)] == [b"queued", b"pipelined"]
            c.wait_for(p.PUBACK, 1)
            c.wait_for(p.PINGRESP)


def test_close_behind_connect(broker, name):
    """A peer that sends all and is gone: the broker stays whole."""
    for i in range(20):
        c = broker.raw()
        c.send(conversation(f"{name}-{i}", name))
        c.reset() if i % 2 else c.drop()
    with broker.client(name) as c:
        c.ping()


def test_malformed_behind_connect(broker, name):
    for i in range(6):
        with broker.raw() as c:
            c.send(p.connect(f"{name}-{i}") + b"\x00\x00")
            before = c.expect_close()
            assert [x.type for x in before] in ([p.CONNACK], [])


@pytest.mark.parametrize("gap_s", [0, 0.002])
def test_take_over_while_pipelining(broker, name, gap_s):
    """Connections of one client id with pipelined packets, one after the other without a pause: the last one lives."""
    clients = []
    for i in range(10):
        c = broker.raw()
        c.send(conversation(name, f"{name}/{i}"), split=[20 + i], gap_s=gap_s)
        clients.append(c)
    for c in clients:
        try:
            c.wait_for(p.CONNACK)
        except Closed:
            pass
    alive = [c for c in clients if _answers(c)]
    assert len(alive) <= 1 and (alive or broker.client(name).is_alive())
    for c in clients:
        c.drop()


def _answers(c):
    try:
        c.ping()
        return True
    except Closed:                  # taken over
        return False
