"""A radius -> what each of the 16 words may differ by: exact for every radius.

Two codes of 16 words differ by d[0] .. d[15] bits, together at most r. Give word t a threshold
a[t] with the sum of all a[t] = r - 15 (-1 is allowed: that word is never asked). Then the sum of
d[t] - (a[t] + 1) is at most r - (r + 1) < 0, and by the cycle lemma (Dvoretzky, Motzkin 1947;
pigeonring, Qin and Xiao 2018) there is a word t from which every partial sum around the ring stays
below 0:

    d[t]                      <= a[t]
    d[t] + d[t+1]             <= a[t] + a[t+1] + 1
    d[t] + d[t+1] + d[t+2]    <= a[t] + a[t+1] + a[t+2] + 2

So a pair within the radius is found by looking word t up within a[t] bits, in at least one table,
and these three tests lose nothing. A pair is reported by the first t for which they hold.

The thresholds are as equal as the sum allows (mixed, GPH's integer reduction: Qin et al. 2018):
radius 32 asks 392 buckets where equal thresholds would ask 2,192.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

WORDS: Final = 16


def of_words(radius: int) -> npt.NDArray[np.int64]:
    """a[t], int64 [16], for a radius of 0 to 256 bits."""
    each, over = divmod(radius - (WORDS - 1), WORDS)
    return np.where(np.arange(WORDS) < over, each + 1, each).astype(np.int64)


def chains(radius: int) -> npt.NDArray[np.int64]:
    """Limits of one, two and three words from each table on: int64 [16, 3], -1 = not asked."""
    one = of_words(radius)
    two = one + np.roll(one, -1) + 1
    three = two + np.roll(one, -2) + 1
    limits = np.stack([one, two, three], axis=1)
    limits[one < 0] = -1
    return limits


def masks(key_bits: int, most: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Every change of a key by at most `most` bits.

    Returns:
        uint16 masks of `key_bits` bits, fewest bits first, and int64 [most + 2]: how many have
        fewer than k bits.
    """
    values = np.arange(1 << key_bits, dtype=np.uint16)
    weights = np.bitwise_count(values)
    order = np.argsort(weights, kind="stable")
    upto = np.searchsorted(weights[order], np.arange(most + 2), side="left").astype(np.int64)
    return values[order][: upto[-1]].copy(), upto
