"""What is to be scanned -> a snapshot of references: validated, numbered, in chunks.

A source is a directory or a manifest (Parquet, CSV, JSON lines). It is written once into the run
folder as `items.parquet`, one row group a chunk, before anything is opened: so a bad manifest is
refused whole, a resumed run sees the same items in the same order, and memory stays bounded.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
import mimetypes
import os
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from matchers.files import sha256_file
from pipeline import read
from pipeline.errors import SourceRefused
from pipeline.items import ITEM_VALUES, ITEMS, MAX_ID_BYTES

MANIFEST_SUFFIXES: Final = (".parquet", ".csv", ".jsonl", ".ndjson")
REQUIRED: Final = ("item_id", "part", "encryption", "account_class")
_BATCH: Final = 8192

_TYPES: Final = mimetypes.MimeTypes(filenames=()).types_map[True] | {
    ".webp": "image/webp", ".avif": "image/avif", ".heic": "image/heic", ".heif": "image/heif",
    ".jfif": "image/jpeg", ".mkv": "video/x-matroska", ".webm": "video/webm", ".mp4": "video/mp4",
    ".m4v": "video/mp4", ".mov": "video/quicktime",
}  # fmt: skip
"""Suffix -> media type; not the machine's own table, so that the answer is the same anywhere."""

