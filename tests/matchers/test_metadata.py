"""Metadata that would take memory or time before a pixel is decoded, and metadata that may stay."""

from __future__ import annotations

import contextlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from support.pictures import picture, smooth, store
from support.places import SHARED_DATA, demo_photos
from support.settings import SEEDED

from matchers import images, limits, metadata, pdq
from matchers.errors import DecodeError
from tests.conformance.writers import heic, icon, turned_heic

RGB = smooth(120, 160)
KIB = 1024


def directory(entries: list[bytes], *, start: int, order: str = "<") -> bytes:
    """A TIFF directory, which is to stand at `start` of its block."""
    assert start % 2 == 0
    return struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)


def entry(tag: int, kind: int, count: int, value: int) -> bytes:
    """A tag of a little-endian directory."""
    return struct.pack("<HHLL", tag, kind, count, value)


def overlapping(tags: int, size_bytes: int) -> list[bytes]:
    """Tags whose values are all the same `size_bytes` from place 8."""
    return [entry(40_000 + k, 1, size_bytes, 8) for k in range(tags)]


def exif_bomb(tags: int = 300, size_bytes: int = 40 * KIB) -> bytes:
    """EXIF of which Pillow would copy `tags` times `size_bytes`."""
    head = b"II*\0" + struct.pack("<L", 8 + size_bytes) + bytes(size_bytes)
    return head + directory(overlapping(tags, size_bytes), start=8 + size_bytes)


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with further segments before all others, so that it lacks a resolution in JFIF."""
    blob = store(RGB, "JPEG", quality=90)
    assert blob[2:4] == b"\xff\xe0"
    rest = blob[4 + int.from_bytes(blob[4:6], "big") :]
    pieces = [
        bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data for kind, data in segments
    ]
    return blob[:2] + b"".join(pieces) + rest


def tiff_bomb() -> bytes:
    """A whole TIFF whose first directory holds the overlapping tags beside the true ones."""
    size_bytes = 64 * KIB
    true = [(256, 100), (257, 100), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 100)]
    entries = [entry(tag, 4, 1, value) for tag, value in [*true, (279, 10_000)]]
    head = b"II*\0" + struct.pack("<L", 8 + size_bytes) + bytes(size_bytes)
    return head + directory(entries + overlapping(300, size_bytes), start=8 + size_bytes)


def sub_directory_bomb() -> bytes:
    """EXIF whose first directory is honest and whose EXIF directory is not."""
    first = directory([entry(0x8769, 4, 1, 26)], start=8)
    size_bytes = 30 * KIB
    second = directory([entry(40_000 + k, 1, size_bytes, 8) for k in range(300)], start=26)
    return b"II*\0" + struct.pack("<L", 8) + first + second + bytes(size_bytes)


def nested_directories() -> bytes:
    """EXIF of one directory whose tags each point to where one of them would begin as another."""
    tags = 5_000
    pointers = [entry(0x8769, 4, 1, 10 + 12 * k) for k in range(tags)]
    return b"II*\0" + struct.pack("<L", 8) + directory(pointers, start=8)


def png_with(*chunks: tuple[bytes, bytes], behind: bool = False) -> bytes:
    """A PNG with further chunks before its pixels or behind them."""
    blob = store(RGB, "PNG")
    place = blob.index(b"IEND") - 4 if behind else 33
    pieces = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    ]
    return blob[:place] + b"".join(pieces) + blob[place:]


def raw_profile(exif: bytes) -> bytes:
    """EXIF as ImageMagick wrote it into a PNG before there was eXIf."""
    return zlib.compress(b"\nexif\n" + str(len(exif)).encode() + b"\n" + exif.hex().encode())


def gif_with(extensions: bytes) -> bytes:
    """A GIF with bytes between its palette and its first picture."""
    blob = store(Image.fromarray(RGB).quantize(64), "GIF")
    place = 13 + 3 * (2 << (blob[10] & 7))
    return blob[:place] + extensions + blob[place:]


HEIC = heic(picture("noise", 120, 160, 7), quality=80)


def heic_with(kind: bytes, content: bytes) -> bytes:
    """A HEIC with one more box at the end of its directory (meta), of that kind."""
    meta = HEIC.index(b"meta") - 4
    end = meta + int.from_bytes(HEIC[meta : meta + 4], "big")
    box = struct.pack(">I4s", 8 + len(content), kind) + content
    size = struct.pack(">I", end - meta + len(box))
    return HEIC[:meta] + size + HEIC[meta + 4 : end] + box + HEIC[end:]


def heic_with_items(count: int, size_bytes: int = 20_000) -> bytes:
    """A HEIC of `count` more items, which are all the same bytes of its pixels."""
    items = b"".join(
        struct.pack(">HHHII", 100 + number, 0, 1, 500, size_bytes) for number in range(count)
    )
    assert len(HEIC) > 500 + size_bytes
    return heic_with(b"iloc", b"\0\0\0\0\x44\0" + struct.pack(">H", count) + items)


SUB_BLOCKS = b"\x01x" * 20_000 + b"\0"
EMPTY_BLOCK = b"!\x01\0"  # behind it Pillow reads on for a chain of blocks

BOMBS = {
    "jpeg": lambda: with_segments((0xE1, b"Exif\0\0" + exif_bomb())),
    "jpeg_in_pieces": lambda: with_segments(
        *[(0xE1, b"Exif\0\0" + exif_bomb()[k : k + 9_000]) for k in range(0, 45_000, 9_000)]
    ),
    "jpeg_sub_directory": lambda: with_segments((0xE1, b"Exif\0\0" + sub_directory_bomb())),
    "jpeg_behind_a_bare_marker": lambda: with_segments(
        (0xF0, b"\xff\xe1" + struct.pack(">H", 8 + len(exif_bomb())) + b"Exif\0\0" + exif_bomb())
    ),
    "jpeg_directories_within_one_another": lambda: with_segments(
        (0xE1, b"Exif\0\0" + nested_directories())
    ),
    "jpeg_multi_picture": lambda: with_segments((0xE2, b"MPF\0" + exif_bomb())),
    "jpeg_long_exif": lambda: with_segments(*[(0xE1, b"Exif\0\0" + bytes(60_000))] * 20),
    "jpeg_empty_segments": lambda: with_segments(*[(0xE3, b"")] * 1_500),
    "jpeg_quantisers": lambda: with_segments(*[(0xDB, b"\x03" + b"\1" * 64)] * 1_500),
    "jpeg_stray_bytes": lambda: b"\xff\xd8\xff" + bytes(100_000),
    "jpeg_fill_bytes": lambda: b"\xff\xd8" + b"\xff" * 100_000,
    "tiff": tiff_bomb,
    "png": lambda: store(RGB, "PNG", exif=exif_bomb()),
    "png_behind_its_pixels": lambda: png_with((b"eXIf", exif_bomb()), behind=True),
    "png_raw_profile": lambda: png_with(
        (b"zTXt", b"Raw profile type exif\0\0" + raw_profile(exif_bomb()))
    ),
    "png_chunks": lambda: png_with(*[(b"prVt", b"")] * 1_500),
    "webp": lambda: store(RGB, "WEBP", exif=b"Exif\0\0" + exif_bomb()),
    "avif": lambda: store(RGB, "AVIF", speed=10, exif=exif_bomb()),
    "png_empty_pixel_chunks": lambda: png_with(*[(b"IDAT", b"")] * 110_000, behind=True),
    "apng_empty_frame_chunks": lambda: png_with(*[(b"fdAT", b"")] * 110_000, behind=True),
    "png_in_an_icon": lambda: icon(store(RGB, "PNG", exif=exif_bomb())),
    "icon_of_very_many": lambda: b"\0\0\1\0" + struct.pack("<H", 300) + bytes(16 * 300),
    "heic_items_in_one_place": lambda: heic_with_items(900),
    "heic_very_many_pieces": lambda: heic_with(b"iloc", b"\0\0\0\0\0\0\xff\xff" + bytes(20)),
    "heic_pieces_of_no_length": lambda: heic_with(
        b"iloc", b"\0\0\0\0\0\0\0\1" + bytes(4) + b"\xff\xff"
    ),
    "heic_boxes": lambda: HEIC[: HEIC[3]] + b"\0\0\0\x08free" * 1_500 + HEIC[HEIC[3] :],
    "gif_comment_of_tiny_pieces": lambda: gif_with(b"!\xfe" + SUB_BLOCKS),
    "gif_comments": lambda: gif_with(b"!\xfe\x01x\0" * 10_000),
    "gif_long_comment": lambda: gif_with(b"!\xfe" + (b"\xff" + b"x" * 255) * 1_100 + b"\0"),
    "gif_behind_an_empty_block": lambda: gif_with(
        EMPTY_BLOCK + b"," + b"x" * ord(",") + b"\0!\xfe" + SUB_BLOCKS
    ),
    "gif_stray_bytes": lambda: gif_with(b"x" * 20_000),
}


@pytest.mark.parametrize("mode", ["exact", "fast"])
@pytest.mark.parametrize("name", BOMBS)
def test_metadata_that_says_too_much_is_refused(name, mode):
    """By name, in either mode, and before much memory is taken for it."""
    blob = BOMBS[name]()
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError) as refused:
            pdq.hash_blob(blob, mode=mode)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused.value.reason == "too_much_metadata"
    assert peak_bytes < 4 * len(blob) + 2_000_000


def test_a_big_tiff_is_walked_as_such():
    """Overlapping tags of 64-bit directories are refused in both byte orders."""
    for order, magic in (("<", b"II+\0"), (">", b"MM\0+")):
        size_bytes = 32 * KIB
        tags = [struct.pack(order + "HHQQ", 40_000 + k, 1, size_bytes, 16) for k in range(100)]
        blob = magic + struct.pack(order + "HHQ", 8, 0, 16 + size_bytes) + bytes(size_bytes)
        blob += struct.pack(order + "Q", len(tags)) + b"".join(tags) + bytes(8)
        with pytest.raises(DecodeError, match="too_much_metadata"):
            metadata.check_before_opening(blob)


def test_a_table_of_very_many_numbers_is_refused(monkeypatch):
    """Each number would be an object; as bytes the same length may stay."""
    monkeypatch.setattr(limits, "MAX_METADATA_NUMBERS", 1_000)
    for kind, is_refused in ((3, True), (7, False)):
        value_bytes = 4_000
        block = b"II*\0" + struct.pack("<L", 8 + value_bytes) + bytes(value_bytes)
        count = value_bytes // 2 if kind == 3 else value_bytes
        block += directory([entry(40_000, kind, count, 8)], start=8 + value_bytes)
        if is_refused:
            with pytest.raises(DecodeError, match="too_much_metadata"):
                metadata.check_exif(block)
        else:
            metadata.check_exif(block)


# --- what may stay -------------------------------------------------------------------------------


def camera_exif(orientation: int = 6) -> Image.Exif:
    """What a camera writes: maker, model, exposure, place, a maker note and a thumbnail's size."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Maker", "Model", orientation
    exif[0x011A] = exif[0x011B] = 72.0
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x9003: "2024:06:01 12:00:00"})
    exif.get_ifd(0x8769)[0x927C] = bytes(range(256)) * 150
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 22.0, 12.0)})
    return exif


XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b" " * 60_000 + b"</x:xmpmeta>"
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(3 * KIB * KIB)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("JPEG", {"quality": 95, "xmp": XMP, "comment": b"x" * 60_000}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("PNG", {"compress_level": 1}),
        ("WEBP", {"lossless": True, "xmp": XMP}),
        ("TIFF", {}),
        ("AVIF", {"quality": 95, "speed": 10, "xmp": XMP}),
    ],
)
def test_what_cameras_and_editors_write_is_shown_as_ever(file_format, options):
    """Maker notes, XMP and a colour profile of 3 MiB; the picture is set upright by its EXIF."""
    # Pillow itself refuses a PNG whose profile is longer than 1 MiB.
    profile = PROFILE[: 900 * KIB] if file_format == "PNG" else PROFILE
    blob = store(RGB, file_format, exif=camera_exif(), icc_profile=profile, **options)
    shown = images.decode(blob).astype(int)
    assert np.abs(shown - np.rot90(RGB, -1)).mean() < 8


def test_what_phones_write_into_a_heic_is_shown_as_ever():
    """EXIF with a maker note; the picture is set upright by its boxes."""
    blob = turned_heic(RGB, camera_exif().tobytes())
    shown = images.decode(blob).astype(int)
    assert np.abs(shown - np.rot90(RGB, -1)).mean() < 8


