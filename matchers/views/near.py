"""Two stages: what a view finds at a wide radius is fitted to each candidate, then judged again.

An off-centre crop lies between the views of any table. At `limits.REFINE_RADIUS_BITS` one of them
still finds it, and with it now and then a picture that is another. So the crop box is fitted to
every such candidate, and what then comes within the set's own radius is a **near match**: the box
was chosen to suit the candidate, which is weaker evidence than a match, and goes to review as
method `pdq_refined`.

The work is bounded: at most `limits.REFINE_MAX_CANDIDATES` of an item are fitted, nearest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from matchers import limits
from matchers.hamming import Matches
from matchers.pdq.hasher import DCT_BASIS
from matchers.views._kernels.fit import fit
from matchers.views.profiles import FIRST_GUESS, FIRST_MIRRORED, FLIPS, GUESSES, REGION, Crop

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

METHOD: Final = "pdq_refined"
"""Method of a hit that was found this way."""


@dataclass(frozen=True)
class Refined:
    """One candidate, fitted.

    Attributes:
        distance_bits: Hamming distance after the fit.
        missing: shares of the original that are then taken to be missing from the region, at
            top, bottom, left and right of the original; negative: the region shows more than it.
    """

    distance_bits: int
    missing: tuple[float, float, float, float]


@dataclass(frozen=True)
class NearMatches:
    """Candidates of one item that the fit brought within the radius, nearest first.

    Attributes:
        query: int64 [k], row of the item's codes that found the candidate.
        indicator: int64 [k]; no indicator comes twice.
        coarse_bits: int64 [k], Hamming distance before the fit.
        distance_bits: int64 [k], and after it.
        not_fitted: candidates left out because there were more than
            `limits.REFINE_MAX_CANDIDATES`; they were the furthest.
    """

    query: npt.NDArray[np.int64]
    indicator: npt.NDArray[np.int64]
    coarse_bits: npt.NDArray[np.int64]
    distance_bits: npt.NDArray[np.int64]
    not_fitted: int

    def __len__(self) -> int:
        return len(self.query)


def refine(plane: F32, view: int, indicator_code: U8) -> Refined | None:
    """Fit the crop box of one view to one candidate.

    Args:
        plane: float32 [64, 64], of the region that the view shows (`ViewCodes.planes`).
        view: the view that found the candidate.
        indicator_code: uint8 [32].

    Returns:
        None where there is no box to fit: the view is a small turn or a caption.
    """
    start = _start(view)
    if start is None:
        return None
    flip, crop = start
    missing = np.array([*crop.rows, *crop.columns], np.float64)
    distance: int = fit(_flipped(plane, flip), DCT_BASIS, indicator_code, missing)
    top, bottom, left, right = missing.tolist()
    return Refined(distance, (top, bottom, left, right))


def near_matches(
    views: npt.NDArray[np.uint16],
    plane: npt.NDArray[np.integer],
    planes: F32,
    matches: Matches,
    indicator_codes: U8,
    radius_bits: int,
) -> NearMatches:
    """The second stage for one item and one set.

    Candidates are the indicators that no view matches within `radius_bits`: where one does, there
    is a match already. Of the views that found a candidate, the nearest that can be fitted is.

    Args:
        views: uint16 [n], of the item's codes.
        plane: [n], the row of `planes` that each code belongs to, -1 for none.
        planes: float32 [r, 64, 64].
        matches: of the item's codes within `limits.REFINE_RADIUS_BITS`; its query is a row of
            `views`.
        indicator_codes: uint8 [len(matches), 32], of each match's indicator.
        radius_bits: the set's.
    """
    fitted = [n for n, view in enumerate(views.tolist()) if plane[n] >= 0 and _start(view)]
    matched = matches.indicator[matches.distance <= radius_bits]
    is_open = np.isin(matches.query, fitted) & ~np.isin(matches.indicator, matched)
    rows = np.flatnonzero(is_open)
    rows = rows[np.lexsort((matches.query[rows], matches.indicator[rows], matches.distance[rows]))]
    _, first = np.unique(matches.indicator[rows], return_index=True)
    candidates = rows[np.sort(first)]
    taken = candidates[: limits.REFINE_MAX_CANDIDATES]
    distances = np.full(len(taken), limits.PDQ_BITS, np.int64)
    for n, row in enumerate(taken.tolist()):
        query = int(matches.query[row])
        found = refine(planes[plane[query]], int(views[query]), indicator_codes[row])
        if found is not None:
            distances[n] = found.distance_bits
    order = np.argsort(distances, kind="stable")
    order = order[distances[order] <= radius_bits]
    kept = taken[order]
    return NearMatches(
        query=matches.query[kept],
        indicator=matches.indicator[kept],
        coarse_bits=matches.distance[kept],
        distance_bits=distances[order],
        not_fitted=len(candidates) - len(taken),
    )


def _start(view: int) -> tuple[int, Crop] | None:
    """How the plane is flipped for a view, and the crop to start from; None: no box to fit."""
    transform = view % REGION
    if transform < len(FLIPS):
        return transform, Crop("")
    mirrored = transform >= FIRST_MIRRORED
    guess = GUESSES[transform - (FIRST_MIRRORED if mirrored else FIRST_GUESS)]
    if not isinstance(guess, Crop):
        return None
    # A mirrored view is the mirror image of a crop: what misses at the left misses at the right.
    if mirrored:
        return _LEFT_TO_RIGHT, Crop("", guess.rows, guess.columns[::-1])
    return 0, guess


_LEFT_TO_RIGHT: Final = FLIPS.index("flipped left to right")


def _flipped(plane: F32, flip: int) -> F32:
    """A plane whose plain code is the code of this flip: signs and order as in `pack_views`."""
    if flip in (1, 2, 5, 7):
        plane = plane[:, ::-1]
    if flip in (2, 3, 4, 7):
        plane = plane[::-1]
    return np.ascontiguousarray(plane.T if flip in (1, 3, 6, 7) else plane)
