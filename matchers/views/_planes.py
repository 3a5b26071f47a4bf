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

SHIFT = 0.08
"""How far, in cells, PDQ's samples lie behind the middle of theirs, on average over common sizes:
its boxes reach one sample further ahead where they are even."""

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")
# The order of additions is free: nothing here is compared with the reference bit for bit.
_njit_any_order = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}
)


@_njit_any_order
def _add_row(samples: U8, first: int, weight: np.float32, totals: F32) -> None:
    """Totals += weight x samples from `first` on."""
    for x in range(totals.shape[0]):
        totals[x] += weight * np.float32(samples[first + x])


@_njit_any_order
def _cells(totals: F32, scale: float, out: F32) -> None:
    """Sums of 64 equal stretches of a row, each times `scale`; ends count by their share."""
    width = totals.shape[0]
    for j in range(SIDE):
        start, end = j * width / SIDE, (j + 1) * width / SIDE
        first, last = int(start), min(int(end), width - 1)
        total = np.float32(0)
        for x in range(first, last):
            total += totals[x]
        total -= np.float32(start - first) * totals[first]
        total += np.float32(end - last) * totals[last]
        out[j] = total * np.float32(scale)


@_njit
def clean_plane(grey: U8, box: I64, plane: F32) -> None:
    """Means over 64 x 64 equal cells of a box, less their own mean.

    Args:
        grey: uint8 [h, w].
        box: int64 [4], top, bottom, left, right; the last of each excluded.
        plane: float32 [64, 64], filled.
    """
    height = box[1] - box[0]
    totals = np.empty(box[3] - box[2], np.float32)
    scale = SIDE * SIDE / (height * totals.shape[0])
    mean = 0.0
    for i in range(SIDE):
        start, end = i * height / SIDE, (i + 1) * height / SIDE
        first, last = int(start), min(int(end), height - 1)
        totals[:] = 0
        for y in range(first, last + 1):
            share = min(end, y + 1.0) - max(start, float(y))
            _add_row(grey[box[0] + y], box[2], np.float32(share), totals)
        _cells(totals, scale, plane[i])
        for j in range(SIDE):
            mean += plane[i, j]
    mean /= SIDE * SIDE
    for i in range(SIDE):
        for j in range(SIDE):
            plane[i, j] -= np.float32(mean)


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
    x_of_x, x_of_y = grown * cosine, grown * sine * height_of_width
    y_of_x, y_of_y = -grown * sine / height_of_width, grown * cosine
    for i in range(SIDE):
        v = (i + 0.5 + SHIFT) / SIDE - 0.5
        for j in range(SIDE):
            u = (j + 0.5 + SHIFT) / SIDE - 0.5
            x = x_of_x * u + x_of_y * v + 0.5
            y = y_of_x * u + y_of_y * v + 0.5
            inside_x, inside_y = min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0)
            beyond = abs(x - inside_x) + abs(y - inside_y)
            column = min(max(inside_x * SIDE - 0.5, 0.0), SIDE - 1.001)
            row = min(max(inside_y * SIDE - 0.5, 0.0), SIDE - 1.001)
            left, above = int(column), int(row)
            across, down = column - left, row - above
            upper = plane[above, left] * (1.0 - across) + plane[above, left + 1] * across
            lower = plane[above + 1, left] * (1.0 - across) + plane[above + 1, left + 1] * across
            level = upper * (1.0 - down) + lower * down
            if beyond > 0.0:
                level *= math.exp(-beyond / FADE)
            out[i, j] = np.float32(level)
