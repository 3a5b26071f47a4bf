"""False matches: every distance is the least that brute force finds, and no picture meets itself."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.effectiveness import false_matches, peers
from benchmarks.effectiveness.false_matches import Looked
from benchmarks.effectiveness.ours import LEVELS
from benchmarks.effectiveness.uploads import FAR, UPLOADS

PICTURES = 6


@pytest.fixture(scope="module")
def looked() -> list[Looked]:
    """Random codes near a few centres, so that there is something to find; one is not listed."""
    rng = np.random.default_rng(8)
    centre = rng.integers(0, 256, 32, np.uint8)
    found = []
    for number in range(PICTURES):
        count = 40
        noise = rng.integers(0, 256, (count + 1, 32), np.uint8)
        noise &= rng.integers(0, 256, noise.shape, np.uint8)
        noise &= rng.integers(0, 256, noise.shape, np.uint8)
        codes = centre ^ noise
        upload = np.sort(rng.integers(0, 5, count)).astype(np.int16)
        level = rng.integers(0, 3, count).astype(np.uint8)
        upload[0], level[0] = 0, 0
        found.append(Looked(None if number == 4 else codes[-1], codes[:-1], upload, level))
    return found


@pytest.fixture(scope="module")
def parts() -> list[np.ndarray]:
    """A long list of three sources, the first and the third being pictures 0 and 2."""
    rng = np.random.default_rng(8)
    centre = rng.integers(0, 256, 32, np.uint8)
    noise = rng.integers(0, 256, (3, 50, 32), np.uint8) & rng.integers(
        0, 256, (3, 50, 32), np.uint8
    )
    return list(centre ^ (noise & rng.integers(0, 256, noise.shape, np.uint8)))


OWN = [0, None, 2, None, None, None]


def _least(codes: np.ndarray, others: np.ndarray) -> int:
    if not len(codes) or not len(others):
        return FAR
    return min(int(np.bitwise_count(a ^ b).sum()) for a in codes for b in others)


def _asked(one: Looked, level: int, upload: int) -> np.ndarray:
    return one.codes[(one.level <= level) & (one.upload == upload)]


def test_pairs_are_the_least_over_views(looked: list[Looked]) -> None:
    """Of the unedited upload, against every other listed code."""
    found = false_matches.pairs(looked)
    assert found.shape == (len(LEVELS), PICTURES, PICTURES)
    for level in range(len(LEVELS)):
        for row, one in enumerate(looked):
            for column, other in enumerate(looked):
                expected = FAR
                if row != column and other.indicator is not None:
                    expected = _least(_asked(one, level, 0), other.indicator[None])
                assert found[level, row, column] == expected


def test_edited_pairs_are_the_least_over_other_pictures(looked: list[Looked]) -> None:
    """Every upload by itself; the own code never counts."""
    found = false_matches.edited_pairs(looked)
    for row, one in enumerate(looked):
        others = np.array(
            [o.indicator for n, o in enumerate(looked) if n != row and o.indicator is not None]
        )
        for level in range(len(LEVELS)):
            for upload in range(len(UPLOADS)):
                assert found[level, row, upload] == _least(_asked(one, level, upload), others)


def test_a_long_list_leaves_out_the_own_crops(
    looked: list[Looked], parts: list[np.ndarray]
) -> None:
    """And says which source is nearest."""
    nearest, source = false_matches.natural(looked, parts, OWN, lambda _: None)
    for row, one in enumerate(looked):
        for level in range(len(LEVELS)):
            bits = [
                FAR if n == OWN[row] else _least(_asked(one, level, 0), part)
                for n, part in enumerate(parts)
            ]
            assert nearest[level, row] == min(bits)
            assert bits[source[level, row]] == min(bits)


def test_edited_uploads_against_a_long_list(looked: list[Looked], parts: list[np.ndarray]) -> None:
    """As far as the radius; what is near is handed on, nearest first, the own crops left out."""
    radius = 52
    found, near = false_matches.edited_natural(looked, parts, OWN, radius, lambda _: None)
    candidates = dict(near)
    some = 0
    for row, one in enumerate(looked):
        others = np.concatenate([part for n, part in enumerate(parts) if n != OWN[row]])
        for upload in range(5):
            for level in range(len(LEVELS)):
                least = _least(_asked(one, level, upload), others)
                assert found[level, row, upload] == (least if least <= radius else FAR)
            least = _least(_asked(one, 2, upload), others)
            codes = candidates.get(row, {}).get(upload)
            assert (codes is not None) == (least <= radius)
            if codes is not None:
                some += 1
                assert _least(_asked(one, 2, upload), codes[:1]) == least
                assert all((others == code).all(axis=1).any() for code in codes)
    assert some


def test_peers_pairs_are_the_least_over_turns() -> None:
    """Each peer's own bits, whatever it shares the arrays with."""
    rng = np.random.default_rng(2)
    measured = []
    for number in range(3):
        lengths = np.array([1, 8, 1, 1, 1]) if number else np.array([0, 0, 1, 1, 1])
        codes = rng.integers(0, 256, (int(lengths.sum()), 32), np.uint8)
        listed = [
            codes[int(lengths[:n].sum()), : peer.bits // 8]
            if lengths[n]
            else np.zeros(peer.bits // 8, np.uint8)
            for n, peer in enumerate(peers.PEERS)
        ]
        measured.append({"unedited": codes, "lengths": lengths, "listed": np.concatenate(listed)})
    dihedral = list(peers.pairs(measured))[1]
    assert (dihedral[0] == FAR).all()
    assert (dihedral[:, 0] == FAR).all()
    assert dihedral[1, 2] == _least(measured[1]["unedited"][1:9], measured[2]["unedited"][1:2])
    phash = list(peers.pairs(measured))[2]
    assert phash[1, 2] == _least(
        measured[1]["unedited"][9:10, :8], measured[2]["unedited"][9:10, :8]
    )
