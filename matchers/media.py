"""What a file's first bytes claim it to be: an image, a video, a container, or none of them."""

from __future__ import annotations

from typing import Final, Literal

Visual = Literal["image", "video"]
"""What has pictures itself."""

Medium = Literal["image", "video", "container", "url"]
"""What an item can be. A container (an archive, a document) has items inside."""

ContainerKind = Literal["zip", "7z", "tar", "gzip", "xz", "zstd", "bzip2", "pdf", "ole", "shut"]
"""How a container is opened; `shut`: one that is known but not opened (RAR, cabinet). An office
document is a zip, or OLE if it is older than 2007."""

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
    (40, b" EMF"),  # metafiles, which office documents hold: not drawn
    (0, b"\xd7\xcd\xc6\x9a"),  # WMF with its size, and without
    (0, b"\x01\x00\x09\x00\x00\x03"),
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
_CONTAINER: Final[tuple[tuple[int, bytes, ContainerKind], ...]] = (
    (0, b"PK\x03\x04", "zip"),
    (0, b"PK\x05\x06", "zip"),  # an empty one
    (0, b"PK\x07\x08", "zip"),  # the first part of a split one
    (0, b"PK00PK\x03\x04", "zip"),  # a split one that came to be one part only
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (257, b"ustar", "tar"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"BZh", "bzip2"),
    (0, b"Rar!\x1a\x07", "shut"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (0, b"MSCF\0\0\0\0", "shut"),  # cabinet
)
_BZIP2_BLOCKS: Final = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")  # a block, or the end at once
_PDF: Final = b"%PDF-"  # readers take it anywhere in the first kilobyte (ISO 32000, note 13)

HEAD_BYTES: Final = 1024
"""As much of a file's beginning as `claimed` looks at."""

_TRANSPORT_STREAM_BYTES: Final = 188  # of an MPEG transport stream's packets, each begun by "G"


def is_decodable(blob: bytes) -> bool:
    """Whether `blob` claims to be of a still format that `images` opens."""
    return any(blob.startswith(magic, place) for place, magic in _DECODABLE)


def claimed(blob: bytes | memoryview) -> Literal["image", "video", "container"] | None:
    """The medium that `blob` (or its first kilobyte) claims to be."""
    head = bytes(blob[:HEAD_BYTES])
    if any(head.startswith(magic, place) for place, magic in _IMAGE):
        return "image"
    if any(head.startswith(magic, place) for place, magic in _VIDEO):
        return "video"
    if head[: 2 * _TRANSPORT_STREAM_BYTES + 1 : _TRANSPORT_STREAM_BYTES] == b"GGG":
        return "video"
    return "container" if container_kind(head) else None


def container_kind(blob: bytes | memoryview) -> ContainerKind | None:
    """The kind of container that `blob` (or its first kilobyte) claims to be."""
    head = bytes(blob[:HEAD_BYTES])
    for place, magic, kind in _CONTAINER:
        if head.startswith(magic, place) and (
            kind != "bzip2" or head.startswith(_BZIP2_BLOCKS, len("BZh9"))
        ):
            return kind
    return "pdf" if _PDF in head else None
