"""Video: decoding alone, ours, and the reference core on the same frames, on one core.

The film is generated: the camera pans over photographs, 720p, H.264. Each way decodes the same file
with one thread, so that the ratio is of what a host would run.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import timing
from benchmarks.scales import Scale
from matchers import video
from matchers.pdq.luma import LumaHasher

DECODING: Final = "decoding alone"
OURS: Final = "Sluis, every frame"
SAMPLED: Final = "Sluis, every frame and which are kept"
REFERENCE: Final = "pdqhash on RGB"
HEIGHT, WIDTH = 720, 1280
_PER_SECOND: Final = 25
_SCENE_FRAMES: Final = 50
_STEP_PIXELS: Final = 4  # the pan, a frame

Codes = npt.NDArray[np.uint8]


def measure(photos: Sequence[Path], scale: Scale, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds a frame of each way, and how far our codes are from the reference's."""
    say(f"{scale.film_frames} frames of 720p")
    film = made(photos, scale.film_frames)
    ways = {
        DECODING: lambda: sum(1 for _ in video.decoded(film)),
        OURS: lambda: _ours(film),
        SAMPLED: lambda: sum(1 for _ in video.frames(film)),
        REFERENCE: lambda: _reference(film),
    }
    with timing.one_core() as pinned:
        spent = timing.interleaved(ways, scale.large_rounds)
    codes, quality = _ours(film)
    bits = np.bitwise_count(codes ^ _reference(film)).sum(axis=1)[quality >= 50]
    return {
        "pinned": pinned,
        "frames": len(codes),
        "ways": [
            {"way": way, "seconds_per_frame": [second / len(codes) for second in seconds]}
            for way, seconds in spent.items()
        ],
        "mean_bits": float(bits.mean()),
        "most_bits": int(bits.max()),
    }


def made(photos: Sequence[Path], frames: int) -> bytes:
    """A film of a camera that pans over photographs."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=_PER_SECOND, options={"crf": "23"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for number in range(frames):
            scene, step = divmod(number, _SCENE_FRAMES)
            if step == 0:
                with Image.open(photos[scene % len(photos)]) as photo:
                    room = _STEP_PIXELS * _SCENE_FRAMES
                    wide = np.asarray(photo.convert("RGB").resize((WIDTH + room, HEIGHT)))
            left = _STEP_PIXELS * step
            picture = np.ascontiguousarray(wide[:, left : left + WIDTH])
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, _PER_SECOND)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def _ours(film: bytes) -> tuple[Codes, npt.NDArray[np.int64]]:
    """Code and quality of every frame, from its luma plane."""
    hasher = LumaHasher((HEIGHT, WIDTH))
    seen = [
        hasher.glance(frame.pixels, limited_range=frame.limited_range)
        for frame in video.decoded(film)
    ]
    return np.stack([one.code for one in seen]), np.array([one.quality for one in seen])


def _reference(film: bytes) -> Codes:
    """The reference core on every frame, as vPDQ runs it: RGB at full size."""
    import pdqhash

    codes = []
    with av.open(io.BytesIO(film), "r") as container:
        track = container.streams.video[0]
        track.codec_context.thread_count = 1
        for frame in container.decode(track):
            bits, _ = pdqhash.compute(frame.to_ndarray(format="rgb24"))
            codes.append(np.packbits(bits.astype(np.uint8)))
    return np.stack(codes)
