"""Sound files of every kind, small, made from a seed: what mutations start from."""

from __future__ import annotations

import functools
import gzip
import io

import pikepdf
import py7zr
import zstandard
from PIL import Image

from tests.conformance.ways import WAYS
from tests.fuzz import shapes
from tests.support import archives, pictures, videos


@functools.cache
def all_files() -> dict[str, bytes]:
    """Name of the kind -> a sound file."""
    return {**stills(), **large(), **_animations(), **_videos(), **_containers()}


def stills() -> dict[str, bytes]:
    """Every way to store a picture of the conformance set."""
    shown = pictures.smooth(48, 64, 3)
    return {
        f"{name}, {number}": stored.blob
        for name, way in WAYS.items()
        for number, stored in enumerate(way.write(shown), 1)
    }


def large() -> dict[str, bytes]:
    """Some of ordinary size, framed: what is made smaller first, or cut out of a frame."""
    wanted = (
        ("bars beside", 700, "L", "AVIF"), ("bars above and below", 700, "L", "PNG"),
        ("blurred fill", 700, "RGB", "JPEG"), ("frame", 700, "L", "JPEG"),
        ("whole", 1_300, "L", "JPEG"), ("frame", 1_300, "RGB", "JPEG"),
    )  # fmt: skip
    made = {
        f"large, {frame}, {side}, {mode}, {file_format}": shapes.stored(
            shapes.framed(side)[frame].convert(mode), file_format
        )
        for frame, side, mode, file_format in wanted
    }
    made["large, video"] = shapes.clip(720, 1_280, *shapes.VIDEO_KINDS[0], boxed=True)
    made["large, upright video"] = shapes.clip(1_280, 720, *shapes.VIDEO_KINDS[1], boxed=True)
    return made


def _animations() -> dict[str, bytes]:
    frames = [Image.fromarray(pictures.smooth(32, 40, seed)) for seed in range(4)]
    return {
        f"{file_format} animation": pictures.store(
            frames[0], file_format, save_all=True, append_images=frames[1:], duration=100
        )
        for file_format in ("GIF", "PNG", "WEBP", "TIFF", "AVIF")
    }


def _videos() -> dict[str, bytes]:
    shown = videos.clip(*((pictures.smooth(64, 64, seed), 3) for seed in range(3)))
    kinds = [
        ("libx264", "mp4", {}),
        ("libx264", "mov", {"colour_range": 2}),
        ("libx264", "matroska", {"tracks": 2}),
        ("libx264", "mpegts", {}),
        ("libx264", "flv", {}),
        (
            "libx265",
            "mp4",
            {"codec_options": {"x265-params": "pools=none:frame-threads=1:log-level=none"}},
        ),
        ("libx264", "matroska", {"pixel_format": "yuv420p10le"}),
        ("libvpx", "webm", {}),
        ("libvpx-vp9", "webm", {}),
        ("libsvtav1", "mp4", {"codec_options": {"b": "0", "crf": "35", "preset": "10"}}),
        ("mpeg4", "avi", {}),
        ("mpeg2video", "mpeg", {"per_second": 25}),
        ("mpeg1video", "mpeg", {"per_second": 25}),
        ("mjpeg", "avi", {"pixel_format": "yuvj420p"}),
        ("wmv2", "asf", {}),
        ("flv", "flv", {}),
        ("prores_ks", "mov", {"pixel_format": "yuv422p10le"}),
        ("ffv1", "matroska", {"pixel_format": "bgr0"}),
        ("rawvideo", "avi", {"pixel_format": "gray"}),
    ]
    made = {
        " ".join([codec, container, *map(str, options.values())]): videos.encode(
            shown, codec=codec, container=container, **options
        )
        for codec, container, options in kinds
    }
    made["sound and words"] = videos.encode(shown, container="matroska", sound=True, words=True)
    made["turned"] = videos.with_matrix(made["libx264 mp4"], 0, 1, -1, 0)
    return made


def _containers() -> dict[str, bytes]:
    inside = {"a.jpg": archives.JPEG, "b.png": archives.PNG, "c.txt": archives.TEXT}
    tar = archives.tarred(inside)
    return {
        "zip": archives.zipped(inside),
        "zip, stored": archives.zipped(inside, 0),
        "zip in zip": archives.zipped({"d.zip": archives.zipped(inside), **inside}),
        "tar": tar,
        "tar.gz": gzip.compress(tar, mtime=0),
        "tar.bz2": archives.tarred(inside, "bz2"),
        "tar.xz": archives.tarred(inside, "xz"),
        "tar.zst": zstandard.compress(tar),
        "jpg.gz": gzip.compress(archives.JPEG, mtime=0),
        "7z": _sevenzip(inside),
        "7z, stored": _sevenzip(inside, [{"id": py7zr.FILTER_COPY}]),
        "7z, bzip2": _sevenzip(inside, [{"id": py7zr.FILTER_BZIP2}]),
        "7z, zstd": _sevenzip(inside, [{"id": py7zr.FILTER_ZSTD, "level": 3}]),
        "pdf": _pdf(),
    }


def _sevenzip(files: dict[str, bytes], filters: list[dict[str, int]] | None = None) -> bytes:
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w", filters=filters) as archive:
        for name, content in files.items():
            archive.writestr(content, name)
    return file.getvalue()


def _pdf() -> bytes:
    """One page with a JPEG, and one with samples packed by zlib."""
    document, file = pikepdf.new(), io.BytesIO()
    kinds = {
        "jpeg": (archives.JPEG, {"Filter": pikepdf.Name.DCTDecode}),
        "plain": (pictures.smooth(48, 64, 5).tobytes(), {}),
    }
    for data, options in kinds.values():
        page = document.add_blank_page()
        picture = pikepdf.Stream(
            document, data, Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image,
            Width=64, Height=48, ColorSpace=pikepdf.Name.DeviceRGB, BitsPerComponent=8, **options,
        )  # fmt: skip
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Im=picture))
    document.save(file, static_id=True)
    return file.getvalue()
