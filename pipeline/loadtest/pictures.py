"""Pictures to upload: generated from a seed, or a folder of photographs.

A generated picture is a soft random field with hard-edged shapes on it and a little grain: texture
at every scale, as photographs have, so that its file is about as long and its code as telling. No
two resemble each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from pipeline.errors import LoadTestRefused

_FIELD_PIXELS: Final = 192  # the field is smooth: made small, and enlarged
_WAVES, _SHAPES = 24, 6
_GRAIN: Final = 3.0  # standard deviation, of 255
_PHOTOS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
PLANTED: Final = 12
"""The first so many are the indicators."""
LEAST_PHOTOS: Final = 2 * PLANTED


def generated(seed: int, count: int) -> Iterator[Image.Image]:
    """`count` pictures of 1024 x 768 pixels; the first are the same for any count."""
    for number in range(count):
        yield picture(np.random.default_rng([seed, number]), 1024, 768)


def photographs(folder: Path, count: int) -> Iterator[Image.Image]:
    """`count` photographs of a folder; where it has fewer, all but the first `PLANTED` again.

    Raises:
        LoadTestRefused: it has too few.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PHOTOS)
    if len(paths) < LEAST_PHOTOS:
        raise LoadTestRefused(
            f"{folder} has {len(paths)} photographs (.jpg, .png, .webp): give a folder of "
            f"{LEAST_PHOTOS} or more, or leave --photos out to have pictures generated"
        )
    for path in itertools.islice(
        itertools.chain(paths[:PLANTED], itertools.cycle(paths[PLANTED:])), count
    ):
        with Image.open(path) as image:
            image.draft("RGB", (2048, 2048))
            yield image.convert("RGB")


def picture(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """One picture."""
    y, x = np.mgrid[0:_FIELD_PIXELS, 0:_FIELD_PIXELS] / _FIELD_PIXELS
    field = np.zeros((_FIELD_PIXELS, _FIELD_PIXELS, 3))
    for _ in range(_WAVES):
        across, down = random.uniform(-6, 6, 2)
        phase = random.uniform(0, 2 * np.pi, 3)
        weight = random.uniform(0.2, 1, 3) / (0.5 + np.hypot(across, down))
        field += weight * np.cos(2 * np.pi * (across * x + down * y)[..., None] + phase)
    field = 128 + 110 * field / np.abs(field).max()
    for _ in range(_SHAPES):
        centre_x, centre_y = random.uniform(0.1, 0.9, 2)
        inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < random.uniform(0.04, 0.2) ** 2
        field[inside] = random.uniform(0, 255, 3)
    enlarged = Image.fromarray(np.clip(field, 0, 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = random.normal(0, _GRAIN, (height, width, 1)).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(enlarged) + grain, 0, 255).astype(np.uint8))
