"""Encoded images -> PDQ codes and quality, batched over threads.

PDQ is Meta's perceptual hash: 256 bits, compared by Hamming distance (ThreatExchange pdq/,
hashing.pdf). In mode "exact" codes are equal bit for bit to the reference *core* at full
resolution, which is what `pdqhash` and `threatexchange` compute. Meta's C++ *file tool* first
squeezes to 512 x 512 and lands 7-9 bits away on large images (18 seen): a list may contain either.

Mode "fast" looks at the grey, perhaps scaled picture of a JPEG and is some bits off;
docs/pdq.md says how many. A picture on which it could be further off takes the exact way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from matchers import images, limits
from matchers.errors import DecodeError
from matchers.grey import StoredGrey, grey_as_stored
from matchers.pdq import _code, _exact, _fused
from matchers.threads import each

Codes = npt.NDArray[np.uint8]
Coefficients = npt.NDArray[np.float32]

Mode = Literal["exact", "fast"]
"""How closely codes follow the reference: bit for bit, or nearly and sooner."""

DIHEDRAL_VIEWS: Final = (
    "original",
    "rotated_90",
    "rotated_180",
    "rotated_270",
    "flipped_x",
    "flipped_y",
    "flipped_plus_1",
    "flipped_minus_1",
)
"""Row order of `dihedral`, the reference's."""


def _dct_basis() -> npt.NDArray[np.float32]:
    """D[i, j] = sqrt(2/64) cos(pi/128 (i + 1)(2j + 1)), computed as pdqhashing.cpp does."""
    scale = float(np.float32(math.sqrt(2.0 / 64)))
    return np.array(
        [
            [
                np.float32(scale * math.cos((math.pi / 2 / 64) * (i + 1) * (2 * j + 1)))
                for j in range(64)
            ]
            for i in range(16)
        ],
        dtype=np.float32,
    )


DCT_BASIS: Final = _dct_basis()
"""Frequencies 1 to 16 of PDQ's transform, float32 [16, 64]."""


@dataclass(frozen=True)
class PdqBatch:
    """Codes of a batch of images, row by row.

    Attributes:
        codes: uint8 [n, 32], the bytes of the usual hex string; zero where the row failed.
        quality: uint8 [n], 0-100; zero where the row failed.
        failures: for each row None, or the `DecodeError.reason` for which it has no code.
    """

    codes: Codes
    quality: npt.NDArray[np.uint8]
    failures: tuple[str | None, ...]

    def hex(self, row: int) -> str:
        """The row's code as 64 lower-case hex digits, as ThreatExchange lists write it."""
        code: bytes = self.codes[row].tobytes()
        return code.hex()


def hash_images(
    blobs: Sequence[bytes], *, mode: Mode = "exact", threads: int | None = None
) -> PdqBatch:
    """Decode and hash encoded images; a row that cannot be decoded fails alone.

    Args:
        blobs: encoded images, one each.
        mode: "exact": equal to the reference core at full resolution; "fast": nearly, sooner.
        threads: how many images are worked on at once; None = one for each core.

    Raises:
        ValueError: for an unknown mode.
    """
    check_mode(mode)

    def one(blob: bytes) -> tuple[Codes, int] | str:
        try:
            return hash_blob(blob, mode=mode)
        except DecodeError as error:
            return error.reason

    results = each(one, blobs, threads)
    codes = np.zeros((len(blobs), limits.PDQ_BYTES), np.uint8)
    quality = np.zeros(len(blobs), np.uint8)
    for row, result in enumerate(results):
        if not isinstance(result, str):
            codes[row], quality[row] = result
    failures = tuple(result if isinstance(result, str) else None for result in results)
    codes.setflags(write=False)
    quality.setflags(write=False)
    return PdqBatch(codes, quality, failures)


def check_mode(mode: str) -> None:
    """Refuse a mode there is not.

    Raises:
        ValueError: naming the modes there are.
    """
    if mode not in get_args(Mode):
        modes = " and ".join(repr(known) for known in get_args(Mode))
        raise ValueError(f"unknown PDQ mode {mode!r}: there are {modes}")


def hash_blob(blob: bytes, *, mode: Mode = "exact") -> tuple[Codes, int]:
    """Decode and hash one encoded image.

    Returns:
        The code (uint8 [32]) and its quality, 0-100.

    Raises:
        DecodeError: as `images.decode`.
        ValueError: for an unknown mode.
    """
    check_mode(mode)
    if mode == "fast":
        nearly = _hash_fast(blob)
        if nearly is not None:
            return nearly
    with images.decoded(blob) as pixels:
        return hash_pixels(pixels)


