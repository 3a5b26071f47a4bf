"""Crops and captions as matrices: where PDQ's transform finds an original's rows in an upload."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from matchers.pdq.hasher import DCT_BASIS
from matchers.views._kernels.planes import FADE, SHIFT, SIDE
from matchers.views.profiles import GUESSES, Caption, Crop, Missing

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CropTable:
    """All separable guesses of a profile, laid out for `_kernels.project.codes_of_crops`.

    Attributes:
        rows: float32 [r, 16, 64].
        columns: float32 [c, 64, 16].
        pairs: int64 [n, 2], sorted.
        guesses: uint16 [n], which of `GUESSES` each pair is.
    """

    rows: F32
    columns: F32
    pairs: npt.NDArray[np.int64]
    guesses: npt.NDArray[np.uint16]


def placement(missing: Missing) -> F64:
    """Where the samples of an original's side lie in a crop of it, float64 [64, 64].

    Row i weighs the crop's 64 cells to give the original's sample i: by a straight line between
    the two nearest inside, by the outermost cell beyond the edge, fading.
    """
    before, after = missing
    places = (np.arange(SIDE) + 0.5 + SHIFT) / SIDE
    return _samples((places - before) / (1.0 - before - after))


def bridge(strip: tuple[float, float]) -> F64:
    """The samples of a side with a strip replaced by a straight line across it, as `placement`."""
    start, end = strip
    places = (np.arange(SIDE) + 0.5 + SHIFT) / SIDE
    inside = (places > start) & (places < end)
    share = np.clip((places - start) / (end - start), 0.0, 1.0)[:, None]
    ends = _samples(np.array(strip))
    line = (1.0 - share) * ends[0] + share * ends[1]
    return np.where(inside[:, None], line, _samples(places))


def crop_table(guesses: Iterable[int]) -> CropTable:
    """Lay out those of the guesses that are no turns."""
    rows: dict[bytes, int] = {}
    columns: dict[bytes, int] = {}
    kept: tuple[list[F64], list[F64]] = ([], [])

    def number(known: dict[bytes, int], matrices: list[F64], matrix: F64) -> int:
        key = matrix.tobytes()
        if key not in known:
            known[key] = len(matrices)
            matrices.append(matrix)
        return known[key]

    placed = []
    for guess in guesses:
        form = GUESSES[guess]
        if isinstance(form, Crop):
            down, across = placement(form.rows), placement(form.columns)
        elif isinstance(form, Caption):
            down, across = bridge(form.rows), placement((0.0, 0.0))
        else:
            continue
        placed.append((number(rows, kept[0], down), number(columns, kept[1], across), guess))
    placed.sort()
    basis = DCT_BASIS.astype(np.float64)
    return CropTable(
        np.array([basis @ matrix for matrix in kept[0]], np.float32),
        np.array([(basis @ matrix).T for matrix in kept[1]], np.float32),
        np.array([pair[:2] for pair in placed], np.int64),
        np.array([pair[2] for pair in placed], np.uint16),
    )


def _samples(places: F64) -> F64:
    """Weights of 64 cells for samples at `places`, 0 to 1 along their side: float64 [n, 64]."""
    inside = np.clip(places, 0.0, 1.0)
    fade = np.exp(-np.abs(places - inside) / FADE)
    position = np.clip(inside * SIDE - 0.5, 0.0, SIDE - 1.0)
    cell = np.minimum(position.astype(int), SIDE - 2)
    share = position - cell
    weights = np.zeros((len(places), SIDE))
    row = np.arange(len(places))
    weights[row, cell] = (1.0 - share) * fade
    weights[row, cell + 1] = share * fade
    return weights
