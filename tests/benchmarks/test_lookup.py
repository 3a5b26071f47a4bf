"""Lookup: what is measured is measured of every way, and compared with brute force."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from benchmarks import growth, lookup, rivals, scales, tables

TINY = dataclasses.replace(
    scales.QUICK,
    sizes=(20_000,),
    growth_sizes=(5_000, 10_000, 20_000),
    batches=(1, 64),
    rounds=2,
    budget_seconds=0.01,
    latencies=20,
    checked=102,
)
SIZE = TINY.sizes[0]


@pytest.fixture(scope="module")
def codes() -> tuple[np.ndarray, np.ndarray]:
    """Random codes: enough where figures do not count."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (SIZE, 32), np.uint8), rng.integers(0, 256, (128, 32), np.uint8)


class Forgetful(rivals.FaissFlat):
    """Brute force that drops every second pair, invents one and repeats one."""

    def pairs(self, answer: Any, queries: rivals.Codes, radius: int) -> rivals.Pairs:
        """Spoil what was found."""
        query, indicator = super().pairs(answer, queries, radius)
        query, indicator = query[::2], indicator[::2]
        return np.append(query, [0, *query[:1]]), np.append(indicator, [-1, *indicator[:1]])


def test_every_figure_of_every_way(
    codes: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rivals of the base installation and a spoilt one: figures for all, recall as it is."""
    spoilt = rivals.Way("forgetful", Forgetful)
    too_slow = rivals.Way("too slow at this size", Forgetful, most=SIZE - 1)
    ways = (*lookup.COMPLETE, rivals.FLAT_NEAREST, spoilt)
    monkeypatch.setattr(rivals, "WAYS", (*ways, too_slow))
    monkeypatch.setattr(rivals, "BY_NAME", {way.name: way for way in ways})
    found = lookup.measure(*codes, TINY, lambda _: None)

    names = {way.name for way in ways}
    agreement = {entry["way"]: entry for entry in found["agreement"]}
    assert agreement.keys() == names
    for entry in agreement.values():
        wrong = entry["way"] == spoilt.name
        assert (entry["found"] < entry["expected"]) == wrong
        assert (entry["false_pairs"], entry["repeated_pairs"]) == ((1, 1) if wrong else (0, 0))
    assert agreement[rivals.OURS.name]["queries"] == TINY.checked
    assert agreement[rivals.OURS.name]["expected"] == 64  # planted twice at 0..50: 0..31 are within

    assert {(entry["way"], entry["batch"]) for entry in found["speed"]} == {
        (name, batch) for name in names for batch in TINY.batches
    }
    for entry in found["speed"]:
        assert len(entry["seconds_per_query"]) == TINY.rounds
        assert min(entry["seconds_per_query"]) > 0
        if entry["way"] == rivals.OURS.name:  # is never given less than the whole batch
            assert entry["queries_in_a_call"] == entry["batch"]
    assert {entry["way"] for entry in found["latency"]} == names
    assert {entry["radius_bits"] for entry in found["radii"]} == set(lookup.RADII_BITS)
    assert all(entry["found"] == entry["expected"] for entry in found["radii_agreement"])
    assert found["saved"]["bytes"] > 32 * SIZE

    assert "1 false, 1 repeated" in str(tables.speed(SIZE, found).rows)
    assert len(tables.ratios(SIZE, found).rows) == len(names)
    assert len(tables.radii(SIZE, found).rows) == len(lookup.COMPLETE)
    assert len(tables.latency(SIZE, found).rows) == len(names)


def test_growth_has_a_fit_for_each_way_and_batch(
    codes: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all sizes."""
    monkeypatch.setattr(growth, "BATCHES", TINY.batches)
    found = growth.measure(*codes, TINY, lambda _: None)
    assert {point["indicators"] for point in found["points"]} == set(TINY.growth_sizes)
    assert len(found["fits"]) == len(lookup.COMPLETE) * len(TINY.batches)


def test_a_batch_larger_than_the_queries_is_refused(codes: tuple[np.ndarray, np.ndarray]) -> None:
    """It would be timed as if it were whole."""
    built = {rivals.FLAT.name: rivals.FaissFlat(codes[0])}
    with pytest.raises(ValueError, match="make more queries"):
        lookup.speed(built, codes[1], 129, 31, TINY)


def test_a_match_is_planted_among_so_many_queries() -> None:
    """One in 10,000 and no more."""
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 256, (1_000, 32), np.uint8)
    queries = rng.integers(0, 256, (30_000, 32), np.uint8)
    pool = lookup.with_matches(codes, queries)
    assert len(rivals.Ours(codes).index.search(pool)) == 3
