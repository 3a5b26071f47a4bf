"""The PDQ kernels, step by step; the marked ones also run uncompiled (NUMBA_DISABLE_JIT=1)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pdq_bounds, pdq_naive
from support.pictures import CONTENT_KINDS, bits_apart, picture, reference, smooth
from support.settings import SEEDED

from matchers import images
from matchers.pdq import _code, _exact, _fused, hasher

FEW = settings(SEEDED, max_examples=25)
UPRIGHT = images.TURNS[1]

sides = st.one_of(
    st.integers(5, 40),
    st.sampled_from([63, 64, 65, 127, 128, 129, 140]),  # where the window becomes two
)
pictures = st.builds(
    picture, st.sampled_from(CONTENT_KINDS), sides, sides, st.integers(0, 2**32 - 1)
)
planes = st.builds(
    lambda seed, most: np.random.default_rng(seed).uniform(0, most, (64, 64)).astype(np.float32),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1e-3, 1.0, 255.0]),
)


def exact_plane(pixels: np.ndarray, *, always_filter: bool = False) -> np.ndarray:
    """The reference's plane by the kernels."""
    plane = np.full((64, 64), np.nan, np.float32)
    rows = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
    _exact.plane_of(rows, pixels.shape[1], always_filter, plane)
    return plane


def fused_plane(
    pixels: np.ndarray, size: tuple[int, int], scale: int = 1, turn: tuple = UPRIGHT
) -> np.ndarray:
    """The plane by one weighted sum, of a picture of `size` that is stored `scale` times smaller."""
    plane = np.full((64, 64), np.nan, np.float32)
    _fused.plane_of(np.ascontiguousarray(pixels), *size, scale, turn, plane)
    return plane


def cell_means(side: np.ndarray, scale: int) -> np.ndarray:
    """Means of `scale` samples each down axis 0; the last cell may hold fewer."""
    return np.array([side[k : k + scale].mean(axis=0) for k in range(0, len(side), scale)])


