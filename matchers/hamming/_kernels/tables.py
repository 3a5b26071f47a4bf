"""16 tables in compressed sparse rows, each keyed by one 16-bit word of the code.

A posting is a fingerprint and a row. The fingerprint is the next 32 bits of the code (words t + 1
and t + 2, around the end), so that nearly every posting of a bucket is refused without touching
the code it stands for. Rows are packed: as many bits each as the largest row needs.

Only the highest `key_bits` bits of the word are the key, so that a bucket holds about a cache line
of postings whatever the size of the set.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from matchers.hamming._kernels.permute import word_of

U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

TABLES = 16
PADDING = 64  # fingerprints that a vector may read beyond the last one

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


class Tables(NamedTuple):
    """The index as kernels see it.

    Attributes:
        spread: uint64 [64, 16, 4], the order of bits, from `permute.spread_table`.
        blocks: uint64 [ceil(n / 8), 4, 8], permuted codes, from `permute.into_blocks`.
        starts: uint32 [16 * (2**key_bits + 1)], from `build_table`, table after table.
        fingerprints: uint32 [16 * n + PADDING], likewise.
        rows: uint64 [16 * packed_words(n)], likewise, from `pack`.
        n: codes.
        key_bits: of a word that are its table's key.
        row_bits: of a packed row.
    """

    spread: U64
    blocks: U64
    starts: U32
    fingerprints: U32
    rows: U64
    n: int
    key_bits: int
    row_bits: int


class Plan(NamedTuple):
    """A radius as kernels see it.

    Attributes:
        radius: in bits, inclusive.
        limits: int64 [16, 3], from `thresholds.chains`.
        masks: uint16 [...], changes of a key, fewest bits first (see `thresholds.masks`).
        upto: int64 [...], how many masks have fewer than k bits.
        most_postings: a query whose buckets hold more is left to `brute`.
        most_survivors: so is one with more fingerprints that pass.
    """

    radius: int
    limits: npt.NDArray[np.int64]
    masks: U16
    upto: npt.NDArray[np.int64]
    most_postings: int
    most_survivors: int


@_njit
def joined(after: np.uint16, then: np.uint16) -> np.uint32:
    """A fingerprint: the two words after the key's; the nearer one is the low half."""
    return np.uint32(np.uint32(after) | (np.uint32(then) << np.uint32(16)))


@_njit
def fingerprint(words: U16, row: int, table: int) -> np.uint32:
    """What a code with these words (uint16 [n, 16]) has for a fingerprint in a table."""
    return joined(words[row, (table + 1) & 15], words[row, (table + 2) & 15])


@_njit
def build_table(
    blocks: U64, n: int, table: int, key_bits: int, starts: U32, fingerprints: U32, rows: U32
) -> None:
    """Fill one table by counting sort.

    Args:
        blocks: uint64 [ceil(n / 8), 4, 8], from `permute.into_blocks`.
        n: codes.
        table: which word is the key.
        key_bits: how many of its bits, from the highest.
        starts: uint32 [2**key_bits + 1], filled: bucket b is starts[b] up to starts[b + 1].
        fingerprints: uint32 [n], filled.
        rows: uint32 [n], filled; ascending in each bucket.
    """
    buckets = 1 << key_bits
    shift = np.uint16(16 - key_bits)
    for b in range(buckets + 1):
        starts[b] = np.uint32(0)
    for row in range(n):
        starts[np.int64(word_of(blocks, row, table) >> shift) + 1] += np.uint32(1)
    for b in range(buckets):
        starts[b + 1] += starts[b]
    following = starts[:buckets].copy()
    after = (table + 1) & 15
    then = (table + 2) & 15
    for row in range(n):
        bucket = np.int64(word_of(blocks, row, table) >> shift)
        place = np.int64(following[bucket])
        following[bucket] = np.uint32(place + 1)
        fingerprints[place] = joined(word_of(blocks, row, after), word_of(blocks, row, then))
        rows[place] = np.uint32(row)


@_njit
def packed_words(n: int, row_bits: int) -> int:
    """uint64s that n packed rows take, and one to spare for the reader."""
    return n * row_bits // 64 + 2


@_njit
def pack(rows: U32, row_bits: int, packed: U64) -> None:
    """Write rows (uint32 [n]) with `row_bits` bits each; `packed` is zero and long enough."""
    for i in range(rows.shape[0]):
        bit = i * row_bits
        word = bit >> 6
        offset = bit & 63
        packed[word] |= np.uint64(rows[i]) << np.uint64(offset)
        if offset + row_bits > 64:
            packed[word + 1] |= np.uint64(rows[i]) >> np.uint64(64 - offset)


@_njit
def unpack(packed: U64, start: int, place: int, row_bits: int) -> int:
    """Row number `place` of what `pack` wrote from packed[start] on."""
    bit = place * row_bits
    word = start + (bit >> 6)
    offset = bit & 63
    value = packed[word] >> np.uint64(offset)
    if offset + row_bits > 64:
        value |= packed[word + 1] << np.uint64(64 - offset)
    return np.int64(value & ((np.uint64(1) << np.uint64(row_bits)) - np.uint64(1)))
