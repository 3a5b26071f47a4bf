"""Manifests for tests, written in each format that a provider may hand in."""

from __future__ import annotations

import csv
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".csv", ".jsonl")

Row = Mapping[str, Any]


def item(number: int = 1, **changes: object) -> dict[str, Any]:
    """A valid row for an image."""
    row = {
        "item_id": f"item-{number}",
        "account_id": f"account-{number % 3}",
        "kind": "image",
        "uri": f"pictures/{number}.jpg",
        "url": None,
        "part": "public-gallery",
        "uploaded_at": dt.datetime(2026, 3, 1, 12, number % 60, tzinfo=dt.UTC),
        "encryption": "none",
        "account_class": "ordinary",
        "consent": "given",
        "user_notice": "no",
    }
    return row | changes


def without(row: Row, *names: str) -> dict[str, Any]:
    """The row without some of its columns."""
    return {name: value for name, value in row.items() if name not in names}


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as the format of the path's suffix; the first row names the columns."""
    names = list(rows[0])
    if path.suffix.lower() == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows({name: _text(row[name]) for name in names} for row in rows)
    elif path.suffix.lower() == ".parquet":
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), path)
    else:
        lines = [json.dumps({name: _plain(value) for name, value in row.items()}) for row in rows]
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.datetime) else value


def _text(value: object) -> str:
    return "" if value is None else str(_plain(value))
