"""Every code against every query: small sets, wide radii, and queries that would cost more.

Eight codes against eight queries at a time. While the radius is small against 128 bits, only the
first half of a code is compared: unrelated codes are already further apart there (3e-9 at 31), so
that half of the memory is never read.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from matchers.hamming._kernels.hits import distance, note
from matchers.hamming._kernels.lanes import (
    GROUP,
    lowest,
    near_rows_128,
    near_rows_256,
    near_rows_any_128,
    near_rows_any_256,
)

U64 = npt.NDArray[np.uint64]

BLOCKS_AT_ONCE = 1024  # 256 KiB of codes: they stay in the cache while the queries pass
HALF_UP_TO_BITS = 47  # above this radius unrelated codes pass half a comparison too often

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")
_inlined = numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)


@_inlined
def _near_rows(
    blocks: U64, block: int, queries: U64, query: int, radius: int, alone: bool
) -> np.uint64:
    """Rows of a block that may be within the radius of a query, or of one of GROUP queries."""
    if radius <= HALF_UP_TO_BITS:
        if alone:
            return near_rows_128(blocks, block, queries, query, radius)
        return near_rows_any_128(blocks, block, queries, query, radius)
    if alone:
        return near_rows_256(blocks, block, queries, query, radius)
    return near_rows_any_256(blocks, block, queries, query, radius)


@_njit
def brute(
    blocks: U64, n: int, queries: U64, radius: int, asked: npt.NDArray[np.int64], hits: U64
) -> int:
    """Find the hits of the queries numbered `asked` among all codes.

    Args:
        blocks: uint64 [ceil(n / 8), 4, 8], from `permute.into_blocks`.
        n: codes.
        queries: uint64 [m, 4], permuted.
        radius: in bits, inclusive.
        asked: int64 [k], which queries.
        hits: uint64 [capacity], filled as far as it goes.

    Returns:
        How many hits there are; more than the capacity: ask again with room for them.
    """
    count = asked.shape[0]
    alone = count < GROUP // 2
    step = 1 if alone else GROUP
    codes = np.empty(((count + GROUP - 1) // GROUP * GROUP, 4), np.uint64)
    for k in range(codes.shape[0]):
        codes[k] = queries[asked[min(k, count - 1)]]  # the last is repeated to fill a group
    filled = 0
    one = np.uint64(1)
    none = np.uint64(0)
    for start in range(0, blocks.shape[0], BLOCKS_AT_ONCE):
        end = min(start + BLOCKS_AT_ONCE, blocks.shape[0])
        for group in range(0, count, step):
            for block in range(start, end):
                near = _near_rows(blocks, block, codes, group, radius, alone)
                while near != none:
                    row = 8 * block + lowest(near)
                    near &= near - one
                    for k in range(group, min(group + step, count)):
                        apart = distance(blocks, row, codes, k)
                        if apart <= radius and row < n:
                            filled = note(hits, filled, asked[k], apart, row)
    return filled
