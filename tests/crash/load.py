# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients whose state outlives their connections and the broker, and what has to be true of what they saw.

A topic carries the numbers 1, 2, 3, ... of one publisher. A number is acknowledged when its PUBACK or PUBREC has come."""
import collections
import threading

from lib import packets as p
from lib.client import Closed, Timeout
from lib.receiver import Receiver

WINDOW = 20


class Topic:
    def __init__(self, name, qos, retain=False):
        self.name, self.qos, self.retain, self.sent, self.acked = name, qos, retain, 0, set()


class Actor:
    """One client; `connected` runs on a thread of its own until the connection or the round ends."""

    def __init__(self, client_id):
        self.client_id, self.failed, self._thread, self.stop = client_id, None, None, threading.Event()

    def start(self, broker):
        self.stop.clear()
        self._thread = threading.Thread(target=self._run, args=(broker,), name=self.client_id)
        self._thread.start()

    def join(self):
        if self._thread:
            self._thread.join(120)
            assert not self._thread.is_alive(), f"{self.client_id} hangs"
        self._thread = None

    def _run(self, broker):
        client = None
        try:
            client = broker.client(self.client_id, clean=False)
            self.connected(client)
        except (Closed, OSError):                   # the broker is gone
            pass
        except BaseException as e:
            self.failed = self.failed or f"{self.client_id}: {e!r}"
        finally:
            if client:
                client.drop()

    def connected(self, client):
        raise NotImplementedError


class Publisher(Actor):
    """Numbers its topics in turn, WINDOW at a time; on a new connection it goes on as [MQTT-4.4.0-1] says."""

    def __init__(self, client_id):
        super().__init__(client_id)
        self.topics, self.open, self._pid, self.turn = [], collections.OrderedDict(), 0, 0   # open: pid → [topic, number, state]
        self.lost_session = 0

    def _packet(self, pid, dup):
        topic, number, released = self.open[pid]
        if released:
            return p.ack(p.PUBREL, pid)
        return p.publish(topic.name, str(number), topic.qos, topic.retain, dup, pid)

    def connected(self, client):
        if not client.connack.session_present:      # the broker knows of nothing: what has no answer yet is sent as new
            self.lost_session += 1
            for pid in [pid for pid, one in self.open.items() if one[2]]:
                del self.open[pid]
        client.send(b"".join(self._packet(pid, bool(client.connack.session_present)) for pid in self.open))
        while True:
            new = []
            while not self.stop.is_set() and len(self.open) < WINDOW:
                topic = self.topics[self.turn % len(self.topics)]
                self.turn += 1
                topic.sent += 1
                self._pid = self._pid % 65535 + 1
                self.open[self._pid] = [topic, topic.sent, False]
                new.append(self._packet(self._pid, False))
            client.send(b"".join(new))
            if not self.open:
                return
            self._take(client, client.recv(30))
            while client.inbox:
                self._take(client, client.recv())

    def _take(self, client, got):
        topic, number, _ = self.open.get(got.pid, (None, 0, 0))
        assert topic, f"{got} for nothing"
        if got.type in (p.PUBACK, p.PUBREC):
            topic.acked.add(number)
        if got.type == p.PUBREC:
            self.open[got.pid][2] = True
            client.send(p.ack(p.PUBREL, got.pid))
        elif got.type in (p.PUBACK, p.PUBCOMP):
            del self.open[got.pid]
        else:
            raise AssertionError(f"a publisher gets {got}")


class Subscriber(Actor):
    """A persistent session that takes what comes. done(self): it has what it waits for (looked at once `stop` is set;
    patience_s: how long nothing may come then, before it gives up)."""

    def __init__(self, client_id, filters, done, patience_s):
        super().__init__(client_id)
        self.filters, self.done, self.patience_s = filters, done, patience_s
        self.receiver, self.subscribed, self.lost_session = Receiver(), False, 0
        self.seen = collections.defaultdict(list)   # topic → numbers in order of arrival
        self._read = 0

    def connected(self, client):
        if self.subscribed and not client.connack.session_present:
            self.lost_session += 1
        if not client.connack.session_present or not self.subscribed:
            client.send(p.subscribe(65000, *self.filters))
        quiet_s = 0
        while not (self.stop.is_set() and self.done(self)) and quiet_s < self.patience_s:
            try:
                self.receiver.take(client, 0.25)
                quiet_s = 0
            except Timeout:
                quiet_s += 0.25 if self.stop.is_set() else 0
            self.subscribed |= any(m.type == p.SUBACK for m in self.receiver.others)
            self.note()

    def note(self):
        for m in self.receiver.messages[self._read:]:
            self.seen[m.topic].append(int(m.payload))
        self._read = len(self.receiver.messages)


# -- what has to be true

class Verdict:
    def __init__(self):
        self.acked = self.lost = self.doubled = self.disordered = self.invented = 0
        self.examples = []

    def say(self, kind, n, text):
        setattr(self, kind, getattr(self, kind) + n)
        if n and len(self.examples) < 10:
            self.examples.append(f"{kind}: {text}")

    def clean(self):
        return not (self.lost or self.doubled or self.disordered or self.invented)


def judge(verdict, who, topic, seen, once):
    """seen: the numbers of topic that who got, in order; once: none may come twice."""
    missing = topic.acked - set(seen)
    verdict.say("lost", len(missing), f"{who}: {topic.name} {sorted(missing)[:5]} of {len(topic.acked)}")
    first = list(dict.fromkeys(seen))
    falls = sum(b < a for a, b in zip(first, first[1:]))
    verdict.say("disordered", falls, f"{who}: {topic.name} in {falls} places")
    unknown = [n for n in first if n > topic.sent]
    verdict.say("invented", len(unknown), f"{who}: {topic.name} {unknown[:5]}")
    if once:
        verdict.say("doubled", len(seen) - len(first), f"{who}: {topic.name} {[n for n, k in collections.Counter(seen).items() if k > 1][:5]}")
