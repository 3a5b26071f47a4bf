"""Statistics of the effectiveness page against published values and against counting."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.settings import SEEDED

from benchmarks.effectiveness import bounds


@pytest.mark.parametrize(
    ("hits", "tried", "least", "most"),
    [  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_newcombes(hits: int, tried: int, least: float, most: float) -> None:
    """Published intervals, to four digits."""
    found = bounds.wilson(hits, tried)
    assert (round(found.least, 4), round(found.most, 4)) == (least, most)
    assert found.share == hits / tried


def test_zero_of_n_is_the_rule_of_three() -> None:
    """Exactly 1 - 0.05^(1/n), and nearly 3/n."""
    for tried in (1, 10, 300, 1_000, 1_000_000):
        assert bounds.at_most(0, tried) == pytest.approx(1 - 0.05 ** (1 / tried), rel=1e-9)
    assert bounds.at_most(0, 1_000) == pytest.approx(3 / 1_000, rel=0.01)


@pytest.mark.parametrize(
    ("hits", "tried", "most"),
    [(1, 10, 0.3942), (5, 100, 0.1023), (10, 10, 1.0), (2, 30, 0.1953)],
)
def test_upper_bounds_are_clopper_and_pearsons(hits: int, tried: int, most: float) -> None:
    """The 95 % quantile of the beta distribution (hits + 1, tried - hits)."""
    assert bounds.at_most(hits, tried) == pytest.approx(most, abs=5e-5)


@SEEDED
@given(st.integers(0, 40), st.integers(1, 400))
def test_a_bound_is_where_so_few_hits_get_rare(hits: int, more: int) -> None:
    """At the bound itself, no more than that many hits have a probability of 5 %."""
    tried = hits + more
    share = bounds.at_most(hits, tried)
    below = sum(
        math.comb(tried, k) * share**k * (1 - share) ** (tried - k) for k in range(hits + 1)
    )
    assert below == pytest.approx(0.05, rel=1e-6)
    assert hits / tried < share <= 1


def test_impossible_counts_are_refused() -> None:
    """Nothing tried says nothing."""
    for hits, tried in ((0, 0), (2, 1), (-1, 5)):
        with pytest.raises(ValueError, match="give a count"):
            bounds.wilson(hits, tried)
        with pytest.raises(ValueError, match="give a count"):
            bounds.at_most(hits, tried)


def test_a_tail_finds_the_scale_it_was_drawn_with() -> None:
    """Of exponential distances, and says what share is within a radius."""
    rng = np.random.default_rng(5)
    bits = np.floor(80 - rng.exponential(6, 200_000)).astype(np.int64)
    counts = np.bincount(bits[bits >= 0], minlength=130)
    found = bounds.fit(counts, 0.15)
    assert found is not None
    assert found.scale_bits == pytest.approx(6, rel=0.03)
    assert found.share_within(found.start_bits) == pytest.approx(found.share)
    expected = (bits <= 40).mean()
    assert found.share_within(40) == pytest.approx(expected, rel=0.25)


def test_too_few_distances_make_no_model() -> None:
    """Nine points would be a drawing, ten are taken."""
    counts = np.zeros(130, np.int64)
    counts[100] = 10_000
    counts[60] = 9
    assert bounds.fit(counts, 0.0005) is None
    counts[60] = 10
    assert bounds.fit(counts, 0.0005) is not None


def test_chance_is_the_binomials() -> None:
    """Half of all random codes are within half of the bits; 64 bits at 10 are soon met by chance."""
    assert bounds.by_chance(63, 31) == pytest.approx(0.5)
    assert bounds.by_chance(64, 64) == 1
    assert bounds.by_chance(64, 10) == pytest.approx(9.98e-9, rel=0.001)
    assert bounds.by_chance(256, 31) < 1e-30
