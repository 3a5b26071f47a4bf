"""Sound files of every kind, small, made from a seed: what mutations start from."""

from __future__ import annotations

import functools

from PIL import Image

from tests.conformance.ways import WAYS
from tests.support import pictures


@functools.cache
def all_files() -> dict[str, bytes]:
    """Name of the kind -> a sound file."""
    return {**_stills(), **_animations()}


def _stills() -> dict[str, bytes]:
    """Every way to store a picture of the conformance set."""
    shown = pictures.smooth(48, 64, 3)
    return {
        f"{name}, {number}": stored.blob
        for name, way in WAYS.items()
        for number, stored in enumerate(way.write(shown), 1)
    }


def _animations() -> dict[str, bytes]:
    frames = [Image.fromarray(pictures.smooth(32, 40, seed)) for seed in range(4)]
    return {
        f"{file_format} animation": pictures.store(
            frames[0], file_format, save_all=True, append_images=frames[1:], duration=100
        )
        for file_format in ("GIF", "PNG", "WEBP", "TIFF", "AVIF")
    }
