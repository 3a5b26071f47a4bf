"""Lists and folders -> the rows of an indicator set."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchers import digests, limits, pdq, urls
from matchers.errors import IndicatorSetError, UrlError
from matchers.indicators import clusters
from matchers.indicators.manifest import CLUSTER, VALUE_BYTES, Algorithm, schema

_VALUE_COLUMNS = ("value", "hash", "indicator")
_ALGORITHMS: Final[tuple[Algorithm, ...]] = get_args(Algorithm)
_ID_COLUMNS = ("indicator_id", "id")
_HASHING_BATCH = 256


@dataclass(frozen=True)
class Left:
    """An input that did not become an indicator, and why."""

    name: str
    reason: str


def from_images(
    folder: Path, min_quality: int, progress: Callable[[int, int], None] | None = None
) -> tuple[pa.Table, list[Left]]:
    """PDQ indicators of every file below `folder`; the id is the path inside it.

    Args:
        folder: pictures, at any depth.
        min_quality: pictures below it are left out: they would match nearly anything or nothing.
        progress: called with (files done, files in all).

    Returns:
        The rows, and the files that were left out.

    Raises:
        IndicatorSetError: no file gave an indicator.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    names: list[str] = []
    codes: list[npt.NDArray[np.uint8]] = []
    left: list[Left] = []
    for first in range(0, len(paths), _HASHING_BATCH):
        part = paths[first : first + _HASHING_BATCH]
        batch = pdq.hash_images([path.read_bytes() for path in part])
        for row, path in enumerate(part):
            name = path.relative_to(folder).as_posix()
            failure = batch.failures[row]
            if failure is not None:
                left.append(Left(name, failure))
            elif len(name.encode()) > limits.MAX_INDICATOR_ID_BYTES:
                left.append(Left(name, f"name exceeds {limits.MAX_INDICATOR_ID_BYTES} bytes"))
            elif batch.quality[row] < min_quality:
                left.append(Left(name, f"quality {batch.quality[row]} is below {min_quality}"))
            else:
                names.append(name)
                codes.append(batch.codes[row])
        if progress:
            progress(first + len(part), len(paths))
    if not names:
        raise IndicatorSetError(f"{folder} gave no indicator: no file in it is a usable picture")
    return _table("pdq", names, [code.tobytes() for code in codes]), left


def named_algorithms(path: Path) -> list[Algorithm]:
    """The algorithms that a CSV's columns are named after; none for a text file.

    A value does not say what it is: a PDQ code and a SHA-256 digest are both 64 hex digits.

    Raises:
        IndicatorSetError: it cannot be read.
    """
    if path.suffix.lower() != ".csv":
        return []
    return _algorithms(_columns(csv.DictReader(_lines(path))))


def from_list(path: Path, algorithm: Algorithm, url_key: bytes = b"") -> pa.Table:
    """Indicators of a text file (one value a line) or a CSV file with a header.

    A CSV has the value in a column named after the algorithm, or value, hash or indicator, and
    optionally indicator_id; other columns are ignored. In a text file, and without that column, the
    id is `line-N`. Empty lines and lines starting with # are passed over.

    Args:
        path: the list.
        algorithm: what its values are.
        url_key: key for the digests of a url list.

    Raises:
        IndicatorSetError: naming the line and what is wrong with it.
    """
    names: list[str] = []
    values: list[bytes] = []
    seen: dict[str, int] = {}
    for line, name, text in _entries(path, algorithm):
        if len(name.encode()) > limits.MAX_INDICATOR_ID_BYTES:
            raise IndicatorSetError(
                f"{path} line {line}: indicator_id exceeds {limits.MAX_INDICATOR_ID_BYTES} bytes"
            )
        if name in seen:
            raise IndicatorSetError(
                f"{path} line {line}: indicator_id {name!r} already stands in line {seen[name]}"
            )
        seen[name] = line
        names.append(name)
        values.append(_value(path, line, text, algorithm, url_key))
    if not names:
        raise IndicatorSetError(f"{path} holds no indicator")
    return _table(algorithm, names, values)


