"""Encoded bytes -> canonical pixels: the RGB (or grey) picture a person would be shown.

Header first: format, width and height are read and checked against `limits` before any pixel is
decoded. Then whatever the file's own colour model, the result is plain 8-bit RGB or grey: palette,
1-bit, 16-bit, CMYK, LAB and float become RGB, transparency is laid on white, EXIF orientation is
applied. Peers skip these steps and land 64-256 bits away on the same picture. Colour profiles
are not applied: the reference does not, and lists hold what it gives.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, ImageCms, TiffImagePlugin

from matchers import jpeg, limits, media, metadata
from matchers.errors import DecodeError

Pixels = npt.NDArray[np.uint8]

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
"""The still formats that are opened. Pillow's other parsers are never reached."""

JPEG: Final = ("JPEG", "MPO")  # a phone's MPO is a JPEG with more pictures behind the first
_END_OF_IMAGE: Final = b"\xff\xd9"
_EXIF_ORIENTATION: Final = 0x0112
TURNS: Final = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
"""How the shown picture comes from the stored one, by EXIF orientation (Exif 2.32, tag 274): rows
mirrored, columns mirrored, then rows and columns exchanged."""

_TIFF_PHOTOMETRIC, _TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 262, 322, 323
_BAND_SAMPLES: Final = 1 << 18  # deep grey is scaled in bands of rows: floats take 8 bytes each
_WHITE: Final = (255, 255, 255, 255)

# Our own header check below replaces Pillow's, which is a process-wide global and warns first.
Image.MAX_IMAGE_PIXELS = None


def decode(blob: bytes) -> Pixels:
    """Decode one still image (the first frame of an animation).

    Args:
        blob: the encoded bytes; the format is read from them, never from a file name.

    Returns:
        uint8 [height, width, 3] RGB, or [height, width] where the file itself is grey.

    Raises:
        DecodeError: reason `empty`, `too_many_bytes`, `unrecognised_format`, `too_many_pixels`,
            `too_many_scans`, `too_much_metadata`, `truncated`, `corrupt` or `out_of_memory`.
    """
    with decoded(blob) as pixels:
        return pixels.copy()


@contextlib.contextmanager
def decoded(blob: bytes) -> Iterator[Pixels]:
    """`decode`, for as long as the block lasts: where many threads decode, this bounds memory.

    No more than `limits.MAX_PIXELS_AT_ONCE` are held by all such blocks of a process together;
    a further one waits. The pixels' memory serves the next picture: do not keep them.
    """
    with opened(blob) as image, held(image), contextlib.ExitStack() as stack:
        with decode_errors("corrupt"):
            if image.format in JPEG and image.mode in ("RGB", "L"):
                room = stack.enter_context(_spare.lend(image.width * image.height * 3))
                pixels = _decode_jpeg(blob, image, room)
            else:
                image.load()
                pixels = _canonical(image)
            pixels = _as_shown(pixels, image)
        yield pixels


@contextlib.contextmanager
def opened(blob: bytes) -> Iterator[Image.Image]:
    """The checked header of an encoded image, before any pixel is decoded.

    Raises:
        DecodeError: for all that the header tells: see `decode`.
    """
    if not blob:
        raise DecodeError("empty")
    if len(blob) > limits.MAX_ENCODED_BYTES:
        raise DecodeError("too_many_bytes")
    with decode_errors("corrupt" if media.is_decodable(blob) else "unrecognised_format"):
        metadata.check_before_opening(blob)
        image = Image.open(io.BytesIO(blob), formats=FORMATS)
    with image:
        with decode_errors("corrupt"):
            _check_header(image)
            if image.format in JPEG and len(jpeg.scan_starts(blob)) > limits.MAX_JPEG_SCANS:
                raise DecodeError("too_many_scans")
        yield image