def dense(samples: int, scale: int, mirrored: bool) -> np.ndarray:
    """`weights_of` as one matrix, float64 [64, cells]."""
    first, weights = _fused.weights_of(samples, scale, mirrored)
    out = np.zeros((64, -(-samples // scale)))
    for o in range(64):
        out[o, first[o] : first[o] + weights.shape[1]] = weights[o]
    return out


# --- the exact plane ----------------------------------------------------------------------------


@pytest.mark.kernels
@FEW
@given(pictures)
def test_the_exact_plane_is_the_oracles_bit_for_bit(pixels):
    """Every float of the 64 x 64 plane, not only the code, is the one the plain steps give."""
    luma = pdq_naive.luma(pixels)
    np.testing.assert_array_equal(exact_plane(pixels), pdq_naive.plane_64(luma))
    np.testing.assert_array_equal(
        exact_plane(pixels, always_filter=True), pdq_naive.blurred_64(luma)
    )


@pytest.mark.parametrize("shape", [(257, 511), (640, 385), (1030, 140), (5, 2000), (1999, 6)])
def test_the_exact_plane_of_wide_windows_is_the_oracles(shape):
    """Windows of three samples and more, full strips and left-over rows: still every bit."""
    for kind in ("noise", "near_ties"):
        pixels = picture(kind, *shape, seed=3)
        np.testing.assert_array_equal(
            exact_plane(pixels), pdq_naive.plane_64(pdq_naive.luma(pixels))
        )


# --- from the plane to the code -----------------------------------------------------------------


@pytest.mark.kernels
@FEW
@given(planes)
def test_quality_coefficients_and_codes_are_the_oracles(plane):
    """Each step from the plane on gives what the plain step gives, bit for bit."""
    coefficients = hasher.coefficients_of_plane(plane)
    code = np.zeros(32, np.uint8)
    codes = np.zeros((8, 32), np.uint8)
    _code.pack(coefficients, code)
    _code.pack_views(coefficients, codes)
    expected = pdq_naive.coefficients(plane)
    np.testing.assert_array_equal(coefficients, expected)
    np.testing.assert_array_equal(code, pdq_naive.code_of(expected))
    np.testing.assert_array_equal(codes, [pdq_naive.code_of(v) for v in pdq_naive.views(expected)])
    assert _code.quality_of(plane) == pdq_naive.quality_of(plane)


@pytest.mark.kernels
@FEW
@given(
    st.lists(
        st.one_of(
            st.floats(-1e6, 1e6, width=32),
            st.sampled_from([0.0, -0.0, 1.0, -1.0, 1.0000001, 1e-45, -1e-45]),
        ),
        min_size=256,
        max_size=256,
    )
)
def test_the_lower_median_is_the_128th_smallest(values):
    """Found bit by bit and not by sorting: also among ties, of either sign, and around zero."""
    coefficients = np.array(values, np.float32).reshape(16, 16)
    assert _code.lower_median(coefficients) == np.sort(coefficients, axis=None)[127]


@pytest.mark.kernels
@pytest.mark.parametrize(("reach", "near"), [(0.0, 0), (0.4, 0), (1.0, 2), (3.5, 6), (1e9, 255)])
def test_crowding_counts_the_neighbours_of_the_median(reach, near):
    """The coefficients -127 .. 128, one each: as many on either side of the median as reach."""
    values = np.random.default_rng(1).permutation(np.arange(-127, 129)).astype(np.float32)
    assert _code.crowding(values.reshape(16, 16), reach) == near


@pytest.mark.kernels
def test_equal_coefficients_all_crowd():
    """A flat picture's coefficients are one crowd."""
    assert _code.crowding(np.zeros((16, 16), np.float32), 0.0) == 255


# --- the fused plane ----------------------------------------------------------------------------


@pytest.mark.kernels
@FEW
@given(pictures)
def test_the_fused_plane_is_as_near_to_the_exact_one_as_is_proven(pixels):
    """On the same grey pixels, the two differ by rounding only: within the bound of the proof."""
    grey = np.ascontiguousarray(pixels[:, :, 0])
    apart = np.abs(
        fused_plane(grey, grey.shape).astype(np.float64) - exact_plane(grey, always_filter=True)
    )
    assert (apart <= pdq_bounds.fused_plane_bound(*grey.shape)).all()


@pytest.mark.parametrize("shape", [(375, 500), (1200, 1600), (3000, 4000), (70, 6000)])
def test_the_proven_bound_holds_on_large_pictures_too(shape):
    """Where the reference's sums run over thousands of samples, they stay within the bound."""
    for grey in (
        np.random.default_rng(5).integers(0, 256, shape).astype(np.uint8),
        np.full(shape, 253, np.uint8),
    ):
        apart = np.abs(fused_plane(grey, shape).astype(np.float64) - exact_plane(grey))
        assert (apart <= pdq_bounds.fused_plane_bound(*shape)).all()


def test_the_bound_decides_no_photograph():
    """Why mode "exact" does not use the fused plane: twice the bound exceeds the nearest gap."""
    coefficients = hasher.coefficients_of_plane(exact_plane(smooth(375, 500)))
    ordered = np.sort(coefficients, axis=None)
    nearest = min(ordered[127] - ordered[126], ordered[128] - ordered[127])
    bound = pdq_bounds.coefficient_bound(375, 500, hasher.DCT_BASIS)
    assert bound.min() > 1 > nearest


@pytest.mark.parametrize("seed", range(4))
def test_rounding_alone_decides_the_code_of_a_symmetric_picture(seed):
    """Why exact codes need the reference's own rounding: zero but for it, half the bits turn."""
    grey = np.ascontiguousarray(picture("symmetric", 200, 300, seed)[:, :, 0])
    exact, nearly = np.zeros((2, 32), np.uint8)
    _code.pack(hasher.coefficients_of_plane(exact_plane(grey)), exact)
    _code.pack(hasher.coefficients_of_plane(fused_plane(grey, grey.shape)), nearly)
    np.testing.assert_array_equal(exact, reference(grey)[0])
    assert bits_apart(exact, nearly) > 30


@pytest.mark.kernels
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("samples", [64, 65, 100, 129, 500])
def test_weights_keep_the_mean(samples, scale):
    """Every row of weights sums to one, so that brightness stays; unscaled, none is negative."""
    for mirrored in (False, True):
        weights = dense(samples, scale, mirrored)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        assert scale > 1 or (weights >= 0).all()


@pytest.mark.kernels
@pytest.mark.parametrize("samples", [64, 100, 129, 300])
def test_unscaled_weights_are_two_boxes(samples):
    """The weights of a side are the oracle's two passes over single bright samples."""
    window = pdq_naive.window_of(samples)
    twice = pdq_naive.box(pdq_naive.box(np.eye(samples, dtype=np.float32), window), window)
    places = [int((o + 0.5) * samples / 64) for o in range(64)]
    np.testing.assert_allclose(dense(samples, 1, mirrored=False), twice[places], atol=1e-5)
    np.testing.assert_allclose(dense(samples, 1, mirrored=True), twice[places][:, ::-1], atol=1e-5)


@pytest.mark.kernels
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_projected_weights_see_a_parabola_through_its_cells(scale):
    """From the means of its cells, a curved side gives the plane of the full side (inside)."""
    samples = 64 * scale + 3 * scale
    curve = ((np.arange(samples) - 77.0) / samples) ** 2
    full = dense(samples, 1, mirrored=False) @ curve
    scaled = dense(samples, scale, mirrored=False) @ cell_means(curve, scale)
    np.testing.assert_allclose(scaled[4:-4], full[4:-4], atol=1e-6)
    assert np.abs(scaled - full).max() < 0.02  # at the ends there is no neighbour to ask


def test_projecting_comes_nearer_than_hashing_the_smaller_picture():
    """The full-size filter on the cells against another filter for another size."""
    grey = smooth(641, 903, seed=4)[:, :, 0]
    true = exact_plane(grey)
    for scale in (2, 4, 8):
        small = np.rint(cell_means(cell_means(grey, scale).T, scale).T).astype(np.uint8)
        projected = np.abs(fused_plane(small, grey.shape, scale) - true).mean()
        naive = np.abs(exact_plane(small) - true).mean()
        assert projected < naive / 2


@pytest.mark.kernels
@pytest.mark.parametrize("orientation", images.TURNS)
def test_a_turned_picture_has_the_plane_of_the_shown_one(orientation):
    """The weights are turned, not the picture: same plane as of the picture set upright."""
    stored = picture("noise", 131, 70, seed=orientation)[:, :, 0]
    turn = images.TURNS[orientation]
    shown = stored[:: -1 if turn[0] else 1, :: -1 if turn[1] else 1]
    shown = shown.T if turn[2] else shown
    np.testing.assert_allclose(
        fused_plane(stored, stored.shape, turn=turn), fused_plane(shown, shown.shape), atol=1e-3
    )
