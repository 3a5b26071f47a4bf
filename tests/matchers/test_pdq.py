"""PDQ codes against the reference core (`pdqhash`) and against the readable oracle."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import pdq_naive
from PIL import Image
from support.pictures import CONTENT_KINDS, bits_apart, picture, reference, smooth, store
from support.places import PHOTOS, SHARED_DATA, VECTORS, demo_photos
from support.settings import SEEDED

from matchers import images, limits, pdq
from matchers.errors import DecodeError
from matchers.pdq import _exact

sides = st.one_of(
    st.integers(1, 300),
    st.integers(1, 20),  # below the smallest side hashed, and narrower than 64
    st.sampled_from([63, 64, 65, 127, 128, 129, 255, 256, 257, 300]),  # where the windows change
)
pictures = st.builds(
    picture, st.sampled_from(CONTENT_KINDS), sides, sides, st.integers(0, 2**32 - 1)
)


def reference_views(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """All eight codes (uint8 [8, 32]) and the quality as `pdqhash` computes them."""
    bits, quality = pdqhash.compute_dihedral(np.ascontiguousarray(pixels))
    return np.packbits(np.array(bits).astype(np.uint8), axis=1), quality


def assert_equal(found: tuple[np.ndarray, int], expected: tuple[np.ndarray, int]) -> None:
    """Same codes, bit for bit, and same quality."""
    assert found[1] == expected[1]
    np.testing.assert_array_equal(found[0], expected[0])


# --- one code ---------------------------------------------------------------------------------


@settings(SEEDED, max_examples=400)
@given(pictures)
def test_any_picture_has_the_code_and_quality_of_the_reference_core(pixels):
    """Whatever the shape and content, code and quality are those of `pdqhash`, bit for bit."""
    assert_equal(pdq.hash_pixels(pixels), reference(pixels))


@settings(SEEDED, max_examples=150)
@given(pictures)
def test_any_picture_has_the_code_and_quality_of_the_readable_oracle(pixels):
    """The naive re-expression and the kernels agree on every picture."""
    assert_equal(pdq.hash_pixels(pixels), pdq_naive.hash_pixels(pixels))


@settings(SEEDED, max_examples=150)
@given(pictures)
def test_the_readable_oracle_is_the_reference_core(pixels):
    """The oracle itself is held to `pdqhash`, codes, quality and all views."""
    assert_equal(pdq_naive.hash_pixels(pixels), reference(pixels))
    assert_equal(pdq_naive.dihedral(pixels), reference_views(pixels))


@pytest.mark.parametrize("kind", CONTENT_KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_a_64_by_64_picture_is_hashed_unfiltered_as_the_reference_does(kind, seed):
    """A picture of exactly 64 x 64 skips the filter and still equals `pdqhash`."""
    pixels = picture(kind, 64, 64, seed)
    assert_equal(pdq.hash_pixels(pixels), reference(pixels))


@pytest.mark.parametrize("shape", [(700, 1000), (1030, 640), (5, 3000), (2111, 7), (64, 900)])
def test_large_and_thin_pictures_equal_the_reference_core(shape):
    """Wide filter windows and extreme aspect ratios give the codes of `pdqhash`."""
    pixels = smooth(*shape, seed=3)
    assert_equal(pdq.hash_pixels(pixels), reference(pixels))


@pytest.mark.parametrize("shape", [(1, 1), (4, 300), (300, 4), (4, 4), (3, 64)])
def test_a_side_below_five_pixels_gives_a_zero_code_of_quality_zero(shape):
    """Pictures too small for the reference have no code: zero bits, zero quality."""
    code, quality = pdq.hash_pixels(picture("noise", *shape, seed=1))
    assert quality == 0
    assert not code.any()


def test_five_pixels_are_enough_for_a_code():
    """The smallest side hashed is five: a 5 x 5 picture of noise has set bits."""
    pixels = picture("noise", 5, 5, seed=1)
    code, _ = pdq.hash_pixels(pixels)
    assert code.any()
    assert_equal(pdq.hash_pixels(pixels), reference(pixels))


@settings(SEEDED, max_examples=100)
@given(st.sampled_from(CONTENT_KINDS), sides, sides, st.integers(0, 2**32 - 1))
def test_grey_hashes_as_the_same_picture_in_rgb(kind, height, width, seed):
    """A [height, width] plane has the code of the picture whose channels all equal it."""
    grey = picture(kind, height, width, seed)[:, :, 0]
    assert_equal(pdq.hash_pixels(grey), reference(grey))


@pytest.mark.parametrize(
    "view",
    [
        lambda p: p[::-1],
        lambda p: p[:, ::-1],
        lambda p: p[:, :, ::-1],
        lambda p: p.swapaxes(0, 1),
        lambda p: p[3::2, 1::3],
        np.asfortranarray,
    ],
    ids=["upside_down", "mirrored", "bgr", "transposed", "strided", "fortran_order"],
)
def test_memory_layout_does_not_change_the_code(view):
    """Strided, reversed and Fortran-ordered arrays hash as their contiguous copies."""
    pixels = view(smooth(200, 301))
    assert_equal(pdq.hash_pixels(pixels), reference(np.ascontiguousarray(pixels)))


def test_read_only_pixels_are_hashed_and_left_alone():
    """Hashing needs no write access and changes nothing."""
    pixels = smooth(90, 120)
    before = pixels.copy()
    pixels.setflags(write=False)
    assert_equal(pdq.hash_pixels(pixels), reference(before))
    np.testing.assert_array_equal(pixels, before)


def test_luma_equals_the_reference_expression_for_every_colour():
    """The kernel's integer luma rounds to pdqhash's float64 expression for all 2**24 colours."""
    rows = _exact.STRIP
    strip = np.empty((rows, 65_536 // rows), np.float32)
    green, blue = (c.astype(np.uint8) for c in np.divmod(np.arange(65_536), 256))
    pixels = np.empty((rows, 65_536 // rows, 3), np.uint8)
    pixels[:, :, 1] = green.reshape(rows, -1)
    pixels[:, :, 2] = blue.reshape(rows, -1)
    for red in range(256):
        pixels[:, :, 0] = red
        _exact._luma(pixels.reshape(rows, -1), 0, rows, strip)
        np.testing.assert_array_equal(strip, pdq_naive.luma(pixels))


def test_luma_of_a_grey_picture_is_the_grey_itself():
    """For r = g = b the reference's expression gives back the value, for all 256 of them."""
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(
        pdq_naive.luma(np.repeat(grey[..., None], 3, axis=2)), grey.astype(np.float32)
    )


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.int8),
        np.zeros((64, 64), np.uint16),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 64, 1), np.uint8),
        np.zeros((3, 64, 64), np.uint8),
        np.zeros(64, np.uint8),
        np.zeros((1, 64, 64, 3), np.uint8),
    ],
    ids=lambda p: f"{p.dtype}{list(p.shape)}",
)
@pytest.mark.parametrize("function", [pdq.hash_pixels, pdq.dihedral])
def test_other_shapes_and_dtypes_are_refused_with_what_to_give(function, pixels):
    """Anything but uint8 [h, w, 3] or [h, w] is a ValueError that says so."""
    with pytest.raises(ValueError, match=r"give uint8 \[height, width, 3\]"):
        function(pixels)


