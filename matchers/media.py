"""What a file's first bytes claim it to be: an image, a video, a container, or none of them."""

from __future__ import annotations

from typing import Final, Literal

Visual = Literal["image", "video"]
"""What has pictures itself."""

Medium = Literal["image", "video", "container", "url"]
"""What an item can be. A container (an archive, a document) has items inside."""

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
)
_HEAD_BYTES: Final = 1024
_TRANSPORT_STREAM_BYTES: Final = 188  # of an MPEG transport stream's packets, each begun by "G"


def is_decodable(blob: bytes) -> bool:
    """Whether `blob` claims to be of a still format that `images` opens."""
    return any(blob.startswith(magic, place) for place, magic in _DECODABLE)


def claimed(blob: bytes | memoryview) -> Literal["image", "video", "container"] | None:
    """The medium that `blob` (or its first kilobyte) claims to be."""
    head = bytes(blob[:_HEAD_BYTES])
    if any(head.startswith(magic, place) for place, magic in _IMAGE):
        return "image"
    if any(head.startswith(magic, place) for place, magic in _VIDEO):
        return "video"
    if head[: 2 * _TRANSPORT_STREAM_BYTES + 1 : _TRANSPORT_STREAM_BYTES] == b"GGG":
        return "video"
    return None