def with_clusters(
    data: pa.Table, algorithm: Algorithm, radius: int, before: pa.Table | None
) -> pa.Table:
    """Rows of a set of kind new, with the cluster of each.

    Args:
        data: the rows.
        algorithm: of their values; exact values are clusters of their own.
        radius: `cluster_radius_bits` of the set.
        before: data of the version before, whose clusters are kept; None for a first version.
    """
    ids = data["indicator_id"].to_pylist()
    kept: dict[str, str] = {}
    if before is not None:
        kept = dict(
            zip(before["indicator_id"].to_pylist(), before["cluster"].to_pylist(), strict=True)
        )
    if algorithm == "pdq":
        codes = np.frombuffer(b"".join(data["value"].to_pylist()), np.uint8).reshape(-1, 32)
        roots = clusters.single_linkage(codes, radius)
    else:
        roots = np.arange(len(ids), dtype=np.int64)
    named = pa.array(clusters.names(ids, roots, kept), pa.string())
    return data.append_column(CLUSTER, named)


def _entries(path: Path, algorithm: Algorithm) -> Iterator[tuple[int, str, str]]:
    """(line number, indicator id, value as text)."""
    lines = _lines(path)
    if path.suffix.lower() != ".csv":
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, f"line-{number}", line.strip()
        return
    reader = csv.DictReader(lines)
    columns = _columns(reader)
    reader.fieldnames = columns
    value_column = next((c for c in (algorithm, *_VALUE_COLUMNS) if c in columns), None)
    if value_column is None:
        others = _algorithms(columns)
        if others:
            raise IndicatorSetError(
                f"{path} line 1: its values are {' and '.join(others)}, not {algorithm}: build it "
                f"with {' or '.join(map(_option, others))}"
            )
        raise IndicatorSetError(
            f"{path} line 1: no column named value, hash or {algorithm}; it has "
            f"{', '.join(columns) or 'none'}"
        )
    id_column = next((c for c in _ID_COLUMNS if c in columns), None)
    for row in _csv_rows(path, reader):
        number = reader.line_num
        name = (row[id_column] or "").strip() if id_column else f"line-{number}"
        if not name:
            raise IndicatorSetError(f"{path} line {number}: {id_column} is empty")
        yield number, name, (row[value_column] or "").strip()


def _lines(path: Path) -> list[str]:
    """The lines of a list, comments emptied."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise IndicatorSetError(f"{path} cannot be read as UTF-8 text: {error}") from error
    return ["" if line.startswith("#") else line for line in text.splitlines()]


def _columns(reader: csv.DictReader[str]) -> list[str]:
    return [name.strip().lower() for name in reader.fieldnames or []]


def _algorithms(columns: list[str]) -> list[Algorithm]:
    return [one for one in _ALGORITHMS if one in columns]


def _option(algorithm: Algorithm) -> str:
    """How the command line asks for it."""
    return "--kind url" if algorithm == "url" else f"--algorithm {algorithm}"


def _csv_rows(path: Path, reader: csv.DictReader[str]) -> Iterator[dict[str | Any, str | Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise IndicatorSetError(f"{path} line {reader.line_num + 1}: {error}") from error


def _value(path: Path, line: int, text: str, algorithm: Algorithm, url_key: bytes) -> bytes:
    if algorithm == "url":
        try:
            return urls.keyed_digest(text, url_key)
        except UrlError as error:
            raise IndicatorSetError(f"{path} line {line}: not usable ({error.reason})") from None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != VALUE_BYTES[algorithm]:
        kind = "digest" if algorithm in digests.DIGEST_BYTES else "code"
        raise IndicatorSetError(
            f"{path} line {line}: a {algorithm} {kind} is {2 * VALUE_BYTES[algorithm]} hex digits"
            f"{_looks_like(text, len(value))}"
        )
    return value


def _looks_like(text: str, size_bytes: int) -> str:
    """What to do, where another algorithm's value stands."""
    if "://" in text:
        return f"; this looks like a URL: build the list with {_option('url')}"
    fitting = [one for one in _ALGORITHMS if one != "url" and VALUE_BYTES[one] == size_bytes]
    if not fitting:
        return ""
    options = " or ".join(map(_option, fitting))
    return f"; this has the length of {' or '.join(fitting)}: build the list with {options}"


def _table(algorithm: Algorithm, names: list[str], values: list[bytes]) -> pa.Table:
    return pa.table(
        {
            "indicator_id": pa.array(names, pa.string()),
            "value": pa.array(values, pa.binary(VALUE_BYTES[algorithm])),
        },
        schema=schema(algorithm),
    )
