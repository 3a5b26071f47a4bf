"""What a file shows, picture by picture: a still has one or a few, an animation or video many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from matchers import images
from matchers.errors import DecodeError
from matchers.media import Visual

Rendering = images.Rendering

RENDERINGS: Final[tuple[Rendering, ...]] = get_args(Rendering)


@dataclass(frozen=True)
class Picture:
    """One picture of a file.

    Attributes:
        pixels: uint8 [height, width, 3] RGB or [height, width] grey. Borrowed: valid until the next
            picture is asked for.
        rendering: how it comes from what is stored.
        time_seconds: its place in an animation or video; None for a still.
    """

    pixels: npt.NDArray[np.uint8]
    rendering: Rendering = "as_shown"
    time_seconds: float | None = None


def pictures(blob: bytes | memoryview, medium: Visual) -> Iterator[Picture]:
    """The pictures of a file, in order of their time.

    Args:
        blob: the encoded bytes.
        medium: what they claim to be.

    Raises:
        DecodeError: also midway, for a file that is damaged: what came before stays valid.
    """
    if medium == "video":
        raise DecodeError("video_not_supported")
    for rendering, pixels in images.renderings(bytes(blob)):
        yield Picture(pixels, rendering)
