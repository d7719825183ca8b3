#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the scenarios against sealmqd and mosquitto in turn and prints what they reach. `make bench` and `make bench-quick` call it.

    run.py [--quick] [--only NAME,...] [--rounds N] [--seconds S] [--no-mosquitto] [--out DIR]
    run.py --variant 'busy_delay_us 0; threads 2'      sealmqd against itself with other settings
    run.py --variant-program PATH                      ... or against another build
    run.py --resume                                    goes on where the last run was interrupted (the same options)

Each run has a broker of its own on loopback, with fresh memory; A B, B A, A B, ... The raw figures, their medians and what the machine is
go to bench/results/<date>-<commit>.json (quick and partial runs: build/bench), from which report.py makes bench/report.md."""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import report  # noqa: E402
import spaces  # noqa: E402
import stored  # noqa: E402
from spaces import ALL as SCENARIOS  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOAD = ROOT / "build" / "mqload"
SEALMQD = ROOT / "build" / "release" / "sealmqd"
# Who is measured runs at once where the right is there, else who disturbs runs when nobody else wants the CPU: the machine's few CPUs are shared, and
# in a process's slice of 4 ms the others wait. So what is measured is what the broker does, not how the kernel divides a CPU.
MEASURED = ["chrt", "--fifo", "1"] if subprocess.run(["chrt", "--fifo", "1", "true"], capture_output=True, check=False).returncode == 0 else []
IDLE = ["chrt", "--idle", "0"]
DISTURBING = ["nice", "-n", "10"] if MEASURED else IDLE
OURS, THEIRS, VARIANT = "sealmqd", "mosquitto", "variant"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """A process with one listener per kind of certificates, the same limits for each program, nothing on disk."""

    LIMITS = ("allow_anonymous false", "max_queued_messages 0", "max_inflight_messages 100", "set_tcp_nodelay true", "log_type error", "log_type warning",
              *(["user root"] if os.getuid() == 0 else []))
    OWN = {OURS: ["store memory"], VARIANT: ["store memory"], THEIRS: ["persistence false"]}
    PROGRAM = {OURS: str(SEALMQD), VARIANT: str(SEALMQD), THEIRS: shutil.which("mosquitto") or "/usr/sbin/mosquitto"}

    def __init__(self, program, directory, pki, threads=1, environ=None, more=(), own=None, prefix=()):
        self.name, self.ports = program, {kind: free_port() for kind in pki}
        lines = [*self.LIMITS, *([f"threads {threads}"] if program != THEIRS else []), *(own or self.OWN[program]), *more]
        for kind, port in self.ports.items():
            lines += [f"listener {port} 127.0.0.1", f"cafile {pki[kind]}/ca.crt", f"certfile {pki[kind]}/server.crt", f"keyfile {pki[kind]}/server.key",
                      "require_certificate true", "use_identity_as_username true"]
        config = directory / f"{program}.conf"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.log = directory / f"{program}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*prefix, self.PROGRAM[program], "-c", str(config)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=directory, env={**os.environ, **(environ or {})})
        self._await()

    def _await(self):
        deadline = time.monotonic() + 20
        for port in self.ports.values():
            while True:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"bench: {self.name} did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)

    def rss_anon_kb(self):
        return int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")).group(1))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Bench(stored.Stored, spaces.Spaces):
    def __init__(self, directory, quick, seconds):
        self.dir, self.quick, self.seconds = directory, quick, seconds
        self.warmup = 0.5 if quick else 1.0
        self.pki = {}
        for kind in ("ec", "fleet"):
            self.pki[kind] = directory / kind
            subprocess.run([ROOT / "bench" / "pki.sh", self.pki[kind], kind, "1"], check=True, capture_output=True)

    def broker(self, program, threads=1, environ=None, more=(), own=None, prefix=()):
        return Broker(program, self.dir, self.pki, threads, environ, more, own, prefix)

    # -- the generator

    def command(self, broker, args, kind="ec", prefix=(), **options):
        pki = self.pki[kind]
        words = {"duration": self.seconds, "warmup": self.warmup, "port": broker.ports[kind], "pid": broker.process.pid, "ca": pki / "ca.crt",
                 "cert": pki / "client.crt", "key": pki / "client.key", **options}
        own = args.split()
        return [*prefix, str(LOAD), own[0], *(w for k, v in words.items() if f"--{k}" not in own for w in (f"--{k}", str(v))),
                *own[1:], "--json"]

    def start(self, broker, args, **options):
        return subprocess.Popen(self.command(broker, args, **options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def result(process, end=False):
        if end:
            process.send_signal(signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
        with contextlib.suppress(ValueError):
            return json.loads(out)
        return {"ok": 0, "error": err[-500:]}

    def load(self, broker, args, **options):
        return self.result(self.start(broker, args, **options))

    # -- procedures of more than one generator. 

    QUIET = "p2p --pairs 50 --rate 1000 --prefix mqb"

    def quiet(self, broker, **options):
        return self.load(broker, self.QUIET, prefix=MEASURED, **options)

    def fairness(self, program):
        """Not under SCHED_FIFO: of each second of such a process that is busy all the time, as a broker beside a flood, the kernel takes 50 ms away."""
        out = {"ok": 1}
        for phase, disturber in (("quiet", None), ("flood", "flood --pubs 1"), ("reconnect", "connect --concurrency 500")):
            with self.broker(program) as broker:
                other = None
                if disturber:
                    other = self.start(broker, disturber, prefix=IDLE, duration=600)
                    time.sleep(self.warmup)
                got = self.load(broker, self.QUIET)
                out["ok"] &= got["ok"]
                for q in ("p50", "p99", "p999", "max"):
                    out[f"{phase}_{q}_us"] = got.get(f"lat_{q}_us", 0)
                if other:
                    beside = self.result(other, end=True)
                    out["ok"] &= beside["ok"]
                    out.update({f"{phase}_{k}": beside[k] for k in ("pub_s", "hs_s") if k in beside})
        return out

    # Each with its limit, what counts it below $SYS/broker/limits/, and another identity than the quiet clients'. All is logged, so that what an
    # attack makes the broker say costs as it would. (The quiet clients share an identity: 310 and 110 are just above what they need.)
    ATTACKS = {
        "connects": ("max_handshakes_per_minute 600", "handshakes"), "handshakes": ("max_handshakes_per_minute 600", "handshakes"),
        "unfinished": ("max_unfinished_handshakes 1000", "unfinished_handshakes"),
        "slow_tls": ("handshake_timeout 2", "handshake_timeouts"), "slow_connect": ("handshake_timeout 2", "handshake_timeouts"),
        "trickle": ("packet_timeout 2", "packet_timeouts"), "partial": ("max_partial_packet_memory 64M", "partial_packets"),
        "reconnects": ("max_connects_per_minute 310", "connects"), "connections": ("max_connections_per_identity 110", "connections"),
        "messages": ("max_messages_per_second 1000", "pauses"), "bytes": ("max_bytes_per_second 1M", "pauses"),
        "subscriptions": ("max_subscriptions_per_client 1000", "subscriptions"),
    }
    FLOODS = {"messages": "flood --pubs 1 --prefix mqa", "bytes": "flood --pubs 1 --payload 16000 --prefix mqa"}

    def attack(self, broker, kind):
        other = {"cert": self.pki["ec"] / "clients" / "0.crt", "key": self.pki["ec"] / "clients" / "0.key"}
        if kind in self.FLOODS:
            return self.start(broker, self.FLOODS[kind], prefix=DISTURBING, duration=600, **other)
        command = [*DISTURBING, str(ROOT / "bench" / "attacks.py"), kind, str(broker.ports["ec"]), str(self.pki["ec"] / "ca.crt"), *(str(path) for path in other.values())]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @contextlib.contextmanager
    def sys_topics(self, broker, filters):
        """{name below $SYS/broker/: its values}, as they come from now on."""
        pki, values = self.pki["ec"], {}
        command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.ports["ec"]), "--cafile", str(pki / "ca.crt"), "--cert", str(pki / "client.crt"),
                   "--key", str(pki / "client.key"), "-R", "-v", *(w for f in filters for w in ("-t", "$SYS/broker/" + f))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            yield values
            process.terminate()
            for line in process.stdout:
                topic, value = line.split()
                values.setdefault(topic.removeprefix("$SYS/broker/"), []).append(int(value))

    def abuse(self, program):
        out = {"ok": 1}
        for kind, (limit, counter) in (("none", ("sys_interval 1", "handshakes")), *self.ATTACKS.items()):
            more = (limit, "log_type notice", *(["sys_interval 1"] if kind != "none" else []))
            with self.broker(program, more=more, prefix=MEASURED) as broker:
                attacker = self.attack(broker, kind) if kind != "none" else None
                time.sleep(self.warmup + (1 if attacker else 0))
                with self.sys_topics(broker, ("loop/longest_turn_us", "limits/" + counter)) as values:
                    windows = [self.quiet(broker, duration=min(self.seconds, 2)) for _ in range(3)]
                windows.sort(key=lambda w: w.get("lat_p99_us", 0))  # something else on the machine disturbs one of them at most, it is to be hoped
                out["ok"] &= all(w["ok"] for w in windows)
                out.update(self._window(kind, windows[1]))
                out.pop(f"{kind}_ok")
                out[f"{kind}_turn_us"] = max(values.get("loop/longest_turn_us", [0]))
                if attacker:
                    beside = self.result(attacker, end=True)
                    out[f"{kind}_limited"] = max(values.get("limits/" + counter, [0]))
                    out["ok"] &= beside["ok"] and out[f"{kind}_limited"] > 0
                    out.update({f"{kind}_{k}": beside[k] for k in ("pub_s", "opened", "closed_by_broker", "sent", "error") if k in beside})
        out.update({f"{kind}_ratio": out[f"{kind}_p99_us"] / out["none_p99_us"] if out["none_p99_us"] else 0 for kind in self.ATTACKS})
        out["worst_ratio"] = max(out[f"{kind}_ratio"] for kind in self.ATTACKS)
        out["worst_turn_us"] = max(out[f"{kind}_turn_us"] for kind in self.ATTACKS)
        return out

    def idle_many(self, program):
        """As many connections as the scenario's name says, at once; with as many brokers as the limit of open files asks for."""
        wanted, each = (2000, 1000) if self.quick else (100000, 10000)
        room = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200
        brokers, out = -(-wanted // room), {"ok": 1, "held": 0, "alive": 0}
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            generators, before, at = [], 0, 0
            running = [stack.enter_context(self.broker(program, more=("handshake_timeout 2m",))) for _ in range(brokers)]
            for n, broker in enumerate(running):
                before += broker.rss_anon_kb()
                left = wanted * (n + 1) // brokers - wanted * n // brokers
                while left:
                    count = min(left, each)
                    generators.append(self.start(broker, f"idle --subs {count} --source {at} --prefix idle{at} --on-signal --verbose", duration=1, timeout=600))
                    left, at = left - count, at + 1
            for g in generators:
                line = next((text for text in g.stderr if "connections up" in text), "0")
                out["held"] += int(line.split()[0])
            out["ramp_s"] = time.monotonic() - began
            after = sum(b.rss_anon_kb() for b in running)
            for g in generators:
                g.send_signal(signal.SIGUSR1)
            for g in generators:
                got = self.result(g)
                out["ok"] &= got["ok"]
                out["alive"] += got.get("alive", 0)
        out.update(brokers=brokers, nofile=room + 200, rss_per_conn=(after - before) * 1024 / out["held"] if out["held"] else 0)
        return out

    def storm(self, program):
        filters = 100000 if self.quick else 1000000
        out = {"ok": 1, "filters": filters}
        with self.broker(program, prefix=MEASURED) as broker:
            quiet = {phase: self.start(broker, self.QUIET + f"{phase} --on-signal", prefix=MEASURED, duration=600) for phase in ("storm", "end")}
            time.sleep(1 + self.warmup)
            wild = self.start(broker, f"wild --m {filters} --rate 100 --verbose", prefix=DISTURBING, duration=0.5, warmup=0)
            for line in wild.stderr:
                if line.startswith("subscribing"):
                    quiet["storm"].send_signal(signal.SIGUSR1)
                elif "subscriptions in" in line:
                    out.update(self._window("storm", self.result(quiet["storm"], end=True)))
                elif line.startswith("unsubscribing"):
                    quiet["end"].send_signal(signal.SIGUSR1)
            got = self.result(wild)
            time.sleep(1 + self.warmup)  # their subscriptions are taken out by and by
            out.update(self._window("end", self.result(quiet["end"], end=True)))
        out["ok"] &= got["ok"] & out.pop("storm_ok", 0) & out.pop("end_ok", 0)
        out.update(subscribe_s=got.get(f"m{filters}_subscribe_s", 0), teardown_s=got.get(f"m{filters}_teardown_s", 0),
                   subscribe_us_cpu=got.get(f"m{filters}_subscribe_us_cpu", 0))
        return out

    @staticmethod
    def _window(name, got):
        return {f"{name}_ok": got["ok"], **{f"{name}_{q}_us": got.get(f"lat_{q}_us", 0) for q in ("p50", "p99", "p999", "max")}}

    def loops(self, program):
        out = {"ok": 1}
        for name, args in (("p2p", "p2p"), ("fanout", "fanout --subs 500")):
            cost = {1: [], 2: []}
            for pair in range(1 if self.quick else 8):  # what else the machine does comes and goes: in turn, and the middle one counts
                for threads in ((1, 2), (2, 1))[pair % 2]:
                    with self.broker(program, threads) as broker:
                        got = self.load(broker, args, duration=min(self.seconds, 1))
                    out["ok"] &= got["ok"]
                    cost[threads].append(got.get("cpu_us_per_msg", 0))
            out.update({f"{name}_{threads}_us": statistics.median(cost[threads]) for threads in cost})
            out[f"{name}_ratio"] = statistics.median(two / one if one else 0 for one, two in zip(cost[1], cost[2], strict=True))
        return out

    def acl(self, program):
        """Random topics, so that no decision is remembered for long, with 3 rules and with 100,000 more that match none of them."""
        others = 1000 if self.quick else 100000
        own = "user client\ntopic readwrite mqload/#\ntopic deny mqload/never/#\npattern readwrite other/%u/#\n"
        more = [f"topic readwrite mqload/site{i}/+/cell{i}\n" if i % 4 else f"pattern readwrite site{i}/%u/#\n" for i in range(others // 2)]
        more += [f"user device{i}\ntopic readwrite mqload/line{i}/#\n" for i in range(others // 2)]
        out = {"ok": 1, "rules": others}
        for name, text in (("few", own), ("many", own + "".join(more))):
            path = self.dir / "acl"
            path.write_text(text, encoding="utf-8")
            with self.broker(program, more=(f"acl_file {path}",)) as broker:
                got = self.load(broker, "wild --m 10000")
            out["ok"] &= got["ok"]
            out[f"{name}_us"] = got.get("m10000_cpu_us_per_pub", 0)
        out["ratio"] = out["many_us"] / out["few_us"] if out["few_us"] else 0
        return out

    def leak(self, program):
        out = {"ok": 1}
        # The first rounds fill free lists, which are bounded at 256 KiB a size and thread.
        for name, args, few, many in (("connect", "connect --concurrency 64", 10000, 100000), ("churn", "churn --qos 1 --concurrency 64", 20000, 50000)):
            if self.quick:
                few, many = few // 5, many // 20
            with self.broker(program) as broker:
                got = self.load(broker, args, count=few, timeout=30)
                before = broker.rss_anon_kb()
                out["ok"] &= got["ok"]
                got = self.load(broker, args, count=many, timeout=30)
                after = broker.rss_anon_kb()
            out["ok"] &= got["ok"]
            out.update({f"{name}_rss_before_kb": before, f"{name}_rss_kb": after, f"{name}_bytes": max(after - before, 0) * 1024 / many,
                        f"{name}_per_cpu_s": got.get("hs_per_cpu_s", 0), f"{name}_rounds": got.get("handshakes", 0)})
        return out

    def run(self, scenario, program):
        args = (self.quick and scenario.quick_args) or scenario.args
        if args.startswith("@"):
            return getattr(self, args[1:])(program)
        with self.broker(program) as broker:
            return self.load(broker, args, kind=scenario.pki)


# ---- what is kept

def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False).stdout.strip()
    except OSError:
        return ""


def first_match(pattern, path):
    with contextlib.suppress(OSError):
        found = re.search(pattern, pathlib.Path(path).read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        return found.group(1).strip() if found else ""
    return ""


def circumstances(args, programs):
    changed = output("git", "status", "--porcelain", "--untracked-files=no")
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": output("git", "rev-parse", "--short=10", "HEAD") + ("-changed" if changed else ""),
        "machine": {"cpu": first_match(r"^model name\s*:(.*)$", "/proc/cpuinfo") or platform.processor(), "arch": platform.machine(), "cpus": os.cpu_count(),
                    "memory_mb": int(first_match(r"^MemTotal:\s+(\d+)", "/proc/meminfo") or 0) // 1024, "kernel": platform.release(),
                    "congestion": first_match(r"(\S+)", "/proc/sys/net/ipv4/tcp_congestion_control"), "load_before": os.getloadavg()[0]},
        "versions": {OURS: output(str(SEALMQD), "--version") or "", **({THEIRS: (output(Broker.PROGRAM[THEIRS], "-h").splitlines() or [""])[0]} if THEIRS in programs else {}),
                     "openssl": output("openssl", "version"), "compiler": (output("gcc", "--version").splitlines() or [""])[0]},
        "durability": "none: kept in memory (sealmqd: store memory; mosquitto: persistence false), but stored-*: LMDB, strict",
        "sessions": "clean", "transport": "TLS 1.3, mutual, on loopback", "loops": 1, "priorities": bool(MEASURED),
        "rounds": args.rounds, "seconds": args.seconds, "quick": args.quick,
    }


class Kept:
    """What has been measured so far, in a file: a run of twenty minutes that is interrupted is not lost."""

    SAME = ("commit", "machine", "rounds", "seconds", "quick")

    def __init__(self, path, result, resume):
        self.path, self.result = path, result
        if not resume:
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SystemExit(f"bench: --resume: there is nothing to resume in {path}") from None
        for key in self.SAME:
            a, b = ({k: v for k, v in r[key].items() if k != "load_before"} if key == "machine" else r[key] for r in (before, result))
            if a != b:
                raise SystemExit(f"bench: --resume: {key} was {a}, and is {b}")
        self.result = before

    def has(self, *run):
        return any((r["round"], r["scenario"], r["broker"]) == run for r in self.result["runs"])

    def add(self, run, took):
        self.result["runs"].append(run)
        self.result["took_s"] = round(took)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.result), encoding="utf-8")
        new.replace(self.path)

    def drop(self):
        self.path.unlink(missing_ok=True)


def attempt(bench, scenario, program):
    """One run; what goes wrong in it is its result, and the others are made."""
    try:
        return bench.run(scenario, program)
    except (Exception, SystemExit) as e:  # a broker that does not start ends by SystemExit
        return {"ok": 0, "error": f"{type(e).__name__}: {e}"[-500:]}


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def summarise(scenarios, runs, programs, mosquitto_version):
    """{scenario: {key: {broker: median, "ratio": median of the rounds' ratios, better > 1, "must", "goal": turned over to this machine,
    and as they were set}}}"""
    out = {}
    for s in scenarios:
        mine = [r for r in runs if r["scenario"] == s.name]
        rows = {}
        for m in s.metrics:
            other = programs[-1]
            values = {b: {r["round"]: r["data"][m.key] * m.scale for r in mine if r["broker"] == b and m.key in r["data"]} for b in programs}
            row = {b: median(v.values()) for b, v in values.items() if v}
            both = [(values[OURS][n], values[other][n]) for n in values[OURS] if other != OURS and n in values[other]]
            ratios = [(b / a if m.less else a / b) for a, b in both if a > 0 and b > 0]
            if ratios:
                row["ratio"] = median(ratios)
            reference = m.reference and m.reference["version 2.0" not in mosquitto_version]
            turn = row[THEIRS] / reference if reference and row.get(THEIRS) else 1.0
            for limit in ("must", "goal"):
                if getattr(m, limit) is not None:
                    row.update({limit: getattr(m, limit) * turn, limit + "_as_set": getattr(m, limit)})
            rows[m.key] = row
        out[s.name] = rows
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of one second each: under two minutes, for a first look")
    parser.add_argument("--only", help="names of scenarios, or beginnings, with commas")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--no-mosquitto", action="store_true")
    parser.add_argument("--variant", default="", help="lines of configuration, with semicolons")
    parser.add_argument("--variant-program", help="another sealmqd")
    parser.add_argument("--out", type=pathlib.Path, help="where results/ and report.md go")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run has measured")
    args = parser.parse_args()
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.seconds = args.seconds or (1 if args.quick else 4)
    only = tuple(args.only.split(",")) if args.only else None
    scenarios = [s for s in SCENARIOS if (s.name.startswith(only) if only else s.quick or not args.quick)]
    if not scenarios:
        parser.error("no such scenario; there are: " + " ".join(s.name for s in SCENARIOS))
    if args.variant or args.variant_program:
        Broker.OWN[VARIANT] += [line.strip() for line in args.variant.split(";")]
        Broker.PROGRAM[VARIANT] = args.variant_program or str(SEALMQD)
        programs = [OURS, VARIANT]
    else:
        programs = [OURS] if args.no_mosquitto else [OURS, THEIRS]
    out = args.out or (ROOT / "build" / "bench" if args.quick or only or args.no_mosquitto else ROOT / "bench")
    kept = Kept(ROOT / "build" / "bench" / "interrupted.json", {**circumstances(args, programs), "runs": []}, args.resume)
    result = kept.result
    began = time.monotonic() - result.get("took_s", 0)
    with tempfile.TemporaryDirectory(prefix="sealmq-bench.") as temporary:
        bench = Bench(pathlib.Path(temporary), args.quick, args.seconds)
        for n in range(1, args.rounds + 1):
            for s in scenarios:
                if s.rounds and n > s.rounds:
                    continue
                for program in programs if n % 2 else reversed(programs):
                    if s.ours_alone and program == THEIRS:
                        continue
                    if kept.has(n, s.name, program):
                        continue
                    data = attempt(bench, s, program)
                    kept.add({"round": n, "scenario": s.name, "broker": program, "data": data}, time.monotonic() - began)
                    head = s.metrics[0]
                    value = data.get(head.key)
                    print(f"[{time.monotonic() - began:5.0f} s] round {n}  {s.name:<16} {program:<10} "
                          f"{report.number(value * head.scale if value is not None else None):>10} {head.unit} {head.label}"
                          f"{'' if data.get('ok') else '   CHECKS FAILED ' + data.get('error', '')}", flush=True)
    result["took_s"] = round(time.monotonic() - began)
    result["summary"] = summarise(scenarios, result["runs"], programs, result["versions"].get(THEIRS, ""))
    if VARIANT in programs:
        result["against"] = VARIANT
    print("\n" + report.table(result))
    if VARIANT not in programs:
        (out / "results").mkdir(parents=True, exist_ok=True)
        path = out / "results" / f"{result['date'][:16].replace(':', '').replace('-', '')}-{result['commit']}.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        report.write(out)
        kept.drop()
        print(f"\n{path}\n{out / 'report.md'}")
    return 0 if all(r["data"].get("ok") for r in result["runs"] if r["broker"] == OURS) else 3


if __name__ == "__main__":
    sys.exit(main())
