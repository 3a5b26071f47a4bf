"""The log's folder: which files are what, whose it is, how far it is on disk.

    LOG/log.json              the format, and the key of the rows' digests
    LOG/NNNNNNNN.uploads      segments; the last one is written to
    LOG/NNNNNNNN.damage.json  what of a segment is damaged, once that was seen
    LOG/NNNNNNNN.damaged      such a segment, set aside once all else of it is consumed
    LOG/tail                  how far the last segment is on disk
    LOG/consumed              how far the reader is
    LOG/writer.lock  LOG/reader.lock

The two processes share nothing but these files.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from matchers.files import write_json
from pipeline.errors import SluisError
from pipeline.ingest.upload_log.segments import FIRST, Position

FORMAT: Final = "sluis-upload-log/1"
_SEGMENT_NAME: Final = re.compile(r"(\d{8})\.uploads")
_TAIL: Final = struct.Struct("<IIQQ")
_CONSUMED: Final = struct.Struct("<QIIQ")
_SLOT_BYTES: Final = 512
"""The two slots of `consumed` lie in sectors of their own: one torn by a crash leaves the other."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h
_ZEROS: Final = 1024 * 1024  # written at once where holes cannot be punched
_CANNOT_PUNCH: Final = (errno.EOPNOTSUPP, errno.ENOSYS)


class LogRefused(SluisError):  # noqa: N818 - reads as the outcome it is
    """The folder holds no upload log of this version, or another process has it."""

    exit_status: ClassVar[int] = 2


class LogFull(SluisError):  # noqa: N818
    """There is no room: nothing of the rows was kept; try again later."""

    exit_status: ClassVar[int] = 3


class LogFault(SluisError):  # noqa: N818
    """The disk failed: nothing of the rows is known to be kept."""


class LogDamaged(SluisError):  # noqa: N818
    """What should be in the log is not there."""


@dataclass(frozen=True)
class Tail:
    """How far the log is on disk: `length` bytes and `rows` rows of its last segment."""

    segment: int
    rows: int
    length: int
    rows_before: int


@dataclass(frozen=True)
class Consumed:
    """How far the reader is; `rows_before` counts the rows of all segments before that one."""

    position: Position
    rows_before: int


def prepare(folder: Path) -> bytes:
    """Make the folder a log if it is new; the key of its rows' digests.

    Raises:
        LogRefused: it holds something else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder / "log.json"
    if not about.exists():
        strangers = {path.name for path in folder.iterdir()} - {"writer.lock", "reader.lock"}
        if strangers - {"log.json"} and not any(s.startswith(".log.json.") for s in strangers):
            raise LogRefused(f"{folder} holds something else: name a new or empty folder")
        new = folder / f".log.json.{secrets.token_hex(4)}"
        write_json(new, {"format": FORMAT, "digest_key": secrets.token_hex(32)})
        with contextlib.suppress(FileExistsError):  # the other process was first
            os.link(new, about)
        new.unlink()
        sync(folder)
    try:
        held: dict[str, Any] = json.loads(about.read_text(encoding="utf-8"))
        if held["format"] == FORMAT:
            return bytes.fromhex(held["digest_key"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise LogRefused(f"{folder} is no upload log that this version reads")


def lock(folder: Path, role: str) -> int:
    """Be the log's one writer or reader, until the handle is closed.

    Raises:
        LogRefused: another process is.
    """
    handle = os.open(folder / f"{role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise LogRefused(f"{folder} has a {role} already: a log has one at a time") from None
    return handle


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:08d}.uploads"


def damage_path(folder: Path, number: int) -> Path:
    """The note on a segment's damage."""
    return folder / f"{number:08d}.damage.json"


def set_aside_path(folder: Path, number: int) -> Path:
    """What a damaged segment is called once all else of it is consumed."""
    return folder / f"{number:08d}.damaged"