def held(image: Image.Image) -> contextlib.AbstractContextManager[None]:
    """Hold the image's pixels against `limits.MAX_PIXELS_AT_ONCE`; waits until they are free."""
    return _budget.hold(image.width * image.height)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8: cameras store sideways and say so.

    Raises:
        DecodeError: reason `too_much_metadata`.
    """
    try:
        metadata.check_opened(image)
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
        return int(value) if value in TURNS else 1
    except (SyntaxError, ValueError, OSError, struct.error, KeyError, IndexError, TypeError):
        return 1  # unreadable EXIF: viewers show the picture as stored


class _Budget:
    """A number of pixels that threads share; whoever asks for more than is left waits.

    They are served in the order in which they came: small pictures do not pass a large one by,
    or it would wait as long as they keep coming.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self.count_anew()

    def count_anew(self) -> None:
        """In a forked child nobody gives back what the parent's other threads held."""
        self._left = self._pixels
        self._waiting: deque[object] = deque()
        self._returned = threading.Condition()

    @contextlib.contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        place = object()
        returned = self._returned
        with returned:
            self._waiting.append(place)
            try:
                returned.wait_for(lambda: self._waiting[0] is place and self._left >= pixels)
                self._left -= pixels
            finally:
                self._waiting.remove(place)
                returned.notify_all()
        try:
            yield
        finally:
            if returned is self._returned:  # else the block began before a fork
                with returned:
                    self._left += pixels
                    returned.notify_all()


_budget: Final = _Budget(limits.MAX_PIXELS_AT_ONCE)
os.register_at_fork(after_in_child=_budget.count_anew)


