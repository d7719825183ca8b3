"""From readiness to the end: sd_notify, pid file, SIGTERM, SIGINT, and what a broken peer may not do."""
import os
import signal
import time

import pytest

from lib import env, packets as p
from lib.client import Closed


@pytest.mark.sealmqd_only("Debian's mosquitto says READY too late or never")
def test_sd_notify(start_broker):
    broker = start_broker()
    assert any("READY=1" in n.split("\n") for n in broker.notified)
    broker.wait_log(r"\bready\b")


def test_ready_means_connectable(start_broker, name):
    for _ in range(3):
        broker = start_broker()
        broker.client(name).ping()


def test_pid_file(start_broker, tmp_path):
    pid_file = tmp_path / "broker.pid"
    broker = start_broker({"pid_file": pid_file})
    deadline = time.monotonic() + env.TIMEOUT_S
    while not (pid_file.exists() and pid_file.read_text(encoding="ascii").strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert int(pid_file.read_text(encoding="ascii")) == broker.process.pid
    broker.stop()
    assert not pid_file.exists()


@pytest.mark.parametrize("delay", [0, 20])
def test_sigterm_under_load(start_broker, name, delay):
    """Exit 0 within 5 s with connections of every kind open, and with handshakes and messages under way."""
    broker = start_broker({"store_memory_delay_ms": delay})
    clients = [broker.client(f"{name}{i}", clean=bool(i % 2)) for i in range(20)]
    for c in clients:
        c.subscribe((name, 1))
    half_open = [broker.raw(handshake=False) for _ in range(5)]
    silent = [broker.raw() for _ in range(5)]
    for i in range(50):
        clients[0].send(p.publish(name, str(i), 1, pid=i + 1))
    since = time.monotonic()
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(env.TIMEOUT_S) == 0
    assert time.monotonic() - since < 5 * env.SLOW
    broker.check_log()
    for c in clients:
        c.expect_close()
    for c in half_open + silent:
        c.drop()


def test_sigint(start_broker, name):
    broker = start_broker()
    broker.client(name)
    broker.process.send_signal(signal.SIGINT)
    assert broker.process.wait(env.TIMEOUT_S) == 0


@pytest.mark.sealmqd_only("design 5: what is acknowledged was handed on")
def test_what_was_acknowledged_before_sigterm_was_routed(start_broker, name):
    broker = start_broker({"store_memory_delay_ms": 20})
    sub, pub = broker.client(name + "s"), broker.client(name + "p")
    sub.subscribe((name, 1))
    for i in range(30):
        pub.send(p.publish(name, str(i), 1, pid=i + 1))
    for i in range(10):
        pub.wait_for(p.PUBACK, i + 1)
    broker.process.send_signal(signal.SIGTERM)
    acked = 10 + len([x for x in pub.expect_close() if x.type == p.PUBACK])
    got = [int(x.payload) for x in sub.expect_close() if x.type == p.PUBLISH]
    assert broker.process.wait(env.TIMEOUT_S) == 0
    assert got[:min(20, acked)] == list(range(min(20, acked))), f"{acked} acknowledged, {len(got)} routed"


def test_sigterm_twice_and_at_once(start_broker):
    broker = start_broker()
    broker.process.send_signal(signal.SIGTERM)
    broker.process.send_signal(signal.SIGTERM)
    assert broker.process.wait(env.TIMEOUT_S) in (0, -signal.SIGTERM)


def test_sighup_does_not_end_it(start_broker, name):
    broker = start_broker()
    c = broker.client(name)
    broker.process.send_signal(signal.SIGHUP)
    c.ping()
    broker.client(name + "2").ping()


def test_restart_on_the_same_port(start_broker, name):
    """No wait for TIME_WAIT."""
    broker = start_broker()
    broker.client(name)
    assert broker.terminate() == 0
    broker.start()
    broker.client(name).ping()


def test_connections_that_come_and_go(start_broker, name):
    """Hundreds of connections ended in every way: descriptors return to what they were."""
    broker = start_broker()
    steady = broker.client(name)

    def descriptors():
        return len(os.listdir(f"/proc/{broker.process.pid}/fd"))
    before = descriptors()
    for i in range(200):
        c = broker.client(f"{name}-{i}", clean=True)
        (c.disconnect, c.drop, c.reset, lambda c=c: c.send(b"\0\0"))[i % 4]()
    deadline = time.monotonic() + env.TIMEOUT_S
    while descriptors() > before:
        assert time.monotonic() < deadline, f"{before} descriptors became {descriptors()}"
        time.sleep(0.02)
    steady.ping()


@pytest.mark.sealmqd_only("our figures")
def test_idle_uses_no_cpu(start_broker, name):
    broker = start_broker({"sys_interval": 10})
    clients = [broker.client(f"{name}{i}") for i in range(20)]
    clients[0].ping()
    pid = broker.process.pid

    def ticks():
        fields = open(f"/proc/{pid}/stat", encoding="ascii").read().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])
    before = ticks()
    time.sleep(1)
    assert (ticks() - before) / 100 < 0.3, "an idle broker uses the processor"


def test_version():
    import subprocess
    program = env.MOSQUITTO_PROGRAM if env.MOSQUITTO else env.SEALMQD
    flag = "-h" if env.MOSQUITTO else "--version"
    got = subprocess.run([program, flag], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
    if not env.MOSQUITTO:
        assert got.returncode == 0
        assert "sealmq" in got.stdout + got.stderr


@pytest.mark.sealmqd_only("log lines of ours")
def test_a_violation_names_client_and_cause(start_broker, name):
    broker = start_broker()
    mark = broker.log_mark()
    c = broker.client(name)
    c.send(p.publish("a/#", b"x"))
    with pytest.raises(Closed):
        c.recv()
    assert any("device1" in line or name in line for line in broker.wait_log(name, mark))
