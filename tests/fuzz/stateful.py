#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stateful fuzzer: valid MQTT sessions over mutual TLS, mutated byte by byte and packet by packet, several at a time.

After each batch a control client, whose own session nothing of this may touch, publishes to itself and gets it back; the broker's memory and
log are looked at; at the end the broker stops, and with AddressSanitizer nothing may have leaked. Batch n of a seed is always the same:

    SEALMQD=build/asan/sealmqd BUILD_DIR=build/asan tests/fuzz/stateful.py --seconds 300 [--seed 1] [--first 0] [--store lmdb]
"""
import argparse
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from lib import packets as p                                             # noqa: E402
from lib.broker import Broker                                            # noqa: E402
from lib.client import Closed, RawClient, Timeout, tls_context           # noqa: E402
from lib.env import SLOW                                                 # noqa: E402
from lib.pki import Pki                                                  # noqa: E402

SESSIONS = 12                 # of a batch
TOPICS = ["a", "a/b", "a/b/c", "/", "a//c", "b", "é", "$SYS/health", "$SYS/broker/x", "x" * 300, "l/" * 199 + "l"]
FILTERS = [*TOPICS, "#", "+", "a/#", "+/b", "a/+/c", "+/+", "/+", "$SYS/#", "$share/g/a/#", "$share/g/#", "$share/h/a/b", "$share//a",
           "$share/g", "a/#/b", "a+", "#a", ""]
OPTIONS = {"max_inflight_messages": 5, "max_queued_messages": 200, "max_queued_memory": "64K", "max_packet_size": "1M", "sys_interval": 1,
           "store_memory_delay_ms": 3, "handshake_timeout": "5s", "persistent_client_expiration": "5s", "max_retained_messages": 500}


class Session:
    """One client's script: a list of packets, most of them valid, for one connection."""

    def __init__(self, rng):
        self.rng, self.pid = rng, 0

    def next_pid(self):
        if self.rng.random() < 0.2:
            return self.rng.choice([1, 2, 3, 65535, self.pid or 1])
        self.pid += 1
        return self.pid

    def connect(self):
        r = self.rng
        will = None
        if r.random() < 0.4:
            will = (r.choice(TOPICS[:6]), r.randbytes(r.choice([0, 1, 30])), r.randrange(3), r.random() < 0.3)
        return p.connect(r.choice(["f1", "f2", "f3", "f4", "f5", "", "f" * 200]), clean=r.random() < 0.5, keepalive=r.choice([0, 1, 60, 65535]),
                         will=will, username=r.choice([None, None, "u", "device1"]), **(dict(name="MQIsdp", level=3) if r.random() < 0.1 else {}))

    def packet(self):
        r = self.rng
        kind = r.random()
        if kind < 0.45:
            qos = r.randrange(3)
            size = r.choice([0, 1, 10, 10, 100, 100, 5000, 70000])
            return p.publish(r.choice(TOPICS), r.randbytes(size), qos, retain=r.random() < 0.2, dup=qos > 0 and r.random() < 0.1,
                             pid=self.next_pid() if qos else None)
        if kind < 0.65:
            return p.subscribe(self.next_pid(), *((r.choice(FILTERS), r.randrange(3)) for _ in range(r.choice([1, 1, 2, 5]))))
        if kind < 0.72:
            return p.unsubscribe(self.next_pid(), *(r.choice(FILTERS) for _ in range(r.choice([1, 2]))))
        if kind < 0.92:
            return p.ack(r.choice([p.PUBACK, p.PUBREC, p.PUBREL, p.PUBREL, p.PUBCOMP]), r.randrange(1, 12))
        if kind < 0.98:
            return p.pingreq()
        return p.disconnect()

    def script(self):
        return [self.connect()] + [self.packet() for _ in range(self.rng.choice([0, 1, 3, 10, 40]))]


def mutate_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and data:
            data[at] = rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)])
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.choice([1, 2, 9]))
        elif kind == 3:
            del data[at:at + rng.choice([1, 2, 9])]
        elif kind == 4:
            end = at + rng.randrange(1, 20)
            data[at:at] = data[at:end]
        else:
            data[at:at + 2] = rng.choice([b"\x00\x00", b"\xff\xff", b"\xc0\x80", b"\xed\xa0", b"#+", b"/"])
    return bytes(data)


def mutate_packets(rng, script):
    script = list(script)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at, other = rng.randrange(len(script)), rng.randrange(len(script))
        kind = rng.randrange(6)
        if kind == 0:
            script.insert(at, script[other])
        elif kind == 1 and len(script) > 1:
            del script[at]
        elif kind == 2:
            script[at], script[other] = script[other], script[at]
        elif kind == 3:
            script[at] = bytes([rng.randrange(256)]) + script[at][1:]
        elif kind == 4:
            script[at] = script[at][:1] + rng.choice([b"\x00", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x01", b"\x80\x01"]) + script[at][2:]
        else:
            script[at] = mutate_bytes(rng, script[at])
    return script


def make(rng):
    """The byte stream of one connection, how it is cut into TLS records, and how it ends."""
    script = Session(rng).script()
    if rng.random() < 0.6:
        script = mutate_packets(rng, script)
    stream = b"".join(script)
    if rng.random() < 0.2:
        stream = mutate_bytes(rng, stream)
    if rng.random() < 0.2:
        stream = stream[:rng.randrange(len(stream) + 1)]
    cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.choice([0, 0, 1, 3, 20])))
    return stream, cuts, rng.choice(["drop", "drop", "reset", "answer", "answer", "answer", "silent"])


