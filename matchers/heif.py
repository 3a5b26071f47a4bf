"""HEIC: the primary picture of a HEIF file as a Pillow image, decoded by libheif.

pillow-heif's own plugin would register itself for the whole process, and as it opens a file it
copies the metadata of every picture inside. Here the primary picture alone is asked for: its size
when it is opened, its pixels when it is loaded. EXIF is never read. In HEIF the turn of a picture
is said by boxes of its own (irot, imir), which libheif has applied to what it hands out, and EXIF
only repeats them (ISO/IEC 23008-12, annex A): turning by EXIF as well would turn twice.

libheif itself refuses a picture whose coded size is not the one its box (ispe) promises, and
allocates nothing for it; the promised ones are what `images` checks.
"""

from __future__ import annotations

from typing import Final

import _pillow_heif
from PIL import ImageFile, _imaging

from matchers import boxes
from matchers.errors import DecodeError

_THREADS: Final = 0  # beside this one: threads have pictures of their own, not tiles of one
_WORDS: Final = (
    ("exceeds the maximum image size", "too_many_pixels"),
    ("Security limit", "too_much_metadata"),
    ("end of file", "truncated"),
    ("file bounds", "truncated"),
    ("not been built in", "unsupported_coding"),
)
"""What libheif says, and the reason that it is."""


class HeifImage(ImageFile.ImageFile):
    """The primary picture, and behind it (`seek`) any others that stand by themselves.

    Attributes:
        n_frames: how many there are.
        is_animated: whether there are several, in Pillow's word for it.
        coded_sizes: width and height of every picture inside.
        turns: how it was turned to be shown, in order: `("irot", 90)`, anticlockwise; `("imir",
            0)`, upside down; `("imir", 1)`, left to right.
    """

    format = "HEIF"
    coded_sizes: tuple[tuple[int, int], ...] = ()
    turns: tuple[tuple[str, int], ...] = ()

    def _open(self) -> None:
        """Read the boxes; libheif keeps the file's bytes, not `fp`."""
        blob = self.fp.read() if self.fp else b""
        try:
            pictures, _ = _pillow_heif.load_file(
                blob, _THREADS, True, False, False, True, "", False
            )
        except (ValueError, RuntimeError) as error:
            raise DecodeError(_reason(error)) from None
        known = [one for one in pictures if one is not None]  # None: what it cannot decode
        known.sort(key=lambda one: not one.primary)
        if not known or not known[0].primary:
            raise DecodeError("unsupported_coding" if pictures else "corrupt")
        self._pictures = known
        self.n_frames = len(known)
        self.is_animated = self.n_frames > 1
        self.coded_sizes = tuple(boxes.promised_sizes(blob))
        self._take(0)

    def _take(self, number: int) -> None:
        """Go to a picture; it is decoded when it is loaded."""
        self._number, self._coming = number, self._pictures[number]
        try:
            self._size, self._mode = self._coming.size_mode
            applied = self._coming.transformations  # clap, a crop, is another one
        except (ValueError, RuntimeError) as error:
            raise DecodeError(_reason(error)) from None
        self.turns = tuple((name, int(of)) for name, of, *_ in applied if name in ("irot", "imir"))
        self.tile = []

    def seek(self, frame: int) -> None:
        """Go to another picture."""
        if frame >= self.n_frames:
            raise EOFError("no more pictures")
        if frame != self._number:
            self._take(frame)
            self._im = None

    def tell(self) -> int:
        """Number of the picture at hand."""
        return self._number

    def load(self) -> _imaging.PixelAccess | None:
        """Decode the pixels, once."""
        if self._coming is not None:
            try:
                data = self._coming.data
                self._size, self._mode = self._coming.size_mode
                stride = self._coming.stride
            except (ValueError, RuntimeError, EOFError) as error:
                raise DecodeError(_reason(error)) from None
            self.load_prepare()
            self.frombytes(data, "raw", (self._mode, stride))
            self._coming = None
        return super().load()


def _reason(error: Exception) -> str:
    return next((reason for words, reason in _WORDS if words in str(error)), "corrupt")
