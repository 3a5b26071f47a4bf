"""What the searches share: hits, and the full test of a posting whose fingerprint passes.

A hit is one uint64, so that sorting hits is sorting numbers:

    query (23 bits) | distance in bits (9) | row (32)

Kernels write into an array of the caller's and count on where it is full; the caller then makes
one of that size and asks again. (An array that grows inside a kernel is reference-counted at every
use: three times slower, measured.)
"""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import numpy.typing as npt

from matchers.hamming._kernels.lanes import popcount
from matchers.hamming._kernels.permute import word_of
from matchers.hamming._kernels.tables import Plan, Tables, packed_words, unpack

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

MAX_QUERIES: Final = 1 << 23
"""Queries that a hit can number."""

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def note(hits: U64, filled: int, query: int, apart: int, row: int) -> int:
    """Write hit number `filled`, if there is room for it; returns how many there are now."""
    if filled < hits.shape[0]:
        high = (np.uint64(query) << np.uint64(41)) | (np.uint64(apart) << np.uint64(32))
        hits[filled] = high | np.uint64(row)
    return filled + 1


@_njit
def distance(blocks: U64, row: int, queries: U64, query: int) -> int:
    """Bits in which code `row` of the blocks and a query (uint64 [m, 4]) differ."""
    block = row >> 3
    place = row & 7
    total = 0
    for word in range(4):
        total += popcount(blocks[block, word, place] ^ queries[query, word])
    return total


@_njit
def first_table(blocks: U64, row: int, queries: U64, query: int, limits: I64) -> int:
    """The table that reports a pair: the first whose three limits (`thresholds.chains`) hold.

    -1 where none does: then the pair is not within the radius.
    """
    words = queries[query].view(np.uint16)
    here = popcount(np.uint64(word_of(blocks, row, 0) ^ words[0]))
    after = popcount(np.uint64(word_of(blocks, row, 1) ^ words[1]))
    for table in range(16):
        word = (table + 2) & 15
        then = popcount(np.uint64(word_of(blocks, row, word) ^ words[word]))
        if (
            here <= limits[table, 0]
            and here + after <= limits[table, 1]
            and here + after + then <= limits[table, 2]
        ):
            return table
        here = after
        after = then
    return -1


@_njit
def try_posting(
    tables: Tables,
    plan: Plan,
    table: int,
    place: int,
    queries: U64,
    query: int,
    number: int,
    hits: U64,
    filled: int,
) -> int:
    """Compare the whole code of a posting with a query; note the pair if it is this table's.

    Args:
        tables: the index.
        plan: the radius.
        table: in which table the posting is.
        place: which posting of that table.
        queries: uint64 [m, 4], permuted.
        query: which of them.
        number: the query's number in a hit.
        hits: uint64 [capacity], filled as far as it goes.
        filled: hits so far.

    Returns:
        Hits now.
    """
    start = table * packed_words(tables.n, tables.row_bits)
    row = unpack(tables.rows, start, place, tables.row_bits)
    if row >= tables.n:
        return filled  # only in a damaged file
    apart = distance(tables.blocks, row, queries, query)
    if apart > plan.radius:
        return filled
    if first_table(tables.blocks, row, queries, query, plan.limits) != table:
        return filled
    return note(hits, filled, number, apart, row)
