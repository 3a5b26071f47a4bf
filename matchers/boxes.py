"""The boxes of a HEIF file, weighed before a library reads them (ISO/IEC 14496-12 and 23008-12).

libheif copies every metadata item as it opens a file, and a hostile file lets a thousand of them
lie in the same place: 1 MiB became 856. So the places of the items are added up here first. And a
picture may be cut (clap) from one a thousand times as large, so every promised size counts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from matchers import limits
from matchers.errors import DecodeError


def check_items(blob: bytes) -> None:
    """Honest items do not overlap, so together they are no longer than the file.

    Raises:
        DecodeError: reason `too_much_metadata`.
    """
    copied_bytes = extents = 0
    for start, stop in _inside(blob, (b"meta", b"iloc")):
        for place, size_bytes in _extents(blob[start:stop]):
            extents += 1
            if place + size_bytes <= len(blob):  # else it is not there: nothing is copied
                copied_bytes += size_bytes
            if copied_bytes > len(blob) or extents > limits.MAX_METADATA_TAGS:
                raise DecodeError("too_much_metadata")


def promised_sizes(blob: bytes) -> list[tuple[int, int]]:
    """Width and height of all pictures inside, tiles too, as coded (ispe: 23008-12, 6.5.3).

    Raises:
        DecodeError: reason `too_much_metadata`.
    """
    found = _inside(blob, (b"meta", b"iprp", b"ipco", b"ispe"))
    return [
        struct.unpack_from(">II", blob, start + 4) for start, stop in found if stop >= start + 12
    ]


def _inside(
    blob: bytes, path: tuple[bytes, ...], start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int]]:
    """Where the content of the boxes on a path of kinds begins and ends."""
    for kind, first, last in _boxes(blob, start, len(blob) if end is None else end):
        if kind == path[0] and len(path) == 1:
            yield first, last
        elif kind == path[0]:
            yield from _inside(blob, path[1:], first + 4 * (kind == b"meta"), last)


def _boxes(blob: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box between two places, and where its content begins and ends."""
    number = 0
    while start + 8 <= end:
        size, head = int.from_bytes(blob[start : start + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(blob[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else min(end, start + size)
        if stop < start + head:
            return
        number += 1
        if number > limits.MAX_SEGMENTS:
            raise DecodeError("too_much_metadata")
        yield blob[start + 4 : start + 8], start + head, stop
        start = stop


def _extents(iloc: bytes) -> Iterator[tuple[int, int]]:
    """Place and length of each piece of each item; of a broken box, of those that are there."""
    if len(iloc) < 6:
        return
    version = iloc[0]
    has_index = version in (1, 2)
    offset_bytes, length_bytes, base_bytes = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4
    index_bytes = iloc[5] & 15 if has_index else 0
    id_bytes = 4 if version == 2 else 2
    place = 6

    def number(size: int) -> int:
        nonlocal place
        place += size
        return int.from_bytes(iloc[place - size : place], "big")

    for _ in range(number(id_bytes)):
        number(id_bytes + 2 * has_index + 2)  # which item, how built, in which file
        base = number(base_bytes)
        for _ in range(number(2)):
            number(index_bytes)
            yield base + number(offset_bytes), number(length_bytes)
        if place >= len(iloc):
            return
