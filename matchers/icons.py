"""ICO: the largest of the pictures in an icon file, as a file of its own.

An icon is a directory of PNG files and bare bitmaps. Pillow believes the directory's sizes, which
end at 256, and decodes as it opens. So the pictures' own headers are looked at here, one picture is
handed on, and a bitmap is decoded when it is loaded, not before.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from PIL import IcoImagePlugin, ImageFile, _imaging

from matchers import limits
from matchers.errors import DecodeError

MAGIC: Final = b"\0\0\1\0"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_DIRECTORY: Final = struct.Struct("<BBBBHHII")
"""An entry: width, height, colours, 0, planes, bits; length and place of the picture."""
_BITMAP: Final = struct.Struct("<IiiHHIIiiII")
"""BITMAPINFOHEADER: its size, width, twice the height, planes, bits, coding, ..., colours used."""
_PLAIN: Final = 0  # BI_RGB, the only coding that icons have
_DEEP_BITS: Final = 32
_START: Final = 6 + _DIRECTORY.size
"""Where the picture of an icon with one picture begins."""


class IconImage(ImageFile.ImageFile):
    """An icon with one bare bitmap, as `largest` makes it."""

    format = "ICO"

    def _open(self) -> None:
        """Read the bitmap's own header."""
        if self.fp is None:  # Pillow opens a file for every image
            raise DecodeError("corrupt")
        self._icon: IcoImagePlugin.IcoFile | None = IcoImagePlugin.IcoFile(self.fp)
        self.fp.seek(_START)
        _, width, doubled, *_ = _BITMAP.unpack(self.fp.read(_BITMAP.size))
        self._size, self._mode = (width, abs(doubled) // 2), "RGBA"
        self.tile = []

    def load(self) -> _imaging.PixelAccess | None:
        """Decode the pixels and the mask, once."""
        if self._icon is not None:
            self.im = self._icon.frame(0).convert("RGBA").im
            self._icon = None
        return super().load()


@dataclass(frozen=True)
class _Inside:
    """One picture of an icon: where it is, not yet copied, and what it says of itself."""

    data: memoryview
    width: int
    height: int
    bits: int


def largest(blob: bytes) -> bytes:
    """The largest picture inside, of equal ones the one of most colours.

    Args:
        blob: an ICO file.

    Returns:
        A PNG file, or an icon with this one picture.

    Raises:
        DecodeError: reason `too_much_metadata`, `unsupported_coding`, `truncated`, or `corrupt`
            where no picture is whole enough to have a size.
    """
    count = int.from_bytes(blob[4:6], "little")
    if count > limits.MAX_ICON_PICTURES:
        raise DecodeError("too_much_metadata")
    whole = memoryview(blob)
    entries = (_inside(whole, 6 + _DIRECTORY.size * number) for number in range(count))
    inside = [one for one in entries if one is not None]
    if not inside:
        raise DecodeError("corrupt")
    best = max(inside, key=lambda one: (one.width * one.height, one.bits))
    return bytes(best.data) if _is_png(best.data) else _icon_of(best)


def _is_png(data: memoryview) -> bool:
    return bytes(data[: len(_PNG)]) == _PNG


def _inside(blob: memoryview, place: int) -> _Inside | None:
    """The picture of one entry of the directory; None if it has no size or lies elsewhere."""
    if place + _DIRECTORY.size > len(blob):
        return None
    *_, size, start = _DIRECTORY.unpack_from(blob, place)
    data = blob[start : start + size]
    if _is_png(data) and len(data) >= 26:
        width, height = struct.unpack_from(">II", data, 16)
        return _Inside(data, width, height, _DEEP_BITS)
    if len(data) < _BITMAP.size:
        return None
    _, width, doubled, _, bits, *_ = _BITMAP.unpack_from(data)
    height = abs(doubled) // 2
    return _Inside(data, width, height, bits) if width > 0 and height > 0 else None


def _icon_of(picture: _Inside) -> bytes:
    """An icon with this bitmap only, which ends where its mask does.

    The directory may say that it ends elsewhere, and Pillow would look for the mask there. Deep
    colour has an alpha of its own; icons from before Windows XP leave it zero, and the mask counts.
    """
    head_bytes, *_, coding, _, _, _, colours, _ = _BITMAP.unpack_from(picture.data)
    if coding != _PLAIN:
        raise DecodeError("unsupported_coding")
    if picture.bits <= 8:
        head_bytes += 4 * (colours or 1 << picture.bits)
    pixels_end = head_bytes + picture.height * _row_bytes(picture.width * picture.bits)
    mask_end = pixels_end + picture.height * _row_bytes(picture.width)
    has_alpha = picture.bits == _DEEP_BITS and any(
        picture.data[head_bytes + 3 : pixels_end : 4].tobytes()
    )
    if len(picture.data) < (pixels_end if has_alpha else mask_end):
        raise DecodeError("truncated")
    data = bytes(picture.data[:mask_end])
    bits = _DEEP_BITS if has_alpha else min(picture.bits, _DEEP_BITS - 1)
    return MAGIC + b"\1\0" + _DIRECTORY.pack(0, 0, 0, 0, 1, bits, len(data), _START) + data


def _row_bytes(bits: int) -> int:
    """Rows are filled to whole words of 32 bits."""
    return (bits + 31) // 32 * 4