# --- eight views ------------------------------------------------------------------------------


@settings(SEEDED, max_examples=250)
@given(pictures.filter(lambda p: p.shape[:2] != (64, 64)))
def test_all_eight_views_equal_the_reference(pixels):
    """Each of the eight dihedral codes is the reference's own, bit for bit."""
    assert_equal(pdq.dihedral(pixels), reference_views(pixels))


@pytest.mark.parametrize("kind", CONTENT_KINDS)
def test_all_eight_views_of_a_64_by_64_picture_equal_the_reference(kind):
    """The reference's dihedral function filters even a 64 x 64 picture: rounding must match it."""
    for seed in [*range(60), 121, 201, 793, 1157]:
        pixels = picture(kind, 64, 64, seed)
        assert_equal(pdq.dihedral(pixels), reference_views(pixels))


def test_the_first_view_is_the_picture_itself():
    """Row 0 of `dihedral` is the code of `hash_pixels`, and every view has its name."""
    pixels = smooth(180, 240)
    codes, quality = pdq.dihedral(pixels)
    assert_equal((codes[0], quality), pdq.hash_pixels(pixels))
    assert codes.shape == (len(pdq.DIHEDRAL_VIEWS), limits.PDQ_BYTES)


TURNED = {
    "rotated_90": lambda p: np.rot90(p, 1),
    "rotated_180": lambda p: np.rot90(p, 2),
    "rotated_270": lambda p: np.rot90(p, 3),
    "flipped_x": lambda p: p[::-1],
    "flipped_y": lambda p: p[:, ::-1],
    "flipped_plus_1": lambda p: p.swapaxes(0, 1),
    "flipped_minus_1": lambda p: np.rot90(p, 2).swapaxes(0, 1),
}


