"""Sound files of every kind, small, made from a seed: what mutations start from."""

from __future__ import annotations

import functools

from PIL import Image

from tests.conformance.ways import WAYS
from tests.support import pictures, videos


@functools.cache
def all_files() -> dict[str, bytes]:
    """Name of the kind -> a sound file."""
    return {**_stills(), **_animations(), **_videos()}


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


def _videos() -> dict[str, bytes]:
    """Each demuxer and the usual decoders; one track that moves, and sound and words beside one."""
    scenes = [pictures.smooth(48, 64, seed) for seed in (1, 1, 2, 3)]
    kinds = (
        ("libx264", "mp4"), ("libx265", "mp4"), ("libx264", "mpegts"), ("libvpx-vp9", "webm"),
        ("mpeg4", "avi"), ("flv", "flv"), ("wmv2", "asf"),
        ("mpeg1video", "mpeg"),
    )  # fmt: skip
    quiet = {"libx265": {"x265-params": "log-level=none"}}
    made = {
        f"{codec} in {container}": videos.encode(
            scenes,
            codec=codec,
            container=container,
            per_second=25,
            codec_options=quiet.get(codec),
        )
        for codec, container in kinds
    }
    made["10 bits"] = videos.encode(
        scenes, codec="ffv1", container="matroska", pixel_format="yuv420p10le"
    )
    made["sound and words"] = videos.encode(scenes, container="matroska", sound=True, words=True)
    made["turned"] = videos.with_matrix(made["libx264 in mp4"], 0, 1, -1, 0)
    return made
