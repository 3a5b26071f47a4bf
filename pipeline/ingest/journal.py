"""What a sending has had answers to, in a folder: so that it goes on where it stopped.

    JOURNAL/source.json      what is sent; a resumed sending must agree with it
    JOURNAL/items.parquet    the snapshot of references; removed at the end
    JOURNAL/answered.jsonl   one line for each answered batch: how many rows, and how they ended
    JOURNAL/refused.csv      rows that the front door refused, and why

Answers come in the order of the rows: how many there are says which row is next.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from matchers.files import write_json
from pipeline import sources
from pipeline.errors import RunRefused
from pipeline.sources import Declared, Snapshot

FORMAT: Final = "sluis-sending/1"
CHUNK_ROWS: Final = 8_192
_FIRST_FILES: Final = {"items.parquet", "items.parquet.new", "source.json.new"}
"""What a sending that was killed before its source.json may have left."""


@dataclass
class Sent:
    """How many rows are answered, and how.

    Attributes:
        total: rows of the source.
        rows: answered so far.
        accepted: on the front door's disk; it will be scanned.
        repeated: it was there already.
        skipped: rows that the order does not cover, by the gate's reason.
        refused: rows that were not kept, by reason.
    """

    total: int = 0
    rows: int = 0
    accepted: int = 0
    repeated: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Answer:
    """How one row ended: accepted, repeated, skipped or refused, the latter two with a reason."""

    outcome: str
    reason: str = ""


class Journal:
    """The folder of one sending."""

    def __init__(self, folder: Path, source: Path, declared: Declared | None) -> None:
        """Begin it, or go on with it.

        Raises:
            RunRefused: it is of another source, or of one that has changed.
            SourceRefused: the source cannot be sent as it is.
        """
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sent = Sent()
        about = self._about(source, declared)
        held = _read(folder / "source.json")
        if held is None:
            if any(path.name not in _FIRST_FILES for path in folder.iterdir()):
                raise RunRefused(f"{folder} holds something else: name a new --journal folder")
            snapshot = sources.take(
                source, folder / "items.parquet", chunk_rows=CHUNK_ROWS, declared=declared
            )
            held = about | {"rows": snapshot.rows}
            write_json(folder / "source.json", held)
        elif {name: held.get(name) for name in about} != about:
            raise RunRefused(
                f"{folder} is of another source, or this one has changed since: name a new "
                "--journal folder"
            )
        self.snapshot = Snapshot(folder / "items.parquet", held["rows"], CHUNK_ROWS)
        self.sent.total = held["rows"]
        self._answered = self._reopened()

    @property
    def refused_path(self) -> Path:
        """Where refused rows are listed."""
        return self._folder / "refused.csv"

    @property
    def is_complete(self) -> bool:
        """Whether every row is answered."""
        return self.sent.rows == self.sent.total

    def record(self, answers: Sequence[Answer]) -> None:
        """Add the answers of the next rows; they outlive this process."""
        line = {
            "rows": len(answers),
            "outcomes": Counter(one.outcome for one in answers),
            "skipped": Counter(one.reason for one in answers if one.outcome == "skipped"),
            "refused": [
                [self.sent.rows + number, one.reason]
                for number, one in enumerate(answers, 1)
                if one.outcome == "refused"
            ],
        }
        self._answered.write(json.dumps(line) + "\n")
        self._answered.flush()
        self._count(line)

    def finish(self) -> None:
        """All is answered: list what was refused; references are not kept longer than needed."""
        self._answered.flush()
        os.fsync(self._answered.fileno())
        refused = [
            row
            for text in (self._folder / "answered.jsonl").read_text().splitlines()
            for row in json.loads(text)["refused"]
        ]
        if refused:
            with open(self.refused_path, "w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["row", "reason"])
                writer.writerows(refused)
        self.snapshot.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it; another process may go on."""
        self._answered.close()

    def _about(self, source: Path, declared: Declared | None) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "source": str(source.resolve()),
            "sha256": sources.fingerprint(source),
            "declared": None if declared is None else vars(declared),
        }

    def _reopened(self) -> Any:
        """The file of answers without a line that a crash has torn; its counts are added up."""
        path = self._folder / "answered.jsonl"
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            self._count(json.loads(line))
        if whole != data:
            os.truncate(path, len(whole))
        return open(path, "a", encoding="utf-8")

    def _count(self, line: dict[str, Any]) -> None:
        self.sent.rows += line["rows"]
        self.sent.accepted += line["outcomes"].get("accepted", 0)
        self.sent.repeated += line["outcomes"].get("repeated", 0)
        self.sent.skipped.update(line["skipped"])
        self.sent.refused.update(reason for _, reason in line["refused"])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunRefused(f"{path} is damaged: name a new --journal folder") from error
    return value
