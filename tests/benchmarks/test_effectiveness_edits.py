"""Edits: pure, seeded, and what they say they are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.effectiveness import changes
from benchmarks.effectiveness.edits import EDITS, Edit, edited

BY_NAME = {edit.name: edit for edit in EDITS}


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A generated picture with structure everywhere."""
    rng = np.random.default_rng(11)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    return coarse.resize((240, 180), Image.Resampling.BICUBIC)


def _opened(blob: bytes) -> Image.Image:
    return Image.open(io.BytesIO(blob))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_an_edit_is_pure_and_seeded(edit: Edit, picture: Image.Image) -> None:
    """The same bytes for the same seed and key, whatever came before; the picture is untouched."""
    before = picture.tobytes()
    first = edited(picture, edit, b"key", seed=1)
    edited(picture, EDITS[0], b"other", seed=2)
    assert edited(picture, edit, b"key", seed=1) == first
    assert picture.tobytes() == before
    image = _opened(first)
    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert min(image.size) >= 32


def test_seed_and_picture_change_the_parameters(picture: Image.Image) -> None:
    """Another seed, another picture: another crop."""
    edit = BY_NAME["crop, each side 0-10%"]
    made = {edited(picture, edit, key, seed) for key in (b"a", b"b") for seed in (1, 2)}
    assert len(made) == 4


def test_names_tell_edits_apart() -> None:
    """They are part of the seed, and rows of every table."""
    assert len(BY_NAME) == len(EDITS)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("crop, each side 0-2%", 0.95, 1.0),
        ("crop, each side 0-10%", 0.79, 1.0),
        ("crop evenly, 5-10% a side", 0.79, 0.91),
        ("crop, each side 5-20%", 0.59, 0.91),
        ("resize to 25-100%", 0.24, 1.0),
        ("resize to 100-200%", 0.99, 2.0),
        ("border 1-12%, any colour", 1.0, 1.25),
    ],
)
def test_sizes_are_within_the_stated_range(
    name: str, least: float, most: float, picture: Image.Image
) -> None:
    """Both sides, over many draws."""
    for key in range(20):
        image = _opened(edited(picture, BY_NAME[name], bytes([key])))
        for before, after in zip(picture.size, image.size, strict=True):
            assert least - 0.01 <= after / before <= most + 0.01


def test_a_screenshot_has_the_picture_in_it(picture: Image.Image) -> None:
    """Whole, somewhere on the screen."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        screen = np.asarray(changes.screenshot(picture, rng), np.int16)
        pixels = np.asarray(picture, np.int16)
        height, width = pixels.shape[:2]
        left = (screen.shape[1] - width) // 2
        tops = range(screen.shape[0] - height + 1)
        assert any(
            (screen[top : top + height, left : left + width] == pixels).all() for top in tops
        )


def test_a_straightened_picture_has_no_corners_of_the_turn() -> None:
    """What was filled in is cut off: white stays white."""
    white = Image.new("RGB", (300, 200), "white")
    rng = np.random.default_rng(4)
    for _ in range(20):
        pixels = np.asarray(changes.straighten(white, rng))
        assert pixels[2:-2, 2:-2].min() >= 250
