"""What a file shows, picture by picture: a still has one or a few, an animation or video many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from matchers import images
from matchers.media import Visual
from matchers.pdq.luma import Glance

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
        glance: of a frame between two that are looked at closely, what is known of it already;
            its pixels are as they were decoded, perhaps of limited range. None: look closely.
    """

    pixels: npt.NDArray[np.uint8]
    rendering: Rendering = "as_shown"
    time_seconds: float | None = None
    glance: Glance | None = None


def pictures(blob: bytes | memoryview, medium: Visual) -> Iterator[Picture]:
    """The pictures of a file, in order of their time.

    Args:
        blob: the encoded bytes.
        medium: what they claim to be.

    Raises:
        DecodeError: also midway, for a file that is damaged: what came before stays valid.
    """
    if medium == "video":
        from matchers import video  # FFmpeg is loaded where there is a video to see

        yield from video.frames(blob)
        return
    from matchers import animation  # it makes `Picture`s too

    yield from animation.pictures(bytes(blob))
