"""How far the reference's running sums may drift from the true blur: a proof, not an observation.

One box pass over n samples in [0, M] with window w keeps a float32 sum. Adding a sample leaves at
most (w + 1) M, taking one away at most w M, so with u = 2**-24 each step rounds by at most
u (w + 1) M and u w M. Nothing scales a rounding up or down afterwards: after t steps the sum is off
by at most t u (2 w + 1) M, and the mean by that over w, plus u M for the division. A second pass
averages the errors of the first and adds its own. The plane's error at (y, x) is therefore at most

    drift(y) + drift(x),   drift(t) = 2 ((t + w) u (2 w + 1) M / w + u M)

as there are two passes each way. M is 255, and a hair more for the roundings inside the bound.
"""

from __future__ import annotations

import numpy as np

UNIT_ROUNDOFF = 2.0**-24
BRIGHTEST = 255.1
SIDE = 64


def plane_bound(height: int, width: int) -> np.ndarray:
    """Largest distance of the reference's plane from the true one, float64 [64, 64]."""
    return _drift(height)[:, None] + _drift(width)[None, :]


def fused_plane_bound(height: int, width: int) -> np.ndarray:
    """Largest distance of the fused float32 plane from the reference's, float64 [64, 64].

    The fused plane's own share: a sum of n products, whose weights are rounded too and sum to one,
    is off by at most (n + 2) u / (1 - (n + 2) u) of the brightest sample (Higham, section 3.1).
    """
    terms = sum(2 * ((side + 127) // 128) + 2 for side in (height, width))
    own = terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF) * BRIGHTEST
    return plane_bound(height, width) + own


def coefficient_bound(height: int, width: int, basis: np.ndarray) -> np.ndarray:
    """The same for the 16 x 16 coefficients, with the rounding of the two float32 products.

    A sum of 64 products rounds by at most 64 u / (1 - 64 u) of the sum of their absolute values
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).

    Args:
        height: rows of the picture.
        width: its columns.
        basis: float32 [16, 64], the DCT's.
    """
    size = np.abs(basis.astype(np.float64))
    gamma = SIDE * UNIT_ROUNDOFF / (1 - SIDE * UNIT_ROUNDOFF)
    largest = size @ np.full((SIDE, SIDE), BRIGHTEST) @ size.T
    return size @ plane_bound(height, width) @ size.T + (2 * gamma + gamma**2) * largest


def _drift(samples: int) -> np.ndarray:
    """Of two passes at the 64 sampled places of one side."""
    window = (samples + 127) // 128
    places = ((np.arange(SIDE) + 0.5) * samples / SIDE).astype(int)
    steps = np.minimum(places + window, samples)
    one_pass = steps * UNIT_ROUNDOFF * (2 * window + 1) * BRIGHTEST / window
    return 2 * (one_pass + UNIT_ROUNDOFF * BRIGHTEST)
