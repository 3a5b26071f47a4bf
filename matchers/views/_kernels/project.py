"""Plane -> codes of many crops of it, as kernels: cropping, blurring and the DCT in one product.

A crop along one axis is linear, and so is PDQ's DCT: B = (D R) P (D C)^T, where R and C place
the plane's rows and columns in the frame of the presumed original. The left product is shared by
all crops with the same rows.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from matchers.pdq._code import pack
from matchers.views._kernels.planes import turned

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")
# The order of additions is free: nothing here is compared with the reference bit for bit.
_njit_any_order = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"}
)


@_njit_any_order
def product(one: F32, other: F32, out: F32) -> None:
    """Matrix product: float32 [m, n] x [n, k] -> out [m, k]; n is a multiple of four."""
    out[:] = 0
    for i in range(one.shape[0]):
        row = out[i]
        for k in range(0, one.shape[1], 4):
            a, b, c, d = one[i, k], one[i, k + 1], one[i, k + 2], one[i, k + 3]
            for j in range(row.shape[0]):
                row[j] += a * other[k, j] + b * other[k + 1, j]
                row[j] += c * other[k + 2, j] + d * other[k + 3, j]


@_njit
def _mirror(coefficients: F32, mirrored: F32) -> None:
    """Coefficients of the picture flipped left to right: every odd frequency changes its sign."""
    for i in range(16):
        for j in range(16):
            mirrored[i, j] = coefficients[i, j] if j % 2 == 1 else -coefficients[i, j]


@_njit
def codes_of_crops(
    plane: F32, rows: F32, columns: F32, pairs: I64, codes: U8, mirrored_codes: U8
) -> None:
    """Codes of all crops of one plane, upright and mirrored.

    Args:
        plane: float32 [64, 64].
        rows: float32 [r, 16, 64], D R of every way to place rows.
        columns: float32 [c, 64, 16], (D C)^T of every way to place columns.
        pairs: int64 [n, 2], which of both makes each crop; equal rows stand together.
        codes: uint8 [n, 32], filled.
        mirrored_codes: uint8 [n, 32], filled; or [0, 32] where none are wanted.
    """
    half = np.empty((16, 64), np.float32)
    coefficients = np.empty((16, 16), np.float32)
    mirrored = np.empty((16, 16), np.float32)
    placed = -1
    for n in range(pairs.shape[0]):
        if pairs[n, 0] != placed:
            placed = pairs[n, 0]
            product(rows[placed], plane, half)
        product(half, columns[pairs[n, 1]], coefficients)
        pack(coefficients, codes[n])
        if mirrored_codes.shape[0] > 0:
            _mirror(coefficients, mirrored)
            pack(mirrored, mirrored_codes[n])


@_njit
def codes_of_turn(
    plane: F32,
    degrees: float,
    height_of_width: float,
    straightened: bool,
    basis: F32,
    across: F32,
    codes: U8,
) -> None:
    """Codes of the picture that was turned a little, upright and mirrored.

    Args:
        plane: float32 [64, 64], of the upload.
        degrees: as for `turned`.
        height_of_width: the upload's height, in its widths.
        straightened: as for `turned`.
        basis: float32 [16, 64], the DCT's.
        across: float32 [64, 16], the same transposed.
        codes: uint8 [2, 32], filled.
    """
    original = np.empty((64, 64), np.float32)
    half = np.empty((16, 64), np.float32)
    coefficients = np.empty((16, 16), np.float32)
    mirrored = np.empty((16, 16), np.float32)
    turned(plane, degrees, height_of_width, straightened, original)
    product(basis, original, half)
    product(half, across, coefficients)
    pack(coefficients, codes[0])
    _mirror(coefficients, mirrored)
    pack(mirrored, codes[1])
