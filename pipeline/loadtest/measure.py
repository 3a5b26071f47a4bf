"""From what was seen to figures: percentiles, recall, losses, growth of memory. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from pipeline.loadtest.edits import EDITS, UNEDITED
from pipeline.loadtest.mixture import Upload

_FLAT_SHARE, _FLAT_BYTES = 0.10, 16 << 20
"""Memory is flat if its end is above its beginning by no more: a tenth, and a run of the engine."""
_LEAST_SAMPLES: Final = 10


@dataclass(frozen=True)
class Percentiles:
    """Of times in seconds, each one of them that occurred (nearest rank)."""

    count: int
    p50_seconds: float
    p95_seconds: float
    p99_seconds: float
    most_seconds: float


def percentiles(seconds: Sequence[float]) -> Percentiles | None:
    """None of nothing."""
    if not seconds:
        return None
    p50, p95, p99, most = np.quantile(seconds, [0.5, 0.95, 0.99, 1], method="inverted_cdf")
    return Percentiles(len(seconds), float(p50), float(p95), float(p99), float(most))


@dataclass(frozen=True)
class Recall:
    """Of one edit: how many planted uploads there were, and how many of them are candidates."""

    planted: int
    found: int


def recall(plan: Sequence[Upload], found: Collection[str]) -> dict[str, Recall]:
    """Recall by edit, in the edits' order; only those that were uploaded.

    Args:
        plan: what was uploaded.
        found: items with a candidate.
    """
    planted, hit = Counter[str](), Counter[str]()
    for upload in plan:
        if upload.role == "planted":
            planted[upload.content.edit] += 1
            hit[upload.content.edit] += upload.item_id in found
    return {edit: Recall(planted[edit], hit[edit]) for edit in EDITS if planted[edit]}


@dataclass(frozen=True)
class Losses:
    """Whether every upload has its outcome.

    Attributes:
        sent: different uploads that were acknowledged, and not refused.
        with_outcome: of them, as the scan says it has counted.
        accounted: as its accounts on disk say; None where they cannot be looked at.
        refused: by the front door.
        more_than_once: uploads with more candidates than one.
    """

    sent: int
    with_outcome: int
    accounted: int | None
    refused: int
    more_than_once: int

    @property
    def lost(self) -> int:
        """Uploads acknowledged and without outcome; below 0: more outcomes than uploads."""
        counted = [n for n in (self.with_outcome, self.accounted) if n is not None]
        return max((self.sent - n for n in counted), key=abs)

    @property
    def are_none(self) -> bool:
        """Nothing lost, nothing twice, nothing refused."""
        return not (self.lost or self.refused or self.more_than_once)


@dataclass(frozen=True)
class Sample:
    """One look at the services.

    Attributes:
        at_seconds: since the start.
        waiting: uploads in the log without outcome; None: not to be had.
        resident_bytes: memory by process.
    """

    at_seconds: float
    waiting: int | None
    resident_bytes: Mapping[str, int]


@dataclass(frozen=True)
class Growth:
    """Of a process's memory: in the second fifth of the time, and in the last."""

    early_bytes: int
    late_bytes: int

    @property
    def is_flat(self) -> bool:
        """No more growth than a run of the engine explains."""
        return self.late_bytes <= self.early_bytes * (1 + _FLAT_SHARE) + _FLAT_BYTES


def growth(samples: Sequence[Sample]) -> dict[str, Growth]:
    """By process; nothing of too few samples. The first fifth is for caches to fill."""
    if len(samples) < _LEAST_SAMPLES:
        return {}
    fifth = len(samples) // 5
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    return {
        name: Growth(
            round(median(sample.resident_bytes[name] for sample in early)),
            round(median(sample.resident_bytes[name] for sample in late)),
        )
        for name in samples[0].resident_bytes
    }


@dataclass(frozen=True)
class Measured:
    """A drive and what came of it.

    Attributes:
        rate: uploads a second that were due, on average.
        burst: how many times that at times.
        seconds: from the first upload until the last acknowledgement.
        drained_seconds: from then until every upload had its outcome.
        uploads: sent, those sent again included.
        acknowledged: percentiles from due to acknowledged.
        door_p99_seconds: the same as the front door sees it, of batches, from their arrival.
        to_candidate: from due until verification showed the candidate; None: none came.
        to_candidate_is_bucketed: they come from a histogram's buckets, and from the front door.
        recall: by edit; empty where candidates could not be looked at.
        candidates: that came.
        unexpected: candidates of uploads that were not planted.
        late_p99_seconds: how late the driver itself was.
        sent_away: calls that were told to come again.
        cores: CPU seconds a second, by process.
        waiting_most: uploads in the log at once.
        waiting_at_end: when the last one had been sent.
        delays: when each upload was due, and how long its acknowledgement took.
        candidate_delays: likewise.
    """

    rate: float
    burst: float
    seconds: float
    drained_seconds: float
    uploads: int
    acknowledged: Percentiles
    door_p99_seconds: float | None
    to_candidate: Percentiles | None
    to_candidate_is_bucketed: bool
    recall: Mapping[str, Recall]
    candidates: int
    unexpected: int
    losses: Losses
    late_p99_seconds: float
    sent_away: int
    cores: Mapping[str, float]
    samples: Sequence[Sample]
    waiting_most: int | None
    waiting_at_end: int
    delays: Sequence[tuple[float, float]]
    candidate_delays: Sequence[tuple[float, float]]

    @property
    def throughput(self) -> float:
        """Uploads a second, from the first until the last one had its outcome."""
        return self.uploads / (self.seconds + self.drained_seconds)

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """Of an upload, by process."""
        seconds = self.seconds + self.drained_seconds
        return {name: cores * seconds / self.uploads for name, cores in self.cores.items()}

    @property
    def growth(self) -> dict[str, Growth]:
        """Of memory, by process."""
        return growth(self.samples)

    def faults(self) -> list[str]:
        """What is not as it must be, whatever the load."""
        found = []
        if self.losses.lost:
            found.append(f"{self.losses.lost:,} acknowledged uploads have no outcome")
        if self.losses.more_than_once:
            found.append(f"{self.losses.more_than_once:,} uploads have more than one candidate")
        if self.losses.refused:
            found.append(f"{self.losses.refused:,} uploads were refused")
        unedited = self.recall.get(UNEDITED)
        if unedited and unedited.found < unedited.planted:
            missed = unedited.planted - unedited.found
            found.append(f"{missed:,} unedited planted uploads were not found")
        return found
