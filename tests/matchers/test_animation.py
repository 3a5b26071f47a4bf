"""Animations and files of several pages: every picture that differs is seen, as it is shown."""

from __future__ import annotations

import io

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from support.pictures import bits_apart, reference, smooth, store

from matchers import limits
from matchers.errors import DecodeError
from matchers.fingerprints import of_pictures
from matchers.pictures import Picture, pictures

SCENES = [smooth(96, 128, seed) for seed in range(70, 76)]


def animate(file_format: str, frames: list[np.ndarray | Image.Image], **options: object) -> bytes:
    """Encode frames as an animation, 200 ms each unless told otherwise."""
    images = [one if isinstance(one, Image.Image) else Image.fromarray(one) for one in frames]
    file = io.BytesIO()
    settings = {"duration": 200, "loop": 0} if file_format != "TIFF" else {}
    settings |= {"lossless": True} if file_format == "WEBP" else {}
    settings |= {"quality": 95} if file_format == "AVIF" else {}
    images[0].save(
        file, file_format, save_all=True, append_images=images[1:], **(settings | options)
    )
    return file.getvalue()


def seen(blob: bytes) -> tuple[list[tuple[np.ndarray, Picture]], str | None]:
    """(pixels, picture) of each, and the reason for which reading ended early."""
    found = []
    try:
        for picture in pictures(blob, "image"):
            found.append((picture.pixels.copy(), picture))  # noqa: PERF401 - errors come midway
    except DecodeError as error:
        return found, error.reason
    return found, None


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_every_scene_of_an_animation_is_seen_with_its_time(file_format):
    """Four scenes of 0.4 s: each is found by its own code, and its span is when it is shown."""
    blob = animate(file_format, [scene for scene in SCENES[:4] for _ in range(2)])
    found, reason = of_pictures(pictures(blob, "image"), "plain")
    assert reason is None
    for number, scene in enumerate(SCENES[:4]):
        code, _ = reference(scene)
        near = np.flatnonzero(np.bitwise_count(found.codes ^ code).sum(axis=1) <= 20)
        ((start, end),) = found.spans_seconds(near)
        assert (start, end) == pytest.approx((0.4 * number, 0.4 * number + 0.4), abs=0.01)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_one_frame_among_many_is_seen(file_format):
    """A picture flashed once for 20 ms is not missed."""
    frames = [SCENES[0]] * 25 + [SCENES[1]] + [SCENES[0]] * 14
    frames = [np.minimum(one, 254) + np.uint8(n % 2) for n, one in enumerate(frames)]
    blob = animate(file_format, frames, duration=20)
    found, _ = of_pictures(pictures(blob, "image"), "plain")
    code, _ = reference(SCENES[1])
    assert np.bitwise_count(found.codes ^ code).sum(axis=1).min() <= 20
    assert len(found.frames) <= 6


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_frames_are_seen_as_they_are_composed(file_format):
    """A frame that only changes a corner is shown with the rest of the one before."""
    first = Image.fromarray(SCENES[0]).convert("RGBA")
    patch = Image.new("RGBA", first.size, (0, 0, 0, 0))
    patch.paste(Image.fromarray(SCENES[1]).convert("RGBA").crop((0, 0, 64, 96)), (0, 0))
    options = {"blend": 1} if file_format == "PNG" else {}
    if file_format == "GIF":
        options = {"disposal": 1}
    composed = first.copy()
    composed.alpha_composite(patch)
    second = composed if file_format == "WEBP" else patch
    blob = animate(file_format, [first, second], **options)
    shown = seen(blob)[0][-1][0]
    expected = np.asarray(composed.convert("RGB"))
    assert bits_apart(reference(shown)[0], reference(expected)[0]) <= 20


def test_a_see_through_animation_is_seen_on_white_and_on_black():
    """Every frame of it: white ink on nothing is only seen on a dark page."""
    layers = []
    for scene in SCENES[:2]:
        layer = Image.fromarray(scene).convert("RGBA")
        alpha = Image.fromarray(np.where(SCENES[2][:, :, 0] > 128, 255, 0).astype(np.uint8))
        layer.putalpha(alpha)
        layers.append(layer)
    blob = animate("PNG", layers, blend=0, disposal=1)
    found, _ = seen(blob)
    assert [one.rendering for _, one in found] == ["as_shown", "on_black"] * 3
    assert [one.time_seconds for _, one in found] == [0, 0, 0.2, 0.2, 0.4, 0.4]
    for (pixels, _), level in zip(found[2:4], (255, 0), strict=True):
        ground = Image.new("RGBA", layers[1].size, (level, level, level, 255))
        ground.alpha_composite(layers[1])
        np.testing.assert_array_equal(pixels, np.asarray(ground.convert("RGB")))


