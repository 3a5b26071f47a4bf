"""The PDQ reference core as numba kernels: one pass over the pixels, bit-exact in float32.

Every float operation happens in the reference's order (ThreatExchange pdq/cpp/downscaling and
pdq/cpp/hashing), so the result is equal bit for bit; only the *schedule* differs. The reference
filters the whole plane four times. Here a strip of rows goes through all four passes while it is
in cache:

    luma -> box along rows -> box down columns -> box along rows, 64 columns kept
         -> box down those 64 columns, 64 rows kept -> 64 x 64

The reference's running sums carry their rounding from one sample to the next, so a box must be
walked in order along its own axis. It is therefore vectorised across the other axis: a strip of
`STRIP` rows is transposed and walked along x for all its rows at once, and the column box walks
down y for all columns at once. No fastmath anywhere: a reordered sum may flip a bit.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

STRIP = 16  # rows walked together: one AVX-512 register of float32, two of AVX2

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _luma_strip(pixels: U8, first: int, count: int, strip: F32) -> None:
    """Luma of `count` rows from `first`, transposed into strip[x, row]; grey is its own luma.

    (299 r + 587 g + 114 b) / 1000, one rounding to float32: equal for every colour to what
    `pdqhash` computes in float64 and rounds (tested over all 2**24).
    """
    width = pixels.shape[1]
    thousand = np.float32(1000)
    for k in range(count):
        row = pixels[first + k]
        if pixels.shape[2] == 1:
            for x in range(width):
                strip[x, k] = np.float32(row[x, 0])
            continue
        for x in range(width):
            total = (
                np.int32(299) * np.int32(row[x, 0])
                + np.int32(587) * np.int32(row[x, 1])
                + np.int32(114) * np.int32(row[x, 2])
            )
            strip[x, k] = np.float32(total) / thousand


@_njit
def _box_along_rows(strip: F32, out: F32, window: int) -> None:
    """Running mean over `window` samples along x, for all STRIP rows at once.

    Same four phases and operation order as box1DFloat in downscaling.cpp.
    """
    n = strip.shape[0]
    half = (window + 2) // 2
    total = np.zeros(STRIP, np.float32)
    right = 0
    left = 0
    for _ in range(half - 1):
        for k in range(STRIP):
            total[k] += strip[right, k]
        right += 1
    size = half - 1
    centre = 0
    for _ in range(window - half + 1):
        size += 1
        divisor = np.float32(size)
        for k in range(STRIP):
            total[k] += strip[right, k]
            out[centre, k] = total[k] / divisor
        right += 1
        centre += 1
    divisor = np.float32(size)
    for _ in range(n - window):
        for k in range(STRIP):
            moved = total[k] + strip[right, k]
            moved -= strip[left, k]
            total[k] = moved
            out[centre, k] = moved / divisor
        right += 1
        left += 1
        centre += 1
    for _ in range(half - 1):
        size -= 1
        divisor = np.float32(size)
        for k in range(STRIP):
            total[k] -= strip[left, k]
            out[centre, k] = total[k] / divisor
        left += 1
        centre += 1


@_njit
def _column_step(total: F32, ring: F32, arriving: int, row: F32, out: F32, height: int) -> bool:
    """Feed the column box one arriving row (or, past the end, none): True if `out` was filled.

    The state is `total` (running sums) and `ring` (the last `window` rows). Row `arriving`
    completes the output row arriving - (half - 1); after the last input the remaining half - 1
    output rows follow one by one. Same four phases and operation order as box1DFloat.
    """
    window = ring.shape[0]
    half = (window + 2) // 2
    slot = ring[arriving % window]  # holds the row that leaves, then the one that arrives
    if arriving < half - 1:
        for x in range(total.shape[0]):
            total[x] += row[x]
            slot[x] = row[x]
        return False
    if arriving < window:
        divisor = np.float32(arriving + 1)
        for x in range(total.shape[0]):
            total[x] += row[x]
            out[x] = total[x] / divisor
            slot[x] = row[x]
    elif arriving < height:
        divisor = np.float32(window)
        for x in range(total.shape[0]):
            moved = total[x] + row[x]
            moved -= slot[x]
            total[x] = moved
            out[x] = moved / divisor
            slot[x] = row[x]
    else:
        divisor = np.float32(window - (arriving - height + 1))
        for x in range(total.shape[0]):
            total[x] -= slot[x]
            out[x] = total[x] / divisor
    return True


@_njit
def _downsample(pixels: U8, out: F32) -> None:
    """Pixels -> the reference's 64 x 64 float32 plane.

    Args:
        pixels: uint8 [height, width, 3] RGB or [height, width, 1] grey.
        out: float32 [64, 64], filled.
    """
    height = pixels.shape[0]
    width = pixels.shape[1]
    row_window = (width + 127) // 128
    column_window = (height + 127) // 128
    end = height + (column_window + 2) // 2 - 1  # rows in, plus the column box's lag

    strip = np.zeros((width, STRIP), np.float32)  # [x, row]: luma
    boxed = np.zeros((width, STRIP), np.float32)  # after the box along rows
    blurred = np.zeros((width, STRIP), np.float32)  # after the box down columns
    row = np.empty(width, np.float32)
    centre_row = np.empty(width, np.float32)
    totals = np.zeros(width, np.float32)
    ring = np.empty((column_window, width), np.float32)
    narrow = np.empty((height, 64), np.float32)  # all rows, the 64 sampled columns

    filled = 0
    done = 0
    arriving = 0
    while arriving < end:
        count = min(STRIP, end - arriving)
        if arriving < height:
            count = min(STRIP, height - arriving)
            _luma_strip(pixels, arriving, count, strip)
            _box_along_rows(strip, boxed, row_window)
        for k in range(count):
            if arriving < height:
                for x in range(width):
                    row[x] = boxed[x, k]
            if _column_step(totals, ring, arriving, row, centre_row, height):
                for x in range(width):
                    blurred[x, filled] = centre_row[x]
                filled += 1
            arriving += 1
            if filled == STRIP or (arriving == end and filled > 0):
                _box_along_rows(blurred, strip, row_window)
                for j in range(64):
                    column = int(((j + 0.5) * width) / 64)
                    for w in range(filled):
                        narrow[done + w, j] = strip[column, w]
                done += filled
                filled = 0

    totals = np.zeros(64, np.float32)
    ring = np.empty((column_window, 64), np.float32)
    centre_row = np.empty(64, np.float32)
    done = 0
    kept = 0
    for step in range(end):
        row_in = narrow[min(step, height - 1)]
        if _column_step(totals, ring, step, row_in, centre_row, height):
            while kept < 64 and int(((kept + 0.5) * height) / 64) == done:
                for j in range(64):
                    out[kept, j] = centre_row[j]
                kept += 1
            done += 1


@_njit
def _copy_64(pixels: U8, out: F32) -> None:
    """A 64 x 64 input is taken as it is: the reference does not filter it."""
    strip = np.empty((64, STRIP), np.float32)
    for first in range(0, 64, STRIP):
        _luma_strip(pixels, first, STRIP, strip)
        for k in range(STRIP):
            for x in range(64):
                out[first + k, x] = strip[x, k]


@_njit
def _quality(plane: F32) -> int:
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
def _dct_16(plane: F32, basis: F32, coefficients: F32) -> None:
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
    for i in range(16):
        for j in range(16):
            total = np.float32(0)
            for k in range(64):
                total += half[i, k] * basis[j, k]
            coefficients[i, j] = total


@_njit
def _pack(coefficients: F32, code: U8) -> None:
    """Bit = coefficient > lower median; first byte = row 15, columns 15..8, as in the hex form.

    The median is the 128th smallest value, what the reference's Torben search finds.
    """
    ordered = np.sort(coefficients.copy().reshape(256))
    median = ordered[127]
    for i in range(16):
        for half in range(2):
            byte = 0
            for b in range(8):
                if coefficients[15 - i, 15 - 8 * half - b] > median:
                    byte |= 128 >> b
            code[2 * i + half] = byte


@_njit
def plane_of(pixels: U8, always_filter: bool, plane: F32) -> int:
    """Pixels -> 64 x 64 plane -> quality. See `_downsample` for the arguments.

    The reference's hash takes a 64 x 64 picture as it is; its dihedral function filters even
    that, with windows of one sample, whose running sums round.
    """
    if pixels.shape[0] == 64 and pixels.shape[1] == 64 and not always_filter:
        _copy_64(pixels, plane)
    else:
        _downsample(pixels, plane)
    quality: int = _quality(plane)
    return quality


@_njit
def hash_plane(plane: F32, basis: F32, code: U8) -> None:
    """64 x 64 plane -> code (uint8 [32], filled)."""
    coefficients = np.empty((16, 16), np.float32)
    _dct_16(plane, basis, coefficients)
    _pack(coefficients, code)


@_njit
def hash_plane_dihedral(plane: F32, basis: F32, codes: U8) -> None:
    """64 x 64 plane -> eight codes (uint8 [8, 32], filled) from one DCT.

    A flip of the picture changes the sign of every second coefficient, a transposition swaps
    rows and columns (pdqDihedralHash256esFromFloatLuma). Order as in the reference: original,
    rotated 90, 180, 270, flipped x, flipped y, flipped plus 1, flipped minus 1.
    """
    coefficients = np.empty((16, 16), np.float32)
    view = np.empty((16, 16), np.float32)
    _dct_16(plane, basis, coefficients)
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
        _pack(view, codes[v])
