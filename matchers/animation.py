"""A file of one or more still pictures -> its pictures: animations, and files with several pages.

Every file's first picture is looked at in each rendering. The frames of an animated GIF, PNG, WebP
or AVIF follow, composited as they are shown, with their time; as in a video, those are
kept that `sampling` picks. The pages of a TIFF and the further pictures of a HEIC or a
phone's multi-picture JPEG have no time, and each is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from PIL import Image

from matchers import colours, images, limits, patience
from matchers.colours import Pixels
from matchers.errors import DecodeError
from matchers.pdq.luma import LumaHasher
from matchers.pictures import Picture, Rendering
from matchers.sampling import Look, Sampler

_ANIMATED: Final = frozenset({"GIF", "PNG", "WEBP", "AVIF"})
_PAGED: Final = frozenset({"TIFF", "MPO", "HEIF"})
_MAY_BE_MORE: Final = (
    (0, b"GIF8"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (8, b"WEBP"),
    (4, b"ftyp"),
    (0, b"II*\0"),
    (0, b"MM\0*"),
    (0, b"II+\0"),
    (0, b"MM\0+"),
)
_MULTI_PICTURE: Final = b"MPF\0"  # in some segment of a JPEG (CIPA DC-007)
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
        for page in _each(blob, first=1):
            yield Picture(page.white)
            if page.black is not None:
                yield Picture(page.black, "on_black")


def has_more(blob: bytes) -> bool:
    """Whether a file has more than one picture.

    Raises:
        DecodeError: see `images.opened`.
    """
    return _kind(blob) is not None


def _kind(blob: bytes) -> str | None:
    """The format of a file with more than one picture; None for any other."""
    may_be_more = any(blob.startswith(magic, place) for place, magic in _MAY_BE_MORE)
    if not may_be_more and _MULTI_PICTURE not in blob:
        return None
    with images.opened(blob) as image, images.decode_errors("corrupt"):
        return image.format if getattr(image, "is_animated", False) else None


@dataclass(frozen=True)
class _Frame:
    """One picture of a file, borrowed until the next one.

    Attributes:
        seconds: how long it is shown.
        white: it on white.
        black: it on black, if any of it is see-through.
    """

    seconds: float
    white: Pixels
    black: Pixels | None


def _each(blob: bytes, first: int) -> Iterator[_Frame]:
    """Each picture from number `first` on."""
    pixels_in_all = 0
    with images.opened(blob) as image:
        for number in range(first, limits.MAX_ANIMATION_FRAMES):
            patience.check()
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
                    grounds = {name: pixels.copy() for name, pixels in colours.on_grounds(image)}
                    seconds = _shown_seconds(image)
                yield _Frame(seconds, grounds["white"], grounds.get("black"))
        raise DecodeError("too_many_frames")


def _shown_seconds(image: Image.Image) -> float:
    stated = image.info.get("duration", 0)
    seconds = float(stated) / 1000 if isinstance(stated, (int, float)) else 0.0
    return seconds if seconds >= _SHORTEST_SECONDS else _SHOWN_SECONDS


def _later_frames(blob: bytes) -> Iterator[Picture]:
    """Frames after the first that are worth looking at, and the last once more as it goes.

    On white; and on black from the first frame on that is see-through.
    """
    on_white, on_black = _Watch("as_shown"), _Watch("on_black")
    now = 0.0
    damage: str | None = None
    try:
        for frame in _each(blob, first=0):
            if min(frame.white.shape[:2]) < limits.PDQ_MIN_SIDE_PIXELS:
                return
            yield from on_white.look(frame.white, now)
            if frame.black is not None or on_black.has_seen:
                yield from on_black.look(frame.white if frame.black is None else frame.black, now)
            # A file may claim any time; the number of frames is what bounds the work.
            now = min(now + frame.seconds, limits.MAX_VIDEO_SECONDS)
    except DecodeError as error:
        damage = error.reason
    for watch in (on_white, on_black):
        yield from watch.end(now)
    if damage:
        raise DecodeError(damage)


class _Watch:
    """Picks the frames that matter of one rendering."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering
        self._sampler = Sampler()
        self._hasher: LumaHasher | None = None
        self._last: Picture | None = None
        self._is_close = False

    @property
    def has_seen(self) -> bool:
        return self._last is not None

    def look(self, pixels: Pixels, now: float) -> Iterator[Picture]:
        """The frame, if it is worth it; the first of a file has been looked at as a still."""
        yield from self._long_shown(now)
        grey = pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))
        self._hasher = self._hasher or LumaHasher(grey.shape)
        glance = self._hasher.glance(grey, limited_range=False)
        before, self._last = self._last, Picture(pixels, self._rendering, now, glance)
        look = self._sampler.look(glance, now - (before.time_seconds or 0.0) if before else 0.0)
        self._is_close = look is Look.KEY
        if look is Look.MOVING:
            yield self._last
        elif look is Look.KEY and now > 0:
            yield replace(self._last, glance=None)

    def end(self, now: float) -> Iterator[Picture]:
        """The last frame, until it goes."""
        if self._last is not None:
            yield from self._long_shown(now)
            yield replace(self._last, time_seconds=now)

    def _long_shown(self, now: float) -> Iterator[Picture]:
        """The frame that goes now, closely: it was on show for long, and only glanced at."""
        last = self._last
        if last is None or self._is_close:
            return
        if now - (last.time_seconds or 0.0) >= limits.STEADY_SECONDS:
            yield replace(last, glance=None)
