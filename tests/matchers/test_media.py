"""What a file claims to be, by its first bytes: the still formats."""

from __future__ import annotations

import struct

import pytest

from matchers import media


def iso(first: bytes, *others: bytes) -> bytes:
    """The first box of an ISO media file: its own brand, and those it is compatible with."""
    return struct.pack(">I", 16 + 4 * len(others)) + b"ftyp" + first + bytes(4) + b"".join(others)


@pytest.mark.parametrize(
    ("blob", "is_heic"),
    [
        (iso(b"heic", b"mif1", b"heic"), True),
        (iso(b"heix", b"mif1"), True),
        (iso(b"hevc", b"msf1", b"hevc"), True),
        (iso(b"mif1", b"heic", b"miaf"), True),
        (iso(b"mif1", b"miaf"), True),
        (iso(b"msf1", b"hevc"), True),
        (iso(b"avif", b"mif1", b"miaf"), False),
        (iso(b"avis", b"msf1", b"avif"), False),
        (iso(b"mif1", b"avif", b"miaf"), False),
    ],
)
def test_heif_files_are_images_and_told_apart_by_their_brands(blob, is_heic):
    """The brand of a file comes first; where that leaves the coding open, the others tell."""
    assert media.claimed(blob) == "image"
    assert media.is_decodable(blob)
    assert media.is_heic(blob) == is_heic


@pytest.mark.parametrize(
    "blob",
    [iso(b"isom", b"mp42"), iso(b"qt  "), iso(b"mp42", b"mif1", b"heic"), iso(b"3gp4")],
)
def test_videos_of_the_same_container_are_no_images(blob):
    """Also where they name a brand of pictures among the others."""
    assert media.claimed(blob) == "video"
    assert not media.is_decodable(blob)


@pytest.mark.parametrize("kind", [b"moov", b"mdat", b"free", b"skip", b"wide"])
def test_a_film_may_begin_with_another_box(kind):
    """QuickTime files do, and a box that says nothing can be put before any."""
    assert media.claimed(b"\0\0\0\x10" + kind + bytes(8) + iso(b"isom")) == "video"


@pytest.mark.parametrize(("first", "step"), [(0, 188), (4, 192), (0, 204)])
def test_transport_streams_are_known_by_their_packets(first, step):
    """Bare, as cameras write them, and as they were broadcast; one G alone is a word."""
    packets = bytes(first) + (b"G" + bytes(step - 1)) * 3
    assert media.claimed(packets) == "video"
    assert media.claimed(b"Good morning" + bytes(600)) is None


@pytest.mark.parametrize("blob", [b"", b"\0\0\0\x08ftyp", b"\0\0\0\x10ftyphei", b"\0\0\1", b"ftyp"])
def test_a_few_bytes_claim_nothing_that_can_be_decoded(blob):
    """Whatever is cut within its first bytes."""
    assert not media.is_decodable(blob)


@pytest.mark.parametrize(
    "blob", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x0cjP  \r\n\x87\n"]
)
def test_formats_that_are_not_decoded_are_images_for_exact_lists(blob):
    """JPEG XL and JPEG 2000."""
    assert media.claimed(blob) == "image"
    assert not media.is_decodable(blob)
