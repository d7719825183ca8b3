#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes report.md and its plots from the files in results/.

    report.py [DIR]        default: bench/
"""
import json
import math
import pathlib
import sys
from html import escape

sys.dont_write_bytecode = True
from spaces import ALL as SCENARIOS  # noqa: E402

OURS, THEIRS = "sealmqd", "mosquitto"
COLOURS = {OURS: "#1f6feb", THEIRS: "#a3adb8"}
MUST, GOAL, INK, FAINT = "#cf222e", "#1a7f37", "#24292f", "#d8dee4"


# ---- figures as text

def number(v):
    if v is None:
        return "-"
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if abs(v) >= size:
            v /= 1e6 if letter == "M" else 1e3
            return f"{v:.2f}{letter}" if v < 10 else f"{v:.0f}{letter}"
    return f"{v:.0f}" if abs(v) >= 100 else f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}"


def verdict(metric, row):
    """What the scenario's headline reached: "goal", "must", "below", or nothing to reach."""
    v = row.get(OURS)
    if v is None or ("must" not in row and "goal" not in row):
        return ""

    def reached(limit):
        return limit in row and (v <= row[limit] if metric.less else v >= row[limit])
    return "goal" if reached("goal") else "must" if reached("must") else "BELOW" if "must" in row else "under goal"


def against(result):
    """Mosquitto, or the variant of sealmqd that a run was for."""
    return result.get("against", THEIRS)


def rows_of(result):
    for s in SCENARIOS:
        for m in s.metrics:
            row = result["summary"].get(s.name, {}).get(m.key)
            if row and (OURS in row or against(result) in row):
                yield s, m, row


def failed(result):
    return sorted({(r["scenario"], r["broker"]) for r in result["runs"] if not r["data"].get("ok")})


def headings(result):
    return ("scenario", "figure", "unit", OURS, against(result), "ratio", "must", "goal", "as set", "reached")


def lines(result):
    last = None
    for s, m, row in rows_of(result):
        yield (s.name if s.name != last else "", m.label, m.unit, number(row.get(OURS)), number(row.get(against(result))),
               f"{row['ratio']:.2f}" if "ratio" in row else "", number(row["must"]) if "must" in row else "", number(row["goal"]) if "goal" in row else "",
               " / ".join(number(row[k]) for k in ("must_as_set", "goal_as_set") if k in row), verdict(m, row))
        last = s.name


def table(result):
    rows = [headings(result), *lines(result)]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    left = (0, 1, 2, 9)
    text = ["  ".join(f"{c:<{w}}" if i in left else f"{c:>{w}}" for i, (c, w) in enumerate(zip(r, widths))).rstrip() for r in rows]
    text.insert(1, "-" * len(text[0]))
    text += [f"CHECKS FAILED: {s} on {b}" for s, b in failed(result)]
    return "\n".join(text)


# ---- plots

class Drawing:
    def __init__(self, width, height):
        self.width, self.height, self.parts = width, height, []

    def text(self, x, y, s, size=12, anchor="start", colour=INK, weight="normal"):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}" '
                          f'paint-order="stroke" stroke="#ffffff" stroke-width="3">{escape(s)}</text>')

    def line(self, x1, y1, x2, y2, colour=FAINT, width=1.0, dash=""):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"'
                          + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")

    def box(self, x, y, w, h, colour, hint=""):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{max(h, 0.5):.1f}" fill="{colour}" rx="1.5"><title>{escape(hint)}</title></rect>')

    def path(self, points, colour):
        self.parts.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (colour, " ".join(f"{x:.1f},{y:.1f}" for x, y in points)))
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}" '
                'font-family="system-ui, -apple-system, \'Segoe UI\', \'DejaVu Sans\', sans-serif">\n'
                f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>\n' + "\n".join(self.parts) + "\n</svg>\n")


class Scale:
    """Values to the y of a panel: linear from zero, or logarithmic where they are far apart."""

    def __init__(self, values, top, bottom):
        values = [v for v in values if v and v > 0] or [1.0]
        high, low = max(values), min(values)
        self.top, self.bottom, self.log = top, bottom, high / low > 30
        if self.log:
            self.low, self.high = math.floor(math.log10(low) - 0.05), math.ceil(math.log10(high) + 0.05)
            self.ticks = [10.0 ** e for e in range(self.low, self.high + 1)]
        else:
            step = 10 ** math.floor(math.log10(high / 3))
            step = next(step * k for k in (1, 2, 2.5, 5, 10) if high / (step * k) <= 5)
            self.low, self.high = 0.0, step * math.ceil(high * 1.08 / step)
            self.ticks = [step * i for i in range(int(round(self.high / step)) + 1)]

    def y(self, v):
        at = (math.log10(max(v, 10.0 ** self.low)) if self.log else v) - self.low
        return self.bottom - (self.bottom - self.top) * at / (self.high - self.low)


