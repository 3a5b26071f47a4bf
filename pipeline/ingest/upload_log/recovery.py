"""What a writer finds when it opens a log that was not closed: a torn tail is cut off, and said."""

from __future__ import annotations

import contextlib
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.ingest.upload_log import segments
from pipeline.ingest.upload_log.folder import (
    read_consumed,
    read_tail,
    segment_numbers,
    segment_path,
)
from pipeline.ingest.upload_log.segments import Frame, Gap, NotASegment

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recovered:
    """How a log was found.

    Attributes:
        next_segment: number of the first segment of the new writer.
        rows_before: rows in all segments before it.
        torn_bytes: cut off the end; none of it was ever acknowledged.
        damaged_segments: with damage before the end.
        digests: of the newest rows, oldest first.
    """

    next_segment: int
    rows_before: int
    torn_bytes: int
    damaged_segments: tuple[int, ...]
    digests: OrderedDict[bytes, None]


def recover(folder: Path, most_digests: int) -> Recovered:
    """Look over the newest segment, cut off its torn tail, and read the newest rows' digests.

    A writer begins a segment of its own, so that a reader's place in an older one never names
    another row than it did.
    """
    for unfinished in folder.glob("*.uploads.new"):
        unfinished.unlink()
    numbers = segment_numbers(folder)
    tail = read_tail(folder)
    rows_before = tail.rows_before + tail.rows if tail else 0
    # The reader may have moved a damaged last segment out of the way: its number stays used.
    used = [*numbers, *(int(p.name[:8]) for p in folder.glob("[0-9]*.damaged"))]
    last = max([*used, tail.segment if tail else 0])
    torn = 0
    damaged: tuple[int, ...] = ()
    if numbers and numbers[-1] == last:
        try:
            consumed = read_consumed(folder)
            done = consumed.position.record if consumed.position.segment == last else 0
            torn, rows_before, is_damaged = _close(segment_path(folder, last), done)
        except NotASegment as error:
            _log.error("segment %d cannot be read: %s; its rows are lost", last, error)
            is_damaged = True
        damaged = (last,) if is_damaged else ()
    if torn:
        _log.warning(
            "the log was not closed: %d bytes at its end, never acknowledged, are cut off", torn
        )
    return Recovered(
        last + 1, rows_before, torn, damaged, _newest_digests(folder, numbers, most_digests)
    )


def _close(path: Path, consumed: int) -> tuple[int, int, bool]:
    """Cut off the torn tail.

    Args:
        path: the last segment.
        consumed: rows of it whose bytes may be gone.

    Returns:
        How many bytes are cut off, rows in the log up to here, whether there is damage before.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        header = segments.read_header(handle)
        length = os.fstat(handle).st_size
        found = list(segments.frames(handle, header, header.length, length, 0))
        whole, is_damaged = _whole(handle, found, consumed)
        end = whole[-1].end if whole else header.length
        rows = max(whole[-1].first_row + whole[-1].rows if whole else 0, consumed)
        if end < length:
            os.ftruncate(handle, end)
        os.fsync(handle)
    finally:
        os.close(handle)
    if is_damaged:
        _log.error("segment %d is damaged; the scan says what is lost", header.number)
    return length - end, header.rows_before + rows, is_damaged


def _whole(handle: int, found: Iterable[Frame | Gap], consumed: int) -> tuple[list[Frame], bool]:
    """The frames to keep, and whether there is damage among them.

    A bad place is a torn write, unless a whole frame behind it was written when the bad place was
    already on disk: then it was whole once, and only what it held is lost.
    """
    kept: list[Frame] = []
    bad_at: int | None = None
    is_damaged = False
    for piece in found:
        if isinstance(piece, Gap) and piece.next_row is not None and piece.next_row <= consumed:
            continue  # a hole, whose header did not come to the disk before the power went
        if isinstance(piece, Frame) and (
            piece.first_row + piece.rows <= consumed or segments.body(handle, piece) is not None
        ):
            if bad_at is not None and piece.durable_bytes <= bad_at:
                break
            is_damaged |= bad_at is not None
            bad_at = None
            kept.append(piece)
        elif bad_at is None:
            bad_at = piece.start
    return kept, is_damaged


def _newest_digests(folder: Path, numbers: list[int], most: int) -> OrderedDict[bytes, None]:
    newest: list[list[bytes]] = []
    count = 0
    for number in reversed(numbers):
        with contextlib.suppress(FileNotFoundError, NotASegment):  # the reader goes on meanwhile
            digests = _digests(segment_path(folder, number))
            newest.append(digests)
            count += len(digests)
        if count >= most:
            break
    ordered = [digest for digests in reversed(newest) for digest in digests]
    return OrderedDict.fromkeys(ordered[-most:])


def _digests(path: Path) -> list[bytes]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = segments.read_header(handle)
        length = os.fstat(handle).st_size
        found = segments.frames(handle, header, header.length, length, 0)
        return [digest for piece in found if isinstance(piece, Frame) for digest in piece.digests]
    finally:
        os.close(handle)
