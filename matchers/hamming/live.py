"""A radius index that changes while it is searched.

Additions go to a second, small index that is searched beside the large one; withdrawals are marks.
Both take effect with the call that makes them. When the small index has grown, both are built into
a new large one in the background and take its place in one step; searches go on meanwhile.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from matchers import limits
from matchers.hamming.backend import BackendName
from matchers.hamming.index import HammingIndex, Matches

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

REBUILD_FROM_ADDITIONS: Final = 8_192
"""Additions searched beside the large index before it is built anew: up to here one after the
other costs a query about a microsecond."""

REBUILD_FROM_SHARE: Final = 1 / 64
"""Or this share of the large index, if that is more: building costs by the million."""


@dataclass(frozen=True)
class _Segment:
    """An index, and the number for life of each of its rows."""

    index: HammingIndex
    numbers: I64

    def of(self, kept: npt.NDArray[np.bool_]) -> tuple[U8, I64]:
        return self.index.codes()[kept], self.numbers[kept]


@dataclass(frozen=True)
class _State:
    """All that a search needs; replaced as a whole, never changed."""

    large: _Segment
    added: _Segment
    withdrawn: npt.NDArray[np.bool_]  # by number


class LiveIndex:
    """Exact radius search over codes that come and go. Thread-safe.

    Each code gets a number when it is added, from 0 upwards, and keeps it; matches name numbers. A
    number takes one byte for good, also once its code is withdrawn.
    """

    def __init__(self, codes: U8, backend: BackendName = "auto") -> None:
        """Start with codes (uint8 [n, 32]), which have the numbers 0 to n - 1."""
        numbers = np.arange(len(codes), dtype=np.int64)
        self._backend = backend
        self._state = _State(
            _Segment(HammingIndex.build(codes, backend), numbers),
            self._small(codes[:0], numbers[:0]),
            np.zeros(len(codes), bool),
        )
        self._changing = threading.Lock()
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="index-rebuild")
        self._rebuilding: Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Codes that are not withdrawn."""
        return int(np.count_nonzero(~self._state.withdrawn))

    def add(self, codes: U8) -> I64:
        """Add codes (uint8 [k, 32]); the next search finds them. Many at once cost least.

        Returns:
            Their numbers, int64 [k].

        Raises:
            ValueError: for another shape or dtype.
            RuntimeError: it is closed.
        """
        with self._changing:
            self._check_open()
            state = self._state
            first = len(state.withdrawn)
            numbers = np.arange(first, first + len(codes), dtype=np.int64)
            HammingIndex.build(codes, self._backend)  # refuse before joining
            self._state = replace(
                state,
                added=self._small(
                    np.concatenate([state.added.index.codes(), codes]),
                    np.concatenate([state.added.numbers, numbers]),
                ),
                withdrawn=np.concatenate([state.withdrawn, np.zeros(len(codes), bool)]),
            )
            most = max(REBUILD_FROM_ADDITIONS, int(len(state.large.numbers) * REBUILD_FROM_SHARE))
            if len(self._state.added.numbers) > most:
                self._start_rebuild()
        return numbers

    def withdraw(self, numbers: npt.ArrayLike) -> None:
        """Withdraw codes by number; the next search does not find them. Twice is once.

        Raises:
            ValueError: a number that no code has, or no number.
            RuntimeError: it is closed.
        """
        wanted = np.atleast_1d(np.asarray(numbers))
        if wanted.size and wanted.dtype.kind not in "iu":
            raise ValueError(f"numbers are {wanted.dtype}: give whole ones")
        wanted = wanted.reshape(-1).astype(np.int64)
        with self._changing:
            self._check_open()
            withdrawn = self._state.withdrawn.copy()
            if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(withdrawn)):
                raise ValueError(
                    f"{len(withdrawn)} codes were ever added, numbered from 0: one number given is "
                    "none of theirs"
                )
            withdrawn[wanted] = True
            self._state = replace(self._state, withdrawn=withdrawn)

    def search(
        self, queries: U8, radius: int = limits.PDQ_RADIUS_BITS, *, threads: int = 1
    ) -> Matches:
        """Find every code within `radius` bits of each query, as `HammingIndex.search`.

        Returns:
            Matches whose `indicator` is the code's number.
        """
        state = self._state
        parts = []
        for segment in (state.large, state.added):
            found = segment.index.search(queries, radius, threads=threads)
            number = segment.numbers[found.indicator]
            kept = ~state.withdrawn[number]
            parts.append(np.stack([found.query[kept], found.distance[kept], number[kept]]))
        query, distance, number = np.concatenate(parts, axis=1)
        order = np.lexsort((number, distance, query))
        return Matches(query[order], number[order], distance[order])

    def rebuild(self) -> Future[None]:
        """Build everything into one index in the background; withdrawn codes are left out.

        Happens by itself when many codes were added.

        Returns:
            A future that is done when the new index has taken over.
        """
        with self._changing:
            self._check_open()
            return self._start_rebuild()

    def close(self) -> None:
        """Wait for a rebuild under way; searches still answer, changes are refused."""
        with self._changing:
            self._closed = True
        self._builder.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the index is closed: it takes no more changes")
        self._raise_what_failed()

    def _start_rebuild(self) -> Future[None]:
        if self._rebuilding is None or self._rebuilding.done():
            self._raise_what_failed()
            self._rebuilding = self._builder.submit(self._rebuild)
        return self._rebuilding

    def _rebuild(self) -> None:
        before = self._state
        codes, numbers = (
            np.concatenate(both)
            for both in zip(
                *(s.of(~before.withdrawn[s.numbers]) for s in (before.large, before.added)),
                strict=True,
            )
        )
        # One thread: the other cores go on searching.
        large = _Segment(HammingIndex.build(codes, self._backend, threads=1), numbers)
        with self._changing:
            now = self._state
            since = now.added.numbers >= len(before.withdrawn)
            self._state = _State(large, self._small(*now.added.of(since)), now.withdrawn)

    def _raise_what_failed(self) -> None:
        """A rebuild that failed in the background fails the next change, not in silence."""
        if self._rebuilding is not None and self._rebuilding.done():
            failed, self._rebuilding = self._rebuilding, None
            failed.result()

    def _small(self, codes: U8, numbers: I64) -> _Segment:
        return _Segment(HammingIndex.build(codes, self._backend), numbers)
