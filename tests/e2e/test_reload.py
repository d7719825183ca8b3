"""SIGHUP: files are read again, connections stay, what is no longer allowed ends."""
import os
import resource
import shutil
import signal
import socket
import threading
import time

import pytest

from lib import env
from lib.broker import listener_keys
from lib.client import Closed

pytestmark = pytest.mark.sealmqd_only("mosquitto reloads less")

ENDED_WITHIN_S = 1 * env.SLOW
SANITIZED = env.BUILD_DIR.name in ("asan", "tsan")   # whose memory tells nothing


@pytest.fixture
def acl(tmp_path):
    return tmp_path / "acl.conf"


def is_ended(c):
    start = time.monotonic()
    c.expect_close(timeout=env.TIMEOUT_S)
    assert time.monotonic() - start < ENDED_WITHIN_S


# -- access rules

def test_a_new_acl_file_holds_at_once(start_broker, name, acl):
    acl.write_text("user device1\ntopic readwrite #\n")
    broker = start_broker({"acl_file": acl})
    a, b = broker.client(name + "a"), broker.client(name + "b", cert="device2")
    assert b.subscribe("x") == [0x80]
    acl.write_text("user device1\ntopic readwrite #\nuser device2\ntopic read x\n")
    assert b.subscribe("x") == [0x80]  # nobody has read it yet
    broker.reload()
    assert b.subscribe("x") == [0]
    a.publish("x", b"1", 1)
    b.recv_publish("x", b"1")


@pytest.mark.parametrize("clean", [True, False])
def test_subscriptions_that_are_no_longer_allowed_are_removed(start_broker, name, acl, clean):
    acl.write_text("user device1\ntopic readwrite #\n")
    broker = start_broker({"acl_file": acl})
    a = broker.client(name + "a", cert="device1")
    acl.write_text("user device1\ntopic readwrite #\nuser device2\ntopic read #\n")
    broker.reload()
    b = broker.client(name + "b", cert="device2", clean=clean)
    assert b.subscribe(("keep/+", 1), ("gone/x", 1), ("$share/g/gone/y", 1), ("#", 0)) == [1, 1, 1, 0]
    acl.write_text("user device1\ntopic readwrite #\nuser device2\ntopic read keep/#\ntopic deny keep/secret\n")
    log = broker.reload()
    removed = "subscription removed: the access rules no longer allow it"
    line = next(x for x in log.splitlines() if "(filter 'gone/x')" in x)
    assert f"audit: CN 'device2' client '{name}b' 127.0.0.1:" in line and removed in line
    assert "(filter '$share/g/gone/y')" in log and log.count(removed) == 2
    for topic in ("gone/x", "gone/y", "keep/secret", "other", "keep/a"):
        a.publish(topic, topic, 1)
    assert b.recv_publish().topic == "keep/a"
    acl.write_text("user device1\ntopic readwrite #\nuser device2\ntopic read #\n")
    broker.reload()
    for topic in ("gone/x", "gone/y", "keep/b"):  # what was removed stays removed
        a.publish(topic, topic, 1)
    got = [b.recv_publish().topic for _ in range(3)]
    assert got == ["gone/x", "gone/y", "keep/b"]  # by '#', which had something to read throughout
    b.unsubscribe("#")
    a.publish("gone/x", b"no", 1)
    a.publish("keep/c", b"yes", 1)
    b.recv_publish("keep/c")


def test_what_waits_for_an_absent_session_is_judged_too(start_broker, name, acl):
    everything = "user device1\ntopic readwrite #\nuser device2\ntopic read #\n"
    acl.write_text(everything)
    broker = start_broker({"acl_file": acl})
    a, b = broker.client(name + "a"), broker.client(name + "b", cert="device2", clean=False)
    assert b.subscribe(("p/#", 2), ("q/#", 1)) == [2, 1]
    b.disconnect()
    for qos in (1, 2):
        for topic in ("p/secret", "p/open", "q/x"):
            a.publish(topic, topic, qos)
    acl.write_text(everything.replace("read #", "read p/#\ntopic deny p/secret"))
    assert "subscription removed: the access rules no longer allow it (filter 'q/#')" in broker.reload()
    b = broker.client(name + "b", cert="device2", clean=False)
    a.publish("q/x", b"no", 1)
    a.publish("p/end", b"end", 1)
    assert [b.recv_publish().topic for _ in range(3)] == ["p/open", "p/open", "p/end"]


