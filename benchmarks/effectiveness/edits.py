"""What people do to a picture before they upload it: pure, seeded edits, picture in, JPEG out.

Every edit draws its parameters from the range it states. The draw depends on the seed, the
picture's own bytes and the edit's name, so neither the order nor the company of other edits changes
it. The list began as that of the study in which the views were chosen (its ranges, not its draws)
and has more: tones, perspective, collages. Screenshots are frames drawn here, not any
application's own.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from PIL import Image

from benchmarks.effectiveness import changes

Group = Literal[
    "tone and size", "crops", "borders and frames", "overlays", "turns", "several at once",
    "beyond the views",
]  # fmt: skip

SEED: Final = 20_261_125
LEAST_SIDE_PIXELS: Final = 64
"""Of a picture to edit: below that a crop leaves nothing."""

_QUALITY: Final = (70, 95)  # of the JPEG that an edit ends in, where the edit is not about it


@dataclass(frozen=True)
class Edit:
    """One kind of change.

    Attributes:
        name: with the range of its parameters; part of the seed.
        group: what kind of thing it is.
        change: RGB picture and generator -> RGB picture.
        quality: least and greatest quality of the JPEG written.
    """

    name: str
    group: Group
    change: changes.Change
    quality: tuple[int, int] = _QUALITY


def edited(picture: Image.Image, edit: Edit, key: bytes, seed: int = SEED) -> bytes:
    """Apply an edit.

    Args:
        picture: RGB, both sides at least `LEAST_SIDE_PIXELS`; not changed.
        edit: what to do.
        key: what tells this picture from others: the digest of its file.
        seed: of the run.

    Returns:
        A JPEG file.
    """
    named = hashlib.sha256(edit.name.encode() + b"\0" + key).digest()
    rng = np.random.default_rng([seed, int.from_bytes(named[:8], "big")])
    changed = edit.change(picture, rng)
    written = io.BytesIO()
    least, most = edit.quality
    changed.save(written, "JPEG", quality=int(rng.integers(least, most + 1)))
    return written.getvalue()


EDITS: Final = (
    Edit("JPEG quality 10-90", "tone and size", changes.same, (10, 90)),
    Edit("resize to 25-100%", "tone and size", changes.resize(0.25, 1)),
    Edit("resize to 100-200%", "tone and size", changes.resize(1, 2)),
    Edit("width stretched 60-140%", "tone and size", changes.stretch),
    Edit("brightness, contrast, colour ±30%", "tone and size", changes.tones),
    Edit("gamma 0.6-1.7", "tone and size", changes.gamma),
    Edit("greyscale", "tone and size", changes.grey),
    Edit("colour cast 5-25%", "tone and size", changes.tint),
    Edit("noise, sigma 3-15", "tone and size", changes.noise),
    Edit("blur, radius 0.5-3", "tone and size", changes.blur),
    Edit("sharpen", "tone and size", changes.sharpen),
    Edit("crop, each side 0-2%", "crops", changes.crop_sides(0, 0.02)),
    Edit("crop, each side 0-5%", "crops", changes.crop_sides(0, 0.05)),
    Edit("crop, each side 0-10%", "crops", changes.crop_sides(0, 0.10)),
    Edit("crop evenly, 1-5% a side", "crops", changes.crop_evenly(0.01, 0.05)),
    Edit("crop evenly, 5-10% a side", "crops", changes.crop_evenly(0.05, 0.10)),
    Edit("crop one side 2-10%", "crops", changes.crop_one(0.02, 0.10)),
    Edit("crop one side 10-20%", "crops", changes.crop_one(0.10, 0.20)),
    Edit("border 1-12%, any colour", "borders and frames", changes.border, (30, 95)),
    Edit("letterbox, 15-120% longer", "borders and frames", changes.letterbox),
    Edit("blurred fill, 15-120% longer", "borders and frames", changes.blurred_fill),
    Edit("meme bar 10-30% with words", "borders and frames", changes.meme_bar),
    Edit("screenshot (drawn frame)", "borders and frames", changes.screenshot),
    Edit("words anywhere, 8-18% high", "overlays", changes.caption),
    Edit("words on a dark band, 8-15%", "overlays", changes.caption_band),
    Edit("logo box 8-18% in a corner", "overlays", changes.logo),
    Edit("watermark, 10-35% opaque", "overlays", changes.watermark),
    Edit("mirrored", "turns", changes.flip),
    Edit("quarter and half turns", "turns", changes.quarter),
    Edit("rotated 0.5-11°", "turns", changes.rotate),
    Edit("rotated 0.5-11°, canvas grown", "turns", changes.rotate_grown),
    Edit("straightened 0.5-5°", "turns", changes.straighten),
    Edit(
        "crop 0-5% + resize 25-100%",
        "several at once",
        changes.one_by_one(changes.crop_sides(0, 0.05), changes.resize(0.25, 1)),
        (30, 90),
    ),
    Edit(
        "crop 0-5% + words",
        "several at once",
        changes.one_by_one(changes.crop_sides(0, 0.05), changes.caption),
    ),
    Edit(
        "mirrored + crop 0-5% + words",
        "several at once",
        changes.one_by_one(changes.flip, changes.crop_sides(0, 0.05), changes.caption),
    ),
    Edit(
        "border + mirrored",
        "several at once",
        changes.one_by_one(changes.border, changes.flip),
        (30, 95),
    ),
    Edit("border + words", "several at once", changes.one_by_one(changes.border, changes.caption)),
    Edit(
        "meme bar + crop 0-5%",
        "several at once",
        changes.one_by_one(changes.crop_sides(0, 0.05), changes.meme_bar),
    ),
    Edit(
        "screenshot of a 0-3% crop",
        "several at once",
        changes.one_by_one(changes.crop_sides(0, 0.03), changes.screenshot),
    ),
    Edit(
        "screenshot of words",
        "several at once",
        changes.one_by_one(changes.caption, changes.screenshot),
    ),
    Edit(
        "quarter turns + crop 0-5%",
        "several at once",
        changes.one_by_one(changes.quarter, changes.crop_sides(0, 0.05)),
    ),
    Edit(
        "rotated + crop 0-5%",
        "beyond the views",
        changes.one_by_one(changes.rotate, changes.crop_sides(0, 0.05)),
    ),
    Edit("perspective, corners 0-5%", "beyond the views", changes.perspective),
    Edit("crop, each side 5-20%", "beyond the views", changes.crop_sides(0.05, 0.20)),
    Edit("collage of two", "beyond the views", changes.collage),
)
"""In the order of the page."""