def _hash_fast(blob: bytes) -> tuple[Codes, int] | None:
    """Code and quality from the grey picture; None where only the exact way will do."""
    with grey_as_stored(blob) as grey:
        found = None if grey is None else coefficients_of_grey(grey)
    if found is None:
        return None
    coefficients, quality = found
    return packed(coefficients), quality


def hash_pixels(pixels: npt.NDArray[np.uint8]) -> tuple[Codes, int]:
    """Hash pixels.

    Args:
        pixels: uint8 [height, width, 3] RGB, or [height, width] grey.

    Returns:
        The code (uint8 [32]) and its quality, 0-100.

    Raises:
        ValueError: for another shape or dtype.
    """
    coefficients, quality = coefficients_of_pixels(pixels)
    return packed(coefficients), quality


def dihedral(pixels: npt.NDArray[np.uint8]) -> tuple[Codes, int]:
    """Codes of all eight rotations and reflections from one DCT, in `DIHEDRAL_VIEWS` order.

    Not always the codes of the rotated *pixels*: where a box window is even the filter is not
    symmetric. They are what the reference's dihedral function returns.

    Args:
        pixels: as for `hash_pixels`.

    Returns:
        Codes (uint8 [8, 32]) and the quality, which all views share.
    """
    coefficients, quality = coefficients_of_pixels(pixels, always_filter=True)
    codes = np.zeros((len(DIHEDRAL_VIEWS), limits.PDQ_BYTES), np.uint8)
    if coefficients is not None:
        _code.pack_views(coefficients, codes)
    return codes, quality


def coefficients_of_pixels(
    pixels: npt.NDArray[np.uint8], *, always_filter: bool = False
) -> tuple[Coefficients | None, int]:
    """What the code of a picture is packed from, as the reference core computes it.

    Args:
        pixels: as for `hash_pixels`.
        always_filter: whether a 64 x 64 picture is blurred too, as the reference's dihedral
            function does it and its hash does not.

    Returns:
        Coefficients (float32 [16, 16]) and quality; None and 0 for a picture too small to hash.

    Raises:
        ValueError: for another shape or dtype.
    """
    is_gray = pixels.ndim == 2
    if pixels.dtype != np.uint8 or not (is_gray or (pixels.ndim == 3 and pixels.shape[2] == 3)):
        raise ValueError(
            f"pixels are {pixels.dtype} {pixels.shape}: give uint8 [height, width, 3] or "
            "[height, width]"
        )
    if min(pixels.shape[:2]) < limits.PDQ_MIN_SIDE_PIXELS:
        return None, 0
    height, width = pixels.shape[:2]
    plane = np.empty((64, 64), np.float32)
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    _exact.plane_of(rows, width, always_filter, plane)
    return coefficients_of_plane(plane), int(_code.quality_of(plane))


def coefficients_of_grey(grey: StoredGrey) -> tuple[Coefficients, int] | None:
    """Nearly the same of a JPEG's grey picture, sooner; None where only the exact way will do.

    That is where the picture is small, or where the code hangs on little: many coefficients next
    to the median, or few gradients.
    """
    if min(grey.height, grey.width) <= limits.PDQ_PLANE_SIDE:
        return None
    plane = np.empty((64, 64), np.float32)
    _fused.plane_of(grey.pixels, grey.height, grey.width, grey.scale, grey.turn, plane)
    quality: int = _code.quality_of(plane)
    coefficients = coefficients_of_plane(plane)
    crowding = _code.crowding(coefficients, limits.PDQ_FAST_REACH)
    if quality < limits.PDQ_FAST_MIN_QUALITY or crowding > limits.PDQ_FAST_MAX_CROWDING:
        return None
    return coefficients, quality


def coefficients_of_plane(plane: npt.NDArray[np.float32]) -> Coefficients:
    """DCT of a 64 x 64 plane: float32 [16, 16]."""
    coefficients = np.empty((16, 16), np.float32)
    _code.coefficients_of(plane, DCT_BASIS, coefficients)
    return coefficients


def packed(coefficients: Coefficients | None) -> Codes:
    """The code of coefficients (uint8 [32]); zero for a picture too small to hash."""
    code = np.zeros(limits.PDQ_BYTES, np.uint8)
    if coefficients is not None:
        _code.pack(coefficients, code)
    return code
