"""The ledger of one scanning process: keeps what was examined, and finds it again."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa

from matchers.examine import Part, Wanted
from pipeline.ledger import again
from pipeline.ledger.again import Again
from pipeline.ledger.folder import LedgerFolder, LedgerWriter
from pipeline.ledger.key import read_or_make_key
from pipeline.ledger.reading import Reader
from pipeline.ledger.record import Kept, is_worth_keeping
from pipeline.ledger.reuse import Reuse


class Ledger:
    """One ledger, as the steps of a scan use it. Thread-safe."""

    def __init__(
        self,
        path: Path,
        days: int | None,
        provider: Path,
        clock: Callable[[], dt.datetime],
    ) -> None:
        """Open it, or make it; what has been kept for long enough is deleted.

        Args:
            path: the ledger's folder.
            days: that items are kept; None: as it was made.
            provider: the provider's key folder.
            clock: tells the time.

        Raises:
            LedgerRefused: the folder is not fit for a ledger.
            KeysRefused: its key is damaged, or readable by others.
        """
        self.folder = LedgerFolder.made(path, days)
        self.key = read_or_make_key(provider)
        self.folder.sweep(clock().astimezone(dt.UTC).date())
        self._reader = Reader(self.key)
        self._writer = LedgerWriter(self.folder, self.key, clock)
        self._preparing = threading.Lock()
        self._reuse: Reuse | None = None

    def prepare(self) -> Reuse:
        """Read which content is known; else the first item waits for it.

        Raises:
            KeysRefused: what is there was sealed with another key.
        """
        with self._preparing:
            if self._reuse is None:
                self._reuse = Reuse(self.folder, self.key, self._reader)
            return self._reuse

    def find(self, sha256: bytes, wanted: Wanted) -> tuple[Part, ...] | None:
        """What these bytes were reduced to by this same code, if that is known."""
        return self.prepare().find(sha256, wanted)

    def keep(self, items: Sequence[Kept], wanted: Wanted, sets: dict[str, int]) -> None:
        """Keep what can be matched again; it is durable when this returns.

        Raises:
            OSError: it is not.
        """
        worth = [item for item in items if is_worth_keeping(item.parts)]
        if worth:
            self.prepare().note(self._writer.append(worth, wanted, sets))

    def rows(
        self, references: pa.RecordBatch, withdrawn: pa.StringArray
    ) -> tuple[pa.RecordBatch, Again]:
        """See `again.rows`."""
        return again.rows(references, self.folder.path, self._reader, withdrawn)

    def parts(
        self, kept: Again, wanted: list[bool]
    ) -> list[tuple[tuple[Part, ...], Wanted] | None]:
        """See `again.parts`."""
        return list(again.parts(kept, wanted, self.folder.path, self._reader))

    def close(self) -> None:
        """End the segment that is being written."""
        self._writer.close()
