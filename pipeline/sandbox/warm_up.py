"""Runs every decoder and kernel once, while files may still be opened.

After that a child opens nothing: modules are imported, kernels are loaded (a new one could not be:
no memory becomes code any more), tables are read. A decoder that needs more fails its items, which
`tests/pipeline/test_sandbox_media.py` would show: it examines every kind of file in a child.
"""

from __future__ import annotations

import io
from typing import Final, get_args

import numpy as np
import pillow_heif
from PIL import AvifImagePlugin, Image

from matchers.examine import Wanted, examine
from matchers.pdq import Mode
from matchers.views import PROFILES

_SIDE: Final = 96
_ORIENTATION: Final = 0x0112
_DIGESTS: Final = ("md5", "sha1", "sha256")


def decoders() -> None:
    """Examine a small file of each kind, every way, in one thread."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.options.DECODE_THREADS = 1
    Image.init()
    for blob in _files():
        for profile in (None, *PROFILES):
            for mode in get_args(Mode):
                wanted = Wanted(frozenset({"image", "video"}), _DIGESTS, profile, mode)
                examine(memoryview(blob), wanted)


def _files() -> list[bytes]:
    noise = np.random.default_rng(1).integers(0, 256, (_SIDE, _SIDE + 8, 4), np.uint8)
    shown = Image.fromarray(noise)
    rgb, grey = shown.convert("RGB"), shown.convert("L")
    files = [
        _stored(picture, file_format, orientation)
        for picture in (rgb, grey)
        for file_format in ("JPEG", "PNG")
        for orientation in range(1, 9)
    ]
    files += [_stored(shown, name) for name in ("PNG", "WEBP", "TIFF", "AVIF", "ICO")]
    files += [_stored(rgb.quantize(8), name) for name in ("PNG", "GIF", "BMP")]
    files += [_heic(picture) for picture in (shown, rgb, grey)]
    files += [_stored(rgb.convert("CMYK"), "JPEG"), _stored(grey.convert("I;16"), "TIFF")]
    return files + [blob[: len(blob) // 2] for blob in files[-9:]]  # damaged: their errors too


def _heic(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(picture).save(file)
    return file.getvalue()


def _stored(picture: Image.Image, file_format: str, orientation: int = 1) -> bytes:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    options = {"exif": exif} if file_format in ("JPEG", "PNG") else {}
    picture.save(file, file_format, **options)
    return file.getvalue()
