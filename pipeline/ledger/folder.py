"""The ledger's folder: a folder a day, a segment for each process that wrote on it.

    LEDGER/ledger.json                   its format, and for how many days items are kept
    LEDGER/2026-06-15/143005-9f2c.ledger

Retention deletes whole files: what was recorded on a day goes, the asked number of days later, with
that day's folder. Nothing is ever taken out of a segment, or added to a finished one.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matchers.examine import Wanted
from matchers.files import read_json, sync_folder, write_json
from matchers.hasher import hasher_version
from pipeline.errors import LedgerRefused
from pipeline.ledger import record
from pipeline.ledger.key import LedgerKey
from pipeline.ledger.record import About, Kept
from pipeline.ledger.segment import Place, Segment, SegmentWriter

FORMAT: Final = "sluis-ledger/1"
DEFAULT_DAYS: Final = 30
"""Days that items are kept unless it is said otherwise: lists are revised weekly to monthly, and
what has not been matched again by then is scanned again."""

SUFFIX: Final = ".ledger"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LedgerFolder:
    """A ledger on disk.

    Attributes:
        path: its folder.
        days: that items are kept.
    """

    path: Path
    days: int

    @classmethod
    def found(cls, path: Path) -> LedgerFolder:
        """A ledger that is there.

        Raises:
            LedgerRefused: it is not one.
        """
        settings = read_json(path / "ledger.json")
        if settings is None or settings.get("format") != FORMAT:
            raise LedgerRefused(
                f"{path} is no hash ledger: give the folder that `sluis scan --ledger` has kept"
            )
        return cls(path, settings["days"])

    @classmethod
    def made(cls, path: Path, days: int | None) -> LedgerFolder:
        """The same, made if it is new; `days` replaces what it was made with.

        Raises:
            LedgerRefused: something else is in the folder, or others can look into it.
        """
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.stat().st_mode & 0o077:
            raise LedgerRefused(f"{path} is open to others: chmod 700 {path}")
        if any(path.iterdir()) and not (path / "ledger.json").exists():
            raise LedgerRefused(f"{path} holds other things than a ledger: name a new folder")
        held = cls.found(path).days if (path / "ledger.json").exists() else None
        kept = days or held or DEFAULT_DAYS
        if kept != held:
            write_json(path / "ledger.json", {"format": FORMAT, "days": kept})
            sync_folder(path)
        return cls(path, kept)

    def segments(self) -> list[Path]:
        """All segments, the oldest day first."""
        return [path for day in self._day_folders() for path in sorted(day.glob(f"*{SUFFIX}"))]

    def sweep(self, today: dt.date) -> int:
        """Delete what has been kept for long enough; the number of files that went.

        None of them is still written: a scan begins a new segment each day.
        """
        count = 0
        for day in self._day_folders():
            if (today - dt.date.fromisoformat(day.name)).days < self.days:
                continue
            for path in list(day.iterdir()):
                path.unlink(missing_ok=True)
                count += 1
            with contextlib.suppress(OSError):  # another process has just swept, or written
                day.rmdir()
        if count:
            sync_folder(self.path)
        return count

    def _day_folders(self) -> list[Path]:
        found = []
        for entry in self.path.iterdir():
            with contextlib.suppress(ValueError):
                dt.date.fromisoformat(entry.name)
                found.append(entry)
        return sorted(found)


class LedgerWriter:
    """Appends what a scan has examined: one segment for each day that this process works on."""

    def __init__(
        self, folder: LedgerFolder, key: LedgerKey, clock: Callable[[], dt.datetime]
    ) -> None:
        """Nothing is written before the first item."""
        self._folder = folder
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()
        self._day: dt.date | None = None
        self._segment: SegmentWriter | None = None

    def append(
        self, items: Sequence[Kept], wanted: Wanted, sets: dict[str, int]
    ) -> tuple[Path, Place]:
        """Keep `items`; they are durable when this returns.

        Returns:
            The record's segment and its place there.

        Raises:
            OSError: they are not; they may be appended again.
        """
        now = self._clock()
        about = About(wanted, hasher_version(), sets, int(now.timestamp() * 1_000_000))
        sections = record.encode(items, about, self._key)
        with self._lock:
            segment = self._segment_of(now)
            try:
                return segment.path, segment.append(sections)
            except OSError:
                self._end()  # what is torn stays at the end of its file
                raise

    def close(self) -> None:
        """End the segment."""
        with self._lock:
            self._end()

    def _segment_of(self, now: dt.datetime) -> SegmentWriter:
        day = now.astimezone(dt.UTC).date()
        if day != self._day:
            self._end()
            self._folder.sweep(day)
            self._day = day
        if self._segment is None:
            place = self._folder.path / day.isoformat()
            place.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self._folder.path)
            name = f"{now.astimezone(dt.UTC):%H%M%S}-{secrets.token_hex(4)}{SUFFIX}"
            self._segment = SegmentWriter(place / name, self._key)
        return self._segment

    def _end(self) -> None:
        if self._segment is not None:
            self._segment.close()
            self._segment = None


def records(path: Path, key: LedgerKey) -> Iterator[tuple[Segment, Place]]:
    """The whole records of a segment; says so if one at its end is torn.

    Raises:
        FileNotFoundError, KeysRefused, LedgerDamaged: see `Segment`.
    """
    with contextlib.closing(Segment(path, key)) as segment:
        if not segment.is_begun:
            return
        for place in segment.places():
            yield segment, place
        if segment.torn_bytes:
            _log.warning(
                "%s ends in %d bytes of a record that was never finished: a scan was killed there "
                "or is still writing; its batch is scanned again",
                path,
                segment.torn_bytes,
            )
