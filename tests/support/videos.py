"""Small videos made from pictures, in memory, and ways to spoil them."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction

import av
import numpy as np

CUT_SIDES = (96, 128)  # rows and columns of most test videos


_SUBTITLES = b"1\n00:00:00,000 --> 00:00:02,000\nwords that nobody reads\n"


def encode(
    pictures: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    container: str = "mp4",
    per_second: int = 10,
    pixel_format: str = "yuv420p",
    colour_range: int = 1,
    codec_options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    tracks: int = 1,
    sound: bool = False,
    words: bool = False,
    show: bool = True,
) -> bytes:
    """Encode RGB pictures as a video, one frame each.

    Args:
        pictures: uint8 [height, width, 3], or [height, width] for a grey pixel format.
        codec: FFmpeg's encoder.
        container: FFmpeg's muxer.
        per_second: frames a second.
        pixel_format: of the encoder.
        colour_range: 1 limited, 2 full.
        codec_options: of the encoder.
        container_options: of the muxer.
        tracks: video tracks; the second shows the pictures in reverse.
        sound: whether there is a sound track of noise, uncompressed where the container can.
        words: whether there is a subtitle track (Matroska only).
        show: whether there is a video track at all.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=dict(container_options or {})) as out:
        shown = []
        for _ in range(tracks if show else 0):
            stream = out.add_stream(codec, rate=per_second, options=dict(codec_options or {}))
            stream.height, stream.width = pictures[0].shape[:2]
            stream.pix_fmt = pixel_format
            stream.codec_context.color_range = colour_range
            stream.bit_rate = 4_000_000  # a sharp picture at once
            stream.codec_context.thread_count = 1
            shown.append(stream)
        noise = None
        if sound:
            noise = out.add_stream("pcm_s16le", rate=48_000, layout="stereo")
        text = None
        if words:  # as they are: PyAV's subtitle encoder frees its header twice
            with av.open(io.BytesIO(_SUBTITLES), format="srt") as written:
                text = out.add_stream_from_template(written.streams[0])
                lines = [packet for packet in written.demux() if packet.size]
        if noise is not None:
            samples = np.random.default_rng(5).integers(
                -9_000, 9_000, (1, 2 * 48_000 * len(pictures) // per_second), np.int16
            )
            heard = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
            heard.sample_rate = 48_000
            heard.pts = 0
            out.mux(noise.encode(heard))
            out.mux(noise.encode(None))
        if text is not None:
            for line in lines:
                line.stream = text
                out.mux(line)
        for number, stream in enumerate(shown):
            for place, picture in enumerate(pictures[:: -1 if number else 1]):
                kind = "gray" if picture.ndim == 2 else "rgb24"
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), kind)
                if picture.ndim == 3 and pixel_format != "rgb24":
                    frame = frame.reformat(format=pixel_format, dst_color_range=colour_range)
                frame.pts = place
                frame.time_base = Fraction(1, per_second)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return file.getvalue()


def with_matrix(blob: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """An MP4 whose first track asks players for a turn (ISO/IEC 14496-12 section 8.3.2)."""
    place = blob.index(b"tkhd") + 4 + 40
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return blob[:place] + matrix + blob[place + 36 :]


def clip(*shown: tuple[np.ndarray, int]) -> list[np.ndarray]:
    """Pictures, each for so many frames."""
    return [picture for picture, frames in shown for _ in range(frames)]