def test_a_full_window_is_judged_when_it_moves(start_broker, name, acl):
    acl.write_text("pattern readwrite #\n")
    broker = start_broker({"acl_file": acl, "max_inflight_messages": 2})
    a, b = broker.client(name + "a"), broker.client(name + "b", cert="device2")
    b.subscribe(("#", 1))
    for i in range(6):
        a.publish("open" if i % 2 else "secret", str(i), 1)
    first = [b.recv_publish(ack=False) for _ in range(2)]
    acl.write_text("pattern readwrite #\npattern deny secret\n")
    broker.reload()
    for m in first:
        b.acknowledge(m)
    assert b.recv_payloads(2) == [b"3", b"5"]
    b.ping()
    assert not b.inbox


def test_without_acl_file_again(start_broker, name, acl):
    acl.write_text("pattern readwrite #\npattern read $own/#\n")
    broker = start_broker({"acl_file": acl})
    c = broker.client(name)
    assert c.subscribe("$own/x", "x") == [0, 0]
    broker.configure({"acl_file": None})
    assert "subscription removed: the access rules no longer allow it (filter '$own/x')" in broker.reload()
    c.publish("x", b"1", 1)
    c.recv_publish("x")


# -- a bad one changes nothing

@pytest.mark.parametrize("what", ["key", "acl", "cert", "ca", "crl", "log", "gone"])
def test_a_bad_file_changes_nothing(start_broker, name, acl, tmp_path, what):
    acl.write_text("pattern readwrite #\n")
    broker = start_broker({"acl_file": acl, "max_packet_size": 1000})
    c = broker.client(name)
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate\n")
    new_acl = tmp_path / "new-acl.conf"
    new_acl.write_text("user device2\ntopic eat x\n" if what == "acl" else "user device2\ntopic read x\n")
    options = {"acl_file": new_acl, "max_packet_size": 2000}
    listener = {}
    if what == "key":
        options["max_inflight_mesages"] = 7
    elif what == "log":
        options["log_dest"] = f"file {tmp_path}/nowhere/log"
    elif what in ("cert", "ca", "crl"):
        listener = {{"cert": "certfile", "ca": "cafile", "crl": "crlfile"}[what]: bad}
    broker.configure(options, listener)
    if what == "gone":
        broker.config_path.unlink()
    log = broker.reload(good=False)
    wanted = {"key": f"{broker.config_path}:", "acl": f"{new_acl}:2: ", "gone": str(broker.config_path), "log": "log_dest"}
    assert wanted.get(what, f"{broker.config_path}:") in log and wanted.get(what, str(bad)) in log
    c.ping()
    assert c.subscribe("y") == [0]
    c.publish("y", b"x" * 500, 1)
    c.recv_publish("y")
    broker.client(name + "2").publish("y", b"x", 1)
    with broker.client(name + "3") as big:
        big.send(b"\x30\xff\x0f" + b"\0" * 100)
        big.expect_close()
    broker.wait_log("too large")


def test_what_needs_a_restart_is_told_and_stays(start_broker, name):
    broker = start_broker({"max_inflight_messages": 3})
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        other = s.getsockname()[1]
    broker.configure({"threads": env.THREADS + 1, "store": "lmdb", "max_inflight_messages": 5}, extra=[(other, "127.0.0.1", listener_keys(broker.pki))])
    log = broker.reload()
    for wanted in ("warning: threads: another value needs a restart", "warning: store: another value needs a restart",
                   f"warning: listener {other} 127.0.0.1: to open it needs a restart"):
        assert wanted in log
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", other))
    c = broker.client(name)
    c.subscribe(("x", 1))
    for _ in range(8):
        c.publish("x", b"", 1)
    assert len([c.recv_publish(ack=False) for _ in range(5)]) == 5
    c.expect_nothing()


def test_limits_change_for_the_next_packet(start_broker, name):
    broker = start_broker({"max_packet_size": 1000, "sys_interval": 0})
    c = broker.client(name)
    broker.configure({"max_packet_size": 3000, "sys_interval": 1})
    broker.reload()
    c.subscribe("x")
    c.publish("x", b"y" * 2000, 1)
    c.recv_publish("x")
    c.subscribe("$SYS/broker/uptime")
    c.recv_publish("$SYS/broker/uptime")


def test_log_settings_change(start_broker, name, tmp_path):
    broker = start_broker()
    broker.configure({"log_dest": f"file {tmp_path}/new.log", "log_format": "json"})
    (tmp_path / "new.log").touch()
    broker.process.send_signal(signal.SIGHUP)
    broker.log_path = tmp_path / "new.log"
    broker.wait_log("reloaded")
    broker.client(name)
    broker.wait_log(rf'^{{.*{name}.*connected')


# -- certificates

