"""Whether a file ends before its own headers say: what tells a cut-off video from a damaged one."""

from __future__ import annotations

from typing import Final

_SEGMENT: Final = b"\x18\x53\x80\x67"  # Matroska's body, RFC 9559 section 5.1
_MOST_BOXES: Final = 10_000
_EBML_MOST_BYTES: Final = 8


def is_cut_short(blob: bytes | memoryview) -> bool:
    """Whether an MP4, Matroska or AVI file lacks its end; False for what declares no length."""
    head = bytes(blob[:12])
    if head[4:8] == b"ftyp":
        return _boxes_end(blob) > len(blob)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return _segment_ends(blob) > len(blob)
    if head.startswith(b"RIFF"):
        return 8 + int.from_bytes(head[4:8], "little") > len(blob)
    return False


def _boxes_end(blob: bytes | memoryview) -> int:
    """Where the last of an ISO media file's outermost boxes ends (ISO/IEC 14496-12 section 4.2)."""
    place = 0
    for _ in range(_MOST_BOXES):
        if place >= len(blob):
            return place
        header = bytes(blob[place : place + 16])
        size = int.from_bytes(header[:4], "big")
        if size == 1:  # 64 bits of it follow the name
            size = int.from_bytes(header[8:16], "big")
        if size == 0:  # to the end of the file
            return len(blob)
        if size < 8:
            return place + 8  # no box begins here
        place += size
    return place


def _segment_ends(blob: bytes | memoryview) -> int:
    """Where Matroska's segment ends; 0 where it is of unknown length, as live recordings are."""
    place = bytes(blob[:4096]).find(_SEGMENT)
    if place < 0:
        return 0
    place += len(_SEGMENT)
    field = bytes(blob[place : place + _EBML_MOST_BYTES])
    if not field or not field[0]:
        return 0
    length = _EBML_MOST_BYTES + 1 - field[0].bit_length()  # RFC 8794 section 4
    bits = 7 * length
    size = int.from_bytes(field[:length], "big") & ((1 << bits) - 1)
    if size == (1 << bits) - 1:
        return 0
    return place + length + size
