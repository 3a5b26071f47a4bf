"""Matches of frames -> matches of videos: vPDQ, counted on the indicator's side. Pure.

A video indicator is a bag of frame codes. A video matches if enough of *the indicator's* frames are
found somewhere in it, whatever else it shows and in whatever order: a known clip inside a long
harmless upload is found. (threatexchange asks for 80 % of the *upload* by default, and misses it.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Videos:
    """Which rows of a set belong to one video.

    Attributes:
        of_row: int32 [rows], number of the video that each frame code belongs to.
        frames: int64 [videos], how many codes each has.
        first_row: int64 [videos], the row that stands for the video.
    """

    of_row: npt.NDArray[np.int32]
    frames: I64
    first_row: I64

    @classmethod
    def named(cls, indicator_ids: pa.StringArray) -> Videos:
        """Rows of one indicator id are one video."""
        encoded = pc.dictionary_encode(indicator_ids)
        of_row = np.asarray(encoded.indices, np.int32)
        _, first_row = np.unique(of_row, return_index=True)
        return cls(of_row, np.bincount(of_row).astype(np.int64), first_row.astype(np.int64))


@dataclass(frozen=True)
class Covered:
    """A video indicator that is found in an item.

    Attributes:
        video: its number, see `Videos`.
        share_percent: of its frames that were found, rounded down.
        distance_bits: of the nearest pair.
        query: the item's code of that pair.
        indicator: the indicator's row of that pair.
        queries: every code of the item that is near one of its frames, ascending.
    """

    video: int
    share_percent: int
    distance_bits: int
    query: int
    indicator: int
    queries: I64


def covered(
    videos: Videos, query: I64, indicator: I64, distance: I64, min_share_percent: int
) -> list[Covered]:
    """The videos of which enough is found in one item, the best covered first.

    Args:
        videos: of the set.
        query: int64 [m], the item's code of each pair within the radius.
        indicator: int64 [m], the set's row of each pair.
        distance: int64 [m], in bits.
        min_share_percent: least share of an indicator's frames, inclusive.
    """
    found_rows = np.unique(indicator)
    shares = 100 * np.bincount(videos.of_row[found_rows], minlength=len(videos.frames))
    enough = np.flatnonzero((shares >= min_share_percent * videos.frames) & (shares > 0))
    of_pair = videos.of_row[indicator]
    results = []
    for video in enough.tolist():
        mine = np.flatnonzero(of_pair == video)
        nearest = mine[np.argmin(distance[mine])]
        results.append(
            Covered(
                video,
                int(shares[video] // videos.frames[video]),
                int(distance[nearest]),
                int(query[nearest]),
                int(indicator[nearest]),
                np.unique(query[mine]).astype(np.int64),
            )
        )
    return sorted(results, key=lambda one: (-one.share_percent, one.distance_bits, one.video))
