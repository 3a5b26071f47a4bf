"""The kernels of the query views, step by step against plain numpy; the marked ones run uncompiled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pdq_naive, views_naive
from support.pictures import CONTENT_KINDS, bits_apart, picture, smooth
from support.settings import SEEDED

from matchers.pdq.hasher import DCT_BASIS
from matchers.views._kernels import fit, grey, planes, project, trim
from matchers.views.crops import bridge, crop_table, placement
from matchers.views.profiles import GUESSES, Crop

FEW = settings(SEEDED, max_examples=20)
FEWER = settings(SEEDED, max_examples=5)

seeds = st.integers(0, 2**32 - 1)
sides = st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 100]))
missing_shares = st.tuples(*[st.floats(-0.05, 0.12)] * 4)


def random_plane(seed: int) -> np.ndarray:
    """A float32 [64, 64] plane with mean zero."""
    plane = np.random.default_rng(seed).normal(0, 40, (64, 64))
    return (plane - plane.mean()).astype(np.float32)


def coefficients_of(original: np.ndarray) -> np.ndarray:
    """PDQ's transform in float64."""
    basis = DCT_BASIS.astype(np.float64)
    return basis @ original @ basis.T


def assert_code_of(code: np.ndarray, coefficients: np.ndarray) -> None:
    """`code` is that of the coefficients, but for bits that rounding may turn."""
    expected = pdq_naive.code_of(coefficients.astype(np.float32))
    median = np.sort(coefficients, axis=None)[127]
    undecided = int((np.abs(coefficients - median) < 1e-2).sum()) - 1
    assert bits_apart(code, expected) <= undecided


# --- grey ---------------------------------------------------------------------------------------


