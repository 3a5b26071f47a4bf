"""Grey pixels -> the 64 x 64 plane that crops and rotations are computed from, as kernels.

PDQ's own plane samples a blur at places that depend on the picture's size, which costs about 8
bits as soon as that size changes (docs/views.md). The plane here is the plain mean over 64 x 64
equal cells. Its own mean is taken away, so that zero stands for "as bright as the picture is".
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

SIDE = 64
FADE = 0.07
"""Beyond an upload's edge its outermost samples go on, fading towards the mean as exp(-distance /
FADE), distance in widths of the upload. Learned extrapolation is no better (docs/views.md)."""

_FADE_STEPS = 512  # to a width; beyond one nothing is left
_FADED = np.exp(-np.arange(_FADE_STEPS) / _FADE_STEPS / FADE).astype(np.float32)

SHIFT = 0.08
"""How far, in cells, PDQ's samples lie behind the middle of theirs, on average over common sizes:
its boxes reach one sample further ahead where they are even."""

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")
# The order of additions is free: nothing here is compared with the reference bit for bit.
_njit_any_order = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}
)
# No number here is infinite or none: minimum and maximum may then be vectorised.
_njit_finite = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=True)


@_njit_any_order
def _add_row(samples: U8, weight: np.float32, totals: F32) -> None:
    """Totals += weight x samples."""
    for x in range(totals.shape[0]):
        totals[x] += weight * np.float32(samples[x])


@_njit
def _cuts(length: int, cell: I64, share: F32) -> None:
    """Where a side is cut into 64 equal stretches.

    Args:
        length: samples of the side.
        cell: int64 [65], filled: the sample in which each cut lies.
        share: float32 [65], filled: how much of that sample lies before the cut.
    """
    for j in range(SIDE + 1):
        place = j * length / SIDE
        cell[j] = min(int(place), length - 1)
        share[j] = np.float32(place - cell[j])


@_njit_any_order
def _stretches(totals: F32, cell: I64, share: F32, out: F32) -> None:
    """Sums of the 64 stretches of a row, float32 [64]; samples that are cut count in part."""
    for j in range(SIDE):
        first, last = cell[j], cell[j + 1]
        total = share[j + 1] * totals[last] - share[j] * totals[first]
        for sample in totals[first:last]:
            total += sample
        out[j] = total


@_njit
def clean_plane(grey: U8, box: I64, plane: F32) -> None:
    """Means over 64 x 64 equal cells of a box, less their own mean.

    Args:
        grey: uint8 [h, w].
        box: int64 [4], top, bottom, left, right; the last of each excluded.
        plane: float32 [64, 64], filled.
    """
    pixels = grey[box[0] : box[1], box[2] : box[3]]
    height, width = pixels.shape
    rows, row_shares = np.empty(SIDE + 1, np.int64), np.empty(SIDE + 1, np.float32)
    columns, column_shares = np.empty(SIDE + 1, np.int64), np.empty(SIDE + 1, np.float32)
    _cuts(height, rows, row_shares)
    _cuts(width, columns, column_shares)
    totals = np.empty(width, np.float32)
    for i in range(SIDE):
        first, last = rows[i], rows[i + 1]
        totals[:] = 0
        _add_row(pixels[first], -row_shares[i], totals)
        for y in range(first, last):
            _add_row(pixels[y], np.float32(1), totals)
        _add_row(pixels[last], row_shares[i + 1], totals)
        _stretches(totals, columns, column_shares, plane[i])
    scale = np.float32(SIDE * SIDE / (height * width))
    mean = plane.sum() / np.float32(SIDE * SIDE)
    for i in range(SIDE):
        for j in range(SIDE):
            plane[i, j] = (plane[i, j] - mean) * scale


@_njit_finite
def _sample_row(levels: F32, x: F32, y: F32, out: F32) -> None:
    """A plane at 64 places, by a straight line between cells; fading beyond the edge.

    Args:
        levels: float32 [64 x 64], the plane.
        x: float32 [64], places across, 0 to 1 inside.
        y: float32 [64], places down.
        out: float32 [64], filled.
    """
    zero, one, half = np.float32(0), np.float32(1), np.float32(0.5)
    side, most = np.float32(SIDE), np.float32(SIDE - 1.001)
    steps = np.float32(_FADE_STEPS)
    cell = np.empty(SIDE, np.int32)
    across, down = np.empty(SIDE, np.float32), np.empty(SIDE, np.float32)
    for j in range(SIDE):
        column = min(max(x[j] * side - half, zero), most)
        row = min(max(y[j] * side - half, zero), most)
        left, above = np.int32(column), np.int32(row)
        across[j], down[j] = column - np.float32(left), row - np.float32(above)
        cell[j] = above * np.int32(SIDE) + left
    for j in range(SIDE):
        k = np.uint32(cell[j])  # unsigned: a negative index would have to be looked for
        upper = levels[k] + (levels[k + np.uint32(1)] - levels[k]) * across[j]
        k += np.uint32(SIDE)
        lower = levels[k] + (levels[k + np.uint32(1)] - levels[k]) * across[j]
        out[j] = upper + (lower - upper) * down[j]
    for j in range(SIDE):
        beyond = abs(x[j] - min(max(x[j], zero), one)) + abs(y[j] - min(max(y[j], zero), one))
        out[j] *= _FADED[min(np.uint32(np.int32(beyond * steps)), np.uint32(_FADE_STEPS - 1))]


@_njit
def turned(
    plane: F32, degrees: float, height_of_width: float, straightened: bool, out: F32
) -> None:
    """The plane of the picture that, turned by `degrees`, became this upload.

    Args:
        plane: float32 [64, 64], of the upload.
        degrees: positive: the upload's content runs anticlockwise of its original's.
        height_of_width: the upload's height, in its widths.
        straightened: whether the upload is what was left once the turned picture was cut to an
            upright rectangle without corners; if not, it kept its canvas.
        out: float32 [64, 64], filled.
    """
    angle = math.radians(degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    grown = 1.0  # the original's sides, in sides of the upload
    if straightened:
        grown = cosine + max(1.0 / height_of_width, height_of_width) * abs(sine)
    x_of_x, x_of_y = np.float32(grown * cosine), np.float32(grown * sine * height_of_width)
    y_of_x, y_of_y = np.float32(-grown * sine / height_of_width), np.float32(grown * cosine)
    levels = plane.reshape(SIDE * SIDE)
    x, y = np.empty(SIDE, np.float32), np.empty(SIDE, np.float32)
    for i in range(SIDE):
        v = np.float32((i + 0.5 + SHIFT) / SIDE - 0.5)
        for j in range(SIDE):
            u = (np.float32(j) + np.float32(0.5 + SHIFT)) / np.float32(SIDE) - np.float32(0.5)
            x[j] = x_of_x * u + x_of_y * v + np.float32(0.5)
            y[j] = y_of_x * u + y_of_y * v + np.float32(0.5)
        _sample_row(levels, x, y, out[i])
