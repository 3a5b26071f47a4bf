"""What counts tell and what they do not: intervals, the bound behind a zero, and tail models.

An interval is about chance only: about other pictures *of the same kind*, edited in the same way.
A model of a tail is a guess about distances nobody has seen; it is never a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

CONFIDENCE: Final = 0.95
_Z: Final = 1.959963984540054  # of a two-sided interval at that confidence
_LEAST_FITTED: Final = 10
_HALVINGS: Final = 60  # until a bound no longer moves


@dataclass(frozen=True)
class Interval:
    """A share and the ends of its interval, all 0 to 1."""

    share: float
    least: float
    most: float


def wilson(hits: float, tried: int) -> Interval:
    """Share with Wilson's 95 % interval (Wilson 1927): for recall, where many are found.

    A mean over edits has no whole number of hits: it is the share times the pictures.

    Raises:
        ValueError: nothing tried, or more hits than tries.
    """
    _check(hits, tried)
    share = hits / tried
    centre = (share + _Z**2 / (2 * tried)) / (1 + _Z**2 / tried)
    half = math.sqrt(share * (1 - share) / tried + _Z**2 / (4 * tried**2)) * _Z
    half /= 1 + _Z**2 / tried
    least = 0.0 if hits == 0 else max(0.0, centre - half)
    most = 1.0 if hits == tried else min(1.0, centre + half)
    return Interval(share, least, most)


def at_most(hits: int, tried: int) -> float:
    """One-sided 95 % upper bound of a share (Clopper and Pearson 1934): for rare events.

    With no hit it is 1 - 0.05^(1/n), nearly 3/n: the "rule of three". The tries must be
    independent: pictures are, pairs that share a picture are not.

    Raises:
        ValueError: nothing tried, or more hits than tries.
    """
    _check(hits, tried)
    if hits == tried:
        return 1.0
    least, most = hits / tried, 1.0
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        if _at_most_hits(hits, tried, middle) > 1 - CONFIDENCE:
            least = middle
        else:
            most = middle
    return most


def _at_most_hits(hits: int, tried: int, share: float) -> float:
    """Probability of no more than `hits` in a binomial."""
    return sum(
        math.exp(
            math.lgamma(tried + 1) - math.lgamma(k + 1) - math.lgamma(tried - k + 1)
            + k * math.log(share) + (tried - k) * math.log1p(-share)
        )
        for k in range(hits + 1)
    )  # fmt: skip


def by_chance(bits: int, threshold_bits: int) -> float:
    """Share of independent random codes that are within a threshold: no hasher confuses less."""
    near = sum(math.comb(bits, k) for k in range(threshold_bits + 1))
    return near / float(2**bits)


@dataclass(frozen=True)
class Tail:
    """An exponential model of how rare small distances are.

    Below `start_bits` the share of distances at most t is taken to be
    share * exp(-(start_bits - t) / scale_bits).

    Attributes:
        start_bits: where the tail is taken to begin.
        share: of the distances that are at most that.
        scale_bits: how many bits nearer are e times rarer.
        distances: how many the fit saw.
    """

    start_bits: float
    share: float
    scale_bits: float
    distances: int

    def share_within(self, radius_bits: float) -> float:
        """The model's share of distances at most `radius_bits`. Far below the data: a guess."""
        return self.share * math.exp(-max(0.0, self.start_bits - radius_bits) / self.scale_bits)


def fit(counts: npt.NDArray[np.int64], lowest: float) -> Tail | None:
    """Maximum likelihood of an exponential on the lowest share of distances.

    Args:
        counts: int64 [n]; how many distances are 0, 1, 2, ... bits.
        lowest: the share of distances to fit.

    Returns:
        None where fewer than ten distances are in that share: they would make a drawing, no model.
    """
    total = int(counts.sum())
    below = np.cumsum(counts)
    start = int(np.searchsorted(below, lowest * total))
    taken = counts[: start + 1]
    seen = int(taken.sum())
    if seen < _LEAST_FITTED:
        return None
    # Distances are whole bits: half a bit more keeps the mean of a continuous variable.
    mean = float((taken * (start + 0.5 - np.arange(start + 1))).sum()) / seen
    return Tail(float(start), seen / total, mean, seen)


def _check(hits: float, tried: int) -> None:
    if not 0 <= hits <= tried or tried == 0:
        raise ValueError(f"{hits} of {tried}: give a count of something that was tried")
