"""The ways a picture is shown, hostile bytes, headers that lie, and memory that is shared."""

from __future__ import annotations

import contextlib
import struct
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pillow_heif
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif.misc import set_orientation
from support.forks import holds_in_a_forked_child
from support.pictures import bits_apart, png, smooth, store, tiff
from support.places import SHARED_DATA
from support.settings import SEEDED

from matchers import images, limits, pdq
from matchers.errors import DecodeError
from matchers.pictures import pictures
from matchers.room import Budget, Spare
from tests.conformance.ways import EXIF_SIDES, LOSSY, WAYS, as_stored, exif
from tests.conformance.writers import (
    animated,
    bitmap,
    cmyk,
    heic,
    icon,
    icon_bitmap,
    palette,
    turned_heic,
    with_alpha,
)

DOCUMENTED_REASONS = frozenset(
    {
        "empty",
        "too_many_bytes",
        "unrecognised_format",
        "too_many_pixels",
        "too_many_scans",
        "too_much_metadata",
        "unsupported_coding",
        "truncated",
        "corrupt",
        "out_of_memory",
    }
)


def reason_of(blob: bytes) -> str:
    """Why `decode` refuses `blob`."""
    with pytest.raises(DecodeError) as refused:
        images.decode(blob)
    assert refused.value.reason in DOCUMENTED_REASONS
    assert str(refused.value) == refused.value.reason
    return refused.value.reason


# --- one picture, every format and mode: tests/conformance; here the reference's own set ----------

RGB = smooth(240, 320)


def test_the_references_own_mode_pictures_all_come_close_to_the_original():
    """The PDQ reference keeps one picture in 13 modes: each is within its tolerance of 10 bits."""
    folder = SHARED_DATA / "pdq-reference" / "modes"
    files = [path for path in sorted(folder.glob("*")) if path.suffix != ".md"]
    if not files:
        pytest.skip(f"{folder} is not on this machine (local measurement data)")
    batch = pdq.hash_images([path.read_bytes() for path in files])
    assert batch.failures == (None,) * len(files)
    original = batch.codes[[path.name for path in files].index("original.jpg")]
    apart = {path.name: bits_apart(batch.codes[n], original) for n, path in enumerate(files)}
    assert {name: bits for name, bits in apart.items() if bits > LOSSY} == {}


# --- transparency, frames, orientation --------------------------------------------------------


TRANSPARENT = tuple(
    name
    for name, way in WAYS.items()
    if way.bits < LOSSY and "on_black" in next(iter(way.write(smooth(8, 8)))).shows
)


@pytest.mark.parametrize("way", TRANSPARENT)
def test_transparency_is_laid_on_white_and_on_black(way):
    """Pages of both colours show it: the pixels are those of either, give or take one."""
    for stored in WAYS[way].write(RGB):
        shown = {name: pixels.copy() for name, pixels in images.renderings(stored.blob)}
        assert list(shown) == ["as_shown", "on_black"]
        for name, pixels in shown.items():
            plane = pixels[..., None] if pixels.ndim == 2 else pixels
            assert np.abs(plane.astype(int) - stored.shows[name]).max() <= 1


def test_a_wholly_transparent_picture_is_white():
    """Colours that nobody can see do not count."""
    blob = store(with_alpha(smooth(20, 30), 0), "PNG")
    white, black = (pixels.copy() for _, pixels in images.renderings(blob))
    np.testing.assert_array_equal(white, np.full((20, 30, 3), 255, np.uint8))
    np.testing.assert_array_equal(black, np.zeros((20, 30, 3), np.uint8))


def test_an_opaque_picture_in_a_transparent_format_is_shown_once():
    """What is nowhere see-through looks the same on any page."""
    blob = store(with_alpha(smooth(20, 30), 255), "PNG")
    assert [name for name, _ in images.renderings(blob)] == ["as_shown"]


def test_a_turned_and_transparent_picture_is_shown_in_three_ways():
    """As shown and as stored on white, as shown on black; the pixels are right in each."""
    rgb, alpha = smooth(40, 60), np.where(np.arange(60) < 20, 0, 255).astype(np.uint8)
    rgba = with_alpha(rgb, np.tile(alpha, (40, 1)))
    shown = {
        name: pixels.copy() for name, pixels in images.renderings(store(rgba, "PNG", exif=exif(6)))
    }
    assert list(shown) == ["as_shown", "as_stored", "on_black"]
    for name, level in (("as_stored", 255), ("as_shown", 255), ("on_black", 0)):
        expected = np.where((alpha > 0)[None, :, None], rgb, level).astype(np.uint8)
        upright = expected if name == "as_stored" else np.rot90(expected, -1)
        np.testing.assert_array_equal(shown[name], upright)


