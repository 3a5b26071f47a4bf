"""The log's one reader: takes rows in order, and removes them once they have their outcomes."""

from __future__ import annotations

import datetime as dt
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from pipeline.ingest.upload_log import segments
from pipeline.ingest.upload_log.folder import Consumed, ConsumedFile, lock, prepare
from pipeline.ingest.upload_log.removal import Removal
from pipeline.ingest.upload_log.segments import FIRST, UPLOADS, Frame, Gap, Position
from pipeline.ingest.upload_log.view import LogView, Piece

POLL_SECONDS: Final = 0.005
"""Between two looks for new rows."""

_NOTHING: Final = pa.RecordBatch.from_pylist([], UPLOADS)


@dataclass(frozen=True)
class Taken:
    """Rows from the log.

    Attributes:
        batch: of schema `UPLOADS`; empty if all that was there is lost.
        next: where to go on, and what to advance to once all of this has outcomes.
        lost_rows: acknowledged rows on the way that are damaged; they need an outcome too.
    """

    batch: pa.RecordBatch
    next: Position
    lost_rows: int = 0


@dataclass(frozen=True)
class Backlog:
    """What waits in the log.

    Attributes:
        rows: not yet advanced over.
        bytes: of those, about.
        oldest_received_at: when the front door took the first of them; None if there is none, or
            it is damaged.
    """

    rows: int
    bytes: int
    oldest_received_at: dt.datetime | None


