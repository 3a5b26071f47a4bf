"""Exact lookup within a Hamming radius: speed, recall, radii, latency, build, open.

Everything here is one thread on one core. The ways take turns in one process. A batch is one call;
a way too slow to do a whole batch in its time gets as many of the batch's queries as it can do,
which does it no harm: no rival here gets faster with larger batches, and the count is stated.
"""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import faiss
import numpy as np

from benchmarks import rivals, timing
from benchmarks.corpora import Codes, planted
from benchmarks.scales import Scale
from matchers.hamming import HammingIndex

RADIUS_BITS: Final = 31
RADII_BITS: Final = (15, 31, 45)
RADII_BATCHES: Final = (64, 65_536)
FARTHEST_PLANTED_BITS: Final = 50  # where pairs are compared: some lie beyond the radius
MATCH_EVERY: Final = 10_000  # one query in so many has a match, as few uploads have
COMPLETE: Final = (rivals.OURS, rivals.FLAT, rivals.MULTI_HASH)  # at every radius and size
_MOST_CALLS: Final = 2_000  # in one turn
_LATENCY_TURNS: Final = 5

Say = Callable[[str], None]
Built = dict[str, rivals.Lookup]


def measure(indicators: Codes, queries: Codes, scale: Scale, say: Say) -> dict[str, Any]:
    """All figures of one size.

    Args:
        indicators: uint8 [n, 32].
        queries: uint8 [m, 32] of other photographs, m at least the largest batch.
        scale: how much to measure.
        say: told what is going on.
    """
    with alone() as pinned:
        indicators = np.array(indicators)  # out of the mapped file
        pool = with_matches(indicators, queries)
        built, build_seconds = _build_all(indicators, say)
        say("comparing pairs")
        asked = _to_compare(indicators, queries, scale)
        found: dict[str, Any] = {
            "pinned": pinned,
            "build": build_seconds,
            "agreement": _agreement(built, asked, pool, RADIUS_BITS, scale),
            "speed": [],
            "radii": [],
            "radii_agreement": [],
        }
        for batch in scale.batches:
            say(f"batches of {batch:,}")
            found["speed"] += speed(built, pool, batch, RADIUS_BITS, scale)
        some = {way.name: built[way.name] for way in COMPLETE}
        for radius in RADII_BITS:
            say(f"radius {radius}")
            found["radii_agreement"] += _agreement(some, asked, pool, radius, scale)
            for batch in (batch for batch in RADII_BATCHES if batch in scale.batches):
                found["radii"] += speed(some, pool, batch, radius, scale)
        say("single queries")
        found["latency"] = _latencies(built, pool, scale)
        ours = built[rivals.OURS.name]
        assert isinstance(ours, rivals.Ours)
        say("saving and opening")
        found["saved"] = _saved(ours.index, pool)
        return found


# --- pieces ---------------------------------------------------------------------------------


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """One core for us, one thread for FAISS."""
    threads = faiss.omp_get_max_threads()
    with timing.one_core() as pinned:
        faiss.omp_set_num_threads(1)
        try:
            yield pinned
        finally:
            faiss.omp_set_num_threads(threads)


