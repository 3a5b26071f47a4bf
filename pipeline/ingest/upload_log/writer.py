"""The log's one writer: appends of many callers share a write and an fsync.

A row that is already among the newest ones, the same in all it says and holds, is not written
again: whoever did not see an acknowledgement sends once more, and the log still has it once.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa

from pipeline.errors import SluisError
from pipeline.ingest.upload_log import frames
from pipeline.ingest.upload_log.folder import (
    LogFault,
    LogFull,
    bytes_on_disk,
    is_full,
    lock,
    prepare,
)
from pipeline.ingest.upload_log.frames import Prepared
from pipeline.ingest.upload_log.open_segment import OpenSegment
from pipeline.ingest.upload_log.recovery import recover
from pipeline.ingest.upload_log.segments import Position

SEGMENT_BYTES: Final = 64 * 1024 * 1024
QUOTA_BYTES: Final = 16 * 1024**3
MOST_SEGMENT_BYTES: Final = 1024**3  # lengths in a frame have 32 bits

_GROUP_BYTES: Final = 16 * 1024 * 1024
"""Of one write and fsync; one append may have more."""
_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Of appends that wait; then callers do."""
_SPARE_BYTES: Final = 128 * 1024 * 1024
"""Of the disk, left for the scan: it needs some to say what is done, which makes room."""
_DIGESTS: Final = 200_000
"""Newest rows by which repeats are known, 30 MB: far more than can be under way at once."""

_log = logging.getLogger(__name__)


class LogClosed(SluisError):  # noqa: N818 - reads as the outcome it is
    """The log takes nothing more."""


@dataclass(frozen=True)
class Appended:
    """What became of an append.

    Attributes:
        next: of the row after it.
        is_repeat: for each row, whether the log had it already.
    """

    next: Position
    is_repeat: list[bool]


@dataclass
class _Append:
    frames: list[Prepared]
    size: int
    done: Future[Appended] = field(default_factory=Future)


