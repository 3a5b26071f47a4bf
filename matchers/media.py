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
    (0, b"II+\0"),  # BigTIFF
    (0, b"MM\0+"),
    (0, b"BM"),
    (0, b"\0\0\1\0"),  # ICO
)
_IMAGE: Final = (
    *_DECODABLE,
    (0, b"\xff\x0a"),  # JPEG XL: not decoded, but exact lists hold it
    (4, b"JXL "),
    (4, b"jP  "),  # JPEG 2000
    (40, b" EMF"),  # metafiles, which office documents hold: not drawn
    (0, b"\xd7\xcd\xc6\x9a"),  # WMF with its size, and without
    (0, b"\x01\x00\x09\x00\x00\x03"),
)
_BMP_HEADERS: Final = frozenset(
    size.to_bytes(4, "little") for size in (12, 16, 40, 52, 56, 64, 108, 124)
)
"""Sizes of the second header of a BMP, at byte 14 (Windows 2 to 5, OS/2)."""
_HEIC_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
)
"""Pictures and sequences of pictures coded as HEVC (ISO/IEC 23008-12, annex B.4)."""
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_ANY_HEIF_BRANDS: Final = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})  # whatever the coding
_VIDEO: Final = (
    (4, b"ftyp"),  # MP4, MOV, 3GP: after the images that share the container
    *((4, kind) for kind in (b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")),  # QuickTime
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

_TRANSPORT_STREAMS: Final = ((0, 188), (4, 192), (0, 204))
"""Where the first packet of an MPEG transport stream begins with "G", and how long packets are:
bare, with times before them (AVCHD, Blu-ray), with error correction behind them."""


def is_decodable(blob: bytes) -> bool:
    """Whether `blob` claims to be of a still format that `images` opens."""
    return _is_heif(blob) or any(blob.startswith(magic, place) for place, magic in _DECODABLE)


def _is_image(head: bytes) -> bool:
    if head.startswith(b"BM") and len(head) >= 18 and head[14:18] not in _BMP_HEADERS:
        return False  # a text, or a tar whose first file is BMW.jpg
    return _is_heif(head) or any(head.startswith(magic, place) for place, magic in _IMAGE)


def is_heic(blob: bytes) -> bool:
    """Whether `blob` claims to be a HEIF file that is not AVIF."""
    first, brands = _brands(blob)
    if first in _AVIF_BRANDS or not _is_heif(blob):
        return False
    return first in _HEIC_BRANDS or not brands & _AVIF_BRANDS


def _is_heif(blob: bytes) -> bool:
    """Whether its own brand is one of pictures: a video may name those among the others."""
    return _brands(blob)[0] in _HEIC_BRANDS | _AVIF_BRANDS | _ANY_HEIF_BRANDS


def _brands(blob: bytes) -> tuple[bytes, frozenset[bytes]]:
    """The first and all brands of an ISO media file (ISO/IEC 14496-12, 4.3); else none."""
    if blob[4:8] != b"ftyp":
        return b"", frozenset()
    end = min(len(blob), HEAD_BYTES, int.from_bytes(blob[:4], "big"))
    others = (blob[place : place + 4] for place in range(16, end - 3, 4))
    return blob[8:12], frozenset({blob[8:12], *others})


def claimed(blob: bytes | memoryview) -> Literal["image", "video", "container"] | None:
    """The medium that `blob` (or its first kilobyte) claims to be."""
    head = bytes(blob[:HEAD_BYTES])
    if _is_image(head):
        return "image"
    if any(head.startswith(magic, place) for place, magic in _VIDEO):
        return "video"
    for first, step in _TRANSPORT_STREAMS:
        if head[first : first + 2 * step + 1 : step] == b"GGG":
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
