"""A load test's figures for people: a table in the terminal, and a self-contained HTML page."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import Any, Final

import jinja2
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.loadtest import plots
from pipeline.loadtest.candidates import POLL_SECONDS
from pipeline.loadtest.measure import Losses, Measured, Percentiles
from pipeline.loadtest.run import Result
from pipeline.loadtest.saturation import Saturation

RATIO_REACH: Final = 0.8
"""What the project has set itself on two cores (docs/loadtest.md)."""

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
            latency_plot=plots.latency(measured),
            distribution_plot=plots.distribution(measured),
            waiting_plot=plots.waiting(measured),
            memory_plot=plots.memory(measured),
            saturation_plot=plots.saturation(result.saturation),
            recall_plot=plots.recall(measured),
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
