"""What a query costs as the indicators grow, and a line through it."""

from __future__ import annotations

import gc
from typing import Any, Final

import numpy as np

from benchmarks import lookup, timing
from benchmarks.corpora import Codes
from benchmarks.scales import Scale

BATCHES: Final = (1, 1_024, 65_536)


def measure(indicators: Codes, queries: Codes, scale: Scale, say: lookup.Say) -> dict[str, Any]:
    """Seconds a query at every size of `scale.growth_sizes`, and a fit for each way and batch."""
    points: list[dict[str, Any]] = []
    with lookup.alone() as pinned:
        for size in scale.growth_sizes:
            say(f"{size:,} indicators")
            codes = np.array(indicators[:size])
            pool = lookup.with_matches(codes, queries)
            built = {way.name: way.kind(codes) for way in lookup.COMPLETE}
            for batch in BATCHES:
                spent = lookup.speed(built, pool, batch, lookup.RADIUS_BITS, scale)
                points += [{"indicators": size, **point} for point in spent]
            del built
            gc.collect()
    return {"pinned": pinned, "points": points, "fits": fits(points)}


def fits(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One fit for each way and batch, over the medians."""
    made = []
    for way, batch in dict.fromkeys((point["way"], point["batch"]) for point in points):
        mine = [point for point in points if (point["way"], point["batch"]) == (way, batch)]
        sizes = [point["indicators"] for point in mine]
        costs = [timing.spread(point["seconds_per_query"]).median for point in mine]
        made.append({"way": way, "batch": batch, **vars(timing.fit(sizes, costs))})
    return made
