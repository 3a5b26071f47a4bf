"""A load test's figures for people: a table in the terminal, and a self-contained HTML page."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from markupsafe import Markup
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.loadtest.candidates import POLL_SECONDS
from pipeline.loadtest.measure import Losses, Measured, Percentiles
from pipeline.loadtest.run import Result
from pipeline.loadtest.saturation import Saturation
from pipeline.plots import figure, svg

ACKNOWLEDGED_REACH_SECONDS: Final = 0.025
TO_CANDIDATE_REACH_SECONDS: Final = 1.0
RATIO_REACH: Final = 0.8
"""What the project has set itself, at half of saturation on two cores (docs/loadtest.md)."""

_COLOURS: Final = ("#2f6690", "#b3452c", "#4c7a5b", "#7a5c99", "#c98a1b", "#8a8f98")
_MIB: Final = 2**20


def terminal(result: Result, page: Path) -> Group:
    """The table that ends a load test."""
    table = Table(header_style="bold", box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows(result):
        table.add_row(name, value)
    for name, growth in result.measured.growth.items():
        flat = "flat" if growth.is_flat else "GROWS"
        table.add_row(
            f"memory of {name}",
            f"{growth.early_bytes / _MIB:,.0f}, later {growth.late_bytes / _MIB:,.0f} MiB: {flat}",
        )
    return Group(table, Text(f"figures and plots: {page}"))


def write(result: Result, folder: Path) -> Path:
    """Write FOLDER/loadtest.html, which needs nothing from outside itself, and loadtest.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "loadtest.json").write_text(
        json.dumps(dataclasses.asdict(result), default=str, indent=1), encoding="utf-8"
    )
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (resources.files("pipeline.loadtest") / "page.html.j2").read_text(encoding="utf-8")
    )
    measured = result.measured
    page = folder / "loadtest.html"
    page.write_text(
        template.render(
            result=result,
            measured=measured,
            began=f"{result.began:%Y-%m-%d %H:%M:%S} UTC",
            rows=list(rows(result)),
            poll_milliseconds=round(1000 * POLL_SECONDS),
            latency_plot=_latency(measured),
            distribution_plot=_distribution(measured),
            waiting_plot=_waiting(measured),
            memory_plot=_memory(measured),
            saturation_plot=_saturation(result.saturation),
            recall_plot=_recall(measured),
        ),
        encoding="utf-8",
    )
    return page


def rows(result: Result) -> list[tuple[str, str]]:
    """Name and value of each figure."""
    measured = result.measured
    found = [] if result.saturation is None else _saturation_rows(result.saturation)
    return [
        *found,
        ("offered", _offered(measured)),
        ("throughput", _throughput(measured)),
        ("due to acknowledged", _acknowledged(measured)),
        ("due to candidate", _to_candidate(measured)),
        ("recall of planted", _recall_shown(measured)),
        ("losses", _losses(measured.losses)),
        ("waiting in the log", _waited(measured)),
        ("CPU, cores", _by_name(measured.cores, "{:.2f}")),
        ("CPU of an upload", _cpu(measured)),
        ("memory, most MiB", _by_name(_most_memory(measured), "{:,.0f}")),
        ("the load test itself", _itself(measured)),
        ("machine", ", ".join(f"{name} {value}" for name, value in result.machine.items())),
    ]


def _saturation_rows(saturation: Saturation) -> list[tuple[str, str]]:
    found = [("saturation", f"{saturation.rate:,.1f} uploads/s; what follows is at half of it")]
    if saturation.bare is not None and saturation.ratio is not None:
        ratio = f"{saturation.ratio:.2f} of {saturation.bare.rate:,.1f} uploads/s"
        cpu = _milliseconds(saturation.bare.cpu_seconds)
        found.append(
            ("of the bare loop", f"{ratio} (reach: {RATIO_REACH} or more); {cpu} of CPU an upload")
        )
    return found


def _offered(measured: Measured) -> str:
    burst = f", {measured.burst:g} times that for one second in ten" if measured.burst > 1 else ""
    return f"{measured.rate:,.1f} uploads/s for {measured.seconds:,.1f} s{burst}"


def _throughput(measured: Measured) -> str:
    return (
        f"{measured.throughput:,.1f} uploads/s until the last outcome, "
        f"{measured.drained_seconds:.2f} s after the last acknowledgement"
    )


def _acknowledged(measured: Measured) -> str:
    door = measured.door_p99_seconds
    seen = "" if door is None else f"; as the front door sees it p99 {_milliseconds(door)}"
    return _shown(measured.acknowledged) + seen


def _losses(losses: Losses) -> str:
    return (
        f"{losses.lost:,} of {losses.sent:,} acknowledged uploads; {losses.refused:,} refused; "
        f"{losses.more_than_once:,} with more than one candidate"
    )


def _waited(measured: Measured) -> str:
    most = "n/a" if measured.waiting_most is None else f"{measured.waiting_most:,}"
    return f"at most {most} uploads; {measured.waiting_at_end:,} when the last was sent"


def _cpu(measured: Measured) -> str:
    milliseconds = {name: 1000 * value for name, value in measured.cpu_seconds.items()}
    return _by_name(milliseconds, "{:.1f} ms")


def _itself(measured: Measured) -> str:
    return (
        f"{_milliseconds(measured.late_p99_seconds)} behind (p99); "
        f"{measured.sent_away:,} calls sent away"
    )


def _shown(found: Percentiles) -> str:
    p50, p95, p99, most = (
        _milliseconds(value)
        for value in (found.p50_seconds, found.p95_seconds, found.p99_seconds, found.most_seconds)
    )
    return f"p50 {p50}, p95 {p95}, p99 {p99}, most {most} ({found.count:,} measured)"