def test_a_new_server_certificate_is_shown_to_new_connections(start_broker, name, pki, tmp_path):
    crt, key = tmp_path / "server.crt", tmp_path / "server.key"
    shutil.copy(pki.server.crt, crt), shutil.copy(pki.server.key, key)
    broker = start_broker(listener={"certfile": crt, "keyfile": key})
    old = broker.client(name)
    before = old.tls.getpeercert(True)
    new = pki.authority.issue("renewed-server", "localhost", eku=("1.3.6.1.5.5.7.3.1",), san=(bytes([0x82, 9]) + b"localhost",))
    shutil.copy(new.crt, crt), shutil.copy(new.key, key)
    broker.reload()
    again = broker.client(name + "2")
    assert again.tls.getpeercert(True) != before
    for c in (old, again):
        c.subscribe("x")
        c.publish("x", b"1", 1)
        c.recv_publish("x")


def test_a_revoked_certificate_ends_its_connections(start_broker, name, pki, tmp_path):
    victim = pki.authority.issue("victim", "victim")
    crl = pki.authority.crl(tmp_path / "crl.pem")
    broker = start_broker(listener={"crlfile": crl})
    good, bad, bad_silent = broker.client(name), broker.client(name + "v", cert=victim), broker.raw(victim)
    pki.authority.crl(crl, victim)
    log = broker.reload()
    is_ended(bad)
    is_ended(bad_silent)
    ended = [line for line in log.splitlines() if "audit: CN 'victim'" in line]
    assert len(ended) == 2 and all("ended after a reload: certificate revoked" in line for line in ended)
    good.ping()
    with pytest.raises(Closed):
        broker.client(name + "v2", cert=victim)
    broker.client(name + "2").ping()


def test_a_handshake_that_spans_a_reload_is_judged_by_the_new_files(start_broker, name, pki, tmp_path):
    victim = pki.authority.issue("victim2", "victim2")
    crl = pki.authority.crl(tmp_path / "crl.pem")
    broker = start_broker(listener={"crlfile": crl})
    c = broker.raw(victim, handshake=False)
    pki.authority.crl(crl, victim)
    broker.reload()
    try:
        c.handshake()
        c.connect(name, expect=5)
    except Closed:
        return
    c.expect_close()


