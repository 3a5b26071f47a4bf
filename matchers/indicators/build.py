"""Lists and folders -> the rows of an indicator set."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from matchers import digests, limits, media, pdq, urls
from matchers.errors import IndicatorSetError, UrlError
from matchers.indicators import clusters
from matchers.indicators.manifest import (
    CLUSTER,
    EFFECTIVE,
    PERCEPTUAL,
    VALUE_BYTES,
    Algorithm,
    Manifest,
    schema,
)

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
    videos = {path for path in paths if media.claimed(head(path)) == "video"}
    names: list[str] = []
    codes: list[npt.NDArray[np.uint8]] = []
    left: list[Left] = []
    for first in range(0, len(paths), _HASHING_BATCH):
        part = paths[first : first + _HASHING_BATCH]
        left += [
            Left(path.relative_to(folder).as_posix(), "a video, not a picture")
            for path in part
            if path in videos
        ]
        pictures = [path for path in part if path not in videos]
        batch = pdq.hash_images([path.read_bytes() for path in pictures])
        for row, path in enumerate(pictures):
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
    if not names and videos:
        raise IndicatorSetError(
            f"{folder} gave no indicator: these are videos, not pictures; build it with "
            f"{_option('vpdq')}"
        )
    if not names:
        raise IndicatorSetError(f"{folder} gave no indicator: no file in it is a usable picture")
    return table("pdq", names, [code.tobytes() for code in codes]), left


def head(path: Path) -> bytes:
    """As much of a file as tells what it claims to be."""
    with open(path, "rb") as file:
        return file.read(media.HEAD_BYTES)


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
    return table(algorithm, names, values)


@dataclass(frozen=True)
class Previous:
    """The version before: what a new one carries on."""

    manifest: Manifest
    data: pa.Table


def as_version(data: pa.Table, manifest: Manifest, previous: Previous | None) -> pa.Table:
    """The data of one version of a set: a list's rows, the effective day and cluster of each.

    What was listed before keeps its day, so that a new version makes no old hit new again. In a set
    of kind new a cluster is one indicator: what joins it is effective from the cluster's first day.

    Args:
        data: the rows, from `from_images` or `from_list`.
        manifest: of the version that is built.
        previous: the version before, whose days and clusters are kept; None for version 1.

    Raises:
        IndicatorSetError: `previous` is not the version before, or an indicator bridges two of its
            clusters.
    """
    if previous is None:
        _check_first(manifest)
    else:
        _check_follows(manifest, previous.manifest)
    unit, named = "value", None
    if manifest.kind == "new":
        unit, named = "cluster", _clusters(data, manifest, previous)
    since = _by_unit(previous.data, unit, "effective") if previous else {}
    units = data["value"].to_pylist() if named is None else named
    days = [since.get(one, manifest.effective) for one in units]
    if manifest.algorithm == "vpdq":
        names = data["indicator_id"].to_pylist()
        first = _least(names, days)  # a video is one indicator, on whatever frame it is hit
        days = [first[name] for name in names]
    dated = data.append_column(EFFECTIVE, pa.array(days, pa.date32()))
    return dated if named is None else dated.append_column(CLUSTER, pa.array(named, pa.string()))


def _clusters(data: pa.Table, manifest: Manifest, previous: Previous | None) -> list[str]:
    kept = _by_unit(previous.data, "value", "cluster") if previous else {}
    values, ids = data["value"].to_pylist(), data["indicator_id"].to_pylist()
    if manifest.algorithm in PERCEPTUAL:
        codes = np.frombuffer(b"".join(values), np.uint8).reshape(-1, limits.PDQ_BYTES)
        roots = clusters.single_linkage(codes, manifest.cluster_radius_bits)
        if manifest.algorithm == "vpdq":
            roots = clusters.joined(roots, ids)
    else:
        roots = np.arange(len(values), dtype=np.int64)  # exact values have no near-duplicates
    return clusters.names(ids, values, roots, kept)


def _check_first(manifest: Manifest) -> None:
    if manifest.lineage:
        raise IndicatorSetError(
            f"indicator set {manifest.set_id!r}: version {manifest.version} is built without the "
            "version before: give it"
        )


def _check_follows(manifest: Manifest, before: Manifest) -> None:
    for name in ("set_id", "kind", "algorithm", "url_key"):
        now, then = getattr(manifest, name), getattr(before, name)
        if now != then:
            raise IndicatorSetError(
                f"indicator set {manifest.set_id!r}: {name} is not that of the version before, "
                f"{before.set_id!r} version {before.version}; a set keeps it for good"
            )
    if manifest.kind == "new" and manifest.radius_bits < before.radius_bits:
        raise IndicatorSetError(
            f"indicator set {manifest.set_id!r}: radius_bits is {manifest.radius_bits}, less than "
            f"{before.radius_bits} of version {before.version}: what joins now could be near a "
            "picture hit before and count as another. Keep the radius"
        )
    if manifest.effective < before.effective:
        raise IndicatorSetError(
            f"indicator set {manifest.set_id!r}: effective is {manifest.effective}, before "
            f"{before.effective} of version {before.version}; give that day or a later one"
        )
    if manifest.version <= before.version or manifest.lineage != before.next_lineage:
        raise IndicatorSetError(
            f"indicator set {manifest.set_id!r}: version {manifest.version} does not follow "
            f"version {before.version}: give the version before, and a higher number"
        )


def _by_unit(data: pa.Table, unit: str, column: str) -> dict[Any, Any]:
    """What stands beside each value or cluster; beside one that stands twice, the least."""
    return _least(data[unit].to_pylist(), data[column].to_pylist())


def _least(units: Sequence[Any], beside: Sequence[Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for one, other in zip(units, beside, strict=True):
        found[one] = min(other, found.get(one, other))
    return found


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
    listed = [one for one in _ALGORITHMS if one not in ("url", "vpdq")]
    fitting = [one for one in listed if VALUE_BYTES[one] == size_bytes]
    if not fitting:
        return ""
    options = " or ".join(map(_option, fitting))
    return f"; this has the length of {' or '.join(fitting)}: build the list with {options}"


def table(algorithm: Algorithm, names: list[str], values: list[bytes]) -> pa.Table:
    """A list's rows: each value beside its indicator's id."""
    return pa.table(
        {
            "indicator_id": pa.array(names, pa.string()),
            "value": pa.array(values, pa.binary(VALUE_BYTES[algorithm])),
        },
        schema=schema(algorithm),
    )
