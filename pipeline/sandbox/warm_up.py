"""Runs every decoder and kernel once, while files may still be opened.

After that a child opens nothing: modules are imported, kernels are loaded (a new one could not be:
no memory becomes code any more), tables are read. A decoder that needs more fails its items, which
`tests/pipeline/test_sandbox_media.py` would show: it examines every kind of file in a child.
"""

from __future__ import annotations

import gc
import importlib
import io
import pkgutil
from collections.abc import Iterator
from typing import Any, Final

import av
import numpy as np
import pillow_heif
from PIL import AvifImagePlugin, Image

from matchers.examine import Wanted, examine
from matchers.limits import VIEWS_SHORTER_SIDE_PIXELS
from matchers.pdq import Mode
from matchers.views import PROFILES, Profile
from pipeline.sandbox.warm_up_containers import containers
from pipeline.sandbox.warm_up_videos import animations, videos

_SIDE: Final = 96
_ORIENTATION: Final = 0x0112
_KINDS: Final = 13  # stills of one kind each, behind the turned ones


def decoders() -> None:
    """Examine a small file of each kind, every way, in one thread."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()
    for module in pkgutil.walk_packages(av.__path__, "av."):  # sound and subtitles come by surprise
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    stills, moving = list(_stills()), [*animations(), *videos()]
    damaged = [blob[: len(blob) * 2 // 3] for blob in [*stills[-_KINDS:], *moving]]
    for blob in [*stills, *moving, *damaged, *containers(stills[0])]:
        _examine(blob, "standard", "exact")
    for blob in (stills[0], stills[-1], moving[0], moving[-1]):  # colours, grey; animated, filmed
        for profile in PROFILES:
            _examine(blob, profile, "exact")
    for blob in stills:
        _examine(blob, "plain", "fast")
    coloured, grey = _large_ones()
    for profile in PROFILES:
        _examine(coloured, profile, "exact")
        _examine(coloured, profile, "fast")
    _examine(grey, "refine", "exact")
    gc.collect()  # FFmpeg's threads end with the files they belong to


def _examine(blob: bytes, profile: Profile, mode: Mode) -> None:
    wanted = Wanted(frozenset({"image", "video"}), ("md5", "sha1", "sha256"), profile, mode)
    examine(memoryview(blob), wanted)


def _stills() -> Iterator[bytes]:
    samples = np.random.default_rng(1).integers(0, 256, (_SIDE, _SIDE + 8, 4), np.uint8)
    shown = Image.fromarray(samples)
    rgb, grey = shown.convert("RGB"), shown.convert("L")
    for picture in (rgb, grey):
        for orientation in range(1, 9):
            yield _stored(picture, "JPEG", exif=_turned(orientation))
            yield _stored(picture, "PNG", exif=_turned(orientation))
    for name in ("PNG", "WEBP", "TIFF", "AVIF", "ICO"):
        yield _stored(shown, name)
    for name in ("PNG", "GIF", "BMP"):
        yield _stored(rgb.quantize(8), name)
    yield _stored(rgb.convert("CMYK"), "JPEG")
    yield _stored(grey.convert("I;16"), "TIFF")
    for picture in (shown, rgb, grey):
        file = io.BytesIO()
        pillow_heif.from_pillow(picture).save(file)
        yield file.getvalue()


def _large_ones() -> tuple[bytes, bytes]:
    """Large enough to be made smaller first, between bars: what is cut out is looked at again."""
    side = 2 * VIEWS_SHORTER_SIDE_PIXELS
    noise = np.random.default_rng(3).integers(0, 256, (_SIDE // 8, _SIDE // 8, 3), np.uint8)
    shown = Image.new("RGB", (side, side))
    shown.paste(Image.fromarray(noise).resize((side, side // 2)), (0, side // 4))
    return _stored(shown, "JPEG"), _stored(shown.convert("L"), "BMP")


def _stored(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif
