"""Timing: turns, spreads, fits."""

from __future__ import annotations

import itertools
import os

import pytest

from benchmarks import timing


def test_ways_take_turns() -> None:
    """Every round runs each way once, and another one is first in each round."""
    order: list[str] = []
    ways = {name: lambda name=name: order.append(name) for name in "abc"}
    spent = timing.interleaved(ways, 4)
    warm_up, rounds = order[:3], [order[n : n + 3] for n in range(3, len(order), 3)]
    assert warm_up == ["a", "b", "c"]
    assert rounds == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]
    assert {name: len(seconds) for name, seconds in spent.items()} == {"a": 4, "b": 4, "c": 4}


def test_ways_take_turns_at_every_item() -> None:
    """All of them do an item before the next one; a round's seconds are those of all its items."""
    order: list[tuple[str, int]] = []
    ways = {name: lambda item, name=name: order.append((name, item)) for name in "ab"}
    ticks = itertools.count()
    spent = timing.interleaved_over(ways, [1, 2, 3], 2, clock=lambda: next(ticks))
    warm_up, timed = order[:2], order[2:]
    assert warm_up == [("a", 1), ("b", 1)]
    assert timed[:6] == [("a", 1), ("b", 1), ("b", 2), ("a", 2), ("a", 3), ("b", 3)]
    assert sorted(timed) == sorted(2 * [(name, item) for name in "ab" for item in (1, 2, 3)])
    assert spent == {"a": [3, 3], "b": [3, 3]}


def test_only_the_way_itself_is_timed() -> None:
    """With a clock that ticks once at each look, every call takes one tick."""
    ticks = itertools.count()
    spent = timing.interleaved({"a": lambda: None, "b": lambda: None}, 3, clock=lambda: next(ticks))
    assert spent == {"a": [1, 1, 1], "b": [1, 1, 1]}


def test_ratio_compares_within_rounds() -> None:
    """A machine that slows down to a tenth leaves the ratio as it is."""
    assert timing.ratio([1, 10, 100], [3, 30, 300]) == timing.Spread(3, 3, 3)


def test_spread_and_percentiles() -> None:
    """Of known values."""
    assert timing.spread([5, 1, 3]) == timing.Spread(median=3, least=1, most=5)
    found = timing.percentiles([n / 100 for n in range(1, 102)])
    assert found["p50"] == pytest.approx(0.51)
    assert found["p99"] == pytest.approx(1.0)
    assert found["max"] == 1.01


def test_fit_finds_a_line() -> None:
    """Points on a line give that line."""
    sizes = [30_000, 100_000, 1_000_000, 10_000_000]
    found = timing.fit(sizes, [2e-6 + 5e-6 * size / 1e6 for size in sizes])
    assert found.base_seconds == pytest.approx(2e-6)
    assert found.seconds_per_million == pytest.approx(5e-6)
    assert found.worst == pytest.approx(0, abs=1e-9)


def test_fit_finds_a_power() -> None:
    """Cost in proportion to N has exponent 1, cost that does not grow 0."""
    sizes = [1_000, 10_000, 100_000]
    assert timing.fit(sizes, [size * 1e-9 for size in sizes]).exponent == pytest.approx(1)
    assert timing.fit(sizes, [1e-6] * 3).exponent == pytest.approx(0, abs=1e-9)


def test_fit_is_never_negative() -> None:
    """Cost that grows faster than N gives a line through zero, not a negative base."""
    found = timing.fit([10**6, 2 * 10**6, 4 * 10**6], [1.0, 4.0, 16.0])
    assert found.base_seconds == 0
    assert found.seconds_per_million > 0
    with pytest.raises(ValueError, match="needs three"):
        timing.fit([1, 2], [1, 2])


def test_one_core_is_left_again() -> None:
    """The thread may use as many cores afterwards as before."""
    if not hasattr(os, "sched_getaffinity"):
        with timing.one_core() as pinned:
            assert not pinned
        return
    before = os.sched_getaffinity(0)
    with timing.one_core() as pinned:
        assert pinned
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
