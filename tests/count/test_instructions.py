# SPDX-License-Identifier: GPL-3.0-or-later
"""Instructions per PUBLISH of fixed loads, and per connect, counted by callgrind: a slow-down shows in a number that noise cannot move.

bench/instructions.json has what was recorded, by compiler and machine (callgrind's CPU decides which assembly wolfSSL takes). A
figure above its recorded value by more than the tolerance fails. One that is far below warns: record it, or what was won may be
lost again unnoticed. To record: COUNT_RECORD=1 make count"""
import json
import os
import platform
import re
import subprocess
import warnings

import pytest

from conftest import QUIET, ROOT
from lib import env
from lib import packets as p
from lib.broker import Port

RECORD = ROOT / "bench" / "instructions.json"
PAYLOAD = b"%064d"


def environment():
    """What the figures depend on besides our code."""
    compiler = subprocess.run(["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()
    flags = re.search(r"^flags\s*:(.*)$", open("/proc/cpuinfo", encoding="utf-8").read(), re.MULTILINE)
    vector = [f for f in ("avx2", "aes", "pclmulqdq") if flags and f in flags.group(1).split()]
    return " ".join([platform.machine(), "gcc", compiler, *vector])


class Instructions:
    """A broker under callgrind; counts what happens between zero() and the return of taken()."""

    def __init__(self, broker, directory):
        self._pid, self._dir, self._dumps = broker.process.pid, directory, 0

    def _control(self, word):
        subprocess.run(["callgrind_control", word, str(self._pid)], check=True, capture_output=True, timeout=120)

    def zero(self):
        self._control("-z")

    def taken(self):
        self._dumps += 1
        self._control("-d")
        text = (self._dir / f"callgrind.{self._dumps}").read_text(encoding="utf-8")
        return int(re.search(r"^(?:summary|totals):\s*(\d+)", text, re.MULTILINE).group(1))


@pytest.fixture
def examine(start_broker, tmp_path, monkeypatch):
    """examine(options): a broker under callgrind, the address of its plain listener, its instructions."""
    monkeypatch.setattr(env, "TIMEOUT_S", 120)
    port = Port()

    def start(**options):
        broker = start_broker({**QUIET, **options}, extra=[(port.number, "127.0.0.1", {"allow_plaintext_loopback": "true"})],
                              prefix=["valgrind", "--tool=callgrind", f"--callgrind-out-file={tmp_path}/callgrind"])
        return broker, ("127.0.0.1", port.number), Instructions(broker, tmp_path)
    yield start
    port.release()


def one_to_one(dial):
    """Bursts of 32 QoS 0 messages, each burst one TLS record and one turn."""
    reader, writer = dial("r"), dial("w")
    reader.subscribe("i/one")
    burst = b"".join(p.publish("i/one", PAYLOAD % i) for i in range(32))

    def act(times):
        for _ in range(times):
            writer.send(burst)
            reader.recv_payloads(32)
    return act, 32, 40


def fan_out(dial):
    """A lone QoS 0 message to 50 subscribers: 50 records, 50 sends. Instructions per PUBLISH, not per delivery."""
    readers, writer = [dial(f"r{i}") for i in range(50)], dial("w")
    for r in readers:
        r.subscribe("i/fan")

    def act(times):
        for i in range(times):
            writer.publish("i/fan", PAYLOAD % i)
            for r in readers:
                r.recv_publish()
    return act, 1, 30


def acknowledged(dial):
    """Bursts of 16 QoS 1 messages; the next one when both sides' acknowledgements are through."""
    reader, writer = dial("r"), dial("w")
    reader.subscribe(("i/ack", 1))
    burst = b"".join(p.publish("i/ack", PAYLOAD % i, 1, pid=i + 1) for i in range(16))

    def act(times):
        for _ in range(times):
            writer.send(burst)
            got = [reader.recv_publish(ack=False) for _ in range(16)]
            for i in range(16):
                writer.wait_for(p.PUBACK, i + 1)
            reader.send(b"".join(p.ack(p.PUBACK, m.pid) for m in got) + p.pingreq())
            reader.wait_for(p.PINGRESP)
    return act, 16, 40


def fan_out_acknowledged(dial):
    """Bursts of 4 QoS 1 messages to 50 subscribers, each of which acknowledges the 4 together. Per PUBLISH, as above."""
    readers, writer = [dial(f"r{i}") for i in range(50)], dial("w")
    for r in readers:
        r.subscribe(("i/fan", 1))
    burst = b"".join(p.publish("i/fan", PAYLOAD % i, 1, pid=i + 1) for i in range(4))

    def act(times):
        for _ in range(times):
            writer.send(burst)
            for r in readers:
                r.send(b"".join(p.ack(p.PUBACK, r.recv_publish(ack=False).pid) for _ in range(4)))
            writer.wait_for(p.PUBACK, 4)
            writer.inbox.clear()
        for r in readers:
            r.ping()
    return act, 4, 20


def fan_in_acknowledged(dial):
    """40 publishers' bursts of 10 QoS 1 messages to one subscriber, whose window of 100 they fill: the rest leaves 100 at a time."""
    reader, writers = dial("r"), [dial(f"w{i}") for i in range(40)]
    reader.subscribe(("i/in/#", 1))
    bursts = [b"".join(p.publish(f"i/in/{i}", PAYLOAD % n, 1, pid=n + 1) for n in range(10)) for i in range(40)]

    def act(times):
        for _ in range(times):
            for writer, burst in zip(writers, bursts):
                writer.send(burst)
                writer.wait_for(p.PUBACK, 10)
                writer.inbox.clear()
            for _ in range(4):
                reader.send(b"".join(p.ack(p.PUBACK, reader.recv_publish(ack=False).pid) for _ in range(100)))
            reader.ping()
    return act, 400, 4


def exactly_once(dial):
    """Bursts of 16 QoS 2 messages, each step of the 16 in one record both ways."""
    reader, writer = dial("r"), dial("w")
    reader.subscribe(("i/two", 2))
    burst = b"".join(p.publish("i/two", PAYLOAD % i, 2, pid=i + 1) for i in range(16))

    def step(client, wanted, answer):
        client.send(b"".join(p.ack(answer, client.wait_for(wanted).pid) for _ in range(16)))

    def act(times):
        for _ in range(times):
            writer.send(burst)
            step(writer, p.PUBREC, p.PUBREL)
            step(reader, p.PUBLISH, p.PUBREC)
            step(reader, p.PUBREL, p.PUBCOMP)
            writer.wait_for(p.PUBCOMP, 16)
            writer.inbox.clear()
        reader.ping()
    return act, 16, 40


def judge(name, figure, what="PUBLISH"):
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {"tolerance": 0.04}
    here = record.setdefault(f"per_{what.lower()}", {}).setdefault(environment(), {})
    print(f"{name}: {figure:.0f} instructions per {what}, recorded {here.get(name, 'nothing')}")
    if os.environ.get("COUNT_RECORD"):
        here[name] = round(figure)
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return
    if name not in here:
        pytest.skip(f"{figure:.0f} instructions per {what}; nothing is recorded for {environment()}")
    limit = here[name] * (1 + record["tolerance"])
    assert figure <= limit, f"{name}: {figure:.0f} instructions per {what}, recorded {here[name]}; if it is worth it: COUNT_RECORD=1"
    if figure < here[name] * (1 - 2 * record["tolerance"]):
        warnings.warn(f"{name}: {figure:.0f} instructions per {what}, far below the recorded {here[name]}: record it (COUNT_RECORD=1)")


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("load", [one_to_one, fan_out, acknowledged, fan_out_acknowledged, fan_in_acknowledged, exactly_once],
                         ids=lambda f: f.__name__)
def test_instructions_per_publish(examine, load, tls):
    broker, plain, instructions = examine(max_inflight_messages=100)
    act, messages, times = load(lambda name: (broker.raw() if tls else broker.plain(plain)).connect(name))
    act(5)  # caches and free lists are warm
    instructions.zero()
    act(times)
    judge(f"{load.__name__} {'tls' if tls else 'plain'}", instructions.taken() / (times * messages))


@pytest.mark.parametrize("known", [0, 8192], ids=["unknown", "known"])
@pytest.mark.parametrize("version", ["1.3", "1.2"])
def test_instructions_per_connect(examine, version, known):
    """TLS, CONNECT and DISCONNECT of a P-256 client; its certificate was seen before, or nothing is remembered of that."""
    broker, _, instructions = examine(known_certificates=known)

    def connect(times):
        for i in range(times):
            broker.client(f"c{i}", cert="device1", version=version).disconnect()
    connect(3)
    instructions.zero()
    connect(20)
    judge(f"tls {version} {'known' if known else 'unknown'}", instructions.taken() / 20, "connect")
