"""A run's figures for people: a short table in the terminal, and a self-contained HTML page.

Counts and rates only; no item, account, hash or URL stands in either.
"""

from __future__ import annotations

import datetime as dt
import io
from collections import Counter, defaultdict
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
from markupsafe import Markup
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.items import Tally

_COLOURS: Final = {
    "clear": "#4c7a5b",
    "candidate": "#b3452c",
    "skipped": "#8a8f98",
    "failed": "#c98a1b",
}
_INK: Final = "#23303b"


def terminal(report: dict[str, Any], run_folder: Path) -> Group:
    """The short table that ends a scan."""
    tally = Tally.from_json(report["tally"])
    table = Table(title=f"Order {report['order']}", title_justify="left", header_style="bold")
    table.add_column("outcome")
    table.add_column("items", justify="right")
    table.add_column("of which")
    table.add_row("clear", f"{tally.clear:,}", "resemble nothing in the sets; nothing is kept")
    again = f"{tally.duplicates:,} already known there" if tally.duplicates else ""
    table.add_row("candidate", f"{tally.candidate:,}", again, style="bold")
    table.add_row("skipped", f"{tally.skipped_total:,}", _parts(tally.skipped))
    table.add_row("failed", f"{tally.failed_total:,}", _parts(tally.failed))
    table.add_section()
    table.add_row("in", f"{tally.rows:,}", "= clear + candidate + skipped + failed")
    lines: list[Table | Text] = [table]
    rate = _rate(report)
    if rate:
        lines.append(Text(f"{rate:,.0f} items/s"))
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
        rate=_rate(report),
        seconds=_duration(report),
        started=_day_and_time(report["started_at"]),
        completed=_day_and_time(report["completed_at"]),
        outcomes_plot=_outcomes(tally),
        throughput_plot=_throughput(report["finished"]),
        distances_plot=_distances(tally.distances, report["indicator_sets"]),
        reasons_plot=_reasons(tally),
        time_plot=_time(report["seconds"]),
    )
    path.write_text(page, encoding="utf-8")


# --- figures --------------------------------------------------------------------------------


def _parts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())


def _duration(report: dict[str, Any]) -> float:
    """Seconds the engine was at work: pauses between sessions of a resumed run do not count."""
    times = [finished for finished, _ in report["finished"]]
    if not times:
        return 0.0
    first = max(report["started_at"], min(times) - 60)
    gaps = [b - a for a, b in zip([first, *times], times, strict=False)]
    return float(sum(gap for gap in gaps if gap < 60))


def _rate(report: dict[str, Any]) -> float:
    seconds = _duration(report)
    return float(report["tally"]["rows"] / seconds) if seconds > 0 else 0.0


def _day_and_time(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


# --- plots ----------------------------------------------------------------------------------


def _figure(height: float) -> tuple[Any, Any]:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plt.rcParams.update(
        {
            "svg.fonttype": "none",
            "font.family": "sans-serif",
            "font.size": 10,
            "text.color": _INK,
            "axes.labelcolor": _INK,
            "axes.edgecolor": "#b8c0c8",
            "xtick.color": _INK,
            "ytick.color": _INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e4e8ec",
        }
    )
    figure, axes = plt.subplots(figsize=(9, height), layout="constrained")
    return figure, axes


def _svg(figure: Any) -> Markup:
    from matplotlib import pyplot as plt

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - matplotlib escapes its text


def _bars(names: list[str], values: list[int], colours: list[str], label: str) -> Markup:
    figure, axes = _figure(0.7 + 0.36 * len(names))
    bars = axes.barh(names, values, color=colours, height=0.66)
    axes.bar_label(bars, [f"{value:,}" for value in values], padding=4)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max([*values, 1]) * 1.12)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel(label)
    return _svg(figure)


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
    figure, axes = _figure(2.6)
    palette = ["#b3452c", "#2f6690", "#7a5c99", "#4c7a5b", "#c98a1b"]
    floor: Counter[int] = Counter()
    for number, (set_id, counts) in enumerate(sorted(by_set.items())):
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
    return _svg(figure)


def _throughput(finished: list[list[float]]) -> Markup | None:
    """Items a second over the run, in up to 60 equal slices of time."""
    if len(finished) < 3:
        return None
    first, last = finished[0][0], finished[-1][0]
    slices = min(60, max(3, len(finished) // 2))
    width = (last - first) / slices
    if width <= 0:
        return None
    counts = [0.0] * slices
    for when, rows in finished[1:]:  # the first batch's items were done before the first mark
        counts[min(slices - 1, int((when - first) / width))] += rows
    figure, axes = _figure(2.4)
    edges = [width * number for number in range(slices + 1)]
    axes.stairs([count / width for count in counts], edges, fill=True, color="#2f6690", alpha=0.8)
    axes.set_xlabel("seconds since the first batch")
    axes.set_ylabel("items / s")
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(bottom=0)
    return _svg(figure)


def _time(seconds: dict[str, float]) -> Markup:
    names = list(seconds)
    figure, axes = _figure(0.7 + 0.36 * max(1, len(names)))
    values = [seconds[name] for name in names]
    bars = axes.barh(names, values, color="#2f6690", height=0.66)
    axes.bar_label(bars, [f"{value:,.2f} s" for value in values], padding=4)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, max([*values, 0.001]) * 1.15)
    axes.set_xlabel("seconds")
    return _svg(figure)