class UploadLog:
    """Appends to a log. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        quota_bytes: int = QUOTA_BYTES,
        spare_bytes: int = _SPARE_BYTES,
        clock: Callable[[], dt.datetime],
    ) -> None:
        """Open or make the log, and recover it if it was not closed.

        Args:
            folder: of the log alone.
            segment_bytes: after which a new segment begins.
            quota_bytes: of the whole folder on disk; an append beyond it is refused.
            spare_bytes: left free on the disk.
            clock: stamps rows that have no `received_at`.

        Raises:
            LogRefused: another process writes to it, or it is no log.
            LogFull: there is no room for an empty segment.
        """
        if not 0 < segment_bytes <= MOST_SEGMENT_BYTES:
            raise ValueError(f"a segment has 1 to {MOST_SEGMENT_BYTES} bytes")
        self._folder = folder
        self._key = prepare(folder)
        self._lock = lock(folder, "writer")
        self._segment_bytes = segment_bytes
        self._quota_bytes = quota_bytes
        self._spare_bytes = spare_bytes
        self._clock = clock
        self.recovered = recover(folder, _DIGESTS)
        self._newest: OrderedDict[bytes, None] = self.recovered.digests
        try:
            self._segment = OpenSegment(
                folder, self.recovered.next_segment, self.recovered.rows_before
            )
        except OSError as error:
            os.close(self._lock)
            raise _no_room(error) from error
        self._fault: str | None = None
        self._waiting: deque[_Append] = deque()
        self._waiting_bytes = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="upload-log", daemon=True)
        self._thread.start()

    @property
    def is_well(self) -> bool:
        """Whether appends can still succeed."""
        return self._fault is None and self._thread.is_alive()

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self._folder

    @property
    def waiting_bytes(self) -> int:
        """Of appends that wait for the disk."""
        return self._waiting_bytes

    def append(self, batch: pa.RecordBatch) -> Position:
        """Append rows; they are on disk when this returns, all or none.

        Raises:
            LogFull, LogFault, LogClosed: see `submit`.
        """
        return self.submit(batch).result().next

    def submit(self, batch: pa.RecordBatch) -> Future[Appended]:
        """Append rows; the result comes once they are on disk. Waits while much else waits.

        The result may be LogFull (quota or disk), LogFault (the disk failed) or LogClosed.

        Raises:
            ValueError: another schema than `UPLOADS`.
        """
        prepared = frames.prepare(batch, self._key, self._clock())
        one = _Append(prepared, sum(part.body.size for part in prepared))
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closing
                    or not self._waiting
                    or self._waiting_bytes + one.size <= _WAITING_BYTES
                )
            )
            if self._closing:
                one.done.set_exception(_closed())
                return one.done
            self._waiting.append(one)
            self._waiting_bytes += one.size
            self._changed.notify_all()
        return one.done

    def close(self) -> None:
        """Write what waits, and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._segment.close()
        os.close(self._lock)

    def _run(self) -> None:
        try:
            while group := self._next_group():
                try:
                    self._commit(group)
                except BaseException as error:
                    _log.exception("the upload log has failed")
                    self._fault = type(error).__name__
                    for one in group:  # every waiting caller must hear of it
                        if not one.done.done():
                            one.done.set_exception(_broken(self._fault))
                    if not isinstance(error, Exception):
                        raise
        finally:
            with self._changed:
                self._closing = True
                while self._waiting:
                    one = self._waiting.popleft()
                    if one.done.set_running_or_notify_cancel():
                        one.done.set_exception(_closed())
                self._changed.notify_all()

    def _next_group(self) -> list[_Append]:
        """What is written next; empty once the log is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            group: list[_Append] = []
            size = 0
            while self._waiting and (not group or size + self._waiting[0].size <= _GROUP_BYTES):
                one = self._waiting.popleft()
                size += one.size
                if one.done.set_running_or_notify_cancel():  # else its caller has gone
                    group.append(one)
            self._waiting_bytes -= size
            self._changed.notify_all()
            if not group and (self._waiting or not self._closing):
                return self._next_group()
            return group

    def _commit(self, group: list[_Append]) -> None:
        """Write a group, make it durable, and tell its callers."""
        if self._fault is not None:
            for one in group:
                one.done.set_exception(_broken(self._fault))
            return
        added: list[bytes] = []
        try:
            if self._segment.next.record and self._segment.length >= self._segment_bytes:
                self._segment.roll()
            repeats, group = self._fitting(group, added)
            self._segment.write([part for one in group for part in one.frames])
        except OSError as error:
            self._undo(added)
            fault: SluisError = _no_room(error) if is_full(error) else _failed(error)
            for one in group:
                if not one.done.done():
                    one.done.set_exception(fault)
            return
        while len(self._newest) > _DIGESTS:
            self._newest.popitem(last=False)
        for one, is_repeat in zip(group, repeats, strict=True):
            one.done.set_result(Appended(self._segment.next, is_repeat))

    def _undo(self, added: list[bytes]) -> None:
        """A write has failed: its rows are no repeats, and its bytes are cut off."""
        for digest in added:
            self._newest.pop(digest, None)
        try:
            self._segment.cut_back()
        except OSError as error:
            _log.exception("the upload log cannot be cut back")
            self._fault = type(error).__name__

    def _fitting(
        self, group: list[_Append], added: list[bytes]
    ) -> tuple[list[list[bool]], list[_Append]]:
        """Drop repeats, then refuse what the quota or the disk has no room for."""
        room, why = self._room()
        repeats, fitting = [], []
        for one in group:
            is_repeat: list[bool] = []
            kept: list[Prepared] = []
            mine: list[bytes] = []
            for part in one.frames:
                dropped = []
                for digest in part.digests:
                    dropped.append(digest in self._newest)
                    if not dropped[-1]:
                        self._newest[digest] = None
                        mine.append(digest)
                is_repeat += dropped
                if (left := frames.without(part, dropped)) is not None:
                    kept.append(left)
            size = sum(part.body.size for part in kept)
            if size > room:
                for digest in mine:
                    del self._newest[digest]
                one.done.set_exception(LogFull(why))
                continue
            room -= size
            added += mine
            one.frames = kept
            repeats.append(is_repeat)
            fitting.append(one)
        return repeats, fitting

    def _room(self) -> tuple[int, str]:
        """Bytes that may still be written, and what to do once they are."""
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize - self._spare_bytes
        quota = self._quota_bytes - bytes_on_disk(self._folder)
        if free < quota:
            return free, (
                f"the disk of {self._folder} is full but for {self._spare_bytes:,} bytes that the "
                "scan needs: see that `sluis ingest scan` runs and keeps up, or make room"
            )
        return quota, (
            f"{self._folder} has its quota of {self._quota_bytes:,} bytes: see that `sluis ingest "
            "scan` runs and keeps up, or give the log more"
        )


def _closed() -> LogClosed:
    return LogClosed("the upload log is closed")


def _no_room(error: OSError) -> LogFull:
    return LogFull(
        f"the disk of the upload log takes nothing more ({os.strerror(error.errno or 0)}): make "
        "room, and see that `sluis ingest scan` runs and keeps up"
    )


def _failed(error: OSError) -> LogFault:
    return LogFault(
        f"the disk of the upload log has failed ({os.strerror(error.errno or 0)}): look after it"
    )


def _broken(kind: str) -> LogFault:
    return LogFault(
        f"the upload log has failed ({kind}) and takes nothing more: look after its disk, then "
        "start the front door again"
    )
