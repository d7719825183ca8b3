"""docs/operations.md: its commands are taken from the document and run, so that it cannot lie."""
import os
import re
import shutil
import subprocess
import types

import pytest

from lib import env
from lib.broker import Broker
from lib.client import RawClient, tls_context
from lib.pki import Cert

pytestmark = [pytest.mark.sealmqd_only("our document"),
              pytest.mark.skipif(not shutil.which("mosquitto_pub"), reason="the document uses mosquitto_pub")]

DOCUMENT = (env.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

# `systemctl reload sealmqd` without systemd: the signal that the unit sends, and back when it has been followed.
SYSTEMCTL = """#!/bin/sh
[ "$*" = "reload sealmqd" ] || { echo "systemctl $*: not this" >&2; exit 1; }
before=$(grep -c 'audit: reloaded' "$BROKER_LOG")
kill -HUP "$BROKER_PID"
for _ in $(seq 500); do
    [ "$(grep -c 'audit: reloaded' "$BROKER_LOG")" = "$before" ] || exit 0
    sleep 0.02
done
exit 1
"""


def commands(heading):
    """The indented blocks below a heading, up to the next: blocks by number when they belong to numbered steps, else in their order."""
    text = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##)", DOCUMENT, re.MULTILINE | re.DOTALL).group(1)
    blocks = re.findall(r"(?:(?:^    (?: {3})?\S.*\n)+)", text, re.MULTILINE)
    return [re.sub(r"^ +", "", block, flags=re.MULTILINE).splitlines() for block in blocks]


def script(lines):
    """Each line has to succeed, but for those that say "# refused"."""
    return "set -eu\n" + "".join(f"if {line}; then echo \"this was not refused\" >&2; exit 1; fi\n" if line.endswith("# refused") else line + "\n"
                                 for line in lines).replace("    # refused; then", "; then")


class Place:
    """The directories and the broker that the commands are about."""

    def __init__(self, path):
        self.path, self.certs, self.next = path, path / "certs", path / "certs-next"
        self.broker, self.environ = None, None
        (path / "bin").mkdir()
        (path / "bin" / "systemctl").write_text(SYSTEMCTL, encoding="ascii")
        (path / "bin" / "systemctl").chmod(0o755)

    def run(self, lines):
        environ = {**os.environ, "CERTS": str(self.certs), "NEXT": str(self.next), "BROKER": "localhost", "PATH": f"{self.path}/bin:{os.environ['PATH']}"}
        if self.broker:
            environ.update(PORT=str(self.broker.port), BROKER_PID=str(self.broker.process.pid), BROKER_LOG=str(self.broker.log_path))
        got = subprocess.run(["bash", "-c", script(lines)], cwd=env.ROOT, env=environ, capture_output=True, text=True, timeout=env.TIMEOUT_S * 10,
                             stdin=subprocess.DEVNULL, check=False)
        assert got.returncode == 0, f"{script(lines)}\n{got.stdout}\n{got.stderr}"
        return got.stdout

    def start(self):
        pki = types.SimpleNamespace(ca=self.certs / "trust.crt", server=Cert("server", self.certs / "server.crt", self.certs / "server.key"))
        self.broker = Broker(self.path, pki, listener={"crlfile": self.certs / "trust.crl"}).start()

    def client(self, name, directory=None):
        directory = directory or self.certs
        context = tls_context(self.certs / "trust.crt", directory / f"{name}.crt", directory / f"{name}.key")
        return RawClient(self.broker.address, context).connect("live-" + name)


@pytest.fixture
def place(tmp_path):
    one = Place(tmp_path)
    yield one
    if one.broker:
        try:
            one.broker.stop()
        finally:
            one.broker.kill()


def test_the_commands_about_certificates(place):
    setting_up, = commands("Setting up")
    place.run(setting_up)
    place.start()
    steady = place.client("client")                                # nothing below may disturb it, until its authority goes

    fleet, own_key = commands("Provisioning a fleet")
    assert place.run(fleet).count(": new, until") == 4
    tar = subprocess.run(["tar", "-tf", place.certs / "pump1.tar"], capture_output=True, text=True, check=True).stdout.split()
    assert tar == ["trust.crt", "pump1.crt", "pump1.key"]
    place.run(own_key)
    place.broker.wait_log("CN 'pump1'.* connected")
    place.broker.wait_log("CN 'pump9'.* connected")
    steady.ping()

    renewing, = commands("Renewing")
    before = (place.certs / "pump1.crt").read_bytes(), (place.certs / "pump1.key").read_bytes(), (place.certs / "server.crt").read_bytes()
    out = place.run(renewing)
    assert re.search(r"^pump1 +client +36[45] ", out, re.MULTILINE)
    after = (place.certs / "pump1.crt").read_bytes(), (place.certs / "pump1.key").read_bytes(), (place.certs / "server.crt").read_bytes()
    assert after[0] != before[0] and after[1] == before[1] and after[2] != before[2]
    steady.ping()

    revoking, new_key, weekly = commands("Revoking")
    victim, mark = place.client("pump2"), place.broker.log_mark()
    place.run(revoking)
    victim.expect_close(timeout=env.TIMEOUT_S)
    log = place.broker.log_since(mark)
    assert "audit: CN 'pump2' client 'live-pump2'" in log and "ended after a reload: certificate revoked" in log
    place.broker.wait_log("handshake refused: certificate revoked", mark)
    place.run(new_key)
    place.run(weekly)
    steady.ping()

    second, both, server, devices, last = commands("Another authority, with no downtime")
    place.run(second + both)
    steady.ping()
    place.run(server)
    steady.ping()
    place.run(devices)
    moved, mark = place.client("pump1", place.next), place.broker.log_mark()
    place.run(last)
    moved.ping()
    steady.expect_close(timeout=env.TIMEOUT_S)                      # it has not moved
    log = place.broker.log_since(mark)
    assert "audit: CN 'client' client 'live-client'" in log and "ended after a reload: certificate of an unknown CA" in log
    place.broker.wait_log("handshake refused: certificate of an unknown CA", mark)
    moved.ping()


def test_the_values_to_be_replaced_are_those_that_the_commands_use():
    """The one block that is not run."""
    names = set(re.findall(r"^    CERTS=\S+ NEXT=\S+ BROKER=\S+ PORT=\S+", DOCUMENT, re.MULTILINE)[0].replace("=", " ").split()[::2])
    used = {name for heading in re.findall(r"^### (.*)$", DOCUMENT, re.MULTILINE) for block in commands(heading) for line in block
            for name in re.findall(r"\$([A-Z]+)", line)}
    assert names == used == {"CERTS", "NEXT", "BROKER", "PORT"}
