"""The query views: what each profile sees, what stays plain PDQ, and what is a near match."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import CONTENT_KINDS, bits_apart, picture, smooth, store
from support.settings import SEEDED

from matchers import images, limits, pdq, views
from matchers.grey import grey_as_stored
from matchers.hamming import HammingIndex, Matches
from matchers.views.profiles import FIRST_GUESS, FIRST_MIRRORED, GUESSES, REGION, REGIONS

SOME = settings(SEEDED, max_examples=25)
FULL = 0
shapes = st.tuples(st.integers(1, 150), st.integers(1, 150))
pictures = st.builds(
    lambda kind, shape, seed: picture(kind, *shape, seed),
    st.sampled_from(CONTENT_KINDS),
    shapes,
    st.integers(0, 2**32 - 1),
)


def nearest(pixels: np.ndarray, code: np.ndarray, profile: views.Profile) -> tuple[int, str]:
    """Bits from a code to the nearest view of a picture, and that view's name."""
    found = views.view_codes(np.ascontiguousarray(pixels), profile)
    apart = [bits_apart(one, code) for one in found.codes]
    best = int(np.argmin(apart))
    return apart[best], views.view_name(int(found.views[best]))


def code_of(pixels: np.ndarray) -> np.ndarray:
    """Plain PDQ."""
    return pdq.hash_pixels(np.ascontiguousarray(pixels))[0]


def cropped(pixels: np.ndarray, top: float, bottom: float, left: float, right: float) -> np.ndarray:
    """What is left without these shares of the sides."""
    height, width = pixels.shape[:2]
    rows = slice(round(top * height), round((1 - bottom) * height))
    return pixels[rows, round(left * width) : round((1 - right) * width)]


# --- plain PDQ stays plain PDQ ------------------------------------------------------------------


@SOME
@given(pictures, st.sampled_from(views.PROFILES), st.booleans())
def test_the_first_row_is_plain_pdq_bit_for_bit(pixels, profile, is_grey):
    """For any picture and profile, also flat and tiny ones; and every row is well formed."""
    pixels = np.ascontiguousarray(pixels[:, :, 0]) if is_grey else pixels
    found = views.view_codes(pixels, profile)
    code, quality = pdq.hash_pixels(pixels)
    np.testing.assert_array_equal(found.codes[0], code)
    assert (found.quality[0], found.views[0]) == (quality, FULL)
    assert len(found.codes) == len(found.quality) == len(found.views) == len(found.plane)
    assert len(set(found.views.tolist())) == len(found.views)
    for view in found.views.tolist():
        assert views.view_name(view)
    assert (found.plane < len(found.planes)).all()
    assert len(found.planes) == 0 or profile == "refine"


@pytest.mark.parametrize("shape", [(240, 320), (375, 500), (64, 65)])
def test_the_next_seven_rows_are_the_references_dihedral_codes(shape):
    """In the reference's order, from one transform."""
    pixels = smooth(*shape)
    found = views.view_codes(pixels, "standard")
    np.testing.assert_array_equal(found.codes[:8], pdq.dihedral(pixels)[0])
    assert found.views[:8].tolist() == list(range(8))


def test_every_profile_holds_the_views_of_those_before_it():
    """So that sets of several profiles can share one look at a picture."""
    pixels = np.pad(smooth(180, 240), ((30, 30), (0, 0), (0, 0)))
    by_profile = {profile: views.view_codes(pixels, profile) for profile in views.PROFILES}
    widest = by_profile["refine"]
    assert len(by_profile["standard"].codes) > 8
    assert len(by_profile["thorough"].codes) > 64
    for profile, found in by_profile.items():
        mine = views.in_profile(widest.views, profile)
        np.testing.assert_array_equal(widest.views[mine], found.views)
        np.testing.assert_array_equal(widest.codes[mine], found.codes)


@pytest.mark.parametrize("profile", ["standard", "refine"])
@pytest.mark.parametrize("kind", ["flat", "noise"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (4, 400), (5, 5000), (5000, 5), (64, 64), (70, 3000), (1100, 1030)]
)
def test_degenerate_pictures_are_safe(shape, kind, profile):
    """Slivers, specks and pictures of one colour: plain PDQ first, whatever else there is."""
    pixels = picture(kind, *shape, seed=3)
    found = views.view_codes(pixels, profile)
    np.testing.assert_array_equal(found.codes[0], code_of(pixels))