class UploadLogReader:
    """Consumes a log. For one thread."""

    def __init__(self, folder: Path) -> None:
        """Open the log where the last reader left it.

        Raises:
            LogRefused: another process reads it, or it is no log.
            LogDamaged: where the last reader was is not known.
        """
        prepare(folder)
        self._lock = lock(folder, "reader")
        try:
            self._consumed = ConsumedFile(folder)
        except BaseException:
            os.close(self._lock)
            raise
        self._view = LogView(folder)
        first = self._view.first() if self._consumed.is_new else None
        if first is not None and first.position > FIRST:
            self._consumed.write(first)
        self._removal = Removal(folder)
        self._cursor = (0, 0, 0)  # segment, byte and row of a piece at or before what is read
        self._held: tuple[int, Piece, pa.RecordBatch | None] | None = None
        self._oldest: tuple[Position, dt.datetime | None] | None = None
        self._removal.up_to(self.position)  # what a crash may have left

    @property
    def position(self) -> Position:
        """Where the log is consumed up to; survives a crash."""
        return self._consumed.value.position

    def read(
        self, after: Position, max_rows: int, max_bytes: int, wait_seconds: float
    ) -> Taken | None:
        """The next rows from `after` on; None if none come in time.

        Args:
            after: `position`, or the `next` of what was taken before.
            max_rows: at most so many.
            max_bytes: of their contents; a single larger one comes by itself.
            wait_seconds: how long to wait for the first of them.

        Raises:
            ValueError: what lies before `position` is gone.
        """
        if after < self.position:
            raise ValueError("this part of the log is consumed")
        deadline = time.monotonic() + wait_seconds
        while (taken := self._take(after, max_rows, max_bytes)) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            time.sleep(min(POLL_SECONDS, left))
        return taken

    def advance(self, to: Position) -> None:
        """All before `to` has its outcome: durable, then it is removed. Never goes backwards."""
        if to <= self.position:
            return
        rows_before = self._view.rows_before(to.segment, self._consumed.value)
        self._consumed.write(Consumed(to, rows_before))
        self._removal.up_to(to)
        self._cursor = max(self._cursor, self._removal.place)

    def backlog(self) -> Backlog:
        """What waits to be advanced over."""
        tail, consumed = self._view.tail(), self._consumed.value
        rows = tail.rows_before + tail.rows - consumed.rows_before - consumed.position.record
        if rows <= 0:
            return Backlog(0, 0, None)
        return Backlog(rows, self._view.bytes_after(self.position), self._oldest_received_at())

    def close(self) -> None:
        """Let another reader in."""
        self._view.close()
        self._removal.close()
        self._consumed.close()
        os.close(self._lock)

    def _oldest_received_at(self) -> dt.datetime | None:
        if self._oldest is None or self._oldest[0] != self.position:
            taken = self._take(self.position, 1, 1)
            known = taken is not None and taken.batch.num_rows > 0
            when = taken.batch["received_at"][0].as_py() if taken is not None and known else None
            self._oldest = self.position, when
        return self._oldest[1]

    def _take(self, after: Position, max_rows: int, max_bytes: int) -> Taken | None:
        batches: list[pa.RecordBatch] = []
        at, rows, size, lost = after, 0, 0, 0
        while rows < max_rows and (found := self._find(at)) is not None:
            at, piece = found
            batch = self._rows_of(at.segment, piece)
            if batch is None:
                lost += piece.end_row - at.record
                at = Position(at.segment, piece.end_row)
                continue
            wanted = batch.slice(at.record - piece.first_row, max_rows - rows)
            count, taken = _fitting(wanted, max_bytes - size, at_least_one=not batches)
            if count == 0:
                break
            batches.append(wanted.slice(0, count))
            rows, size, at = rows + count, size + taken, Position(at.segment, at.record + count)
        if not rows and not lost:
            return None
        if len(batches) <= 1:
            return Taken(batches[0] if batches else _NOTHING, at, lost)
        table = pa.Table.from_batches(batches, UPLOADS).combine_chunks()
        return Taken(table.to_batches()[0], at, lost)

    def _find(self, at: Position) -> tuple[Position, Piece] | None:
        """What lies at a position, or where the next segment begins; None if nothing does yet."""
        newest = self._view.tail().segment
        while at.segment <= newest:
            segment = self._view.segment(at.segment)
            if segment is None:
                if (gap := self._lost_segment(at)) is not None:
                    return at, gap
            elif at.record < segment.rows:
                number, start, first_row = self._cursor
                if number != at.segment or first_row > at.record:
                    start, first_row = 0, 0
                pieces = segment.pieces(start, first_row)
                piece = next(one for one in pieces if at.record < one.end_row)
                self._cursor = at.segment, piece.what.start, piece.first_row
                return at, piece
            if at.segment == newest:
                return None
            at = Position(at.segment + 1, 0)
        return None

    def _lost_segment(self, at: Position) -> Piece | None:
        """The rest of a segment that is not there, or whose header is damaged."""
        consumed = self._consumed.value
        first = self._view.rows_before(at.segment, consumed)
        end_row = self._view.rows_before(at.segment + 1, consumed) - first
        return Piece(Gap(0, 0, None), at.record, end_row) if at.record < end_row else None

    def _rows_of(self, number: int, piece: Piece) -> pa.RecordBatch | None:
        """A piece's rows; None, and a note of it, if they are damaged."""
        if self._held is None or self._held[:2] != (number, piece):
            segment = self._view.segment(number)
            buffer = None
            if isinstance(piece.what, Frame) and segment is not None:
                buffer = segments.body(segment.handle, piece.what)
            if buffer is None:
                lost = piece.end_row - piece.first_row
                self._removal.note_damage(number, piece.what.start, piece.what.end, lost)
            self._held = number, piece, None if buffer is None else segments.rows(buffer)
        return self._held[2]


def _fitting(batch: pa.RecordBatch, most_bytes: int, *, at_least_one: bool) -> tuple[int, int]:
    """How many of the first rows have at most so many bytes of content, and how many they have."""
    size = 0
    for row, content in enumerate(batch["content"]):
        length = content.as_buffer().size if content.is_valid else 0
        if size + length > most_bytes and not (row == 0 and at_least_one):
            return row, size
        size += length
    return batch.num_rows, size
