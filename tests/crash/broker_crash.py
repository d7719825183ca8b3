#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills a broker under load again and again, and looks whether anything that it acknowledged is gone.

    broker_crash.py [-n ROUNDS] [-d DURABILITY] [-p] [-l] [-s SEED]

Two publishers with QoS 1 and two with QoS 2; persistent sessions with QoS 1 and QoS 2, sometimes away, with QoS 2 on a topic's history that begin
while all is being killed; retained messages. SIGKILL comes at random moments; -p also takes back, each with a chance, the writes
that were not synced, as a power cut does. After every tenth round all is brought to an end and judged: nothing acknowledged is missing, QoS 2
comes once, each topic keeps its order, retained messages are no older than the last acknowledged one. -l: losses are expected, and
finding none fails: the proof that the checker sees. SEALMQD and POWERCUT name the program and powercut.so."""
import argparse
import os
import pathlib
import random
import sys
import tempfile
import threading
import uuid

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
import powercut  # noqa: E402
from lib import packets as p  # noqa: E402
from lib.broker import Broker  # noqa: E402
from lib.client import Timeout  # noqa: E402
from lib.pki import Pki  # noqa: E402
from load import Publisher, Subscriber, Topic, Verdict, judge  # noqa: E402

EPOCH = 10                                          # rounds between two reckonings
OPTIONS = {"store": "lmdb", "store_dir": "store", "store_max_size": "512M", "history": "1000000 h/#", "max_queued_messages": 1000000,
           "log_type": "warning\nlog_type error", "threads": 2}


class Trial:
    def __init__(self, args, directory):
        self.args, self.random, self.verdict = args, random.Random(args.seed), Verdict()
        self.journal = directory / "journal"
        self.boot_id = directory / "boot_id"
        environ = {"LD_PRELOAD": str(pathlib.Path(os.environ["POWERCUT"]).absolute()), "POWERCUT_JOURNAL": str(self.journal),
                   "POWERCUT_BOOT_ID": str(self.boot_id)} if args.power else {}
        self.boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        (directory / "pki").mkdir()
        self.broker = Broker(directory, Pki(directory / "pki"), {**OPTIONS, "durability": args.durability, "sync_interval_ms": 2000},
                             environ=environ)
        self.data = directory / "store" / "data.mdb"
        self.publishers = [Publisher(f"p{i}") for i in range(4)]
        self.epoch, self.patience_s = -1, 1 if args.lossy else 30
        self.kills = self.undone = self.sessions_lost = 0
        self.retained = [Topic(f"r/{i}", 1 + i % 2, retain=True) for i in range(4)]
        self.next_epoch()

    def next_epoch(self):
        """Topics of their own, so that what is compared stays short."""
        self.epoch += 1
        self.common = [Topic(f"c/{self.epoch}/{i}", 1 + i % 2) for i in range(4)]
        self.history = [Topic(f"h/{self.epoch}/{i}", 1 + i % 2) for i in range(4)]
        for i, one in enumerate(self.publishers):
            one.topics = [self.common[i], self.history[i], self.common[i], self.retained[i]]
        name = f"{self.args.seed}-{self.epoch}"
        self.subscribers = [Subscriber(f"s{qos}-{name}", [(f"c/{self.epoch}/+", qos)], self.has(self.common), self.patience_s) for qos in (1, 2)]

    def has(self, topics):
        return lambda one: all(t.acked <= set(one.seen[t.name]) for t in topics)

    def late_subscriber(self):
        """Its past is on its way over several kills."""
        n, qos = len(self.subscribers), 1 + len(self.subscribers) % 2
        what = f"h/{self.epoch}/+" if n % 4 < 2 else f"$HISTORY/all/h/{self.epoch}/#"
        return Subscriber(f"h{n}-{self.args.seed}-{self.epoch}", [(what, qos)], self.has(self.history), self.patience_s)

    # -- rounds

    def kill(self):
        self.broker.process.kill()
        self.broker.process.wait()
        self.kills += 1
        if self.args.power:
            self.undone += powercut.cut(self.journal, self.data, self.random.choice((0.5, 1.0, 1.0)), self.random)
            self.boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")

    def subscribe(self):
        """Before anything is published to this epoch's topics."""
        for one in self.subscribers:
            client = self.broker.client(one.client_id, clean=False)
            client.subscribe(*one.filters)
            client.drop()
            one.subscribed = True

    def round(self, n):
        if n % EPOCH == 1:
            self.subscribe()
        if n % EPOCH in (2, 4, 6, 7):
            self.subscribers.append(self.late_subscriber())
        actors = self.publishers + [s for s in self.subscribers if not s.subscribed or self.random.random() < 0.7]
        for one in actors:
            one.start(self.broker)
        self.wait(self.random.uniform(0.05, 0.6))
        self.kill()
        for one in actors:
            one.join()
            if one.failed:
                raise SystemExit(f"broker_crash: {one.failed}")
        self.broker.start()
        self.judge_retained()

    @staticmethod
    def wait(seconds):
        threading.Event().wait(seconds)

    def judge_retained(self):
        client = self.broker.client("retained-reader")
        client.subscribe(("r/#", 1))
        client.ping()
        got = {m.topic: int(m.payload) for m in client.inbox if m.type == p.PUBLISH}
        for topic in self.retained:
            newest = max(topic.acked, default=0)
            if got.get(topic.name, 0) < newest:
                self.verdict.say("lost", 1, f"retained {topic.name}: {got.get(topic.name, 0)} instead of {newest}")
        client.drop()

    def reckon(self):
        """Everything in hand is finished, without a kill, then judged."""
        for one in self.publishers:
            one.start(self.broker)
            one.stop.set()
        for one in self.publishers:
            one.join()
        for one in self.subscribers:
            one.start(self.broker)
            one.stop.set()
        for one in self.subscribers:
            one.join()
        failed = [one.failed for one in self.publishers + self.subscribers if one.failed]
        if failed:
            raise SystemExit(f"broker_crash: {failed}")
        for topic in self.common + self.history:
            self.verdict.acked += len(topic.acked)
        for one in self.subscribers[:2]:
            for topic in self.common:
                judge(self.verdict, one.client_id, topic, one.seen[topic.name], one.filters[0][1] == 2 and topic.qos == 2)
        for one in self.subscribers[2:]:
            for topic in self.history:
                judge(self.verdict, one.client_id, topic, one.seen[topic.name], one.filters[0][1] == 2 and topic.qos == 2)
        self.judge_history()
        self.sessions_lost += sum(one.lost_session for one in self.subscribers)
        for one in self.subscribers:
            self.broker.client(one.client_id).disconnect()
        self.next_epoch()

    def judge_history(self):
        """To a new clean session all comes once."""
        client = self.broker.client("history-reader")
        client.subscribe((f"h/{self.epoch}/#", 1))
        seen = {t.name: [] for t in self.history}
        try:
            while any(not t.acked <= set(seen[t.name]) for t in self.history):
                m = client.recv_publish(timeout=self.patience_s)
                seen[m.topic].append(int(m.payload))
        except Timeout:
            pass
        client.drop()
        for topic in self.history:
            judge(self.verdict, "a new subscriber", topic, seen[topic.name], topic.qos == 2)

    def run(self):
        self.broker.start()
        for n in range(1, self.args.rounds + 1):
            self.round(n)
            if n % EPOCH == 0 or n == self.args.rounds:
                self.reckon()
        self.broker.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--rounds", type=int, default=20)
    parser.add_argument("-d", "--durability", default="strict", choices=("strict", "relaxed", "off"))
    parser.add_argument("-p", "--power", action="store_true")
    parser.add_argument("-l", "--lossy", action="store_true")
    parser.add_argument("-s", "--seed", type=int, default=random.randrange(1 << 30))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealmq-crash.") as directory:
        trial = Trial(args, pathlib.Path(directory))
        try:
            trial.run()
        finally:
            trial.broker.kill()
    v = trial.verdict
    print(f"broker_crash: durability {args.durability}, seed {args.seed}: {trial.kills} kills"
          f"{f' with power cuts ({trial.undone} writes undone)' if args.power else ''}: {v.acked} messages acknowledged, {v.lost} lost, "
          f"{v.doubled} doubled, {v.disordered} out of order, {v.invented} invented, {trial.sessions_lost} sessions lost")
    for line in v.examples if not args.lossy else ():
        print("  " + line)
    if args.lossy:
        return 0 if v.lost else print("nothing was lost: the checker is blind") or 1
    return 0 if v.clean() and v.acked and not trial.sessions_lost else 1


if __name__ == "__main__":
    sys.exit(main())
