"""Exact radius search over 256-bit codes: build, save, open memory-mapped, search.

A backend does the search; whichever it is, every code within the radius is found. A saved index is
a folder of plain .npy arrays and `header.json`, which carries the format, the backend, its
parameters and a SHA-256 of each array. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import operator
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from matchers import limits
from matchers.errors import IndexFormatError
from matchers.files import sha256_file
from matchers.hamming import mih
from matchers.hamming._kernels.hits import MAX_QUERIES
from matchers.hamming.backend import BACKENDS, Backend, BackendName
from matchers.hamming.flat import FlatIndex
from matchers.hamming.mih import MultiIndex

FORMAT: Final = "sluis-hamming-index/2"

_ARRAYS: Final = {"faiss": ("codes",), "mih": mih.ARRAYS}


@dataclass(frozen=True, slots=True)
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

    @classmethod
    def of(cls, hits: npt.NDArray[np.uint64]) -> Self:
        """Sort and take apart hits of `_kernels.hits`: their order is that of the numbers."""
        hits = np.sort(hits)
        low = np.uint64(0xFFFF_FFFF)
        return cls(
            (hits >> np.uint64(41)).astype(np.int64),
            (hits & low).astype(np.int64),
            (hits >> np.uint64(32) & np.uint64(0x1FF)).astype(np.int64),
        )


_NO_MATCHES: Final = Matches.of(np.empty(0, np.uint64))


class HammingIndex:
    """Immutable index over n codes of 256 bits."""

    def __init__(self, backend: Backend) -> None:
        """Search with a finished backend; use `build` or `open`."""
        self._backend = backend

    def __len__(self) -> int:
        return len(self._backend)

    @property
    def backend(self) -> str:
        """Name of the backend: `faiss` or `mih`."""
        return self._backend.name

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self._backend.arrays.values())

    @classmethod
    def build(
        cls,
        codes: npt.NDArray[np.uint8],
        backend: BackendName = "auto",
        *,
        threads: int | None = None,
    ) -> Self:
        """Index `codes`.

        Args:
            codes: uint8 [n, 32]; n may be 0. Rows may repeat: each is an indicator of its own.
            backend: `mih`, our multi-index hashing; `faiss`, its flat index; `auto` takes `mih`,
                which was faster at every size and radius measured (docs/benchmarks.md).
            threads: how many tables are in the making at once; None = one for each core.

        Raises:
            ValueError: for another shape, dtype or backend.
        """
        codes = np.ascontiguousarray(_check_codes(codes, "codes"))
        if backend not in BACKENDS:
            raise ValueError(f"backend is {backend!r}: give one of {', '.join(BACKENDS)}")
        if backend == "faiss":
            return cls(FlatIndex(codes.copy()))
        return cls(MultiIndex.build(codes, threads or os.cpu_count() or 1))

    def holds(self, codes: npt.NDArray[np.uint8]) -> bool:
        """Whether it is an index of exactly these codes (uint8 [n, 32]), row by row."""
        return self._backend.holds(np.ascontiguousarray(_check_codes(codes, "codes")))

    def codes(self, rows: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.uint8]:
        """What was indexed, all or these rows: uint8 [n, 32]; not for writing."""
        return self._backend.codes(rows)

    def search(
        self,
        queries: npt.NDArray[np.uint8],
        radius: int = limits.PDQ_RADIUS_BITS,
        *,
        threads: int = 1,
    ) -> Matches:
        """Find every indicator within `radius` bits of each query.

        Many queries in one call cost far less each than one by one (docs/index.md). The GIL is
        released while the search runs.

        Args:
            queries: uint8 [m, 32].
            radius: Hamming distance in bits, inclusive, 0 to `limits.MAX_RADIUS_BITS`.
            threads: how many share the work.

        Raises:
            ValueError: for another shape, dtype or radius.
            TypeError: a radius that is no whole number.
        """
        queries = np.ascontiguousarray(_check_codes(queries, "queries"))
        radius = operator.index(radius)
        if not 0 <= radius <= limits.MAX_RADIUS_BITS:
            raise ValueError(f"radius is {radius} bits: give 0 to {limits.MAX_RADIUS_BITS}")
        if len(queries) <= MAX_QUERIES:
            hits = self._backend.search(queries, radius, threads)
            return Matches.of(hits) if len(hits) else _NO_MATCHES
        parts = [
            self.search(queries[first : first + MAX_QUERIES], radius, threads=threads)
            for first in range(0, len(queries), MAX_QUERIES)
        ]
        return Matches(
            np.concatenate([part.query + k * MAX_QUERIES for k, part in enumerate(parts)]),
            np.concatenate([part.indicator for part in parts]),
            np.concatenate([part.distance for part in parts]),
        )

    def save(self, folder: Path | str) -> None:
        """Write the index as `folder`, whole or not at all.

        Raises:
            FileExistsError: the folder exists; a saved index is never changed.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists: remove it or choose another")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".index-") as made:
            unfinished = Path(made) / "index"
            unfinished.mkdir()
            for name, array in self._backend.arrays.items():
                np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
            header = {
                "format": FORMAT,
                "backend": self._backend.name,
                "codes": len(self),
                **self._backend.parameters,
                "sha256": _digests(unfinished, _ARRAYS[self._backend.name]),
            }
            header["header_sha256"] = _header_digest(header)
            (unfinished / "header.json").write_text(json.dumps(header, indent=2) + "\n")
            try:
                os.rename(unfinished, folder)  # noqa: PTH104 - beside os.replace elsewhere
            except OSError:  # another worker was first
                raise FileExistsError(f"{folder} exists") from None

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True, prefault: bool = False) -> Self:
        """Open a saved index memory-mapped: processes of a machine share its pages.

        Args:
            folder: what `save` wrote.
            verify: hash every array first. Skip it only for files that no one else can write.
            prefault: bring every page in now, so that the first searches do not wait for the disk.

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
            names = _ARRAYS[header["backend"]]
            if verify:
                if header.get("header_sha256") != _header_digest(header):
                    raise IndexFormatError(
                        f"{folder}/header.json is not what was saved: build the index again"
                    )
                for name, digest in _digests(folder, names).items():
                    if digest != header["sha256"][name]:
                        raise IndexFormatError(
                            f"{folder}/{name}.npy is not what was saved: build the index again"
                        )
            arrays = {
                # "c": private to this process, so that no one can change the file through it
                name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
                for name in names
            }
            if prefault:
                for array in arrays.values():
                    _bring_in(array)
            return cls(_backend(header, arrays))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IndexFormatError(f"{folder} is not a saved index: {error}") from error


def _backend(header: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Backend:
    codes = header["codes"]
    if not isinstance(codes, int) or isinstance(codes, bool) or codes < 0:
        raise ValueError(f"the header says it has {codes!r} codes")
    if header["backend"] == "mih":
        return MultiIndex(arrays, codes, header["seed"])
    if len(_check_codes(arrays["codes"], "codes")) != codes:
        raise ValueError("codes of another number than the header says")
    return FlatIndex(arrays["codes"])


def _header_digest(header: Mapping[str, Any]) -> str:
    """SHA-256 of all of the header but this."""
    rest = {name: value for name, value in header.items() if name != "header_sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _digests(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of each array's file, all at once: hashing releases the GIL."""
    with ThreadPoolExecutor(len(names)) as pool:
        hashed = pool.map(lambda name: sha256_file(folder / f"{name}.npy"), names)
        return dict(zip(names, hashed, strict=True))


def _bring_in(array: npt.NDArray[Any]) -> None:
    """Read one byte of every page, the kernel told beforehand."""
    mapped = getattr(array, "_mmap", None)  # an empty array has none
    if mapped is not None and hasattr(mmap, "MADV_WILLNEED"):
        mapped.madvise(mmap.MADV_WILLNEED)
    array.reshape(-1).view(np.uint8)[:: mmap.PAGESIZE].max(initial=0)


def _check_codes(codes: npt.NDArray[np.uint8], name: str) -> npt.NDArray[np.uint8]:
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != limits.PDQ_BYTES:
        raise ValueError(
            f"{name} are {codes.dtype} {codes.shape}: give uint8 [n, {limits.PDQ_BYTES}]"
        )
    return codes
