"""A long list of natural codes: random crops of the same pictures, whose source is remembered.

An upload must not match a crop of another picture, so the crops of its own are left out. That makes
for a hard list: few sources, many crops that are nearly alike, many close-ups of something simple.
A real list of a million has a million sources. Codes of too low a quality are left out, as lists
leave them out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks import corpora
from benchmarks.effectiveness import edits, kept
from benchmarks.effectiveness.pictures import Picture
from matchers import pdq

CROPS: Final = 256
"""Of each picture, 30 to 100 % of either side, in all eight turns."""
_TRIES: Final = 1_024  # after so many crops a picture has no more of good enough a quality
CODE: Final = (
    "matchers/pdq", "benchmarks/corpora.py", "benchmarks/effectiveness/edits.py",
    "benchmarks/effectiveness/natural.py",
)  # fmt: skip


def crops(picture: Picture) -> kept.Arrays:
    """Codes of random crops of one picture.

    Returns:
        codes: uint8 [n, 32], at most 8 x `CROPS`.
    """
    sums = corpora.integral(io.BytesIO(picture.blob))
    rng = np.random.default_rng([edits.SEED, int.from_bytes(picture.key[:8], "big")])
    codes = list(_good(sums, rng))[:CROPS]
    return {"codes": np.array(codes, np.uint8).reshape(-1, 32)}


def _good(sums: corpora.Integral, rng: np.random.Generator) -> Iterator[corpora.Codes]:
    """Lazily, the eight turns of crops of good enough a quality."""
    found = 0
    for _ in range(_TRIES):
        if found == CROPS:
            return
        views, quality = pdq.dihedral(corpora.crop(sums, rng))
        if quality >= corpora.MIN_QUALITY:
            found += 1
            yield views
