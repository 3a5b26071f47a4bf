"""Pixels -> the grey picture that borders are looked for in, smaller by a whole factor. One pass.

Bars, frames and the 64 x 64 plane need no fine detail, and a large picture would be read several
times over for nothing. A pixel of the smaller picture is the mean of the factor x factor pixels it
stands for; those of the last row and column may stand for fewer.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _add_rows(pixels: U8, first: int, end: int, sums: U16) -> None:
    """Sums of the samples of rows first .. end - 1, column by column."""
    sums[:] = 0
    for y in range(first, end):
        samples = pixels[y]
        for x in range(sums.shape[0]):
            sums[x] += np.uint16(samples[x])


@_njit
def _luma(sums: U16, luma: npt.NDArray[np.uint32]) -> None:
    """Interleaved RGB sums -> a thousand times their luma."""
    for x in range(luma.shape[0]):
        luma[x] = (
            np.uint32(299) * np.uint32(sums[3 * x])
            + np.uint32(587) * np.uint32(sums[3 * x + 1])
            + np.uint32(114) * np.uint32(sums[3 * x + 2])
        )


@_njit
def shrink(pixels: U8, width: int, factor: int, grey: U8) -> None:
    """Mean luma of every factor x factor pixels.

    Args:
        pixels: uint8 [height, 3 * width] interleaved RGB, or [height, width] grey.
        width: pixels in a row.
        factor: pixels to a side of a cell, 1 to 128: sums of a column fit 16 bits, and a
            thousand of those of a cell 32 (255 000 x 128 x 128 < 2**32).
        grey: uint8 [ceil(height / factor), ceil(width / factor)], filled.
    """
    height, samples = pixels.shape
    sums = np.empty(samples, np.uint16)
    luma = np.empty(width, np.uint32)
    for y in range(grey.shape[0]):
        first, end = y * factor, min((y + 1) * factor, height)
        _add_rows(pixels, first, end, sums)
        if samples == width:
            for x in range(width):
                luma[x] = np.uint32(1000) * np.uint32(sums[x])
        else:
            _luma(sums, luma)
        out = grey[y]
        for x in range(grey.shape[1]):
            left, right = x * factor, min((x + 1) * factor, width)
            total = np.uint32(0)
            for k in range(left, right):
                total += luma[k]
            size = np.uint32(1000 * (end - first) * (right - left))
            out[x] = np.uint8((total + size // np.uint32(2)) // size)
