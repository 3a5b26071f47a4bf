"""The grey picture inside a JPEG, as stored and perhaps scaled: what PDQ's fast mode looks at.

A JPEG holds luma and colour apart. Leaving colour out saves its transform and conversion; a
decoder can also hand out a picture 2, 4 or 8 times smaller, and of a progressive file the first
scan alone is the picture 8 times smaller. No copy is turned upright: the picture says how it lies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg

from matchers import images, jpeg, limits


@dataclass(frozen=True)
class StoredGrey:
    """Luma of a JPEG.

    Attributes:
        pixels: uint8 [ceil(height / scale), ceil(width / scale)].
        height: rows of the stored picture at full size.
        width: its columns.
        scale: 1, 2, 4 or 8.
        turn: how the shown picture comes from it, as in `images.TURNS`.
    """

    pixels: npt.NDArray[np.uint8]
    height: int
    width: int
    scale: int
    turn: tuple[bool, bool, bool]


@contextlib.contextmanager
def grey_as_stored(blob: bytes) -> Iterator[StoredGrey | None]:
    """The grey picture for as long as the block lasts, bounded in memory as `images.decoded`.

    It is None for any file but a plain JPEG without faults; `images.decoded` has the last word on
    those.

    Raises:
        DecodeError: for what the header tells: see `images.decode`.
    """
    with images.opened(blob) as image:
        if image.format not in images.JPEG or image.mode not in ("RGB", "L"):
            yield None
            return
        height, width = image.height, image.width
        scale = scale_for(height, width)
        with images.held(image):
            with images.decode_errors("corrupt"):
                pixels = _decode(blob, height, width, scale)
                turn = images.TURNS[images.orientation(image)]
            if pixels is None:
                yield None
                return
            yield StoredGrey(pixels, height, width, scale, turn)


def scale_for(height: int, width: int) -> int:
    """The largest scale that leaves `limits.PDQ_FAST_MIN_CELLS` samples to the shorter side."""
    for scale in (8, 4, 2):
        if min(height, width) >= scale * limits.PDQ_FAST_MIN_CELLS:
            return scale
    return 1


def _decode(blob: bytes, height: int, width: int, scale: int) -> npt.NDArray[np.uint8] | None:
    """Luma [ceil(height / scale), ceil(width / scale)]; None if libjpeg-turbo has complaints."""
    shape = (-(-height // scale), -(-width // scale))
    smallest = {"min_height": shape[0], "min_width": shape[1]} if scale > 1 else {}
    means = jpeg.first_means(blob) if scale == 8 else None
    try:
        pixels = simplejpeg.decode_jpeg(means or blob, "GRAY", **smallest)[:, :, 0]
    except ValueError:
        return None
    return pixels if pixels.shape == shape else None
