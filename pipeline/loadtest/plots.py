"""The plots of a load test's page."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from markupsafe import Markup

from pipeline.loadtest.measure import Measured
from pipeline.loadtest.saturation import Saturation
from pipeline.plots import figure, svg

ACKNOWLEDGED_REACH_SECONDS: Final = 0.025
TO_CANDIDATE_REACH_SECONDS: Final = 1.0
"""What the project has set itself for the 99th percentile, at half of saturation on two cores."""

_COLOURS: Final = ("#2f6690", "#b3452c", "#4c7a5b", "#7a5c99", "#c98a1b", "#8a8f98")
_MIB: Final = 2**20


def latency(measured: Measured) -> Markup:
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


def distribution(measured: Measured) -> Markup:
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


def waiting(measured: Measured) -> Markup | None:
    """Uploads in the log without outcome; None where that was not seen."""
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


def memory(measured: Measured) -> Markup | None:
    """Resident memory of each process; None where that was not seen."""
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


def saturation(found: Saturation | None) -> Markup | None:
    """What was done of what was offered; None if nobody looked for it."""
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


def recall(measured: Measured) -> Markup | None:
    """Planted pictures found, by edit; None where candidates could not be looked at."""
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