def tick(v):
    return f"{v / 1e6:g}M" if v >= 1e6 else f"{v / 1e3:g}k" if v >= 1e4 else f"{v:g}"


def frame(d, x, top, width, bottom, scale, title, unit):
    d.text(x, top - 22, title, 13, weight="600")
    d.text(x, top - 8, unit + (", logarithmic" if scale.log else ""), 10.5, colour="#57606a")
    for t in scale.ticks:
        d.line(x, scale.y(t), x + width, scale.y(t))
        d.text(x - 6, scale.y(t) + 4, tick(t), 10.5, "end", "#57606a")


def bars(d, x, top, width, bottom, scenario, panel, result):
    title, unit, keys = panel
    summary, metrics = result["summary"][scenario.name], {m.key: m for m in scenario.metrics}
    keys = [k for k in keys if k in summary]
    brokers = [b for b in (OURS, THEIRS) if any(b in summary[k] for k in keys)]
    seen = {(k, b): [r["data"][k] * metrics[k].scale for r in result["runs"] if r["scenario"] == scenario.name and r["broker"] == b and k in r["data"]]
            for k in keys for b in brokers}
    values = [v for vs in seen.values() for v in vs] + [summary[k][limit] for k in keys for limit in ("must", "goal") if limit in summary[k]]
    scale = Scale(values, top, bottom)
    frame(d, x, top, width, bottom, scale, title, unit)
    group = width / max(len(keys), 1)
    bar = min(54.0, group * 0.8 / max(len(brokers), 1))
    for i, k in enumerate(keys):
        left = x + group * (i + 0.5) - bar * len(brokers) / 2
        right = left + bar * len(brokers)
        labels = []
        for j, b in enumerate(brokers):
            v = summary[k].get(b)
            if v is None:
                continue
            bx = left + bar * j
            d.box(bx + 2, scale.y(v), bar - 4, bottom - scale.y(v), COLOURS[b], f"{b}, {metrics[k].label}: {number(v)} {unit}")
            low, high = min(seen[k, b]), max(seen[k, b])
            if high > low:
                mid = bx + bar / 2
                d.line(mid, scale.y(low), mid, scale.y(high), INK, 1.2)
            labels.append((bx + bar / 2, min(scale.y(v), scale.y(high)) - 5, number(v), b))
        limits = sorted((scale.y(summary[k][limit]), limit, colour) for limit, colour in (("must", MUST), ("goal", GOAL)) if limit in summary[k])
        apart = max(0, 11 - (limits[1][0] - limits[0][0])) / 2 if len(limits) == 2 else 0
        for n, (y, limit, colour) in enumerate(limits):
            d.line(left - 8, y, right + 8, y, colour, 1.5, "5 3")
            d.text(right + 11, y + 4 + (apart if n else -apart), limit, 10.5, colour=colour)
        for lx, ly, words, b in labels:
            d.text(lx, ly, words, 11, "middle", weight="600" if b == OURS else "normal")
        if len(keys) > 1:
            words = metrics[k].label
            short = next((w for w in ("p99.9", "p99", "p50") if words == w), None) or words.replace("CPU per publish at ", "").replace("subscriptions", "")
            pieces = short.split()
            half = (len(pieces) + 1) // 2 if len(short) > 15 else len(pieces)
            for n, piece in enumerate((pieces[:half], pieces[half:])):
                d.text(x + group * (i + 0.5), bottom + 16 + 12 * n, " ".join(piece), 10.5, "middle")
    d.line(x, bottom, x + width, bottom, INK)


def history(d, x, top, width, bottom, scenario, results):
    """The headline over the commits that were measured."""
    m = scenario.metrics[0]
    points = {b: [(i, r["summary"][scenario.name][m.key][b]) for i, r in enumerate(results) if b in r["summary"].get(scenario.name, {}).get(m.key, {})]
              for b in (OURS, THEIRS)}
    scale = Scale([v for ps in points.values() for _, v in ps], top, bottom)
    frame(d, x, top, width, bottom, scale, "over time", m.unit)
    step = width / max(len(results) - 1, 1)
    for b in (THEIRS, OURS):
        if points[b]:
            d.path([(x + step * i, scale.y(v)) for i, v in points[b]], COLOURS[b])
    for i in {0, len(results) - 1}:
        d.text(x + step * i, bottom + 16, results[i]["commit"][:10], 10, "middle")
        d.text(x + step * i, bottom + 28, results[i]["date"][:10], 10, "middle", "#57606a")
    d.line(x, bottom, x + width, bottom, INK)


def sentence(words):
    return words[0].upper() + words[1:]


