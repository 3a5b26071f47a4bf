"""Fingerprints of a batch against one perceptual set: which indicators each part resembles.

A set of profile `refine` is asked at a wider radius, and what lies beyond its own counts only if
fitting the crop box brings it within (`views.near_matches`): a near match, never a match. A set of
videos is asked about frames, and answers with the videos of which enough is found (`vpdq`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matchers import limits, views, vpdq
from matchers.fingerprints import Fingerprints
from matchers.hamming import HammingIndex, Matches
from matchers.indicators import IndicatorSet

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """An indicator that one part resembles.

    Attributes:
        place: of the part in the batch.
        indicator: row in the set.
        row: which of the part's codes is the nearest.
        distance_bits: Hamming distance of that code; after the fit, for a near match.
        method: `pdq`, `vpdq`, or `pdq_refined` for a near match.
        spans_seconds: first and last second of each showing, in an animation or video.
        share_percent: of the frames of a video indicator that were found; None for a picture.
    """

    place: int
    indicator: int
    row: int
    distance_bits: int
    method: str
    spans_seconds: tuple[tuple[float, float], ...] = ()
    share_percent: int | None = None


@dataclass(frozen=True)
class _Queries:
    """The codes that a set is asked about.

    Attributes:
        codes: uint8 [m, 32].
        place: int64 [m], the part each came from.
        row: int64 [m], its row there.
    """

    codes: npt.NDArray[np.uint8]
    place: I64
    row: I64


def look_up(
    batch: Sequence[Fingerprints | None], indicators: IndicatorSet
) -> tuple[frozenset[int], list[Found]]:
    """Ask a perceptual set about a batch.

    Args:
        batch: the fingerprints of each part; None for a part without any.
        indicators: a set with a radius index.

    Returns:
        The places of the parts that had a code to ask about, and for each part with a match its
        `limits.MOST_HITS` nearest indicators (more, where more are equally near).
    """
    index, manifest = indicators.perceptual, indicators.manifest
    queries = _queries(batch, indicators)
    if index is None or queries is None:
        return frozenset(), []
    fits = manifest.profile == "refine"
    wide = max(manifest.radius_bits, limits.REFINE_RADIUS_BITS if fits else 0)
    matches = index.search(queries.codes, wide)
    found: list[Found] = []
    for place, mine in _by_place(matches, queries):
        shown = batch[place]
        if shown is None:
            continue
        within = mine[matches.distance[mine] <= manifest.radius_bits]
        if indicators.videos is not None:
            found += _covered(place, shown, matches, within, queries, indicators)
        elif len(within):
            found += _nearest(place, shown, matches, within, queries)
        elif fits:
            found += _near(place, shown, matches, mine, queries, index, manifest.radius_bits)
    return frozenset(np.unique(queries.place).tolist()), found


def _queries(batch: Sequence[Fingerprints | None], indicators: IndicatorSet) -> _Queries | None:
    manifest = indicators.manifest
    codes, places, rows = [], [], []
    for place, shown in enumerate(batch):
        if shown is None:
            continue
        is_asked = shown.quality >= manifest.min_quality
        is_asked &= views.in_profile(shown.views, manifest.profile)
        mine = np.flatnonzero(is_asked)
        if len(mine):
            codes.append(shown.codes[mine])
            places.append(np.full(len(mine), place))
            rows.append(mine)
    if not codes:
        return None
    return _Queries(np.concatenate(codes), np.concatenate(places), np.concatenate(rows))


def _by_place(matches: Matches, queries: _Queries) -> list[tuple[int, I64]]:
    """The pairs of each part, nearest first."""
    if not len(matches):
        return []
    places = queries.place[matches.query]
    order = np.lexsort((matches.query, matches.distance, places))
    parts = np.split(order, np.flatnonzero(np.diff(places[order])) + 1)
    return [(int(places[pairs[0]]), pairs) for pairs in parts]


def _nearest(
    place: int, shown: Fingerprints, matches: Matches, pairs: I64, queries: _Queries
) -> list[Found]:
    """The nearest pair of each indicator (pairs come nearest first), the nearest indicators."""
    _, first = np.unique(matches.indicator[pairs], return_index=True)
    ranked = pairs[np.sort(first)]
    least = int((matches.distance[ranked] == matches.distance[ranked[0]]).sum())
    found = []
    for pair in ranked[: max(least, limits.MOST_HITS)].tolist():
        indicator, bits = int(matches.indicator[pair]), int(matches.distance[pair])
        rows = queries.row[matches.query[pairs[matches.indicator[pairs] == indicator]]]
        row = int(queries.row[matches.query[pair]])
        found.append(Found(place, indicator, row, bits, "pdq", shown.spans_seconds(rows)))
    return found


def _covered(
    place: int,
    shown: Fingerprints,
    matches: Matches,
    pairs: I64,
    queries: _Queries,
    indicators: IndicatorSet,
) -> list[Found]:
    """The best covered videos."""
    videos = indicators.videos
    if videos is None:
        return []
    found = vpdq.covered(
        videos,
        queries.row[matches.query[pairs]],
        matches.indicator[pairs],
        matches.distance[pairs],
        indicators.manifest.min_share_percent,
    )
    return [
        Found(
            place,
            int(videos.first_row[one.video]),
            one.query,
            one.distance_bits,
            "vpdq",
            shown.spans_seconds(one.queries),
            one.share_percent,
        )
        for one in found[: limits.MOST_HITS]
    ]


def _near(
    place: int,
    shown: Fingerprints,
    matches: Matches,
    pairs: I64,
    queries: _Queries,
    index: HammingIndex,
    radius_bits: int,
) -> list[Found]:
    own = Matches(
        queries.row[matches.query[pairs]], matches.indicator[pairs], matches.distance[pairs]
    )
    near = views.near_matches(
        shown.views, shown.plane, shown.planes, own, index.codes(own.indicator), radius_bits
    )
    return [
        Found(place, indicator, row, distance, views.METHOD, shown.spans_seconds(np.array([row])))
        for row, indicator, distance in zip(
            near.query.tolist(), near.indicator.tolist(), near.distance_bits.tolist(), strict=True
        )
    ]
