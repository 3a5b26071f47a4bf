"""Pixels -> the codes of all views of a profile. Pure; the work is in the kernels beside it.

Row 0 is PDQ of the picture as it is, bit for bit `pdq.hash_pixels`; rows 1 to 7 are its flips and
quarter turns. Everything else is computed from a grey picture of moderate size: where the borders
are, PDQ of what lies within, and a 64 x 64 plane of each region for the guesses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from matchers import images, limits
from matchers.grey import StoredGrey
from matchers.pdq import _code, _fused, hasher
from matchers.views._kernels.grey import shrink
from matchers.views._kernels.planes import clean_plane
from matchers.views._kernels.project import codes_of_crops, codes_of_turn
from matchers.views._kernels.trim import KINDS, find_boxes
from matchers.views.crops import CropTable, crop_table
from matchers.views.profiles import (
    FIRST_GUESS,
    FIRST_MIRRORED,
    FLIPS,
    GUESSES,
    REGION,
    Crop,
    Profile,
    Turn,
    check_profile,
)

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

_UPRIGHT: Final = images.TURNS[1]
_CROPS_AND_CAPTIONS: Final = crop_table(range(len(GUESSES)))
_CROPS: Final = crop_table([n for n, guess in enumerate(GUESSES) if isinstance(guess, Crop)])
_TURNS: Final = {n: guess for n, guess in enumerate(GUESSES) if isinstance(guess, Turn)}
_DCT_ACROSS: Final = np.ascontiguousarray(hasher.DCT_BASIS.T)


@dataclass(frozen=True)
class ViewCodes:
    """The codes of one picture.

    Attributes:
        codes: uint8 [n, 32]; row 0 is plain PDQ.
        quality: uint8 [n], PDQ quality of the region that each view shows.
        views: uint16 [n], numbers as in `profiles`; no number comes twice.
        planes: float32 [r, 64, 64], one for each region where the profile is "refine", else none.
        plane: int16 [n], the row of `planes` that each code belongs to; -1 where there is none.
    """

    codes: U8
    quality: U8
    views: U16
    planes: F32
    plane: npt.NDArray[np.int16]


@dataclass(frozen=True)
class _Region:
    """All of a picture, or what is left of it within a box.

    Attributes:
        number: as in `profiles.REGIONS`.
        box: int64 [4] in pixels of the stored grey picture: top, bottom, left, right.
        coefficients: float32 [16, 16] of PDQ.
        quality: PDQ's.
    """

    number: int
    box: I64
    coefficients: F32
    quality: int


def view_codes(pixels: U8, profile: Profile) -> ViewCodes:
    """Codes of all views of a picture.

    A region of a quality below `limits.PDQ_MIN_QUALITY` is not looked at further: the whole keeps
    its flips and is still searched for borders, another region is left out.

    Args:
        pixels: uint8 [height, width, 3] RGB, or [height, width] grey.
        profile: which views.

    Raises:
        ValueError: for another shape, dtype or profile.
    """
    check_profile(profile)
    pixels = np.require(pixels, requirements=["C", "W"])  # kernels are compiled for one kind
    coefficients, quality = hasher.coefficients_of_pixels(pixels)
    if coefficients is None:
        return _only(np.zeros(limits.PDQ_BYTES, np.uint8), 0)
    if profile == "plain":
        return _only(hasher.packed(coefficients), quality)
    height, width = pixels.shape[:2]
    factor = shrink_factor(height, width)
    is_ready = factor == 1 and pixels.ndim == 2
    stored = np.ascontiguousarray(pixels) if is_ready else _shrunk(pixels, factor)
    grey = StoredGrey(stored, height, width, factor, _UPRIGHT)
    return _all_views(grey, coefficients, quality, profile)


def view_codes_of_grey(grey: StoredGrey, profile: Profile) -> ViewCodes | None:
    """Nearly the same of a JPEG's grey picture (PDQ mode "fast"), sooner.

    Returns:
        None where only the exact way will do, as in `pdq.hash_blob`.

    Raises:
        ValueError: for an unknown profile.
    """
    check_profile(profile)
    grey = replace(grey, pixels=np.require(grey.pixels, requirements=["C", "W"]))
    found = hasher.coefficients_of_grey(grey)
    if found is None:
        return None
    coefficients, quality = found
    if profile == "plain":
        return _only(hasher.packed(coefficients), quality)
    factor = shrink_factor(*grey.pixels.shape)
    if factor > 1:
        stored = _shrunk(grey.pixels, factor)
        grey = StoredGrey(stored, grey.height, grey.width, grey.scale * factor, grey.turn)
    return _all_views(grey, coefficients, quality, profile)


def shrink_factor(height: int, width: int) -> int:
    """By how much a picture is made smaller before borders are looked for."""
    return max(1, min(height, width) // limits.VIEWS_SHORTER_SIDE_PIXELS)


def _shrunk(pixels: U8, factor: int) -> U8:
    """Mean luma of every factor x factor pixels."""
    height, width = pixels.shape[:2]
    grey = np.empty((-(-height // factor), -(-width // factor)), np.uint8)
    rows = np.ascontiguousarray(pixels).reshape(height, -1)
    shrink(rows, width, factor, grey)
    return grey


def _only(code: U8, quality: int) -> ViewCodes:
    """Plain PDQ and nothing else."""
    return ViewCodes(
        codes=code[None, :],
        quality=np.array([quality], np.uint8),
        views=np.zeros(1, np.uint16),
        planes=np.zeros((0, 64, 64), np.float32),
        plane=np.full(1, -1, np.int16),
    )


def _all_views(grey: StoredGrey, coefficients: F32, quality: int, profile: Profile) -> ViewCodes:
    """Every view of a picture whose own coefficients are known."""
    height, width = grey.pixels.shape
    whole = _Region(0, np.array([0, height, 0, width]), coefficients, quality)
    regions = [whole, *_within_borders(grey)]
    codes: list[U8] = []
    views: list[U16] = []
    counts: list[int] = []
    planes: list[F32] = []
    plane: list[npt.NDArray[np.int16]] = []
    for region in regions:
        parts = [_flips(region)]
        row = -1
        if profile != "standard" and region.quality >= limits.PDQ_MIN_QUALITY:
            clean = _clean_plane(grey, region.box)
            parts.append(_whole_guesses(clean, grey) if region is whole else _region_guesses(clean))
            if profile == "refine":
                row = len(planes)
                planes.append(clean)
        for part, transforms in parts:
            codes.append(part)
            views.append(REGION * region.number + transforms)
        counts.append(sum(len(part) for part, _ in parts))
        plane.append(np.full(counts[-1], row, np.int16))
    return ViewCodes(
        codes=np.concatenate(codes),
        quality=np.repeat(np.array([region.quality for region in regions], np.uint8), counts),
        views=np.concatenate(views).astype(np.uint16),
        planes=np.array(planes, np.float32).reshape(-1, 64, 64),
        plane=np.concatenate(plane),
    )


def _within_borders(grey: StoredGrey) -> Iterator[_Region]:
    """What is left once bars, frames or a blurred fill are cut; nothing of too low a quality."""
    boxes = np.empty((KINDS, 4), np.int64)
    kinds = np.empty(KINDS, np.int64)
    for n in range(find_boxes(grey.pixels, boxes, kinds)):
        top, bottom, left, right = boxes[n].tolist()
        plane = np.empty((64, 64), np.float32)
        _fused.plane_of(
            np.ascontiguousarray(grey.pixels[top:bottom, left:right]),
            min(bottom * grey.scale, grey.height) - top * grey.scale,
            min(right * grey.scale, grey.width) - left * grey.scale,
            grey.scale,
            grey.turn,
            plane,
        )
        quality = int(_code.quality_of(plane))
        if quality >= limits.PDQ_MIN_QUALITY:
            coefficients = hasher.coefficients_of_plane(plane)
            yield _Region(1 + int(kinds[n]), boxes[n], coefficients, quality)


def _clean_plane(grey: StoredGrey, box: I64) -> F32:
    """The plane that guesses are computed from, as the picture is shown: float32 [64, 64]."""
    plane = np.empty((64, 64), np.float32)
    clean_plane(grey.pixels, box, plane)
    flip_rows, flip_columns, swap = grey.turn
    plane = plane[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
    return np.ascontiguousarray(plane.T if swap else plane)


def _flips(region: _Region) -> tuple[U8, U16]:
    """Codes of a region's flips and quarter turns, and their transforms."""
    codes = np.empty((len(FLIPS), limits.PDQ_BYTES), np.uint8)
    _code.pack_views(region.coefficients, codes)
    return codes, np.arange(len(FLIPS), dtype=np.uint16)


