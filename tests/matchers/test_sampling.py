"""Which frames are kept, and how closely they are looked at: what no picture can slip through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import bits_apart, smooth
from support.settings import SEEDED

from matchers import limits, pdq
from matchers.pdq.luma import Glance, LumaHasher
from matchers.sampling import Look, Sampler

PLANE, COEFFICIENTS = np.zeros((64, 64), np.float32), np.zeros((16, 16), np.float32)


def frame(bits: np.ndarray, quality: int = 100, level: float = 0) -> Glance:
    """A frame of which only the code, the quality and the mean level count."""
    return Glance(PLANE + np.float32(level), COEFFICIENTS, np.packbits(bits), quality)


def noise(rng: np.random.Generator) -> np.ndarray:
    """The bits of an unrelated picture."""
    return rng.integers(0, 2, 256, np.uint8)


def moved(bits: np.ndarray, by: int, rng: np.random.Generator) -> np.ndarray:
    """The bits of a picture that is `by` bits away."""
    other = bits.copy()
    other[rng.choice(256, by, replace=False)] ^= 1
    return other


@settings(SEEDED, max_examples=60)
@given(
    steps=st.lists(st.sampled_from([0, 2, 6, 7, 20, 40, 64, 65, 100]), min_size=1, max_size=80),
    seed=st.integers(0, 9_999),
)
def test_every_frame_is_near_the_last_one_kept(steps, seed):
    """While allowances last, no frame is more than `NEAR_EQUAL_BITS` from what stands for it."""
    rng = np.random.default_rng(seed)
    bits, kept, sampler = noise(rng), None, Sampler()
    for step in steps:
        bits = moved(bits, step, rng)
        one = frame(bits)
        if sampler.look(one, 1 / 25) is not Look.SAME:
            kept = one
        assert bits_apart(one.code, kept.code) <= limits.NEAR_EQUAL_BITS


@settings(SEEDED, max_examples=40)
@given(
    fps=st.sampled_from([1, 5, 24, 30, 60, 240]),
    moves=st.sampled_from([7, 30, 60, 128]),
    seed=st.integers(0, 9_999),
)
def test_every_view_of_a_moving_scene_is_looked_at_each_half_second(fps, moves, seed):
    """Whatever else happens, `STEADY_SECONDS` and a frame never pass without a close look."""
    rng = np.random.default_rng(seed)
    bits, sampler, last = noise(rng), Sampler(), 0.0
    for number in range(3 * fps + 2):
        bits = moved(bits, moves, rng)
        if sampler.look(frame(bits), 1 / fps if number else 0) is Look.KEY:
            last = number / fps
        assert number / fps - last <= limits.STEADY_SECONDS + 1 / fps


@pytest.mark.parametrize("fps", [10, 30, 60])
def test_a_picture_shown_for_half_a_second_is_seen_closely_in_any_flicker(fps):
    """A minute of noise uses up what is allowed for cuts; a still is seen all the same."""
    rng = np.random.default_rng(fps)
    sampler = Sampler()
    for _ in range(60 * fps):
        sampler.look(frame(noise(rng)), 1 / fps)
    for _ in range(20):
        still = frame(noise(rng))
        shown = int(limits.STEADY_SECONDS * fps) + 2
        looks = [sampler.look(still, 1 / fps) for _ in range(shown)]
        assert Look.KEY in looks
        for _ in range(fps // 3):
            sampler.look(frame(noise(rng)), 1 / fps)


def test_flicker_is_thinned_evenly():
    """What is kept of endless noise is bounded by its duration, and spread over it."""
    rng = np.random.default_rng(3)
    sampler, fps, seconds = Sampler(), 60, 300
    looks = [sampler.look(frame(noise(rng)), 1 / fps) for _ in range(fps * seconds)]
    keys = np.flatnonzero([look is Look.KEY for look in looks])
    kept = np.flatnonzero([look is not Look.SAME for look in looks])
    rate = limits.CUTS_PER_SECOND + 1 / limits.STEADY_SECONDS
    assert len(keys) <= limits.CUTS_AT_ONCE + rate * seconds + 1
    assert len(kept) <= limits.MOVING_AT_ONCE + len(keys) + limits.MOVING_PER_SECOND * seconds
    late = kept[kept > len(looks) // 2]
    assert np.diff(late).max() <= fps / limits.MOVING_PER_SECOND + 1


def test_frames_without_time_are_thinned_too():
    """A file may claim that all its frames are shown at once."""
    rng = np.random.default_rng(4)
    sampler = Sampler()
    looks = [sampler.look(frame(noise(rng)), 0) for _ in range(20_000)]
    seconds = len(looks) * limits.FRAME_LASTS_SECONDS
    kept = sum(look is not Look.SAME for look in looks)
    most = limits.MOVING_AT_ONCE + limits.CUTS_AT_ONCE
    assert kept <= most + seconds * (limits.MOVING_PER_SECOND + limits.CUTS_PER_SECOND + 2) + 2


def test_noise_of_a_flat_picture_is_not_motion():
    """The code of a dark frame changes with the coder's noise, its plane does not."""
    rng = np.random.default_rng(5)
    sampler = Sampler()
    dark = [frame(noise(rng), quality=3, level=level) for level in (0, 0.4, 0.9, 0.2)]
    assert [sampler.look(one, 0.04) for one in dark] == [Look.KEY, *[Look.SAME] * 3]
    assert sampler.look(frame(noise(rng), quality=3, level=30), 0.04) is Look.KEY


