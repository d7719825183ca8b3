# SPDX-License-Identifier: GPL-3.0-or-later
"""bench/report.py and run.py's summary, on made-up figures: limits are turned over, and what is drawn is well-formed."""
import json
import pathlib
import sys
import xml.etree.ElementTree as tree

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import report  # noqa: E402
import run  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402

VERSION = "mosquitto version 2.0.11"


def runs(ours=2.0, theirs=1.0):
    """Every metric of every scenario: ours, theirs; a second round with a tenth more."""
    return [{"round": n, "scenario": s.name, "broker": broker, "data": {"ok": 1, **{m.key: value * (1 + 0.1 * (n - 1)) for m in s.metrics}}}
            for n in (1, 2) for s in SCENARIOS for broker, value in (("sealmqd", ours), ("mosquitto", theirs))
            if broker == "sealmqd" or not s.ours_alone]


def result(date="2026-01-02T03:04:05Z", **figures):
    all_runs = runs(**figures)
    return {"date": date, "commit": "0123456789", "machine": {"cpu": "a <CPU>", "arch": "x", "cpus": 2, "memory_mb": 1, "kernel": "k", "congestion": "c",
                                                              "load_before": 0.0},
            "versions": {"mosquitto": VERSION}, "durability": "none", "sessions": "clean", "transport": "TLS", "loops": 1, "rounds": 2, "seconds": 1.0,
            "took_s": 1, "quick": False, "runs": all_runs,
            "summary": run.summarise(SCENARIOS, all_runs, ["sealmqd", "mosquitto"], VERSION)}


def test_limits_are_turned_over_by_what_the_reference_reaches_here():
    summary = result(ours=2e6, theirs=105.6e3 / 1.05)["summary"]
    row = summary["p2p-q0-64"]["msgs_per_cpu_s"]
    assert row["mosquitto"] == pytest.approx(105.6e3)  # the median of the rounds: as on the machine where the limits were set
    assert row["must"] == pytest.approx(row["must_as_set"]) and row["goal"] == pytest.approx(row["goal_as_set"])
    assert row["ratio"] == pytest.approx(2e6 * 1.05 / 105.6e3)
    latency = summary["p2p-q0-64"]["lat_p99_us"]
    assert latency["ratio"] < 1  # less is better, and ours has more


@pytest.mark.parametrize("less, value, says", [(False, 5, "BELOW"), (False, 15, "must"), (False, 25, "goal"), (True, 25, "BELOW"), (True, 5, "goal")])
def test_verdict(less, value, says):
    metric = report.SCENARIOS[0].metrics[0].__class__("k", "l", "u", less)
    assert report.verdict(metric, {"sealmqd": value, "must": 10 if not less else 20, "goal": 20 if not less else 10}) == says


def test_report_of_two_results(tmp_path):
    (tmp_path / "results").mkdir()
    for i, r in enumerate((result(), result("2026-02-02T03:04:05Z", ours=1e6, theirs=3.0))):
        (tmp_path / "results" / f"{i}.json").write_text(json.dumps(r))
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    for s in SCENARIOS:
        assert f"report/{s.name}.svg" in text
        drawing = tree.parse(tmp_path / "report" / f"{s.name}.svg").getroot()
        words = "".join(drawing.itertext())
        assert "nan" not in words and "over time" in words
    assert "2026-02-02" in text and "2 result(s)" in text
    assert report.table(result()).count("\n") > len(SCENARIOS)
