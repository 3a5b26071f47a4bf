"""Folders of videos and published vPDQ lists -> the rows of a vpdq set."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from matchers import fingerprints, limits, media, video
from matchers.errors import IndicatorSetError
from matchers.indicators.build import Left, head, table
from matchers.pictures import RENDERINGS

_LIST_SUFFIXES: Final = frozenset({".txt", ".csv", ".vpdq"})


def from_videos(
    source: Path, min_quality: int, progress: Callable[[int, int], None] | None = None
) -> tuple[pa.Table, list[Left]]:
    """Frame codes of every file: a video, or a vPDQ list (`frame,quality,hash`, one line a frame).

    Each file is one indicator, named after its path. Of a video those frames are taken that a scan
    would keep (`sampling`); equal codes count once, as in the reference. One of fewer than
    `limits.MIN_VPDQ_FRAMES` is left out.

    Args:
        source: a folder, at any depth, or one file.
        min_quality: frames below it are left out: they would match nearly anything or nothing.
        progress: called with (files done, files in all).

    Returns:
        The rows, and the files that were left out. A damaged video is left out whole: a share of
        what is left of it would mean something else.

    Raises:
        IndicatorSetError: a list is not of that form, or no file gave an indicator.
    """
    folder = source if source.is_dir() else source.parent
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = paths if source.is_dir() else [source]
    names: list[str] = []
    values: list[bytes] = []
    left: list[Left] = []
    for done, path in enumerate(paths, 1):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() in _LIST_SUFFIXES:
            codes, reason = _listed(path, min_quality), None
        else:
            codes, reason = _filmed(path, min_quality)
        distinct = list(dict.fromkeys(codes))
        reason = reason or _reason_to_leave(name, len(distinct), min_quality)
        if reason:
            left.append(Left(name, reason))
        else:
            names += [name] * len(distinct)
            values += distinct
        if progress:
            progress(done, len(paths))
    if not names:
        raise IndicatorSetError(f"{source} gave no indicator: no file in it is a usable video")
    return table("vpdq", names, values), left


def _reason_to_leave(name: str, frames: int, min_quality: int) -> str | None:
    if len(name.encode()) > limits.MAX_INDICATOR_ID_BYTES:
        return f"name exceeds {limits.MAX_INDICATOR_ID_BYTES} bytes"
    if frames > limits.MAX_VPDQ_FRAMES:
        return f"more than {limits.MAX_VPDQ_FRAMES:,} frames"
    if not frames:
        return f"no frame of quality {min_quality} or more"
    if frames < limits.MIN_VPDQ_FRAMES:
        return (
            f"too few frames: {frames} that differ, of at least {limits.MIN_VPDQ_FRAMES}; list its "
            "pictures in a pdq set"
        )
    return None


def _filmed(path: Path, min_quality: int) -> tuple[list[bytes], str | None]:
    """Codes of a video's frames as they are shown, and why it is left out."""
    if media.claimed(head(path)) == "image":
        return [], "a picture, not a video"
    found, reason = fingerprints.of_pictures(video.frames(path.read_bytes()), "plain")
    if found is None or reason:
        return [], reason or "no frame"
    is_shown = found.renderings[found.frame] == RENDERINGS.index("as_shown")
    in_time = ~np.isnan(found.frames[found.frame, 0])  # else a cover picture
    usable = is_shown & in_time & (found.quality >= min_quality)
    return [code.tobytes() for code in found.codes[usable]], None


def _listed(path: Path, min_quality: int) -> list[bytes]:
    """Codes of a list as the reference writes it (ThreatExchange vpdq/sample-hashes).

    Raises:
        IndicatorSetError: naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IndicatorSetError(f"{path} cannot be read as UTF-8 text: {error}") from error
    codes = []
    for number, row in enumerate(csv.reader(lines), 1):
        if not row or row[0].startswith("#"):
            continue
        try:
            quality, code = int(row[1]), bytes.fromhex(row[2].strip())
        except (IndexError, ValueError):
            quality, code = -1, b""
        if not 0 <= quality <= 100 or len(code) != limits.PDQ_BYTES:
            raise IndicatorSetError(
                f"{path} line {number}: a frame is its number, its quality (0 to 100) and its "
                f"code ({2 * limits.PDQ_BYTES} hex digits), with commas between"
            )
        if quality >= min_quality:
            codes.append(code)
    return codes
