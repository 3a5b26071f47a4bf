"""What became of every upload, counted exactly once, whenever the scan is killed.

    ACCOUNTS/outcomes/              a file for each batch, written by the scan's last step; its
                                    name says where in the upload log the batch begins and ends
    ACCOUNTS/days/DAY.json          a day's counts, and the place in the log up to which they go
    ACCOUNTS/days/DAY.failed.jsonl  the uploads of that day that could not be examined, and why
    ACCOUNTS/attempt.json           what is begun (`attempts`)

A batch has its outcome when its file is there, durably; only then may the log forget it. Files of
batches are folded into their day's and removed: the day's counts and the place they go up to are
one file, replaced whole, so a batch is in the counts or it is not. Two files a day stay.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matchers.files import sync_folder, write_json
from pipeline.errors import AccountingError
from pipeline.ingest.upload_log import Position
from pipeline.items import FAILED, Tally

_DAYS: Final = "????-??-??.json"
_NAME: Final = re.compile(r"(\d{8})-(\d{8})_(\d{8})-(\d{8})\.json")


def accounts_folder(log: Path) -> Path:
    """Where the accounts of a log are: with it, since they speak of its places."""
    return log / "accounts"


def batch_name(start: Position, end: Position) -> str:
    """The name of the batch between two places of the log."""
    return f"{start.segment:08d}-{start.record:08d}_{end.segment:08d}-{end.record:08d}"


@dataclass(frozen=True)
class Day:
    """The counts of a day.

    Attributes:
        tally: of all batches that ended on that day.
        batches: how many.
        seconds: spent in each step.
        through: the place in the log up to which batches are counted.
        failed_bytes: length of the list of failures that belongs to these counts.
    """

    tally: Tally
    batches: int
    seconds: dict[str, float]
    through: Position
    failed_bytes: int


class Accounts:
    """The accounts of one upload log. One process at a time: whoever reads the log."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`, made if absent."""
        self.outcomes = folder / "outcomes"
        self._days = folder / "days"
        for made in (self.outcomes, self._days):
            made.mkdir(parents=True, exist_ok=True, mode=0o700)
        for unfinished in self.outcomes.glob(".*"):  # of a scan that was killed while writing
            unfinished.unlink()
        self._through = max((day.through for day in self.days().values()), default=Position(0, 0))

    def settled(self, position: Position) -> Position:
        """How far every upload has its outcome, given that the log is read up to `position`."""
        at = max(position, self._through)
        for start, end, _ in self._files():
            if start <= at < end:
                at = end
        return at

    def fold(self) -> None:
        """Count the finished batches into their days.

        Raises:
            AccountingError: two batches overlap: something was counted twice.
        """
        counted = self._through
        found: list[tuple[dt.date, Position, dict[str, Any]]] = []
        done = list(self._files())
        for start, end, path in done:
            if end <= counted:  # killed between counting and removing
                continue
            if start < counted:
                raise AccountingError(
                    f"{path}: this batch overlaps what is already counted. This is a defect of "
                    "Sluis: keep the folder and report it"
                )
            outcome = json.loads(path.read_text(encoding="utf-8"))
            day = dt.datetime.fromtimestamp(outcome["finished_at"], dt.UTC).date()
            found.append((day, end, outcome))
            counted = end
        # In the log's order, whatever the clock did meanwhile, so that `through` only grows.
        for day, batches in itertools.groupby(found, key=lambda one: one[0]):
            of_day = list(batches)
            self._through = of_day[-1][1]
            self._add(day, [outcome for _, _, outcome in of_day], self._through)
        if found:
            sync_folder(self._days)
        for _, _, path in done:
            path.unlink()

    def days(self) -> dict[dt.date, Day]:
        """Every day's counts; what is not folded yet is not in them."""
        return {
            dt.date.fromisoformat(path.stem): _read(path) for path in sorted(self._days.glob(_DAYS))
        }

    def failed(self, day: dt.date) -> list[dict[str, str | None]]:
        """The uploads of a day that could not be examined: `items.FAILED` by name."""
        path = self._failures(day)
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def _add(self, day: dt.date, outcomes: list[dict[str, Any]], through: Position) -> None:
        path = self._days / f"{day}.json"
        before = (
            _read(path) if path.exists() else Day(Tally(), 0, {}, Position(0, 0), failed_bytes=0)
        )
        tally, seconds = before.tally, dict(before.seconds)
        failed = []
        for outcome in outcomes:
            tally.add(Tally.from_json(outcome["tally"]))
            failed += outcome["failed"]
            for step, spent in outcome["seconds"].items():
                seconds[step] = seconds.get(step, 0.0) + spent
        tally.check(str(path))
        failed_bytes = before.failed_bytes
        if failed:
            failed_bytes = self._list_failed(day, failed, failed_bytes)
        write_json(
            path,
            {
                "tally": tally.to_json(),
                "batches": before.batches + len(outcomes),
                "seconds": seconds,
                "through": [through.segment, through.record],
                "failed_bytes": failed_bytes,
            },
        )

    def _list_failed(self, day: dt.date, failed: list[list[str | None]], at: int) -> int:
        """Append, over what a killed scan may have appended before its counts were there."""
        lines = [json.dumps(dict(zip(FAILED.names, row, strict=True))) + "\n" for row in failed]
        with open(self._failures(day), "ab") as file:
            file.truncate(at)
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())
            return at + sum(len(line.encode()) for line in lines)

    def _failures(self, day: dt.date) -> Path:
        return self._days / f"{day}.failed.jsonl"

    def _files(self) -> Iterator[tuple[Position, Position, Path]]:
        return _batches(self.outcomes)


def counted_on(day: dt.date, folder: Path) -> Tally:
    """A day's counts with those of batches that are not folded yet; for whoever only looks."""
    batches = list(_batches(folder / "outcomes"))  # first: what is folded meanwhile is in the day
    path = folder / "days" / f"{day}.json"
    tally = _read(path).tally if path.exists() else Tally()
    through = max(
        (_read(path).through for path in (folder / "days").glob(_DAYS)), default=Position(0, 0)
    )
    for _, end, file in batches:
        if end > through:
            with contextlib.suppress(FileNotFoundError):
                outcome = json.loads(file.read_text(encoding="utf-8"))
                if dt.datetime.fromtimestamp(outcome["finished_at"], dt.UTC).date() == day:
                    tally.add(Tally.from_json(outcome["tally"]))
    return tally


def _batches(outcomes: Path) -> Iterator[tuple[Position, Position, Path]]:
    """Where the batches that are not folded yet begin and end, in the log's order."""
    for path in sorted(outcomes.glob("*.json")):
        found = _NAME.fullmatch(path.name)
        if found:
            numbers = [int(number) for number in found.groups()]
            yield Position(*numbers[:2]), Position(*numbers[2:]), path


def _read(path: Path) -> Day:
    """A day's counts.

    Raises:
        AccountingError: the file is damaged; it is replaced whole, so no crash does that.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Day(
            Tally.from_json(kept["tally"]),
            kept["batches"],
            kept["seconds"],
            Position(*kept["through"]),
            kept["failed_bytes"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise AccountingError(
            f"{path} is damaged: restore it from a backup; without it uploads would be counted "
            "twice"
        ) from error
