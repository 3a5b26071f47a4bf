"""The segment that is written to: frames at its end, durable or cut off again."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from pipeline.ingest.upload_log import segments
from pipeline.ingest.upload_log.folder import Tail, segment_path, sync, write_tail
from pipeline.ingest.upload_log.frames import Prepared
from pipeline.ingest.upload_log.segments import Position

_BUFFERS: Final = 512  # of one system call; Linux takes 1,024


class OpenSegment:
    """One after another, each begun when its writer says. For one thread."""

    def __init__(self, folder: Path, number: int, rows_before: int) -> None:
        """Begin segment `number`, which has so many rows before it.

        Raises:
            OSError: there is no room for it.
        """
        self._folder = folder
        self._rows, self._length = 0, 0
        self._tail = os.open(folder / "tail", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._begin(number, rows_before)
        except OSError:
            os.close(self._tail)
            raise

    @property
    def next(self) -> Position:
        """Of the next row."""
        return Position(self._header.number, self._rows)

    @property
    def length(self) -> int:
        """Bytes of it that are on disk."""
        return self._length

    def write(self, parts: Sequence[Prepared]) -> None:
        """Write frames at the end; durable, and the reader's to see, when this returns.

        Raises:
            OSError: they may be there in part: `cut_back`.
        """
        buffers: list[bytes | pa.Buffer] = []
        rows = self._rows
        for part in parts:
            head = segments.frame_header(
                self._header, part.body.size, part.body_crc, rows, self._length, part.digests
            )
            buffers += [head, part.body]
            rows += len(part.digests)
        if buffers:
            end = _write_all(self._handle, buffers, self._length)
            os.fdatasync(self._handle)
            self._rows, self._length = rows, end
            self._publish()

    def cut_back(self) -> None:
        """End where it did before a failed write.

        What an fsync has failed for is on disk or not, nobody knows: it is cut off.

        Raises:
            OSError: that fails too; nothing is known of its end any more.
        """
        os.ftruncate(self._handle, self._length)
        os.fsync(self._handle)

    def roll(self) -> None:
        """Begin the next one.

        Raises:
            OSError: there is no room for it; this one goes on.
        """
        before = self._handle
        self._begin(self._header.number + 1, self._header.rows_before + self._rows)
        os.close(before)

    def close(self) -> None:
        """Close it."""
        os.close(self._handle)
        os.close(self._tail)

    def _begin(self, number: int, rows_before: int) -> None:
        """Make a segment: it is there whole, or not at all."""
        header, data = segments.new_header(number, rows_before)
        path = segment_path(self._folder, number)
        unfinished = path.with_name(path.name + ".new")
        handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(handle, [data], 0)
            os.fsync(handle)
            os.replace(unfinished, path)
            sync(self._folder)
        except OSError:
            os.close(handle)
            unfinished.unlink(missing_ok=True)
            raise
        self._handle, self._header = handle, header
        self._rows, self._length = 0, header.length
        self._publish()

    def _publish(self) -> None:
        header = self._header
        write_tail(self._tail, Tail(header.number, self._rows, self._length, header.rows_before))


def _write_all(handle: int, buffers: Sequence[bytes | pa.Buffer], start: int) -> int:
    """Write all buffers from `start` on; where they end."""
    for first in range(0, len(buffers), _BUFFERS):
        part = [memoryview(buffer) for buffer in buffers[first : first + _BUFFERS]]
        while part:
            written = os.pwritev(handle, part, start)
            if written == 0:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            start += written
            while part and written >= part[0].nbytes:
                written -= part.pop(0).nbytes
            if written:
                part[0] = part[0][written:]
    return start
