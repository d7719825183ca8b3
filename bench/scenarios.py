# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, and what sealmqd has to reach.

`must` and `goal` are absolute figures of the machine that they were set on; `reference` is what mosquitto 2.0.11 and 2.1.2 reached there.
Machines differ, ratios much less: where there is a reference, run.py turns both over by what mosquitto reaches in the same run."""
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Metric:
    key: str                  # in mqload's report
    label: str
    unit: str
    less: bool = False        # less is better
    must: float = None
    goal: float = None
    reference: tuple = ()     # (mosquitto 2.0, 2.1)
    scale: float = 1.0        # from mqload's unit to `unit`


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    args: str                 # of mqload; or the name of one of run.py's own procedures, with a "@"
    metrics: tuple            # the first one is the headline
    pki: str = "ec"
    ours_alone: bool = False
    rounds: int = None        # at most
    quick: bool = True        # part of bench-quick
    quick_args: str = None
    panels: tuple = field(default=())  # (title, unit, keys): what report.py draws; default: headline and latency


LATENCY = (Metric("lat_p50_us", "p50", "ms", True, scale=1e-3), Metric("lat_p99_us", "p99", "ms", True, scale=1e-3),
           Metric("lat_p999_us", "p99.9", "ms", True, scale=1e-3))
WALL = Metric("msg_s", "wall rate", "msg/s")
PEAK = Metric("peak_rss_kb", "peak memory", "MB", True, scale=1 / 1024)


def flow(name, title, args, must, goal, reference, quick=True):
    return Scenario(name, title, args, (Metric("msgs_per_cpu_s", "messages per broker CPU-second", "msg/s", False, must, goal, reference),
                                        WALL, *LATENCY, PEAK), quick=quick)


def connects(name, title, pki, must, goal, reference):
    return Scenario(name, title, "connect --concurrency 32",
                    (Metric("hs_per_cpu_s", "connects per broker CPU-second", "1/s", False, must, goal, reference),
                     Metric("hs_s", "wall rate", "1/s"), *LATENCY, PEAK), pki)


def wild_metrics(*sizes):
    limits = {1000: (1.5, 1.0, (12.3, 12.1)), 100000: (2.5, 1.3, (15.2, 14.6)), 1000000: (None, 1.5, (17.3, None))}
    cpu = tuple(Metric(f"m{m}_cpu_us_per_pub", f"CPU per publish at {m:,} subscriptions", "µs", True, *limits.get(m, (None, None, ())))
                for m in sizes)
    subscribing = tuple(Metric(f"m{m}_subscribe_us_cpu", f"CPU per SUBSCRIBE filter, {m:,} of them", "µs", True) for m in sizes)
    return cpu + subscribing


SCENARIOS = (
    flow("p2p-q0-64", "50 pairs, QoS 0, 64 bytes", "p2p --qos 0", 939e3, 1500e3, (105.6e3, 100e3)),
    flow("p2p-q0-single", "50 pairs, QoS 0, 64 bytes, one message per record in", "p2p --qos 0 --batch 1", 943.5e3, 1400e3, (89e3, 93e3), quick=False),
    flow("p2p-q0-1k", "50 pairs, QoS 0, 1 KiB", "p2p --qos 0 --payload 1024", 461.5e3, 600e3, (93.2e3, 88e3)),
    flow("p2p-q1-64", "50 pairs, QoS 1, 64 bytes", "p2p --qos 1", 565.5e3, 942.5e3, (54.4e3, 48e3)),
    flow("p2p-q2-64", "50 pairs, QoS 2, 64 bytes", "p2p --qos 2", 331.5e3, 552.5e3, (20.9e3, 22e3), quick=False),
    flow("fanout-q0", "1 publisher to 500 subscribers, QoS 0", "fanout --subs 500", 1304e3, 1700e3, (104.4e3, 132e3)),
    flow("fanout-q1", "1 publisher to 500 subscribers, QoS 1", "fanout --subs 500 --qos 1 --window 4", 310.5e3, 621e3, (83.5e3, 94e3)),
    flow("fanin-q0", "500 publishers to 1 subscriber, QoS 0", "fanin --pubs 500", 1583e3, 2500e3, (97.1e3, 102e3)),
    flow("fanin-q1", "500 publishers to 1 subscriber, QoS 1", "fanin --pubs 500 --qos 1", 815e3, 1358e3, (46.5e3, 42e3)),
    # Set as 0.50 and 0.42 with a generator that stamped each message one interval, 0.20 ms, before it was due.
    Scenario("p2p-q1-rate", "50 pairs, QoS 1, 5,000 messages a second: latency at light load", "p2p --qos 1 --rate 5000",
             (Metric("lat_p99_us", "p99", "ms", True, 0.3, 0.22, scale=1e-3), *(m for m in LATENCY if m.label != "p99"),
              Metric("late_p99_us", "p99 of the generator's own lateness, part of the latency", "ms", True, scale=1e-3),
              Metric("msgs_per_cpu_s", "messages per broker CPU-second", "msg/s"), PEAK),
             panels=(("latency", "ms", ("lat_p50_us", "lat_p99_us", "lat_p999_us")), ("messages per broker CPU-second", "msg/s", ("msgs_per_cpu_s",)))),
    Scenario("wild", "random topics against many filters, four in ten with wildcards", "wild --m 1000,10000,100000", wild_metrics(1000, 10000, 100000), quick_args="wild --m 1000,100000",
             panels=(("CPU per publish, by subscriptions", "µs", tuple(f"m{m}_cpu_us_per_pub" for m in (1000, 10000, 100000))),
                     ("CPU per SUBSCRIBE filter", "µs", tuple(f"m{m}_subscribe_us_cpu" for m in (1000, 10000, 100000))))),
    Scenario("wild-1m", "the same with 1,000,000 subscriptions", "wild --m 1000000",
             (*wild_metrics(1000000), Metric("m1000000_rss_per_sub", "memory per subscription", "B", True, 150, 80),
              Metric("m1000000_subscribe_s", "time to subscribe all", "s", True)), rounds=1, quick=False,
             panels=(("CPU per publish", "µs", ("m1000000_cpu_us_per_pub",)), ("memory per subscription", "B", ("m1000000_rss_per_sub",)),
                     ("time to subscribe all", "s", ("m1000000_subscribe_s",)))),
    Scenario("retain-50k", "50,000 retained messages, delivered after one wildcard SUBSCRIBE", "retain --count 50000 --qos 1",
             (Metric("deliver_all_ms", "time until all are delivered", "ms", True, 60, 30), Metric("store_per_cpu_s", "stored per CPU-second", "msg/s"),
              Metric("msgs_per_cpu_s", "delivered per CPU-second", "msg/s"), Metric("rss_per_retained", "memory each", "B", True)),
             panels=(("time until all are delivered", "ms", ("deliver_all_ms",)), ("per broker CPU-second", "msg/s", ("store_per_cpu_s", "msgs_per_cpu_s")),
                     ("memory each", "B", ("rss_per_retained",)))),
    connects("connect-ec", "TLS 1.3 handshakes with P-256 certificates, and CONNECT", "ec", 2600, 3000, (836, 854)),
    connects("connect-rsa", "TLS 1.3 handshakes, RSA-2048 clients and CA, P-256 server", "fleet", 2200, 3000, ()),
    Scenario("idle", "idle connections with one subscription each", "idle --subs 8000 --duration 1", (
        Metric("rss_per_conn", "memory per idle connection", "kB", True, 6, 4.5, scale=1e-3),
        Metric("ramp_conn_per_cpu_s", "connects per broker CPU-second", "1/s")), rounds=1, quick_args="idle --subs 2000 --duration 0.5",
             panels=(("memory per idle connection", "kB", ("rss_per_conn",)),)),
    Scenario("idle-100k", "100,000 idle connections on one machine, each of which gets a message at the end", "@idle_many", (
        Metric("alive", "connections that got it", "", False, 100000, 100000), Metric("rss_per_conn", "memory per idle connection", "kB", True, 6, 4.5, scale=1e-3),
        Metric("brokers", "brokers that hold them, by the limit of open files", "", True), Metric("ramp_s", "time until all are up", "s", True)),
             ours_alone=True, rounds=1, quick=False, panels=(("memory per idle connection", "kB", ("rss_per_conn",)),)),
    Scenario("fairness", "100 quiet clients: alone; beside one that floods; beside 500 that reconnect", "@fairness", (
        Metric("flood_p99_us", "p99 beside a flood", "ms", True, scale=1e-3), Metric("quiet_p99_us", "p99 alone", "ms", True, scale=1e-3),
        Metric("reconnect_p99_us", "p99 beside reconnects", "ms", True, scale=1e-3), Metric("flood_p50_us", "p50 beside a flood", "ms", True, scale=1e-3),
        Metric("quiet_p50_us", "p50 alone", "ms", True, scale=1e-3), Metric("reconnect_p50_us", "p50 beside reconnects", "ms", True, scale=1e-3),
        Metric("flood_pub_s", "flood that was taken", "msg/s"), Metric("reconnect_hs_s", "reconnects", "1/s")), rounds=1,
             panels=(("p99 alone, beside a flood, beside reconnects", "ms", ("quiet_p99_us", "flood_p99_us", "reconnect_p99_us")),
                     ("p50", "ms", ("quiet_p50_us", "flood_p50_us", "reconnect_p50_us")))),
    Scenario("abuse", "p99 of 100 quiet clients beside each attack, against alone, with its limit set", "@abuse", (
        Metric("worst_ratio", "p99 beside the worst attack / alone", "×", True, 2.0), Metric("none_p99_us", "p99 alone", "ms", True, scale=1e-3),
        Metric("none_turn_us", "longest loop turn alone", "ms", True, scale=1e-3), Metric("worst_turn_us", "longest loop turn beside any attack", "ms", True, scale=1e-3),
        *(Metric(f"{kind}_ratio", f"{kind}: p99 / alone", "×", True, 2.0)
          for kind in ("connects", "handshakes", "unfinished", "slow_tls", "slow_connect", "trickle", "partial", "reconnects", "connections", "messages", "bytes",
                       "subscriptions"))),
             ours_alone=True, rounds=1, quick=False),
    Scenario("acl-100k", "CPU per publish with 100,000 access rules that do not match, against without them", "@acl", (
        Metric("ratio", "with them / without", "×", True, 1.2), Metric("few_us", "CPU per publish, 3 rules", "µs", True),
        Metric("many_us", "CPU per publish, 100,003 rules", "µs", True)), ours_alone=True, quick=False,
             panels=(("CPU per publish: 3 rules, 100,003", "µs", ("few_us", "many_us")),)),
    Scenario("subscribe-storm", "100 quiet clients while 1,000,000 filters are subscribed, then dropped", "@storm", (
        Metric("storm_p99_us", "p99 while subscribing", "ms", True, scale=1e-3), Metric("storm_max_us", "longest while subscribing", "ms", True, scale=1e-3),
        Metric("end_p99_us", "p99 while dropping", "ms", True, scale=1e-3), Metric("end_max_us", "longest while dropping", "ms", True, scale=1e-3),
        Metric("subscribe_s", "time to subscribe", "s", True), Metric("teardown_s", "time until their connections are closed", "s", True)), rounds=1,
             panels=(("p99 while subscribing, while dropping", "ms", ("storm_p99_us", "end_p99_us")),
                     ("time to subscribe, until the connections are closed", "s", ("subscribe_s", "teardown_s")))),
    Scenario("two-loops", "CPU per message with two loops, against one", "@loops", (
        Metric("p2p_ratio", "p2p: two loops / one", "×", True, 1.15), Metric("fanout_ratio", "fan-out: two loops / one", "×", True, 1.15),
        Metric("p2p_1_us", "p2p, one loop", "µs", True), Metric("p2p_2_us", "p2p, two loops", "µs", True),
        Metric("fanout_1_us", "fan-out, one loop", "µs", True), Metric("fanout_2_us", "fan-out, two loops", "µs", True)), ours_alone=True, rounds=1,
             panels=(("two loops / one: p2p, fan-out", "×", ("p2p_ratio", "fanout_ratio")),
                     ("CPU per message: p2p 1, 2; fan-out 1, 2", "µs", ("p2p_1_us", "p2p_2_us", "fanout_1_us", "fanout_2_us"))), quick=False),
    Scenario("leak", "memory after 100,000 connects; after 50,000 rounds of connect, subscribe, publish, disconnect", "@leak", (
        Metric("connect_bytes", "RssAnon grown per connect", "B", True, 2), Metric("churn_bytes", "RssAnon grown per round", "B", True, 4),
        Metric("connect_rss_kb", "RssAnon after the connects", "MB", True, scale=1 / 1024), Metric("churn_rss_kb", "RssAnon after the soak", "MB", True, scale=1 / 1024),
        Metric("churn_per_cpu_s", "soak rounds per broker CPU-second", "1/s")), ours_alone=True, rounds=1, quick=False,
             panels=(("RssAnon grown per connect, per round", "B", ("connect_bytes", "churn_bytes")), ("RssAnon after", "MB", ("connect_rss_kb", "churn_rss_kb")))),
)
