"""A segment's bytes: a header, then frames of rows; written once, found again after damage.

    segment   magic, version, number, rows before it, marker, schema, CRC
    frame     marker, lengths, CRCs, a digest of each row; then its rows as Arrow IPC

The marker is random in each segment: what an uploader sends can never pass for a frame when the
next whole one is looked for behind damage. Digests outlive their rows: frames that are consumed
become one removed frame, whose body is a hole, so that a segment can still be walked.
"""

from __future__ import annotations

import os
import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipeline.items import GATED

UPLOADS: Final = GATED.append(pa.field("content", pa.large_binary())).append(
    pa.field("received_at", pa.timestamp("us", tz="UTC"))
)
"""An upload as the log keeps it. `skip_reason` is what the front door's gate said, and such a row
has no content; `content` is also null where `uri` or `url` says what is meant. `received_at` is the
time of the front door."""

DIGEST_BYTES: Final = 16  # of a row: enough that no two rows ever share one

_MAGIC: Final = b"SLUISUPL"
_VERSION: Final = 1
_SEGMENT: Final = struct.Struct("<8sIIQ8sI")
_FRAME: Final = struct.Struct("<8sIIIII")
_CRC: Final = struct.Struct("<I")
_REMOVED: Final = 2**32 - 1  # in the place of `durable_bytes`; no segment is that long
_SEARCH_BYTES: Final = 1024 * 1024
_SCHEMA: Final = UPLOADS.serialize().to_pybytes()

FRAME_ROWS: Final = 256
FRAME_BYTES: Final = 4 * 1024 * 1024
"""Most of a frame, unless a single row has more: what is read at once, and lost to one damage."""


class NotASegment(ValueError):  # noqa: N818 - reads as the outcome it is
    """The header is damaged, or of another version."""


@dataclass(frozen=True, order=True)
class Position:
    """A place in the log: `record` counts the rows of a segment from 0. Plain values."""

    segment: int
    record: int


FIRST: Final = Position(1, 0)


@dataclass(frozen=True)
class Header:
    """A segment's header.

    Attributes:
        number: 1, 2, 3, ...
        rows_before: rows in all segments before it, also in those that are gone.
        marker: begins each of its frames.
        length: bytes of the header itself.
    """

    number: int
    rows_before: int
    marker: bytes
    length: int


@dataclass(frozen=True)
class Frame:
    """Where a frame lies, and what its header says.

    Attributes:
        start: its first byte.
        body: first byte of its rows.
        end: the byte after its last.
        first_row: of the segment, counted from 0.
        rows: how many.
        durable_bytes: of the segment, at the time of writing: what came before was on disk.
        body_crc: of its rows' bytes.
        digests: of each row, see `UploadLog`.
    """

    start: int
    body: int
    end: int
    first_row: int
    rows: int
    durable_bytes: int
    body_crc: int
    digests: tuple[bytes, ...]

    @property
    def is_removed(self) -> bool:
        """Whether its rows were consumed and are gone."""
        return self.durable_bytes == _REMOVED


@dataclass(frozen=True)
class Gap:
    """Bytes that are no frame; `next_row` is the first of the next whole one, if there is one."""

    start: int
    end: int
    next_row: int | None


def new_header(number: int, rows_before: int) -> tuple[Header, bytes]:
    """A new segment's header, and its bytes."""
    marker = secrets.token_bytes(8)
    fixed = _SEGMENT.pack(_MAGIC, _VERSION, number, rows_before, marker, len(_SCHEMA))
    data = fixed + _SCHEMA
    data += _CRC.pack(zlib.crc32(data))
    return Header(number, rows_before, marker, len(data)), data


def read_header(handle: int) -> Header:
    """The header of an open segment.

    Raises:
        NotASegment: damaged, or written by another version.
    """
    data = os.pread(handle, _SEGMENT.size + len(_SCHEMA) + _CRC.size, 0)
    try:
        magic, version, number, rows_before, marker, schema_bytes = _SEGMENT.unpack_from(data)
        (crc,) = _CRC.unpack_from(data, _SEGMENT.size + schema_bytes)
    except struct.error:
        raise NotASegment("it is too short") from None
    if magic != _MAGIC or version != _VERSION or schema_bytes != len(_SCHEMA):
        raise NotASegment("it was written by another version")
    if crc != zlib.crc32(data[: _SEGMENT.size + schema_bytes]):
        raise NotASegment("its header is damaged")
    return Header(number, rows_before, marker, len(data))


