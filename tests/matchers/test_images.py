"""One picture in every format and pixel mode, hostile bytes, and headers that lie."""

from __future__ import annotations

import contextlib
import struct
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from support.forks import holds_in_a_forked_child
from support.pictures import bits_apart, on_white, png, reference, smooth, store, tiff
from support.places import PHOTOS, SHARED_DATA
from support.settings import SEEDED

from matchers import images, limits, pdq
from matchers.errors import DecodeError
from matchers.room import Budget, Spare

DOCUMENTED_REASONS = frozenset(
    {
        "empty",
        "too_many_bytes",
        "unrecognised_format",
        "too_many_pixels",
        "too_many_scans",
        "too_much_metadata",
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


# --- one picture, every format and mode -------------------------------------------------------


def photo(name: str) -> np.ndarray:
    """A demo photograph's pixels, at most 360 on its long side."""
    with Image.open(PHOTOS / name) as image:
        image.thumbnail((360, 360))
        return np.asarray(image.convert("RGB"))


ORIGINALS = {
    "generated": smooth(240, 320),
    "cat": photo("cat.jpg"),
    "coffee": photo("coffee.jpg"),
}
CODES = {name: reference(pixels)[0] for name, pixels in ORIGINALS.items()}


def grey(rgb: np.ndarray) -> np.ndarray:
    """Luma as whole numbers, by Pillow."""
    return np.asarray(Image.fromarray(rgb).convert("L"))


def palette(rgb: np.ndarray) -> Image.Image:
    """256 colours of the picture's own."""
    return Image.fromarray(rgb).quantize(256)


def with_alpha(rgb: np.ndarray, alpha: np.ndarray | int) -> np.ndarray:
    """RGBA."""
    plane = np.broadcast_to(np.uint8(alpha) if isinstance(alpha, int) else alpha, rgb.shape[:2])
    return np.dstack([rgb, plane])


def palette_with_transparency(rgb: np.ndarray) -> bytes:
    """A palette PNG one of whose entries, not used by any pixel, is see-through."""
    image = Image.fromarray(rgb).quantize(255)
    return store(image, "PNG", transparency=255)


def palette_png_by_hand(rgb: np.ndarray, bit_depth: int) -> bytes:
    """A palette PNG with 2**bit_depth colours and packed pixels."""
    image = Image.fromarray(rgb).quantize(2**bit_depth)
    colours = np.array(image.getpalette()[: 3 * 2**bit_depth], np.uint8).tobytes()
    return png(np.asarray(image), bit_depth=bit_depth, colour_type=3, chunks=((b"PLTE", colours),))


def animated(rgb: np.ndarray, file_format: str, **options: object) -> bytes:
    """The picture as the first frame of three; the others are something else."""
    frames = [Image.fromarray(255 - rgb), Image.fromarray(rgb[::-1])]
    return store(rgb, file_format, save_all=True, append_images=frames, duration=40, **options)


def lab_tiff(rgb: np.ndarray) -> bytes:
    """CIE L*a*b* by Little CMS, as a TIFF."""
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return store(ImageCms.applyTransform(Image.fromarray(rgb), to_lab), "TIFF")


def cmyk(rgb: np.ndarray) -> Image.Image:
    """Four inks, black taken out of the other three as a printer would."""
    light = np.maximum(rgb.max(axis=2), 1)[..., None].astype(np.float64)
    inks = np.rint(255 * (1 - rgb / light))
    return Image.merge(
        "CMYK", [Image.fromarray(p.astype(np.uint8)) for p in np.dstack([inks, 255 - light]).T]
    ).transpose(Image.Transpose.TRANSPOSE)


def grey_16(rgb: np.ndarray) -> np.ndarray:
    """Grey of 16 bits that uses the low byte too."""
    return (grey(rgb).astype(np.uint16) << 8) | 0x5A


def white_is_zero_16(rgb: np.ndarray) -> bytes:
    """A 16-bit grey TIFF whose samples count darkness: PhotometricInterpretation 0."""
    samples = 65_535 - grey_16(rgb)
    height, width = samples.shape
    entries = {
        256: (4, width),
        257: (4, height),
        258: (3, 16),
        259: (3, 1),
        262: (3, 0),
        273: (4, 8),
        277: (3, 1),
        278: (4, height),
        279: (4, samples.nbytes),
    }
    return tiff(entries, samples.astype("<u2").tobytes())


class Stored(NamedTuple):
    """One way to store a picture.

    Attributes:
        encode: RGB pixels -> file.
        bits: the most bits the code may be away from the RGB original's.
        channels: 3 for RGB, 1 where the file itself is grey.
    """

    encode: Callable[[np.ndarray], bytes]
    bits: int
    channels: int = 3


# Bounds: 0 where every pixel survives; 2 where samples are rounded (grey, inks); 10, the reference's
# own tolerance, for lossy coding; 12 for 256 colours; for 16 and 2 colours just within radius 31.
LOSSLESS, ROUNDED, LOSSY, PALETTE, FEW_COLOURS = 0, 2, 10, 12, 30
STORED = {
    "jpeg baseline": Stored(lambda p: store(p, "JPEG", quality=90), LOSSY),
    "jpeg low quality": Stored(lambda p: store(p, "JPEG", quality=50), LOSSY),
    "jpeg progressive": Stored(lambda p: store(p, "JPEG", quality=90, progressive=True), LOSSY),
    "jpeg 4:4:4": Stored(lambda p: store(p, "JPEG", quality=95, subsampling=0), LOSSY),
    "jpeg stored as rgb": Stored(lambda p: store(p, "JPEG", quality=95, keep_rgb=True), LOSSY),
    "jpeg grey": Stored(lambda p: store(grey(p), "JPEG", quality=95), LOSSY, 1),
    "jpeg cmyk": Stored(lambda p: store(cmyk(p), "JPEG", quality=95), LOSSY),
    "jpeg of several pictures (mpo)": Stored(
        lambda p: store(
            p, "MPO", quality=90, save_all=True, append_images=[Image.fromarray(255 - p)]
        ),
        LOSSY,
    ),
    "png rgb": Stored(lambda p: store(p, "PNG"), LOSSLESS),
    "png rgb with an unused transparent colour": Stored(
        lambda p: png(p, bit_depth=8, colour_type=2, chunks=((b"tRNS", unused_colour(p)),)),
        LOSSLESS,
    ),
    "png 16-bit rgb": Stored(
        lambda p: png((p.astype(np.uint16) << 8) | 0x5A, bit_depth=16, colour_type=2), LOSSLESS
    ),
    "png 16-bit rgba": Stored(
        lambda p: png(with_alpha(p, 255).astype(np.uint16) * 257, bit_depth=16, colour_type=6),
        LOSSLESS,
    ),
    "png opaque rgba": Stored(lambda p: store(with_alpha(p, 255), "PNG"), LOSSLESS),
    "png grey": Stored(lambda p: store(grey(p), "PNG"), ROUNDED, 1),
    "png grey and opaque alpha": Stored(
        lambda p: store(np.dstack([grey(p), np.full_like(grey(p), 255)]), "PNG"), ROUNDED
    ),
    "png 16-bit grey": Stored(lambda p: store(grey_16(p), "PNG"), ROUNDED, 1),
    "png 16-bit grey and opaque alpha": Stored(
        lambda p: png(
            np.dstack([grey_16(p), np.full_like(grey_16(p), 65_535)]), bit_depth=16, colour_type=4
        ),
        ROUNDED,
    ),
    "png palette": Stored(lambda p: store(palette(p), "PNG"), PALETTE),
    "png palette of 16": Stored(lambda p: palette_png_by_hand(p, 4), FEW_COLOURS),
    "png palette with transparency": Stored(palette_with_transparency, PALETTE),
    "png 1-bit dithered": Stored(
        lambda p: store(Image.fromarray(p).convert("1"), "PNG"), FEW_COLOURS
    ),
    "gif": Stored(lambda p: store(palette(p), "GIF"), PALETTE),
    "gif grey": Stored(lambda p: store(grey(p), "GIF"), ROUNDED),
    "gif animated": Stored(lambda p: animated(p, "GIF"), PALETTE),
    "webp lossy": Stored(lambda p: store(p, "WEBP", quality=85), LOSSY),
    "webp lossless": Stored(lambda p: store(p, "WEBP", lossless=True), LOSSLESS),
    "webp opaque alpha": Stored(
        lambda p: store(with_alpha(p, 255), "WEBP", lossless=True, exact=True), LOSSLESS
    ),
    "webp animated": Stored(lambda p: animated(p, "WEBP", lossless=True), LOSSLESS),
    "tiff rgb": Stored(lambda p: store(p, "TIFF"), LOSSLESS),
    "tiff rgb lzw": Stored(lambda p: store(p, "TIFF", compression="tiff_lzw"), LOSSLESS),
    "tiff rgb deflate": Stored(
        lambda p: store(p, "TIFF", compression="tiff_adobe_deflate"), LOSSLESS
    ),
    "tiff jpeg": Stored(lambda p: store(p, "TIFF", compression="jpeg", quality=90), LOSSY),
    "tiff big": Stored(lambda p: store(p, "TIFF", big_tiff=True), LOSSLESS),
    "tiff cmyk": Stored(lambda p: store(cmyk(p), "TIFF"), ROUNDED),
    "tiff lab": Stored(lab_tiff, LOSSY),
    "tiff 16-bit grey": Stored(lambda p: store(grey_16(p), "TIFF"), ROUNDED, 1),
    "tiff 16-bit grey, white is zero": Stored(white_is_zero_16, ROUNDED, 1),
    "tiff 32-bit grey": Stored(lambda p: store(grey_16(p).astype(np.int32), "TIFF"), ROUNDED, 1),
    "tiff float 0 to 1": Stored(
        lambda p: store(grey(p).astype(np.float32) / 255, "TIFF"), ROUNDED, 1
    ),
    "tiff float 0 to 255": Stored(lambda p: store(grey(p).astype(np.float32), "TIFF"), ROUNDED, 1),
    "tiff palette": Stored(lambda p: store(palette(p), "TIFF"), PALETTE),
    "tiff opaque rgba": Stored(lambda p: store(with_alpha(p, 255), "TIFF"), LOSSLESS),
    "bmp rgb": Stored(lambda p: store(p, "BMP"), LOSSLESS),
    "bmp palette": Stored(lambda p: store(palette(p), "BMP"), PALETTE),
    "bmp grey": Stored(lambda p: store(grey(p), "BMP"), ROUNDED, 1),
    "avif": Stored(lambda p: store(p, "AVIF", quality=80, speed=10), LOSSY),
    "avif opaque alpha": Stored(
        lambda p: store(with_alpha(p, 255), "AVIF", quality=80, speed=10), LOSSY
    ),
}


def unused_colour(rgb: np.ndarray) -> bytes:
    """A tRNS colour that no pixel has, so that nothing is see-through."""
    packed = (rgb.astype(np.int64) @ [65_536, 256, 1]).ravel()
    free = int(np.setdiff1d(np.arange(packed.size + 1), packed)[0])
    return struct.pack(">HHH", free >> 16, free >> 8 & 255, free & 255)


@pytest.mark.parametrize("original", ORIGINALS)
@pytest.mark.parametrize("stored", STORED)
def test_every_way_to_store_a_picture_keeps_its_code(stored, original):
    """In any format and mode the file decodes to 8-bit pixels within the bound stated for it."""
    encode, bits, channels = STORED[stored]
    rgb = ORIGINALS[original]
    pixels = images.decode(encode(rgb))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (rgb.shape if channels == 3 else rgb.shape[:2])
    code, _ = pdq.hash_pixels(pixels)
    assert bits_apart(code, CODES[original]) <= bits


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


def soft_alpha(rgb: np.ndarray) -> np.ndarray:
    """From see-through on the left to opaque on the right."""
    height, width = rgb.shape[:2]
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def half_transparent_palette(rgb: np.ndarray) -> tuple[bytes, np.ndarray]:
    """A palette PNG whose entries have alpha of their own, and what it shows."""
    image = Image.fromarray(rgb).quantize(64)
    indices = np.asarray(image)
    colours = np.array(image.getpalette()[: 3 * 64], np.uint8).reshape(64, 3)
    alphas = np.linspace(0, 255, 64).astype(np.uint8)
    blob = png(
        indices,
        bit_depth=8,
        colour_type=3,
        chunks=((b"PLTE", colours.tobytes()), (b"tRNS", alphas.tobytes())),
    )
    return blob, on_white(colours[indices], alphas[indices])


def transparent_gif(rgb: np.ndarray) -> tuple[bytes, np.ndarray]:
    """A GIF whose most frequent palette entry is see-through, and what it shows."""
    image = Image.fromarray(rgb).quantize(64)
    indices = np.asarray(image)
    colours = np.array(image.getpalette()[: 3 * 64], np.uint8).reshape(64, 3)
    gone = int(np.bincount(indices.ravel()).argmax())
    shown = colours[indices]
    shown[indices == gone] = 255
    return store(image, "GIF", transparency=gone), shown


def transparent_colour_png(rgb: np.ndarray) -> tuple[bytes, np.ndarray]:
    """An RGB PNG whose colour of the top left pixel is see-through, and what it shows."""
    colour = rgb[0, 0]
    shown = np.where((rgb == colour).all(axis=2)[..., None], 255, rgb).astype(np.uint8)
    chunk = struct.pack(">HHH", *colour.tolist())
    return png(rgb, bit_depth=8, colour_type=2, chunks=((b"tRNS", chunk),)), shown


def layered(file_format: str, **options: object) -> Callable:
    """RGB pixels -> (file with a soft alpha plane, what it shows)."""

    def encode(rgb: np.ndarray) -> tuple[bytes, np.ndarray]:
        alpha = soft_alpha(rgb)
        blob = store(with_alpha(rgb, alpha), file_format, **options)
        return blob, on_white(rgb, alpha)

    return encode


def layered_grey(rgb: np.ndarray) -> tuple[bytes, np.ndarray]:
    """A grey PNG with a soft alpha plane, and what it shows."""
    plane, alpha = grey(rgb), soft_alpha(rgb)
    shown = on_white(np.repeat(plane[..., None], 3, axis=2), alpha)
    return store(np.dstack([plane, alpha]), "PNG"), shown


TRANSPARENT = {
    "png rgba": layered("PNG"),
    "png grey and alpha": layered_grey,
    "png palette with alphas": half_transparent_palette,
    "png rgb with a transparent colour": transparent_colour_png,
    "gif with a transparent colour": transparent_gif,
    "webp alpha": layered("WEBP", lossless=True, exact=True),
    "tiff rgba": layered("TIFF"),
}


@pytest.mark.parametrize("stored", TRANSPARENT)
def test_transparency_is_laid_on_white(stored):
    """A viewer shows see-through parts on white: decoding gives those pixels, give or take one."""
    blob, shown = TRANSPARENT[stored](ORIGINALS["generated"])
    pixels = images.decode(blob)
    assert pixels.shape == shown.shape
    assert np.abs(pixels.astype(int) - shown).max() <= 1


def test_a_wholly_transparent_picture_is_white():
    """Colours that nobody can see do not count."""
    pixels = images.decode(store(with_alpha(smooth(20, 30), 0), "PNG"))
    np.testing.assert_array_equal(pixels, np.full((20, 30, 3), 255, np.uint8))


@pytest.mark.parametrize(("file_format", "options"), [("WEBP", {"lossless": True}), ("TIFF", {})])
def test_only_the_first_frame_is_decoded(file_format, options):
    """Of an animation or a file of several pages the first picture is the one that counts."""
    rgb = ORIGINALS["generated"]
    np.testing.assert_array_equal(images.decode(animated(rgb, file_format, **options)), rgb)


EXIF_SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""EXIF 2.3 section 4.6.4: the side of the scene that row 0 and column 0 of the file hold."""


def as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels a camera would write for a scene, by the definition in `EXIF_SIDES`."""
    row_0, column_0 = EXIF_SIDES[orientation]
    pixels = upright if row_0 in ("top", "bottom") else upright.swapaxes(0, 1)
    if row_0 in ("bottom", "right"):
        pixels = pixels[::-1]
    if column_0 in ("bottom", "right"):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def exif(orientation: int) -> Image.Exif:
    """EXIF that holds an orientation and nothing else."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", EXIF_SIDES)
@pytest.mark.parametrize(
    ("file_format", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_exif_orientation_is_applied_to_lossless_files(file_format, options, orientation):
    """Whatever way a camera held the scene, the pixels come out upright, each one right."""
    upright = smooth(40, 60)
    blob = store(as_stored(upright, orientation), file_format, exif=exif(orientation), **options)
    np.testing.assert_array_equal(images.decode(blob), upright)


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
def test_exif_orientation_is_applied_to_avif(orientation):
    """AVIF keeps the orientation in boxes of its own; the picture still comes out upright."""
    upright = smooth(96, 144)
    blob = store(
        as_stored(upright, orientation), "AVIF", quality=90, speed=10, exif=exif(orientation)
    )
    pixels = images.decode(blob)
    assert pixels.shape == upright.shape
    assert bits_apart(pdq.hash_pixels(pixels)[0], reference(upright)[0]) <= LOSSY


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


def test_bytes_after_a_jpeg_do_not_matter():
    """Phones append whole videos behind the picture: it decodes as it is."""
    blob = store(smooth(60, 80), "JPEG")
    np.testing.assert_array_equal(images.decode(blob + b"\0" * 1000), images.decode(blob))


def test_a_jpeg_that_lacks_only_its_end_marker_is_shown():
    """Every pixel is there and viewers show them: nothing to refuse (nor an easy way past us)."""
    blob = store(smooth(60, 80), "JPEG")
    assert blob.endswith(b"\xff\xd9")
    np.testing.assert_array_equal(images.decode(blob[:-2]), images.decode(blob))


# --- bytes that are no picture ----------------------------------------------------------------

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
        b"\0\0\0\x1cftypavif",
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


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "png", "tiff", "bmp"])
def test_a_file_cut_in_its_pixels_is_called_truncated(name, share):
    """Where header and beginning are whole, the reason says what is wrong."""
    blob = WHOLE[name]
    assert reason_of(blob[: int(len(blob) * share)]) == "truncated"


DISABLED = {
    "ppm": store(smooth(20, 30), "PPM"),
    "ico": store(smooth(32, 32), "ICO"),
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


def test_a_tiff_tile_larger_than_the_limits_is_refused(monkeypatch):
    """A small TIFF may have huge tiles, which libtiff decodes whole: they count as pixels."""
    monkeypatch.setattr(limits, "MAX_PIXELS", 10_000)
    entries = {256: (4, 16), 257: (4, 16), 258: (3, 8), 259: (3, 8), 262: (3, 1), 277: (3, 1)}
    entries |= {322: (4, 1008), 323: (4, 1008), 324: (4, 8), 325: (4, 100)}
    assert reason_of(tiff(entries, b"\x80" * 100)) == "too_many_pixels"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "AVIF"])
def test_the_pixel_limit_is_inclusive(monkeypatch, file_format):
    """A picture of exactly the limit is decoded, one of a row more is not."""
    blob = store(smooth(40, 50), file_format)
    monkeypatch.setattr(limits, "MAX_PIXELS", 40 * 50)
    assert images.decode(blob).shape[:2] == (40, 50)
    monkeypatch.setattr(limits, "MAX_PIXELS", 40 * 50 - 1)
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
    monkeypatch.setattr(images, "_budget", budget)


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


def test_threads_that_wait_for_the_budget_all_get_their_turn(monkeypatch):
    """Eight threads with room for one picture at a time each decode theirs, one by one."""
    budget = Budget(60 * 80)
    budget._returned = ImpatientCondition()
    monkeypatch.setattr(images, "_budget", budget)
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
        with images._budget.hold(limits.MAX_PIXELS_AT_ONCE):
            pass
        large.close()
        with images._budget.hold(limits.MAX_PIXELS_AT_ONCE):
            full = images._budget._left == 0
        with images._spare.lend(Spare.LEAST_BYTES):
            pass
        return full and images.decode(WHOLE["jpeg"]).shape == (60, 80, 3)

    with contextlib.ExitStack() as large:
        large.enter_context(images._budget.hold(limits.MAX_PIXELS_AT_ONCE))
        with images._spare._lock:
            assert holds_in_a_forked_child(decodes_after_the_fork)
    assert images._budget._left == limits.MAX_PIXELS_AT_ONCE


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
