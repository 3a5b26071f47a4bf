"""A record: examined items of one batch, in three sections that are opened one by one.

    0  how they were examined, and a keyed token of each item and of its bytes
    1  what the gate must know of each item (Arrow IPC); no address, no URL
    2  what each item was reduced to (Arrow IPC of `sandbox.wire`'s encoding)

So an item is found by its token without its identity, and the gate has spoken before any code is
unsealed.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchers.examine import NEEDS_DECODING, Part, Wanted
from pipeline.items import ITEMS
from pipeline.ledger.key import TOKEN_BYTES, LedgerKey
from pipeline.ledger.segment import Sections
from pipeline.sandbox import wire

KEPT: Final = pa.schema([one for one in ITEMS if one.name not in ("uri", "url")])
"""What is kept of an item's row."""

ABOUT, ROWS, PARTS = 0, 1, 2
"""The sections."""

MAX_RECORD_BYTES: Final = 8 * 1024**2
"""A record is written once its encoded parts are this large: some thousand images, or one film.
Bounds what waits in memory, and what a reader holds at once."""

MAX_ITEM_BYTES: Final = 1024**3
"""Largest encoding of one item's parts: a larger one is not kept, and must be scanned again.
AES-GCM as `cryptography` offers it takes up to 2 GiB."""

_PARTS: Final = pa.schema([pa.field("parts", pa.large_binary(), nullable=False)])
_ZSTD: Final = pa.ipc.IpcWriteOptions(compression="zstd")
_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True)
class Kept:
    """An examined item.

    Attributes:
        row: of schema `ITEMS`, at least.
        sha256: of its bytes.
        parts: what it was reduced to, encoded.
    """

    row: dict[str, Any]
    sha256: bytes
    parts: bytes


@dataclass(frozen=True)
class About:
    """How the items of a record were examined.

    Attributes:
        wanted: what was to be found out.
        hasher: which code did it, see `matchers.hasher`.
        sets: version of each indicator set that was asked.
        recorded_at: microseconds since 1970.
    """

    wanted: Wanted
    hasher: str
    sets: dict[str, int]
    recorded_at: int


@dataclass(frozen=True)
class Found:
    """Section 0: `items` and `contents` are uint8 [n, 16], tokens."""

    about: About
    items: npt.NDArray[np.uint8]
    contents: npt.NDArray[np.uint8]


def is_worth_keeping(parts: Sequence[Part]) -> bool:
    """Whether anything was found out that could be matched again; not so where all failed."""
    return any(
        part.medium != "url"
        and (
            part.fingerprints is not None
            or (bool(part.content) and part.reason in {None, NEEDS_DECODING})
        )
        for part in parts
    )


def encode(items: Sequence[Kept], about: About, key: LedgerKey) -> Sections:
    """The sections of a record."""
    head = json.dumps(
        {
            "wanted": wire.encode_wanted(about.wanted).decode(),
            "hasher": about.hasher,
            "sets": about.sets,
            "recorded_at": about.recorded_at,
        }
    ).encode()
    tokens = [key.item_token(item.row["item_id"]) for item in items]
    tokens += [key.content_token(item.sha256) for item in items]
    rows = pa.RecordBatch.from_pylist(
        [{name: item.row[name] for name in KEPT.names} for item in items], KEPT
    )
    encoded = pa.array([item.parts for item in items], pa.large_binary())
    parts = pa.RecordBatch.from_arrays([encoded], schema=_PARTS)
    return _LENGTH.pack(len(head)) + head + b"".join(tokens), _to_ipc(rows), _to_ipc(parts)


def decode_about(section: bytes) -> Found:
    """Section 0 of a record."""
    (length,) = _LENGTH.unpack_from(section)
    head = json.loads(section[_LENGTH.size : _LENGTH.size + length])
    tokens = np.frombuffer(section, np.uint8, offset=_LENGTH.size + length)
    both = tokens.reshape(2, -1, TOKEN_BYTES)
    about = About(
        wire.decode_wanted(head["wanted"].encode()),
        head["hasher"],
        head["sets"],
        head["recorded_at"],
    )
    return Found(about, both[0], both[1])


def decode_rows(section: bytes) -> pa.RecordBatch:
    """Section 1 of a record, as `ITEMS`; what is not kept is null."""
    kept = _from_ipc(section)
    columns = [
        kept[field.name] if field.name in KEPT.names else pa.nulls(kept.num_rows, field.type)
        for field in ITEMS
    ]
    return pa.RecordBatch.from_arrays(columns, schema=ITEMS)


def decode_parts(section: bytes) -> pa.LargeBinaryArray:
    """Section 2 of a record: for each row what `parts_of` takes."""
    return _from_ipc(section)["parts"]


def encode_parts(parts: tuple[Part, ...], wanted: Wanted) -> bytes:
    """What one item was reduced to, as bytes."""
    return wire.encode(parts, wanted)


def parts_of(encoded: bytes, wanted: Wanted) -> tuple[Part, ...]:
    """What one item was reduced to."""
    return wire.decode(encoded, wanted)


def _to_ipc(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_ZSTD) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def _from_ipc(section: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(section) as reader:
        return reader.read_next_batch()
