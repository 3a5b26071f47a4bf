"""Sound files of every kind, small, made from a seed: what mutations start from."""

from __future__ import annotations

import functools
import io

import numpy as np
import pillow_heif
from PIL import Image
from support import pictures

_HEIGHT, _WIDTH = 48, 64


@functools.cache
def all_files() -> dict[str, bytes]:
    """Name of the kind -> a sound file."""
    return {**_stills(), **_animations(), **_by_hand()}


def _stills() -> dict[str, bytes]:
    rgb = Image.fromarray(pictures.smooth(_HEIGHT, _WIDTH, 3))
    modes = {
        "rgb": rgb,
        "grey": rgb.convert("L"),
        "palette": rgb.quantize(16),
        "bilevel": rgb.convert("1"),
        "rgba": Image.merge("RGBA", (*rgb.split(), rgb.convert("L"))),
        "cmyk": rgb.convert("CMYK"),
        "deep": Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257),
    }
    wanted = [
        ("JPEG", ("rgb", "grey", "cmyk"), {}),
        ("JPEG", ("rgb",), {"progressive": True, "exif": _turned()}),
        ("PNG", ("rgb", "grey", "palette", "bilevel", "rgba", "deep"), {"exif": _turned()}),
        ("GIF", ("palette",), {"comment": b"at the sea"}),
        ("WEBP", ("rgb", "rgba"), {"exif": _turned()}),
        ("WEBP", ("rgba",), {"lossless": True}),
        ("BMP", ("rgb", "palette", "bilevel"), {}),
        ("AVIF", ("rgb", "rgba"), {"speed": 10}),
        ("ICO", ("rgba",), {}),
        ("TIFF", tuple(modes), {}),
        ("TIFF", ("rgb", "palette"), {"compression": "tiff_lzw"}),
        ("TIFF", ("rgb",), {"compression": "tiff_adobe_deflate", "exif": _turned()}),
        ("TIFF", ("rgb", "grey"), {"compression": "jpeg"}),
        ("TIFF", ("bilevel",), {"compression": "group4"}),
        ("TIFF", ("rgb",), {"compression": "packbits"}),
        ("TIFF", ("rgb",), {"compression": "zstd"}),
    ]
    files = {
        " ".join([file_format, mode, *map(str, options)]): pictures.store(
            modes[mode], file_format, **options
        )
        for file_format, names, options in wanted
        for mode in names
    }
    for name in ("rgb", "rgba"):
        file = io.BytesIO()
        pillow_heif.from_pillow(modes[name]).save(file, quality=60)
        files[f"HEIF {name}"] = file.getvalue()
    return files


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a beach"
    return exif


def _animations() -> dict[str, bytes]:
    frames = [Image.fromarray(pictures.smooth(32, 40, seed)) for seed in range(4)]
    return {
        f"{file_format} animation": pictures.store(
            frames[0], file_format, save_all=True, append_images=frames[1:], duration=100
        )
        for file_format in ("GIF", "PNG", "WEBP", "TIFF", "AVIF")
    }


def _by_hand() -> dict[str, bytes]:
    return {
        "JPEG by hand": pictures.with_means_bit_by_bit(pictures.smooth(6, 8, 1)[:, :, 0], 3),
        "PNG by hand": pictures.png(
            pictures.smooth(20, 30, 2)[:, :, 0] >> 6, bit_depth=2, colour_type=0
        ),
    }