@pytest.mark.parametrize("view", TURNED)
def test_each_view_is_named_after_what_it_shows(view):
    """A view is within a few bits of the code of the turned pixels, and of no other view's."""
    pixels = smooth(320, 320, seed=11)  # window 3, every fifth sample: symmetric throughout
    codes, _ = pdq.dihedral(pixels)
    expected, _ = pdq.hash_pixels(np.ascontiguousarray(TURNED[view](pixels)))
    apart = [bits_apart(code, expected) for code in codes]
    row = pdq.DIHEDRAL_VIEWS.index(view)
    assert apart[row] <= 8
    assert all(bits > 60 for other, bits in enumerate(apart) if other != row)


def test_views_of_a_picture_too_small_are_zero():
    """No code means no views either."""
    codes, quality = pdq.dihedral(picture("noise", 4, 100, seed=5))
    assert codes.shape == (8, 32)
    assert not codes.any()
    assert quality == 0


# --- real photographs and golden vectors ------------------------------------------------------


def pillow_rgb(blob: bytes) -> np.ndarray:
    """The pixels that `threatexchange` and `pdqhash` users hash: Pillow's RGB."""
    with Image.open(io.BytesIO(blob)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("path", demo_photos(), ids=lambda path: path.stem)
def test_demo_photos_equal_the_reference_core(path):
    """Each committed photograph, decoded our way, has the reference's code of Pillow's pixels."""
    blob = path.read_bytes()
    assert_equal(pdq.hash_pixels(images.decode(blob)), reference(pillow_rgb(blob)))


def test_there_are_demo_photos():
    """The photographs that the tests above stand on are really there."""
    assert len(demo_photos()) >= 30


GOLDEN = json.loads((VECTORS / "pdq.json").read_text())["photos"]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_vectors_hold(name):
    """Codes and qualities written down from `pdqhash` are what a batch gives (see SOURCES.md)."""
    batch = pdq.hash_images([(PHOTOS / name).read_bytes()])
    assert batch.failures == (None,)
    assert batch.hex(0) == GOLDEN[name]["pdq"]
    assert batch.quality[0] == GOLDEN[name]["quality"]


@pytest.mark.parametrize("folder", ["photos", "pdq-reference/bridge-mods"])
def test_local_reference_pictures_equal_the_reference_core(folder):
    """Every photograph and reference picture kept beside this checkout equals `pdqhash`."""
    paths = [p for p in sorted((SHARED_DATA / folder).glob("*")) if p.suffix == ".jpg"]
    if not paths:
        pytest.skip(f"{SHARED_DATA / folder} is not on this machine (local measurement data)")
    blobs = [path.read_bytes() for path in paths]
    batch = pdq.hash_images(blobs)
    differing = []
    for row, (path, blob) in enumerate(zip(paths, blobs, strict=True)):
        code, quality = reference(pillow_rgb(blob))
        if not np.array_equal(batch.codes[row], code) or batch.quality[row] != quality:
            differing.append(path.name)
    assert differing == []
    assert batch.failures == (None,) * len(paths)


# --- batches ----------------------------------------------------------------------------------


def mixed_batch() -> tuple[list[bytes], tuple[str | None, ...]]:
    """Encoded pictures of several formats with bad rows between, and each row's failure."""
    good = [
        store(smooth(60 + 7 * k, 90 + 5 * k, seed=k), ("PNG", "JPEG", "WEBP")[k % 3])
        for k in range(9)
    ]
    blobs = [good[0], b"", *good[1:4], b"no picture at all", *good[4:], good[1][:-400]]
    failures = [None] * len(blobs)
    failures[1], failures[5], failures[-1] = "empty", "unrecognised_format", "truncated"
    return blobs, tuple(failures)


def test_a_row_that_cannot_be_decoded_fails_alone():
    """Bad rows carry their reason and a zero code; all other rows have theirs."""
    blobs, failures = mixed_batch()
    batch = pdq.hash_images(blobs)
    assert batch.failures == failures
    for row, failure in enumerate(failures):
        assert batch.codes[row].any() == (failure is None)
        assert (batch.quality[row] > 0) == (failure is None)


@pytest.mark.parametrize("threads", [None, 1, 2, 3, 16])
def test_a_batch_equals_its_single_images_whatever_the_threads(threads):
    """Rows keep their order and codes with any number of threads."""
    blobs, failures = mixed_batch()
    batch = pdq.hash_images(blobs, threads=threads)
    assert batch.failures == failures
    for row, blob in enumerate(blobs):
        if failures[row] is None:
            assert_equal(
                (batch.codes[row], batch.quality[row]), pdq.hash_pixels(images.decode(blob))
            )


def test_one_encoded_image_hashes_as_its_pixels():
    """`hash_blob` is decode and hash in one, and hands on why it could not decode."""
    blob = store(smooth(100, 150, seed=2), "JPEG")
    assert_equal(pdq.hash_blob(blob), pdq.hash_pixels(images.decode(blob)))
    with pytest.raises(DecodeError, match=r"^truncated$"):
        pdq.hash_blob(blob[:-500])


def test_an_empty_batch_gives_no_rows():
    """No images in, arrays of no rows out."""
    batch = pdq.hash_images([])
    assert batch.codes.shape == (0, limits.PDQ_BYTES)
    assert batch.quality.shape == (0,)
    assert batch.failures == ()


def test_a_batch_cannot_be_written_to():
    """Codes and qualities are read-only: a batch is shared between steps."""
    batch = pdq.hash_images([store(smooth(), "PNG")])
    with pytest.raises(ValueError, match="read-only"):
        batch.codes[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        batch.quality[0] = 1


def test_hex_is_the_reference_string_first_digit_first():
    """The hex form is the reference's: bit 255 leads, and the bytes are the hex read in order."""
    pixels = smooth(150, 200, seed=5)
    batch = pdq.hash_images([store(pixels, "PNG")])
    bits, _ = pdqhash.compute(pixels)
    digits = "".join(
        f"{8 * a + 4 * b + 2 * c + d:x}" for a, b, c, d in bits.reshape(64, 4).tolist()
    )
    assert batch.hex(0) == digits
    assert bytes.fromhex(digits) == batch.codes[0].tobytes()
    assert (batch.codes.dtype, batch.quality.dtype) == (np.uint8, np.uint8)


def test_an_unknown_mode_is_refused_by_name():
    """Asking for a mode there is not is an error that names it and what there is."""
    for ask in (
        lambda: pdq.hash_images([], mode="faster"),
        lambda: pdq.hash_blob(store(smooth(), "PNG"), mode="faster"),
    ):
        with pytest.raises(ValueError, match="unknown PDQ mode 'faster': there are 'exact' and"):
            ask()


def test_any_object_but_bytes_is_not_taken_for_a_failed_picture(tmp_path: Path):
    """A caller's mistake (a path in place of bytes) is an exception, never a counted failure."""
    with pytest.raises(TypeError):
        pdq.hash_images([tmp_path / "picture.jpg"], threads=1)