def test_a_removed_authority_ends_its_connections(start_broker, name, pki, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(pki.ca.read_bytes() + pki.other_authority.crt.read_bytes())
    stranger = pki.other_authority.issue("stranger2", "stranger2")
    broker = start_broker(listener={"cafile": both})
    ours, theirs = broker.client(name), broker.client(name + "s", cert=stranger)
    both.write_bytes(pki.ca.read_bytes())
    log = broker.reload()
    is_ended(theirs)
    assert "CN 'stranger2'" in log
    ours.ping()
    both.write_bytes(pki.other_authority.crt.read_bytes() + pki.ca.read_bytes())
    broker.reload()
    ours.ping()
    broker.client(name + "s", cert=stranger).ping()


def signatures(c, kind, at_least):
    """Waits until $SYS says so of signatures over certificates of all handshakes so far."""
    topic = f"$SYS/broker/handshakes/signatures/{kind}"
    c.subscribe(topic)
    while int(c.recv_publish(topic, qos=None).payload) < at_least:
        pass
    c.unsubscribe(topic)


def test_a_known_certificate_is_judged_all_the_same(start_broker, name, pki, tmp_path):
    """Its signature is not verified again; whether it is revoked, and whether its authority still is one, is asked each time."""
    both = tmp_path / "both.pem"
    both.write_bytes(pki.ca.read_bytes() + pki.other_authority.crt.read_bytes())
    victim, stranger = pki.authority.issue("victim3", "victim3"), pki.other_authority.issue("stranger3", "stranger3")
    crl = pki.authority.crl(tmp_path / "crl.pem")
    crl.write_bytes(crl.read_bytes() + pki.other_authority.crl(tmp_path / "other.pem").read_bytes())
    broker = start_broker({"threads": 1, "sys_interval": 1}, listener={"crlfile": crl, "cafile": both})
    watcher = broker.client(name)
    for i in range(3):
        for cert in (victim, stranger):
            broker.client(f"{name}{i}", cert=cert).disconnect()
    signatures(watcher, "known", 4)
    signatures(watcher, "verified", 3)
    both.write_bytes(pki.ca.read_bytes())
    pki.authority.crl(crl, victim)
    broker.reload()
    for cert, why in ((victim, "certificate revoked"), (stranger, "certificate of an unknown CA")):
        for i in range(2):
            mark = broker.log_mark()
            with pytest.raises(Closed):
                broker.client(f"{name}{i}", cert=cert)
            broker.wait_log(f"handshake refused: {why}", mark)
    broker.client(name + "2").ping()
    signatures(watcher, "verified", 4)


def test_a_revoked_clients_will_is_published(start_broker, name, pki, tmp_path):
    victim = pki.authority.issue("victim3", "victim3")
    crl = pki.authority.crl(tmp_path / "crl.pem")
    broker = start_broker(listener={"crlfile": crl})
    good = broker.client(name)
    good.subscribe("will")
    broker.client(name + "v", cert=victim, will=("will", b"gone"))
    pki.authority.crl(crl, victim)
    broker.reload()
    good.recv_publish("will", b"gone")


# -- under load

CLIENTS, RELOADS = (60, 24) if SANITIZED else (1000, 100)
CLIENTS, RELOADS = int(os.environ.get("SEALMQ_RELOAD_CLIENTS", CLIENTS)), int(os.environ.get("SEALMQ_RELOADS", RELOADS))
GROWTH_MAX = 1 << 20   # bytes; one context is some 20 kB, a revocation list of 2,000 some 80 kB


def test_reloads_drop_nobody_lose_nothing_and_keep_nothing(start_broker, name, acl, pki, tmp_path):
    """With other files each time, while messages flow and connections come and go. SEALMQ_RELOAD_CLIENTS and SEALMQ_RELOADS make it larger."""
    files, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(hard, CLIENTS + 500)), hard))
    acl.write_text("pattern readwrite #\npattern deny never\n")
    crl, ca_file = tmp_path / "crl.pem", tmp_path / "cas.pem"
    gone = [pki.authority.issue(f"gone-{i}", f"gone-{i}") for i in range(2)]
    lists = [pki.authority.crl(tmp_path / f"crl-{i}.pem", *[gone[i]] * 2000).read_bytes() + pki.other_authority.crl(tmp_path / "o.pem").read_bytes() for i in range(2)]
    cas = [pki.ca.read_bytes() + pki.other_authority.crt.read_bytes(), pki.other_authority.crt.read_bytes() + pki.ca.read_bytes()]
    crl.write_bytes(lists[0])
    ca_file.write_bytes(cas[0])
    broker = start_broker({"acl_file": acl, "log_type": "notice"}, listener={"crlfile": crl, "cafile": ca_file})
    a, b = broker.client(name + "a"), broker.client(name + "b", cert="device2")
    others = [broker.client(f"{name}-{i}", cert=f"device{i % 5 + 1}", keepalive=0) for i in range(CLIENTS)]
    b.subscribe((name + "/#", 1))
    sent, stop, errors = [0], threading.Event(), []

    def publish():
        try:
            while not stop.is_set():
                a.publish(f"{name}/{sent[0] % 7}", str(sent[0]), 1)
                sent[0] += 1
        except Exception as e:  # pylint: disable=broad-except
            errors.append(e)
    thread = threading.Thread(target=publish)
    thread.start()
    got, memory = 0, []
    for i in range(RELOADS):
        crl.write_bytes(lists[i % 2])
        ca_file.write_bytes(cas[i % 2])
        acl.write_text(f"pattern readwrite #\npattern deny never{i}\n")
        broker.reload()
        broker.client(f"{name}-new").drop()
        while got < sent[0]:
            assert b.recv_publish().payload == str(got).encode()
            got += 1
        memory.append(broker.memory())
    stop.set()
    thread.join()
    assert not errors
    assert b.recv_payloads(sent[0] - got) == [str(i).encode() for i in range(got, sent[0])]
    for c in others:
        c.ping()
    assert "ended after a reload" not in broker.log()
    print(f"{CLIENTS} clients, {RELOADS} reloads, {sent[0]} messages, RssAnon in kB: {memory[0] >> 10}, after a third {memory[RELOADS // 3] >> 10}, "
          f"at the end {memory[-1] >> 10}")
    if not SANITIZED:  # what is on its way is gone when nothing has been published for a while
        deadline = time.monotonic() + env.TIMEOUT_S
        while broker.memory() - memory[RELOADS // 3] >= GROWTH_MAX:
            assert time.monotonic() < deadline, memory
            time.sleep(0.2)


def test_systemd_is_told(start_broker):
    broker = start_broker()
    broker.reload()
    assert broker.notified[0].startswith("RELOADING=1\nMONOTONIC_USEC=") and broker.notified[1:] == ["READY=1"]


def test_a_service_manager_that_does_not_read_holds_up_nothing(start_broker):
    broker = start_broker()
    for _ in range(40):  # more than a datagram socket's queue
        broker.process.send_signal(signal.SIGHUP)
        time.sleep(0.005)
    assert broker.terminate(timeout=env.TIMEOUT_S) == 0
