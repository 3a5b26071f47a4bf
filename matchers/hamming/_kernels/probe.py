"""Few queries: each looks its buckets up in the 16 tables.

The time is memory latency: some 270 buckets a query at radius 31, each on a cache line of its own.
So the next query's buckets are located, and their fingerprints asked for, before this query's are
compared.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from matchers.hamming._kernels.hits import try_posting
from matchers.hamming._kernels.lanes import LANES, close_lanes, lowest, popcount, prefetch
from matchers.hamming._kernels.permute import permute
from matchers.hamming._kernels.tables import TABLES, Plan, Tables, fingerprint

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _locate(tables: Tables, plan: Plan, words: U16, query: int, buckets: I64) -> int:
    """Note where a query's buckets start and end, and ask for their fingerprints.

    Args:
        tables: the index.
        plan: the radius.
        words: uint16 [m, 16], permuted queries.
        query: which query.
        buckets: int64 [2 * probes], filled in the order of `_compare`: start, end, start, ...

    Returns:
        How many postings the buckets hold.
    """
    shift = np.uint16(16 - tables.key_bits)
    probe = 0
    postings = 0
    for table in range(TABLES):
        key = words[query, table] >> shift
        keys = table * ((1 << tables.key_bits) + 1)
        places = table * tables.n
        for x in range(plan.upto[plan.limits[table, 0] + 1]):
            bucket = keys + np.int64(key ^ plan.masks[x])
            start = places + np.int64(tables.starts[bucket])
            end = places + np.int64(tables.starts[bucket + 1])
            buckets[probe] = start
            buckets[probe + 1] = end
            probe += 2
            postings += end - start
            prefetch(tables.fingerprints, start)
            prefetch(tables.fingerprints, end - 1)
    return postings


@_njit
def _follow(
    tables: Tables,
    plan: Plan,
    table: int,
    first: int,
    near: np.uint64,
    code: np.uint32,
    two: int,
    queries: U64,
    query: int,
    number: int,
    hits: U64,
    filled: int,
) -> tuple[int, int]:
    """Try the postings whose fingerprints pass.

    Args:
        tables: the index.
        plan: the radius.
        table: which table.
        first: place of the posting that bit 0 of `near` stands for, among all tables'.
        near: the postings.
        code: the query's fingerprint.
        two: most bits in which the first word of the fingerprint may differ.
        queries: uint64 [m, 4], permuted.
        query: which of them.
        number: the query's number in a hit.
        hits: uint64 [capacity], filled as far as it goes.
        filled: hits so far.

    Returns:
        Hits now, and how many postings were tried.
    """
    one = np.uint64(1)
    none = np.uint64(0)
    low_half = np.uint64(0xFFFF)
    tried = 0
    while near != none:
        place = first + lowest(near)
        near &= near - one
        if popcount(np.uint64(tables.fingerprints[place] ^ code) & low_half) <= two:
            tried += 1
            place -= table * tables.n
            filled = try_posting(tables, plan, table, place, queries, query, number, hits, filled)
    return filled, tried


@_njit
def _compare(
    tables: Tables,
    plan: Plan,
    queries: U64,
    words: U16,
    query: int,
    number: int,
    buckets: I64,
    hits: U64,
    filled: int,
) -> int:
    """Compare a query with the postings of its buckets; its hits have its `number` in the batch.

    Returns:
        How many hits there are now, or -1 where the query went beyond `most_survivors`.
    """
    one = np.uint64(1)
    none = np.uint64(0)
    survivors = 0
    probe = 0
    for table in range(TABLES):
        code = fingerprint(words, query, table)
        for flipped in range(plan.limits[table, 0] + 1):
            two = plan.limits[table, 1] - flipped
            three = plan.limits[table, 2] - flipped
            for _ in range(plan.upto[flipped], plan.upto[flipped + 1]):
                start = buckets[probe]
                end = buckets[probe + 1]
                probe += 2
                # From the start of a cache line on: two lines hold most buckets whole.
                for first in range(start & ~15, end, LANES):
                    near = close_lanes(tables.fingerprints, first, code, three)
                    if first < start:
                        near &= ~none << np.uint64(start - first)
                    if end - first < LANES:
                        near &= (one << np.uint64(end - first)) - one
                    if near != none:
                        filled, tried = _follow(
                            tables, plan, table, first, near, code, two,
                            queries, query, number, hits, filled,
                        )  # fmt: skip
                        survivors += tried
                        if survivors > plan.most_survivors:
                            return -1
    return filled


@_njit
def _probe(
    tables: Tables, plan: Plan, queries: U64, first: int, end: int, heavy: U8, hits: U64
) -> int:
    """See `probe`."""
    permuted = np.empty((end - first, 4), np.uint64)
    permute(queries[first:end], tables.spread, permuted)
    words = permuted.view(np.uint16)
    probes = 0
    for table in range(TABLES):
        probes += 2 * plan.upto[plan.limits[table, 0] + 1]
    here = np.empty(probes, np.int64)
    following = np.empty(probes, np.int64)
    filled = 0
    postings_following = 0
    if first < end:
        postings_following = _locate(tables, plan, words, 0, following)
    for k in range(end - first):
        here, following = following, here
        postings = postings_following
        if k + 1 < end - first:
            postings_following = _locate(tables, plan, words, k + 1, following)
        found = -1
        if postings <= plan.most_postings:
            found = _compare(tables, plan, permuted, words, k, first + k, here, hits, filled)
        if found < 0:
            heavy[first + k] = 1
        else:
            filled = found
    return filled


@_njit
def probe(
    spread: U64, blocks: U64, starts: U32, fingerprints: U32, rows: U64,
    n: int, key_bits: int, row_bits: int,
    radius: int, limits: I64, masks: U16, upto: I64, most_postings: int, most_survivors: int,
    queries: U64, first: int, end: int, heavy: U8, hits: U64,
) -> int:  # fmt: skip
    """Find the hits of queries `first` up to `end`.

    `Tables` and `Plan` come field by field, and queries as they are, not permuted: where queries
    come one by one, unpacking a named tuple or another call costs a tenth of the time.

    Args:
        spread: see `Tables`.
        blocks: see `Tables`.
        starts: see `Tables`.
        fingerprints: see `Tables`.
        rows: see `Tables`.
        n: see `Tables`.
        key_bits: see `Tables`.
        row_bits: see `Tables`.
        radius: see `Plan`.
        limits: see `Plan`.
        masks: see `Plan`.
        upto: see `Plan`.
        most_postings: see `Plan`.
        most_survivors: see `Plan`.
        queries: uint64 [m, 4].
        first: the first query to answer.
        end: the first not to.
        heavy: uint8 [m], set to 1 where a query would cost more than `brute`: it has no hits here.
        hits: uint64 [capacity], filled as far as it goes.

    Returns:
        How many hits there are; more than the capacity: ask again with room for them.
    """
    tables = Tables(spread, blocks, starts, fingerprints, rows, n, key_bits, row_bits)
    plan = Plan(radius, limits, masks, upto, most_postings, most_survivors)
    return _probe(tables, plan, queries, first, end, heavy, hits)
