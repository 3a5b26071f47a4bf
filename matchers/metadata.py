"""What a file says beside its picture, weighed before a library reads it.

Pillow copies the value of every tag, and a hostile file lets thousands of tags point at the same
bytes: 600 kB became 3 GB. It joins the pieces of a GIF's comment one by one: 4 MiB took 55 s. So
the structure is walked here first, without copying a value, and what no camera and no editor
writes is refused as `too_much_metadata`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import Image, _avif

from matchers import boxes, limits, media
from matchers.errors import DecodeError

_EXIF: Final = b"Exif\0\0"
_MULTI_PICTURE: Final = b"MPF\0"
_SUB_DIRECTORIES: Final = frozenset({0x8769, 0x8825, 0xA005})  # EXIF, GPS, interoperability
_BYTES_EACH: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    13: 4,
    16: 8,
}
"""Bytes of one value by its type (TIFF 6.0 section 2; 13 and 16: its supplements)."""
_NUMBERS: Final = _BYTES_EACH.keys() - {1, 2, 7}  # types that do not stay bytes or text

_APP1, _APP2, _SCAN = 0xE1, 0xE2, 0xDA
_NO_LENGTH: Final = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
"""Markers after which Pillow looks for the next one at once."""

_PNG_HEADER_BYTES, _GIF_HEADER_BYTES = 8, 13
_PNG_PICTURE: Final = frozenset({b"IDAT", b"fdAT", b"fcTL"})
_GIF_COMMENT, _GIF_APPLICATION = 0xFE, 0xFF


def check_before_opening(blob: bytes) -> None:
    """Refuse a file on whose metadata opening alone would spend memory or time.

    Raises:
        DecodeError: reason `too_much_metadata`.
    """
    if blob.startswith(b"\xff\xd8\xff"):
        _check_jpeg(blob)
    elif blob.startswith((b"II", b"MM")):
        _check_directories(blob)
    elif blob.startswith(b"GIF8"):
        _check_gif(blob)
    elif blob.startswith(b"\x89PNG"):
        _check_png(blob)
    elif media.is_heic(blob):
        boxes.check_items(blob)
    elif blob.startswith(b"ftyp", 4):
        # Pillow reads the EXIF while it opens. libavif alone knows where in the file it stands.
        check_exif(_avif.AvifDecoder(blob, "auto", 1).get_info()[4])


def check_opened(image: Image.Image) -> None:
    """Refuse EXIF that Pillow has found but not read yet (PNG, WebP).

    Raises:
        DecodeError: reason `too_much_metadata`.
    """
    check_exif(image.info.get("exif"))
    raw = image.info.get("Raw profile type exif")  # what ImageMagick wrote before PNG had eXIf
    if isinstance(raw, str):
        if len(raw) > 2 * limits.MAX_EXIF_BYTES:
            raise DecodeError("too_much_metadata")
        check_exif(bytes.fromhex("".join(raw.split("\n")[3:])))


def check_exif(exif: bytes | None) -> None:
    """Refuse an EXIF block that is too long, or whose directories say their bytes many times.

    Raises:
        DecodeError: reason `too_much_metadata`.
    """
    if not exif:
        return
    if len(exif) > limits.MAX_EXIF_BYTES:
        raise DecodeError("too_much_metadata")
    while exif.startswith(_EXIF):  # as often as it stands there, as Pillow does
        exif = exif[len(_EXIF) :]
    _check_directories(exif)


# --- TIFF directories, which EXIF and the index of multi-picture files use too -----------------


@dataclass(frozen=True)
class _Entry:
    """One tag of a directory: the type of its values, how many, and their bytes together."""

    kind: int
    count: int
    size_bytes: int


def _check_directories(tiff: bytes) -> None:
    """Honest values do not overlap, so together they are no longer than what holds them."""
    # Pillow takes a big-endian BigTIFF for a classic one and libtiff does not: look both ways.
    readings = (True,) if tiff[2:3] == b"+" else (False, True) if tiff[3:4] == b"+" else (False,)
    for is_big in readings:
        copied_bytes = numbers = 0
        for tags, entry in enumerate(_entries(tiff, is_big), start=1):
            copied_bytes += entry.size_bytes
            numbers += entry.count if entry.kind in _NUMBERS else 0
            if (
                tags > limits.MAX_METADATA_TAGS
                or copied_bytes > len(tiff)
                or numbers > limits.MAX_METADATA_NUMBERS
            ):
                raise DecodeError("too_much_metadata")


def _entries(tiff: bytes, is_big: bool) -> Iterator[_Entry]:
    """The tags of the first directory and of those it points to; of broken ones what there is."""
    order = "<" if tiff.startswith(b"II") else ">"
    offset, head, entry = ("Q", "Q", "HHQQ") if is_big else ("L", "H", "HHLL")
    head_bytes, entry_bytes = struct.calcsize("<" + head), struct.calcsize("<" + entry)
    inline_bytes = struct.calcsize("<" + offset)
    start = 8 if is_big else 4
    if len(tiff) < start + inline_bytes:
        return
    waiting = [int(struct.unpack_from(order + offset, tiff, start)[0])]
    seen: set[int] = set()
    while waiting:
        place = waiting.pop()
        if place in seen or place + head_bytes > len(tiff):
            continue
        seen.add(place)
        (tags,) = struct.unpack_from(order + head, tiff, place)
        end = min(len(tiff), place + head_bytes + tags * entry_bytes)
        for at in range(place + head_bytes, end - entry_bytes + 1, entry_bytes):
            tag, kind, count, value = struct.unpack_from(order + entry, tiff, at)
            size_bytes = count * _BYTES_EACH.get(kind, 0)
            if size_bytes > inline_bytes and value + size_bytes > len(tiff):
                size_bytes = count = 0  # its value is not there: nothing is copied
            yield _Entry(kind, count, size_bytes)
            if tag in _SUB_DIRECTORIES and count == 1:
                waiting.append(_inline(order, kind, tiff, at + entry_bytes - inline_bytes))


def _inline(order: str, kind: int, tiff: bytes, place: int) -> int:
    """A whole number that stands in the entry itself, at `place`."""
    code = {2: "H", 4: "L", 8: "Q"}.get(_BYTES_EACH.get(kind, 0))
    if code is None or place + struct.calcsize("<" + code) > len(tiff):
        return len(tiff)
    return int(struct.unpack_from(order + code, tiff, place)[0])


# --- JPEG segments -----------------------------------------------------------------------------


def _check_jpeg(blob: bytes) -> None:
    """Segments before the first scan: not too many, and their EXIF and picture index honest."""
    exif: list[bytes] = []
    exif_bytes = 0
    for number, (kind, start, end) in enumerate(_segments(blob)):
        if number >= limits.MAX_SEGMENTS:
            raise DecodeError("too_much_metadata")
        if kind == _APP1 and blob.startswith(_EXIF, start):
            exif.append(blob[start + len(_EXIF) : end])  # pieces of one block
            exif_bytes += end - start
            if exif_bytes > limits.MAX_EXIF_BYTES:
                raise DecodeError("too_much_metadata")
        if kind == _APP2 and blob.startswith(_MULTI_PICTURE, start):
            _check_directories(blob[start + len(_MULTI_PICTURE) : end])
    check_exif(b"".join(exif))


def _segments(blob: bytes) -> Iterator[tuple[int, int, int]]:
    """Kind, start and end of what each segment before the first scan holds.

    Stray bytes between segments are passed over, as viewers do, up to a limit.
    """
    place = 2
    stray_bytes = 0
    while True:
        marker = blob.find(b"\xff", place, len(blob) - 1)
        stray_bytes += (marker if marker >= 0 else len(blob)) - place
        if stray_bytes > limits.MAX_STRAY_BYTES:
            raise DecodeError("too_much_metadata")
        if marker < 0:
            return
        kind = blob[marker + 1]
        if kind in (0x00, 0xFF):
            stray_bytes += 1
            place = marker + (1 if kind == 0xFF else 2)
        elif kind in _NO_LENGTH:
            stray_bytes += 2
            place = marker + 2
        elif kind == _SCAN or kind < 0xC0:
            return
        else:
            length = max(2, int.from_bytes(blob[marker + 2 : marker + 4], "big"))
            place = marker + 2 + length
            yield kind, marker + 4, place


# --- PNG chunks ---------------------------------------------------------------------------------


def _check_png(blob: bytes) -> None:
    """Not too many chunks, and few beside the picture's: Pillow keeps those it does not know."""
    place = _PNG_HEADER_BYTES
    chunks = others = 0
    while place + 8 <= len(blob):
        kind = blob[place + 4 : place + 8]
        if kind == b"IEND":  # what stands behind it is nobody's
            return
        chunks += 1
        others += kind not in _PNG_PICTURE
        if others > limits.MAX_SEGMENTS or chunks > limits.MAX_PNG_CHUNKS:
            raise DecodeError("too_much_metadata")
        place += 12 + int.from_bytes(blob[place : place + 4], "big")


