"""The query views: what each profile costs, how much it looks up, and what it finds again.

Decoded pixels -> codes, on one core, at the photographs' own size and at 12 megapixels. Beside
the cost stands a handful of edits; docs/effectiveness.md has all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from benchmarks import timing
from benchmarks.hashing import LARGE
from benchmarks.scales import Scale
from matchers import limits, pdq, views
from matchers.hamming import HammingIndex

Edit = Callable[[Image.Image], Image.Image]
Pixels = npt.NDArray[np.uint8]

_MOST_TIMED: Final = 100  # photographs
_MOST_EDITED: Final = 200


def measure(photos: Sequence[Path], scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds and look-ups of every profile, and the share of edits found."""
    own = [_opened(path) for path in photos[:_MOST_EDITED]]
    large = [image.resize(LARGE, Image.Resampling.BICUBIC) for image in own[: scale.large_timed]]
    with timing.one_core() as pinned:
        say(f"{len(own[:_MOST_TIMED])} photographs at their own size")
        tables = [_cost("own", own[:_MOST_TIMED], scale.rounds)]
        say(f"{len(large)} photographs at 12 megapixels")
        tables.append(_cost("large", large, scale.large_rounds))
    say(f"{len(own)} photographs under {len(EDITS)} edits")
    return {"pinned": pinned, "tables": tables, "images": len(own), "edits": _found(own)}


def _cost(name: str, images: Sequence[Image.Image], rounds: int) -> dict[str, Any]:
    """Every profile over the same pixels, round by round."""
    pixels = [np.asarray(image) for image in images]

    def of(profile: views.Profile) -> Callable[[Pixels], object]:
        return lambda one: views.view_codes(one, profile)

    spent = timing.interleaved_over(
        {profile: of(profile) for profile in views.PROFILES}, pixels, rounds
    )
    return {
        "name": name,
        "images": len(pixels),
        "megapixels": float(np.mean([one.shape[0] * one.shape[1] for one in pixels])) / 1e6,
        "ways": [
            {
                "way": profile,
                "seconds_per_image": [second / len(pixels) for second in spent[profile]],
                "look_ups": float(
                    np.mean([len(views.view_codes(one, profile).codes) for one in pixels])
                ),
            }
            for profile in views.PROFILES
        ],
    }


def _found(images: Sequence[Image.Image]) -> list[dict[str, Any]]:
    """Share of the photographs that each profile finds after an edit, listed as they were."""
    listed = np.stack([pdq.hash_pixels(np.asarray(image))[0] for image in images])
    index = HammingIndex.build(listed)
    return [
        {
            "edit": name,
            **{
                profile: float(
                    np.mean(
                        [
                            _finds(np.asarray(edit(image)), row, index, listed, profile)
                            for row, image in enumerate(images)
                        ]
                    )
                )
                for profile in views.PROFILES
            },
        }
        for name, edit in EDITS.items()
    ]


def _finds(
    pixels: Pixels, row: int, index: HammingIndex, listed: Pixels, profile: views.Profile
) -> bool:
    """Whether the picture of `row` is found, as a match or, with "refine", as a near match."""
    found = views.view_codes(pixels, profile)
    radius = limits.REFINE_RADIUS_BITS if profile == "refine" else limits.PDQ_RADIUS_BITS
    matches = index.search(found.codes, radius)
    if bool(((matches.indicator == row) & (matches.distance <= limits.PDQ_RADIUS_BITS)).any()):
        return True
    near = views.near_matches(
        found.views,
        found.plane,
        found.planes,
        matches,
        listed[matches.indicator],
        limits.PDQ_RADIUS_BITS,
    )
    return row in near.indicator


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _bordered(share: float, colour: tuple[int, int, int]) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        margin = round(share * max(image.size))
        canvas = Image.new("RGB", (image.width + 2 * margin, image.height + 2 * margin), colour)
        canvas.paste(image, (margin, margin))
        return canvas

    return edit


def _upright(image: Image.Image, ground: Image.Image) -> Image.Image:
    """The picture in the middle of an upright canvas, 9:16, filled by `ground`."""
    height = max(image.height, image.width * 16 // 9)
    canvas = ground.resize((image.width, height))
    canvas.paste(image, (0, (height - image.height) // 2))
    return canvas


def _blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) / 30))


def _cropped(top: float, bottom: float, left: float, right: float) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        width, height = image.size
        sides = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
        return image.crop(tuple(round(side) for side in sides))  # type: ignore[arg-type]

    return edit


EDITS: Final[dict[str, Edit]] = {
    "flipped left to right": lambda one: one.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned a quarter": lambda one: one.transpose(Image.Transpose.ROTATE_90),
    "border of 5 %": _bordered(0.05, (90, 20, 60)),
    "letterbox 9:16": lambda one: _upright(one, Image.new("RGB", (1, 1), "black")),
    "blurred fill 9:16": lambda one: _upright(one, _blurred(one)),
    "cropped 2.5 % each side": _cropped(0.025, 0.025, 0.025, 0.025),
    "cropped 5 % at one side": _cropped(0.05, 0.0, 0.0, 0.0),
    "cropped off centre, up to 5 %": _cropped(0.045, 0.012, 0.031, 0.008),
    "turned 4 degrees": lambda one: one.rotate(4, Image.Resampling.BICUBIC),
}
