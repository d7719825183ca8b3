"""The audit log: what is in it, and that `sealmq audit verify` notices whatever somebody did to it."""
import collections
import hashlib
import json
import pathlib
import signal
import subprocess

import pytest

from lib import env
from lib.client import Closed
from lib.pki import SERVER_AUTH
from lib.sealing import Failed, control

pytestmark = pytest.mark.sealmqd_only("mosquitto has no audit log")

SEALMQ = env.SEALMQ


def verify(pki, *files, options=()):
    """Exit status and output."""
    done = subprocess.run([SEALMQ, "audit", "verify", *files, "--ca", pki.ca, *options], capture_output=True, text=True, check=False, timeout=env.TIMEOUT_S)
    assert "Sanitizer" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def lines_of(*files):
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def of_kind(lines, kind):
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "audit.log"


# -- what is in it

def test_each_event_has_its_line(start_broker, name, pki, log, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("user device1\ntopic readwrite #\nuser device2\ntopic read open/#\n")
    broker = start_broker({"audit_log": log, "acl_file": acl})
    a = broker.client(name + "a", clean=False)
    assert a.subscribe(("x/+", 1)) == [1]
    a.unsubscribe("x/+")
    b = broker.client(name + "b", cert="device2")
    assert b.subscribe("secret") == [0x80]
    b.publish("open/x", b"the payload", 1)
    with pytest.raises((Closed, AssertionError)):
        broker.client(name + "a", cert="device2")  # device1's session
    with pytest.raises(Closed):
        broker.raw(pki.bad["expired"][0]).ping()
    second = broker.client(name + "a", clean=False)
    a.expect_close()
    second.disconnect()
    broker.client(name + "a").disconnect()  # clean: the session ends
    acl.write_text("user device1\ntopic readwrite #\n")
    broker.reload()
    acl.write_text("nonsense\n")
    broker.reload(good=False)
    broker.stop()
    text = log.read_text()
    lines = lines_of(log)
    kinds = collections.Counter(line["kind"] for line in lines)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["kind"] for line in lines[:2]] == ["file", "started"] and [line["kind"] for line in lines[-2:]] == ["stopped", "checkpoint"]
    first = of_kind(lines, "connected")[0]
    assert first["cn"] == "device1" and first["client"] == name + "a" and first["from"].startswith("127.0.0.1:") and first["session"] == "persistent"
    certificate = subprocess.run(["openssl", "x509", "-in", pki.device(1).crt, "-outform", "DER"], capture_output=True, check=True).stdout
    serial = subprocess.run(["openssl", "x509", "-in", pki.device(1).crt, "-noout", "-serial"], capture_output=True, check=True, text=True).stdout
    assert first["cert"] == hashlib.sha256(certificate).hexdigest() and int(first["serial"], 16) == int(serial.strip().split("=")[1], 16)
    assert of_kind(lines, "subscribed")[0]["filter"] == "x/+" and of_kind(lines, "subscribed")[0]["qos"] == 1
    assert of_kind(lines, "unsubscribed")[0]["filter"] == "x/+"
    assert of_kind(lines, "subscribe-denied")[0]["filter"] == "secret" and of_kind(lines, "subscribe-denied")[0]["cn"] == "device2"
    assert of_kind(lines, "publish-denied")[0]["topic"] == "open/x"
    assert of_kind(lines, "client-id-refused")[0]["owner"] == "device1"
    refused = of_kind(lines, "handshake-refused")[0]
    assert "expired" in refused["text"] and refused["claimed_cn"] == "expired" and "cn" not in refused
    for kind in ("session-taken-over", "session-ended", "disconnected", "reloaded", "reload-refused"):
        assert kinds[kind] >= 1, (kind, kinds)
    assert "the payload" not in text
    assert log.stat().st_mode & 0o777 == 0o640
    status, output = verify(pki, log)
    assert status == 0 and output.startswith("whole: "), output


