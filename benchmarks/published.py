"""Our codes beside the reference's published vPDQ hashes: `python -m benchmarks.published FOLDER`.

FOLDER holds clips and, beside each, its hashes as a text file of the same name (ThreatExchange
tmk/sample-videos and vpdq/sample-hashes). docs/video.md says what the differences come from.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import av
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from matchers import pdq, video
from matchers.pdq.luma import LumaHasher

Code = npt.NDArray[np.uint8]
Frame = Any  # PyAV's
_GOOD: Final = 50


def compare(
    folder: Annotated[Path, typer.Argument(help="Clips, and their hashes as text beside them.")],
) -> None:
    """Print bits between published and computed codes, frame by frame."""
    table = Table("clip", "codes of", "quality 50 and more: mean, most", "below: mean, most")
    for clip in sorted(folder.glob("*.mp4")):
        codes, quality = _published(clip.with_suffix(".txt"))
        for way, hashed in _WAYS.items():
            ours = np.stack([hashed(frame) for frame in _decoded(clip)])[: len(codes)]
            bits = np.bitwise_count(ours ^ codes[: len(ours)]).sum(axis=1)
            is_good = quality[: len(ours)] >= _GOOD
            table.add_row(clip.stem, way, _told(bits[is_good]), _told(bits[~is_good]))
    Console(width=120).print(table)


def _published(path: Path) -> tuple[Code, npt.NDArray[np.int64]]:
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    codes = [np.frombuffer(bytes.fromhex(row[2]), np.uint8) for row in rows]
    return np.stack(codes), np.array([int(row[1]) for row in rows])


def _told(bits: npt.NDArray[Any]) -> str:
    return f"{bits.mean():.1f}, {bits.max()} ({len(bits)} frames)" if len(bits) else "-"


def _decoded(clip: Path) -> list[Frame]:
    with av.open(str(clip)) as container:
        return list(container.decode(container.streams.video[0]))


def _luma(frame: Frame) -> Code:
    """What a scan computes."""
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    luma = luma[: frame.height, : frame.width]
    full = frame.color_range == video.FULL_RANGE
    return LumaHasher(luma.shape).glance(luma, limited_range=not full).code


def _rgb(frame: Frame) -> Code:
    """The exact code of the RGB that FFmpeg gives on this machine, as the reference hashes it."""
    return pdq.hash_pixels(frame.to_ndarray(format="rgb24"))[0]


def _rgb_rounded(frame: Frame) -> Code:
    """The same of RGB that was rounded with care (SWS_BICUBIC | SWS_ACCURATE_RND)."""
    return pdq.hash_pixels(frame.reformat(format="rgb24", interpolation=0x40004).to_ndarray())[0]


_WAYS: Final[dict[str, Callable[[Frame], Code]]] = {
    "luma": _luma,
    "RGB, quickly": _rgb,
    "RGB, accurately rounded": _rgb_rounded,
}

if __name__ == "__main__":
    typer.run(compare)
