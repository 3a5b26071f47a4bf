"""Pixels -> the grey picture that borders are looked for in, smaller by a whole factor. One pass.

Bars, frames and the 64 x 64 plane need no fine detail, and a large picture would be read several
times over for nothing. A pixel of the smaller picture is the mean of the factor x factor pixels it
stands for; those of the last row and column may stand for fewer.

Luma is weighed in 256ths here: at most one level off the rounded one, and six times faster.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]

RED, GREEN, BLUE = np.uint32(77), np.uint32(150), np.uint32(29)
"""0.299, 0.587 and 0.114 in 256ths (ITU-R BT.601)."""

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _luma_of_row(samples: U8, out: U8) -> None:
    """Interleaved RGB -> rounded luma."""
    for x in range(out.shape[0]):
        luma = (
            RED * np.uint32(samples[3 * x])
            + GREEN * np.uint32(samples[3 * x + 1])
            + BLUE * np.uint32(samples[3 * x + 2])
        )
        out[x] = np.uint8((luma + np.uint32(128)) >> np.uint32(8))


@_njit
def _add_rows(rows: U8, sums: U16) -> None:
    """Sums down a few rows, sample by sample."""
    sums[:] = 0
    for samples in rows:
        for x in range(sums.shape[0]):
            sums[x] += np.uint16(samples[x])


@_njit
def _luma_of_sums(sums: U16, luma: U32) -> None:
    """Sums of interleaved RGB, or of grey, -> 256 times the sums of luma."""
    width = luma.shape[0]
    if sums.shape[0] == width:
        for x in range(width):
            luma[x] = np.uint32(256) * np.uint32(sums[x])
    else:
        for x in range(width):
            luma[x] = (
                RED * np.uint32(sums[3 * x])
                + GREEN * np.uint32(sums[3 * x + 1])
                + BLUE * np.uint32(sums[3 * x + 2])
            )


@_njit
def shrink(pixels: U8, width: int, factor: int, grey: U8) -> None:
    """Mean luma of every factor x factor pixels, rounded.

    Args:
        pixels: uint8 [height, 3 * width] interleaved RGB, or [height, width] grey.
        width: pixels in a row.
        factor: pixels to a side of a cell, 1 to 256: sums of a column fit 16 bits, 256 times
            those of a cell 32.
        grey: uint8 [ceil(height / factor), ceil(width / factor)], filled.
    """
    height, samples = pixels.shape
    if factor == 1 and samples != width:
        for y in range(height):
            _luma_of_row(pixels[y], grey[y])
        return
    sums = np.empty(samples, np.uint16)
    luma = np.empty(width, np.uint32)
    for y in range(grey.shape[0]):
        rows = pixels[y * factor : (y + 1) * factor]
        _add_rows(rows, sums)
        _luma_of_sums(sums, luma)
        out = grey[y]
        for x in range(grey.shape[1]):
            cell = luma[x * factor : (x + 1) * factor]
            total = np.int64(0)
            for level in cell:
                total += level
            size = 256 * rows.shape[0] * cell.shape[0]
            out[x] = np.uint8((total + size // 2) // size)