def test_key_spaces_are_in_it(start_broker, name, pki, log):
    broker = start_broker({"audit_log": log, "topic_admin": "device1"})
    admin, other = broker.client(name + "a"), broker.client(name + "o", cert="device2")
    control(admin, command="createTopic", topic=name, mode="broker", members=[{"cn": "device1"}])
    control(admin, command="addMembers", topic=name, members=[{"cn": "device3"}])
    control(admin, command="rotateKey", topic=name)
    control(admin, command="removeMember", topic=name, cn="device3")
    control(admin, command="setHistory", topic=name, history={"count": 5})
    with pytest.raises(Failed):
        control(other, command="createTopic", topic=name + "x")
    for _ in range(30):
        other.publish(name, b"dropped", 1)
    control(admin, command="deleteTopic", topic=name)
    broker.stop()
    lines = lines_of(log)
    told = [line for line in lines if line.get("topic") in (name, name + "x") and line["kind"] != "publish-denied"]
    assert [(line["kind"], line["cn"]) for line in told] == [
        ("topic-created", "device1"), ("members-added", "device1"), ("key-rotated", "device1"), ("member-removed", "device1"),
        ("history-set", "device1"), ("control-denied", "device2"), ("topic-deleted", "device1")]
    drops = of_kind(lines, "publish-denied")
    assert drops[0]["topic"] == name and drops[0]["cn"] == "device2"
    assert sum(line.get("repeated", 1) for line in drops) == 30 and len(drops) < 30, drops
    assert verify(pki, log)[0] == 0