def test_a_flat_picture_has_its_flips_and_nothing_else():
    """Below the lowest quality nothing can be told apart, so nothing more is looked up."""
    assert len(views.view_codes(picture("flat", 300, 400, 1), "refine").codes) == 8


def test_bad_input_is_refused():
    """As by `hash_pixels`; and a profile there is not, by name."""
    with pytest.raises(ValueError, match="pixels are float64"):
        views.view_codes(np.zeros((9, 9)), "standard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unknown profile 'all': there are plain, standard"):
        views.view_codes(np.zeros((9, 9), np.uint8), "all")  # type: ignore[arg-type]


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (0, "full"),
        (1, "full, rotated 90"),
        (5, "full, flipped left to right"),
        (12, "full, as if cropped 5% on each side"),
        (52, "full, mirrored, as if cropped 5% on each side"),
        (24, "full, turned 1.5 degrees one way"),
        (100, "plain bars cut"),
        (302, "plain frame cut, rotated 180"),
        (900, "blurred fill cut"),
    ],
)
def test_view_numbers_and_names_stay(view, name):
    """Candidates carry them: a later version may add views, not move them."""
    assert views.view_name(view) == name


def test_every_view_has_a_name_of_its_own():
    """Over all regions and transforms; other numbers have none."""
    transforms = [*range(8), *(f + g for f in (10, 50) for g in range(len(GUESSES)))]
    numbers = [REGION * r + t for r in range(len(REGIONS)) for t in transforms]
    assert len({views.view_name(number) for number in numbers}) == len(numbers)
    assert (FIRST_GUESS, FIRST_MIRRORED) == (10, 50)
    for number in (8, 49, 99, REGION * len(REGIONS), -1):
        with pytest.raises(ValueError, match="no view"):
            views.view_name(number)


# --- what is found ------------------------------------------------------------------------------


def test_a_mirrored_picture_is_found_flipped():
    """To the bit where the reference samples symmetrically: sides of 5 x 64 and odd windows."""
    pixels = smooth(320, 320, seed=2)
    apart, name = nearest(pixels[:, ::-1], code_of(pixels), "standard")
    assert name == "full, flipped left to right"
    assert apart <= 2  # running sums round otherwise from the other end
    assert nearest(pixels[:, ::-1], code_of(pixels), "plain")[0] > 60


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_quarter_turned_picture_is_found(turn):
    """Within the reference's own asymmetry, at a size where it has some."""
    pixels = smooth(300, 400, seed=3)
    apart, name = nearest(np.rot90(pixels, turn), code_of(pixels), "standard")
    assert apart <= limits.PDQ_RADIUS_BITS
    assert name == f"full, rotated {360 - 90 * turn}"


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
@pytest.mark.parametrize("margin", [(4, 4, 4, 4), (60, 8, 0, 21), (0, 0, 70, 70)])
def test_what_a_border_holds_is_found(margin, colour):
    """Whatever its colour and however uneven."""
    inside = smooth(150, 200, seed=11)
    top, bottom, left, right = margin
    pixels = np.empty((150 + top + bottom, 200 + left + right, 3), np.uint8)
    pixels[:] = colour
    pixels[top : top + 150, left : left + 200] = inside
    apart, name = nearest(pixels, code_of(inside), "standard")
    assert apart <= 8  # the cut is exact; the grey picture rounds otherwise
    assert name.endswith(" cut")


@pytest.mark.parametrize("factor", [3, 5])
def test_borders_of_large_pictures_are_found_in_the_smaller_grey_one(factor):
    """Cut to a pixel of that, which leaves the code well within the radius."""
    inside = np.kron(smooth(400, 500, seed=4), np.ones((factor, factor, 1), np.uint8))
    pixels = np.pad(inside, ((130, 130), (217, 217), (0, 0)), constant_values=20)
    apart, name = nearest(pixels, code_of(inside), "standard")
    assert apart <= 20
    assert name.startswith("plain bars cut")


