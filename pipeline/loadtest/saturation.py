"""The rate at which the upload side can just keep up, beside what its scanner alone could do.

The rate is raised step by step, each step a trial of some seconds at a steady rate, until the log
grows. A step kept up if, when its last upload had been sent, no more waited than arrive in a
second. The last step that did is the saturation rate: it is a rate that was really driven, with
the load test itself on the same machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from matchers.scanner import Scanner
from matchers.threads import each
from pipeline.loadtest.measure import Measured
from pipeline.loadtest.mixture import Upload

STEP_SECONDS: Final = 8.0
_FIRST_SHARE, _FACTOR, _FINE_FACTOR = 0.4, 1.3, 1.1
"""Of the bare loop's rate, to begin with; then up by so much; then once more, finely."""
_MOST_STEPS: Final = 16
_MOST_WAITING_SECONDS: Final = 1.0
_BARE_UPLOADS: Final = 400

Trial = Callable[[float, float, float], Measured]
"""Rate, seconds, burst -> what was measured."""


@dataclass(frozen=True)
class Bare:
    """The scanner alone: a loop in this process, as many threads as the scan has.

    No log, no wire, no sandbox, no accounts.

    Attributes:
        rate: uploads a second.
        cpu_seconds: of an upload, whatever else the machine does.
    """

    rate: float
    cpu_seconds: float


@dataclass(frozen=True)
class Step:
    """A rate that was tried."""

    rate: float
    throughput: float
    waiting_at_end: int
    acknowledged_p99_seconds: float
    kept_up: bool


@dataclass(frozen=True)
class Saturation:
    """How fast it goes.

    Attributes:
        steps: in the order they were tried.
        bare: measured before and after them, the quicker of the two; None: not measured.
    """

    steps: tuple[Step, ...]
    bare: Bare | None

    @property
    def rate(self) -> float:
        """The highest that was kept up with; 0 if none was."""
        return max((step.rate for step in self.steps if step.kept_up), default=0.0)

    @property
    def ratio(self) -> float | None:
        """Of the bare loop's rate."""
        return self.rate / self.bare.rate if self.bare else None


def find(trial: Trial, first_rate: float, measure_bare: Callable[[], Bare] | None) -> Saturation:
    """Raise the rate until it is too much; then finely from the last that was not.

    Args:
        trial: makes one.
        first_rate: to begin with, where the bare loop's is not known.
        measure_bare: measures the bare loop, if that can be done here.
    """
    steps: list[Step] = []
    bare = measure_bare() if measure_bare else None
    rate = _FIRST_SHARE * bare.rate if bare else first_rate
    for factor in (_FACTOR, _FINE_FACTOR):
        while len(steps) < _MOST_STEPS:
            steps.append(_step(trial(rate, STEP_SECONDS, 1.0)))
            if not steps[-1].kept_up:
                break
            rate *= factor
        best = max((step.rate for step in steps if step.kept_up), default=rate / _FACTOR**2)
        rate = best * _FINE_FACTOR
    if bare and measure_bare:  # other work on the machine may have slowed the first
        bare = max(bare, measure_bare(), key=lambda one: one.rate)
    return Saturation(tuple(steps), bare)


def _step(measured: Measured) -> Step:
    return Step(
        measured.rate,
        measured.throughput,
        measured.waiting_at_end,
        measured.acknowledged.p99_seconds,
        measured.waiting_at_end <= _MOST_WAITING_SECONDS * measured.rate,
    )


def bare_loop(scanner: Scanner, plan: Sequence[Upload], threads: int) -> Bare:
    """Measure a loop over the same mixture.

    What the order does not cover, and what is sent again, counts and is not opened, as in the scan.
    """
    looked_at = plan[:_BARE_UPLOADS]
    contents = [
        one.content.data + one.mark
        for one in looked_at
        if one.is_covered and one.role != "sent again"
    ]
    half = len(contents) // 2
    _pass(scanner, contents[:half], threads)  # warm caches, as a service has
    began, cpu_began = time.perf_counter(), time.process_time()
    _pass(scanner, contents, threads)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return Bare(len(looked_at) / seconds, cpu_seconds / len(looked_at))


def _pass(scanner: Scanner, contents: Sequence[bytes], threads: int) -> None:
    examined = each(scanner.examine, contents, threads or os.cpu_count())
    scanner.match([one for parts in examined for one in parts])
