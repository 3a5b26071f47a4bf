"""Near-duplicates of a set: single linkage over its codes.

Two hits on new material count only if they differ in content *and* indicator. One picture may lie
within the radius of two listed codes; these are then at most twice the radius apart. Indicators
linked by steps of at most twice the radius are therefore one cluster, and count as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from matchers.hamming import HammingIndex

_BATCH = 1024  # queries at once: bounds the pairs held


def single_linkage(codes: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.int64]:
    """The lowest row that each row is linked to, by steps of at most `radius` bits.

    Args:
        codes: uint8 [n, 32].
        radius: in bits, inclusive.

    Returns:
        int64 [n]: equal for two rows if and only if they are in one cluster.
    """
    index = HammingIndex.build(codes)
    parent = np.arange(len(codes), dtype=np.int64)

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]  # halve the path
            row = int(parent[row])
        return row

    for first in range(0, len(codes), _BATCH):
        pairs = index.search(codes[first : first + _BATCH], radius)
        for query, other in zip(pairs.query.tolist(), pairs.indicator.tolist(), strict=True):
            one, two = root(first + query), root(other)
            parent[max(one, two)] = min(one, two)
    return np.array([root(row) for row in range(len(codes))], np.int64)


def names(
    indicator_ids: Sequence[str], roots: npt.NDArray[np.int64], before: Mapping[str, str]
) -> list[str]:
    """Each indicator's cluster, by name, stable from version to version.

    Args:
        indicator_ids: of the rows.
        roots: from `single_linkage`.
        before: indicator id -> cluster in the version before. An indicator keeps its cluster; a
            new one joins the cluster of the first older member, else it is named after its root.
    """
    known: dict[int, str] = {}
    for row, indicator_id in enumerate(indicator_ids):
        if indicator_id in before:
            known.setdefault(int(roots[row]), before[indicator_id])
    return [
        before.get(indicator_id, known.get(int(roots[row]), indicator_ids[int(roots[row])]))
        for row, indicator_id in enumerate(indicator_ids)
    ]
