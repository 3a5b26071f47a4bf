"""Encoded bytes -> canonical pixels: the RGB (or grey) picture a person would be shown.

Header first: format, width and height are read and checked against `limits` before any pixel is
decoded. Then whatever the file's own colour model, the result is plain 8-bit RGB or grey
(`colours`), turned upright as the file asks. From the same decode come the other ways in which a
list may hold the picture: as stored, and on black where it is see-through. docs/formats.md has
every format, and how close it comes.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
from collections.abc import Generator, Iterator
from typing import Final, Literal

import numpy as np
import simplejpeg
from PIL import Image, PngImagePlugin, TiffImagePlugin

from matchers import colours, icons, jpeg, limits, media, metadata
from matchers.colours import Pixels
from matchers.errors import DecodeError
from matchers.heif import HeifImage
from matchers.room import Budget, Spare

Rendering = Literal["as_shown", "as_stored", "on_black"]
"""as_shown: as a person sees it, transparency on white. as_stored: before the turn that the file
asks for. on_black: as shown, but transparency on black."""

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
"""What Pillow is let at, beside HEIC and ICO. Its other parsers are never reached."""

Turn = tuple[bool, bool, bool]
"""Rows mirrored, columns mirrored, then rows and columns exchanged."""

JPEG: Final = ("JPEG", "MPO")  # a phone's MPO is a JPEG with more pictures behind the first
_END_OF_IMAGE: Final = b"\xff\xd9"
_EXIF_ORIENTATION: Final = 0x0112
TURNS: Final[dict[int, Turn]] = {
    1: (False, False, False),
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}
"""How the shown picture comes from the stored one, by EXIF orientation (Exif 2.32, tag 274)."""

_CORNERS: Final = np.arange(4, dtype=np.uint8).reshape(2, 2)  # tells any two turns apart

_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
_LEVELS: Final = {"L;2": 85, "L;4": 17}
"""Grey of few bits is spread over 0 to 255: what one step becomes."""

# Our own header check below replaces Pillow's, which is a process-wide global and warns first.
Image.MAX_IMAGE_PIXELS = None

held_pixels: Final = Budget(limits.MAX_PIXELS_AT_ONCE)
"""What all threads of this process may hold; a process with less memory sets less."""

os.register_at_fork(after_in_child=held_pixels.count_anew)
_spare: Final = Spare(limits.MAX_SPARE_BYTES)
os.register_at_fork(after_in_child=_spare.start_anew)


def decode(blob: bytes) -> Pixels:
    """Decode one still image (the first frame of an animation).

    Args:
        blob: the encoded bytes; the format is read from them, never from a file name.

    Returns:
        uint8 [height, width, 3] RGB, or [height, width] where the file itself is grey.

    Raises:
        DecodeError: reason `empty`, `too_many_bytes`, `unrecognised_format`, `too_many_pixels`,
            `too_many_scans`, `too_much_metadata`, `unsupported_coding`, `truncated`, `corrupt` or
            `out_of_memory`.
    """
    with decoded(blob) as pixels:
        return pixels.copy()


@contextlib.contextmanager
def decoded(blob: bytes) -> Iterator[Pixels]:
    """`decode`, for as long as the block lasts: where many threads decode, this bounds memory.

    No more than `limits.MAX_PIXELS_AT_ONCE` are held by all such blocks of a process together;
    a further one waits. The pixels' memory serves the next picture: do not keep them.
    """
    with contextlib.closing(renderings(blob)) as shown:
        yield next(shown)[1]


def renderings(blob: bytes) -> Generator[tuple[Rendering, Pixels]]:
    """Every way in which a list may hold the picture, from one decode; memory as in `decoded`.

    Yields:
        First as shown. As stored, if the file asks for a turn: many tools ignore it. On black, if
        any of the picture is see-through. Pixels are valid until the next ones are asked for.

    Raises:
        DecodeError: as `decode`.
    """
    with opened(blob) as image, held(image), contextlib.ExitStack() as stack:
        with decode_errors("corrupt"):
            applied = _applied_by_decoder(image)
            if image.format in JPEG and image.mode in ("RGB", "L"):
                room = stack.enter_context(_spare.lend(image.width * image.height * 3))
                grounds = iter([("white", _decode_jpeg(blob, image, room))])
            else:
                grounds = colours.on_grounds(image)
            pixels = next(grounds)[1]
            turn = TURNS[orientation(image)]
        yield "as_shown", turned(pixels, turn)
        if any(turn) or any(applied):
            yield "as_stored", turned(pixels, _undone(applied))
        del pixels
        with decode_errors("corrupt"):
            black = next(grounds, None)
        if black is not None:
            yield "on_black", turned(black[1], turn)


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
        if blob.startswith(icons.MAGIC):
            blob = icons.largest(blob)
        metadata.check_before_opening(blob)
        image = _open(blob)
    with image:
        with decode_errors("corrupt"):
            check_header(image)
            if image.format in JPEG and len(jpeg.scan_starts(blob)) > limits.MAX_JPEG_SCANS:
                raise DecodeError("too_many_scans")
            _scale_transparent(image)
        yield image


def _open(blob: bytes) -> Image.Image:
    file = io.BytesIO(blob)
    if media.is_heic(blob):
        return HeifImage(file)
    if blob.startswith(icons.MAGIC):
        return icons.IconImage(file)
    return Image.open(file, formats=FORMATS)


def held(image: Image.Image) -> contextlib.AbstractContextManager[None]:
    """Hold the image's pixels against `limits.MAX_PIXELS_AT_ONCE`; waits until they are free."""
    sizes = [image.size, *(image.coded_sizes if isinstance(image, HeifImage) else ())]
    return held_pixels.hold(max(width * height for width, height in sizes))


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


