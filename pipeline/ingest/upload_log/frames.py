"""Rows -> frames ready to be written, each row with its digest. Done by callers, side by side."""

from __future__ import annotations

import datetime as dt
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipeline.ingest.upload_log.segments import DIGEST_BYTES, FRAME_BYTES, FRAME_ROWS, UPLOADS

_RECEIVED: Final = UPLOADS.get_field_index("received_at")
_CONTENT: Final = UPLOADS.get_field_index("content")
_NAMED: Final = [i for i in range(len(UPLOADS)) if i not in (_RECEIVED, _CONTENT)]


@dataclass(frozen=True)
class Prepared:
    """Rows as one frame, but for its place in the log."""

    rows: pa.RecordBatch
    digests: list[bytes]
    body: pa.Buffer
    body_crc: int


def prepare(batch: pa.RecordBatch, key: bytes, now: dt.datetime) -> list[Prepared]:
    """Cut rows into frames.

    Args:
        batch: of schema `UPLOADS`; where it has no `received_at`, that is `now`.
        key: of the digests.
        now: with a time zone.

    Raises:
        ValueError: another schema.
    """
    if batch.schema != UPLOADS:
        raise ValueError("the upload log takes batches of schema UPLOADS")
    stamp = batch["received_at"].fill_null(pa.scalar(now, UPLOADS.field(_RECEIVED).type))
    batch = batch.set_column(_RECEIVED, UPLOADS.field(_RECEIVED), stamp)
    digests = _digests(batch, key)
    return [
        frame(batch.slice(start, count), digests[start : start + count])
        for start, count in _cuts(batch)
    ]


def frame(rows: pa.RecordBatch, digests: list[bytes]) -> Prepared:
    """These rows as one frame."""
    body = rows.serialize()
    return Prepared(rows, digests, body, zlib.crc32(body))


def without(prepared: Prepared, dropped: list[bool]) -> Prepared | None:
    """The frame without some of its rows; None if that leaves none."""
    kept = [not drop for drop in dropped]
    if all(kept):
        return prepared
    if not any(kept):
        return None
    digests = [digest for digest, keep in zip(prepared.digests, kept, strict=True) if keep]
    return frame(prepared.rows.filter(pa.array(kept)), digests)


def _cuts(batch: pa.RecordBatch) -> Iterator[tuple[int, int]]:
    """First row and count of each frame."""
    start = size = 0
    lengths = [0 if value is None else len(value) for value in _contents(batch)]
    for row, length in enumerate(lengths):
        if row > start and (row - start == FRAME_ROWS or size + length > FRAME_BYTES):
            yield start, row - start
            start, size = row, 0
        size += length
    if start < batch.num_rows:
        yield start, batch.num_rows - start


def _contents(batch: pa.RecordBatch) -> list[pa.Buffer | None]:
    """Each row's content without a copy."""
    return [value.as_buffer() if value.is_valid else None for value in batch.column(_CONTENT)]


def _digests(batch: pa.RecordBatch, key: bytes) -> list[bytes]:
    """A digest of each row: of all it says and holds, but not of when it came."""
    named = batch.select(_NAMED).to_pylist()
    found = []
    for row, content in zip(named, _contents(batch), strict=True):
        said = repr(list(row.values())).encode()
        digest = hashlib.blake2b(said, key=key, digest_size=DIGEST_BYTES)
        if content is not None:
            digest.update(content)
        found.append(digest.digest())
    return found
