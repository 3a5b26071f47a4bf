"""Many queries: each bucket, in order, meets the queries that ask for it.

A bucket's fingerprints are read once for the whole batch, in order, so memory latency is off the
path; sixteen postings meet eight queries at a time. With fewer queries a coarser key pays: the
postings of neighbouring buckets are neighbours, so 2**(key_bits - sweep_bits) of them are taken as
one bucket. The key bits that are then not compared count as equal, which only lets more
fingerprints through to the full test.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from matchers.hamming._kernels.hits import try_posting
from matchers.hamming._kernels.lanes import (
    GROUP,
    PAIR_LANES,
    close_to_any_lanes,
    copy_group,
    lowest,
    popcount,
)
from matchers.hamming._kernels.tables import Plan, Tables, fingerprint

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _sort_queries(
    words: U16, table: int, shift: int, over: U8, starts: U32, order: U32, codes: U32
) -> None:
    """Sort the queries by their key in a table, by counting.

    Args:
        words: uint16 [m, 16], permuted queries.
        table: which word is the key.
        shift: how many of its lowest bits are not.
        over: uint8 [m], 1 for a query that is left out.
        starts: uint32 [buckets + 1], filled: those of key b are starts[b] up to starts[b + 1].
        order: uint32 [m], filled with query numbers.
        codes: uint32 [m + GROUP], filled with their fingerprints.
    """
    by = np.uint16(shift)
    starts[:] = np.uint32(0)
    for query in range(words.shape[0]):
        if over[query] == 0:
            starts[np.int64(words[query, table] >> by) + 1] += np.uint32(1)
    for b in range(starts.shape[0] - 1):
        starts[b + 1] += starts[b]
    following = starts[:-1].copy()
    for query in range(words.shape[0]):
        if over[query] != 0:
            continue
        key = np.int64(words[query, table] >> by)
        place = np.int64(following[key])
        following[key] = np.uint32(place + 1)
        order[place] = np.uint32(query)
        codes[place] = fingerprint(words, query, table)


@_njit
def _gather(
    bucket: int, starts: U32, codes: U32, masks: U16, count: int, asking: U32, ends: I64
) -> int:
    """Bring together the fingerprints of the queries that ask for a bucket.

    Args:
        bucket: which bucket.
        starts: as `_sort_queries` filled it.
        codes: as `_sort_queries` filled it.
        masks: changes of the key.
        count: how many of them apply.
        asking: uint32 [m + 2 * GROUP], filled with fingerprints, mask by mask; the last one is
            repeated to fill a group.
        ends: int64 [masks + 1], filled: those of mask x end at ends[x + 1].

    Returns:
        How many queries ask.
    """
    gathered = 0
    ends[0] = 0
    for x in range(count):
        key = bucket ^ np.int64(masks[x])
        first = np.int64(starts[key])
        held = np.int64(starts[key + 1]) - first
        copy_group(asking, gathered, codes, first)
        for k in range(GROUP, held, GROUP):
            copy_group(asking, gathered + k, codes, first + k)
        gathered += held
        ends[x + 1] = gathered
    if gathered > 0:
        last = asking[gathered - 1]
        for k in range(GROUP):
            asking[gathered + k] = last
    return gathered


@_njit
def postings_asked(tables: Tables, plan: Plan, sweep_bits: int, words: U16) -> I64:
    """How many postings each query's buckets hold together, int64 [m]; arguments as `sweep`."""
    shift = np.uint16(16 - sweep_bits)
    width = 1 << (tables.key_bits - sweep_bits)
    asked = np.zeros(words.shape[0], np.int64)
    for query in range(words.shape[0]):
        for table in range(16):
            key = words[query, table] >> shift
            keys = table * ((1 << tables.key_bits) + 1)
            for x in range(plan.upto[plan.limits[table, 0] + 1]):
                bucket = np.int64(key ^ plan.masks[x])
                start = tables.starts[keys + bucket * width]
                end = tables.starts[keys + (bucket + 1) * width]
                asked[query] += np.int64(end) - np.int64(start)
    return asked