def test_a_flood_is_counted(start_broker, name, pki, log, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("user device2\ntopic readwrite #\n")
    broker = start_broker({"audit_log": log, "acl_file": acl})
    a = broker.client(name)
    for i in range(100):
        a.publish(f"t/{i}", b"", 1)
    a.disconnect()
    broker.stop()
    denied = of_kind(lines_of(log), "publish-denied")
    assert len(denied) == 9 and [d.get("repeated") for d in denied] == [None] * 8 + [92]
    assert broker.log().count("PUBLISH to") == 8
    assert verify(pki, log)[0] == 0


def test_sigterm_loses_no_line(start_broker, name, pki, log):
    broker = start_broker({"audit_log": log})
    c = broker.client(name)
    n = 3000
    for i in range(0, n, 100):
        c.subscribe(*[f"t/{i + k}" for k in range(100)])
    broker.stop()
    assert len(of_kind(lines_of(log), "subscribed")) == n
    assert not of_kind(lines_of(log), "dropped")
    status, output = verify(pki, log)
    assert status == 0 and int(output.split(", ")[1].split()[0]) >= n // 1000 + 1, output


# -- rotation, restarts, crashes

def test_rotation_by_size_keeps_the_chain(start_broker, name, pki, log):
    broker = start_broker({"audit_log": log, "audit_log_max_size": "4K"})
    c = broker.client(name)
    for i in range(100):
        c.subscribe(f"topic/{i}")
    broker.stop()
    files = [*sorted(log.parent.glob("audit.log.*")), log]
    assert len(files) > 3
    lines = lines_of(*files)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    for before, after in zip(files, files[1:]):
        last, first = lines_of(before)[-1], lines_of(after)[0]
        assert (last["kind"], last["why"], first["kind"], first["previous"]) == ("checkpoint", "rotation", "file", before.name)
        assert int(before.name.split(".")[-1]) == lines_of(before)[0]["seq"]
    assert verify(pki, *files)[0] == 0
    assert verify(pki, files[1])[0] == 0  # alone: what came before was not given
    status, output = verify(pki, *files[:1], *files[2:])
    assert status == 1 and f"{files[2]}:1: " in output and "missing" in output
    status, output = verify(pki, files[1], files[0], *files[2:])
    assert status == 1 and f"{files[0]}:1: reordered" in output


def test_rotation_by_age(start_broker, name, pki, log):
    broker = start_broker({"audit_log": log, "audit_log_max_age": 1})
    c = broker.client(name)
    deadline = env.TIMEOUT_S * 20
    for i in range(int(deadline)):
        c.subscribe(f"t/{i}")
        if list(log.parent.glob("audit.log.*")):
            break
        c.expect_nothing(0.05)
    broker.stop()
    files = [*sorted(log.parent.glob("audit.log.*")), log]
    assert len(files) >= 2 and verify(pki, *files)[0] == 0


def test_a_restart_goes_on_and_a_moved_file_is_ended(start_broker, name, pki, log):
    broker = start_broker({"audit_log": log})
    broker.client(name).disconnect()
    broker.stop()
    broker.start()
    moved = log.with_name("moved.log")
    log.rename(moved)
    broker.reload()
    broker.client(name).disconnect()
    broker.stop()
    lines = lines_of(moved, log)
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(of_kind(lines, "started")) == 2 and lines_of(log)[0]["kind"] == "file"
    assert verify(pki, moved, log)[0] == 0


def test_a_crash_is_noted_and_a_torn_line_too(start_broker, name, pki, log):
    broker = start_broker({"audit_log": log})
    broker.client(name)
    while not log.read_text().count('"connected"'):
        pass
    broker.kill()
    status, output = verify(pki, log)
    assert status == 1 and "truncated" in output
    assert verify(pki, log, options=["--open"])[0] == 0
    with open(log, "ab") as f:
        f.write(b'{"seq":99,"ts":"2026')
    broker.start()
    broker.stop()
    status, output = verify(pki, log)
    assert status == 0 and "torn by a crash" in output and "without having ended" in output, output
    torn = next(line for line in log.read_text().splitlines() if '"kind":"torn"' in line)
    assert json.loads(torn)["bytes"] == 20
    log.write_text(log.read_text().replace('{"seq":99', '{"seq":98'))
    status, output = verify(pki, log)
    assert status == 1 and "edited, or not the broker's" in output


def test_what_is_no_audit_log_is_not_written_to(start_broker, log):
    log.write_text("something else\n")
    broker = start_broker({"audit_log": log}, wait=False)
    assert broker.process.wait(env.TIMEOUT_S) == 1
    assert "its last line is none of an audit log" in broker.log() and log.read_text() == "something else\n"


def test_a_full_disk_is_counted(start_broker, name, pki, tmp_path):
    pytest.importorskip("resource")
    log = tmp_path / "audit.log"
    broker = start_broker({"audit_log": log}, prefix=["prlimit", "--fsize=20000:100000000"])  # SIGXFSZ is ignored: writes fail with EFBIG
    c = broker.client(name)
    for i in range(0, 20000, 100):
        c.subscribe(*[f"a/filter/that/is/long/enough/{i + k}" for k in range(100)])
    broker.wait_log("audit log .* cannot write: File too large")
    subprocess.run(["prlimit", f"--pid={broker.process.pid}", "--fsize=100000000"], check=True)
    broker.wait_log("is written again", timeout=env.TIMEOUT_S)
    c.disconnect()
    broker.stop()
    lines = lines_of(log)
    dropped = sum(line["lines"] for line in of_kind(lines, "dropped"))
    assert dropped > 0 and len(of_kind(lines, "subscribed")) + dropped >= 20000
    status, output = verify(pki, log)
    assert status == 0 and "could not write some lines" in output


# -- what somebody does to it

@pytest.fixture(scope="module")
def whole(tmp_path_factory, pki):
    """A log with checkpoints inside, as lines."""
    from lib.broker import Broker
    directory = tmp_path_factory.mktemp("audit")
    log = directory / "audit.log"
    broker = Broker(directory, pki, {"audit_log": log, "audit_checkpoint_lines": 5}).start()
    c = broker.client("victim")
    c.subscribe(*[f"t/{i}" for i in range(20)])
    c.disconnect()
    broker.stop()
    assert verify(pki, log)[0] == 0
    return log.read_text().splitlines()


def places(lines):
    """One line of each kind, by number from 0."""
    found = {}
    for i, line in enumerate(lines):
        found.setdefault(json.loads(line)["kind"], i)
    return found


def tampered(pki, tmp_path, lines):
    file = tmp_path / "tampered.log"
    file.write_text("\n".join(lines) + "\n")
    return file, *verify(pki, file)


KINDS = ["file", "started", "connected", "subscribed", "checkpoint", "disconnected", "stopped"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_edited_line_is_named(whole, pki, tmp_path, kind):
    i = places(whole)[kind]
    lines = list(whole)
    lines[i] = lines[i].replace('"ts":"2', '"ts":"3')
    file, status, output = tampered(pki, tmp_path, lines)
    assert status == 1 and f"{file}:{i + 1}: " in output and "edited" in output, output


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_line_is_named(whole, pki, tmp_path, kind):
    i = places(whole)[kind]
    file, status, output = tampered(pki, tmp_path, whole[:i] + whole[i + 1:])
    assert status == 1 and f"{file}:{i + 1}: " in output and "missing" in output, output


@pytest.mark.parametrize("kind", KINDS)
def test_swapped_lines_are_named(whole, pki, tmp_path, kind):
    i = places(whole)[kind]
    file, status, output = tampered(pki, tmp_path, [*whole[:i], whole[i + 1], whole[i], *whole[i + 2:]])
    assert status == 1 and f"{file}:{i + 2}: reordered" in output, output


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_cut_off_is_noticed(whole, pki, tmp_path, kind):
    i = places(whole)[kind]
    file, status, output = tampered(pki, tmp_path, whole[:i + 1])
    assert status == 1 and f"{file}:{i + 1}: truncated" in output, output


def test_an_inserted_line_is_named(whole, pki, tmp_path):
    i = places(whole)["subscribed"]
    file, status, output = tampered(pki, tmp_path, [*whole[:i + 1], whole[i], *whole[i + 1:]])
    assert status == 1 and f"{file}:{i + 2}: reordered, repeated or inserted" in output


def rechained(lines):
    """What somebody without the key can do: all hashes right, the old signatures."""
    out, prev = [], "0" * 64
    for line in lines:
        before = json.loads(line)["prev"]
        line = line.replace(f'"prev":"{before}"', f'"prev":"{prev}"')
        out.append(line)
        prev = hashlib.sha256(line.encode()).hexdigest()
    return out


def test_hashes_made_anew_do_not_hide_it(whole, pki, tmp_path):
    i = places(whole)["connected"]
    lines = list(whole)
    lines[i] = lines[i].replace("victim", "nobody")
    file, status, output = tampered(pki, tmp_path, rechained(lines))
    assert status == 1 and "the signature of this checkpoint is not good" in output


def test_only_the_brokers_certificate_may_sign(whole, pki, tmp_path):
    file = tmp_path / "log"
    file.write_text("\n".join(whole) + "\n")
    assert verify(pki, file, options=["--issuer", pki.server.crt])[0] == 0
    status, output = verify(pki, file, options=["--issuer", pki.device(1).crt])
    assert status == 1 and "it is not the key of --issuer" in output


@pytest.mark.parametrize("vector", ["es256", "ps256", "by_c"])
def test_vectors(vector):
    vectors = pathlib.Path(__file__).parent.parent / "vectors"
    issuer = vectors / ("rsa.crt" if vector == "ps256" else "ec.crt")
    done = subprocess.run([SEALMQ, "audit", "verify", vectors / f"audit_{vector}.log", "--ca", vectors / "ca.crt", "--issuer", issuer],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_clients_key_signs_nothing(start_broker, name, pki, tmp_path):
    """A member of the fleet writes a log of its own, with its own certificate of the same CA."""
    from lib.broker import Broker
    log = tmp_path / "audit.log"
    forger = Broker(tmp_path, pki, {"audit_log": log}, listener={"certfile": pki.device(1).crt, "keyfile": pki.device(1).key}).start()
    forger.stop()
    status, output = verify(pki, log)
    assert status == 1 and "it is not a server's" in output
    assert verify(pki, log, options=["--issuer", pki.device(1).crt])[0] == 0


@pytest.mark.parametrize("days", [(-1, 365), (-30, -1)])
def test_another_authoritys_server_signs_nothing(whole, pki, tmp_path, days):
    """Also when its certificate has expired: that may be an old log's, but then of our authority."""
    from lib.broker import Broker
    log = tmp_path / "audit.log"
    server = pki.other_authority.issue(f"other-server{days[0]}", "localhost", eku=(SERVER_AUTH,), days=days)
    forger = Broker(tmp_path, pki, {"audit_log": log}, listener={"certfile": server.crt, "keyfile": server.key}).start()
    forger.stop()
    status, output = verify(pki, log)
    assert status == 1 and "not to be trusted: certificate of an unknown CA" in output, output


def test_what_cannot_be_checked_is_exit_status_2(pki, tmp_path):
    assert verify(pki, tmp_path / "missing")[0] == 2
    assert subprocess.run([SEALMQ, "audit", "verify", "x"], capture_output=True, check=False).returncode == 2
    assert subprocess.run([SEALMQ, "audit", "verify", "x", "--ca", tmp_path / "no"], capture_output=True, check=False).returncode == 2
    (tmp_path / "empty").write_text("")
    assert verify(pki, tmp_path / "empty")[0] == 1


def test_a_new_key_after_a_reload_signs_on(start_broker, name, pki, log):
    broker = start_broker({"audit_log": log, "audit_checkpoint_lines": 3})
    broker.client(name).subscribe("a", "b", "c")
    rsa = pki.authority.issue("server-rsa", "localhost", kind="rsa2048", eku=(SERVER_AUTH,))
    broker.configure(listener={"certfile": rsa.crt, "keyfile": rsa.key})
    broker.reload()
    broker.client(name + "2").subscribe("a", "b", "c")
    broker.stop()
    assert len(of_kind(lines_of(log), "key")) == 1
    assert {line["alg"] for line in of_kind(lines_of(log), "checkpoint")} == {"ES256", "PS256"}
    assert verify(pki, log)[0] == 0
    status, output = verify(pki, log, options=["--issuer", pki.server.crt])
    assert status == 1 and "it is not the key of --issuer" in output