def _to_candidate(measured: Measured) -> str:
    if measured.to_candidate is None:
        return "no candidate came"
    how = (
        "from the front door, between the scan's own histogram bounds"
        if measured.to_candidate_is_bucketed
        else f"looked for every {1000 * POLL_SECONDS:.0f} ms"
    )
    return f"{_shown(measured.to_candidate)}; {how}"


def _recall_shown(measured: Measured) -> str:
    if not measured.recall:
        return f"not looked at; {measured.candidates:,} candidates came"
    by_edit = ", ".join(
        f"{edit} {one.found}/{one.planted}" for edit, one in measured.recall.items()
    )
    return f"{by_edit}; {measured.unexpected:,} candidates of others"


def _by_name(values: Any, form: str) -> str:
    return ", ".join(f"{name} {form.format(value)}" for name, value in values.items()) or "n/a"


def _most_memory(measured: Measured) -> dict[str, float]:
    names = measured.samples[0].resident_bytes if measured.samples else {}
    return {name: max(s.resident_bytes[name] for s in measured.samples) / _MIB for name in names}


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.1f} ms"


# --- plots ----------------------------------------------------------------------------------


def _latency(measured: Measured) -> Markup:
    """When each upload was due, and how long it took."""
    drawn, axes = figure(3.4)
    for name, delays, colour, size in (
        ("acknowledged", measured.delays, _COLOURS[0], 5),
        ("candidate at verification", measured.candidate_delays, _COLOURS[1], 12),
    ):
        if delays:
            due, took = zip(*_thinned(delays), strict=True)
            heights = [max(0.1, 1000 * value) for value in took]
            axes.scatter(due, heights, s=size, color=colour, alpha=0.6, linewidths=0, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("seconds, when the upload was due")
    axes.set_ylabel("milliseconds until")
    axes.legend(frameon=False, loc="upper right")
    return svg(drawn)


def _thinned(delays: Any, most: int = 4_000) -> Any:
    """The slowest hundredth, and of the others evenly so many: a page stays small."""
    if len(delays) <= most:
        return delays
    slowest = sorted(delays, key=lambda one: one[1])[-len(delays) // 100 :]
    return [*delays[:: -(-len(delays) // most)], *slowest]


def _distribution(measured: Measured) -> Markup:
    """What share took longer: its tail is what percentiles are about."""
    drawn, axes = figure(3.0)
    for name, delays, colour, reach in (
        ("acknowledged", measured.delays, _COLOURS[0], ACKNOWLEDGED_REACH_SECONDS),
        ("candidate", measured.candidate_delays, _COLOURS[1], TO_CANDIDATE_REACH_SECONDS),
    ):
        if delays:
            took = np.sort([max(1e-4, delay) for _, delay in delays])
            share = 1 - np.arange(len(took)) / len(took)
            axes.step(1000 * took, share, where="post", color=colour, label=name)
            axes.axvline(1000 * reach, color=colour, linestyle=":", linewidth=1)
    axes.axhline(0.01, color="#8a8f98", linestyle=":", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("milliseconds (dotted: one in a hundred, and the reach of each)")
    axes.set_ylabel("share that took longer")
    axes.legend(frameon=False, loc="lower left")
    return svg(drawn)


def _waiting(measured: Measured) -> Markup | None:
    seen = [(s.at_seconds, s.waiting) for s in measured.samples if s.waiting is not None]
    if len(seen) < 2:
        return None
    drawn, axes = figure(2.2)
    at, waiting = zip(*seen, strict=True)
    axes.plot(at, waiting, color=_COLOURS[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("uploads waiting")
    return svg(drawn)


def _memory(measured: Measured) -> Markup | None:
    samples = measured.samples
    if len(samples) < 2 or not samples[0].resident_bytes:
        return None
    drawn, axes = figure(3.0)
    at = [sample.at_seconds for sample in samples]
    for number, name in enumerate(samples[0].resident_bytes):
        values = [sample.resident_bytes[name] / _MIB for sample in samples]
        axes.plot(at, values, color=_COLOURS[number % len(_COLOURS)], label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds")
    axes.set_ylabel("resident MiB")
    axes.legend(frameon=False, ncols=3, loc="upper left", bbox_to_anchor=(0, 1.2))
    return svg(drawn)


def _saturation(found: Saturation | None) -> Markup | None:
    if found is None:
        return None
    drawn, axes = figure(3.0)
    for kept_up, colour, name in (
        (True, _COLOURS[2], "kept up"),
        (False, _COLOURS[1], "did not keep up"),
    ):
        steps = [step for step in found.steps if step.kept_up == kept_up]
        axes.scatter(
            [step.rate for step in steps],
            [step.throughput for step in steps],
            color=colour,
            label=name,
        )
    most = max(step.rate for step in found.steps)
    axes.plot([0, most], [0, most], color="#8a8f98", linewidth=1, linestyle=":")
    if found.bare is not None:
        axes.axhline(found.bare.rate, color=_COLOURS[4], linewidth=1, label="bare scanner loop")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("uploads/s offered")
    axes.set_ylabel("uploads/s done")
    axes.legend(frameon=False, loc="lower right")
    return svg(drawn)


def _recall(measured: Measured) -> Markup | None:
    if not measured.recall:
        return None
    names = list(measured.recall)
    drawn, axes = figure(0.7 + 0.36 * len(names))
    shares = [100 * one.found / one.planted for one in measured.recall.values()]
    labels = [f"{one.found} of {one.planted}" for one in measured.recall.values()]
    bars = axes.barh(names, shares, color=_COLOURS[2], height=0.66)
    axes.bar_label(bars, labels, padding=4)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlim(0, 115)
    axes.set_xlabel("per cent found")
    return svg(drawn)
