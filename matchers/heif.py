"""HEIC: the primary picture of a HEIF file as a Pillow image, decoded by libheif.

pillow-heif's own plugin would register itself for the whole process, and as it opens a file it
copies the metadata of every picture inside. Here the primary picture alone is asked for: its size
when it is opened, its pixels when it is loaded. EXIF is never read. In HEIF the turn of a picture
is said by boxes of its own (irot, imir), which libheif has applied to what it hands out, and EXIF
only repeats them (ISO/IEC 23008-12, annex A): turning by EXIF as well would turn twice.

libheif itself refuses a picture whose coded size is not the one its box (ispe) promises, and
allocates nothing for it; the promised one is what `images` checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import _pillow_heif
from PIL import ImageFile, _imaging

from matchers.errors import DecodeError

Box = tuple[bytes, int, int]
"""Its four letters, and where its content begins and ends."""

_THREADS: Final = 1  # pictures are shared among threads, not the rows of one
_WORDS: Final = (
    ("Security limit", "too_many_pixels"),
    ("end of file", "truncated"),
    ("file bounds", "truncated"),
    ("Unsupported", "unsupported_coding"),
)
"""What libheif says, and the reason that it is."""


class HeifImage(ImageFile.ImageFile):
    """The primary picture.

    Attributes:
        turns: how it was turned to be shown, in order: `("irot", 90)`, anticlockwise; `("imir",
            0)`, upside down; `("imir", 1)`, left to right.
    """

    format = "HEIF"
    turns: tuple[tuple[str, int], ...] = ()

    def _open(self) -> None:
        """Read the boxes; libheif keeps the file's bytes, not `fp`."""
        blob = self.fp.read() if self.fp else b""
        try:
            pictures, _ = _pillow_heif.load_file(
                blob, _THREADS, True, False, False, True, "", False
            )
            self._primary = next(one for one in pictures if one is not None and one.primary)
            self._size, self._mode = self._primary.size_mode
        except (ValueError, RuntimeError) as error:
            raise DecodeError(_reason(error)) from None
        except StopIteration:
            raise DecodeError("corrupt") from None
        applied = self._primary.transformations  # clap, a crop, is another one
        self.turns = tuple((name, int(of)) for name, of, *_ in applied if name in ("irot", "imir"))
        self.tile = []

    def load(self) -> _imaging.PixelAccess | None:
        """Decode the pixels, once."""
        if self._primary is not None:
            try:
                data = self._primary.data
                self._size, self._mode = self._primary.size_mode
                stride = self._primary.stride
            except (ValueError, RuntimeError, EOFError) as error:
                raise DecodeError(_reason(error)) from None
            self.load_prepare()
            self.frombytes(data, "raw", (self._mode, stride))
            self._primary = None
        return super().load()


def _reason(error: Exception) -> str:
    return next((reason for words, reason in _WORDS if words in str(error)), "corrupt")


def boxes(blob: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes between two places, one after the other (ISO/IEC 14496-12, 4.2)."""
    while start + 8 <= end:
        size, head = int.from_bytes(blob[start : start + 4], "big"), 8
        if size == 1:
            size, head = int.from_bytes(blob[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else min(end, start + size)
        if stop < start + head:
            return
        yield blob[start + 4 : start + 8], start + head, stop
        start = stop


def promised_bytes(blob: bytes) -> int:
    """How many bytes the items of the file say they have together (iloc: 8.11.3).

    libheif copies the metadata items as it opens, and a hostile file has a thousand of them that
    lie in the same place: 1 MiB became 856.
    """
    return sum(
        _extents_bytes(blob[start:stop])
        for kind, outer, end in boxes(blob, 0, len(blob))
        if kind == b"meta"
        for name, start, stop in boxes(blob, outer + 4, end)
        if name == b"iloc"
    )


def _extents_bytes(iloc: bytes) -> int:
    """The lengths of all extents of an iloc box; of a broken one, of those that are there."""
    if len(iloc) < 8:
        return 0
    version = iloc[0]
    offset_bytes, length_bytes = iloc[4] >> 4, iloc[4] & 15
    base_bytes, index_bytes = iloc[5] >> 4, iloc[5] & 15 if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    place = 6
    total = 0

    def number(size: int) -> int:
        nonlocal place
        place += size
        return int.from_bytes(iloc[place - size : place], "big")

    for _ in range(number(wide)):
        number(wide + (2 if version in (1, 2) else 0) + 2 + base_bytes)
        for _ in range(number(2)):
            if place >= len(iloc):
                return total
            number(index_bytes + offset_bytes)
            total += number(length_bytes)
        if place >= len(iloc):
            return total
    return total
