"""The views that each profile looks at, and their codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from matchers import pdq

Profile = Literal["plain", "standard", "thorough", "refine"]
"""How much is looked at, from the least to the most."""

PROFILES: Final[tuple[Profile, ...]] = get_args(Profile)

_FULL: Final = np.arange(len(pdq.DIHEDRAL_VIEWS), dtype=np.uint16)
_NO_PLANES: Final = np.zeros((0, 64, 64), np.float32)


@dataclass(frozen=True)
class ViewCodes:
    """The codes of one picture.

    Attributes:
        codes: uint8 [n, 32]; row 0 is the picture's plain PDQ code, bit for bit.
        quality: uint8 [n], PDQ quality of what each row looks at.
        views: uint16 [n], see `view_name`.
        planes: float32 [r, 64, 64], what refinement needs, one for each box looked at; none unless
            the profile is refine.
        plane: int16 [n], row of `planes` that each code came from, or -1.
    """

    codes: npt.NDArray[np.uint8]
    quality: npt.NDArray[np.uint8]
    views: npt.NDArray[np.uint16]
    planes: npt.NDArray[np.float32]
    plane: npt.NDArray[np.int16]


def view_codes(pixels: npt.NDArray[np.uint8], profile: Profile) -> ViewCodes:
    """Codes of the views that `profile` asks for.

    Args:
        pixels: uint8 [height, width, 3] RGB, or [height, width] grey.
        profile: how much is looked at.
    """
    code, quality = pdq.hash_pixels(pixels)
    codes = code[None]
    if profile != "plain":
        turned, _ = pdq.dihedral(pixels)
        codes = np.concatenate([codes, turned[1:]])
    count = len(codes)
    return ViewCodes(
        codes,
        np.full(count, quality, np.uint8),
        _FULL[:count],
        _NO_PLANES,
        np.full(count, -1, np.int16),
    )


def in_profile(views: npt.NDArray[np.uint16], profile: Profile) -> npt.NDArray[np.bool_]:
    """Which of `views` a set of `profile` is asked about: a wider profile may have made more."""
    return views < (1 if profile == "plain" else len(_FULL))


def view_name(view: int) -> str:
    """A view in words that stay the same: what a reviewer and an auditor read."""
    return "full" if view == 0 else f"full, {pdq.DIHEDRAL_VIEWS[view].replace('_', ' ')}"
