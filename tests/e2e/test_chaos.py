"""Everything at once, with connections that end at any step: QoS 2 stays exactly once, QoS 1 at least once, in order."""
import random
import threading
import time

import pytest

from lib import env, packets as p
from lib.client import Closed, Timeout

BROKER_OPTIONS = {"threads": max(3, env.THREADS), "sys_interval": 0}
PUBLISHERS, SUBSCRIBERS, MESSAGES = 3, 4, 120


class Peer(threading.Thread):
    """One client id with its own session state, which it keeps over connections as a client must."""

    def __init__(self, broker, client_id, seed):
        super().__init__(daemon=True)
        self.broker, self.client_id, self.rng = broker, client_id, random.Random(seed)
        self.error, self.done = None, False
        self.deadline = time.monotonic() + 4 * env.TIMEOUT_S

    def run(self):
        try:
            first = True
            while not self.done:
                assert time.monotonic() < self.deadline, f"{self.client_id} never comes to its end: {self.progress()}"
                c = self.broker.raw("device1", self.rng.choice(["1.2", "1.3"]))
                try:
                    c.connect(self.client_id, clean=False)
                    assert first or c.connack.session_present
                    first = False
                    self.talk(c)
                except Closed:
                    pass
                finally:
                    c.reset() if self.rng.random() < 0.5 else c.drop()
        except Exception as e:      # noqa: BLE001 - told to the test's thread
            self.error = e


class Publisher(Peer):
    """QoS 2 with several messages in flight, each at PUBLISH or at PUBREL."""

    def __init__(self, broker, client_id, seed, topic):
        super().__init__(broker, client_id, seed)
        self.topic, self.next, self.flights = topic, 0, {}          # flights: pid -> [number, released]

    def progress(self):
        return self.next, self.flights

    def talk(self, c):
        for pid, (number, released) in self.flights.items():
            c.send(p.ack(p.PUBREL, pid) if released else p.publish(self.topic, str(number), 2, dup=True, pid=pid))
        patience = self.rng.randint(5, 60)
        while not self.done:
            while len(self.flights) < 8 and self.next < MESSAGES:
                pid = self.next % 60000 + 1
                self.flights[pid] = [self.next, False]
                c.send(p.publish(self.topic, str(self.next), 2, pid=pid))
                self.next += 1
            self.done = self.next == MESSAGES and not self.flights
            if self.done:
                c.disconnect()
                return
            patience -= 1
            if patience == 0:
                return
            got = c.recv()
            if got.type == p.PUBREC and got.pid in self.flights:
                self.flights[got.pid][1] = True
                c.send(p.ack(p.PUBREL, got.pid))
            elif got.type == p.PUBCOMP:
                self.flights.pop(got.pid, None)


class Subscriber(Peer):
    """Takes QoS 2 once and QoS 1 as often as it comes; leaves at any step."""

    def __init__(self, broker, client_id, seed, filter_, qos):
        super().__init__(broker, client_id, seed)
        self.filter, self.qos, self.held, self.got = filter_, qos, set(), []
        self.trace, self.connections = [], 0
        self.subscribed = threading.Event()

    def progress(self):
        return len(self.got), self.held

    def whole(self):
        return {(t, n) for t, n in self.got} if self.qos == 1 else self.got

    def talk(self, c):
        if not self.subscribed.is_set():
            c.subscribe((self.filter, self.qos))
            self.subscribed.set()
        self.connections += 1
        patience = self.rng.randint(3, 60)
        while not self.done:
            if len(self.whole()) >= PUBLISHERS * MESSAGES and not self.held:
                self.done = True
                return
            patience -= 1
            if patience == 0:
                return
            m = c.recv()
            if m.type == p.PUBLISH:
                self.trace.append((self.connections, m.topic[-1], int(m.payload), m.pid, "dup" if m.dup else ""))
            if m.type == p.PUBREL:
                self.held.discard(m.pid)
                c.send(p.ack(p.PUBCOMP, m.pid))
            elif m.type == p.PUBLISH and m.qos == 1:
                self.got.append((m.topic, int(m.payload)))
                if self.rng.random() < 0.95:
                    c.send(p.ack(p.PUBACK, m.pid))
                else:
                    return              # received, not acknowledged: it comes again
            elif m.type == p.PUBLISH:
                if m.pid not in self.held:
                    self.held.add(m.pid)
                    self.got.append((m.topic, int(m.payload)))
                if self.rng.random() < 0.95:
                    c.send(p.ack(p.PUBREC, m.pid))
                else:
                    return


