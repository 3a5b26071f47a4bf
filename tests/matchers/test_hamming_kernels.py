"""The parts of the index: thresholds, vector steps, packed rows, and other machines' code."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.settings import SEEDED

from matchers.hamming import thresholds
from matchers.hamming._kernels import lanes, permute, tables

words_apart = st.lists(st.integers(0, 16), min_size=16, max_size=16)


@given(words_apart)
@settings(SEEDED, max_examples=500)
def test_some_table_finds_every_pair_within_the_radius(apart):
    """The cycle lemma, in the form that the kernels use: for the smallest radius that fits."""
    radius = sum(apart)
    limits = thresholds.chains(radius)
    assert any(
        apart[t] <= limits[t, 0]
        and apart[t] + apart[(t + 1) % 16] <= limits[t, 1]
        and apart[t] + apart[(t + 1) % 16] + apart[(t + 2) % 16] <= limits[t, 2]
        for t in range(16)
    )


@pytest.mark.parametrize(
    ("radius", "buckets"),
    [(0, 1), (7, 8), (15, 16), (24, 160), (31, 272), (32, 392), (40, 1352), (47, 2192)],
)
def test_mixed_thresholds_ask_as_few_buckets_as_the_radius_allows(radius, buckets):
    """One bit more costs a little more, not seven times as much."""
    assert thresholds.of_words(radius).sum() == radius - 15
    limits = thresholds.chains(radius)
    masks, upto = thresholds.masks(16, max(0, int(limits[:, 0].max())))
    assert upto[limits[:, 0] + 1].sum() == buckets
    assert len(masks) == upto[-1]


@pytest.mark.parametrize("key_bits", [8, 11, 16])
def test_masks_are_every_change_of_a_key_once_fewest_bits_first(key_bits):
    """`upto[k]` of them have fewer than k bits."""
    masks, upto = thresholds.masks(key_bits, 4)
    weights = [int(mask).bit_count() for mask in masks]
    assert weights == sorted(weights)
    assert len(set(masks.tolist())) == len(masks)
    assert max(masks) < 1 << key_bits
    for k in range(6):
        assert upto[k] == sum(1 for value in range(1 << key_bits) if value.bit_count() < min(k, 5))


@pytest.mark.kernels
@settings(SEEDED, max_examples=60)
@given(st.data(), st.integers(1, 32))
def test_packed_rows_are_read_as_they_were_written(data, row_bits):
    """Any width, across the borders of words."""
    values = data.draw(st.lists(st.integers(0, 2**row_bits - 1), min_size=1, max_size=70))
    rows = np.array(values, np.uint32)
    packed = np.zeros(3 + tables.packed_words(len(rows), row_bits), np.uint64)
    tables.pack(rows, row_bits, packed[3:])
    assert [tables.unpack(packed, 3, k, row_bits) for k in range(len(rows))] == values


@pytest.mark.parametrize("n", [1, 2, 3, 100, 5000])
def test_a_table_holds_every_row_once_in_its_bucket(n):
    """Rows of a bucket share the key, ascend, and stand beside their fingerprints."""
    words = np.random.default_rng(n).integers(0, 2**16, (n, 16), dtype=np.uint16)
    blocks = np.empty((-(-n // 8), 4, 8), np.uint64)
    straight = permute.spread_table(np.arange(256))
    permute.into_blocks(words.view(np.uint64), straight, blocks)
    for table, key_bits in ((0, 8), (15, 12), (14, 16)):
        starts = np.empty((1 << key_bits) + 1, np.uint32)
        fingerprints = np.empty(n, np.uint32)
        rows = np.empty(n, np.uint32)
        tables.build_table(blocks, n, table, key_bits, starts, fingerprints, rows)
        keys = words[:, table] >> (16 - key_bits)
        assert sorted(rows.tolist()) == list(range(n))
        np.testing.assert_array_equal(rows, np.argsort(keys, kind="stable"))
        np.testing.assert_array_equal(np.diff(starts), np.bincount(keys, minlength=1 << key_bits))
        after = words[rows, (table + 1) % 16].astype(np.uint32)
        then = words[rows, (table + 2) % 16].astype(np.uint32)
        np.testing.assert_array_equal(fingerprints, after | then << 16)


# --- vector steps: what is compiled does what the Python beside it says ---------------------------


@numba.njit
def _compiled_bits(value: np.uint64) -> tuple[int, int]:
    return lanes.popcount(value), lanes.lowest(value)


@numba.njit
def _compiled_fingerprints(
    values: np.ndarray, first: int, queries: np.ndarray, group: int, most: int, target: np.ndarray
) -> tuple[int, int]:
    lanes.prefetch(values, first)
    lanes.copy_group(target, first, queries, group)
    return (
        lanes.close_lanes(values, first, queries[group], most),
        lanes.close_to_any_lanes(values, first, queries, group, most),
    )


@numba.njit
def _compiled_codes(
    blocks: np.ndarray, block: int, queries: np.ndarray, query: int, most: int
) -> tuple[int, int, int, int]:
    return (
        lanes.near_rows_128(blocks, block, queries, query, most),
        lanes.near_rows_any_128(blocks, block, queries, query, most),
        lanes.near_rows_256(blocks, block, queries, query, most),
        lanes.near_rows_any_256(blocks, block, queries, query, most),
    )


seeds = st.integers(0, 2**32 - 1)


@settings(SEEDED, max_examples=100)
@given(st.integers(1, 2**64 - 1))
def test_bits_are_counted_and_found(value):
    """Hardware instructions against Python's own."""
    assert _compiled_bits(np.uint64(value)) == (
        lanes.IN_PYTHON["popcount"](value),
        lanes.IN_PYTHON["lowest"](value),
    )


