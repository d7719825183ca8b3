#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kills a broker, `sealmq pub --outbox` and `sealmq sub --dedup --output` at random, cuts the network between them, and looks whether each line that was taken
stands in the output exactly once.

    exact_crash.py [-n ROUNDS] [-l] [-s SEED]

The publisher is fed the lines 0, 1, 2, …; after its end it is started again and fed from the line that it says it needs. In each round one or more of the four
are struck by SIGKILL (the network: all connections are reset, and none is made for a while), and started again after a pause. In the end everything is
delivered, and the output must be the lines 0 to N - 1, in order. -l: the receiver is a session of the broker's instead, without --dedup; finding nothing
wrong fails then: the proof that the checker sees. SEALMQD names the broker; sealmq lies beside it."""
import argparse
import contextlib
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]
from lib import env  # noqa: E402
from lib.broker import Broker  # noqa: E402
from lib.pki import CLIENT_AUTH, Pki  # noqa: E402

TOPIC = "once/line"
AHEAD = 40        # lines that the publisher has been given and has not said to have taken
BACKLOG = 400     # lines that it has taken and that are not in the output, more or less
PATIENCE_S = 60 * env.SLOW
OPTIONS = {"store": "lmdb", "store_dir": "store", "store_max_size": "256M", "durability": "strict", "history": "1000000 once/#", "topic_admin": "boss",
           "log_type": "warning\nlog_type error", "threads": 2}


class Network:
    """A relay to the broker that can be cut."""

    def __init__(self, port):
        self.to, self.cut_off, self.pairs, self.lock = port, False, set(), threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            one, _ = self.server.accept()
            try:
                if self.cut_off:
                    raise OSError
                two = socket.create_connection(("127.0.0.1", self.to), timeout=5)
            except OSError:
                one.close()
                continue
            two.settimeout(None)
            with self.lock:
                self.pairs.add((one, two))
            for source, target in ((one, two), (two, one)):
                threading.Thread(target=self._copy, args=(source, target, (one, two)), daemon=True).start()

    def _copy(self, source, target, pair):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        self._end(pair)

    def _end(self, pair):
        with self.lock:
            self.pairs.discard(pair)
        for one in pair:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def kill(self):
        self.cut_off = True
        for pair in list(self.pairs):
            self._end(pair)

    def start(self):
        self.cut_off = False


class Client:
    """A sealmq that is started anew as often as it is killed."""

    def __init__(self, trial, cn, arguments, stdout=None):
        home = trial.dir / cn
        home.mkdir(exist_ok=True)
        cert = trial.people[cn]
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home), "SEALMQ_HOST": "127.0.0.1", "SEALMQ_PORT": str(trial.network.port), "SEALMQ_CAFILE": str(trial.pki.ca),
                        "SEALMQ_CERT": str(cert.crt), "SEALMQ_KEY": str(cert.key), "SEALMQ_RECONNECT_MAX": "1"}
        self.arguments, self.stdout, self.process = [str(env.SEALMQ), *map(str, arguments)], stdout, None
        self.said = open(home / "stderr", "ab")

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=self.stdout or subprocess.DEVNULL, stderr=self.said, env=self.environ)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def run(self):
        subprocess.run(self.arguments, check=True, timeout=PATIENCE_S, env=self.environ, stdout=subprocess.DEVNULL)


class Publisher(Client):
    """Fed by a thread; taken: how many lines it has said to have."""

    taken, goal, failed = 0, None, None

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, env=self.environ, text=True)
        self.thread = threading.Thread(target=self._feed, args=(self.process,), daemon=True)
        self.thread.start()

    def _feed(self, process):
        given = None
        with contextlib.suppress(OSError, ValueError):
            for line in process.stdout:
                word, number = line.split()
                now = int(number)
                if word != "taken" or now < self.taken or (given is not None and now > given):
                    self.failed = f"said {line!r} after taken {self.taken}, given {given}"
                self.taken = now
                given = now if given is None else given
                if process.stdin.closed:
                    continue
                while self.goal is None and self.printed() < now - BACKLOG and process.poll() is None:
                    time.sleep(0.01)
                goal = now + AHEAD if self.goal is None else self.goal
                process.stdin.write("".join(f"{i}\n" for i in range(given, goal)))
                process.stdin.flush()
                given = max(given, goal)
                if goal == self.goal:
                    process.stdin.close()

    def finish(self):
        """Takes no more than it has been given, and delivers it all."""
        self.goal = self.taken + 2 * AHEAD
        self.kill()                                   # the next one is fed up to there
        self.thread.join(PATIENCE_S)
        self.start()
        assert self.process.wait(PATIENCE_S) == 0, "the publisher has not delivered all"
        self.thread.join(PATIENCE_S)


class Trial:
    def __init__(self, args, directory):
        self.args, self.random, self.dir = args, random.Random(args.seed), directory
        (directory / "pki").mkdir()
        self.pki = Pki(directory / "pki")
        self.people = {cn: self.pki.authority.issue(cn, cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann", "bob")}
        self.broker = Broker(directory, self.pki, OPTIONS)
        self.network = Network(self.broker.port)
        self.output = directory / "output"
        self.output.touch()
        Publisher.printed = staticmethod(self.printed)
        self.publisher = Publisher(self, "ann", ["pub", "-t", TOPIC, "--outbox", directory / "outbox", "-l", "--keep-trying"])
        account = ["--dedup", directory / "dedup", "--output", self.output] if not args.lossy else ["-c", "-i", "bob"]
        self.subscriber = Client(self, "bob", ["sub", "-t", TOPIC, "--keep-trying", *account], open(self.output, "ab") if args.lossy else None)
        self.struck = dict.fromkeys(("broker", "publisher", "subscriber", "network"), 0)

    def printed(self):
        return self.output.read_bytes().count(b"\n")

    def wait_for(self, n):
        deadline = time.monotonic() + PATIENCE_S
        while self.printed() < n:
            assert time.monotonic() < deadline, f"{self.printed()} lines of {n} in the output"
            time.sleep(0.02)

    def kill_broker(self):
        self.broker.process.kill()
        self.broker.process.wait()

    def round(self):
        names = list(self.struck)
        victims = self.random.sample(names, self.random.choice((1, 1, 2, 3, 4)))
        if self.args.lossy and "subscriber" not in victims:
            victims.append("subscriber")              # whose death is what shows
        if self.random.random() < 0.7:                # else: while they are still busy with the last blow
            self.wait_for(self.printed() + self.random.randrange(1, 60))
        time.sleep(self.random.random() * 0.3)
        for name in victims:
            self.struck[name] += 1
            (self.kill_broker if name == "broker" else getattr(self, name).kill)()
            time.sleep(self.random.choice((0, 0, self.random.random() * 0.05)))
        for name in self.random.sample(victims, len(victims)):
            time.sleep(self.random.choice((0, self.random.random() * 0.2)))
            getattr(self, name).start()

    def run(self):
        self.broker.start()
        Client(self, "boss", ["topic", "create", "once", "--member", "ann", "--member", "bob", "--new-members", "see-past"]).run()
        self.subscriber.start()
        if self.args.lossy:
            time.sleep(1)                             # its session has to begin
        else:
            deadline = time.monotonic() + PATIENCE_S
            while not (self.dir / "dedup").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        self.publisher.start()
        for _ in range(self.args.rounds):
            self.round()
        for _ in range(50 if self.args.lossy else 0):
            lines = self.output.read_text(encoding="ascii").rpartition("\n")[0].splitlines()
            if len(set(lines)) < len(lines):
                break                                 # chance may spare it, but not for ever
            self.round()
        self.publisher.finish()
        if self.args.lossy:
            time.sleep(3)
        else:
            self.wait_for(self.publisher.taken)
        self.subscriber.process.terminate()
        status = self.subscriber.process.wait(PATIENCE_S)
        self.broker.stop()
        return status

    def judge(self, status):
        """What is wrong, or None."""
        lines, wanted = self.output.read_text(encoding="ascii").splitlines(), self.publisher.taken
        faults = [self.publisher.failed] if self.publisher.failed else []
        missing, seen = sorted(set(map(str, range(wanted))) - set(lines), key=int), set()
        twice = [x for x in lines if x in seen or seen.add(x)]
        if missing:
            faults.append(f"{len(missing)} missing: {missing[:10]}")
        if twice:
            faults.append(f"{len(twice)} came twice: {twice[:10]}")
        if not faults and lines != [str(i) for i in range(wanted)]:
            faults.append("not in order, or others besides")
        if status != 0 and not self.args.lossy:
            faults.append(f"sub ended with {status}")
        return "; ".join(faults)

    def close(self):
        for one in (self.publisher, self.subscriber):
            if one.process and one.process.poll() is None:
                one.kill()
        self.broker.kill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", dest="rounds", type=int, default=20)
    parser.add_argument("-l", dest="lossy", action="store_true")
    parser.add_argument("-s", dest="seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        trial, began = Trial(args, pathlib.Path(name)), time.monotonic()
        try:
            fault = trial.judge(trial.run())
        except BaseException:
            for cn in ("ann", "bob"):
                print(f"-- {cn}:", (pathlib.Path(name) / cn / "stderr").read_text(encoding="utf-8", errors="replace")[-1500:], sep="\n")
            raise
        finally:
            trial.close()
    print(f"exact_crash{' -l' if args.lossy else ''}: seed {args.seed}: {args.rounds} rounds in {time.monotonic() - began:.0f} s, killed {trial.struck}; "
          f"{trial.publisher.taken} lines taken: {fault or 'each exactly once, in order'}")
    return 0 if bool(fault) == args.lossy else 1


if __name__ == "__main__":
    sys.exit(main())