@pytest.mark.sealmqd_only("mosquitto 2.0.11 loses its way")
@pytest.mark.parametrize("seed", range(3))
def test_sessions_survive_any_ending(broker, name, seed):
    subs = [Subscriber(broker, f"{name}-s{i}", seed * 100 + i, name + "/#", 1 + i % 2) for i in range(SUBSCRIBERS)]
    for s in subs:
        s.start()
    for s in subs:
        assert s.subscribed.wait(env.TIMEOUT_S), s.error
    pubs = [Publisher(broker, f"{name}-p{i}", seed * 100 + 50 + i, f"{name}/{i}") for i in range(PUBLISHERS)]
    for one in pubs:
        one.start()
    for one in pubs + subs:
        one.join(5 * env.TIMEOUT_S)
        if one.error:
            raise one.error
        assert not one.is_alive(), f"{one.client_id} hangs: {one.progress()}"
    for s in subs:
        for i in range(PUBLISHERS):
            numbers = [n for t, n in s.got if t == f"{name}/{i}"]
            if s.qos == 2:
                assert numbers == list(range(MESSAGES)), f"{s.client_id}: exactly once and in order"
            else:
                firsts = list(dict.fromkeys(numbers))
                if firsts != list(range(MESSAGES)):
                    at = next(k for k, n in enumerate(firsts) if n != k)
                    where = next(k for k, x in enumerate(s.trace) if x[1:3] == (str(i), firsts[at]))
                    pytest.fail(f"{s.client_id}: {at} comes after {firsts[at]} (connection, publisher, number, identifier, dup): "
                                f"{s.trace[max(0, where - 30):where + 30]}")


def test_take_over_storm_while_messages_flow(broker, name):
    """Three connections fight for one client id; the session loses nothing."""
    setup = broker.client(name, clean=False)
    setup.subscribe((name, 1))
    setup.drop()
    got, errors = [], []

    def fighter(seed):
        rng = random.Random(seed)
        try:
            for _ in range(30):
                c = broker.raw()
                try:
                    c.connect(name, clean=False)
                    for _ in range(rng.randint(1, 30)):
                        take(c)
                except (Closed, Timeout):
                    pass
                finally:
                    c.drop()
        except Exception as e:      # noqa: BLE001
            errors.append(e)

    def take(c):
        m = c.recv(0.1 * env.SLOW)
        if m.type == p.PUBLISH:
            got.append(int(m.payload))
            c.send(p.ack(p.PUBACK, m.pid))
    fighters = [threading.Thread(target=fighter, args=(i,), daemon=True) for i in range(3)]
    for f in fighters:
        f.start()
    n = 300
    with broker.client(name + "p") as pub:
        pub.publish_many([(name, str(i), 1) for i in range(n)])
    for f in fighters:
        f.join(4 * env.TIMEOUT_S)
    assert not errors, errors
    with broker.client(name, clean=False) as last:
        while set(got) != set(range(n)):
            take(last)


def test_connects_and_subscriptions_in_parallel(broker, name):
    """Clients come, subscribe to what others subscribe to, publish, unsubscribe, and go, on all loops at once."""
    errors = []

    def one(i):
        rng = random.Random(i)
        try:
            for k in range(12):
                with broker.client(f"{name}-{i}-{k % 3}", clean=rng.random() < 0.7) as c:
                    mine = f"{name}/{i}/{k}"
                    c.subscribe((mine, 1), (f"{name}/+/{k}", 1), (f"{name}/#", 0), (f"$share/g/{name}/+/{k}", 1))
                    c.publish(mine, b"x", 1)
                    while c.recv_publish().topic != mine:
                        pass
                    c.unsubscribe(f"{name}/#", f"{name}/+/{k}", mine)
                    if rng.random() < 0.5:
                        c.disconnect()
        except Exception as e:      # noqa: BLE001
            errors.append(e)
    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(4 * env.TIMEOUT_S)
    assert not errors, errors
    assert not any(t.is_alive() for t in threads)
