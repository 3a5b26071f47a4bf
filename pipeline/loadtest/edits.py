"""What people do to a picture before it is uploaded again: the edits whose recall is measured."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from fractions import Fraction
from typing import Final, Literal

import av
import numpy as np
from PIL import Image, ImageOps

Kind = Literal["image", "video", "container"]
UNEDITED: Final = "none"

_VIDEO_SIDES, _FRAMES_PER_SECOND, _FRAMES = (480, 360), 10, 15


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def zipped(data: bytes) -> bytes:
    """A picture in an archive, with a note before it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, part in (("readme.txt", b"holiday pictures\n"), ("pictures/1.jpg", data)):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), part)
    return file.getvalue()


def animated(image: Image.Image) -> bytes:
    """A picture as the second of three frames of a GIF, between plain ones."""
    shown = _fitted(image, (480, 360))
    plain = Image.new("RGB", shown.size, (40, 60, 80))
    return encoded(
        plain, "GIF", save_all=True, append_images=[shown, plain.rotate(180)], duration=400
    )


def filmed(image: Image.Image) -> bytes:
    """A picture shown for a second and a half: H.264 in MP4."""
    pixels = np.asarray(image.resize(_VIDEO_SIDES, Image.Resampling.LANCZOS))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=_FRAMES_PER_SECOND)
        stream.width, stream.height = _VIDEO_SIDES
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FRAMES_PER_SECOND)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def _fitted(image: Image.Image, sides: tuple[int, int]) -> Image.Image:
    fitted = image.copy()
    fitted.thumbnail(sides, Image.Resampling.LANCZOS)
    return fitted


def _bordered(image: Image.Image) -> bytes:
    width = max(image.size) // 12
    return encoded(ImageOps.expand(image, width, (0, 0, 0)), "JPEG", quality=85)


EDITS: Final[dict[str, tuple[Kind, Callable[[Image.Image], bytes]]]] = {
    UNEDITED: ("image", lambda image: encoded(image, "PNG", compress_level=1)),
    "recompressed": ("image", lambda image: encoded(image, "JPEG", quality=40)),
    "resized": ("image", lambda image: encoded(_fitted(image, (400, 400)), "JPEG", quality=80)),
    "mirrored": ("image", lambda image: encoded(ImageOps.mirror(image), "JPEG", quality=85)),
    "bordered": ("image", _bordered),
    "WebP": ("image", lambda image: encoded(image, "WEBP", quality=70, method=2)),
    "in a zip": ("container", lambda image: zipped(encoded(image, "JPEG", quality=85))),
    "GIF frame": ("image", animated),
    "in a video": ("video", filmed),
}
"""Name -> what its result is, and how it is made. `UNEDITED` keeps every pixel."""
