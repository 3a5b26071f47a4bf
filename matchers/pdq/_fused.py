"""The blur in one weighted sum, on grey pixels that may be scaled down: nearly the 64 x 64 plane.

Two box passes and the choice of one sample are linear: together they are 64 rows of weights, a
tent over about twice the box's window for each sampled place. One such set down the columns and
one along the rows give the plane without the intermediate planes of the reference, and touch each
pixel about twice.

A JPEG decoder can hand out the picture 2, 4 or 8 times smaller for less work. The box depends on
the *full* size (window and sampled places), so a smaller picture may not simply be hashed: that
is another filter, up to 54 bits away. Here the full-size weights are *projected* onto the cells
of the smaller grid instead.

The result differs from the reference's plane by rounding and by what the scaling left out. What
may be done with it is decided in `hasher`.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")
# The order of additions is free here: nothing is compared with the reference bit for bit.
_njit_any_order = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}
)


@_njit
def _tent(place: int, samples: int, window: int, weights: F64) -> int:
    """Weights of two box passes at one place; they end as the boxes do, at the picture's edge.

    Args:
        place: the sample that is kept.
        samples: length of the side.
        window: of one box; it reaches one sample further ahead than behind where it is even.
        weights: float64 [2 * window], filled; they sum to one.

    Returns:
        The sample that weights[0] belongs to; weights beyond the edge are zero.
    """
    ahead = (window + 2) // 2 - 1
    behind = window - ahead - 1
    outer_first = max(0, place - behind)
    outer_last = min(samples - 1, place + ahead)
    first = max(0, outer_first - behind)
    weights[:] = 0.0
    for middle in range(outer_first, outer_last + 1):
        inner_first = max(0, middle - behind)
        inner_last = min(samples - 1, middle + ahead)
        share = 1.0 / ((outer_last - outer_first + 1) * (inner_last - inner_first + 1))
        for sample in range(inner_first, inner_last + 1):
            weights[sample - first] += share
    return first


@_njit
def weights_of(samples: int, scale: int, mirrored: bool) -> tuple[I64, F32]:
    """The blur along one side as 64 short rows of weights over the cells of a scaled grid.

    A cell of a scaled picture holds about the mean of its samples. Within a cell the picture is
    taken to be the parabola that keeps the means of that cell and of its two neighbours, so that
    a full-size sample is a sum of three cells: twice nearer than a straight line between centres.

    Args:
        samples: length of the side at full size.
        scale: samples in a cell; 1 for a picture that is not scaled.
        mirrored: whether the stored side runs against the shown one.

    Returns:
        First cell of each row (int64 [64]), and the weights of the cells from there on
        (float32 [64, n]).
    """
    window = (samples + 127) // 128
    cells = (samples + scale - 1) // scale
    length = min(cells, 2 * window // scale + 4)
    spread = (1.0 - 1.0 / (scale * scale)) / 24.0  # keeps the cell's own mean
    first = np.zeros(64, np.int64)
    weights = np.zeros((64, length), np.float32)
    tent = np.zeros(2 * window, np.float64)
    shares = np.zeros(cells, np.float64)
    for o in range(64):
        start = _tent(int(((o + 0.5) * samples) / 64), samples, window, tent)
        lowest = cells - length
        for k in range(2 * window):
            if tent[k] == 0.0:
                continue
            sample = samples - 1 - start - k if mirrored else start + k
            cell = sample // scale
            before, after = max(cell - 1, 0), min(cell + 1, cells - 1)
            slope = 0.5 * ((sample + 0.5) / scale - 0.5 - cell)
            bend = 2.0 * slope * slope - spread
            shares[before] += tent[k] * (bend - slope)
            shares[cell] += tent[k] * (1.0 - 2.0 * bend)
            shares[after] += tent[k] * (bend + slope)
            lowest = min(lowest, before)
        first[o] = lowest
        for k in range(length):
            weights[o, k] = shares[lowest + k]
            shares[lowest + k] = 0.0
    return first, weights


@_njit_any_order
def _down_columns(pixels: U8, first: int, weights: F32, row: F32) -> None:
    """Weighted sum of a few rows: pixels uint8 [h, w] -> row float32 [w]."""
    row[:] = 0
    for k in range(weights.shape[0]):
        weight = weights[k]
        samples = pixels[first + k]
        for x in range(row.shape[0]):
            row[x] += weight * np.float32(samples[x])


@_njit_any_order
def _along_row(row: F32, first: I64, weights: F32, out: F32) -> None:
    """Weighted sums along one row: float32 [w] -> out float32 [64]."""
    for p in range(64):
        total = np.float32(0)
        samples = row[first[p] : first[p] + weights.shape[1]]
        for k in range(weights.shape[1]):
            total += weights[p, k] * samples[k]
        out[p] = total


@_njit
def plane_of(
    pixels: U8,
    height: int,
    width: int,
    scale: int,
    turn: tuple[bool, bool, bool],
    plane: F32,
) -> None:
    """Grey pixels -> nearly the reference's 64 x 64 plane of the picture as it is shown.

    Args:
        pixels: uint8 [ceil(height / scale), ceil(width / scale)], as stored.
        height: rows of the stored picture at full size.
        width: its columns.
        scale: 1, 2, 4 or 8.
        turn: how the shown picture comes from the stored one: rows mirrored, columns mirrored,
            then rows and columns exchanged.
        plane: float32 [64, 64], filled.
    """
    first_rows, row_weights = weights_of(height, scale, turn[0])
    first_columns, column_weights = weights_of(width, scale, turn[1])
    weighted(pixels, first_rows, row_weights, first_columns, column_weights, turn[2], plane)


@_njit
def weighted(
    pixels: U8,
    first_rows: I64,
    row_weights: F32,
    first_columns: I64,
    column_weights: F32,
    exchanged: bool,
    plane: F32,
) -> None:
    """`plane_of` with the weights of both sides at hand: the frames of a video share them.

    Args:
        pixels: uint8 [rows, columns]; its rows may lie apart, as a decoder's do.
        first_rows: int64 [64], from `weights_of`.
        row_weights: float32 [64, n], from `weights_of`.
        first_columns: as `first_rows`, along a row.
        column_weights: as `row_weights`, along a row.
        exchanged: whether rows and columns are exchanged.
        plane: float32 [64, 64], filled.
    """
    row = np.empty(pixels.shape[1], np.float32)
    out = np.empty(64, np.float32)
    for o in range(64):
        _down_columns(pixels, first_rows[o], row_weights[o], row)
        _along_row(row, first_columns, column_weights, out)
        for p in range(64):
            if exchanged:
                plane[p, o] = out[p]
            else:
                plane[o, p] = out[p]