@pytest.mark.parametrize("seed", range(12))
def test_a_picture_without_borders_is_not_cut(seed):
    """Nothing to cut, nothing looked up for it."""
    pixels = smooth(240 + 10 * seed, 320, seed)
    assert views.view_codes(pixels, "standard").views.tolist() == list(range(8))


def test_an_object_on_a_plain_ground_is_not_cut_in_half():
    """A soft object has no step along its cut; this once made a false match (docs/views.md)."""
    y, x = np.mgrid[-1:1:300j, -1:1:400j]
    inside = np.clip(1.4 - 2 * np.hypot(y / 0.6, x / 0.8), 0, 1)
    shade = 120 * inside * (1 + 0.4 * np.sin(9 * x + 4 * y))
    pixels = np.clip(250 - shade, 0, 255).astype(np.uint8)
    assert views.view_codes(pixels, "standard").views.tolist() == list(range(8))


THOROUGH = {
    "as if cropped 5% on each side": (0.05, 0.05, 0.05, 0.05),
    "as if cropped 5% at the top": (0.05, 0, 0, 0),
    "as if cropped 5% at the right": (0, 0, 0, 0.05),
    "as if cropped 10% at the left": (0, 0, 0.1, 0),
}


@pytest.mark.parametrize("ending", THOROUGH)
def test_thorough_finds_a_crop_under_its_name(ending):
    """Where plain PDQ and the flips do not."""
    pixels = smooth(300, 400, seed=1)
    crop = cropped(pixels, *THOROUGH[ending])
    apart, name = nearest(crop, code_of(pixels), "thorough")
    assert apart <= limits.PDQ_RADIUS_BITS < nearest(crop, code_of(pixels), "standard")[0]
    assert name == f"full, {ending}"
    apart, name = nearest(crop[:, ::-1], code_of(pixels), "thorough")
    assert apart <= limits.PDQ_RADIUS_BITS
    assert name.startswith("full, mirrored, as if cropped")


@pytest.mark.parametrize("degrees", [-9, -4, 2, 6])
def test_thorough_finds_a_small_turn(degrees):
    """Turned on its canvas, as phones and editors do it."""
    from PIL import Image

    pixels = smooth(300, 400, seed=6)
    turned = Image.fromarray(pixels).rotate(degrees, Image.Resampling.BICUBIC)
    apart, name = nearest(np.asarray(turned), code_of(pixels), "thorough")
    assert (
        apart <= limits.PDQ_RADIUS_BITS < nearest(np.asarray(turned), code_of(pixels), "plain")[0]
    )
    assert "turned" in name


# --- fast mode ----------------------------------------------------------------------------------


def of_grey(blob: bytes, profile: views.Profile) -> views.ViewCodes | None:
    """Views of a JPEG's grey picture."""
    with grey_as_stored(blob) as grey:
        return None if grey is None else views.view_codes_of_grey(grey, profile)


@pytest.mark.parametrize("profile", views.PROFILES)
def test_fast_mode_sees_the_same_views(profile):
    """From the grey picture: row 0 is fast PDQ, and all views lie near the exact ones."""
    blob = store(np.pad(smooth(600, 800, seed=7), ((50, 50), (90, 90), (0, 0))), "JPEG", quality=90)
    fast = of_grey(blob, profile)
    assert fast is not None
    with images.decoded(blob) as pixels:
        exact = views.view_codes(pixels, profile)
    np.testing.assert_array_equal(fast.codes[0], pdq.hash_blob(blob, mode="fast")[0])
    np.testing.assert_array_equal(fast.views, exact.views)
    apart = [bits_apart(one, other) for one, other in zip(fast.codes, exact.codes, strict=True)]
    assert np.mean(apart) <= 8
    assert len(fast.planes) == len(exact.planes)