def plot(scenario, results):
    latest = next(r for r in reversed(results) if scenario.name in r["summary"])
    default = ((scenario.metrics[0].label, scenario.metrics[0].unit, (scenario.metrics[0].key,)),)
    if any(m.key == "lat_p99_us" for m in scenario.metrics):
        default += (("latency under this load", "ms", ("lat_p50_us", "lat_p99_us", "lat_p999_us")),)
    panels = scenario.panels or default
    past = [r for r in results if scenario.name in r["summary"]]
    widths = [90 + 120 * len(p[2]) for p in panels]
    total = 30 + sum(w + 70 for w in widths) + (330 if len(past) > 1 else 0)
    d = Drawing(max(total, 560), 340)
    d.text(24, 28, sentence(scenario.title), 15, weight="600")
    for i, b in enumerate([b for b in (OURS, THEIRS) if b == OURS or not scenario.ours_alone]):
        d.box(24 + 95 * i, 40, 11, 11, COLOURS[b])
        d.text(40 + 95 * i, 50, b, 11.5)
    x = 70
    for panel, width in zip(panels, widths):
        bars(d, x, 104, width, 296, scenario, panel, latest)
        x += width + 70
    if len(past) > 1:
        history(d, x, 104, 240, 296, scenario, past)
    return d.svg()


# ---- the report

def write(directory):
    directory = pathlib.Path(directory)
    results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted((directory / "results").glob("*.json"))]
    if not results:
        raise SystemExit(f"report: no results in {directory / 'results'}")
    results.sort(key=lambda r: r["date"])
    latest = results[-1]
    plots = directory / "report"
    plots.mkdir(exist_ok=True)
    for old in plots.glob("*.svg"):
        old.unlink()
    shown = [s for s in SCENARIOS if s.name in latest["summary"]]
    for s in shown:
        (plots / f"{s.name}.svg").write_text(plot(s, results), encoding="utf-8")
    (directory / "report.md").write_text(text(latest, shown, len(results)), encoding="utf-8")


def text(r, shown, n_results):
    machine = r["machine"]
    reached = [(s, m, row, verdict(m, row)) for s, m, row in rows_of(r) if "must" in row or "goal" in row]
    below = [f"{s.name} ({m.label}: {number(row[OURS])} {m.unit}, must {number(row['must'])})" for s, m, row, v in reached if v == "BELOW"]
    out = [
        "# Benchmarks", "",
        "Made by `bench/report.py` from `bench/results/`; do not edit. `make bench` measures again.", "",
        f"Measured {r['date'].replace('T', ' ').replace('Z', ' UTC')}, commit `{r['commit']}`: {r['rounds']} round(s) of {r['seconds']:g} s in turn, in "
        f"{r['took_s']} s. {n_results} result(s) on record.", "",
        f"- Machine: {machine['cpus']} × {machine['cpu']} ({machine['arch']}), {machine['memory_mb']} MB, Linux {machine['kernel']}, TCP {machine['congestion']}, "
        f"load {machine['load_before']:.1f} before the start",
        *[f"- {name}: {version}" for name, version in r["versions"].items() if version],
        f"- Durability: {r['durability']}. Sessions: {r['sessions']}. {r['transport']}. Event loops: {r['loops']}.",
        *([f"- Beside attacks and other loads: {'broker and quiet clients have SCHED_FIFO' if r['priorities'] else 'what disturbs has SCHED_IDLE, for want of the right to SCHED_FIFO'}."]
          if "priorities" in r else []), "",
        "The headline is messages delivered per CPU-second of the broker (all its threads): other load on the machine moves it little, as long as the "
        "ratio to the other broker of the same run is looked at. Rates by the wall clock and latencies hold only on a quiet machine. `must` and `goal` were set on one "
        "machine; where the other broker's figure there is known, they are turned over by what it reaches here. Bars are medians, the thin line is the "
        "range over the rounds. A ratio above 1 is better.", "",
        f"Of {len(reached)} figures that have something to reach, {sum(v == 'goal' for *_, v in reached)} reach the goal, "
        f"{sum(v == 'must' for *_, v in reached)} the must"
        + (f", {len(below)} are below: {'; '.join(below)}." if below else "."), "",
        *[f"**Checks failed: {s} on {b}.**\n" for s, b in failed(r)],
        "| " + " | ".join(headings(r)) + " |", "|---|---|---|---:|---:|---:|---:|---:|---:|---|",
        *("| " + " | ".join(line) + " |" for line in lines(r)), "",
    ]
    for s in shown:
        out += [f"## {s.name}", "", f"{sentence(s.title)}.", "", f"![{s.title}](report/{s.name}.svg)", ""]
    return "\n".join(out)


if __name__ == "__main__":
    write(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent)
