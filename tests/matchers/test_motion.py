"""Motion photos: the clip behind a still is looked at as a part of its own."""

from __future__ import annotations

import numpy as np
import pytest
from support.pictures import smooth, store
from support.videos import encode

from matchers.examine import Wanted, examine
from matchers.motion import clip_behind

STILL = store(smooth(60, 80), "JPEG")
CLIP = encode([smooth(60, 80, seed=5)] * 3)


def test_the_clip_behind_a_still_is_its_first_entry():
    """The still keeps its own place, and both are examined."""
    still, clip = examine(STILL + CLIP, Wanted(frozenset({"image", "video"})))
    assert (still.locator, still.medium, still.reason) == ((), "image", None)
    assert (clip.locator, clip.medium, clip.reason) == ((1,), "video", None)
    assert still.fingerprints.is_still
    assert not clip.fingerprints.is_still


def test_an_order_on_images_leaves_the_clip_shut():
    """What a file is part by part decides, not what it is called."""
    _, clip = examine(STILL + CLIP, Wanted(frozenset({"image"})))
    assert (clip.reason, clip.fingerprints) == ("media_out_of_scope", None)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_a_plain_still_has_none(name):
    """Not even a file of the same family of boxes."""
    assert clip_behind(store(smooth(60, 80), name)) is None


def test_any_bytes_may_stand_between():
    """Phones write a trailer of their own before the clip."""
    noise = np.random.default_rng(1).bytes(5_000)
    assert clip_behind(STILL + noise + CLIP) == CLIP
