"""Clusters of near-duplicates: single linkage against a slow twin, and names that stay."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.hamming_naive import distances
from support.settings import SEEDED

from matchers.indicators.clusters import names, single_linkage


def slow_roots(codes: np.ndarray, radius: int) -> list[int]:
    """Spread the lowest row along links until nothing changes."""
    linked = [distances(code, codes) <= radius for code in codes]
    roots = list(range(len(codes)))
    changed = True
    while changed:
        changed = False
        for one in range(len(codes)):
            lowest = min(roots[two] for two in range(len(codes)) if linked[one][two])
            if lowest < roots[one]:
                roots[one], changed = lowest, True
    return roots


@settings(SEEDED, max_examples=40)
@given(
    n=st.integers(0, 14), radius=st.sampled_from([0, 8, 31, 62, 64]), seed=st.integers(0, 10_000)
)
def test_single_linkage_equals_its_slow_twin(n, radius, seed):
    """Chains of near-duplicates are one cluster, named by its lowest row."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((n, 32), np.uint8)
    for row in range(n):
        bits = np.unpackbits(codes[rng.integers(row)] if row else codes[0])
        bits[rng.choice(256, rng.integers(0, 90), replace=False)] ^= 1
        codes[row] = np.packbits(bits)
    assert single_linkage(codes, radius).tolist() == slow_roots(codes, radius)


def test_one_picture_near_two_indicators_is_near_one_cluster():
    """Within the radius of two codes means that these are within twice the radius."""
    picture = np.zeros(256, np.uint8)
    one, two = picture.copy(), picture.copy()
    one[:31] = 1
    two[100:131] = 1
    codes = np.stack([np.packbits(one), np.packbits(two)])
    assert single_linkage(codes, 2 * 31).tolist() == [0, 0]


def test_names_stay_from_version_to_version():
    """An indicator keeps its cluster, a new one joins it, and a bridge renames nobody."""
    first = names(["a", "b", "c"], np.array([0, 0, 2]), {})
    assert first == ["a", "a", "c"]
    kept = dict(zip(["a", "b", "c"], first, strict=True))
    bridge = names(["x", "c", "b", "a"], np.array([0, 0, 0, 0]), kept)
    assert bridge == ["c", "c", "a", "a"]
