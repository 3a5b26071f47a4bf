"""Multi-index hashing (Norouzi, Punjani, Fleet 2012) over 256-bit codes: njit only.

A code is 16 words of 16 bits. Two codes within `radius` bits have at least one word within
radius // 16 bits (pigeonhole), so looking up every word within that distance in the 16 tables
finds every indicator: exact, for any radius. A pair is reported by the first word that is close
enough and by no other, so there are no duplicates and nothing to remember.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

WORDS = 16
BUCKETS = 65_536

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _popcount(value: np.uint64) -> np.int64:
    """Bits set in a uint64 (Hacker's Delight, figure 5-2); LLVM turns it into popcnt."""
    value = value - ((value >> np.uint64(1)) & np.uint64(0x5555555555555555))
    value = (value & np.uint64(0x3333333333333333)) + (
        (value >> np.uint64(2)) & np.uint64(0x3333333333333333)
    )
    value = (value + (value >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((value * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_njit
def build_tables(words: U16, starts: U32, postings: U32) -> None:
    """Fill 16 tables in compressed sparse rows by counting sort.

    Args:
        words: uint16 [n, 16], the codes.
        starts: uint32 [16, BUCKETS + 1], filled: bucket b of table t is
            postings[t, starts[t, b]:starts[t, b + 1]].
        postings: uint32 [16, n], filled with row numbers, ascending in each bucket.
    """
    n = words.shape[0]
    for t in range(WORDS):
        counts = np.zeros(BUCKETS + 1, np.int64)
        for i in range(n):
            counts[np.int64(words[i, t]) + 1] += 1
        for b in range(BUCKETS):
            counts[b + 1] += counts[b]
        for b in range(BUCKETS + 1):
            starts[t, b] = counts[b]
        for i in range(n):
            bucket = np.int64(words[i, t])
            postings[t, counts[bucket]] = i
            counts[bucket] += 1


@_njit
def flips_within(distance: int) -> U16:
    """Every uint16 with at most `distance` bits set."""
    found = np.empty(BUCKETS, np.uint16)
    n = 0
    for mask in range(BUCKETS):
        if _popcount(np.uint64(mask)) <= distance:
            found[n] = mask
            n += 1
    return found[:n].copy()


@_njit
def search(
    words: U16,
    lanes: U64,
    starts: U32,
    postings: U32,
    query_words: U16,
    query_lanes: U64,
    flips: U16,
    radius: int,
    first: int,
    out: I64,
) -> tuple[int, int]:
    """Report every (query, row) within `radius` for the queries from `first` on.

    Args:
        words: uint16 [n, 16], the codes.
        lanes: uint64 [n, 4], the same bytes.
        starts: as `build_tables` filled it.
        postings: as `build_tables` filled it.
        query_words: uint16 [m, 16], the queries.
        query_lanes: uint64 [m, 4], the same bytes.
        flips: uint16 [f], from flips_within(radius // 16).
        radius: in bits, inclusive.
        first: the first query to answer.
        out: int64 [capacity, 3], filled with query, row, distance.

    Returns:
        (rows filled, next query). If next < m the buffer would not hold that query's hits: call
        again from there with a larger or emptied one. A query is reported whole or not at all.
    """
    close = radius // 16
    filled = 0
    for q in range(first, query_words.shape[0]):
        before = filled
        fits = True
        for t in range(WORDS):
            for f in range(flips.shape[0]):
                bucket = np.int64(query_words[q, t] ^ flips[f])
                for p in range(np.int64(starts[t, bucket]), np.int64(starts[t, bucket + 1])):
                    row = postings[t, p]
                    distance = np.int64(0)
                    for k in range(4):
                        distance += _popcount(query_lanes[q, k] ^ lanes[row, k])
                    if distance > radius:
                        continue
                    is_first = True
                    for earlier in range(t):
                        apart = np.uint64(query_words[q, earlier] ^ words[row, earlier])
                        if _popcount(apart) <= close:
                            is_first = False
                            break
                    if not is_first:
                        continue
                    if filled < out.shape[0]:
                        out[filled, 0] = q
                        out[filled, 1] = row
                        out[filled, 2] = distance
                        filled += 1
                    else:
                        fits = False
        if not fits:
            return before, q
    return filled, query_words.shape[0]
