"""What a ledger holds -> a snapshot of references to it, and from these its rows and parts.

A snapshot names each item once, where it was examined last. It holds places in segments and no
item, so that a run folder keeps nothing that the ledger does not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from matchers.examine import Part, Wanted
from pipeline.items import ITEMS
from pipeline.ledger import record
from pipeline.ledger.folder import LedgerFolder, records
from pipeline.ledger.key import TOKEN_BYTES, LedgerKey
from pipeline.ledger.reading import Reader
from pipeline.ledger.record import ABOUT
from pipeline.ledger.segment import Place
from pipeline.sources import Snapshot

REFERENCES: Final = pa.schema(
    [
        pa.field("segment", pa.string(), nullable=False),
        pa.field("number", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("lengths", pa.list_(pa.int64(), 3), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
    ]
)
"""An item's place: segment within the ledger's folder, record there (see `Place`), row in it."""

NO_LONGER_KEPT: Final = "no_longer_kept"
"""Why an item is skipped whose day was swept after the run had begun."""

WITHDRAWN: Final = "withdrawn"
"""Why an item is skipped that whoever matches again has named: consent withdrawn, item deleted."""

NOT_KNOWN: Final = "(no longer kept)"
"""Stands for the name of such an item."""


@dataclass(frozen=True)
class Again:
    """Rows of a snapshot that are matched again.

    Attributes:
        references: of schema `REFERENCES`.
        skip_reason: why a row is not; null where it is.
    """

    references: pa.RecordBatch
    skip_reason: pa.StringArray


def take(folder: LedgerFolder, key: LedgerKey, path: Path, chunk_rows: int) -> Snapshot:
    """Write a snapshot of the ledger to `path`, whole or not at all.

    Raises:
        KeysRefused: a segment was sealed with another key.
        LedgerDamaged: one was altered.
    """
    places: list[tuple[str, Place]] = []
    tokens: list[npt.NDArray[np.uint8]] = []
    times: list[int] = []
    for file in folder.segments():
        name = str(file.relative_to(folder.path))
        for segment, place in records(file, key):
            found = record.decode_about(segment.unseal(place, ABOUT))
            places.append((name, place))
            tokens.append(found.items)
            times.append(found.about.recorded_at)
    sizes = np.array([len(one) for one in tokens], np.int64)
    of_record = np.repeat(np.arange(len(sizes)), sizes)
    row = np.arange(len(of_record)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    last = _last_of_each(tokens, np.repeat(np.array(times, np.int64), sizes))
    unfinished = path.with_name(path.name + ".new")
    with pq.ParquetWriter(unfinished, REFERENCES) as writer:
        for start in range(0, len(last), chunk_rows):
            some = last[start : start + chunk_rows]
            held = [places[number] for number in of_record[some].tolist()]
            columns = [
                [name for name, _ in held],
                [place.number for _, place in held],
                [place.offset for _, place in held],
                [place.lengths for _, place in held],
                row[some],
            ]
            arrays = [
                pa.array(column, field.type)
                for column, field in zip(columns, REFERENCES, strict=True)
            ]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=REFERENCES))
    os.replace(unfinished, path)
    return Snapshot(path, len(last), chunk_rows)


def _last_of_each(
    tokens: list[npt.NDArray[np.uint8]], times: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Where each item comes last, in the order of the segments."""
    joined = np.concatenate([np.zeros((0, TOKEN_BYTES), np.uint8), *tokens])
    halves = np.ascontiguousarray(joined).view(np.uint64).reshape(-1, 2)
    order = np.lexsort((np.arange(len(times)), times, halves[:, 1], halves[:, 0]))
    ordered = halves[order]
    is_last = np.ones(len(order), bool)
    is_last[:-1] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return np.sort(order[is_last])


def rows(
    references: pa.RecordBatch, folder: Path, reader: Reader, withdrawn: pa.StringArray
) -> tuple[pa.RecordBatch, Again]:
    """What the gate asks of the items referred to, as `ITEMS`; no code is unsealed.

    Args:
        references: of schema `REFERENCES`.
        folder: of the ledger.
        reader: of its records.
        withdrawn: items that are not to be matched.
    """
    batches = []
    gone: list[str | None] = []
    for path, place, mine in _by_record(references, folder):
        try:
            batches.append(reader.rows(path, place).take(pa.array(mine)))
            gone += [None] * len(mine)
        except FileNotFoundError:
            batches.append(_unknown(len(mine)))
            gone += [NO_LONGER_KEPT] * len(mine)
    joined = pa.Table.from_batches(batches, ITEMS).combine_chunks().to_batches()[0]
    is_withdrawn = pc.is_in(joined["item_id"], value_set=withdrawn)
    reason = pc.if_else(is_withdrawn, WITHDRAWN, pa.array(gone, pa.string()))
    return joined, Again(references, reason)


def parts(
    again: Again, wanted: list[bool], folder: Path, reader: Reader
) -> Iterator[tuple[tuple[Part, ...], Wanted] | None]:
    """Row by row what it was reduced to, and how; None where it is not wanted, or is gone."""
    number = 0
    for path, place, mine in _by_record(again.references, folder):
        for row in mine:
            found = None
            if wanted[number]:
                try:
                    found = reader.parts(path, place, row), reader.about(path, place).wanted
                except FileNotFoundError:
                    found = None
            yield found
            number += 1


def _by_record(references: pa.RecordBatch, folder: Path) -> Iterator[tuple[Path, Place, list[int]]]:
    """Each record and the rows of it, in the order of the references: neighbours are of one."""
    if not references.num_rows:
        return
    segment = pc.dictionary_encode(references["segment"])
    offset = references["offset"].to_numpy()
    is_other = np.diff(offset, prepend=-1) != 0
    is_other |= np.diff(segment.indices.to_numpy(), prepend=-1) != 0
    lengths = references["lengths"].flatten().to_numpy().reshape(-1, 3)
    starts = np.flatnonzero(is_other).tolist()
    row = references["row"].to_numpy()
    for first, behind in zip(starts, [*starts[1:], references.num_rows], strict=True):
        one, two, three = lengths[first].tolist()
        place = Place(references["number"][first].as_py(), int(offset[first]), (one, two, three))
        yield folder / references["segment"][first].as_py(), place, row[first:behind].tolist()


def _unknown(count: int) -> pa.RecordBatch:
    nothing = [pa.nulls(count, field.type) for field in ITEMS]
    names = pa.array([NOT_KNOWN] * count, pa.string())
    return pa.RecordBatch.from_arrays([names, *nothing[1:]], schema=ITEMS)
