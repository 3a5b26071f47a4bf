"""A row that the gate lets through -> what is left of its item once it has been examined.

The bytes come with the row or are read, the sandbox decodes them; a hash ledger, where there is
one, may know what comes of that already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from matchers import limits
from matchers.errors import DecodeError, UrlError
from matchers.examine import NEEDS_DECODING, SKIP_REASONS, Part
from matchers.scanner import Examined, Result, Scanner
from pipeline import read
from pipeline.errors import ItemError
from pipeline.ledger.again import NO_LONGER_KEPT, Again
from pipeline.ledger.ledger import Keeping, Ledger

_MOST_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Codes of an item that wait for the rest of its batch: some minutes of film, a hundred stills."""


@dataclass(frozen=True)
class Matched:
    """An item whose fingerprints were too large to wait for others."""

    parts: tuple[tuple[Part, Result], ...]


Opened = tuple[Examined, ...] | Matched | ItemError
"""What is left of an item once it has been examined."""


def parts_of(opened: tuple[Examined, ...] | Matched) -> Sequence[object]:
    """The item and what is inside it, one each."""
    return opened.parts if isinstance(opened, Matched) else opened


def examine(
    scanner: Scanner,
    keeping: Keeping | None,
    row: dict[str, Any],
    content: pa.LargeBinaryScalar | None = None,
) -> Opened:
    """One row's fingerprints, and those of what is inside it; none if the gate keeps it shut.

    A film's may take a hundred megabytes: those are looked up here, and let go of.
    """
    if row["skip_reason"] is not None:
        return ()
    try:
        if row["kind"] == "url":
            parts = scanner.examine(row["url"])
        elif keeping is None:
            parts = scanner.examine(_bytes_of(row, content))
        else:
            parts = _reused_or_examined(scanner, keeping, row, _bytes_of(row, content))
    except ItemError as error:
        return error
    except (DecodeError, UrlError) as error:
        return ItemError("decode", error.reason)
    except MemoryError:
        return ItemError("decode", "out_of_memory")
    return _lightened(scanner, parts)


def _lightened(scanner: Scanner, parts: tuple[Examined, ...]) -> tuple[Examined, ...] | Matched:
    """The same parts; looked up already, and without their codes, if these are very many."""
    held = (one.part.fingerprints.nbytes for one in parts if one.part.fingerprints)
    if sum(held) <= _MOST_WAITING_BYTES:
        return parts
    results = scanner.match(parts)
    return Matched(
        tuple(
            (replace(one.part, fingerprints=None), result)
            for one, result in zip(parts, results, strict=True)
        )
    )


def _reused_or_examined(
    scanner: Scanner, keeping: Keeping, row: dict[str, Any], blob: memoryview
) -> tuple[Examined, ...]:
    """Decode an item, unless the ledger knows what comes of that; either way it is kept."""
    sha256 = hashlib.sha256(blob).digest()
    known = keeping.known(sha256)
    if known is not None:
        parts = scanner.recall(known, scanner.wanted)
        if not any(_may_end_otherwise(one.part) for one in parts):
            keeping.add(row, sha256, known, is_reused=True)
            return parts
    parts = scanner.examine(blob)
    keeping.add(row, sha256, scanner.recallable(parts))
    return parts


def _may_end_otherwise(part: Part) -> bool:
    """Whether decoding it anew may tell more: time and memory do not run out every time."""
    return part.reason is not None and (
        part.reason == NEEDS_DECODING or part.reason not in SKIP_REASONS
    )


def recalled(
    rows: Sequence[dict[str, Any]], again: Again, scanner: Scanner, ledger: Ledger | None
) -> Iterator[Opened]:
    """What the ledger holds of each row that the gate lets through."""
    if ledger is None:
        raise ValueError("rows are matched again from a ledger")
    is_open = [row["skip_reason"] is None for row in rows]
    for wanted, held in zip(is_open, ledger.parts(again, is_open), strict=True):
        if held is not None:
            yield _lightened(scanner, scanner.recall(*held))
        else:  # or its day was over between two steps
            yield ItemError("read", NO_LONGER_KEPT) if wanted else ()


def _bytes_of(row: dict[str, Any], content: pa.LargeBinaryScalar | None) -> memoryview:
    """What came with the row, else what it refers to."""
    if content is None or not content.is_valid:
        return read.read_item(row["uri"])
    if content.as_buffer().size > limits.MAX_ENCODED_BYTES:
        raise ItemError("read", "too_many_bytes")
    return memoryview(content.as_buffer())
