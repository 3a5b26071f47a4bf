"""Mode "fast": some bits off where that is harmless, the exact way where it is not."""

from __future__ import annotations

import functools
import io
import threading

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.forks import holds_in_a_forked_child
from support.pictures import bits_apart, picture, smooth, store, with_means_bit_by_bit, with_scan_of
from support.places import SHARED_DATA, demo_photos

from matchers import grey, images, jpeg, limits, pdq
from matchers.errors import DecodeError
from matchers.room import Budget
from matchers.scanner import Scanner
from matchers.threads import each

FEW_BITS = 6  # what docs/pdq.md promises to have measured


@pytest.fixture
def exact_ways(monkeypatch):
    """The pictures that took the exact way, by the pixels it decoded."""
    taken = []
    decoded = images.decoded

    def noted(blob: bytes):
        taken.append(blob)
        return decoded(blob)

    monkeypatch.setattr(images, "decoded", noted)
    return taken


@functools.cache
def enlarged(number: int, shorter: int) -> Image.Image:
    """A demo photograph whose shorter side is `shorter`, with grain as a camera leaves it."""
    with Image.open(demo_photos()[number]) as photo:
        size = tuple(side * shorter // min(photo.size) for side in photo.size)
        pixels = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    grain = np.random.default_rng(number).normal(0, 3, (*pixels.shape[:2], 1)).round()
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def distance(blob: bytes) -> int:
    """Bits between the fast code of `blob` and its exact one."""
    return bits_apart(pdq.hash_blob(blob, mode="fast")[0], pdq.hash_blob(blob)[0])


# --- what it costs in bits -----------------------------------------------------------------------


def test_demo_photos_are_a_few_bits_off_and_take_the_fast_way(exact_ways):
    """All committed photographs: at most six bits, under one on average, same quality."""
    blobs = [path.read_bytes() for path in demo_photos()]
    fast = pdq.hash_images(blobs, mode="fast")
    assert len(exact_ways) <= len(blobs) // 10
    exact = pdq.hash_images(blobs)
    apart = [bits_apart(*both) for both in zip(fast.codes, exact.codes, strict=True)]
    assert max(apart) <= FEW_BITS
    assert 0 < np.mean(apart) < 1  # zero would mean that nothing was fast
    np.testing.assert_array_equal(fast.quality, exact.quality)
    assert fast.failures == (None,) * len(blobs)


def test_local_photographs_are_a_few_bits_off():
    """The photographs kept beside this checkout: at most six bits."""
    blobs = [path.read_bytes() for path in sorted((SHARED_DATA / "photos").glob("*.jpg"))]
    if not blobs:
        pytest.skip(f"{SHARED_DATA / 'photos'} is not on this machine (local measurement data)")
    fast, exact = pdq.hash_images(blobs, mode="fast"), pdq.hash_images(blobs)
    assert max(bits_apart(*both) for both in zip(fast.codes, exact.codes, strict=True)) <= FEW_BITS


@pytest.mark.parametrize("is_progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize(("shorter", "scale"), [(550, 2), (1100, 4), (2100, 8)])
def test_large_photos_are_scaled_and_still_a_few_bits_off(shorter, scale, is_progressive):
    """The projected filter keeps scaled pictures within six bits; the scale is the one stated."""
    for number in (0, 7):
        blob = store(enlarged(number, shorter), "JPEG", quality=85, progressive=is_progressive)
        with grey.grey_as_stored(blob) as stored:
            assert stored.scale == scale
            assert stored.pixels.shape[0] == -(-stored.height // stored.scale)
        assert distance(blob) <= FEW_BITS


def test_a_large_progressive_photo_is_decoded_from_its_first_scan(monkeypatch):
    """At one eighth only the means are handed to the decoder, a fraction of the file."""
    blob = store(enlarged(0, 2100), "JPEG", quality=85, progressive=True)
    lengths = []
    decode = grey.simplejpeg.decode_jpeg

    def noted(given: bytes, *arguments: object, **options: object) -> np.ndarray:
        lengths.append(len(given))
        return decode(given, *arguments, **options)

    monkeypatch.setattr(grey.simplejpeg, "decode_jpeg", noted)
    with grey.grey_as_stored(blob) as stored:
        assert stored.scale == 8
    assert lengths[0] < len(blob) / 4


@pytest.mark.parametrize(
    ("height", "width", "scale"),
    [
        (64, 64, 1),
        (511, 9000, 1),
        (512, 9000, 2),
        (1024, 1024, 4),
        (2047, 2048, 4),
        (2048, 2048, 8),
    ],
)
def test_the_scale_leaves_enough_cells_to_the_shorter_side(height, width, scale):
    """At least 256 samples, whichever side is the shorter."""
    assert grey.scale_for(height, width) == grey.scale_for(width, height) == scale


# --- orientation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", images.TURNS)
@pytest.mark.parametrize("shorter", [300, 701])
def test_every_orientation_is_hashed_as_shown(orientation, shorter):
    """Stored sideways or mirrored, scaled or not: near the code of the picture set upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    blob = store(enlarged(5, shorter), "JPEG", quality=92, exif=exif)
    assert pdq.hash_blob(blob, mode="fast")[1] >= limits.PDQ_FAST_MIN_QUALITY
    assert distance(blob) <= FEW_BITS


# --- the guard -----------------------------------------------------------------------------------

DOUBTFUL = {
    "gradient": store(picture("gradient", 300, 400, seed=2), "JPEG", quality=90),
    "near_ties": store(picture("near_ties", 300, 400, seed=4), "JPEG", quality=95),
    "flat": store(picture("flat", 300, 400, seed=1), "JPEG", quality=90),
    "symmetric": store(picture("symmetric", 300, 400, seed=3), "JPEG", quality=90),
    "low_contrast": store(smooth(300, 400) // 16 + 100, "JPEG", quality=90),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_doubtful_pictures_take_the_exact_way(name, exact_ways):
    """Smooth, flat, symmetric and dim pictures have their exact code in fast mode too."""
    blob = DOUBTFUL[name]
    code, quality = pdq.hash_blob(blob, mode="fast")
    assert exact_ways == [blob]
    expected, expected_quality = pdq.hash_blob(blob)
    np.testing.assert_array_equal(code, expected)
    assert quality == expected_quality


def test_without_the_guard_a_doubtful_picture_would_be_far_off(monkeypatch):
    """The guard is what keeps those codes exact: lifted, some lie many bits away."""
    monkeypatch.setattr(limits, "PDQ_FAST_MAX_CROWDING", 256)
    monkeypatch.setattr(limits, "PDQ_FAST_MIN_QUALITY", 0)
    assert max(distance(blob) for blob in DOUBTFUL.values()) > FEW_BITS


@pytest.mark.parametrize("limit", ["PDQ_FAST_MAX_CROWDING", "PDQ_FAST_MIN_QUALITY"])
def test_each_half_of_the_guard_sends_pictures_back_by_itself(limit, monkeypatch, exact_ways):
    """Crowding alone and quality alone are each enough for the exact way."""
    blob = demo_photos()[0].read_bytes()
    pdq.hash_blob(blob, mode="fast")
    assert exact_ways == []
    monkeypatch.setattr(limits, limit, -1 if limit == "PDQ_FAST_MAX_CROWDING" else 101)
    pdq.hash_blob(blob, mode="fast")
    assert exact_ways == [blob]


# --- what is no plain JPEG -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "blob",
    [
        store(smooth(), "PNG"),
        store(smooth(), "WEBP", lossless=True),
        store(Image.fromarray(smooth()).convert("CMYK"), "JPEG"),
        store(enlarged(0, 300).resize((64, 64)), "JPEG", quality=95),
        store(enlarged(0, 300).resize((64, 300)), "JPEG", quality=95),
        store(smooth(4, 300), "JPEG"),
    ],
    ids=["png", "webp", "cmyk", "plane_sized", "narrow", "too_small"],
)
def test_other_files_have_their_exact_code(blob, monkeypatch, exact_ways):
    """What the fast way is not made for is hashed exactly, also where the guard lets it pass."""
    monkeypatch.setattr(limits, "PDQ_FAST_MAX_CROWDING", 256)
    monkeypatch.setattr(limits, "PDQ_FAST_MIN_QUALITY", 0)
    pdq.hash_blob(blob, mode="fast")
    assert exact_ways == [blob]
    assert distance(blob) == 0
    assert pdq.hash_blob(blob, mode="fast")[1] == pdq.hash_blob(blob)[1]


def test_a_file_that_says_its_means_twice_is_hashed_as_it_is_shown():
    """A large progressive file cannot show one picture and be hashed by another, hidden one."""
    honest = store(enlarged(0, 2100), "JPEG", quality=85, progressive=True)
    hidden = store(enlarged(7, 2100), "JPEG", quality=85, progressive=True)
    assert bits_apart(pdq.hash_blob(honest)[0], pdq.hash_blob(hidden)[0]) > 60
    shown = with_scan_of(honest, hidden)
    assert bits_apart(pdq.hash_blob(shown)[0], pdq.hash_blob(honest)[0]) > 60
    assert distance(shown) <= FEW_BITS


@pytest.mark.parametrize("missing_bits", range(8))
def test_a_first_scan_that_leaves_bits_out_is_not_taken_for_the_picture(missing_bits):
    """Later scans say the bits, and every viewer shows them: the code is that of the whole."""
    small = np.asarray(enlarged(0, 300).convert("L").resize((272, 260)))
    blob = with_means_bit_by_bit(small, missing_bits)
    with Image.open(io.BytesIO(blob)) as image:
        shown = np.asarray(image)[4::8, 4::8].astype(int)
    assert np.abs(shown - small).max() <= 1
    with grey.grey_as_stored(blob) as stored:
        assert stored.scale == 8
    assert (jpeg.first_means(blob) is None) == (missing_bits > 1)
    assert distance(blob) <= FEW_BITS


def test_the_next_larger_picture_takes_the_fast_way(exact_ways):
    """65 pixels are enough."""
    pdq.hash_blob(store(enlarged(0, 300).resize((65, 65)), "JPEG", quality=95), mode="fast")
    assert exact_ways == []


def test_the_fast_decoder_is_not_asked_about_inks(monkeypatch):
    """A CMYK file goes the exact way at once: its black is not luma."""
    monkeypatch.setattr(grey, "_decode", lambda *_: pytest.fail("inks were decoded as luma"))
    with grey.grey_as_stored(store(Image.fromarray(smooth()).convert("CMYK"), "JPEG")) as stored:
        assert stored is None


def test_pixels_are_held_against_the_budget_in_fast_mode_too(monkeypatch):
    """As long as the block lasts, however it ends."""
    budget = Budget(200 * 300 + 7)
    monkeypatch.setattr(images, "held_pixels", budget)
    with grey.grey_as_stored(PHOTO):
        assert budget._left == 7
    with pytest.raises(ZeroDivisionError), grey.grey_as_stored(PHOTO):
        raise ZeroDivisionError
    assert budget._left == 200 * 300 + 7


def test_a_picture_of_another_size_than_expected_takes_the_exact_way(monkeypatch, exact_ways):
    """The projected filter fits one size only; a decoder that scales otherwise is not trusted."""
    decode = grey.simplejpeg.decode_jpeg
    blob = store(enlarged(0, 550), "JPEG", quality=85)

    def at_full_size(given: bytes, kind: str, **_: object) -> np.ndarray:
        return decode(given, kind)

    monkeypatch.setattr(grey.simplejpeg, "decode_jpeg", at_full_size)
    pdq.hash_blob(blob, mode="fast")
    assert exact_ways == [blob]


def test_a_grey_jpeg_takes_the_fast_way(exact_ways):
    """A JPEG without colour is its own luma: the fast code is the exact one but for rounding."""
    with Image.open(demo_photos()[1]) as photo:
        blob = store(photo.convert("L"), "JPEG", quality=92)
    code, _ = pdq.hash_blob(blob, mode="fast")
    assert exact_ways == []
    assert bits_apart(code, pdq.hash_blob(blob)[0]) <= 2


@pytest.mark.parametrize(
    "options",
    [
        {"keep_rgb": True},
        {"subsampling": "4:2:0"},
        {"subsampling": "4:4:4", "restart_marker_rows": 1},
    ],
    ids=["stored_as_rgb", "subsampled", "restarts"],
)
def test_every_kind_of_jpeg_is_a_few_bits_off(options):
    """However the colours are stored: the decoder's grey is near the luma of the shown picture."""
    assert distance(store(enlarged(6, 320), "JPEG", quality=90, **options)) <= FEW_BITS


PHOTO = store(smooth(200, 300), "JPEG", quality=90)


@pytest.mark.parametrize(
    "blob",
    [b"", b"no picture", PHOTO[:-700], PHOTO[:100], store(smooth(), "PNG")[:-300]],
    ids=["empty", "unrecognised", "cut", "header_cut", "cut_png"],
)
def test_bad_files_fail_for_the_same_reason_as_in_exact_mode(blob):
    """The reason of a failure does not depend on the mode."""
    with pytest.raises(DecodeError) as exact:
        pdq.hash_blob(blob)
    with pytest.raises(DecodeError) as fast:
        pdq.hash_blob(blob, mode="fast")
    assert fast.value.reason == exact.value.reason


def test_the_header_is_checked_before_anything_is_decoded(monkeypatch):
    """A picture of too many pixels or scans is refused in fast mode too."""
    monkeypatch.setattr(limits, "MAX_PIXELS", 200 * 300 - 1)
    with pytest.raises(DecodeError, match="too_many_pixels"):
        pdq.hash_blob(PHOTO, mode="fast")
    monkeypatch.undo()
    monkeypatch.setattr(limits, "MAX_JPEG_SCANS", 0)
    with pytest.raises(DecodeError, match="too_many_scans"):
        pdq.hash_blob(PHOTO, mode="fast")


def test_the_decoder_running_out_of_memory_is_a_failure_of_that_item(monkeypatch):
    """Not of the process: the item has a reason, as in exact mode."""

    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(grey.simplejpeg, "decode_jpeg", exhausted)
    with pytest.raises(DecodeError, match="out_of_memory"):
        pdq.hash_blob(PHOTO, mode="fast")


def test_running_out_of_memory_over_the_orientation_is_a_failure_of_that_item(monkeypatch):
    """The rest of the batch is hashed in either mode."""

    def exhausted(_: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr(images, "orientation", exhausted)
    for mode in ("exact", "fast"):
        batch = pdq.hash_images([PHOTO, b""], mode=mode)
        assert batch.failures == ("out_of_memory", "empty")


# --- batches, scanner, threads -------------------------------------------------------------------


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_a_fast_batch_is_its_single_images(threads):
    """Rows keep their order, codes and failures, whatever the threads."""
    photos = [path.read_bytes() for path in demo_photos()[:7]]
    blobs = [*photos, b"", DOUBTFUL["gradient"], PHOTO[:-700]]
    batch = pdq.hash_images(blobs, mode="fast", threads=threads)
    assert batch.failures == (None,) * 7 + ("empty", None, "truncated")
    for row, blob in enumerate(blobs):
        if batch.failures[row] is None:
            code, quality = pdq.hash_blob(blob, mode="fast")
            np.testing.assert_array_equal(batch.codes[row], code)
            assert batch.quality[row] == quality


def test_a_scanner_hashes_in_its_mode():
    """The mode a scanner is made with is the one that items are examined in; others are refused."""
    assert Scanner([]).wanted.pdq_mode == "exact"
    assert Scanner([], pdq_mode="fast").wanted.pdq_mode == "fast"
    with pytest.raises(ValueError, match="unknown PDQ mode 'faster'"):
        Scanner([], pdq_mode="faster")


def test_threads_are_kept_between_calls_and_results_keep_their_order():
    """The second call finds the threads of the first; a raised error comes out."""
    names: list[set[str]] = []
    for _ in range(2):
        met = threading.Barrier(3, timeout=20)

        def one(number: int, met: threading.Barrier = met) -> tuple[int, str]:
            met.wait()
            return number, threading.current_thread().name

        found = each(one, range(3), 3)
        assert [number for number, _ in found] == [0, 1, 2]
        names.append({name for _, name in found})
    assert names[0] == names[1]
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 // number, [1, 0], 2)


def test_a_forked_child_makes_threads_of_its_own():
    """It has none of its parent's, and would wait for them for ever."""
    assert each(abs, [-1, -2, -3], 2) == [1, 2, 3]
    assert holds_in_a_forked_child(lambda: each(abs, [-1, -2, -3], 2) == [1, 2, 3])


def test_pillow_agrees_on_what_the_orientations_show():
    """`TURNS` is what Pillow does with each orientation."""
    stored = picture("noise", 7, 5, seed=1)
    for orientation in images.TURNS:
        exif = Image.Exif()
        exif[0x0112] = orientation
        blob = store(stored, "PNG", exif=exif)
        with Image.open(io.BytesIO(blob)) as image:
            shown = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(images.decode(blob), shown)
