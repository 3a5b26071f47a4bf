"""What is consumed leaves the log: rows at once, segments once they hold nothing else."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from matchers.files import write_json
from pipeline.ingest.upload_log.folder import (
    damage_path,
    remove_bytes,
    segment_numbers,
    segment_path,
    set_aside_path,
    sync,
)
from pipeline.ingest.upload_log.segments import Frame, Position, removed_header
from pipeline.ingest.upload_log.view import LogView, Segment

_KEPT_SEGMENTS: Final = 2
"""Newest segments that stay also when they are consumed, without their rows: the writer knows
repeats by their digests, and rows whose acknowledgement was lost are among the newest."""

_log = logging.getLogger(__name__)


class Removal:
    """Follows the reader; begins anew after a crash, which does no harm."""

    def __init__(self, folder: Path) -> None:
        """Of the log in `folder`."""
        self._folder = folder
        self._view = LogView(folder)
        self._segment, self._offset, self._row = 0, 0, 0
        self._can_punch = True

    def up_to(self, consumed: Position) -> None:
        """Remove all before `consumed`."""
        newest = self._view.tail().segment
        for number in segment_numbers(self._folder):
            if number > consumed.segment:
                break
            if number >= self._segment:
                self._remove_rows(number, consumed)
            if number < consumed.segment and number <= newest - _KEPT_SEGMENTS:
                self._drop(number)

    def note_damage(self, number: int, start: int, end: int, rows: int) -> None:
        """Keep what is known of a damage, and say it aloud; once, however often it is met."""
        path = damage_path(self._folder, number)
        known: dict[str, Any] = {"damages": []}
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = json.loads(path.read_text(encoding="utf-8"))
        note = {"start_bytes": start, "end_bytes": end, "lost_rows": rows}
        if note in known["damages"]:
            return
        _log.error(
            "segment %d of the upload log is damaged: %d acknowledged uploads are lost; it is set "
            "aside as %s once the rest of it is scanned",
            number,
            rows,
            set_aside_path(self._folder, number).name,
        )
        write_json(path, {"damages": [*known["damages"], note]})

    @property
    def place(self) -> tuple[int, int, int]:
        """Segment, byte and row up to which all is removed."""
        return self._segment, self._offset, self._row

    def close(self) -> None:
        """Close what is open."""
        self._view.close()

    def _remove_rows(self, number: int, consumed: Position) -> None:
        if number != self._segment:
            self._segment, self._offset, self._row = number, 0, 0
        segment = self._view.segment(number)
        if segment is None:
            return
        run: list[Frame] = []
        removed: Frame | None = None
        for piece in segment.pieces(self._offset, self._row):
            if number == consumed.segment and piece.end_row > consumed.record:
                break
            self._offset, self._row = piece.what.end, piece.end_row
            if isinstance(piece.what, Frame) and not piece.what.is_removed:
                run.append(piece.what)
                continue
            self._remove(segment, run)
            run = []
            if isinstance(piece.what, Frame):
                removed = piece.what
            elif not damage_path(self._folder, number).exists():
                self._punch(segment.handle, piece.what.start, piece.what.end)
        if removed is not None:  # only after a start: a crash may have come before the hole
            self._punch(segment.handle, removed.body, removed.end)
        self._remove(segment, run)

    def _remove(self, segment: Segment, run: list[Frame]) -> None:
        """Adjacent frames become one without rows. One hole for all: each takes milliseconds."""
        if run:
            data = removed_header(segment.header, run)
            os.pwrite(segment.handle, data, run[0].start)
            self._punch(segment.handle, run[0].start + len(data), run[-1].end)

    def _punch(self, handle: int, start: int, end: int) -> None:
        if start < end and not remove_bytes(handle, start, end) and self._can_punch:
            self._can_punch = False
            _log.warning(
                "the upload log's file system cannot punch holes: what is scanned is overwritten "
                "at once, but its space comes back with the end of its segment. Smaller segments "
                "(--segment-mib) give it back sooner"
            )

    def _drop(self, number: int) -> None:
        """A consumed segment goes; one with damage is set aside for whoever looks into it."""
        path = segment_path(self._folder, number)
        if damage_path(self._folder, number).exists():
            os.replace(path, set_aside_path(self._folder, number))
        else:
            os.unlink(path)
        sync(self._folder)
