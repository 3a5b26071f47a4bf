"""Pictures and videos of ordinary sizes, framed in every way that is looked for.

Small files take the shortest way through the kernels. What is made smaller first, or cut out of a
frame, takes others: these are for that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from tests.support import pictures, videos

SHORTER_SIDES = (60, 700, 1_300)
STILL_FORMATS = ("PNG", "TIFF", "BMP", "AVIF", "WEBP", "GIF", "PNG")
VIDEO_SIDES = ((360, 640), (720, 1_280), (1_080, 1_920), (1_280, 720))
VIDEO_KINDS = (
    ("mpeg4", "mp4", "yuv420p", 1),
    ("mjpeg", "matroska", "yuvj420p", 2),
    ("rawvideo", "avi", "gray", 1),
    ("ffv1", "matroska", "yuv420p10le", 1),
)
FRAMES = 2


def framed(shorter_side: int) -> dict[str, Image.Image]:
    """Name of the frame -> one picture within it."""
    height, width = shorter_side, shorter_side * 4 // 3
    inner = Image.fromarray(pictures.smooth(height * 5 // 8, width * 5 // 8, 9))
    whole = inner.resize((width, height))
    blurred = whole.filter(ImageFilter.GaussianBlur(shorter_side / 12)).point(lambda v: v // 2)
    shapes = {
        "whole": (whole, None),
        "bars above and below": (inner.resize((width, inner.height)), Image.new("RGB", whole.size)),
        "bars beside": (inner.resize((inner.width, height)), Image.new("RGB", whole.size)),
        "blurred fill": (inner.resize((inner.width, height)), blurred),
        "frame": (inner, Image.new("RGB", whole.size, (90, 90, 90))),
    }
    made = {name: _centred(part, ground) for name, (part, ground) in shapes.items()}
    caption = whole.copy()
    caption.paste((255, 255, 255), (0, 0, width, height // 6))
    return made | {"caption": caption}


def _centred(part: Image.Image, ground: Image.Image | None) -> Image.Image:
    if ground is None:
        return part
    shown = ground.copy()
    shown.paste(part, ((ground.width - part.width) // 2, (ground.height - part.height) // 2))
    return shown


def stills() -> Iterator[tuple[str, bytes]]:
    """Each size, frame and kind of samples, as JPEG (read in two ways) and in the others by turns."""
    others = itertools.cycle(STILL_FORMATS)
    for side in SHORTER_SIDES:
        for name, picture in framed(side).items():
            for mode in ("RGB", "L", "RGBA"):
                for file_format in (next(others), *(["JPEG"] if mode != "RGBA" else [])):
                    shown = picture.convert(mode)
                    yield f"{name}, {side}, {mode}, {file_format}", stored(shown, file_format)


def stored(picture: Image.Image, file_format: str) -> bytes:
    """The picture as a file, soon rather than small."""
    options = {"PNG": {"compress_level": 1}, "WEBP": {"method": 0}, "AVIF": {"speed": 10}}
    return pictures.store(picture, file_format, **options.get(file_format, {}))


def clips() -> Iterator[tuple[str, bytes]]:
    """Each size and kind, letterboxed and not."""
    for height, width in VIDEO_SIDES:
        for kind in VIDEO_KINDS:
            yield f"{width} x {height} {kind[2]}", clip(height, width, *kind)
            yield f"{width} x {height} {kind[2]}, bars", clip(height, width, *kind, boxed=True)


def clip(
    height: int,
    width: int,
    codec: str,
    container: str,
    pixel_format: str,
    colour_range: int,
    *,
    boxed: bool = False,
) -> bytes:
    """A few frames that stand still, with bars above and below if `boxed`."""
    small = Image.fromarray(pictures.smooth(height // 8, width // 8, 4))
    shown = np.array(small.resize((width, height)))
    if boxed:
        shown[: height // 8] = shown[-(height // 8) :] = 0
    return videos.encode(
        [shown[..., 1] if pixel_format == "gray" else shown] * FRAMES,
        codec=codec,
        container=container,
        pixel_format=pixel_format,
        colour_range=colour_range,
    )
