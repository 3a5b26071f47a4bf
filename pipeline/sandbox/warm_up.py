"""Runs every decoder and kernel once, while files may still be opened.

After that a child opens nothing: modules are imported, kernels are loaded (a new one could not be:
no memory becomes code any more), tables are read. A decoder that needs more fails its items, which
`tests/pipeline/test_sandbox_media.py` would show: it examines every kind of file in a child.
"""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any, Final

import av
import numpy as np
import pikepdf
import pillow_heif
import py7zr
import zstandard
from PIL import AvifImagePlugin, Image

from matchers.examine import Wanted, examine
from matchers.pdq import Mode
from matchers.views import PROFILES, Profile

_SIDE: Final = 96
_FRAMES: Final = 4
_ORIENTATION: Final = 0x0112
_KINDS: Final = 13  # stills of one kind each, behind the turned ones


def decoders() -> None:
    """Examine a small file of each kind, every way, in one thread."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    Image.init()
    stills, moving = list(_stills()), [*_animations(), *_videos()]
    damaged = [blob[: len(blob) * 2 // 3] for blob in [*stills[-_KINDS:], *moving]]
    for blob in [*stills, *moving, *damaged, *_containers(stills[0])]:
        _examine(blob, "standard", "exact")
    for blob in (stills[0], stills[-1], moving[0], moving[-1]):  # colours, grey; animated, filmed
        for profile in PROFILES:
            _examine(blob, profile, "exact")
    for blob in stills:
        _examine(blob, "plain", "fast")
    gc.collect()  # FFmpeg's threads end with the files they belong to


def _examine(blob: bytes, profile: Profile, mode: Mode) -> None:
    wanted = Wanted(frozenset({"image", "video"}), ("md5", "sha1", "sha256"), profile, mode)
    examine(memoryview(blob), wanted)


def _noise(seed: int) -> Image.Image:
    samples = np.random.default_rng(seed).integers(0, 256, (_SIDE, _SIDE + 8, 4), np.uint8)
    return Image.fromarray(samples)


def _stills() -> Iterator[bytes]:
    shown = _noise(1)
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


def _animations() -> Iterator[bytes]:
    frames = [_noise(seed) for seed in range(_FRAMES)]
    for name in ("GIF", "PNG", "WEBP", "TIFF", "AVIF"):
        options = {"speed": 10} if name == "AVIF" else {"duration": 100}
        yield _stored(frames[0], name, save_all=True, append_images=frames[1:], **options)


def _videos() -> Iterator[bytes]:
    """Luma of limited and of full range, grey, and what is no plain luma; rows padded or not."""
    for codec, container, pixel_format in (
        ("mpeg4", "mp4", "yuv420p"),
        ("mjpeg", "avi", "yuvj420p"),
        ("rawvideo", "avi", "gray"),
        ("ffv1", "matroska", "bgr0"),
    ):
        for width in (_SIDE + 8, 128):
            file = io.BytesIO()
            with av.open(file, "w", format=container) as out:
                stream = out.add_stream(codec, rate=10)
                stream.height, stream.width, stream.pix_fmt = _SIDE, width, pixel_format
                stream.codec_context.thread_count = 1
                for number in range(_FRAMES):
                    shown = _noise(number // 2).convert("RGB").resize((width, _SIDE))
                    frame = av.VideoFrame.from_image(shown)
                    out.mux(stream.encode(frame.reformat(format=pixel_format)))
                out.mux(stream.encode(None))
            yield file.getvalue()


def _containers(picture: bytes) -> Iterator[bytes]:
    """A picture in an archive of each kind."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a", picture)
    yield file.getvalue()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tarred:
        header = tarfile.TarInfo("a")
        header.size = len(picture)
        tarred.addfile(header, io.BytesIO(picture))
    tar = file.getvalue()
    yield from (tar, gzip.compress(tar), bz2.compress(tar), lzma.compress(tar))
    yield zstandard.compress(tar)
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w") as packed:
        packed.writestr(picture, "a")
    yield file.getvalue()
    document, file = pikepdf.new(), io.BytesIO()
    shown = pikepdf.Stream(document, picture, Type=pikepdf.Name.XObject)
    shown.Subtype, shown.Filter = pikepdf.Name.Image, pikepdf.Name.DCTDecode
    shown.Width = shown.Height = _SIDE
    shown.ColorSpace, shown.BitsPerComponent = pikepdf.Name.DeviceRGB, 8
    document.add_blank_page().Resources = pikepdf.Dictionary(XObject={"/Im": shown})
    document.save(file)
    yield file.getvalue()


def _stored(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return exif
