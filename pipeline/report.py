"""A run's figures for people: a short table in the terminal, and a self-contained HTML page.

Counts and rates only; no item, account, hash or URL stands in either.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from rich.console import Group
from rich.table import Table
from rich.text import Text

from matchers.indicators.manifest import PERCEPTUAL
from pipeline.items import Tally
from pipeline.plots import figure, svg
from pipeline.text import counted

_COLOURS: Final = {
    "clear": "#4c7a5b",
    "candidate": "#b3452c",
    "skipped": "#8a8f98",
    "failed": "#c98a1b",
}
_LEAST_SECONDS: Final = 0.001  # a rate over less than this says nothing


def terminal(report: dict[str, Any], run_folder: Path) -> Group:
    """The short table that ends a scan."""
    tally = Tally.from_json(report["tally"])
    table = Table(
        title=Text(f"Order {report['order']}", style="italic"),
        title_justify="left",
        header_style="bold",
    )
    table.add_column("outcome")
    table.add_column("items", justify="right")
    table.add_column("of which")
    kept = "their hashes stay in the ledger" if report.get("ledger") else "nothing is kept"
    table.add_row("clear", f"{tally.clear:,}", f"resemble nothing in the sets; {kept}")
    again = f"{tally.duplicates:,} already known there" if tally.duplicates else ""
    table.add_row("candidate", f"{tally.candidate:,}", again, style="bold")
    table.add_row("skipped", f"{tally.skipped_total:,}", _parts(tally.skipped))
    table.add_row("failed", f"{tally.failed_total:,}", _parts(tally.failed))
    table.add_section()
    inside = f"{_what_came(tally)} " if tally.inner else ""
    table.add_row("in", f"{tally.counted:,}", inside + "= clear + candidate + skipped + failed")
    lines: list[Table | Text] = [table]
    rate = _rate(report)
    if rate:
        lines.append(Text(f"{rate:,.0f} {_unit(tally)}/s"))
    if "decoders_confined_by" in report:
        lines.append(Text(f"Decoders confined by: {report['decoders_confined_by']}"))
    if tally.reused:
        lines.append(Text(f"{tally.reused:,} items not decoded: the ledger knew their content"))
    if tally.failed_total:
        lines.append(Text(f"Items that could not be examined: {run_folder / 'failed.parquet'}"))
    lines.append(Text(f"Figures and plots: {run_folder / 'report.html'}"))
    return Group(*lines)


def write_html(report: dict[str, Any], path: Path) -> None:
    """Write the HTML page; it needs nothing from outside itself."""
    tally = Tally.from_json(report["tally"])
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (resources.files("pipeline") / "report.html.j2").read_text(encoding="utf-8")
    )
    page = template.render(
        report=report,
        tally=tally,
        came=_what_came(tally),
        unit=_unit(tally),
        sets=[_described(one) for one in report["indicator_sets"]],
        rate=_rate(report),
        seconds=_duration(report),
        started=_day_and_time(report["started_at"]),
        completed=_day_and_time(report["completed_at"]),
        outcomes_plot=_outcomes(tally),
        throughput_plot=_throughput(report["finished"], _unit(tally)),
        distances_plot=_distances(tally.distances, report["indicator_sets"]),
        reasons_plot=_reasons(tally),
        time_plot=_time(report["seconds"]),
    )
    path.write_text(page, encoding="utf-8")


# --- figures --------------------------------------------------------------------------------


def _parts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def _duration(report: dict[str, Any]) -> float:
    """Seconds at work, as the steps measured them: pauses of a resumed run do not count."""
    return float(sum(report["seconds"].values()))


def _rate(report: dict[str, Any]) -> float:
    seconds = _duration(report)
    done = Tally.from_json(report["tally"]).counted
    return done / seconds if seconds >= _LEAST_SECONDS else 0.0


def _what_came(tally: Tally) -> str:
    """1 item and 5,000 parts inside."""
    inside = f" and {counted(tally.inner, 'part')} inside" if tally.inner else ""
    return counted(tally.rows, "item") + inside


def _unit(tally: Tally) -> str:
    """What a rate is of."""
    return "items and parts" if tally.inner else "items"


def _described(one: dict[str, Any]) -> dict[str, Any]:
    """A set as the page's table shows it; reports of earlier runs name no profile and no videos."""
    algorithm = one["algorithm"]
    is_perceptual = algorithm in PERCEPTUAL
    indicators = f"{one['indicators']:,}"
    if algorithm == "vpdq":
        frames = counted(one["indicators"], "frame")
        videos = one.get("videos")
        indicators = f"{counted(videos, 'video')} ({frames})" if videos else frames
    share = one.get("min_share_percent")
    return one | {
        "views": one.get("profile", "") if is_perceptual else "",
        "radius": counted(one["radius_bits"], "bit") if is_perceptual else "exact",
        "share": f"{share} %" if algorithm == "vpdq" and share else "",
        "indicators": indicators,
    }


