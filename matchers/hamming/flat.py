"""FAISS IndexBinaryFlat as a backend: to choose, to compare with, and the oracle in tests.

The only place that knows FAISS's habits: its range search is strict (`<`), so the radius grows by
one here; its limits are uint64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import faiss
import numpy as np
import numpy.typing as npt

from matchers import limits

U8 = npt.NDArray[np.uint8]


class FlatIndex:
    """Exact linear scan over 256-bit codes."""

    name: Final = "faiss"

    def __init__(self, codes: U8) -> None:
        """Copy `codes` (uint8 [n, 32]) into a FAISS index; the array given is kept to be saved."""
        self._codes = codes
        self._index = faiss.IndexBinaryFlat(limits.PDQ_BITS)
        self._index.add(np.ascontiguousarray(codes))

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def arrays(self) -> Mapping[str, npt.NDArray[Any]]:
        """What there is to save."""
        return {"codes": self._codes}

    @property
    def parameters(self) -> Mapping[str, int]:
        """None."""
        return {}

    def holds(self, codes: U8) -> bool:
        """Whether it is an index of exactly these codes."""
        return np.array_equal(codes, self._codes)

    def codes(self, rows: npt.NDArray[np.int64] | None = None) -> U8:
        """The codes of these rows, or of all in order, uint8 [n, 32]; read-only."""
        codes = self._codes.view() if rows is None else self._codes[rows]
        codes.setflags(write=False)
        return codes

    def search(self, queries: U8, radius: int, threads: int = 1) -> npt.NDArray[np.uint64]:
        """Every code within `radius` bits of each query, as `Backend.search`."""
        # The setting is the calling thread's own. FAISS's threads would spin between calls on the
        # cores that decode, so there are none unless asked for.
        faiss.omp_set_num_threads(threads)
        starts, distances, rows = self._index.range_search(
            np.ascontiguousarray(queries), radius + 1
        )
        counts = np.diff(starts.astype(np.int64))
        query = np.repeat(np.arange(len(queries), dtype=np.uint64), counts)
        hits: npt.NDArray[np.uint64] = query << np.uint64(41)
        hits |= distances.astype(np.uint64) << np.uint64(32)
        hits |= rows.astype(np.uint64)
        return hits
