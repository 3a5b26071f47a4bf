"""FAISS IndexBinaryFlat: the small-set path, and the oracle in tests.

The only place that knows FAISS's habits: its range search is strict (`<`), so the radius grows by
one here; its limits are uint64.
"""

from __future__ import annotations

import faiss
import numpy as np
import numpy.typing as npt

from matchers import limits


class FlatIndex:
    """Exact linear scan over 256-bit codes."""

    def __init__(self, codes: npt.NDArray[np.uint8]) -> None:
        """Copy `codes` (uint8 [n, 32]) into a FAISS index."""
        self._index = faiss.IndexBinaryFlat(limits.PDQ_BITS)
        self._index.add(np.ascontiguousarray(codes))

    def search(
        self, queries: npt.NDArray[np.uint8], radius: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Query, row and distance of every pair within `radius` bits (inclusive)."""
        # One thread: items are worked on in parallel, and FAISS's own threads would spin between
        # calls on the cores that decode. The setting is the calling thread's own.
        faiss.omp_set_num_threads(1)
        starts, distances, rows = self._index.range_search(
            np.ascontiguousarray(queries), radius + 1
        )
        counts = np.diff(starts.astype(np.int64))
        query = np.repeat(np.arange(len(queries), dtype=np.int64), counts)
        return query, rows.astype(np.int64), distances.astype(np.int64)