_CONTAINERS: Final = {
    ".zip", ".cbz", ".tar", ".tgz", ".txz", ".tbz2", ".gz", ".bz2", ".xz", ".zst", ".7z", ".pdf",
    ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".epub",
}  # fmt: skip
"""Suffixes of files that may hold visual content inside."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What the operator states about every file of a directory, which cannot say it itself."""

    part: str
    encryption: str = "none"
    account_class: str = "ordinary"
    consent: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """A validated source in the run folder.

    Attributes:
        path: items.parquet, one row group a chunk.
        rows: items in all.
        chunk_rows: items in each row group but the last.
    """

    path: Path
    rows: int
    chunk_rows: int

    @property
    def chunks(self) -> int:
        """Row groups."""
        return -(-self.rows // self.chunk_rows)


def take(source: Path, path: Path, *, chunk_rows: int, declared: Declared | None) -> Snapshot:
    """Write the snapshot of `source` to `path`, whole or not at all.

    Args:
        source: a directory or a manifest file.
        path: the Parquet file to write.
        chunk_rows: items in a chunk.
        declared: what holds for every file of a directory; manifests say it row by row.

    Raises:
        SourceRefused: naming the row and column, or the file, and what to do.
    """
    if source.is_dir():
        if declared is None:
            raise SourceRefused(f"{source} is a directory: state its part of the service")
        batches = _directory(source, declared)
    elif not source.is_file():
        raise _absent(source)
    elif source.suffix.lower() in MANIFEST_SUFFIXES:
        batches = _manifest(source)
    else:
        raise SourceRefused(
            f"{source} is neither a directory nor a manifest ({', '.join(MANIFEST_SUFFIXES)})"
        )
    unfinished = path.with_name(path.name + ".new")
    try:
        rows = _write(source, batches, unfinished, chunk_rows)
        _refuse_duplicates(source, unfinished, rows)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return Snapshot(path, rows, chunk_rows)


def _write(source: Path, batches: Iterator[pa.RecordBatch], path: Path, chunk_rows: int) -> int:
    """Validate the batches and write them in row groups of `chunk_rows`; how many rows."""
    rows = 0
    with pq.ParquetWriter(path, ITEMS) as writer:
        held: list[pa.RecordBatch] = []
        for batch in batches:
            _validate(source, batch, rows)
            rows += batch.num_rows
            held.append(batch)
            table = pa.Table.from_batches(held, ITEMS)
            while table.num_rows >= chunk_rows:
                writer.write_table(table.slice(0, chunk_rows), row_group_size=chunk_rows)
                table = table.slice(chunk_rows)
            held = table.to_batches()
        if held:
            writer.write_table(pa.Table.from_batches(held, ITEMS), row_group_size=chunk_rows)
    if rows == 0:
        raise SourceRefused(f"{source} is empty: there is nothing to scan")
    return rows


def fingerprint(source: Path) -> str | None:
    """SHA-256 of a manifest file, to recognise a changed one when a run is resumed.

    None for a directory, whose files come and go: there the snapshot holds.

    Raises:
        SourceRefused: there is no such source.
    """
    if source.is_dir():
        return None
    if not source.is_file():
        raise _absent(source)
    return sha256_file(source)


def _absent(source: Path) -> SourceRefused:
    return SourceRefused(f"{source} does not exist: give a directory or a manifest")


# --- directories ----------------------------------------------------------------------------


def _directory(root: Path, declared: Declared) -> Iterator[pa.RecordBatch]:
    """Every file below `root` in order of its path; links are listed, and refused on reading."""
    top = os.fsencode(root.resolve())
    rows: list[dict[str, Any]] = []
    for path in _files(top):
        rows.append(
            {
                "item_id": _item_id(os.path.relpath(path, top)),
                "kind": _kind_by_name(path),
                "uri": _uri(path),
                "part": declared.part,
                "encryption": declared.encryption,
                "account_class": declared.account_class,
                "consent": declared.consent,
            }
        )
        if len(rows) == _BATCH:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def _files(folder: bytes) -> Iterator[bytes]:
    """Paths of all that is no folder, depth first, each folder sorted by name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceRefused(
            f"{os.fsdecode(folder)} cannot be listed ({error.strerror}): what it holds would be "
            "missed"
        ) from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        else:
            yield entry.path


def _item_id(relative: bytes) -> str:
    """The path inside the directory; a digest of it where it is too long or not UTF-8."""
    try:
        text = relative.decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(relative) > MAX_ID_BYTES or not text.isprintable():
        return "path-sha256:" + hashlib.sha256(relative).hexdigest()
    return text


def _uri(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        return "file://" + urllib.parse.quote_from_bytes(path)


def _kind_by_name(path: bytes) -> str | None:
    """The kind a file's name claims; None (sniff it) where it claims nothing."""
    suffix = os.path.splitext(path)[1]  # noqa: PTH122 - bytes: any file name is allowed
    name = os.fsdecode(suffix).lower()
    if name in _CONTAINERS:
        return "container"
    family = _TYPES.get(name, "").partition("/")[0]
    if not family:
        return None
    return family if family in ("image", "video") else "other"


# --- manifests ------------------------------------------------------------------------------


def _manifest(path: Path) -> Iterator[pa.RecordBatch]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        rows = _parquet_rows(path)
    elif suffix == ".csv":
        rows = _csv_rows(path)
    else:
        rows = _json_rows(path)
    base = path.resolve().parent
    held: list[dict[str, Any]] = []
    for number, row in enumerate(rows, 1):
        cells = {name: value for name, value in row.items() if value != ""}  # empty: unknown
        for name, value in cells.items():
            if name != "uploaded_at" and value is not None:
                _check_text(path, number, name, value)
        uri = cells.get("uri")
        if uri is not None and "://" not in uri:
            cells["uri"] = str(base / uri)
        elif uri is not None and not read.can_read(uri):
            raise _bad(
                path, number, "uri", "is of a store that is not installed (sluis[s3], sluis[gcs])"
            )
        cells["uploaded_at"] = _instant(path, number, cells.get("uploaded_at"))
        held.append(cells)
        if len(held) == _BATCH:
            yield _batch(held)
            held = []
    if held:
        yield _batch(held)


def _check_text(path: Path, number: int, name: str, value: object) -> None:
    if not isinstance(value, str):
        raise _bad(path, number, name, f"is a {type(value).__name__}, not text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _bad(path, number, name, "is no Unicode text") from None


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        file = pq.ParquetFile(path)
        _check_columns(path, file.schema_arrow.names)
        for batch in file.iter_batches(_BATCH):
            yield from _in_microseconds(batch).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceRefused(f"{path} cannot be read as Parquet: {error}") from error


def _in_microseconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Python has no finer time; what is finer makes no difference to a day."""
    columns = []
    for column in batch.columns:
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            microseconds = pa.timestamp("us", tz=column.type.tz)
            columns.append(column.cast(microseconds, safe=False))
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, list(reader.fieldnames or []))
            for number, row in enumerate(reader, 1):
                if None in row or None in row.values():
                    raise SourceRefused(
                        f"{path} row {number}: it has more or fewer fields than the header"
                    )
                yield dict(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceRefused(f"{path} cannot be read as CSV in UTF-8: {error}") from error


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                if not line.strip():
                    continue
                number += 1
                row = json.loads(line, object_pairs_hook=_unique)
                if not isinstance(row, dict):
                    raise SourceRefused(f"{path} row {number}: it is not a JSON object")
                _check_columns(path, list(row), f" row {number}")
                yield row
    except (ValueError, RecursionError) as error:
        raise SourceRefused(f"{path} row {number}: it is not JSON ({error})") from error
    except OSError as error:
        raise SourceRefused(f"{path} cannot be read: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a name stand twice and the last one win; a row must not hide a value so."""
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a name stands twice")
    return row


def _check_columns(path: Path, names: list[str], where: str = "") -> None:
    for name in REQUIRED:
        if name not in names:
            raise SourceRefused(
                f"{path}{where}: column {name} is missing. A manifest needs "
                f"{', '.join(REQUIRED)} and uri or url"
            )
    if "uri" not in names and "url" not in names:
        raise SourceRefused(f"{path}{where}: column uri is missing (or url, for URLs)")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceRefused(f"{path}{where}: column {twice[0]} stands twice")
    unknown = sorted(set(names) - set(ITEMS.names))
    if unknown:
        raise SourceRefused(
            f"{path}{where}: column {unknown[0]} is not known. Use {', '.join(ITEMS.names)}"
        )


def _instant(path: Path, number: int, value: object) -> dt.datetime | None:
    """A timestamp, or ISO 8601 text with a time zone."""
    if value is None or value == "":
        return None
    try:
        instant = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    except ValueError:
        instant = None
    try:
        if instant is not None and instant.tzinfo is not None:
            return instant.astimezone(dt.UTC)
    except OverflowError:  # beyond the calendar in UTC
        pass
    raise _bad(
        path, number, "uploaded_at", "is not ISO 8601 with a time zone (2026-03-01T12:00:00Z)"
    )


def _batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, ITEMS)


def _validate(source: Path, batch: pa.RecordBatch, before: int) -> None:
    """Refuse the first row that a scan could not account for."""

    def first(mask: pa.Array) -> int | None:
        index = pc.index(pc.fill_null(mask, False), True).as_py()
        return None if index < 0 else before + index + 1

    def refuse(mask: pa.Array, column: str, message: str) -> None:
        row = first(mask)
        if row is not None:
            raise _bad(source, row, column, message)

    ids = pc.fill_null(batch["item_id"], "")
    refuse(pc.equal(ids, ""), "item_id", "is empty")
    for name in ("item_id", "account_id"):
        column = pc.fill_null(batch[name], "")
        refuse(
            pc.greater(pc.binary_length(column), MAX_ID_BYTES),
            name,
            f"exceeds {MAX_ID_BYTES} bytes",
        )
        refuse(pc.match_substring_regex(column, r"[\x00-\x1f\x7f]"), name, "has control characters")
    for name, allowed in ITEM_VALUES.items():
        wrong = pc.and_(
            pc.is_valid(batch[name]), pc.invert(pc.is_in(batch[name], pa.array(allowed)))
        )
        refuse(wrong, name, f"is not one of {', '.join(allowed)} (or empty)")
    is_url = pc.equal(pc.fill_null(batch["kind"], ""), "url")
    refuse(pc.and_(is_url, pc.is_null(batch["url"])), "url", "is empty, but kind is url")
    refuse(pc.and_(pc.invert(is_url), pc.is_valid(batch["url"])), "url", "goes with kind url only")
    refuse(pc.and_(pc.invert(is_url), pc.is_null(batch["uri"])), "uri", "is empty")


def _refuse_duplicates(source: Path, snapshot: Path, rows: int) -> None:
    ids = pq.read_table(snapshot, columns=["item_id"])["item_id"]
    if pc.count_distinct(ids).as_py() == rows:
        return
    first: dict[str, int] = {}
    for row, item_id in enumerate(ids.to_pylist(), 1):
        if item_id in first:
            snapshot.unlink()
            raise _bad(
                source, row, "item_id", f"already stands in row {first[item_id]}; ids are unique"
            )
        first[item_id] = row


def _bad(source: Path, row: int, column: str, message: str) -> SourceRefused:
    return SourceRefused(f"{source} row {row}, column {column}: {message}")