def _region_guesses(plane: F32) -> tuple[U8, U16]:
    """Codes of a region's crops, upright, and their transforms."""
    codes = _crop_codes(_CROPS, plane, mirrored=False)
    return codes, FIRST_GUESS + _CROPS.guesses


def _whole_guesses(plane: F32, grey: StoredGrey) -> tuple[U8, U16]:
    """Codes of every guess of the whole, upright and mirrored, and their transforms."""
    crops = _crop_codes(_CROPS_AND_CAPTIONS, plane, mirrored=True)
    height, width = (grey.width, grey.height) if grey.turn[2] else (grey.height, grey.width)
    turns = np.empty((2 * len(_TURNS), limits.PDQ_BYTES), np.uint8)
    for n, turn in enumerate(_TURNS.values()):
        codes_of_turn(
            plane,
            turn.degrees,
            height / width,
            turn.straightened,
            hasher.DCT_BASIS,
            _DCT_ACROSS,
            turns[2 * n : 2 * n + 2],
        )
    of_crops = _CROPS_AND_CAPTIONS.guesses
    of_turns = np.fromiter(_TURNS, np.uint16)
    transforms = np.concatenate(
        [
            FIRST_GUESS + of_crops,
            FIRST_MIRRORED + of_crops,
            (of_turns[:, None] + np.array([FIRST_GUESS, FIRST_MIRRORED], np.uint16)).ravel(),
        ]
    )
    return np.concatenate([crops, turns]), transforms


def _crop_codes(table: CropTable, plane: F32, *, mirrored: bool) -> U8:
    """Codes of all crops of a table: uint8 [n, 32], or [2 n, 32] with the mirrored ones behind."""
    count = len(table.pairs)
    codes = np.empty((2 * count if mirrored else count, limits.PDQ_BYTES), np.uint8)
    codes_of_crops(plane, table.rows, table.columns, table.pairs, codes[:count], codes[count:])
    return codes
