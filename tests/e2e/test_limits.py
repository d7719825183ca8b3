"""Big packets, limits of sizes and connections, and memory that is taken only as bytes arrive."""
import time

import pytest

from lib import env, packets as p
from lib.client import Closed

MIB = 1 << 20


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_1_mib_payload(connect, name, qos):
    payload = bytes(range(256)) * 4096
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, qos))
    pub.publish(name, payload, qos)
    assert sub.recv_publish(name, qos=qos).payload == payload


@pytest.mark.parametrize("size", [0, 1, 119, 120, 121, 122, 16000, 16365, 16366, 16367, 16368, 16384, 16385, 32768, 65535, 65536, 131072,
                                  2097152 - 10, 2097152])
def test_sizes_around_every_boundary(connect, name, size):
    """One and several length bytes, one and several TLS records."""
    c = connect()
    c.subscribe((name, 1))
    payload = (b"%08d" % size * (size // 8 + 1))[:size]
    c.publish(name, payload, 1)
    assert c.recv_publish(name).payload == payload


def test_big_messages_to_an_offline_session(connect, name):
    sub, pub = connect("s", clean=False), connect("p")
    sub.subscribe((name, 1))
    sub.disconnect()
    for i in range(5):
        pub.publish(name, bytes([i]) * MIB, 1)
    sub = connect("s", clean=False)
    for i in range(5):
        assert sub.recv_publish(name).payload == bytes([i]) * MIB


def test_many_big_messages_to_one_slow_reader(connect, name):
    sub, pub = connect("s"), connect("p")
    sub.subscribe((name, 1))
    for i in range(16):
        pub.publish(name, bytes([i]) * MIB, 1)
    assert [sub.recv_publish().payload[:1] for _ in range(16)] == [bytes([i]) for i in range(16)]


def test_many_small_packets_in_one_write(connect, name):
    c = connect()
    c.subscribe((name, 0))
    n = 5000
    c.send(b"".join(p.publish(name, str(i)) for i in range(n)))
    assert [int(x) for x in c.recv_payloads(n)] == list(range(n))


def test_greatest_connect(connect, name):
    """Every field of a CONNECT at its greatest: will, user name; below the 128 KiB before CONNECT."""
    w = connect("w")
    w.subscribe((name + "/#", 1))
    c = connect("c", will=(name + "/will", b"w" * 60000, 1, False), username="u" * 60000)
    c.drop()
    w.recv_publish(name + "/will", b"w" * 60000)


@pytest.mark.sealmqd_only("a limit of ours")
def test_connect_above_128_kib_is_closed_on_its_length(broker):
    with broker.raw() as c:
        c.send(b"\x10" + p.remaining_length(128 * 1024 + 1) + p.string("MQTT"))
        c.expect_closed_silently()


@pytest.mark.sealmqd_only("a limit of ours")
def test_publish_above_16_mib_is_closed_on_its_length(connect, broker, name):
    mark = broker.log_mark()
    c = connect()
    c.send(b"\x30" + p.remaining_length(16 * MIB + 1) + p.string(name))
    c.expect_closed_silently()
    broker.wait_log(name, mark)


def test_16_mib_exactly(connect, name):
    c = connect()
    c.subscribe((name, 0))
    payload = bytes(16 * MIB - 10 - len(name))
    c.publish(name, payload)
    assert len(c.recv_publish(name, timeout=6 * env.TIMEOUT_S).payload) == len(payload)


def test_max_packet_size(start_broker, name):
    broker = start_broker({"max_packet_size": 20000})
    c = broker.client(name)
    c.subscribe((name, 0))
    c.publish(name, bytes(20000 - 20))
    c.recv_publish(name)
    c.send(p.publish(name, bytes(20000)))           # whether the limit counts the fixed header or not
    c.expect_closed_silently()


@pytest.mark.sealmqd_only("mosquitto takes the memory on the word of the length")
def test_memory_is_taken_as_bytes_arrive(start_broker, name):
    """50 connections announce 16 MB each and send 10 bytes."""
    broker = start_broker()
    clients = [broker.client(f"{name}{i}") for i in range(50)]
    before = broker.memory()
    for c in clients:
        c.send(b"\x30" + p.remaining_length(16 * 1000 * 1000) + p.string(name)[:6] + b"1234")
    probe = broker.client(name + "probe")
    for _ in range(5):
        probe.ping()
    grown = broker.memory() - before
    limit = 10 if env.SLOW > 1 else 2       # MiB: sanitizers keep what is freed
    assert grown < limit * MIB, f"{grown} bytes for 50 announcements"
    for c in clients:
        c.drop()


@pytest.mark.sealmqd_only("mosquitto takes the memory on the word of the length")
def test_memory_before_connect(start_broker, name):
    broker = start_broker()
    clients = [broker.raw() for _ in range(50)]
    probe = broker.client(name + "probe")
    before = broker.memory()
    for c in clients:
        c.send(b"\x10" + p.remaining_length(120000) + p.string("MQTT"))
    for _ in range(5):
        probe.ping()
    assert broker.memory() - before < (10 if env.SLOW > 1 else 2) * MIB
    for c in clients:
        c.drop()


@pytest.mark.parametrize("where", ["global", "listener"])
def test_max_connections(start_broker, name, where):
    limit = {"max_connections": 3}
    if env.MOSQUITTO:
        limit, where = {"max_connections": 3}, "listener"
    broker = start_broker(limit if where == "global" else {}, listener=limit if where == "listener" else None)
    clients = [broker.client(f"{name}{i}") for i in range(3)]
    with pytest.raises(Closed):
        with broker.raw() as one_more:
            one_more.send(p.connect(name + "more"))
            one_more.recv()
    for c in clients:
        c.ping()
    clients.pop().disconnect()
    deadline = time.monotonic() + env.TIMEOUT_S
    while True:                                     # the place is free as soon as the broker has let go
        try:
            broker.client(name + "next").ping()
            break
        except Closed:
            assert time.monotonic() < deadline
    for c in clients:
        c.ping()


@pytest.mark.sealmqd_only("mosquitto starts and fails later")
def test_max_connections_above_nofile_is_refused(start_broker, pki, tmp_path):
    import subprocess
    from lib.broker import config_text, listener_keys
    conf = tmp_path / "c.conf"
    conf.write_text(config_text({"max_connections": 2000000000, "store": "memory", "allow_anonymous": "false"},
                                [(1, "127.0.0.1", listener_keys(pki))]), encoding="ascii")
    got = subprocess.run([env.SEALMQD, "-c", conf], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
    assert got.returncode == 1
    assert "max_connections" in got.stderr


@pytest.mark.sealmqd_only("what mosquitto does at EMFILE is its own")
def test_running_out_of_descriptors_does_not_spin(start_broker, name):
    """With few descriptors the broker refuses or leaves waiting, keeps serving, and uses no CPU for it."""
    import resource
    import socket
    broker = start_broker({"max_connections": 20})
    pid = broker.process.pid
    first = broker.client(name)
    in_use = max(int(fd) for fd in __import__("os").listdir(f"/proc/{pid}/fd")) + 1
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 2, hard))
    waiting = [socket.create_connection(broker.address) for _ in range(10)]

    def cpu_ticks():
        fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    before, since = cpu_ticks(), time.monotonic()
    while time.monotonic() - since < 1:
        first.ping()
        time.sleep(0.05)
    assert (cpu_ticks() - before) / 100 < 0.5 * (time.monotonic() - since), "the broker spins"
    for s in waiting:
        s.close()
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    deadline = time.monotonic() + env.TIMEOUT_S
    while True:
        try:
            broker.client(name + "2").ping()
            break
        except (Closed, OSError):
            assert time.monotonic() < deadline
