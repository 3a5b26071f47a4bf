"""What is uploaded of every picture: itself, and itself after every edit."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.effectiveness import edits
from benchmarks.effectiveness.pictures import Picture

Codes = npt.NDArray[np.uint8]

UPLOADS: Final = ("unedited", *(edit.name for edit in edits.EDITS))
"""Row order of everything that is measured of a picture."""

FAR: Final = 999
"""Distance where nothing was looked up: no code of good enough a quality."""


def blobs(picture: Picture) -> list[bytes]:
    """Every upload of a picture, in the order of `UPLOADS`."""
    shown = picture.shown()
    return [picture.blob, *(edits.edited(shown, edit, picture.key) for edit in edits.EDITS)]


def nearest(codes: Codes, indicator: Codes) -> int:
    """Least Hamming distance of codes (uint8 [n, bytes]) to one; `FAR` if there are none."""
    if not len(codes):
        return FAR
    return int(np.bitwise_count(codes ^ indicator).sum(axis=1).min())