@pytest.mark.kernels
@FEW
@given(sides, sides, st.integers(1, 9), st.booleans(), seeds)
def test_a_shrunk_picture_holds_the_mean_luma_of_its_cells(height, width, factor, is_grey, seed):
    """Each pixel is the rounded mean of the pixels it stands for, the last ones of fewer."""
    pixels = picture("noise", height, width, seed)
    pixels = np.ascontiguousarray(pixels[:, :, 0]) if is_grey else pixels
    small = np.empty((-(-height // factor), -(-width // factor)), np.uint8)
    grey.shrink(pixels.reshape(height, -1), width, factor, small)
    assert np.abs(small - views_naive.shrunk(pixels, factor)).max() <= 0.5


def test_the_brightest_cells_do_not_overflow():
    """White stays white at the largest factor the sums have room for."""
    pixels = np.full((256, 3 * 256), 255, np.uint8)
    small = np.empty((1, 1), np.uint8)
    grey.shrink(pixels, 256, 256, small)
    assert small[0, 0] == 255


# --- planes -------------------------------------------------------------------------------------


@pytest.mark.kernels
@FEWER
@given(sides, sides, seeds)
def test_the_clean_plane_is_the_mean_of_64_by_64_cells(height, width, seed):
    """Of any size, also below 64, where one pixel makes up several cells."""
    whole = picture("noise", height + 3, width + 2, seed)[:, :, 0]
    plane = np.empty((64, 64), np.float32)
    box = np.array([1, height + 1, 2, width + 2])
    planes.clean_plane(np.ascontiguousarray(whole), box, plane)
    expected = views_naive.clean_plane(whole[1 : height + 1, 2 : width + 2])
    np.testing.assert_allclose(plane, expected, atol=1e-2)


@pytest.mark.kernels
@pytest.mark.parametrize("straightened", [False, True])
@pytest.mark.parametrize(("degrees", "height", "width"), [(3.5, 3, 4), (-9.5, 4, 3), (1.5, 1, 5)])
def test_a_turned_plane_is_sampled_where_the_turn_takes_it(degrees, height, width, straightened):
    """Place by place; the fade beyond the edge comes from a table, hence the tolerance."""
    plane = random_plane(5)
    out = np.empty((64, 64), np.float32)
    planes.turned(plane, degrees, height / width, straightened, out)
    expected = views_naive.original_of_turn(
        plane, degrees, height, width, straightened=straightened
    )
    np.testing.assert_allclose(out, expected, atol=0.04 * np.abs(plane).max())


# --- crops --------------------------------------------------------------------------------------


@FEWER
@given(missing_shares, seeds)
def test_placed_rows_and_columns_give_the_plane_of_the_original(missing, seed):
    """R P C^T is the oracle's plane, sampled place by place."""
    plane = random_plane(seed)
    placed = placement(missing[:2]) @ plane @ placement(missing[2:]).T
    np.testing.assert_allclose(placed, views_naive.original_of_crop(plane, missing), atol=1e-3)


def test_a_bridge_leaves_all_but_its_strip_as_it_is():
    """Within the strip the plane runs straight from one edge to the other."""
    down = np.linspace(0, 1, 64) ** 2
    down[52:58] = 9.0  # the caption
    bridged = bridge((0.8, 0.95)) @ down
    outside = placement((0.0, 0.0)) @ down
    np.testing.assert_array_equal(bridged[:50], outside[:50])
    assert bridged.max() <= 1.0
    inside = bridged[52:60]
    np.testing.assert_allclose(np.diff(inside, 2), 0, atol=1e-12)


@pytest.mark.kernels
@FEWER
@given(seeds)
def test_codes_of_crops_are_those_of_the_cropped_originals(seed):
    """Upright and mirrored, each pair of the table by itself."""
    plane = random_plane(seed)
    table = crop_table(range(6))
    count = len(table.pairs)
    codes = np.empty((2 * count, 32), np.uint8)
    project.codes_of_crops(
        plane, table.rows, table.columns, table.pairs, codes[:count], codes[count:]
    )
    for n, guess in enumerate(table.guesses.tolist()):
        crop = GUESSES[guess]
        assert isinstance(crop, Crop)
        missing = (*crop.rows, *crop.columns)
        coefficients = coefficients_of(views_naive.original_of_crop(plane, missing))
        assert_code_of(codes[n], coefficients)
        mirrored = coefficients * np.where(np.arange(16) % 2 == 0, -1, 1)
        assert_code_of(codes[count + n], mirrored)


@pytest.mark.kernels
def test_codes_of_a_turn_are_those_of_the_turned_plane():
    """Upright, then mirrored."""
    plane, turned = random_plane(2), np.empty((64, 64), np.float32)
    codes = np.empty((2, 32), np.uint8)
    across = np.ascontiguousarray(DCT_BASIS.T)
    project.codes_of_turn(plane, 5.5, 0.75, True, DCT_BASIS, across, codes)
    planes.turned(plane, 5.5, 0.75, True, turned)
    coefficients = coefficients_of(turned)
    assert_code_of(codes[0], coefficients)
    assert_code_of(codes[1], coefficients * np.where(np.arange(16) % 2 == 0, -1, 1))


# --- the fit ------------------------------------------------------------------------------------


@pytest.mark.kernels
@FEWER
@given(missing_shares)
def test_the_fit_places_a_side_as_the_table_does(missing):
    """Kernel and table agree on where an original's samples lie."""
    rows = np.empty((16, 64), np.float32)
    fit.place(DCT_BASIS, missing[0], missing[1], rows)
    np.testing.assert_allclose(rows, DCT_BASIS @ placement(missing[:2]), atol=1e-5)


@FEW
@given(missing_shares, missing_shares, seeds)
def test_a_fit_never_ends_further_off_than_it_began(truth, guess, seed):
    """And what it returns is the distance at the sides it found, none beyond its bounds."""
    plane = smooth_plane(seed)
    indicator = pdq_naive.code_of(
        coefficients_of(placement(truth[:2]) @ plane @ placement(truth[2:]).T).astype(np.float32)
    )
    missing = np.array(guess)
    before = fit.distance_at(plane, DCT_BASIS, missing, indicator)
    after = fit.fit(plane, DCT_BASIS, indicator, missing)
    assert after <= before
    assert after == fit.distance_at(plane, DCT_BASIS, missing, indicator)
    assert (np.abs(missing) <= fit.FURTHEST).all()


@pytest.mark.kernels
def test_a_fit_finds_the_crop():
    """From the whole, to within a step of sides that no table has."""
    plane = smooth_plane(1)
    truth = (0.041, 0.013, 0.022, 0.05)
    original = placement(truth[:2]) @ plane @ placement(truth[2:]).T
    indicator = pdq_naive.code_of(coefficients_of(original).astype(np.float32))
    missing = np.zeros(4)
    assert fit.fit(plane, DCT_BASIS, indicator, missing) <= 16
    np.testing.assert_allclose(missing, truth, atol=0.012)


def smooth_plane(seed: int) -> np.ndarray:
    """The clean plane of a picture with texture at every scale."""
    plane = np.empty((64, 64), np.float32)
    pixels = np.ascontiguousarray(smooth(192, 256, seed)[:, :, 1])
    planes.clean_plane(pixels, np.array([0, 192, 0, 256]), plane)
    return plane


# --- borders ------------------------------------------------------------------------------------


def boxes_of(pixels: np.ndarray) -> list[tuple[int, tuple[int, int, int, int]]]:
    """(kind, box) of every cut, by the kernel."""
    boxes, kinds = np.empty((trim.KINDS, 4), np.int64), np.empty(trim.KINDS, np.int64)
    count = trim.find_boxes(np.ascontiguousarray(pixels), boxes, kinds)
    return [(int(kinds[n]), tuple(boxes[n].tolist())) for n in range(count)]


margins = st.tuples(*[st.sampled_from([0, 1, 3, 8, 20, 60])] * 4)


def bordered(inside: np.ndarray, margin: tuple[int, int, int, int], level: int) -> np.ndarray:
    """A grey picture with borders of one level at top, bottom, left and right."""
    top, bottom, left, right = margin
    return np.pad(inside, ((top, bottom), (left, right)), constant_values=level)


@pytest.mark.kernels
@settings(SEEDED, max_examples=5)
@given(st.sampled_from(CONTENT_KINDS), st.integers(64, 90), st.integers(64, 110), margins, seeds)
def test_boxes_are_the_oracles(kind, height, width, margin, seed):
    """Every cut of every kind, to the pixel, on pictures with and without borders."""
    inside = picture(kind, height, width, seed)[:, :, 0]
    pixels = bordered(inside, margin, seed % 256)
    assert boxes_of(pixels) == views_naive.boxes(pixels)


@settings(SEEDED, max_examples=30)
@given(seeds, st.tuples(*[st.integers(4, 60)] * 4), st.integers(0, 255))
def test_a_border_of_any_colour_is_cut_to_the_pixel(seed, margin, level):
    """One of the boxes is the picture inside, give or take a pixel."""
    pixels = bordered(np.ascontiguousarray(smooth(150, 200, seed)[:, :, 1]), margin, level)
    top, _, left, _ = margin
    truth = (top, top + 150, left, left + 200)
    assert min(np.abs(np.subtract(box, truth)).max() for _, box in boxes_of(pixels)) <= 1


@settings(SEEDED, max_examples=40)
@given(
    st.sampled_from(CONTENT_KINDS),
    st.integers(20, 300),
    st.integers(20, 300),
    margins,
    seeds,
    st.integers(0, 12),
)
def test_boxes_of_larger_and_noisier_pictures_are_the_oracles(
    kind, height, width, margin, seed, noise
):
    """The same where bars waver, carry something, or lie in one another."""
    random = np.random.default_rng(seed)
    pixels = bordered(picture(kind, height, width, seed)[:, :, 0], margin, seed % 256)
    pixels = bordered(pixels, (4 * noise, 0, 0, noise), (seed >> 8) % 256)
    wavering = pixels + random.integers(-noise, noise + 1, pixels.shape)
    pixels = np.clip(wavering, 0, 255).astype(np.uint8)
    found = boxes_of(pixels)
    assert found == views_naive.boxes(pixels)
    for _, (top, bottom, left, right) in found:
        assert 0 <= top < bottom <= pixels.shape[0]
        assert 0 <= left < right <= pixels.shape[1]
    assert len({number for number, _ in found}) == len(found)
