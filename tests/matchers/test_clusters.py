"""Clusters of near-duplicates: single linkage against a slow twin, and names that stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.hamming_naive import distances
from PIL import Image
from support.places import demo_photos
from support.settings import SEEDED

from matchers import pdq
from matchers.errors import IndicatorSetError
from matchers.indicators.clusters import names, single_linkage, turned


def slow_roots(codes: np.ndarray, radius: int) -> list[int]:
    """Spread the lowest row along links until nothing changes."""
    linked = [
        np.min([distances(one, codes) for one in turned(code[None])[:, 0]], axis=0) <= radius
        for code in codes
    ]
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


@pytest.mark.parametrize("photo", demo_photos()[:6], ids=lambda path: path.stem)
def test_a_code_tells_those_of_the_turned_picture_nearly(photo):
    """To some bits, where the cluster radius is 62."""
    true, _ = pdq.dihedral(np.asarray(Image.open(photo).convert("RGB")))
    told = turned(true[:1])[:, 0]
    off = np.bitwise_count(told ^ true).sum(axis=1)
    assert off[0] == off[6] == 0  # as it is, and rows for columns
    assert off.max() <= 36


def test_a_picture_and_its_mirror_image_are_one_cluster():
    """One upload is near both, turned or not: they must not count as two distinct hits."""
    photo = np.asarray(Image.open(demo_photos()[0]).convert("RGB"))
    views = [np.ascontiguousarray(v) for v in (photo, photo[:, ::-1], np.rot90(photo), photo[::-1])]
    codes = np.stack([pdq.hash_pixels(view)[0] for view in views])
    assert single_linkage(codes, 62).tolist() == [0, 0, 0, 0]


def clusters_of(ids: str, roots: list[int], before: dict[bytes, str]) -> list[str]:
    """Names of indicators whose value is their id."""
    return names(list(ids), [one.encode() for one in ids], np.array(roots), before)


def test_names_stay_from_version_to_version():
    """An indicator keeps its cluster and a new one joins it, in whatever order they stand."""
    first = clusters_of("abc", [0, 0, 2], {})
    assert first == [b"a".hex(), b"a".hex(), b"c".hex()]
    kept = dict(zip([b"a", b"b", b"c"], first, strict=True))
    assert clusters_of("xcba", [0, 0, 2, 2], kept) == [first[2], first[2], first[0], first[0]]
    assert clusters_of("ba", [0, 1], kept) == first[:2]  # also when what linked them is withdrawn


def test_a_cluster_is_kept_by_value_not_by_id():
    """In a plain list ids are line numbers: one line more at the top, and all of them move."""
    before = {b"cat": "one", b"dog": "two"}
    moved = names(["1", "2", "3"], [b"new", b"cat", b"dog"], np.array([0, 1, 2]), before)
    assert moved == [b"new".hex(), "one", "two"]


def test_an_indicator_that_bridges_two_clusters_is_refused_by_name():
    """Either way one picture could count twice: the message names what to leave out."""
    kept = {b"a": "one", b"b": "one", b"c": "two", b"d": "three"}
    with pytest.raises(IndicatorSetError, match=r"^new indicator\(s\) 'x', 'y' link .* Leave them"):
        clusters_of("xcbaydz", [0, 0, 0, 0, 0, 5, 5], kept)
    assert clusters_of("cbadz", [0, 1, 1, 3, 3], kept) == ["two", "one", "one", "three", "three"]


def test_a_message_about_bridges_names_ten_at_most():
    """A long list of them is cut, and says how much."""
    new = "klmnopqrstuv"
    with pytest.raises(IndicatorSetError, match=r"'t' and 2 more link"):
        clusters_of("ab" + new, [0] * (2 + len(new)), {b"a": "one", b"b": "two"})


def test_a_radius_that_grows_over_a_gap_is_refused():
    """Nothing new stands between: it is the radius that links what was apart."""
    with pytest.raises(IndicatorSetError, match="the larger radius links"):
        clusters_of("ab", [0, 0], {b"a": "one", b"b": "two"})