def answer(client, rng):
    """Reads what has come, and acknowledges most of it as a client does."""
    try:
        while True:
            got = client.recv(0.02 * SLOW)
            if rng.random() < 0.1:
                continue
            if got.type == p.PUBLISH and got.qos:
                client.send(p.ack(p.PUBACK if got.qos == 1 else p.PUBREC, got.pid))
            elif got.type == p.PUBREC:
                client.send(p.ack(p.PUBREL, got.pid))
            elif got.type == p.PUBREL:
                client.send(p.ack(p.PUBCOMP, got.pid))
    except (Closed, Timeout):
        pass


def run_batch(broker, contexts, seed, number):
    """Returns the streams that were sent, for the report of a failure."""
    rng = random.Random(f"{seed}/{number}")
    plans = [make(rng) for _ in range(SESSIONS)]
    clients, sent = [], []
    for stream, cuts, _ in plans:
        try:
            clients.append(RawClient(broker.address, rng.choice(contexts)))
        except (Closed, OSError):
            clients.append(None) # the broker is gone, or refuses: the control client finds out which
        edges = [0, *cuts, len(stream)]
        sent.append([stream[a:b] for a, b in zip(edges, edges[1:])])
    turns = [i for i, pieces in enumerate(sent) for _ in pieces]
    rng.shuffle(turns)
    position = [0] * len(sent)
    for i in turns: # the pieces of all connections, mixed
        piece, client = sent[i][position[i]], clients[i]
        position[i] += 1
        if client and not client.closed and piece:
            try:
                client.send_tcp(client.encrypt(piece), timeout=0.2 * SLOW)
            except (Closed, Timeout, OSError):
                client.closed = client.closed or "cannot send"
    for (_, _, end), client in zip(plans, clients):
        if client is None:
            continue
        if end == "answer":
            answer(client, rng)
        if end == "reset":
            client.reset()
        elif end != "silent":
            client.drop()
    for client in clients:
        if client:
            client.drop()
    return [stream for stream, _, _ in plans]


def resident_mb(pid):
    fields = pathlib.Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * 4096 >> 20


class Failed(AssertionError):
    pass


def check(broker, control, number):
    """The control client's round trip; its subscription sees nothing but its own."""
    payload = b"batch %d" % number
    try:
        control.publish("control/own", payload, qos=1)
        got = control.recv_publish("control/own", payload, qos=1)
        assert got.payload == payload
        control.ping()
    except (Closed, Timeout, AssertionError) as e:
        raise Failed(f"the control client: {e}") from e
    finally:
        if not broker.alive():
            raise Failed(f"the broker ended with {broker.process.returncode}:\n{broker.log()[-6000:]}")
    broker.check_log()


def fuzz(seconds, seed=1, first=0, store="memory", memory_mb=1500, report=print):
    """Runs batches until the time is over; raises on the first that the broker does not take. Returns how many there were."""
    with tempfile.TemporaryDirectory(prefix="sealmq-fuzz-") as directory:
        directory = pathlib.Path(directory)
        pki = Pki(directory)
        options = {**OPTIONS, "store": store}
        if store == "lmdb":
            options.pop("store_memory_delay_ms")
            options.update(store_dir=directory / "store", master_key_file=directory / "master.key", durability="relaxed")
        broker = Broker(directory, pki, options).start()
        contexts = [tls_context(pki.ca, pki.device(n).crt, pki.device(n).key) for n in (1, 2)]
        own = pki.device(3)
        control = RawClient(broker.address, tls_context(pki.ca, own.crt, own.key)).connect("control", keepalive=0)
        control.subscribe(("control/own", 1))
        number, end = first, time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                streams = run_batch(broker, contexts, seed, number)
                try:
                    check(broker, control, number)
                    if resident_mb(broker.process.pid) > memory_mb:
                        raise Failed(f"{resident_mb(broker.process.pid)} MiB resident")
                except AssertionError as e:
                    lines = "\n".join(s.hex() if len(s) < 2000 else s[:2000].hex() + "..." for s in streams)
                    raise Failed(f"seed {seed}, batch {number} (--seed {seed} --first {number}): {e}\nstreams:\n{lines}") from e
                number += 1
                if number % 50 == 0:
                    report(f"batch {number}: {resident_mb(broker.process.pid)} MiB resident")
            control.disconnect()
            broker.stop()
        finally:
            broker.kill()
    return number - first


def main():
    a = argparse.ArgumentParser(description="Mutated MQTT sessions over mutual TLS against $SEALMQD.")
    a.add_argument("--seconds", type=float, default=60)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--first", type=int, default=0, help="the batch to begin with")
    a.add_argument("--store", default="memory", choices=("memory", "lmdb"))
    a.add_argument("--memory-mb", type=int, default=1500)
    args = a.parse_args()
    n = fuzz(args.seconds, args.seed, args.first, args.store, args.memory_mb)
    print(f"{n} batches of {SESSIONS} sessions, seed {args.seed}: the broker took them all")


if __name__ == "__main__":
    main()
