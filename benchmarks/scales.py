"""How much is measured: a minute, some minutes, or all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Scale:
    """Sizes and how long is spent on each figure.

    Attributes:
        name: as the page shows it.
        sizes: indicators, for everything about lookup.
        growth_sizes: indicators, for the cost as they grow.
        batches: queries given at once.
        rounds: turns that each way takes.
        budget_seconds: for a way and a turn; slow ways get fewer queries, which is stated.
        latencies: single queries timed one by one.
        checked: queries whose pairs are compared.
        large_timed: photographs of 12 megapixels to hash in a turn.
        large_rounds: turns for them.
        large_compared: photographs of 12 megapixels to compare codes of.
        film_frames: of the video to hash in a turn.
        candidates: sent into the store in a turn.
        scanned: rows of the whole scan.
    """

    name: str
    sizes: tuple[int, ...]
    growth_sizes: tuple[int, ...]
    batches: tuple[int, ...]
    rounds: int
    budget_seconds: float
    latencies: int
    checked: int
    large_timed: int
    large_rounds: int
    large_compared: int
    film_frames: int
    candidates: int
    scanned: int


QUICK: Final = Scale(
    name="quick",
    sizes=(100_000,),
    growth_sizes=(30_000, 50_000, 100_000),
    batches=(1, 64, 1_024, 65_536),
    rounds=5,
    budget_seconds=0.05,
    latencies=1_000,
    checked=256,
    large_timed=1,
    large_rounds=3,
    large_compared=1,
    film_frames=50,
    candidates=1_000,
    scanned=400,
)
DEFAULT: Final = Scale(
    name="default",
    sizes=(100_000, 1_000_000),
    growth_sizes=(30_000, 100_000, 300_000, 1_000_000),
    batches=(1, 64, 1_024, 65_536, 262_144),
    rounds=7,
    budget_seconds=0.25,
    latencies=5_000,
    checked=512,
    large_timed=4,
    large_rounds=5,
    large_compared=12,
    film_frames=200,
    candidates=5_000,
    scanned=3_200,
)
FULL: Final = Scale(
    name="full",
    sizes=(100_000, 1_000_000, 10_000_000),
    growth_sizes=(30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000),
    batches=DEFAULT.batches,
    rounds=7,
    budget_seconds=0.5,
    latencies=5_000,
    checked=512,
    large_timed=4,
    large_rounds=5,
    large_compared=36,
    film_frames=200,
    candidates=5_000,
    scanned=6_400,
)
