"""The process: whom it runs as, its command line, its log in text and JSON."""
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile

import pytest

from lib import env, packets as p
from lib.broker import Broker, Port

pytestmark = pytest.mark.sealmqd_only("our command line and log")
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can change the user")


@pytest.fixture
def open_directory():
    """A directory that every user may read."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="sealmq-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def copy_pki(pki, directory, owner):
    """The server's files, readable by owner alone where they are secret."""
    paths = {}
    for key, source in (("cafile", pki.ca), ("certfile", pki.server.crt), ("keyfile", pki.server.key)):
        paths[key] = directory / source.name
        shutil.copy(source, paths[key])
        os.chown(paths[key], owner.pw_uid, owner.pw_gid)
    return paths


@root_only
def test_user_is_changed(start_broker, pki, name, open_directory):
    nobody = pwd.getpwnam("nobody")
    broker = start_broker({"user": "nobody"}, wait=False, directory=open_directory, listener=copy_pki(pki, open_directory, nobody))
    broker.wait_log(r"\bready\b")                    # not by NOTIFY_SOCKET, which only root may write to
    broker.client(name).ping()
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text(encoding="ascii")
    assert re.search(r"Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", status).groups() == (str(nobody.pw_uid),) * 4
    assert re.search(r"Gid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", status).groups() == (str(nobody.pw_gid),) * 4
    for thread in os.listdir(f"/proc/{broker.process.pid}/task"):
        text = pathlib.Path(f"/proc/{broker.process.pid}/task/{thread}/status").read_text(encoding="ascii")
        assert re.search(r"CapEff:\s+0+$", text, re.MULTILINE), "no capability is left"
    groups = re.search(r"Groups:(.*)", status).group(1).split()
    assert "0" not in groups


@pytest.mark.parametrize("user", ["root", pytest.param("nobody", marks=root_only)])
def test_no_core_can_hold_a_key(start_broker, pki, open_directory, user):
    """Not by its limits, and not as the kernel sees it: of a process that may not be dumped, /proc belongs to root."""
    one = pwd.getpwnam(user) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    broker = start_broker({"user": user}, wait=False, directory=open_directory, listener=copy_pki(pki, open_directory, one))
    broker.wait_log(r"\bready\b")
    process = pathlib.Path(f"/proc/{broker.process.pid}")
    assert re.search(r"Max core file size +0 +0 +bytes", (process / "limits").read_text(encoding="ascii"))
    if one.pw_uid != 0:
        assert f"Uid:\t{one.pw_uid}\t" in (process / "status").read_text(encoding="ascii")
        assert (process / "environ").stat().st_uid == 0


@root_only
def test_a_key_that_the_user_cannot_read_is_an_error_at_the_start(start_broker, pki, open_directory):
    """A reload could never read it again."""
    paths = copy_pki(pki, open_directory, pwd.getpwnam("root"))
    paths["keyfile"].chmod(0o600)
    broker = start_broker({"user": "nobody"}, wait=False, directory=open_directory, listener=paths)
    assert broker.process.wait(env.TIMEOUT_S) == 1
    assert str(paths["keyfile"]) in broker.log()


@root_only
def test_unknown_user(start_broker):
    broker = start_broker({"user": "no-such-user-here"}, wait=False)
    assert broker.process.wait(env.TIMEOUT_S) == 1
    assert "no-such-user-here" in broker.log()


def test_port_on_the_command_line(start_broker, pki, name):
    """-p replaces the first listener's port."""
    port = Port()
    try:
        broker = start_broker(program_args=("-p", str(port.number)))
        with broker.client(name, address=("127.0.0.1", port.number)) as c:
            c.ping()
        with pytest.raises(OSError):
            broker.plain()
    finally:
        port.release()


def test_verbose_tells_more(start_broker, name):
    broker = start_broker({"log_type": "notice"}, program_args=("-v",))
    broker.client(name).disconnect()
    broker.wait_log(name)


def test_log_types_are_chosen(start_broker, name):
    broker = start_broker({"log_type": "error"})
    broker.client(name).disconnect()
    with broker.raw("device2") as c:
        c.send(b"\0\0")
        c.expect_close()
    broker.stop()
    assert name not in broker.log()


HOSTILE = ["\"quote\"", "back\\slash", "new\nline", "tab\t", "esc\x1b[31m", "c1\u0085", "\u2028separator", "percent %s %n"]


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.parametrize("client_id", HOSTILE, ids=["quote", "backslash", "newline", "tab", "escape", "c1", "u2028", "percent"])
def test_a_client_id_cannot_forge_a_line(start_broker, format_, client_id):
    broker = start_broker({"log_format": format_})
    mark = broker.log_mark()
    c = broker.client(client_id)
    c.send(p.publish("a/#", b"x"))
    c.expect_close()
    broker.stop()
    lines = broker.log_since(mark).rstrip("\n").split("\n")
    raw = broker.log_path.read_bytes()
    assert not set(raw) & (set(range(32)) - {10}) and b"\x7f" not in raw, "control characters reach the log"
    for line in lines:
        if format_ == "json":
            fields = json.loads(line)
            assert isinstance(fields, dict) and fields
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \w+: ", line), line


def test_payloads_are_never_logged(start_broker, name):
    broker = start_broker()
    with broker.client(name, will=(name + "/w", b"SECRET-will", 1, True), username="u", password="SECRET-password") as c:
        c.subscribe((name + "/#", 2))
        for qos in (0, 1, 2):
            c.publish(name + "/x", b"SECRET-payload", qos, retain=True)
        c.send(p.publish("a/#", b"SECRET-malformed"))
        c.expect_close()
    broker.stop()
    assert "SECRET" not in broker.log()


def test_check_config_starts_nothing(pki, tmp_path):
    """--check-config judges the file while the port is in use, and ends."""
    one = Broker(tmp_path, pki).start()
    try:
        got = subprocess.run([env.SEALMQD, "-c", one.config_path, "--check-config"], capture_output=True, text=True, timeout=env.TIMEOUT_S, check=False)
        assert got.returncode == 0, got.stderr
        one.stop()
    finally:
        one.kill()
