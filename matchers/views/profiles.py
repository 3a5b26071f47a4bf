"""Which views of a picture each profile looks up, as a table, and what a view is called.

A view is a region of the upload (all of it, or what is left once bars are cut) under a transform
(a flip, or the guess of an edit that made the upload). Its number is 100 x region + transform, and
stays what it is from version to version: candidates carry its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

Profile = Literal["plain", "standard", "thorough", "refine"]
"""plain: PDQ alone. standard: all flips and quarter turns, of the whole and of what is left once
bars are cut. thorough: small crops, rotations and captions besides. refine: thorough's views,
looked up at a wider radius, from where a crop is fitted to each candidate."""

PROFILES: Final[tuple[Profile, ...]] = get_args(Profile)
"""From the least looked at to the most; each holds the views of those before it."""

Missing = tuple[float, float]
"""Shares of the original's side that are missing at its two ends."""


@dataclass(frozen=True)
class Crop:
    """The upload as a crop of its original.

    Attributes:
        rows: missing at top and bottom.
        columns: missing at left and right.
    """

    name: str
    rows: Missing = (0.0, 0.0)
    columns: Missing = (0.0, 0.0)


@dataclass(frozen=True)
class Caption:
    """The upload as its original with a strip of text laid over.

    Attributes:
        rows: where the strip begins and ends, as shares of the height; it is bridged by what lies
            above and below.
    """

    name: str
    rows: tuple[float, float]


@dataclass(frozen=True)
class Turn:
    """The upload as its original turned a little.

    Attributes:
        degrees: how far.
        straightened: whether it was then cropped to an upright rectangle without corners.
    """

    name: str
    degrees: float
    straightened: bool = False


def _turns(degrees: tuple[float, ...], *, straightened: bool) -> tuple[Turn, ...]:
    """Each angle both ways."""
    ending = " and straightened" if straightened else ""
    return tuple(
        Turn(f"turned {abs(signed):g} degrees {way}{ending}", signed, straightened)
        for angle in degrees
        for signed, way in ((angle, "one way"), (-angle, "the other way"))
    )


REGIONS: Final = (
    "full",
    "plain bars cut",
    "plain bars cut evenly",
    "plain frame cut",
    "wavering bars cut",
    "wavering bars cut evenly",
    "wavering frame cut",
    "captioned bars cut",
    "wavering captioned bars cut",
    "blurred fill cut",
)
"""Region 0 is the whole upload; 1 + k is what a cut of kind k left (`_kernels.trim`)."""

FLIPS: Final = (
    "",
    "rotated 90",
    "rotated 180",
    "rotated 270",
    "flipped top to bottom",
    "flipped left to right",
    "flipped along a diagonal",
    "flipped along the other diagonal",
)
"""Transforms 0 to 7, in the order of `pdq.DIHEDRAL_VIEWS`."""

GUESSES: Final[tuple[Crop | Caption | Turn, ...]] = (
    Crop("resampled"),
    Crop("as if cropped 3% on each side", (0.03, 0.03), (0.03, 0.03)),
    Crop("as if cropped 5% on each side", (0.05, 0.05), (0.05, 0.05)),
    Crop("as if cropped 10% on each side", (0.10, 0.10), (0.10, 0.10)),
    Crop("as if cropped 5% at the top", rows=(0.05, 0.0)),
    Crop("as if cropped 5% at the bottom", rows=(0.0, 0.05)),
    Crop("as if cropped 5% at the left", columns=(0.05, 0.0)),
    Crop("as if cropped 5% at the right", columns=(0.0, 0.05)),
    Crop("as if cropped 10% at the top", rows=(0.10, 0.0)),
    Crop("as if cropped 10% at the bottom", rows=(0.0, 0.10)),
    Crop("as if cropped 10% at the left", columns=(0.10, 0.0)),
    Crop("as if cropped 10% at the right", columns=(0.0, 0.10)),
    Caption("without a caption at the bottom", (0.80, 0.95)),
    Caption("without a caption at the top", (0.05, 0.20)),
    *_turns((1.5, 3.5, 5.5, 7.5, 9.5), straightened=False),
    *_turns((1.5, 3.5), straightened=True),
)
"""Transforms 10 + k, and mirrored 50 + k. Chosen by greedy search for recall gained per look-up
(docs/views.md), with the ladders of angles and sides then filled up. New ones go at the end."""

FIRST_GUESS: Final = 10
FIRST_MIRRORED: Final = 50
REGION: Final = 100
"""Distance between the numbers of a transform in one region and in the next."""

_MIRRORED: Final = "mirrored"


def view_name(view: int) -> str:
    """What a view is called: "full", "plain bars cut, rotated 90", "full, as if cropped 5% ...".

    Raises:
        ValueError: no view has this number.
    """
    region, transform = divmod(view, REGION)
    if 0 <= region < len(REGIONS):
        if transform < len(FLIPS):
            return ", ".join(filter(None, (REGIONS[region], FLIPS[transform])))
        mirrored = transform >= FIRST_MIRRORED
        guess = transform - (FIRST_MIRRORED if mirrored else FIRST_GUESS)
        if 0 <= guess < len(GUESSES):
            parts = (REGIONS[region], _MIRRORED if mirrored else "", GUESSES[guess].name)
            return ", ".join(filter(None, parts))
    raise ValueError(f"there is no view {view}")


def in_profile(views: npt.NDArray[np.uint16], profile: Profile) -> npt.NDArray[np.bool_]:
    """Which of `views` belong to a profile: a wider one may have made more."""
    belongs: npt.NDArray[np.bool_]
    if profile == "plain":
        belongs = views == 0
    elif profile == "standard":
        belongs = views % REGION < len(FLIPS)
    else:
        belongs = np.ones(len(views), np.bool_)
    return belongs


def check_profile(profile: str) -> None:
    """Refuse a profile there is not.

    Raises:
        ValueError: naming those there are.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}: there are {', '.join(PROFILES)}")