def test_a_multi_picture_file_and_a_gif_with_comment_and_loop_are_shown():
    """An MPO with its index, and an animation that an editor has commented at length."""
    other = Image.fromarray(RGB[::-1])
    mpo = store(RGB, "MPO", save_all=True, append_images=[other], exif=camera_exif(1))
    assert images.decode(mpo).shape == RGB.shape
    gif = store(RGB, "GIF", save_all=True, append_images=[other], loop=0, comment=b"x" * 100_000)
    assert images.decode(gif).shape == RGB.shape


def test_a_tiff_of_many_strips_and_pages_is_shown():
    """One strip to each row, and further pages behind."""
    tall = np.repeat(RGB[:, :8], 40, axis=0)
    pages = [Image.fromarray(RGB)] * 20
    blob = store(tall, "TIFF", save_all=True, append_images=pages, tiffinfo={278: 1})
    np.testing.assert_array_equal(images.decode(blob), tall)


def test_all_photographs_at_hand_pass():
    """The demo's photographs, and those beside this checkout where there are any."""
    paths = [*demo_photos(), *sorted(SHARED_DATA.rglob("*.jpg")), *SHARED_DATA.rglob("*.webp")]
    for path in paths:
        metadata.check_before_opening(path.read_bytes())


PARTS = [
    b"\xff",
    b"\xe1",
    b"Exif\0\0",
    b"II*\0",
    b"MM\0+",
    b"\x08\0\0\0",
    b"\0",
    b"\x01",
    b"!\xfe",
    b"meta",
    b"iloc",
]


@SEEDED
@given(
    st.sampled_from(
        [
            b"\xff\xd8\xff",
            b"II*\0",
            b"MM\0*",
            b"II+\0",
            b"GIF89a",
            b"\x89PNG\r\n\x1a\n",
            b"\0\0\0\x10ftypheic\0\0\0\0",
        ]
    ),
    st.lists(st.sampled_from(PARTS) | st.binary(max_size=8), max_size=60).map(b"".join),
)
def test_damaged_metadata_raises_nothing_else(magic, rest):
    """Whatever stands behind the magic: passed, or refused by name."""
    for check in (metadata.check_before_opening, metadata.check_exif):
        with contextlib.suppress(DecodeError):
            check(magic + rest)