def turned(pixels: Pixels, turn: Turn) -> Pixels:
    """Pixels mirrored and exchanged as one of `TURNS` says."""
    rows_mirrored, columns_mirrored, exchanged = turn
    if not any(turn):
        return pixels
    shown = pixels[:: -1 if rows_mirrored else 1, :: -1 if columns_mirrored else 1]
    return np.ascontiguousarray(shown.swapaxes(0, 1) if exchanged else shown)


def check_header(image: Image.Image) -> None:
    """Refuse a picture by its size, before it is loaded.

    Raises:
        DecodeError: reason `too_many_pixels`.
    """
    sizes = [image.size]
    if isinstance(image, HeifImage):
        sizes += image.coded_sizes  # what is shown may be cut from more
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
    return colours.canonical(image)


def _applied_by_decoder(image: Image.Image) -> Turn:
    """The turn that pixels will have been through before we see them."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow turns, and then says 1
        return TURNS[orientation(image)]
    if not isinstance(image, HeifImage):
        return TURNS[1]
    shown = _CORNERS
    for name, value in image.turns:
        shown = np.rot90(shown, value // 90) if name == "irot" else np.flip(shown, value)
    return next(turn for turn in TURNS.values() if (turned(_CORNERS, turn) == shown).all())


def _undone(applied: Turn) -> Turn:
    """The turn that takes back another one."""
    shown = turned(_CORNERS, applied)
    return next(turn for turn in TURNS.values() if (turned(shown, turn) == _CORNERS).all())


def _scale_transparent(image: Image.Image) -> None:
    """Pillow gives samples of 8 bits, but the transparent colour of a PNG as the file has it."""
    transparent = image.info.get("transparency")
    if not isinstance(image, PngImagePlugin.PngImageFile) or not image.tile:
        return
    raw_mode = image.tile[0].args
    if isinstance(transparent, int) and raw_mode in _LEVELS:
        image.info["transparency"] = transparent * _LEVELS[raw_mode]
    elif isinstance(transparent, tuple) and raw_mode == "RGB;16B":
        image.info["transparency"] = tuple(sample >> 8 for sample in transparent)


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
