"""Ways to look up codes within a radius: ours, and the indexes people use instead.

Each is built from uint8 [n, 32] codes and asked with uint8 [m, 32] queries. `search` gives what
the library gives, as quickly as it gives it; `pairs` turns that into (query, indicator) pairs
afterwards, untimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import faiss
import numpy as np
import numpy.typing as npt

from matchers.hamming import HammingIndex

Codes = npt.NDArray[np.uint8]
Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class Lookup(Protocol):
    """An index over codes, built and ready."""

    def search(self, queries: Codes, radius: int) -> Any:
        """What the library answers."""

    def pairs(self, answer: Any, queries: Codes, radius: int) -> Pairs:
        """The answer as pairs (query, indicator), in any order."""


class Ours:
    """`HammingIndex`, as it chooses for itself."""

    def __init__(self, codes: Codes) -> None:
        self.index = HammingIndex.build(codes)

    def search(self, queries: Codes, radius: int) -> Any:
        return self.index.search(queries, radius)

    def pairs(self, answer: Any, queries: Codes, radius: int) -> Pairs:
        del queries, radius
        return answer.query, answer.indicator


class _FaissRange:
    """A FAISS index with range search: its radius is exclusive."""

    def __init__(self, index: Any, codes: Codes) -> None:
        index.add(codes)
        self._index = index

    def search(self, queries: Codes, radius: int) -> Any:
        return self._index.range_search(queries, radius + 1)

    def pairs(self, answer: Any, queries: Codes, radius: int) -> Pairs:
        del radius
        ends, _, found = answer
        counts = np.diff(ends.astype(np.int64))
        return np.repeat(np.arange(len(queries)), counts), found.astype(np.int64)


class FaissFlat(_FaissRange):
    """Brute force, every pair within the radius: the truth that recall is measured against."""

    def __init__(self, codes: Codes) -> None:
        super().__init__(faiss.IndexBinaryFlat(256), codes)


class FaissNearest(FaissFlat):
    """The same index asked for the nearest one only, which it does faster."""

    def search(self, queries: Codes, radius: int) -> Any:
        del radius
        return self._index.search(queries, 1)

    def pairs(self, answer: Any, queries: Codes, radius: int) -> Pairs:
        del queries
        distances, found = answer
        return _nearest(distances[:, 0], found[:, 0], radius)


class FaissMultiHash(_FaissRange):
    """Multi-index hashing, 16 tables of 16 bits: exact if it may flip radius // 16 bits in each."""

    def __init__(self, codes: Codes) -> None:
        super().__init__(faiss.IndexBinaryMultiHash(256, 16, 16), codes)

    def search(self, queries: Codes, radius: int) -> Any:
        self._index.nflip = radius // 16
        return super().search(queries, radius)


class ThreatExchange:
    """`threatexchange`'s PDQIndex as it ships: hex strings, one query at a time, radius 31."""

    def __init__(self, codes: Codes) -> None:
        from threatexchange.signal_type.pdq.signal import PdqSignal

        kind = PdqSignal.get_index_cls()
        self._index = kind((code.tobytes().hex(), row) for row, code in enumerate(codes))

    def search(self, queries: Codes, radius: int) -> Any:
        if radius != 31:
            raise ValueError(f"radius {radius}: PDQIndex has 31")
        return [self._index.query(query.tobytes().hex()) for query in queries]

    def pairs(self, answer: Any, queries: Codes, radius: int) -> Pairs:
        del queries, radius
        found = [(query, match.metadata) for query, one in enumerate(answer) for match in one]
        query, indicator = np.array(found, np.int64).reshape(-1, 2).T
        return query, indicator


class UsearchExact:
    """usearch's brute force: the nearest one only."""

    def __init__(self, codes: Codes) -> None:
        from usearch import index

        self._library = index
        self._codes = np.ascontiguousarray(codes)

    def search(self, queries: Codes, radius: int) -> Any:
        del radius
        return self._library.search(
            self._codes, queries, 1, self._library.MetricKind.Hamming, exact=True, threads=1
        )

    def pairs(self, answer: Any, queries: Codes, radius: int) -> Pairs:
        return _usearch_pairs(answer, len(queries), radius)


class UsearchGraph:
    """usearch's HNSW graph over bits with its defaults: approximate, the nearest one only."""

    def __init__(self, codes: Codes) -> None:
        from usearch.index import Index

        self._index = Index(ndim=256, metric="hamming", dtype="b1")
        self._index.add(np.arange(len(codes)), np.ascontiguousarray(codes), threads=1)

    def search(self, queries: Codes, radius: int) -> Any:
        del radius
        return self._index.search(queries, 1, threads=1)

    def pairs(self, answer: Any, queries: Codes, radius: int) -> Pairs:
        return _usearch_pairs(answer, len(queries), radius)


@dataclass(frozen=True)
class Way:
    """One way of looking up.

    Attributes:
        name: as tables show it.
        kind: its class, built from codes.
        finds: "all": every pair within the radius; "nearest": one a query, if within the radius.
        exact: whether it promises so.
        most: indicators beyond which it is left out, since building or asking it takes too long.
        one_at_a_time: its interface takes one query.
    """

    name: str
    kind: type[Any]
    finds: str = "all"
    exact: bool = True
    most: int = 10_000_000
    one_at_a_time: bool = False


OURS: Final = Way("Sluis HammingIndex", Ours)
FLAT: Final = Way("FAISS BinaryFlat, range", FaissFlat)
FLAT_NEAREST: Final = Way("FAISS BinaryFlat, nearest only", FaissNearest, finds="nearest")
MULTI_HASH: Final = Way("FAISS BinaryMultiHash 16x16", FaissMultiHash)
THREATEXCHANGE: Final = Way(
    "threatexchange PDQIndex", ThreatExchange, most=1_000_000, one_at_a_time=True
)
WAYS: Final = (
    OURS,
    FLAT,
    FLAT_NEAREST,
    MULTI_HASH,
    THREATEXCHANGE,
    Way("usearch exact, nearest only", UsearchExact, finds="nearest", most=1_000_000),
    Way("usearch HNSW b1, nearest only", UsearchGraph, finds="nearest", exact=False, most=100_000),
)
BY_NAME: Final = {way.name: way for way in WAYS}


def _nearest(distances: npt.NDArray[Any], found: npt.NDArray[Any], radius: int) -> Pairs:
    within = np.flatnonzero(np.asarray(distances) <= radius)
    return within, np.asarray(found)[within].astype(np.int64)


def _usearch_pairs(answer: Any, count: int, radius: int) -> Pairs:
    """One query gives Matches, several BatchMatches; both hold arrays of [.., 1]."""
    return _nearest(
        np.asarray(answer.distances).reshape(count), np.asarray(answer.keys).reshape(count), radius
    )
