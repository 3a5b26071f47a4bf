"""Small videos and animations, for `warm_up`: every way of looking at a frame is needed once."""

from __future__ import annotations

import io
import struct
from typing import Any, Final

import av
import av.audio.codeccontext  # PyAV imports these where it meets a track of their kind
import av.audio.stream
import av.subtitles.codeccontext
import av.subtitles.stream
import av.subtitles.subtitle
import numpy as np
import numpy.typing as npt
from PIL import Image

_HEIGHT: Final = 96
_WIDTH: Final = 104  # decoders pad rows of this width
_UNPADDED: Final = 128
_FRAMES: Final = 6
_KINDS: Final = (
    ("mpeg4", "mp4", "yuv420p", _WIDTH),
    ("mpeg4", "mp4", "yuv420p", _UNPADDED),
    ("mjpeg", "matroska", "yuvj420p", _WIDTH),  # full range
    ("rawvideo", "avi", "gray", _WIDTH),
    ("ffv1", "matroska", "yuv420p10le", _WIDTH),  # by way of FFmpeg's conversion to grey
    ("ffv1", "matroska", "bgr0", _UNPADDED),
)
_QUARTER_TURN: Final = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)


def videos() -> list[bytes]:
    """One of each kind, one that is turned, and one cut short."""
    whole = [_filmed(*kind) for kind in _KINDS]
    matrix = whole[0].index(b"tkhd") + 44
    turned = whole[0][:matrix] + _QUARTER_TURN + whole[0][matrix + len(_QUARTER_TURN) :]
    return [*whole, turned, whole[2][: len(whole[2]) * 3 // 4], whole[0][:-100]]


def animations() -> list[bytes]:
    """One of each format, and a file of two pages."""
    frames = [Image.fromarray(picture) for picture in _scenes()]
    return [_animated(frames, name) for name in ("GIF", "PNG", "WEBP", "AVIF", "TIFF")]


def _scenes() -> list[npt.NDArray[np.uint8]]:
    """Two scenes; in the second something moves."""
    noise = np.random.default_rng(2).integers(0, 256, (2, 12, 13, 3), np.uint8)
    one, two = (np.kron(scene, np.ones((8, 8, 1), np.uint8)) for scene in noise)
    return [one, one, *(np.roll(two, 5 * step, axis=1) for step in range(_FRAMES - 2))]


def _filmed(codec: str, container: str, pixel_format: str, width: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = _HEIGHT, width, pixel_format
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(_scenes()):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(
                format=pixel_format, width=width, threads=1
            )
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def _animated(frames: list[Image.Image], file_format: str) -> bytes:
    file = io.BytesIO()
    options = {} if file_format == "TIFF" else {"duration": 100}
    frames[0].save(file, file_format, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()