# --- GIF blocks ---------------------------------------------------------------------------------


def _check_gif(blob: bytes) -> None:
    """Extensions before the first picture: few bytes in few pieces.

    The walk is Pillow's to the byte: one that saw the first picture elsewhere would be evaded.
    """
    place = _GIF_HEADER_BYTES
    if len(blob) > 10 and blob[10] & 0x80:
        place += 3 * (2 << (blob[10] & 7))  # the palette
    start = place
    pieces = 0

    def piece() -> bytes:
        """The next sub-block; empty at the end of a chain."""
        nonlocal place, pieces
        length = blob[place] if place < len(blob) else 0
        data = blob[place + 1 : place + 1 + length]
        place += 1 + length
        pieces += 1
        if place - start > limits.MAX_GIF_EXTENSION_BYTES or pieces > limits.MAX_GIF_PIECES:
            raise DecodeError("too_much_metadata")
        return data

    while place + 1 < len(blob) and blob[place] not in b",;":
        if blob[place] != ord("!"):
            place += 1  # stray bytes are passed over
            pieces += 1
            if pieces > limits.MAX_GIF_PIECES:
                raise DecodeError("too_much_metadata")
            continue
        kind = blob[place + 1]
        place += 2
        data = piece()
        if kind == _GIF_COMMENT and not data:
            continue
        if kind == _GIF_APPLICATION and data.startswith(b"NETSCAPE2.0"):
            piece()
        while piece():
            pass