@settings(SEEDED, max_examples=150)
@given(seeds, st.integers(0, 9), st.integers(0, 5), st.integers(0, 20))
def test_fingerprints_are_compared_as_in_python(seed, first, group, most):
    """Every lane, from any place in the array."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 2**32, 64, dtype=np.uint32)
    queries = random.integers(0, 2**32, 16, dtype=np.uint32)
    values[::5] = queries[group] ^ np.uint32(1 << int(random.integers(32)))
    target = np.zeros(64, np.uint32)
    expected = target.copy()
    lanes.IN_PYTHON["copy_group"](expected, first, queries, group)
    found = _compiled_fingerprints(values, first, queries, group, most, target)
    assert found == (
        lanes.IN_PYTHON["close_lanes"](values, first, queries[group], most),
        lanes.IN_PYTHON["close_to_any_lanes"](values, first, queries, group, most),
    )
    np.testing.assert_array_equal(target, expected)


@settings(SEEDED, max_examples=100)
@given(seeds, st.integers(0, 2), st.integers(0, 3), st.integers(0, 140))
def test_codes_are_compared_as_in_python(seed, block, query, most):
    """Eight codes against one query and against eight, in 128 bits and in 256."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 2**64, (3, 4, 8), dtype=np.uint64)
    queries = random.integers(0, 2**64, (12, 4), dtype=np.uint64)
    blocks[block, :, 3] = queries[query] ^ np.uint64(2**40 + 5)
    names = ("near_rows_128", "near_rows_any_128", "near_rows_256", "near_rows_any_256")
    assert _compiled_codes(blocks, block, queries, query, most) == tuple(
        lanes.IN_PYTHON[name](blocks, block, queries, query, most) for name in names
    )


# --- machines without AVX-512 --------------------------------------------------------------------

_ON_ANOTHER_MACHINE = """
import numpy as np
from oracles import hamming_naive
from matchers.hamming import Matches, mih

mih.TABLES_FROM_CODES = 0
random = np.random.default_rng(50)
held = random.integers(0, 256, (2000, 32), dtype=np.uint8)
queries = held[:100].copy()
queries[:, :6] ^= random.integers(0, 256, (100, 6), dtype=np.uint8)
index = mih.MultiIndex.build(held)
for radius in (0, 31, 40, 64):
    expected = hamming_naive.search(held, queries, radius)
    for way in ("probe", "sweep", "brute"):
        found = Matches.of(index.search(queries, radius, 1, way))
        parts = (found.query, found.indicator, found.distance)
        assert list(zip(*(part.tolist() for part in parts), strict=True)) == expected
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of x86-64")
@pytest.mark.parametrize("processor", ["haswell"])
def test_the_same_source_runs_without_avx_512(tmp_path, processor):
    """Code generated for a machine with AVX2 only finds the same pairs."""
    environment = os.environ | {
        "NUMBA_CPU_NAME": processor,
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", _ON_ANOTHER_MACHINE],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