def segment_numbers(folder: Path) -> list[int]:
    """The segments that are there, oldest first."""
    found = (_SEGMENT_NAME.fullmatch(name) for name in (path.name for path in folder.iterdir()))
    return sorted(int(match.group(1)) for match in found if match)


def bytes_on_disk(folder: Path) -> int:
    """What the folder takes up; a hole takes nothing."""
    total = 0
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # the other process has removed it
            total += entry.stat().st_blocks * 512
    return total


def sync(folder: Path) -> None:
    """Make the names in the folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_full(error: OSError) -> bool:
    """Whether the disk, or what this process may use of it, is full."""
    return error.errno in _FULL


def write_tail(handle: int, tail: Tail) -> None:
    """Tell the reader how far the log is on disk. Not durable: a writer that opens finds out."""
    data = _TAIL.pack(tail.segment, tail.rows, tail.length, tail.rows_before)
    os.pwrite(handle, data + _crc(data), 0)


def read_tail(folder: Path) -> Tail | None:
    """How far the log is on disk; None before there is one, and while it is being written."""
    try:
        data = (folder / "tail").read_bytes()
    except FileNotFoundError:
        return None
    fixed, crc = data[: _TAIL.size], data[_TAIL.size :]
    if len(fixed) < _TAIL.size or _crc(fixed) != crc:
        return None
    return Tail(*_TAIL.unpack(fixed))


class ConsumedFile:
    """The reader's place, durable: two slots in turn, the newest whole one holds."""

    def __init__(self, folder: Path) -> None:
        """Open or make it.

        Raises:
            LogDamaged: neither slot is whole.
        """
        path = folder / "consumed"
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        data = os.pread(self._handle, 2 * _SLOT_BYTES, 0)
        self._count, self.value = _newest_slot(data)
        self.is_new = self._count == 0
        if self.is_new and any(data):
            os.close(self._handle)
            raise LogDamaged(
                f"{path} is damaged: where the scan was is not known. Move it away to scan "
                "everything again that the log still has"
            )
        sync(folder)

    def write(self, value: Consumed) -> None:
        """Move on; durable when this returns."""
        self._count += 1
        data = _CONSUMED.pack(
            self._count, value.position.segment, value.position.record, value.rows_before
        )
        os.pwrite(self._handle, data + _crc(data), (self._count % 2) * _SLOT_BYTES)
        os.fdatasync(self._handle)
        self.value = value

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def read_consumed(folder: Path) -> Consumed:
    """How far the reader is, for the writer; the beginning if there is none yet."""
    try:
        return _newest_slot((folder / "consumed").read_bytes())[1]
    except FileNotFoundError:
        return Consumed(FIRST, 0)


def _newest_slot(data: bytes) -> tuple[int, Consumed]:
    """The newest whole slot, and its number; 0 and the beginning if there is none."""
    newest = (0, Consumed(FIRST, 0))
    for at in (0, _SLOT_BYTES):
        fixed = data[at : at + _CONSUMED.size]
        crc = data[at + _CONSUMED.size : at + _CONSUMED.size + 4]
        if len(fixed) == _CONSUMED.size and _crc(fixed) == crc:
            count, segment, record, rows_before = _CONSUMED.unpack(fixed)
            if count > newest[0]:
                newest = (count, Consumed(Position(segment, record), rows_before))
    return newest


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def remove_bytes(handle: int, start: int, end: int) -> bool:
    """Make bytes of a file zero and, where the file system can, give their space back.

    Returns:
        Whether it could.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    punch = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if punch is not None:
        punch.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        if punch(handle, _PUNCH_HOLE | _KEEP_SIZE, start, end - start) == 0:
            return True
        if (fault := ctypes.get_errno()) not in _CANNOT_PUNCH:
            raise OSError(fault, os.strerror(fault))
    for at in range(start, end, _ZEROS):
        os.pwrite(handle, bytes(min(_ZEROS, end - at)), at)
    return False
