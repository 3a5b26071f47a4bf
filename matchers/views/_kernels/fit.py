"""A crop box fitted to one candidate: four sides moved step by step towards its code, a kernel.

Only crops are fitted. Every side may be guessed within `FURTHEST`; the steps halve. A box that
was moved until it fits says less than one that was not: what is found here is a near match.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from matchers.pdq._code import pack
from matchers.views._kernels.planes import FADE, SHIFT, SIDE
from matchers.views._kernels.project import product

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

FURTHEST = 0.12
"""Most of a side that is taken to be missing at one end; beyond it PDQ's bits are guesses."""

LARGEST_STEP = 0.03
HALVINGS = 3  # to 0.4 % of the side, a quarter of a cell
ROUNDS = 2  # over the four sides, at each step
MOST_TRIED = 1 + (1 + HALVINGS) * ROUNDS * 8

_njit = numba.njit(cache=True, nogil=True, error_model="numpy")


@_njit
def place(basis: F32, before: float, after: float, rows: F32) -> None:
    """PDQ's transform of a side of which some is missing: as `crops.placement`, times the basis.

    Args:
        basis: float32 [16, 64], the DCT's.
        before: share of the original's side missing at its start.
        after: at its end.
        rows: float32 [16, 64], filled.
    """
    rows[:] = 0
    for sample in range(SIDE):
        at = ((sample + 0.5 + SHIFT) / SIDE - before) / (1.0 - before - after)
        inside = min(max(at, 0.0), 1.0)
        fade = math.exp(-abs(at - inside) / FADE) if at != inside else 1.0
        position = min(max(inside * SIDE - 0.5, 0.0), SIDE - 1.0)
        cell = min(int(position), SIDE - 2)
        share = position - cell
        near, far = np.float32((1.0 - share) * fade), np.float32(share * fade)
        for i in range(16):
            rows[i, cell] += near * basis[i, sample]
            rows[i, cell + 1] += far * basis[i, sample]


@_njit
def _bits_apart(one: U8, other: U8) -> int:
    """Hamming distance of two codes."""
    apart = 0
    for k in range(one.shape[0]):
        for bit in range(8):
            apart += ((one[k] ^ other[k]) >> bit) & 1
    return apart


@_njit
def distance_at(plane: F32, basis: F32, missing: F64, indicator: U8) -> int:
    """Hamming distance of an indicator from the plane's original, if so much of it is missing."""
    rows = np.empty((16, 64), np.float32)
    half = np.empty((16, 64), np.float32)
    coefficients = np.empty((16, 16), np.float32)
    code = np.empty(32, np.uint8)
    place(basis, missing[0], missing[1], rows)
    product(rows, plane, half)
    place(basis, missing[2], missing[3], rows)
    product(half, np.ascontiguousarray(rows.T), coefficients)
    pack(coefficients, code)
    return _bits_apart(code, indicator)


@_njit
def fit(plane: F32, basis: F32, indicator: U8, missing: F64) -> int:
    """Move the four sides, one at a time, while the code comes nearer to the indicator's.

    Args:
        plane: float32 [64, 64], of the upload as the indicator's picture lies.
        basis: float32 [16, 64], the DCT's.
        indicator: uint8 [32].
        missing: float64 [4], shares missing at top, bottom, left and right: the first guess,
            replaced by the best.

    Returns:
        The Hamming distance there.
    """
    best = distance_at(plane, basis, missing, indicator)
    step = LARGEST_STEP
    for _ in range(1 + HALVINGS):
        for _ in range(ROUNDS):
            is_nearer = False
            for move in range(8):
                side = move // 2
                held = missing[side]
                moved = held + (step if move % 2 == 0 else -step)
                if abs(moved) > FURTHEST:
                    continue
                missing[side] = moved
                distance = distance_at(plane, basis, missing, indicator)
                if distance < best:
                    best = distance
                    is_nearer = True
                else:
                    missing[side] = held
            if not is_nearer:
                break
        step /= 2.0
    return best
