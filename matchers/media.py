"""What a file's first bytes claim it to be: an image, a video, or neither."""

from __future__ import annotations

from typing import Final, Literal

_DECODABLE: Final = (
    (0, b"\xff\xd8\xff"),  # JPEG
    (0, b"\x89PNG\r\n\x1a\n"),
    (8, b"WEBP"),
    (0, b"GIF8"),
    (0, b"II*\0"),  # TIFF, and cameras' raw files
    (0, b"MM\0*"),
    (0, b"BM"),
    (4, b"ftypavi"),  # AVIF
)
_IMAGE: Final = (
    *_DECODABLE,
    (4, b"ftyphei"),  # HEIC: not decoded yet, but exact lists hold it
    (4, b"ftypmif1"),
    (4, b"ftypmsf1"),
    (0, b"\xff\x0a"),  # JPEG XL
    (4, b"JXL "),
    (4, b"jP  "),  # JPEG 2000
    (0, b"\0\0\1\0"),  # ICO
)
_VIDEO: Final = (
    (4, b"ftyp"),  # MP4, MOV, 3GP: after the images that share the container
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (8, b"AVI "),
    (0, b"\0\0\1\xba"),  # MPEG program stream
    (0, b"\0\0\1\xb3"),
    (0, b"FLV"),
    (0, b"OggS"),
    (0, b"\x30\x26\xb2\x75"),  # ASF, WMV
    (0, b"\x47"),  # MPEG transport stream
)


def is_decodable(blob: bytes) -> bool:
    """Whether `blob` claims to be of a still format that `images` opens."""
    return any(blob.startswith(magic, place) for place, magic in _DECODABLE)


def claimed(blob: bytes) -> Literal["image", "video"] | None:
    """The medium that `blob` (or its first 16 bytes) claims to be."""
    if any(blob.startswith(magic, place) for place, magic in _IMAGE):
        return "image"
    if any(blob.startswith(magic, place) for place, magic in _VIDEO):
        return "video"
    return None
