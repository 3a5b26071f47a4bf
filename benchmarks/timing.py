"""How time is taken: turns in one process, one core, medians with their spread, a fit of the cost.

The machine is shared and its speed drifts by more than the differences of interest. So nothing is
timed on its own: the ways to be compared take turns, round by round, and what counts is the ratio.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Clock = Callable[[], float]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Spread:
    """Middle and ends of some measurements."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Fit:
    """Cost in seconds a query = base + slope x indicators.

    Attributes:
        base_seconds: what a query costs whatever the size.
        seconds_per_million: what each million indicators adds.
        exponent: p of the best power law N^p over the same points.
        worst: greatest |fitted / measured - 1|.
    """

    base_seconds: float
    seconds_per_million: float
    exponent: float
    worst: float


def spread(values: Sequence[float]) -> Spread:
    """Median, least and most of some measurements."""
    return Spread(statistics.median(values), min(values), max(values))


def interleaved(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warm_up: bool = True,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each way in each round.

    Each round runs every way once, and each round begins with another one, so that noise and
    whatever the way before has left in the caches hit all alike.
    """
    names = list(ways)
    spent: dict[str, list[float]] = {name: [] for name in names}
    if warm_up:
        for way in ways.values():
            way()
    for number in range(rounds):
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            started = clock()
            ways[name]()
            spent[name].append(clock() - started)
    return spent


def interleaved_over(
    ways: Mapping[str, Callable[[Item], object]],
    items: Sequence[Item],
    rounds: int,
    *,
    clock: Clock = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each way for all items in each round, the ways taking turns at every item.

    For work of many pieces: noise that lasts longer than a piece hits all ways alike.
    """
    spent = {name: [0.0] * rounds for name in ways}
    for way in ways.values():
        way(items[0])  # warm up
    names = list(ways)
    for number in range(rounds):
        for place, item in enumerate(items):
            first = (number + place) % len(names)
            for name in names[first:] + names[:first]:
                started = clock()
                ways[name](item)
                spent[name][number] += clock() - started
    return spent


def once(way: Callable[[], object], *, clock: Clock = time.perf_counter) -> float:
    """Seconds of one call."""
    started = clock()
    way()
    return clock() - started


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times `ours` goes into `theirs`, round by round: the rounds shared their minutes."""
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """The latencies people ask for, in seconds."""
    p50, p95, p99 = np.percentile(np.asarray(seconds), (50, 95, 99))
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "max": max(seconds)}


def fit(sizes: Sequence[int], seconds: Sequence[float]) -> Fit:
    """Least squares of base + slope x N, relative to the cost, so that small sizes count too.

    Neither part can be negative: a line that would cross zero becomes one through it.

    Raises:
        ValueError: fewer than three sizes.
    """
    if len(sizes) < 3:
        raise ValueError(f"{len(sizes)} sizes: a fit needs three")
    n = np.asarray(sizes, np.float64) / 1e6
    cost = np.asarray(seconds, np.float64)
    candidates = []
    for columns in (np.stack([np.ones_like(n), n], 1), n[:, None]):
        solved, *_ = np.linalg.lstsq(columns / cost[:, None], np.ones_like(n), rcond=None)
        base, slope = (0.0, *solved.tolist()) if len(solved) == 1 else solved.tolist()
        candidates.append((base, slope))
    base, slope = candidates[0] if min(candidates[0]) >= 0 else candidates[1]
    exponent = np.polyfit(np.log(n), np.log(cost), 1)[0]
    worst = np.abs((base + slope * n) / cost - 1).max()
    return Fit(base, slope, float(exponent), float(worst))


@contextlib.contextmanager
def one_core() -> Iterator[bool]:
    """Keep this thread, and threads it starts, on one core; False where the platform cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)