def test_the_first_rendering_is_what_decode_gives():
    """Whoever wants one picture gets the one that a person sees, and pays for no other."""
    blob = store(with_alpha(smooth(40, 60), 100), "PNG", exif=exif(8))
    name, pixels = next(images.renderings(blob))
    assert name == "as_shown"
    np.testing.assert_array_equal(pixels, images.decode(blob))


def test_a_still_has_its_pictures():
    """What a scan looks at: every rendering, with no place in time."""
    blob = store(with_alpha(smooth(40, 60), 100), "PNG", exif=exif(8))
    seen = [(one.rendering, one.time_seconds) for one in pictures(blob, "image")]
    assert seen == [("as_shown", None), ("as_stored", None), ("on_black", None)]


@pytest.mark.parametrize(("file_format", "options"), [("WEBP", {"lossless": True}), ("TIFF", {})])
def test_only_the_first_frame_is_decoded(file_format, options):
    """Of an animation or a file of several pages the first picture is the one that counts."""
    np.testing.assert_array_equal(images.decode(animated(RGB, file_format, **options)), RGB)


@pytest.mark.parametrize("orientation", EXIF_SIDES)
@pytest.mark.parametrize(
    ("file_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_exif_orientation_is_applied_to_lossless_files(file_format, options, orientation):
    """Whatever way a camera held the scene, the pixels come out upright, each one right."""
    upright = smooth(40, 60)
    stored = as_stored(upright, orientation)
    blob = store(stored, file_format, exif=exif(orientation), **options)
    shown = {name: pixels.copy() for name, pixels in images.renderings(blob)}
    assert list(shown) == ["as_shown", "as_stored"][: 1 if orientation == 1 else 2]
    np.testing.assert_array_equal(shown["as_shown"], upright)
    np.testing.assert_array_equal(shown.get("as_stored", stored), stored)


@pytest.mark.parametrize("orientation", EXIF_SIDES)
@pytest.mark.parametrize("stored_as", ["RGB", "L", "CMYK"])
def test_exif_orientation_is_applied_to_jpeg(stored_as, orientation):
    """A JPEG that says how it was held gives the pixels of one that does not, turned upright."""
    image = Image.fromarray(as_stored(smooth(48, 64), orientation))
    image = cmyk(np.asarray(image)) if stored_as == "CMYK" else image.convert(stored_as)
    silent = images.decode(store(image, "JPEG", quality=90))
    speaking = images.decode(store(image, "JPEG", quality=90, exif=exif(orientation)))
    np.testing.assert_array_equal(as_stored(speaking, orientation), silent)
    assert speaking.shape[:2] == (48, 64)


@pytest.mark.parametrize("orientation", EXIF_SIDES)
def test_a_heic_is_turned_once(orientation):
    """Its boxes and its EXIF both ask for the turn, as phones write them; the decoder has made it."""
    upright = smooth(48, 64)
    blob = turned_heic(as_stored(upright, orientation), exif(orientation))
    told = pillow_heif.open_heif(blob)
    assert set_orientation(told.info) == (None if orientation == 1 else orientation)
    shown = {name: pixels.copy() for name, pixels in images.renderings(blob)}
    assert list(shown) == ["as_shown", "as_stored"][: 1 if orientation == 1 else 2]
    for name, pixels in shown.items():
        expected = upright if name == "as_shown" else as_stored(upright, orientation)
        assert pixels.shape == expected.shape
        assert np.abs(pixels.astype(int) - expected).mean() < 10


def test_exif_alone_does_not_turn_a_heic():
    """Where its boxes ask for none, EXIF is only a note (ISO/IEC 23008-12): viewers ignore it."""
    blob = turned_heic(smooth(48, 64), exif(6))
    box = blob.index(b"irot") + 4
    blob = blob[:box] + b"\0" + blob[box + 1 :]
    assert [name for name, _ in images.renderings(blob)] == ["as_shown"]
    assert images.decode(blob).shape == (48, 64, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation):
    """Values outside 1 to 8 mean what viewers make of them: as stored."""
    rgb = smooth(20, 30)
    np.testing.assert_array_equal(images.decode(store(rgb, "PNG", exif=exif(orientation))), rgb)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize(
    "garbage",
    [b"", b"garbage!", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0", b"II*\0\x08\0\0\0\xff\xff"],
    ids=["empty", "text", "directory_beyond_end", "cut_in_directory", "entries_beyond_end"],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_unreadable_exif_leaves_the_picture_as_stored(file_format, garbage):
    """Broken metadata is no reason to refuse a picture that can be shown."""
    rgb = smooth(20, 30)
    plain = images.decode(store(rgb, file_format))
    broken = store(rgb, file_format, exif=b"Exif\0\0" + garbage)
    np.testing.assert_array_equal(images.decode(broken), plain)


# --- JPEG through two decoders ----------------------------------------------------------------


def test_a_jpeg_with_stray_bytes_between_markers_is_shown():
    """At these libjpeg warns and simplejpeg stops; viewers show the picture, and so do we."""
    blob = store(smooth(60, 80), "JPEG", quality=90)
    scan = blob.index(b"\xff\xda")
    stray = blob[:scan] + b"\x00\x01\x02" + blob[scan:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(stray)
    np.testing.assert_array_equal(images.decode(stray), images.decode(blob))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_bytes_after_a_picture_do_not_matter(file_format):
    """Phones append whole videos behind the picture: it decodes as it is."""
    blob = store(smooth(60, 80), file_format)
    longer = blob + b"\0" * 100_000
    np.testing.assert_array_equal(images.decode(longer), images.decode(blob))


def test_a_jpeg_that_lacks_only_its_end_marker_is_shown():
    """Every pixel is there and viewers show them: nothing to refuse (nor an easy way past us)."""
    blob = store(smooth(60, 80), "JPEG")
    assert blob.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(images.decode(blob[:-2]), images.decode(blob))


# --- bytes that are no picture ----------------------------------------------------------------

ALPHA = np.tile(np.arange(80, dtype=np.uint8), (60, 1))
WHOLE = {
    "jpeg": store(smooth(60, 80), "JPEG", quality=90),
    "progressive jpeg": store(smooth(60, 80), "JPEG", quality=90, progressive=True),
    "png": store(smooth(60, 80), "PNG"),
    "gif": store(palette(smooth(60, 80)), "GIF"),
    "webp": store(smooth(60, 80), "WEBP", quality=80),
    "lossless webp": store(smooth(60, 80), "WEBP", lossless=True),
    "tiff": store(smooth(60, 80), "TIFF"),
    "lzw tiff": store(smooth(60, 80), "TIFF", compression="tiff_lzw"),
    "bmp": store(smooth(60, 80), "BMP"),
    "avif": store(smooth(60, 80), "AVIF", speed=10),
    "heic": heic(smooth(60, 80), quality=80),
    "icon of a png": icon(store(smooth(60, 80), "PNG")),
    "icon of a bitmap and mask": icon(icon_bitmap(smooth(60, 80), alpha=None, hidden=ALPHA == 0)),
}


def test_no_bytes_are_empty():
    """Nothing at all has a reason of its own."""
    assert reason_of(b"") == "empty"


@pytest.mark.parametrize(
    "blob",
    [
        b"not a picture\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0" * 4096,
        b"\xff\xd8",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 200,
    ],
    ids=["text", "svg", "zeros", "half_a_magic", "mp4"],
)
def test_anything_else_is_an_unrecognised_format(blob):
    """Text, zeros and video are no still picture."""
    assert reason_of(blob) == "unrecognised_format"


@pytest.mark.parametrize(
    "magic",
    [
        b"\xff\xd8\xff\xe0",
        b"\xff\xd8\xff\xdb",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"RIFF\xff\xff\0\0WEBPVP8 ",
        b"RIFF\xff\xff\0\0WEBPVP8X",
        b"II*\0",
        b"MM\0*",
        b"BM",
        b"II+\0",
        b"\0\0\0\x1cftypavif",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif",
        b"\0\0\1\0",
        b"\0\0\1\0\1\0",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_bytes_behind_a_true_magic_are_refused(magic):
    """A format's first bytes followed by noise give a reason, never pixels or another error."""
    random = np.random.default_rng(20_240_601)
    for length in (4, 60, 2000):
        reason_of(magic + random.bytes(length))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_file_cut_short_is_refused(name, share):
    """Half a picture is a failure with a reason, never a picture with a grey half."""
    blob = WHOLE[name]
    reason_of(blob[: int(len(blob) * share)])


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_an_apng_cut_short_is_refused_in_its_first_frame_only(share):
    """What is missing from later frames is nothing to the first one."""
    blob = animated(RGB, "PNG")
    assert reason_of(blob[: int(blob.index(b"fdAT") * share)]) == "truncated"
    np.testing.assert_array_equal(images.decode(blob[: int(len(blob) * 0.9)]), RGB)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "png", "tiff", "bmp", "heic"])
def test_a_file_cut_in_its_pixels_is_called_truncated(name, share):
    """Where header and beginning are whole, the reason says what is wrong."""
    blob = WHOLE[name]
    assert reason_of(blob[: int(len(blob) * share)]) == "truncated"


DISABLED = {
    "ppm": store(smooth(20, 30), "PPM"),
    "cursor": b"\0\0\2\0" + store(smooth(32, 32), "ICO")[4:],
    "icns": store(smooth(32, 32), "ICNS"),
    "pcx": store(smooth(20, 30), "PCX"),
    "tga": store(smooth(20, 30), "TGA"),
    "sgi": store(smooth(20, 30), "SGI"),
    "dds": store(smooth(20, 30), "DDS"),
    "im": store(smooth(20, 30), "IM"),
    "jpeg 2000": store(smooth(20, 30), "JPEG2000"),
    "pdf": store(smooth(20, 30), "PDF"),
    "eps": store(smooth(20, 30), "EPS"),
    "psd": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 20, 30, 8, 3) + b"\0" * 1800,
}


@pytest.mark.parametrize("name", DISABLED)
def test_formats_that_are_not_opened_are_unrecognised(name):
    """Pillow's other parsers are never reached: their files are refused unopened."""
    assert reason_of(DISABLED[name]) == "unrecognised_format"


SMALL = {name: blob for name, blob in WHOLE.items() if len(blob) < 20_000}


@settings(SEEDED, max_examples=500)
@given(
    name=st.sampled_from(sorted(SMALL)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=6),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
    in_header=st.booleans(),
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files_give_pixels_or_a_decode_error(monkeypatch, name, flips, keep, in_header):
    """Flipped and missing bytes never lead to any other exception, dtype or shape."""
    monkeypatch.setattr(limits, "MAX_PIXELS", 1_000_000)  # flips in a header claim large sizes
    blob = bytearray(SMALL[name])
    for place, mask in flips:
        blob[int(place * (min(200, len(blob)) if in_header else len(blob)))] ^= mask
    pixels, reason = None, None
    try:
        pixels = images.decode(bytes(blob[: int(len(blob) * keep)]))
    except DecodeError as error:
        reason = error.reason
    if pixels is None:
        assert reason in DOCUMENTED_REASONS
    else:
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
        assert pixels.shape[0] * pixels.shape[1] <= 1_000_000


# --- limits -----------------------------------------------------------------------------------

SIDE = 65_000


def lying_jpeg() -> bytes:
    """A baseline JPEG whose frame header says 65000 x 65000 (ITU T.81, B.2.2)."""
    blob = WHOLE["jpeg"]
    frame = blob.index(b"\xff\xc0") + 5
    return blob[:frame] + struct.pack(">HH", SIDE, SIDE) + blob[frame + 4 :]


def lying_png() -> bytes:
    """A PNG whose IHDR, with a right checksum, says 65000 x 65000."""
    return png(smooth(4, 4), bit_depth=8, colour_type=2, size=(SIDE, SIDE))


def lying_gif() -> bytes:
    """A GIF of one pixel on a logical screen of 65000 x 65000."""
    screen = b"GIF89a" + struct.pack("<HHBBB", SIDE, SIDE, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0;"


def gif_frame_beyond_its_screen() -> bytes:
    """A GIF whose screen is one pixel and whose frame is 65000 x 65000."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return screen + b"," + struct.pack("<HHHHB", 0, 0, SIDE, SIDE, 0) + b"\x02\x02\x4c\x01\0;"


def lying_bmp() -> bytes:
    """A BMP whose BITMAPINFOHEADER says 65000 x 65000."""
    info = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + info + b"\0" * 100


def lying_tiff() -> bytes:
    """A TIFF whose directory says 65000 x 65000."""
    entries = {256: (4, SIDE), 257: (4, SIDE), 258: (3, 8), 259: (3, 1), 262: (3, 1)}
    entries |= {273: (4, 8), 277: (3, 1), 278: (4, SIDE), 279: (4, 100)}
    return tiff(entries, b"\0" * 100)


def lying_webp() -> bytes:
    """An animated WebP whose canvas says 16383 x 16383."""
    blob = bytearray(animated(smooth(20, 30), "WEBP"))
    canvas = blob.index(b"VP8X") + 12
    blob[canvas : canvas + 6] = 2 * (16_383 - 1).to_bytes(3, "little")
    return bytes(blob)


def lying_avif() -> bytes:
    """An AVIF whose image spatial extents say 16384 x 16384."""
    blob = bytearray(WHOLE["avif"])
    extents = blob.index(b"ispe") + 8
    blob[extents : extents + 8] = struct.pack(">II", 16_384, 16_384)
    return bytes(blob)


def lying_heic() -> bytes:
    """A HEIC whose image spatial extents say 16384 x 16384."""
    blob = bytearray(WHOLE["heic"])
    extents = blob.index(b"ispe") + 8
    blob[extents : extents + 8] = struct.pack(">II", 16_384, 16_384)
    return bytes(blob)


def icon_of_a_lying_png() -> bytes:
    """An icon whose directory says 256 x 256 and whose PNG says 65000 x 65000."""
    return icon(lying_png())


def test_an_icons_bitmap_that_claims_more_pixels_than_it_holds_is_refused():
    """A bitmap's length follows from its size, so nothing need be decoded to tell."""
    assert reason_of(icon(bitmap(bytes(100), SIDE, 2 * SIDE, 24))) == "truncated"


def test_an_icon_whose_pictures_all_lie_in_the_same_place_takes_no_memory_for_it():
    """Each says that it is the whole rest of the file; one is copied."""
    rest = store(smooth(60, 80), "PNG") + bytes(2_000_000)
    place = 6 + 16 * limits.MAX_ICON_PICTURES
    entry = struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(rest), place)
    blob = b"\0\0\1\0" + struct.pack("<H", limits.MAX_ICON_PICTURES)
    blob += entry * limits.MAX_ICON_PICTURES + rest
    tracemalloc.start()
    try:
        assert images.decode(blob).shape == (60, 80, 3)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 3 * len(blob)


def test_a_deep_bitmap_of_an_icon_needs_no_mask():
    """Its alpha says the same; some programs leave the mask out."""
    masked = icon_bitmap(smooth(60, 80), alpha=ALPHA + 100, hidden=ALPHA < 0)
    bare = masked[: 40 + 4 * 60 * 80]
    np.testing.assert_array_equal(images.decode(icon(bare)), images.decode(icon(masked)))
    assert reason_of(icon(bare[:-1])) == "truncated"


def test_an_icons_directory_cannot_move_the_mask():
    """It may say that a bitmap is longer, and hide all of it from who believes that."""
    hidden = np.zeros((60, 80), bool)
    honest = icon_bitmap(smooth(60, 80), alpha=None, hidden=hidden)
    blob = icon(honest + b"\xff" * 2000)
    np.testing.assert_array_equal(images.decode(blob), smooth(60, 80))


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"\0\0\1\0\xff\xff", "too_much_metadata"),
        (b"\0\0\1\0\0\0", "corrupt"),
        (icon(b"neither"), "corrupt"),
        (icon(b"\x89PNG\r\n\x1a\n" + bytes(30)), "corrupt"),
        (icon(bitmap(b"", -5, 10, 24)), "corrupt"),
        (icon(bitmap(bytes(500), 5, 10, 16)), "unsupported_coding"),
        (icon(bitmap(bytes(2000), 5, 10, 17)), "corrupt"),
    ],
    ids=["entries", "empty", "no_picture", "broken_png", "no_width", "coding", "bits"],
)
def test_icons_that_hold_no_picture_are_refused(blob, reason):
    """Each for its own reason."""
    assert reason_of(blob) == reason


@pytest.mark.parametrize(
    "make",
    [
        lying_jpeg,
        lying_png,
        lying_gif,
        gif_frame_beyond_its_screen,
        lying_bmp,
        lying_tiff,
        lying_webp,
        lying_avif,
        lying_heic,
        icon_of_a_lying_png,
    ],
)
def test_a_header_that_claims_too_many_pixels_is_refused_before_any_is_decoded(make):
    """A few kilobytes that claim gigabytes cost next to no memory."""
    blob = make()
    tracemalloc.start()
    try:
        reason = reason_of(blob)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reason == "too_many_pixels"
    assert peak_bytes < 10_000_000


def test_a_heic_cut_from_a_larger_picture_counts_as_that(monkeypatch):
    """What is shown of it may be small (clap); what is decoded is not."""
    blob = heic(smooth(61, 81), quality=80)
    assert b"clap" in blob
    assert images.decode(blob).shape == (61, 81, 3)
    monkeypatch.setattr(limits, "MAX_PIXELS", 61 * 81)
    assert reason_of(blob) == "too_many_pixels"


def test_a_heic_coded_larger_than_it_promises_is_refused():
    """The decoder compares the coded size with the promised one, and allocates nothing before."""
    blob = bytearray(heic(np.zeros((2000, 2000, 3), np.uint8), quality=10))
    extents = blob.index(b"ispe") + 8
    blob[extents : extents + 8] = struct.pack(">II", 16, 16)
    assert reason_of(bytes(blob)) == "too_many_pixels"


def test_a_heif_file_of_another_coding_says_so():
    """JPEG 2000 and AV1 may stand in the same container: libheif here decodes HEVC."""
    assert reason_of(WHOLE["heic"].replace(b"hvc1", b"j2k1")) == "unsupported_coding"


def test_a_tiff_tile_larger_than_the_limits_is_refused(monkeypatch):
    """A small TIFF may have huge tiles, which libtiff decodes whole: they count as pixels."""
    monkeypatch.setattr(limits, "MAX_PIXELS", 10_000)
    entries = {256: (4, 16), 257: (4, 16), 258: (3, 8), 259: (3, 8), 262: (3, 1), 277: (3, 1)}
    entries |= {322: (4, 1008), 323: (4, 1008), 324: (4, 8), 325: (4, 100)}
    assert reason_of(tiff(entries, b"\x80" * 100)) == "too_many_pixels"


@pytest.mark.parametrize("file_format", sorted(WHOLE.keys() - {"heic"}))  # cut from 64 x 80
def test_the_pixel_limit_is_inclusive(monkeypatch, file_format):
    """A picture of exactly the limit is decoded, one of a row more is not."""
    blob = WHOLE[file_format]
    monkeypatch.setattr(limits, "MAX_PIXELS", 60 * 80)
    assert images.decode(blob).shape[:2] == (60, 80)
    monkeypatch.setattr(limits, "MAX_PIXELS", 60 * 80 - 1)
    assert reason_of(blob) == "too_many_pixels"


@pytest.mark.parametrize("shape", [(40, 10), (10, 40)])
def test_the_side_limit_is_inclusive(monkeypatch, shape):
    """Each side is bound by itself, so that no single row is too long."""
    blob = store(smooth(*shape), "PNG")
    monkeypatch.setattr(limits, "MAX_SIDE_PIXELS", 40)
    assert images.decode(blob).shape[:2] == shape
    monkeypatch.setattr(limits, "MAX_SIDE_PIXELS", 39)
    assert reason_of(blob) == "too_many_pixels"


def test_the_byte_limit_is_inclusive(monkeypatch):
    """A file of exactly the limit is opened, one byte more is not, whatever it holds."""
    blob = WHOLE["png"]
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", len(blob))
    assert images.decode(blob).shape == (60, 80, 3)
    monkeypatch.setattr(limits, "MAX_ENCODED_BYTES", len(blob) - 1)
    assert reason_of(blob) == "too_many_bytes"


def test_running_out_of_memory_is_a_reason_of_its_own(monkeypatch):
    """A decoder that cannot get its memory fails that item and no other."""

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(simplejpeg, "decode_jpeg", refuse)
    assert reason_of(WHOLE["jpeg"]) == "out_of_memory"


# --- pixels held at once ----------------------------------------------------------------------


class WouldWaitError(Exception):
    """Raised in place of waiting for ever."""


class NoWaiting(threading.Condition):
    """A condition for one thread: what does not hold at once never will."""

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """True at once, or an error."""
        if not predicate():
            raise WouldWaitError
        return True


class ImpatientCondition(threading.Condition):
    """A condition that a broken budget cannot hang."""

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = 60) -> bool:
        """True in the end, or an error."""
        if not super().wait_for(predicate, timeout):
            raise WouldWaitError
        return True


@pytest.fixture
def room_for_two(monkeypatch) -> None:
    """A budget of two pictures of 60 x 80, which tells when a third would have to wait."""
    budget = Budget(2 * 60 * 80)
    budget._returned = NoWaiting()
    monkeypatch.setattr(images, "held_pixels", budget)


def test_decoded_lends_the_pixels_that_decode_gives():
    """The two ways to decode differ only in how long the pixels count."""
    for blob in WHOLE.values():
        with images.decoded(blob) as pixels:
            np.testing.assert_array_equal(pixels, images.decode(blob))


def test_no_more_pixels_are_held_than_the_budget_allows(room_for_two):
    """Two pictures are held together; a third waits until one of them is let go."""
    with images.decoded(WHOLE["jpeg"]):
        second = images.decoded(WHOLE["jpeg"])
        with second, pytest.raises(WouldWaitError), images.decoded(WHOLE["png"]):
            pytest.fail("a third picture was decoded")
        with images.decoded(WHOLE["png"]) as pixels:
            assert pixels.shape == (60, 80, 3)


def test_pixels_are_given_back_however_the_block_ends(room_for_two):
    """Broken pictures and errors in the block cost nothing that lasts."""
    blob = WHOLE["jpeg"]
    for _ in range(5):
        assert reason_of(blob[: len(blob) // 2]) == "truncated"
        with pytest.raises(ZeroDivisionError), images.decoded(blob):
            raise ZeroDivisionError
    with images.decoded(blob), images.decoded(blob) as pixels:
        assert pixels.shape == (60, 80, 3)


def test_a_picture_refused_by_its_header_takes_nothing_of_the_budget(room_for_two):
    """A header that claims gigapixels never waits for them."""
    with images.decoded(WHOLE["png"]), images.decoded(WHOLE["png"]):
        assert reason_of(lying_png()) == "too_many_pixels"


def test_the_largest_picture_fits_the_budget():
    """Otherwise it would wait for ever."""
    assert limits.MAX_PIXELS <= limits.MAX_PIXELS_AT_ONCE


def test_a_picture_larger_than_the_whole_budget_is_refused_by_name(monkeypatch):
    """In a process with less memory: it would wait for ever."""
    monkeypatch.setattr(images, "held_pixels", Budget(60 * 80 - 1))
    assert reason_of(WHOLE["png"]) == "out_of_memory"


def test_threads_that_wait_for_the_budget_all_get_their_turn(monkeypatch):
    """Eight threads with room for one picture at a time each decode theirs, one by one."""
    budget = Budget(60 * 80)
    budget._returned = ImpatientCondition()
    monkeypatch.setattr(images, "held_pixels", budget)
    inside: list[int] = []
    together: list[int] = []

    def one(number: int) -> bool:
        with images.decoded(WHOLE["png"]) as pixels:
            inside.append(number)
            together.append(len(inside))
            right = bool((pixels == smooth(60, 80)).all())
            inside.remove(number)
        return right

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(24))) == [True] * 24
    assert together == [1] * 24


def test_a_large_picture_is_not_passed_by():
    """Who came first is served first: small pictures that fit wait behind one that does not."""
    budget = Budget(100)
    budget._returned = ImpatientCondition()
    served: list[str] = []

    def ask(name: str, pixels: int) -> threading.Thread:
        waiting = len(budget._waiting)

        def one() -> None:
            with budget.hold(pixels):
                served.append(name)

        thread = threading.Thread(target=one)
        thread.start()
        while len(budget._waiting) == waiting and thread.is_alive():
            thread.join(0.001)
        return thread

    with budget.hold(50):
        threads = [ask("large", 100), ask("small", 10)]
        assert served == []
    for thread in threads:
        thread.join()
    assert served == ["large", "small"]


def test_whoever_gives_up_waiting_is_not_waited_for(room_for_two):
    """The next in the queue is served although the one before it ended in an error."""
    with images.decoded(WHOLE["jpeg"]), images.decoded(WHOLE["jpeg"]):
        for _ in range(2):
            with pytest.raises(WouldWaitError), images.decoded(WHOLE["jpeg"]):
                pytest.fail("a third picture was decoded")
    with images.decoded(WHOLE["jpeg"]) as pixels:
        assert pixels.shape == (60, 80, 3)


def test_a_forked_child_has_the_whole_budget():
    """What the parent held is not held in a child, whose own blocks end as ever."""

    def decodes_after_the_fork() -> bool:
        with images.held_pixels.hold(limits.MAX_PIXELS_AT_ONCE):
            pass
        large.close()
        with images.held_pixels.hold(limits.MAX_PIXELS_AT_ONCE):
            full = images.held_pixels._left == 0
        with images._spare.lend(Spare.LEAST_BYTES):
            pass
        return full and images.decode(WHOLE["jpeg"]).shape == (60, 80, 3)

    with contextlib.ExitStack() as large:
        large.enter_context(images.held_pixels.hold(limits.MAX_PIXELS_AT_ONCE))
        with images._spare._lock:
            assert holds_in_a_forked_child(decodes_after_the_fork)
    assert images.held_pixels._left == limits.MAX_PIXELS_AT_ONCE


def test_a_jpeg_of_very_many_scans_is_refused():
    """Each scan costs a pass over the whole picture: a small file must not cost minutes."""
    blob = store(smooth(60, 80), "JPEG", progressive=True)
    last = blob.rindex(b"\xff\xda")
    bomb = blob[:last] + blob[last:-2] * (limits.MAX_JPEG_SCANS + 1) + blob[-2:]
    assert reason_of(bomb) == "too_many_scans"
    assert images.decode(blob).shape == (60, 80, 3)


@pytest.mark.parametrize(
    "samples",
    [
        np.arange(1200, dtype=np.uint16)[:, None] * 54 + np.arange(1000, dtype=np.uint16),
        np.arange(1_200_000, dtype=np.int32).reshape(1200, 1000),
        np.linspace(0, 1, 1_200_000, dtype=np.float32).reshape(1200, 1000),
    ],
    ids=["16_bits", "32_bits", "float"],
)
def test_deep_grey_takes_few_bytes_a_pixel(samples):
    """It is scaled in bands; at once, floats of 8 bytes would be held several times over."""
    blob = store(samples, "TIFF")
    tracemalloc.start()
    try:
        shown = images.decode(blob)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 14 * samples.size
    white = 65_536 if samples.dtype == np.uint16 else int(samples.max()) + 1
    if samples.dtype.kind == "f":
        expected = np.rint(samples.astype(np.float64) * 255)
    else:
        expected = samples.astype(np.int64) * 256 // white
    np.testing.assert_array_equal(shown, expected)


# --- memory of decoded pictures -----------------------------------------------------------------


def test_a_decoded_picture_is_its_callers_own():
    """What `decode` gave stays as it is when the next pictures are decoded."""
    first, second = (store(smooth(1100, 1400, seed=seed), "JPEG", quality=90) for seed in (1, 2))
    kept = images.decode(first)
    before = kept.copy()
    assert not np.array_equal(images.decode(second), before)
    np.testing.assert_array_equal(kept, before)


def test_memory_is_lent_to_one_block_at_a_time_and_again_afterwards():
    """Nested blocks have their own pixels; a later one has the memory of an earlier one."""
    spare = Spare(64 * 1024 * 1024)
    size = spare.LEAST_BYTES
    with spare.lend(size) as outer, spare.lend(size) as inner:
        assert not np.shares_memory(outer, inner)
    with spare.lend(size) as again:
        assert np.shares_memory(again, outer) or np.shares_memory(again, inner)
    with spare.lend(size * 2) as larger:
        assert len(larger) >= size * 2
    with spare.lend(100) as small:
        assert len(small) == 100


def test_kept_memory_is_bounded():
    """No more than the limit is kept, whatever was lent at once."""
    spare = Spare(3 * Spare.LEAST_BYTES)
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(spare.lend(spare.LEAST_BYTES))
    assert len(spare._rooms) == 3
    with spare.lend(4 * spare.LEAST_BYTES):
        pass
    assert sum(len(room) for room in spare._rooms) <= 3 * spare.LEAST_BYTES
