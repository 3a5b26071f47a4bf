"""Exact radius search over 256-bit codes: build, save, open memory-mapped, search.

Small sets are scanned by FAISS; larger ones are served by 16 tables (see `_kernels`). Both give
**every** indicator within the radius.

A saved index is a folder of plain .npy arrays and `header.json`, which carries the format version
and a SHA-256 of each array. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from matchers import limits
from matchers.errors import IndexFormatError
from matchers.files import sha256_file
from matchers.hamming import _kernels
from matchers.hamming.flat import FlatIndex

FORMAT: Final = "sluis-hamming-index/1"
_ARRAYS: Final = ("codes", "starts", "postings")
_FIRST_CAPACITY: Final = 4_096  # hits; grows as needed


@dataclass(frozen=True)
class Matches:
    """Pairs within the radius, ordered by query, then distance, then indicator.

    Attributes:
        query: int64 [k], row of the queries.
        indicator: int64 [k], row of the codes the index was built from.
        distance: int64 [k], Hamming distance in bits.
    """

    query: npt.NDArray[np.int64]
    indicator: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.query)


class HammingIndex:
    """Immutable index over n codes of 256 bits."""

    def __init__(
        self,
        codes: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.uint32],
        postings: npt.NDArray[np.uint32],
    ) -> None:
        """Wrap finished arrays; use `build` or `open`."""
        self._codes = codes
        self._starts = starts
        self._postings = postings
        self._flat = FlatIndex(codes) if len(codes) <= limits.FLAT_INDEX_MAX_CODES else None

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def codes(self) -> npt.NDArray[np.uint8]:
        """What was indexed: uint8 [n, 32]."""
        return self._codes

    @classmethod
    def build(cls, codes: npt.NDArray[np.uint8]) -> Self:
        """Index `codes`.

        Args:
            codes: uint8 [n, 32]; n may be 0. Rows may repeat: each is an indicator of its own.

        Raises:
            ValueError: for another shape or dtype.
        """
        codes = np.ascontiguousarray(_check_codes(codes, "codes"))
        small = len(codes) <= limits.FLAT_INDEX_MAX_CODES
        n = 0 if small else len(codes)
        starts = np.zeros((0 if small else _kernels.WORDS, _kernels.BUCKETS + 1), np.uint32)
        postings = np.empty((len(starts), n), np.uint32)
        if not small:
            _kernels.build_tables(codes.view(np.uint16), starts, postings)
        return cls(codes, starts, postings)

    def search(
        self, queries: npt.NDArray[np.uint8], radius: int = limits.PDQ_RADIUS_BITS
    ) -> Matches:
        """Find every indicator within `radius` bits of each query.

        Args:
            queries: uint8 [m, 32].
            radius: Hamming distance in bits, inclusive, 0 to `limits.MAX_RADIUS_BITS`.

        Raises:
            ValueError: for another shape, dtype or radius.
        """
        queries = np.ascontiguousarray(_check_codes(queries, "queries"))
        if not 0 <= radius <= limits.MAX_RADIUS_BITS:
            raise ValueError(f"radius is {radius} bits: give 0 to {limits.MAX_RADIUS_BITS}")
        if self._flat is not None:
            query, indicator, distance = self._flat.search(queries, radius)
        else:
            hits = self._search_tables(queries, radius)
            query, indicator, distance = hits[:, 0], hits[:, 1], hits[:, 2]
        order = np.lexsort((indicator, distance, query))
        return Matches(query[order], indicator[order], distance[order])

    def _search_tables(self, queries: npt.NDArray[np.uint8], radius: int) -> npt.NDArray[np.int64]:
        flips = _kernels.flips_within(radius // 16)
        parts: list[npt.NDArray[np.int64]] = []
        capacity = _FIRST_CAPACITY
        first = 0
        while first < len(queries):
            buffer = np.empty((capacity, 3), np.int64)
            filled, following = _kernels.search(
                self._codes.view(np.uint16),
                self._codes.view(np.uint64),
                self._starts,
                self._postings,
                queries.view(np.uint16),
                queries.view(np.uint64),
                flips,
                radius,
                first,
                buffer,
            )
            parts.append(buffer[:filled].copy())
            if following == first:  # one query alone overflowed the buffer
                capacity *= 4
            first = following
        return np.concatenate(parts) if parts else np.empty((0, 3), np.int64)

    def save(self, folder: Path | str) -> None:
        """Write the index as `folder`, whole or not at all.

        Raises:
            FileExistsError: if `folder` exists.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists: remove it or choose another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".index-") as made:
            unfinished = Path(made) / "index"
            unfinished.mkdir()
            digests = {}
            for name in _ARRAYS:
                path = unfinished / f"{name}.npy"
                np.save(path, getattr(self, f"_{name}"), allow_pickle=False)
                digests[name] = sha256_file(path)
            header = {"format": FORMAT, "codes": len(self), "sha256": digests}
            (unfinished / "header.json").write_text(json.dumps(header, indent=2) + "\n")
            try:
                os.rename(unfinished, folder)  # noqa: PTH104 - beside os.replace elsewhere
            except OSError:  # another worker was first
                raise FileExistsError(f"{folder} exists") from None

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True) -> Self:
        """Open a saved index memory-mapped, read-only.

        Args:
            folder: what `save` wrote.
            verify: hash every array first. Skip it only for files that no one else can write.

        Raises:
            IndexFormatError: not an index, another format version, or altered.
        """
        folder = Path(folder)
        try:
            header = json.loads((folder / "header.json").read_text())
            if header.get("format") != FORMAT:
                raise IndexFormatError(
                    f"{folder} has index format {header.get('format')!r}, this version reads "
                    f"{FORMAT!r}: build the index again"
                )
            for name in _ARRAYS:
                if verify and sha256_file(folder / f"{name}.npy") != header["sha256"][name]:
                    raise IndexFormatError(
                        f"{folder}/{name}.npy is not what was saved: build the index again"
                    )
            codes, starts, postings = (
                np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in _ARRAYS
            )
            _check_codes(codes, "codes")
            small = len(codes) <= limits.FLAT_INDEX_MAX_CODES
            expected = (0, 0) if small else (_kernels.WORDS, len(codes))
            if (
                len(codes) != header["codes"]
                or starts.shape != (expected[0], _kernels.BUCKETS + 1)
                or postings.shape != expected
                or starts.dtype != np.uint32
                or postings.dtype != np.uint32
            ):
                raise IndexFormatError(f"{folder} has arrays of the wrong shape: build it again")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexFormatError(f"{folder} is not a saved index: {error}") from error
        return cls(codes, starts, postings)


def _check_codes(codes: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != limits.PDQ_BYTES:
        raise ValueError(
            f"{name} are {codes.dtype} {codes.shape}: give uint8 [n, {limits.PDQ_BYTES}]"
        )
    return codes
