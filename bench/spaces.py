# SPDX-License-Identifier: GPL-3.0-or-later
"""Key spaces: what turning the epoch of one with many members costs, and what sealing costs plain clients. sealmqd alone."""
import json
import os
import pathlib
import select
import signal
import socket
import ssl
import subprocess
import time

from scenarios import Metric, Scenario
from stored import ALL as BEFORE

ROOT = pathlib.Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid):
    """User and system time of all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Admin:
    """One connection that sends commands (docs/control.md)."""

    def __init__(self, port, pki):
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "client.crt", pki / "client.key")
        self.s = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10), server_hostname="localhost")
        self.s.sendall(bytes([0x10, 17, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 0, 0, 5]) + b"admin")
        self.await_bytes(b"\x20\x02\x00\x00")
        topic = b"$CONTROL/topics/v1/response"
        self.s.sendall(bytes([0x82, 5 + len(topic), 0, 1, 0, len(topic)]) + topic + b"\0")
        self.await_bytes(b"\x90\x03\x00\x01\x00")

    def await_bytes(self, wanted):
        got = b""
        while wanted not in got:
            part = self.s.recv(65536)
            if not part:
                raise OSError("the broker has closed the administrator's connection")
            got += part
        return got

    def command(self, **command):
        topic, text = b"$CONTROL/topics/v1", json.dumps({"commands": [command]}).encode()
        n = 2 + len(topic) + len(text)
        self.s.sendall(b"\x30" + (bytes([n]) if n < 128 else bytes([n & 127 | 128, n >> 7])) + bytes([0, len(topic)]) + topic + text)
        if b'"error"' in self.await_bytes(b"responses"):
            raise OSError("a command was refused")


class Spaces:
    """Procedures of run.py's Bench."""

    def declared(self, text):
        path = self.dir / "topics.conf"
        path.write_text(text, encoding="utf-8")
        return (f"topics_file {path}", "topic_admin client")

    def plain_view(self, program):
        """The same load on a topic without key space, in an open one, and in one that the broker seals."""
        out = {"ok": 1}
        for name, mode in (("none", None), ("open", "open"), ("broker", "broker")):
            text = f"topic mqload\nmode {mode}\nmember readwrite client\n" if mode else ""
            with self.broker(program, more=self.declared(text)) as broker:
                got = self.load(broker, "p2p --qos 0")
            out["ok"] &= got["ok"]
            out[f"{name}_per_cpu_s"] = got.get("msgs_per_cpu_s", 0)
            out[f"{name}_p99_us"] = got.get("lat_p99_us", 0)
        for name in ("open", "broker"):
            out[f"{name}_share"] = out[f"{name}_per_cpu_s"] / out["none_per_cpu_s"] if out["none_per_cpu_s"] else 0
        return out

    def rotation(self, program):
        """One rotateKey while every member is connected and waits for its envelope, and quiet clients publish beside."""
        n = 500 if self.quick else 10000
        out = {"ok": 1, "members": n}
        declared = "topic space\n" + "".join(f"member readwrite member{i}\n" for i in range(n))
        with self.broker(program, more=self.declared(declared)) as broker:
            admin = Admin(broker.ports["ec"], self.pki["ec"])
            words = ["nice", "-n", "10", str(ROOT / "bench" / "members.py"), str(broker.ports["ec"]), str(self.pki["ec"]), "space", str(n)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as members:
                try:
                    out.update(self._rotate(broker, admin, members))
                finally:
                    members.kill()
        out["ok"] &= out.pop("quiet_ok") & out.pop("turn_ok")
        return out

    def _rotate(self, broker, admin, members):
        if members.stdout.readline() != "ready\n":
            raise OSError("the members did not all get an envelope")
        out = self._window("quiet", self.load(broker, self.QUIET))
        quiet = self.start(broker, self.QUIET + " --on-signal", duration=600)
        time.sleep(self.warmup + 1)
        quiet.send_signal(signal.SIGUSR1)
        cpu, begin = cpu_s(broker.process.pid), time.monotonic()
        admin.command(command="rotateKey", topic="space")
        out["answered_s"] = time.monotonic() - begin
        if not select.select([members.stdout], [], [], 60)[0] or members.stdout.readline() != "all\n":
            raise OSError("not every member got the new envelope")
        out["last_s"] = time.monotonic() - begin
        out["cpu_s"] = cpu_s(broker.process.pid) - cpu
        out.update(self._window("turn", self.result(quiet, end=True)))
        return out


SCENARIOS = (
    Scenario("spaces-plain", "50 pairs of plain clients, QoS 0, 64 bytes: without a key space, in an open one, in one that the broker seals", "@plain_view", (
        Metric("broker_per_cpu_s", "sealed: messages per broker CPU-second", "msg/s"), Metric("open_per_cpu_s", "open: messages per broker CPU-second", "msg/s"),
        Metric("none_per_cpu_s", "none: messages per broker CPU-second", "msg/s"), Metric("broker_share", "sealed / none", "×"),
        Metric("open_share", "open / none", "×")), ours_alone=True,
             panels=(("messages per broker CPU-second: none, open, sealed", "msg/s", ("none_per_cpu_s", "open_per_cpu_s", "broker_per_cpu_s")),)),
    Scenario("spaces-rotation", "rotateKey of a space with 10,000 connected members, beside 100 quiet clients", "@rotation", (
        Metric("cpu_s", "CPU until the last member has its envelope", "s", True, goal=1.0),
        Metric("turn_max_us", "longest of the quiet clients meanwhile", "ms", True, goal=50, scale=1e-3),
        Metric("turn_p99_us", "p99 of the quiet clients meanwhile", "ms", True, scale=1e-3), Metric("quiet_max_us", "longest before", "ms", True, scale=1e-3),
        Metric("answered_s", "time until the command is answered", "s", True), Metric("last_s", "time until the last member has it", "s", True)),
             ours_alone=True, rounds=1, quick=False,
             panels=(("CPU", "s", ("cpu_s",)), ("longest of the quiet clients: before, meanwhile", "ms", ("quiet_max_us", "turn_max_us")))),
)
ALL = (*BEFORE, *SCENARIOS)