class _Spare:
    """Memory of decoded pictures, lent again: fresh pages cost a tenth of a large decode."""

    LEAST_BYTES: Final = 4 * 1024 * 1024  # less than that the allocator itself keeps at hand

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.start_anew()

    def start_anew(self) -> None:
        """In a forked child the lock may be another thread's, which is not there."""
        self._rooms: list[npt.NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lend(self, size_bytes: int) -> Iterator[npt.NDArray[np.uint8]]:
        if size_bytes < self.LEAST_BYTES:
            yield np.empty(size_bytes, np.uint8)
            return
        room = self._take(size_bytes)
        yield room
        with self._lock:
            self._rooms.append(room)
            while sum(len(kept) for kept in self._rooms) > self._most_bytes:
                self._rooms.pop(0)  # the oldest

    def _take(self, size_bytes: int) -> npt.NDArray[np.uint8]:
        with self._lock:
            for number, room in enumerate(self._rooms):
                if size_bytes <= len(room):
                    return self._rooms.pop(number)
        return np.empty(size_bytes, np.uint8)


_spare: Final = _Spare(limits.MAX_SPARE_BYTES)
os.register_at_fork(after_in_child=_spare.start_anew)


def _check_header(image: Image.Image) -> None:
    sizes = [image.size]
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # libtiff decodes whole tiles, and a small picture may claim huge ones.
        tile = [image.tag_v2.get(tag, 1) for tag in (_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH)]
        sizes.append((int(tile[0]), int(tile[1])))
    for width, height in sizes:
        if (
            width * height > limits.MAX_PIXELS
            or max(width, height) > limits.MAX_SIDE_PIXELS
            or min(width, height) < 1
        ):
            raise DecodeError("too_many_pixels")


def _decode_jpeg(blob: bytes, image: Image.Image, room: Pixels) -> Pixels:
    """RGB or grey JPEG through libjpeg-turbo directly: the pixels Pillow gives, sooner.

    simplejpeg stops at libjpeg's warnings, which viewers show through (stray bytes before a
    marker, say). A file that lacks nothing but its end marker is whole. Pillow has the last word:
    it refuses only what cannot be shown whole.
    """
    gray = image.mode == "L"
    for whole in (blob, blob + _END_OF_IMAGE):
        with contextlib.suppress(ValueError):
            kind = "GRAY" if gray else "RGB"
            pixels: Pixels = simplejpeg.decode_jpeg(whole, kind, buffer=room)
            return pixels[:, :, 0] if gray else pixels
    image.load()
    return _canonical(image)


def _canonical(image: Image.Image) -> Pixels:
    """Any Pillow mode -> 8-bit RGB or grey."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    if image.has_transparency_data:
        shown = Image.new("RGBA", image.size, _WHITE)
        shown.alpha_composite(image.convert("RGBA"))
        return np.asarray(shown.convert("RGB"))
    if image.mode == "LAB":
        lab_to_rgb = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        return np.asarray(ImageCms.applyTransform(image, lab_to_rgb))
    return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def _deep_grey(image: Image.Image) -> Pixels:
    """Grey of more than 8 bits -> 8 bits; Pillow leaves "white is zero" and transparency to us."""
    samples = np.asarray(image)
    grey = _scale_to_8_bits(samples)
    if (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0
    ):
        return np.subtract(255, grey, out=grey)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[samples == transparent] = 255
    return grey


def _scale_to_8_bits(samples: npt.NDArray[np.generic]) -> Pixels:
    """Samples -> 8 bits, by the range their kind of number implies.

    16-bit integers keep their high byte, as libpng's png_set_strip_16 does for colour. Wider
    integers and floats carry no range of their own: 0..1 and 0..255 floats, 0..255 and 0..65535
    integers are what files hold in practice; beyond that the picture's own maximum is white.
    """
    grey = np.empty(samples.shape, np.uint8)
    rows = max(1, _BAND_SAMPLES // max(1, samples.shape[1]))
    bands = [slice(row, row + rows) for row in range(0, len(samples), rows)]
    if samples.dtype.kind == "u" and samples.dtype.itemsize == 2:
        for band in bands:
            grey[band] = samples[band].astype(np.uint16) >> 8
        return grey
    peak = max((float(_finite(samples[band]).max(initial=0.0)) for band in bands), default=0.0)
    for band in bands:
        grey[band] = _by_peak(_finite(samples[band]), samples.dtype, peak)
    return grey


def _finite(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Samples as numbers to reckon with; what is none is black."""
    return np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _by_peak(
    values: npt.NDArray[np.float64], dtype: np.dtype[np.generic], peak: float
) -> npt.NDArray[np.float64]:
    """Values -> 0..255, by the kind of number they were and the picture's own maximum."""
    if np.issubdtype(dtype, np.integer):
        is_narrow = dtype.itemsize > 2 and peak <= 255
        white = 255.0 if is_narrow else max(peak, 65_535.0)
        return np.clip(np.floor(values * 256 / (white + 1)), 0, 255)
    white = 1.0 if peak <= 1 else max(peak, 255.0)
    return np.clip(np.rint(values * (255 / white)), 0, 255)


def _as_shown(pixels: Pixels, image: Image.Image) -> Pixels:
    """Apply the EXIF orientation."""
    rows_mirrored, columns_mirrored, exchanged = turn = TURNS[orientation(image)]
    if not any(turn):
        return pixels
    shown = pixels[:: -1 if rows_mirrored else 1, :: -1 if columns_mirrored else 1]
    return np.ascontiguousarray(shown.swapaxes(0, 1) if exchanged else shown)


@contextlib.contextmanager
def decode_errors(reason: str) -> Iterator[None]:
    """Whatever a decoder throws at hostile bytes becomes a `DecodeError` with a stable reason."""
    try:
        yield
    except DecodeError:
        raise
    except MemoryError:
        raise DecodeError("out_of_memory") from None
    except Exception as error:  # noqa: BLE001
        # Decoders raise nearly anything here (OSError, SyntaxError, struct.error, zlib.error,
        # ValueError, ...). The text may quote the content, so only the reason goes on.
        text = str(error)
        if reason == "corrupt" and ("truncated" in text or "incomplete" in text):
            raise DecodeError("truncated") from None
        raise DecodeError(reason) from None