def frame_header(
    header: Header, body_bytes: int, body_crc: int, first_row: int, durable_bytes: int,
    digests: list[bytes],
) -> bytes:  # fmt: skip
    """The bytes before a frame's rows."""
    fixed = _FRAME.pack(header.marker, body_bytes, len(digests), first_row, durable_bytes, body_crc)
    named = b"".join(digests)
    return fixed + _CRC.pack(zlib.crc32(named, zlib.crc32(fixed))) + named


def removed_header(header: Header, consumed: Sequence[Frame]) -> bytes:
    """What is written over the first of some adjacent frames: one frame in their place, no rows."""
    first = consumed[0]
    digests = [digest for frame in consumed for digest in frame.digests]
    own_bytes = _FRAME.size + _CRC.size + len(digests) * DIGEST_BYTES
    body_bytes = consumed[-1].end - first.start - own_bytes
    return frame_header(header, body_bytes, 0, first.first_row, _REMOVED, digests)


def frames(
    handle: int, header: Header, start: int, end: int, first_row: int
) -> Iterator[Frame | Gap]:
    """The frames in bytes `start` to `end` of a segment, and the gaps between them.

    Args:
        handle: the open segment.
        header: its header.
        start: where a frame begins.
        end: no frame is looked for beyond.
        first_row: what that frame begins with.
    """
    while start < end:
        frame = _frame(handle, header, start, end)
        if frame is None or frame.first_row != first_row:
            found = _next_frame(handle, header, start, end, first_row)
            yield Gap(start, found.start if found else end, found.first_row if found else None)
            if found is None:
                return
            frame = found
        yield frame
        start, first_row = frame.end, frame.first_row + frame.rows


def body(handle: int, frame: Frame) -> pa.Buffer | None:
    """A frame's rows as they were written, or None if they are damaged."""
    buffer = pa.allocate_buffer(frame.end - frame.body)
    if os.preadv(handle, [buffer], frame.body) != buffer.size:
        return None
    return buffer if zlib.crc32(buffer) == frame.body_crc else None


def rows(buffer: pa.Buffer) -> pa.RecordBatch:
    """A whole frame's rows."""
    return pa.ipc.read_record_batch(buffer, UPLOADS)


def _frame(handle: int, header: Header, start: int, end: int) -> Frame | None:
    data = os.pread(handle, _FRAME.size + _CRC.size, start)
    if len(data) < _FRAME.size + _CRC.size or not data.startswith(header.marker):
        return None
    _, body_bytes, count, first_row, durable_bytes, body_crc = _FRAME.unpack_from(data)
    (crc,) = _CRC.unpack_from(data, _FRAME.size)
    body_start = start + len(data) + count * DIGEST_BYTES
    if count == 0 or body_start + body_bytes > end:
        return None
    named = os.pread(handle, count * DIGEST_BYTES, start + len(data))
    if zlib.crc32(named, zlib.crc32(data[: _FRAME.size])) != crc:
        return None
    digests = tuple(named[at : at + DIGEST_BYTES] for at in range(0, len(named), DIGEST_BYTES))
    return Frame(
        start, body_start, body_start + body_bytes, first_row, count, durable_bytes, body_crc,
        digests,
    )  # fmt: skip


def _next_frame(handle: int, header: Header, start: int, end: int, first_row: int) -> Frame | None:
    """The first frame behind damage."""
    overlap = len(header.marker) - 1
    while start < end:
        data = os.pread(handle, min(_SEARCH_BYTES, end - start), start)
        at = data.find(header.marker)
        while at >= 0:
            frame = _frame(handle, header, start + at, end)
            if frame is not None and frame.first_row >= first_row:
                return frame
            at = data.find(header.marker, at + 1)
        if len(data) <= overlap:
            return None
        start += len(data) - overlap
    return None
