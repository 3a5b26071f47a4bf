"""Luma of one video frame after another -> PDQ codes, nearly the reference's.

A frame of 720p costs a decoder about 1.5 ms; this adds 0.2. The blur is `_fused`'s weighted sum,
whose weights are worked out once for all frames of a size. Codes differ from the exact ones only
where a coefficient lies within rounding of the median.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from matchers import limits
from matchers.pdq import _code, _fused
from matchers.pdq.hasher import DIHEDRAL_VIEWS, coefficients_of_plane

BLACK: Final = 16
WHITE: Final = 235
"""Luma of black and white in video of limited range (ITU-R BT.601-7, section 2.5.3)."""


@dataclass(frozen=True)
class Glance:
    """What a frame looks like, at little cost.

    Attributes:
        plane: float32 [64, 64], full range.
        coefficients: float32 [16, 16], of which the code is packed.
        code: uint8 [32].
        quality: 0-100.
    """

    plane: npt.NDArray[np.float32]
    coefficients: npt.NDArray[np.float32]
    code: npt.NDArray[np.uint8]
    quality: int

    def dihedral(self) -> npt.NDArray[np.uint8]:
        """Codes of all eight rotations and reflections, uint8 [8, 32], as `pdq.dihedral`."""
        codes = np.zeros((len(DIHEDRAL_VIEWS), limits.PDQ_BYTES), np.uint8)
        _code.pack_views(self.coefficients, codes)
        return codes


class LumaHasher:
    """Hashes frames of one size and one turn."""

    def __init__(
        self,
        shape: tuple[int, int],
        turn: tuple[bool, bool, bool] = (False, False, False),
    ) -> None:
        """Work out the blur of frames.

        Args:
            shape: rows and columns of a stored frame, each at least 5.
            turn: how the shown frame comes from it, as in `images.TURNS`.
        """
        self._shape = shape
        self._rows = _fused.weights_of(shape[0], 1, turn[0])
        self._columns = _fused.weights_of(shape[1], 1, turn[1])
        self._exchanged = turn[2]

    def glance(self, luma: npt.NDArray[np.uint8], *, limited_range: bool) -> Glance:
        """Hash one frame.

        Args:
            luma: uint8 [height, width]; rows may lie apart.
            limited_range: black is 16 and white 235: the code is the same, quality is not.

        Raises:
            ValueError: for another shape or dtype.
        """
        if luma.shape != self._shape or luma.dtype != np.uint8:
            raise ValueError(f"luma is {luma.dtype} {luma.shape}, not uint8 {self._shape}")
        # Rows that lie apart cost more than copying them; and the kernel is compiled for one kind.
        rows = np.require(luma, requirements=["C", "W"])
        plane = np.empty((64, 64), np.float32)
        _fused.weighted(rows, *self._rows, *self._columns, self._exchanged, plane)
        if limited_range:
            plane = (plane - np.float32(BLACK)) * np.float32(255 / (WHITE - BLACK))
        code = np.zeros(limits.PDQ_BYTES, np.uint8)
        coefficients = coefficients_of_plane(plane)
        _code.pack(coefficients, code)
        return Glance(plane, coefficients, code, int(_code.quality_of(plane)))
