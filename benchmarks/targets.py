"""The ratios Sluis sets out to reach, and what a run says of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from benchmarks import films, hashing, rivals, timing
from benchmarks.results import Results
from benchmarks.timing import Spread

FAISS: Final = (rivals.FLAT.name, rivals.FLAT_NEAREST.name, rivals.MULTI_HASH.name)
BULK: Final = 65_536
_MILLION: Final = 1_000_000

Verdict = Literal["reached", "missed", "not measured"]


@dataclass(frozen=True)
class Target:
    """One figure to reach.

    Attributes:
        what: of ours.
        beside: what it is compared with.
        reach: the figure.
        at_most: it is an upper limit; else a lower one.
        unit: of the figure, after a space or as it is ("x").
        measured: from a run; None where the run did not measure it.
    """

    what: str
    beside: str
    reach: float
    unit: str
    measured: Callable[[Results], Spread | None]
    at_most: bool = False

    def verdict(self, found: Spread | None) -> Verdict:
        """Whether the median reaches it."""
        if found is None:
            return "not measured"
        reached = found.median <= self.reach if self.at_most else found.median >= self.reach
        return "reached" if reached else "missed"


def best_of(entries: Sequence[dict[str, Any]], names: Sequence[str], key: str) -> dict[str, Any]:
    """The entry with the lowest median among those named.

    Raises:
        KeyError: none is there.
    """
    there = [entry for entry in entries if entry["way"] in names]
    if not there:
        raise KeyError(f"none of {', '.join(names)} was measured")
    return min(there, key=lambda entry: timing.spread(entry[key]).median)


def over(entries: Sequence[dict[str, Any]], ours: str, theirs: Sequence[str], key: str) -> Spread:
    """How many times faster ours is than the best of theirs, round by round."""
    mine = best_of(entries, [ours], key)
    return timing.ratio(mine[key], best_of(entries, theirs, key)[key])


def _lookup(size: int, batch: int, theirs: Sequence[str]) -> Callable[[Results], Spread | None]:
    def measured(results: Results) -> Spread | None:
        found = results.measured("lookup").get(size)
        if found is None:
            return None
        entries = [entry for entry in found["speed"] if entry["batch"] == batch]
        if not entries:
            return None
        return over(entries, rivals.OURS.name, theirs, "seconds_per_query")

    return measured


def _bulk(size: int) -> Callable[[Results], Spread | None]:
    """At the largest batch that was measured, if it is bulk at all."""

    def measured(results: Results) -> Spread | None:
        found = results.measured("lookup").get(size)
        batches = {entry["batch"] for entry in found["speed"]} if found else set()
        batches = {batch for batch in batches if batch >= BULK}
        return _lookup(size, max(batches), FAISS)(results) if batches else None

    return measured


def _bytes_per_indicator(results: Results) -> Spread | None:
    sizes = [size for size in results.measured("lookup") if size >= _MILLION]
    if not sizes:
        return None
    return timing.spread(
        [results.measured("lookup")[size]["saved"]["bytes"] / size for size in sizes]
    )


def _build(results: Results) -> Spread | None:
    found = results.measured("lookup").get(_MILLION)
    if found is None:
        return None
    return timing.spread(best_of(found["build"], [rivals.OURS.name], "seconds")["seconds"])


def _open(results: Results) -> Spread | None:
    found = results.measured("lookup")
    if not found:
        return None
    seconds = found[max(found)]["saved"]["open_seconds"]
    return timing.spread([1e3 * second for second in seconds])


def _hashing(table: str, ours: str) -> Callable[[Results], Spread | None]:
    def measured(results: Results) -> Spread | None:
        for found in results.measured("hashing").values():
            for one in found["tables"]:
                if one["name"] == table:
                    theirs = [hashing.THREATEXCHANGE]
                    return over(one["ways"], ours, theirs, "seconds_per_image")
        return None

    return measured


def _video(results: Results) -> Spread | None:
    for found in results.measured("video").values():
        return over(found["ways"], films.SAMPLED, [films.REFERENCE], "seconds_per_frame")
    return None


def _rate(part: str, way: str) -> Callable[[Results], Spread | None]:
    def measured(results: Results) -> Spread | None:
        for found in results.measured(part).values():
            seconds = best_of(found["ways"], [way], "seconds_per_candidate")
            return timing.spread([1 / second for second in seconds["seconds_per_candidate"]])
        return None

    return measured


def _scan(results: Results) -> Spread | None:
    for found in results.measured("scan").values():
        return over(found["ways"], "whole", ["bare"], "seconds_per_image")
    return None


_TE: Final = "threatexchange"
TARGETS: Final = (
    Target("lookup, 1M, one at a time", "best of FAISS", 120, "x", _lookup(_MILLION, 1, FAISS)),
    Target("lookup, 1M, in bulk", "best of FAISS", 1_500, "x", _bulk(_MILLION)),
    Target(
        "lookup, 1M, one at a time", "threatexchange PDQIndex", 200, "x",
        _lookup(_MILLION, 1, [rivals.THREATEXCHANGE.name]),
    ),
    Target(
        "lookup, 10M, batches of 64", "best of FAISS", 400, "x",
        _lookup(10 * _MILLION, 64, FAISS),
    ),
    Target("lookup, 10M, in bulk", "best of FAISS", 5_000, "x", _bulk(10 * _MILLION)),
    Target("size of the index, an indicator", "", 165, "bytes", _bytes_per_indicator, at_most=True),
    Target("building the index, 1M", "", 0.7, "s", _build, at_most=True),
    Target("opening the largest index", "", 50, "ms", _open, at_most=True),
    Target("hashing, own size, exact", _TE, 2.6, "x", _hashing("own", hashing.EXACT)),
    Target("hashing, own size, fast", _TE, 3.6, "x", _hashing("own", hashing.FAST)),
    Target("hashing, 12 MP, exact", _TE, 11, "x", _hashing("large", hashing.EXACT)),
    Target("hashing, 12 MP, fast", _TE, 26, "x", _hashing("large", hashing.FAST)),
    Target("video, 720p, every frame", "pdqhash on the same frames", 3, "x", _video),
    Target("seals", "", 3_000, "/s", _rate("sealing", "two hits needed")),
    Target("candidates into the store, new", "", 5_000, "/s", _rate("storing", "new")),
    Target(
        "candidates into the store, sent again", "", 40_000, "/s",
        _rate("storing", "sent again"),
    ),
    Target("the whole scan", "the bare scanner loop", 0.9, "x", _scan),
)  # fmt: skip
