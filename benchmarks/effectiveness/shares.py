"""Shares as text, none without its interval, and the counts that they come from."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.effectiveness import bounds
from benchmarks.results import Results

RADIUS_BITS: Final = 31
KIND_NAMES: Final = {
    "photographs": "photographs, never tuned on",
    "cut-outs": "cut-outs and drawings on white, never tuned on",
    "tuned on": "photographs of the set that was tuned on",
}

Counts = npt.NDArray[np.int64]
"""How many are 0, 1, 2, ... bits away."""


def unit(results: Results, name: str) -> dict[str, Any] | None:
    """A unit of the results, if it was measured."""
    return results.measured(name).get(0)


def percent(share: float) -> str:
    """One decimal; not rounded to a 100 or 0 that it is not."""
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        return ">99.9"
    return "<0.1" if text == "0.0" and share > 0 else text


def with_interval(hits: float, tried: int) -> str:
    """A share in per cent, and in brackets the ends of Wilson's interval."""
    found = bounds.wilson(hits, tried)
    return f"{percent(found.share)} ({percent(found.least)}-{percent(found.most)})"


def group_interval(within: int, pictures: int, edits: int) -> str:
    """The mean over edits, with the interval of as many tries as there are pictures."""
    return with_interval(within / edits, pictures)


def bound(hits: int, tried: int) -> str:
    """Hits of tries, and the most that the share may be."""
    return f"{hits} of {tried:,} (< {_rate(bounds.at_most(hits, tried))})"


def _rate(share: float) -> str:
    return f"{100 * share:.2g}%"


def all_kinds(nearest: dict[str, Any], column: int) -> Counts:
    """Counts of all kinds of pictures together."""
    total: Counts = np.sum(
        [np.array(by_profile[column]) for by_profile in nearest.values()], axis=0
    )
    return total


def percentile(counts: Counts, share: float) -> str:
    """Bits that this share is within."""
    return str(int(np.searchsorted(np.cumsum(counts), share * counts.sum())))
