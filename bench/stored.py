# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on disk: acknowledgements that wait for it, the past of new subscribers, starts. sealmqd alone, store lmdb, durability strict.

The disk's own fdatasync is measured beside. Where a disk of another speed is to be judged, tests/crash/powercut.c makes every sync
SLOW_US slower; a commit is two of them: the data, then LMDB's meta page."""
import os
import pathlib
import shutil
import signal
import statistics
import time

from scenarios import SCENARIOS as IN_MEMORY
from scenarios import Metric, Scenario

ROOT = pathlib.Path(__file__).resolve().parents[1]
SLOW_US = 6000
PUBLISHERS = ((1, 4000), (100, 200), (1000, 20))    # and each one's window


def fdatasync_ms(directory, n=200):
    """Of n synced writes of a page: the median, and what one in a hundred exceeds."""
    path = directory / "sync-probe"
    took = []
    with open(path, "wb", buffering=0) as f:
        for i in range(n):
            f.seek(i % 16 * 4096)
            f.write(os.urandom(4096))
            begin = time.monotonic()
            os.fdatasync(f.fileno())
            took.append((time.monotonic() - begin) * 1e3)
    path.unlink()
    return statistics.median(took), sorted(took)[-1 - n // 100]


class Stored:
    """Procedures of run.py's Bench."""

    STORE = ["store lmdb", "persistence_location stored", "store_max_size 4G", "history 100000000 mqload/past/#"]

    def stored(self, program, slow_us=0, fresh=True):
        if fresh:
            shutil.rmtree(self.dir / "stored", ignore_errors=True)
        environ = {"LD_PRELOAD": str(ROOT / "build" / "powercut.so"), "POWERCUT_SYNC_US": str(slow_us)} if slow_us else None
        return self.broker(program, environ=environ, own=self.STORE)

    def durable(self, program):
        sync, rare = fdatasync_ms(self.dir)
        out = {"ok": 1, "fdatasync_ms": sync, "fdatasync_p99_ms": rare}
        for disk, slow_us in (("", 0), ("slow_", SLOW_US)):
            commit_ms = 2 * (sync + slow_us / 1e3)
            for pubs, window in PUBLISHERS:
                with self.stored(program, slow_us) as broker:
                    got = self.load(broker, f"past --pubs {pubs} --window {window} --payload 100")
                out["ok"] &= got["ok"]
                out[f"{disk}{pubs}_acked_s"] = got.get("acked_s", 0)
            with self.stored(program, slow_us) as broker:
                got = self.load(broker, "past --pubs 100 --rate 2000 --payload 100")
            out["ok"] &= got["ok"]
            for q in ("p50", "p99"):
                out[f"{disk}puback_{q}_us"] = got.get(f"lat_{q}_us", 0)
                out[f"{disk}puback_{q}_commits"] = got.get(f"lat_{q}_us", 0) / 1e3 / commit_ms
        return out

    def replay(self, program):
        n = 50000 if self.quick else 300000
        out = {"ok": 1}
        for qos in (0, 1):
            with self.stored(program) as broker:
                got = self.load(broker, f"past --count {n} --pubs 4 --window 2000 --payload 100 --subs 1 --sub-qos {qos}", timeout=120)
            out["ok"] &= got["ok"]
            out[f"q{qos}_replay_s"] = got.get("replay_msg_s", 0)
            out[f"q{qos}_per_cpu_s"] = got.get("replay_per_cpu_s", 0)
            out["peak_rss_kb"] = got.get("peak_rss_kb", 0)
        return out

    def start_again(self, program):
        n = 100000 if self.quick else 1000000
        with self.stored(program) as broker:
            got = self.load(broker, f"past --count {n} --pubs 10 --window 2000 --payload 100", timeout=300)
        took = []
        for _ in range(3):
            begin = time.monotonic()
            with self.stored(program, fresh=False):
                took.append(time.monotonic() - begin)
        return {"ok": got["ok"], "messages": n, "start_s": statistics.median(took)}

    def retained_on_disk(self, program):
        with self.stored(program) as broker:
            return self.load(broker, f"retain --count {20000 if self.quick else 100000} --qos 1 --window 2000", timeout=120)

    def beside_replays(self, program):
        """The quiet clients of run.py, alone and while ten subscribers get a long past."""
        n = 50000 if self.quick else 300000
        out = {"ok": 1}
        for phase, subs in (("quiet", 0), ("replays", 10)):
            with self.stored(program) as broker:
                past = self.start(broker, f"past --count {n} --pubs 4 --window 2000 --payload 100 --subs {subs or 1} --sub-qos 1 --verbose", prefix=["nice", "-n", "10"], timeout=120)
                quiet = self.start(broker, self.QUIET + " --on-signal")
                for line in past.stderr:
                    if line.startswith("replaying"):
                        break
                if not subs:                        # all is stored, one has got it: now it is quiet
                    self.result(past)
                quiet.send_signal(signal.SIGUSR1)
                got = self.result(quiet)
                out["ok"] &= got["ok"]
                for q in ("p50", "p99", "max"):
                    out[f"{phase}_{q}_us"] = got.get(f"lat_{q}_us", 0)
                if subs:
                    out["ran_all_the_time"] = past.poll() is None
                    out["replay_s"] = self.result(past, end=True).get("replay_msg_s", 0)
        return out


def rate(key, label, must=None, goal=None):
    return Metric(key, label, "msg/s", must=must, goal=goal)


def commits(key, label, goal=None):
    return Metric(key, label, "commits", True, goal=goal)


FDATASYNC = (Metric("fdatasync_ms", "the disk's fdatasync", "ms", True), Metric("fdatasync_p99_ms", "the disk's fdatasync, p99", "ms", True))
SCENARIOS = (
    Scenario("stored-publish", "durable QoS 1: every message on disk before its PUBACK; 100 bytes, one loop", "@durable", (
        rate("slow_1000_acked_s", f"1,000 publishers, each sync {SLOW_US // 1000} ms slower", 20e3, 50e3),
        rate("slow_100_acked_s", "100 publishers, slower", 20e3, 50e3), rate("slow_1_acked_s", "1 publisher, slower"),
        rate("1000_acked_s", "1,000 publishers, this disk"), rate("100_acked_s", "100 publishers"), rate("1_acked_s", "1 publisher"),
        commits("slow_puback_p50_commits", "PUBACK p50 at 2,000/s, slower", 2.5), commits("slow_puback_p99_commits", "PUBACK p99, slower", 2.5),
        Metric("slow_puback_p99_us", "PUBACK p99, slower", "ms", True, scale=1e-3),
        Metric("puback_p50_us", "PUBACK p50, this disk", "ms", True, scale=1e-3), Metric("puback_p99_us", "PUBACK p99, this disk", "ms", True, scale=1e-3),
        *FDATASYNC), ours_alone=True, rounds=1, quick=False,
             panels=(("acknowledged, with each sync 6 ms slower: 1, 100, 1,000 publishers", "msg/s", ("slow_1_acked_s", "slow_100_acked_s", "slow_1000_acked_s")),
                     ("acknowledged, this disk", "msg/s", ("1_acked_s", "100_acked_s", "1000_acked_s")),
                     ("PUBACK p50, p99, slower", "commits", ("slow_puback_p50_commits", "slow_puback_p99_commits")))),
    Scenario("stored-replay", "a new subscriber gets 300,000 stored messages of 100 bytes", "@replay", (
        rate("q0_replay_s", "replay, QoS 0", goal=200e3), rate("q1_replay_s", "replay, QoS 1"), rate("q0_per_cpu_s", "per broker CPU-second, QoS 0"),
        Metric("peak_rss_kb", "peak memory", "MB", True, scale=1 / 1024)), ours_alone=True, rounds=1, quick=False,
             panels=(("replay, QoS 0 and 1", "msg/s", ("q0_replay_s", "q1_replay_s")),)),
    Scenario("stored-start", "start with 1,000,000 stored messages", "@start_again", (Metric("start_s", "until it listens", "s", True, goal=2),),
             ours_alone=True, rounds=1, quick=False, panels=(("until it listens", "s", ("start_s",)),)),
    Scenario("stored-retained", "100,000 retained messages on disk, one wildcard subscription", "@retained_on_disk", (
        Metric("deliver_all_ms", "until all are delivered", "s", True, goal=1, scale=1e-3), rate("store_msg_s", "stored")), ours_alone=True, rounds=1, quick=False,
             panels=(("until all are delivered", "s", ("deliver_all_ms",)),)),
    Scenario("stored-beside", "100 quiet clients: alone, and beside ten replays", "@beside_replays", (
        Metric("replays_p99_us", "p99 beside ten replays", "ms", True, scale=1e-3), Metric("quiet_p99_us", "p99 alone", "ms", True, scale=1e-3),
        Metric("replays_p50_us", "p50 beside ten replays", "ms", True, scale=1e-3), Metric("quiet_p50_us", "p50 alone", "ms", True, scale=1e-3),
        rate("replay_s", "the ten replays")), ours_alone=True, rounds=1, quick=False,
             panels=(("p99 alone, beside ten replays", "ms", ("quiet_p99_us", "replays_p99_us")), ("p50", "ms", ("quiet_p50_us", "replays_p50_us")))),
)
ALL = (*IN_MEMORY, *SCENARIOS)
