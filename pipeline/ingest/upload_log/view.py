"""The log's segments as the reader sees them: as far as they are on disk, whole or damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.ingest.upload_log import segments
from pipeline.ingest.upload_log.folder import (
    Consumed,
    Tail,
    read_tail,
    segment_numbers,
    segment_path,
)
from pipeline.ingest.upload_log.segments import Frame, Gap, Header, NotASegment, Position


@dataclass(frozen=True)
class Piece:
    """A frame or a gap, and the rows of the segment that it stands for."""

    what: Frame | Gap
    first_row: int
    end_row: int


@dataclass(frozen=True)
class Segment:
    """A segment that is open; `rows` and `length` as far as it is on disk."""

    header: Header
    handle: int
    rows: int
    length: int

    def pieces(self, start: int = 0, first_row: int = 0) -> Iterator[Piece]:
        """All that lies in it, each row in one piece.

        Args:
            start: where a piece begins; 0 for the first.
            first_row: of that piece.
        """
        found = segments.frames(
            self.handle, self.header, start or self.header.length, self.length, first_row
        )
        for what in found:
            if isinstance(what, Frame):
                end_row = what.first_row + what.rows
            else:
                end_row = self.rows if what.next_row is None else what.next_row
            yield Piece(what, first_row, end_row)
            first_row = end_row
        if first_row < self.rows:  # rows that no byte is left of
            yield Piece(Gap(self.length, self.length, None), first_row, self.rows)


class LogView:
    """Opens segments, and counts rows across them."""

    def __init__(self, folder: Path) -> None:
        """Look at the log in `folder`."""
        self._folder = folder
        self._tail = Tail(0, 0, 0, 0)
        self._open: tuple[Header, int] | None = None

    def tail(self) -> Tail:
        """How far the log is on disk; while it is being written, how far it last was."""
        self._tail = read_tail(self._folder) or self._tail
        return self._tail

    def first(self) -> Consumed | None:
        """The beginning of what the log still has; None if it has nothing."""
        for number in segment_numbers(self._folder):
            if (header := self._header(number)) is not None:
                return Consumed(Position(number, 0), header.rows_before)
        return None

    def segment(self, number: int) -> Segment | None:
        """A segment, open until another one is; None if it cannot be read at all."""
        if self._open is None or self._open[0].number != number:
            self.close()
            self._open = _opened(segment_path(self._folder, number))
            if self._open is None:
                return None
        header, handle = self._open
        tail = self.tail()
        if number == tail.segment:
            return Segment(header, handle, tail.rows, tail.length)
        # A segment is complete before the next one begins.
        length = os.fstat(handle).st_size
        following = self._header(number + 1)
        if following is not None:
            return Segment(header, handle, following.rows_before - header.rows_before, length)
        return Segment(header, handle, _rows_counted(header, handle, length), length)

    def rows_before(self, number: int, consumed: Consumed) -> int:
        """Rows in all segments before one, also if its own header cannot be read."""
        header = self._header(number)
        if header is not None:
            return header.rows_before
        if number == consumed.position.segment:
            return consumed.rows_before
        earlier = self.segment(number - 1)
        if earlier is not None:
            return earlier.header.rows_before + earlier.rows
        for one in range(number + 1, self.tail().segment + 1):
            if (header := self._header(one)) is not None:
                return header.rows_before
        return self._tail.rows_before + self._tail.rows

    def bytes_after(self, position: Position) -> int:
        """Bytes of the log from a position on, about: a segment's begun part counts by its rows."""
        tail = self.tail()
        total = 0
        for number in range(position.segment, tail.segment + 1):
            try:
                length = segment_path(self._folder, number).stat().st_size
            except FileNotFoundError:
                continue
            if number == position.segment and (found := self.segment(number)) and found.rows:
                length = length * (found.rows - position.record) // found.rows
            total += length
        return total

    def close(self) -> None:
        """Close what is open."""
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def _header(self, number: int) -> Header | None:
        if self._open is not None and self._open[0].number == number:
            return self._open[0]
        opened = _opened(segment_path(self._folder, number))
        if opened is None:
            return None
        os.close(opened[1])
        return opened[0]


def _opened(path: Path) -> tuple[Header, int] | None:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return segments.read_header(handle), handle
    except NotASegment:
        os.close(handle)
        return None


def _rows_counted(header: Header, handle: int, length: int) -> int:
    rows = 0
    for piece in segments.frames(handle, header, header.length, length, 0):
        if isinstance(piece, Frame):
            rows = piece.first_row + piece.rows
    return rows