def test_fast_mode_sees_a_turned_file_as_it_is_shown():
    """The stored picture is searched, its planes are turned: views as of the upright file."""
    pixels = np.pad(smooth(300, 400, seed=8), ((40, 40), (0, 0), (0, 0)))
    upright = of_grey(store(pixels, "JPEG", quality=95), "thorough")
    exif = images.Image.Exif()
    exif[0x0112] = 6
    turned = of_grey(store(np.rot90(pixels), "JPEG", quality=95, exif=exif), "thorough")
    assert upright is not None
    assert turned is not None
    np.testing.assert_array_equal(upright.views, turned.views)
    apart = [bits_apart(one, other) for one, other in zip(upright.codes, turned.codes, strict=True)]
    assert np.mean(apart) <= 8


def test_fast_mode_leaves_to_the_exact_way_what_hangs_on_little():
    """As plain fast PDQ does."""
    assert of_grey(store(picture("flat", 300, 400, 2), "JPEG"), "standard") is None


# --- near matches -------------------------------------------------------------------------------


def second_stage(
    pixels: np.ndarray, listed: np.ndarray, radius_bits: int = limits.PDQ_RADIUS_BITS
) -> tuple[Matches, views.NearMatches]:
    """Both stages for one picture against a list of codes."""
    found = views.view_codes(np.ascontiguousarray(pixels), "refine")
    coarse = HammingIndex.build(listed).search(found.codes, limits.REFINE_RADIUS_BITS)
    codes = listed[coarse.indicator]
    return coarse, views.near_matches(
        found.views, found.plane, found.planes, coarse, codes, radius_bits
    )


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_off_centre_crop_is_a_near_match(mirrored):
    """No view is within the radius; fitted to the candidate, one is."""
    pixels = smooth(300, 400, seed=9)
    crop = cropped(pixels, 0.05, 0.015, 0.0, 0.045)
    crop = crop[:, ::-1] if mirrored else crop
    listed = np.stack([code_of(smooth(300, 400, seed=s)) for s in (20, 9, 21)])
    coarse, near = second_stage(crop, listed)
    assert coarse.distance.min() > limits.PDQ_RADIUS_BITS
    assert near.indicator.tolist() == [1]
    assert near.distance_bits[0] <= limits.PDQ_RADIUS_BITS < near.coarse_bits[0]
    assert near.not_fitted == 0


def test_what_matches_already_is_not_fitted():
    """A match at the radius is the better evidence."""
    pixels = smooth(300, 400, seed=9)
    coarse, near = second_stage(pixels, code_of(pixels)[None])
    assert coarse.distance.min() == 0
    assert len(near) == 0


def test_the_fit_is_bounded_and_takes_the_nearest_first(monkeypatch):
    """Of more candidates than the limit the furthest are left out, and counted."""
    monkeypatch.setattr(limits, "REFINE_MAX_CANDIDATES", 3)
    random = np.random.default_rng(1)
    pixels = smooth(300, 400, seed=9)
    bits = np.unpackbits(views.view_codes(pixels, "thorough").codes[8])
    listed = np.tile(bits, (10, 1))
    for row in range(10):
        listed[row, random.choice(256, 33 + row, replace=False)] ^= 1
    coarse, near = second_stage(pixels, np.packbits(listed, axis=1), radius_bits=32)
    assert len(set(coarse.indicator.tolist())) == 10
    assert near.not_fitted == 7
    assert set(near.indicator.tolist()) <= {0, 1, 2}
    assert (near.distance_bits <= 32).all()


def test_turns_and_captions_are_not_fitted():
    """There is no box to fit, so what they find at the wide radius is no near match."""
    plane, code = np.zeros((64, 64), np.float32), np.zeros(32, np.uint8)
    for number, guess in enumerate(GUESSES):
        for first in (FIRST_GUESS, FIRST_MIRRORED):
            refined = views.refine(plane, first + number, code)
            assert (refined is None) == ("cropped" not in guess.name and number > 0)


@pytest.mark.parametrize("flip", range(8))
def test_a_flipped_view_is_fitted_as_the_original_lies(flip):
    """The fit of each flip starts from the code of that flip of the plane."""
    pixels = smooth(320, 320, seed=10)
    found = views.view_codes(pixels, "refine")
    refined = views.refine(found.planes[0], flip, found.codes[flip])
    assert refined is not None
    assert refined.distance_bits <= 16
    assert max(map(abs, refined.missing)) <= 0.02