def test_a_flash_is_looked_at_closely_and_what_stands_still_is_not_repeated():
    """One frame of another picture is a cut, and so is the way back."""
    rng = np.random.default_rng(6)
    scene, flash = frame(noise(rng)), frame(noise(rng))
    sampler = Sampler()
    looks = [sampler.look(one, 0.01) for one in (scene, scene, flash, scene, scene)]
    assert looks == [Look.KEY, Look.SAME, Look.KEY, Look.KEY, Look.SAME]


def test_glances_are_the_reference_codes():
    """A glance's code is the exact one but for rounding, in full and in limited range."""
    apart, worst = [], 0.0
    for seed, (height, width) in enumerate([(96, 128), (360, 640), (721, 405), (64, 64), (5, 9)]):
        grey = smooth(height, width, seed)[:, :, 1]
        padded = np.zeros((height, width + 13), np.uint8)
        padded[:, :width] = grey  # rows that lie apart, as a decoder's do
        glance = LumaHasher(grey.shape).glance(padded[:, :width], limited_range=False)
        code, quality = pdq.hash_pixels(grey)
        apart.append(bits_apart(glance.code, code))
        worst = max(worst, abs(glance.quality - quality))
        narrow = np.rint(16 + grey * (219 / 255)).astype(np.uint8)
        limited = LumaHasher(grey.shape).glance(narrow, limited_range=True)
        assert bits_apart(limited.code, code) <= 10
        assert abs(limited.quality - quality) <= 3
    assert max(apart[:4]) <= 2
    assert worst <= 1


@pytest.mark.parametrize("turn", [(True, False, False), (False, True, True), (True, True, False)])
def test_a_glance_can_turn_the_frame(turn):
    """Turned by the weights, nothing else: the code of the turned pixels."""
    grey = smooth(120, 160, seed=9)[:, :, 1]
    turned = grey[:: -1 if turn[0] else 1, :: -1 if turn[1] else 1]
    shown = np.ascontiguousarray(turned.T if turn[2] else turned)
    glance = LumaHasher(grey.shape, turn).glance(grey, limited_range=False)
    assert bits_apart(glance.code, pdq.hash_pixels(shown)[0]) <= 2


def test_a_glance_has_all_eight_views():
    """Turned and mirrored codes come from the same transform, as `pdq.dihedral` makes them."""
    grey = smooth(240, 320, seed=2)[:, :, 1]
    views = LumaHasher(grey.shape).glance(grey, limited_range=False).dihedral()
    exact, _ = pdq.dihedral(grey)
    assert max(bits_apart(one, two) for one, two in zip(views, exact, strict=True)) <= 2


def test_luma_of_another_shape_is_refused():
    """A hasher is made for frames of one size."""
    with pytest.raises(ValueError, match="luma is"):
        LumaHasher((8, 8)).glance(np.zeros((8, 9), np.uint8), limited_range=False)
