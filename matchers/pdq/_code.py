"""64 x 64 plane -> quality, DCT and code, as numba kernels in the reference's own order.

ThreatExchange pdq/cpp/hashing. Every sum is taken in float32 in the reference's order, so that
equal planes give equal codes bit for bit; no fastmath.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def quality_of(plane: F32) -> int:
    """Sum of truncated gradients / 90, capped at 100 (computePDQImageDomainQualityMetric)."""
    hundred = np.float32(100)
    most = np.float32(255)
    gradients = 0
    for i in range(63):
        for j in range(64):
            gradients += abs(int(((plane[i, j] - plane[i + 1, j]) * hundred) / most))
    for i in range(64):
        for j in range(63):
            gradients += abs(int(((plane[i, j] - plane[i, j + 1]) * hundred) / most))
    return min(gradients // 90, 100)


@_njit
def coefficients_of(plane: F32, basis: F32, coefficients: F32) -> None:
    """B = D A D^T over frequencies 1..16, float32, summed over k in order (dct64To16).

    Args:
        plane: float32 [64, 64].
        basis: float32 [16, 64], D.
        coefficients: float32 [16, 16], filled.
    """
    half = np.zeros((16, 64), np.float32)
    for i in range(16):
        for k in range(64):
            d = basis[i, k]
            for j in range(64):
                half[i, j] += d * plane[k, j]
    coefficients[:] = 0
    across = np.ascontiguousarray(basis.T)
    for i in range(16):
        for k in range(64):
            h = half[i, k]
            for j in range(16):
                coefficients[i, j] += h * across[k, j]


@_njit
def lower_median(coefficients: F32) -> float:
    """The 128th smallest of 256 coefficients, what the reference's Torben search finds.

    Seen as an integer, a float32 sorts as it does itself, once the lower bits of negative ones
    are turned. The median's bits are then settled one after the other, from the top: each takes
    one count over all values, which is vectorised, and no sorting.

    Args:
        coefficients: float32 [16, 16], contiguous; no NaN.
    """
    values = coefficients.reshape(256)
    keys = np.empty(256, np.int32)
    bits = values.view(np.int32)
    for k in range(256):
        keys[k] = bits[k] ^ ((bits[k] >> 31) & np.int32(0x7FFFFFFF))
    median = np.int32(-(2**31))
    for bit in range(32):
        tried = np.int32(0) if bit == 0 else median | np.int32(1 << (31 - bit))
        below = np.int32(0)
        for k in range(256):
            below += np.int32(keys[k] < tried)
        if below <= 127:
            median = tried
    found: float = values[np.argmax(keys == median)]
    return found


@_njit
def pack(coefficients: F32, code: U8) -> None:
    """Coefficients -> code (uint8 [32], filled), first byte first in the hex form.

    Bit = coefficient > lower median; the first byte holds row 15, columns 15 to 8.
    """
    median = lower_median(coefficients)
    for i in range(16):
        for half in range(2):
            byte = 0
            for b in range(8):
                if coefficients[15 - i, 15 - 8 * half - b] > median:
                    byte |= 128 >> b
            code[2 * i + half] = byte


@_njit
def crowding(coefficients: F32, reach: float) -> int:
    """How many of the 256 coefficients lie within `reach` of the median, itself left out.

    A plane that is not quite the reference's moves each coefficient a little; those are the bits
    that may turn.
    """
    values = coefficients.reshape(256)
    median = lower_median(coefficients)
    near = -1
    for value in values:
        if abs(value - median) <= reach:
            near += 1
    return near


@_njit
def pack_views(coefficients: F32, codes: U8) -> None:
    """Coefficients -> the codes of all eight views (uint8 [8, 32], filled).

    A flip of the picture changes the sign of every second coefficient, a transposition swaps
    rows and columns (pdqDihedralHash256esFromFloatLuma). Order as in the reference: original,
    rotated 90, 180, 270, flipped x, flipped y, flipped plus 1, flipped minus 1.
    """
    view = np.empty((16, 16), np.float32)
    for v in range(8):
        for i in range(16):
            for j in range(16):
                value = coefficients[i, j]
                if (
                    ((v in (1, 5)) and j % 2 == 0)
                    or ((v in (2, 7)) and (i + j) % 2 == 1)
                    or ((v in (3, 4)) and i % 2 == 0)
                ):
                    value = -value
                if v in (1, 3, 6, 7):
                    view[j, i] = value
                else:
                    view[i, j] = value
        pack(view, codes[v])