def test_a_frame_in_white_ink_on_nothing_is_found_on_black():
    """On white such an animation shows nothing at all."""
    layers = []
    for scene in SCENES[:2]:
        layer = Image.new("RGBA", (scene.shape[1], scene.shape[0]), (255, 255, 255, 0))
        layer.putalpha(Image.fromarray(scene).convert("L"))
        layers.append(layer)
    found, _ = of_pictures(pictures(animate("PNG", layers, blend=0, disposal=1), "image"), "plain")
    code, _ = reference(np.asarray(Image.fromarray(SCENES[1]).convert("L").convert("RGB")))
    assert min(bits_apart(one, code) for one in found.codes) <= 10


def test_an_animation_that_claims_to_last_for_days_is_seen_to_its_end():
    """Times stay within what a candidate can hold."""
    layers = [Image.fromarray(scene) for scene in SCENES[:3]]
    found, reason = seen(animate("WEBP", layers, duration=2**24 - 1))
    assert reason is None
    assert len(found) == 4
    assert max(one.time_seconds for _, one in found) == limits.MAX_VIDEO_SECONDS


def test_frames_without_a_duration_are_shown_as_browsers_show_them():
    """0 and 10 ms mean 100 ms: encoders write them, and no viewer flashes that fast."""
    blob = animate("GIF", SCENES[:3], duration=10)
    assert [one.time_seconds for _, one in seen(blob)[0]] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "WEBP", "JPEG", "AVIF"])
def test_a_still_has_one_picture_and_no_time(file_format):
    """Nothing is an animation that does not move."""
    found, reason = seen(store(SCENES[0], file_format))
    assert reason is None
    assert [one.time_seconds for _, one in found] == [None]


@pytest.mark.parametrize("file_format", ["TIFF", "MPO"])
def test_every_page_is_seen_without_a_time(file_format):
    """Viewers show the first page; the others are there for whoever turns it."""
    found, reason = seen(animate(file_format, [*SCENES[:2], smooth(50, 60, seed=9)]))
    assert reason is None
    assert [one.time_seconds for _, one in found] == [None] * 3
    codes = [reference(pixels)[0] for pixels, _ in found]
    for code, scene in zip(codes, [*SCENES[:2], smooth(50, 60, seed=9)], strict=True):
        assert bits_apart(code, reference(scene)[0]) <= 10


# --- damaged and refused --------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_a_cut_off_animation_shows_what_it_has_and_says_why(file_format):
    """What came before the damage is seen, then the reason follows."""
    blob = animate(file_format, SCENES)
    found, reason = seen(blob[: len(blob) * 2 // 3])
    if file_format == "WEBP":  # libwebp refuses a container that is not whole
        assert (found, reason) == ([], "corrupt")
        return
    assert bits_apart(reference(found[0][0])[0], reference(SCENES[0])[0]) <= 20
    assert len(found) >= 3
    assert reason == "truncated"


def test_too_many_frames_are_seen_up_to_the_limit(monkeypatch):
    """The rest is not looked at, and the part says so."""
    monkeypatch.setattr(limits, "MAX_ANIMATION_FRAMES", 3)
    found, reason = seen(animate("GIF", SCENES))
    assert reason == "too_many_frames"
    assert len(found) == 4  # three scenes, and the last once more as it goes


def test_too_many_pixels_in_all_are_seen_up_to_the_limit(monkeypatch):
    """A small file can hold thousands of large frames."""
    monkeypatch.setattr(limits, "MAX_ANIMATION_PIXELS", 2 * 96 * 128)
    assert seen(animate("GIF", SCENES))[1] == "too_many_frames"


def test_a_page_of_too_many_pixels_is_refused_by_its_header(monkeypatch):
    """Pages differ in size: each is checked before it is loaded."""
    monkeypatch.setattr(limits, "MAX_PIXELS", 96 * 128)
    found, reason = seen(animate("TIFF", [SCENES[0], smooth(200, 200, seed=1)]))
    assert len(found) == 1
    assert reason == "too_many_pixels"


def test_every_picture_of_a_heic_is_looked_at():
    """A second picture that stands by itself is shown by viewers, and would hide a listed one."""
    file = io.BytesIO()
    several = pillow_heif.from_pillow(Image.fromarray(SCENES[0]))
    several.add_from_pillow(Image.fromarray(SCENES[1]))
    several.save(file, save_all=True)
    found, reason = of_pictures(pictures(file.getvalue(), "image"), "plain")
    assert reason is None
    assert found.is_still
    for scene in SCENES[:2]:
        assert min(bits_apart(one, reference(scene)[0]) for one in found.codes) <= 12