def with_matches(indicators: Codes, queries: Codes) -> Codes:
    """The queries, one in `MATCH_EVERY` of which matches at some distance within the radius."""
    rows = range(MATCH_EVERY // 2, len(queries), MATCH_EVERY)
    distances = [n % (RADIUS_BITS + 1) for n in range(len(rows))]
    return planted(indicators, queries, rows, distances)[0]


def _build_all(indicators: Codes, say: Say) -> tuple[Built, list[dict[str, Any]]]:
    """Every way that can be afforded at this size, and the seconds each took to build."""
    built: Built = {}
    taken = []
    for way in rivals.WAYS:
        if len(indicators) > way.most:
            continue
        say(f"building {way.name}")
        if way is rivals.OURS:
            way.kind(indicators[:20_000])  # compiles
        rounds = 3 if way is rivals.OURS else 1
        seconds = []
        for _ in range(rounds):
            built.pop(way.name, None)
            gc.collect()
            started = time.perf_counter()
            built[way.name] = way.kind(indicators)
            seconds.append(time.perf_counter() - started)
        taken.append({"way": way.name, "seconds": seconds})
    return built, taken


def _to_compare(indicators: Codes, queries: Codes, scale: Scale) -> Codes:
    """Queries of which each is planted somewhere from 0 to `FARTHEST_PLANTED_BITS`."""
    count = min(scale.checked, len(queries))
    distances = [n % (FARTHEST_PLANTED_BITS + 1) for n in range(count)]
    return planted(indicators, queries[:count], range(count), distances)[0]


def _agreement(
    built: Built, asked: Codes, pool: Codes, radius: int, scale: Scale
) -> list[dict[str, Any]]:
    """Pairs of every way beside those of brute force.

    Ours works in another way for other batch sizes: a pair counts as found if it is found at each
    of them, and as false if it is reported at any.
    """
    truth, _ = _pairs(built[rivals.FLAT.name], asked, pool, radius, len(asked))
    agreement = []
    for name, lookup in built.items():
        way = rivals.BY_NAME[name]
        ours = way is rivals.OURS
        budget = 8 * scale.budget_seconds
        some = asked if ours else asked[: _affordable(lookup, asked, radius, budget)]
        batches = scale.batches if ours else (len(some),)
        runs = [_pairs(lookup, some, pool, radius, batch) for batch in batches]
        expected = {pair for pair in truth if pair[0] < len(some)}
        right = expected.intersection(*(pairs for pairs, _ in runs))
        if way.finds == "nearest":  # one a query: is it a right one
            counts = len({query for query, _ in right}), len({query for query, _ in expected})
        else:
            counts = len(right), len(expected)
        agreement.append(
            {
                "way": name,
                "radius_bits": radius,
                "finds": way.finds,
                "queries": len(some),
                "found": counts[0],
                "expected": counts[1],
                "false_pairs": len(set().union(*(pairs for pairs, _ in runs)) - expected),
                "repeated_pairs": max(repeated for _, repeated in runs),
            }
        )
    return agreement


def _pairs(
    lookup: rivals.Lookup, asked: Codes, pool: Codes, radius: int, batch: int
) -> tuple[set[tuple[int, int]], int]:
    """The pairs of `asked`, in batches of so many filled up from the pool; and repeated ones."""
    found: list[tuple[int, int]] = []
    for first in range(0, len(asked), batch):
        part = asked[first : first + batch]
        filled = np.concatenate([part, pool[: batch - len(part)]])
        query, indicator = lookup.pairs(lookup.search(filled, radius), filled, radius)
        mine = query < len(part)
        found += zip((query[mine] + first).tolist(), indicator[mine].tolist(), strict=True)
    return set(found), len(found) - len(set(found))


def speed(built: Built, pool: Codes, batch: int, radius: int, scale: Scale) -> list[dict[str, Any]]:
    """Seconds a query in each round, for batches of so many.

    Raises:
        ValueError: there are not as many queries.
    """
    if batch > len(pool):
        raise ValueError(f"a batch of {batch:,} of {len(pool):,} queries: make more queries")
    plans: dict[str, tuple[int, int]] = {}
    for name, lookup in built.items():
        size = 1 if rivals.BY_NAME[name].one_at_a_time else batch
        whole = name == rivals.OURS.name
        plans[name] = _plan(lookup, pool, size, radius, scale.budget_seconds, whole=whole)
    ways = {
        name: _calls(built[name], pool, size, calls, radius)
        for name, (size, calls) in plans.items()
    }
    spent = timing.interleaved(ways, scale.rounds, warm_up=False)
    return [
        {
            "way": name,
            "batch": batch,
            "radius_bits": radius,
            "queries_in_a_call": plans[name][0],
            "calls_in_a_round": plans[name][1],
            "seconds_per_query": [second / (plans[name][0] * plans[name][1]) for second in seconds],
        }
        for name, seconds in spent.items()
    ]


def _plan(
    lookup: rivals.Lookup, pool: Codes, batch: int, radius: int, budget: float, *, whole: bool
) -> tuple[int, int]:
    """Queries in a call, and calls in a round, that fit the budget; `whole`: the batch at least."""
    size = batch if whole else _affordable(lookup, pool[:batch], radius, budget)
    if size < batch:
        return size, 1
    lookup.search(pool[:size], radius)
    spent = timing.once(lambda: lookup.search(pool[:size], radius))
    calls = int(budget / max(spent, 1e-7))
    return size, max(1, min(calls, len(pool) // size, _MOST_CALLS))


def _affordable(lookup: rivals.Lookup, queries: Codes, radius: int, budget: float) -> int:
    """How many of the queries fit the budget in one call: at least one."""
    lookup.search(queries[:1], radius)
    size = 1
    while True:
        asked = queries[:size]
        spent = timing.once(lambda asked=asked: lookup.search(asked, radius))  # type: ignore[misc]
        if size == len(queries) or spent > budget / 4:
            return max(1, min(len(queries), int(size * budget / spent)))
        size = min(len(queries), 4 * size)


def _calls(
    lookup: rivals.Lookup, pool: Codes, size: int, calls: int, radius: int
) -> Callable[[], None]:
    """Ask for other queries in every call, as uploads do."""
    parts = [pool[n * size : (n + 1) * size] for n in range(calls)]

    def ask() -> None:
        for part in parts:
            lookup.search(part, radius)

    return ask


def _latencies(built: Built, pool: Codes, scale: Scale) -> list[dict[str, Any]]:
    """Percentiles of single queries, each timed; the ways take `_LATENCY_TURNS` turns."""
    counts = {
        name: min(
            scale.latencies,
            max(50, _affordable(lookup, pool[:1_000], RADIUS_BITS, 8 * scale.budget_seconds)),
        )
        for name, lookup in built.items()
    }
    counts[rivals.OURS.name] = scale.latencies
    spent: dict[str, list[float]] = {name: [] for name in built}
    for turn in range(_LATENCY_TURNS):
        for name, lookup in built.items():
            count = counts[name]
            rows = range(turn * count // _LATENCY_TURNS, (turn + 1) * count // _LATENCY_TURNS)
            for row in rows:
                query = pool[row : row + 1]
                started = time.perf_counter()
                lookup.search(query, RADIUS_BITS)
                spent[name].append(time.perf_counter() - started)
    return [
        {"way": name, "queries": len(seconds), **timing.percentiles(seconds)}
        for name, seconds in spent.items()
    ]


def _saved(index: HammingIndex, pool: Codes) -> dict[str, Any]:
    """Size on disk, seconds to save and to open, and the first query after opening."""
    with tempfile.TemporaryDirectory(prefix="sluis-bench-") as made:
        folder = Path(made) / "index"
        save = timing.once(lambda: index.save(folder))
        size = sum(path.stat().st_size for path in folder.iterdir())
        opened = [timing.once(lambda: HammingIndex.open(folder, verify=False)) for _ in range(5)]
        verified = [timing.once(lambda: HammingIndex.open(folder)) for _ in range(3)]
        first = []
        for number in range(5):
            fresh = HammingIndex.open(folder, verify=False)
            query = pool[number : number + 1]
            first.append(timing.once(lambda f=fresh, q=query: f.search(q, RADIUS_BITS)))  # type: ignore[misc]
            del fresh
    return {
        "save_seconds": save,
        "bytes": size,
        "open_seconds": opened,
        "open_verified_seconds": verified,
        "first_query_seconds": first,
    }
