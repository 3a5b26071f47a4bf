"""The reference's 64 x 64 plane as numba kernels: one pass over the pixels, bit-exact in float32.

Every float operation happens in the reference's order (ThreatExchange pdq/cpp/downscaling), so
the result is equal bit for bit by construction; only the *schedule* differs. The reference
filters the whole plane four times. Here a strip of rows goes through all four passes while it is
in cache:

    luma -> box along rows -> box down columns -> box along rows, 64 columns kept
         -> box down those 64 columns, 64 rows kept -> 64 x 64

The reference's running sums carry their rounding from one sample to the next, so a box must be
walked in order along its own axis. The column box walks down y and is vectorised over x. The row
box walks along x, eight rows side by side: eight sums are enough to hide the latency of an
addition, and no row has to be transposed. Divisions, which carry nothing, are left to a second,
vectorised loop. No fastmath anywhere: a reordered sum may flip a bit.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

Eight = tuple[float, float, float, float, float, float, float, float]
"""The running sums of the eight rows of a strip, float32 each: a tuple stays in registers."""

STRIP = 8  # rows walked side by side
_ZERO = np.float32(0)
_NOTHING = (_ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO)

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def _luma(pixels: U8, first: int, count: int, strip: F32) -> None:
    """Luma of `count` rows from `first` -> strip[row, x]; grey is its own luma.

    (299 r + 587 g + 114 b) / 1000, one rounding to float32: equal for every colour to what
    `pdqhash` computes in float64 and rounds (tested over all 2**24).

    Args:
        pixels: uint8 [height, width * channels], channels interleaved.
        first: the first of the rows.
        count: how many, at most STRIP.
        strip: float32 [STRIP, width], filled.
    """
    width = strip.shape[1]
    thousand = np.float32(1000)
    for k in range(count):
        samples = pixels[first + k]
        out = strip[k]
        if samples.shape[0] == width:
            for x in range(width):
                out[x] = np.float32(samples[x])
        else:
            for x in range(width):
                total = (
                    np.int32(299) * np.int32(samples[3 * x])
                    + np.int32(587) * np.int32(samples[3 * x + 1])
                    + np.int32(114) * np.int32(samples[3 * x + 2])
                )
                out[x] = np.float32(total) / thousand


@_njit
def _plus(totals: Eight, strip: F32, x: int) -> Eight:
    """Eight sums, each with the sample of its row at x added."""
    return (
        totals[0] + strip[0, x],
        totals[1] + strip[1, x],
        totals[2] + strip[2, x],
        totals[3] + strip[3, x],
        totals[4] + strip[4, x],
        totals[5] + strip[5, x],
        totals[6] + strip[6, x],
        totals[7] + strip[7, x],
    )


@_njit
def _minus(totals: Eight, strip: F32, x: int) -> Eight:
    """Eight sums, each with the sample of its row at x taken away."""
    return (
        totals[0] - strip[0, x],
        totals[1] - strip[1, x],
        totals[2] - strip[2, x],
        totals[3] - strip[3, x],
        totals[4] - strip[4, x],
        totals[5] - strip[5, x],
        totals[6] - strip[6, x],
        totals[7] - strip[7, x],
    )


@_njit
def _put(totals: Eight, sums: F32, x: int) -> None:
    """Write eight sums to column x."""
    for k in range(STRIP):
        sums[k, x] = totals[k]


@_njit
def _sum_along_rows(strip: F32, sums: F32, window: int) -> None:
    """Running sum over `window` samples along x: the four phases of box1DFloat.

    The sample that arrives is added before the one that leaves is taken away.

    Args:
        strip: float32 [STRIP, width].
        sums: float32 [STRIP, width], filled: the sum around x, not yet divided.
        window: samples in a full sum.
    """
    width = strip.shape[1]
    ahead = (window + 2) // 2 - 1  # samples after the centre
    totals = _NOTHING
    for x in range(ahead):
        totals = _plus(totals, strip, x)
    for x in range(window - ahead):
        totals = _plus(totals, strip, x + ahead)
        _put(totals, sums, x)
    for x in range(width - window):
        totals = _minus(_plus(totals, strip, x + window), strip, x)
        _put(totals, sums, x + window - ahead)
    for x in range(ahead):
        totals = _minus(totals, strip, x + width - window)
        _put(totals, sums, x + width - ahead)


@_njit
def _samples_in_sum(x: int, samples: int, window: int) -> int:
    """How many of `samples` lie in the window centred at x: it shrinks at both ends."""
    ahead = (window + 2) // 2 - 1
    return min(ahead + 1 + x, window, samples - x + window - ahead - 1)


@_njit
def _divide(sums: F32, means: F32, window: int) -> None:
    """Sums -> means, float32 [width] each; the same division as the reference's."""
    width = sums.shape[0]
    full = np.float32(window)
    for x in range(width):
        means[x] = sums[x] / full
    for x in range(window // 2 + 1):  # at both ends the window is not full
        means[x] = sums[x] / np.float32(_samples_in_sum(x, width, window))
        last = width - 1 - x
        means[last] = sums[last] / np.float32(_samples_in_sum(last, width, window))


@_njit
def _column_step(totals: F32, ring: F32, step: int, height: int, window: int, out: F32) -> bool:
    """Move the running sums of all columns on by one row: True if a row of means came `out`.

    Args:
        totals: float32 [width], the running sums, updated.
        ring: float32 [at least window + 1, width]: row y lies at y % len(ring).
        step: row that arrives; from `height` on none does, and rows only leave.
        height: rows in all.
        window: rows in a full sum.
        out: float32 [width], filled with row step - ahead, once there is one.
    """
    width = totals.shape[0]
    ahead = (window + 2) // 2 - 1
    arriving = ring[step % ring.shape[0]]
    leaving = ring[(step - window) % ring.shape[0]]
    if step < ahead:
        for x in range(width):
            totals[x] += arriving[x]
        return False
    size = np.float32(_samples_in_sum(step - ahead, height, window))
    if step < window:
        for x in range(width):
            totals[x] += arriving[x]
            out[x] = totals[x] / size
    elif step < height:
        for x in range(width):
            moved = totals[x] + arriving[x]
            moved -= leaving[x]
            totals[x] = moved
            out[x] = moved / size
    else:
        for x in range(width):
            totals[x] -= leaving[x]
            out[x] = totals[x] / size
    return True


@_njit
def _keep_64(strip: F32, window: int, sizes: F32, kept: F32, narrow: F32) -> None:
    """Second box along rows, of which only the 64 sampled columns are kept.

    The same steps as `_sum_along_rows`, from one sampled column to the next.

    Args:
        strip: float32 [STRIP, width].
        window: samples in a full sum.
        sizes: float32 [64], samples in the sum around each sampled column.
        kept: float32 [STRIP, 64], scratch.
        narrow: float32 [1 to STRIP, 64], filled with the means of the strip's first rows.
    """
    width = strip.shape[1]
    ahead = (window + 2) // 2 - 1
    totals = _NOTHING
    done = 0
    for j in range(64):
        column = int(((j + 0.5) * width) / 64)
        end = column + ahead + 1
        for x in range(done, min(end, window)):
            totals = _plus(totals, strip, x)
        for x in range(max(done, window), min(end, width)):
            totals = _minus(_plus(totals, strip, x), strip, x - window)
        for x in range(max(done, width), end):
            totals = _minus(totals, strip, x - window)
        done = max(done, end)
        _put(totals, kept, j)
    for k in range(narrow.shape[0]):
        for j in range(64):
            narrow[k, j] = kept[k, j] / sizes[j]


@_njit
def _blur(pixels: U8, width: int, narrow: F32) -> None:
    """Luma and the first three boxes: pixels -> narrow, float32 [height, 64]."""
    height = pixels.shape[0]
    row_window = (width + 127) // 128
    column_window = (height + 127) // 128
    strip = np.zeros((STRIP, width), np.float32)
    sums = np.zeros((STRIP, width), np.float32)
    blurred = np.zeros((STRIP, width), np.float32)
    ring = np.zeros((column_window + STRIP, width), np.float32)
    totals = np.zeros(width, np.float32)
    kept = np.zeros((STRIP, 64), np.float32)
    sizes = np.empty(64, np.float32)
    for j in range(64):
        sizes[j] = _samples_in_sum(int(((j + 0.5) * width) / 64), width, row_window)
    end = height + (column_window + 2) // 2 - 1  # rows in, plus the column box's lag
    filled = 0
    done = 0
    for first in range(0, end, STRIP):
        count = max(0, min(STRIP, height - first))
        if count > 0:
            _luma(pixels, first, count, strip)
            _sum_along_rows(strip, sums, row_window)
        for k in range(count):
            _divide(sums[k], ring[(first + k) % ring.shape[0]], row_window)
        for step in range(first, min(first + STRIP, end)):
            if _column_step(totals, ring, step, height, column_window, blurred[filled]):
                filled += 1
            if filled == STRIP or (step == end - 1 and filled > 0):
                _keep_64(blurred, row_window, sizes, kept, narrow[done : done + filled])
                done += filled
                filled = 0


@_njit
def _last_box(narrow: F32, plane: F32) -> None:
    """Second box down columns, of which only the 64 sampled rows are kept."""
    height = narrow.shape[0]
    window = (height + 127) // 128
    ahead = (window + 2) // 2 - 1
    totals = np.zeros(64, np.float32)
    row = np.zeros(64, np.float32)
    kept = 0
    for step in range(height + ahead):
        if _column_step(totals, narrow, step, height, window, row):
            while kept < 64 and int(((kept + 0.5) * height) / 64) == step - ahead:
                for j in range(64):  # numba compiles an array assignment for seconds
                    plane[kept, j] = row[j]
                kept += 1


@_njit
def plane_of(pixels: U8, width: int, always_filter: bool, plane: F32) -> None:
    """Pixels -> the reference's 64 x 64 plane.

    The reference's hash takes a 64 x 64 picture as it is; its dihedral function filters even
    that, with windows of one sample, whose running sums round.

    Args:
        pixels: uint8 [height, 3 * width] interleaved RGB, or [height, width] grey.
        width: pixels in a row.
        always_filter: whether a 64 x 64 picture is filtered too.
        plane: float32 [64, 64], filled.
    """
    height = pixels.shape[0]
    if height == 64 and width == 64 and not always_filter:
        for first in range(0, 64, STRIP):
            _luma(pixels, first, STRIP, plane[first : first + STRIP])
        return
    narrow = np.empty((height, 64), np.float32)
    _blur(pixels, width, narrow)
    _last_box(narrow, plane)
