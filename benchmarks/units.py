"""What there is to measure, cut into units that stand by themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks import corpora
from benchmarks.scales import Scale

PARTS: Final = (
    "corpus", "lookup", "growth", "memory", "hashing", "views", "video", "sandbox", "sealing",
    "storing", "scan",
)  # fmt: skip

Say = Callable[[str], None]
Measured = dict[str, Any]
Unit = tuple[str, Callable[[Say], Measured]]
"""Its name in the results, and what measures it."""


@dataclass(frozen=True)
class Session:
    """The units of one run. Rivals, Beam and gRPC are imported by the units that need them."""

    scale: Scale
    corpus: corpora.Corpora

    def units(self, parts: Sequence[str] = PARTS) -> list[Unit]:
        """The units of `parts`, in the order of `PARTS`."""
        by_part: dict[str, list[Unit]] = {
            "corpus": self._at_every_size("corpus", self._corpus),
            "lookup": self._at_every_size("lookup", self._lookup),
            "growth": [("growth", self._growth)],
            "memory": self._at_every_size("memory", self._memory),
            "hashing": [("hashing", self._hashing)],
            "views": [("views", self._views)],
            "video": [("video", self._video)],
            "sandbox": [("sandbox", self._sandbox)],
            "sealing": [("sealing", self._sealing)],
            "storing": [("storing", self._storing)],
            "scan": [("scan", self._scan)],
        }
        return [unit for part in PARTS if part in parts for unit in by_part[part]]

    def _at_every_size(self, part: str, measure: Callable[[int, Say], Measured]) -> list[Unit]:
        return [(f"{part}/{size}", functools.partial(measure, size)) for size in self.scale.sizes]

    def _corpus(self, size: int, say: Say) -> Measured:
        return corpora.describe(self._indicators(size, say))

    def _lookup(self, size: int, say: Say) -> Measured:
        from benchmarks import lookup

        return lookup.measure(self._indicators(size, say), self._queries(say), self.scale, say)

    def _growth(self, say: Say) -> Measured:
        from benchmarks import growth

        codes = self._indicators(max(self.scale.growth_sizes), say)
        return growth.measure(codes, self._queries(say), self.scale, say)

    def _memory(self, size: int, say: Say) -> Measured:
        from benchmarks import memory

        return memory.measure(self._indicators(size, say), say)

    def _hashing(self, say: Say) -> Measured:
        from benchmarks import hashing

        return hashing.measure(self.corpus.photos, self.scale, say)

    def _views(self, say: Say) -> Measured:
        from benchmarks import views

        return views.measure(self.corpus.photos, self.scale, say)

    def _video(self, say: Say) -> Measured:
        from benchmarks import films

        return films.measure(self.corpus.photos, self.scale, say)

    def _sandbox(self, say: Say) -> Measured:
        from benchmarks import sandboxing

        return sandboxing.measure(self.corpus.photos, self.scale, say)

    def _sealing(self, say: Say) -> Measured:
        from benchmarks import candidates, party

        with party.parties() as parties:
            return candidates.sealing(parties, self.scale, say)

    def _storing(self, say: Say) -> Measured:
        from benchmarks import candidates, party

        with party.parties() as parties:
            return candidates.storing(parties, self.scale, say)

    def _scan(self, say: Say) -> Measured:
        from benchmarks import party, scanning

        with party.parties() as parties:
            return scanning.measure(parties, self.corpus.photos, self.scale, say)

    def _indicators(self, size: int, say: Say) -> corpora.Codes:
        """Of the largest corpus of this run, so that smaller ones are its beginning."""
        largest = max(*self.scale.sizes, *self.scale.growth_sizes)
        return self.corpus.indicators(largest, progress=_tenths(say))[:size]

    def _queries(self, say: Say) -> corpora.Codes:
        return self.corpus.queries(max(self.scale.batches), progress=_tenths(say))


def _tenths(say: Say) -> corpora.Progress:
    """Tell of a corpus ten times while it is made."""

    def told(role: str, done: int, count: int) -> None:
        if 10 * done // count > 10 * max(0, done - corpora.BLOCK_CODES) // count:
            say(f"making {role}: {done:,} of {count:,}")

    return told
