"""A file of one or more still pictures -> its pictures: animations, and files with several pages.

Every file's first picture is looked at in each rendering. The frames of an animated GIF, PNG, WebP
or AVIF follow, composited as they are shown (on white), with their time; as in a video, those are
kept that `sampling` picks. The pages of a TIFF and the further pictures of a phone's multi-picture
JPEG have no time, and each is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from matchers import colours, images, limits
from matchers.errors import DecodeError
from matchers.pdq.luma import LumaHasher
from matchers.pictures import Picture
from matchers.sampling import Look, Sampler

_ANIMATED: Final = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
_PAGED: Final = frozenset({"TIFF", "MPO"})
_MAY_BE_MORE: Final = (
    (0, b"GIF8"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (8, b"WEBP"),
    (4, b"ftypavi"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
)
_MULTI_PICTURE: Final = b"MPF\0"  # in a JPEG's head (CIPA DC-007)
_HEAD_BYTES: Final = 65_536
_SHORTEST_SECONDS: Final = 0.02
_SHOWN_SECONDS: Final = 0.1
"""Browsers show a frame of less than 20 ms, or of no stated time, for 100 ms."""


def pictures(blob: bytes) -> Iterator[Picture]:
    """The pictures of a still, an animation or a file of several pages.

    Raises:
        DecodeError: also after some pictures: see `images.decode`; `too_many_frames` beyond
            `limits.MAX_ANIMATION_FRAMES` or `limits.MAX_ANIMATION_PIXELS`.
    """
    kind = _kind(blob)
    for rendering, pixels in images.renderings(blob):
        yield Picture(pixels, rendering, 0.0 if kind in _ANIMATED else None)
    if kind in _ANIMATED:
        yield from _later_frames(blob)
    elif kind in _PAGED:
        yield from (Picture(pixels) for _, pixels in _each(blob, first=1))


def _kind(blob: bytes) -> str | None:
    """The format of a file with more than one picture; None for any other."""
    may_be_more = any(blob.startswith(magic, place) for place, magic in _MAY_BE_MORE)
    if not may_be_more and _MULTI_PICTURE not in blob[:_HEAD_BYTES]:
        return None
    with images.opened(blob) as image, images.decode_errors("corrupt"):
        return image.format if getattr(image, "is_animated", False) else None


def _each(blob: bytes, first: int) -> Iterator[tuple[float, npt.NDArray[np.uint8]]]:
    """(seconds it is shown for, pixels) of each picture from number `first` on."""
    pixels_in_all = 0
    with images.opened(blob) as image:
        for number in range(first, limits.MAX_ANIMATION_FRAMES):
            with images.decode_errors("corrupt"):
                try:
                    image.seek(number)
                except EOFError:
                    return
                images.check_header(image)  # pages differ in size
                pixels_in_all += image.width * image.height
                if pixels_in_all > limits.MAX_ANIMATION_PIXELS:
                    break
            with images.held(image):
                with images.decode_errors("corrupt"):
                    pixels = colours.canonical(image)
                    seconds = _shown_seconds(image)
                yield seconds, pixels
        raise DecodeError("too_many_frames")


def _shown_seconds(image: Image.Image) -> float:
    stated = image.info.get("duration", 0)
    seconds = float(stated) / 1000 if isinstance(stated, (int, float)) else 0.0
    return seconds if seconds >= _SHORTEST_SECONDS else _SHOWN_SECONDS


def _later_frames(blob: bytes) -> Iterator[Picture]:
    """Frames after the first that are worth looking at, and the last once more as it goes."""
    sampler = Sampler()
    hasher: LumaHasher | None = None
    now = shown_for = 0.0
    last: Picture | None = None
    damage: str | None = None
    try:
        for seconds, pixels in _each(blob, first=0):
            grey = pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))
            if min(grey.shape) < limits.PDQ_MIN_SIDE_PIXELS:
                return
            hasher = hasher or LumaHasher(grey.shape)
            glance = hasher.glance(grey, limited_range=False)
            look = sampler.look(glance, shown_for)
            is_first = last is None
            now, shown_for = now + shown_for, seconds
            last = Picture(pixels, "as_shown", now, glance)
            if look is Look.MOVING:
                yield last
            elif look is Look.KEY and not is_first:
                yield replace(last, glance=None)
    except DecodeError as error:
        damage = error.reason
    if last is not None:
        yield replace(last, time_seconds=now + shown_for)
    if damage:
        raise DecodeError(damage)