@_njit
def _follow(
    tables: Tables,
    plan: Plan,
    table: int,
    bucket: int,
    first: int,
    near: np.uint64,
    group: int,
    asking: U32,
    ends: I64,
    order: U32,
    query_starts: U32,
    queries: U64,
    survivors: U32,
    hits: U64,
    filled: int,
) -> int:
    """Try the postings whose fingerprints pass for one of a group of queries.

    Args:
        tables: the index.
        plan: the radius.
        table: which table.
        bucket: which bucket.
        first: place of the posting that bit 0 of `near` stands for, in this table.
        near: the postings.
        group: the first query of the group, among those that `_gather` brought together.
        asking: as `_gather` filled it.
        ends: as `_gather` filled it, and all masks' last one at its end.
        order: as `_sort_queries` filled it.
        query_starts: likewise, `starts`.
        queries: uint64 [m, 4], permuted.
        survivors: uint32 [m], each query's fingerprints that passed so far.
        hits: uint64 [capacity], filled as far as it goes.
        filled: hits so far.

    Returns:
        Hits now.
    """
    one = np.uint64(1)
    none = np.uint64(0)
    low_half = np.uint64(0xFFFF)
    two = plan.limits[table, 1]
    three = plan.limits[table, 2]
    while near != none:
        place = first + lowest(near)
        near &= near - one
        x = 0
        flipped = 0
        for k in range(group, min(group + GROUP, ends[-1])):
            apart = np.uint64(tables.fingerprints[table * tables.n + place] ^ asking[k])
            if popcount(apart) > three:
                continue
            while k >= ends[x + 1]:
                x += 1
            while x >= plan.upto[flipped + 1]:
                flipped += 1
            if popcount(apart) > three - flipped or popcount(apart & low_half) > two - flipped:
                continue
            key = bucket ^ np.int64(plan.masks[x])
            query = np.int64(order[np.int64(query_starts[key]) + k - ends[x]])
            survivors[query] += np.uint32(1)
            if survivors[query] <= plan.most_survivors:
                filled = try_posting(
                    tables, plan, table, place, queries, query, query, hits, filled
                )
    return filled


@_njit
def sweep(
    tables: Tables,
    plan: Plan,
    sweep_bits: int,
    queries: U64,
    words: U16,
    first_of: int,
    end_of: int,
    survivors: U32,
    hits: U64,
) -> int:
    """Find the hits of all queries that tables `first_of` up to `end_of` report.

    Args:
        tables: the index.
        plan: the radius; its masks are of `sweep_bits` bits.
        sweep_bits: of the key that are compared; at most `tables.key_bits`.
        queries: uint64 [m, 4], permuted.
        words: uint16 [m, 16], the same bytes.
        first_of: the first table to go through.
        end_of: the first not to.
        survivors: uint32 [m], filled with each query's fingerprints that pass. A query above
            `most_survivors` is left to `brute`: its hits here are not all.
        hits: uint64 [capacity], filled as far as it goes.

    Returns:
        How many hits there are; more than the capacity: ask again with room for them.
    """
    survivors[:] = np.uint32(0)
    one = np.uint64(1)
    none = np.uint64(0)
    m = words.shape[0]
    buckets = 1 << sweep_bits
    width = 1 << (tables.key_bits - sweep_bits)
    query_starts = np.empty(buckets + 1, np.uint32)
    over = np.zeros(m, np.uint8)
    order = np.empty(m, np.uint32)
    codes = np.zeros(m + GROUP, np.uint32)
    asking = np.empty(m + 2 * GROUP, np.uint32)
    filled = 0
    for table in range(first_of, end_of):
        count = plan.upto[plan.limits[table, 0] + 1]
        ends = np.empty(count + 1, np.int64)
        keys = table * ((1 << tables.key_bits) + 1)
        places = table * tables.n
        three = plan.limits[table, 2]
        for query in range(m):  # those that went over the limit are left to `brute` already
            over[query] = survivors[query] > plan.most_survivors
        _sort_queries(words, table, 16 - sweep_bits, over, query_starts, order, codes)
        for bucket in range(buckets):
            start = np.int64(tables.starts[keys + bucket * width])
            end = np.int64(tables.starts[keys + (bucket + 1) * width])
            if start == end:
                continue
            gathered = _gather(bucket, query_starts, codes, plan.masks, count, asking, ends)
            for group in range(0, gathered, GROUP):
                for first in range(start, end, PAIR_LANES):
                    near = close_to_any_lanes(
                        tables.fingerprints, places + first, asking, group, three
                    )
                    if end - first < PAIR_LANES:
                        near &= (one << np.uint64(end - first)) - one
                    if near != none:
                        filled = _follow(
                            tables, plan, table, bucket, first, near, group, asking, ends,
                            order, query_starts, queries, survivors, hits, filled,
                        )  # fmt: skip
    return filled