def _day_and_time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# --- plots ----------------------------------------------------------------------------------


def _bars(names: list[str], values: list[int], colours: list[str], label: str) -> Markup:
    drawn, axes = figure(0.7 + 0.36 * len(names))
    bars = axes.barh(names, values, color=colours, height=0.66)
    axes.bar_label(bars, [f"{value:,}" for value in values], padding=4)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max([*values, 1]) * 1.12)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(label)
    return svg(drawn)


def _outcomes(tally: Tally) -> Markup:
    values = [tally.clear, tally.candidate, tally.skipped_total, tally.failed_total]
    return _bars(list(_COLOURS), values, list(_COLOURS.values()), "items")


def _reasons(tally: Tally) -> Markup | None:
    rows = [(f"skipped: {name}", count, "skipped") for name, count in tally.skipped.most_common()]
    rows += [(f"failed: {name}", count, "failed") for name, count in tally.failed.most_common()]
    if not rows:
        return None
    names, values, kinds = (list(column) for column in zip(*rows, strict=True))
    return _bars(names, values, [_COLOURS[kind] for kind in kinds], "items")


def _distances(distances: Counter[str], sets: list[dict[str, Any]]) -> Markup | None:
    by_set: dict[str, Counter[int]] = defaultdict(Counter)
    for name, count in distances.items():
        set_id, _, bits = name.rpartition(": ")
        by_set[set_id][int(bits)] += count
    if not by_set:
        return None
    drawn, axes = figure(2.6)
    palette = ["#b3452c", "#2f6690", "#7a5c99", "#4c7a5b", "#c98a1b"]
    floor: Counter[int] = Counter()
    shown = sorted(by_set, key=lambda name: -by_set[name].total())[: len(palette) - 1]
    for name in [*by_set]:
        if name not in shown and len(by_set) > len(palette):
            by_set["other sets"] += by_set.pop(name)
    for number, (set_id, counts) in enumerate(by_set.items()):
        found = sorted(counts)
        values = [counts[distance] for distance in found]
        base = [floor[distance] for distance in found]
        axes.bar(found, values, bottom=base, label=set_id, color=palette[number % 5], width=0.85)
        floor += counts
    widest = max([*(s["radius_bits"] for s in sets), *floor])
    axes.set_xlim(-1, widest + 1.5)
    axes.set_xlabel("Hamming distance in bits (0 for exact methods)")
    axes.set_ylabel("candidates")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, loc="upper right")
    return svg(drawn)


def _throughput(finished: list[list[float]], unit: str) -> Markup | None:
    """What was done a second over the run's seconds at work, in up to 60 equal slices of time.

    Args:
        finished: [when, items and parts, seconds at work] of each batch, in order of time.
        unit: what is counted.
    """
    total = sum(seconds for _, _, seconds in finished)
    slices = min(60, len(finished) // 2)
    if slices < 2 or total < _LEAST_SECONDS:
        return None
    width = total / slices
    counts = [0.0] * slices
    clock = 0.0
    for _, done, seconds in finished:
        # A batch's items are spread evenly over the time it took.
        first, last = clock / width, (clock + seconds) / width
        for number in range(int(first), min(slices, int(last) + 1)):
            overlap = min(last, number + 1) - max(first, number)
            counts[number] += done * (overlap / (last - first) if last > first else 1.0)
        clock += seconds
    drawn, axes = figure(2.4)
    edges = [width * number for number in range(slices + 1)]
    axes.stairs([count / width for count in counts], edges, fill=True, color="#2f6690", alpha=0.8)
    axes.set_xlabel("seconds at work")
    axes.set_ylabel(f"{unit} / s")
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(bottom=0)
    return svg(drawn)


def _time(seconds: dict[str, float]) -> Markup:
    names = list(seconds)
    drawn, axes = figure(0.7 + 0.36 * max(1, len(names)))
    values = [seconds[name] for name in names]
    bars = axes.barh(names, values, color="#2f6690", height=0.66)
    axes.bar_label(bars, [f"{value:,.2f} s" for value in values], padding=4)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max([*values, 0.001]) * 1.15)
    axes.set_xlabel("seconds")
    return svg(drawn)
