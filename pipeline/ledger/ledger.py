"""The ledger of one scanning process: keeps what was examined, and finds it again."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from matchers.examine import Part, Wanted
from pipeline.ledger import again, record
from pipeline.ledger.again import Again
from pipeline.ledger.folder import LedgerFolder, LedgerWriter
from pipeline.ledger.key import read_key, read_or_make_key
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
        # To a ledger that is there belongs a key that is there: no other would open it.
        self.key = read_key(provider) if self.folder.segments() else read_or_make_key(provider)
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
        """Keep examined items; they are durable when this returns.

        Raises:
            OSError: they are not.
        """
        self.prepare().note(*self._writer.append(items, wanted, sets), items)

    def keeping(self, wanted: Wanted, sets: dict[str, int]) -> Keeping:
        """What a batch is kept with that is examined for `wanted`, to ask `sets` by version."""
        return Keeping(self, wanted, sets)

    def rows(
        self, references: pa.RecordBatch, withdrawn: pa.StringArray
    ) -> tuple[pa.RecordBatch, Again]:
        """See `again.rows`."""
        return again.rows(references, self.folder.path, self._reader, withdrawn)

    def parts(
        self, kept: Again, wanted: list[bool]
    ) -> Iterator[tuple[tuple[Part, ...], Wanted] | None]:
        """See `again.parts`."""
        return again.parts(kept, wanted, self.folder.path, self._reader)

    def close(self) -> None:
        """End the segment that is being written."""
        self._writer.close()


class Keeping:
    """Keeps what one batch examines, as it comes. Thread-safe.

    Attributes:
        reused: items that were not decoded.
    """

    def __init__(self, ledger: Ledger, wanted: Wanted, sets: dict[str, int]) -> None:
        """See `Ledger.keeping`."""
        self._ledger = ledger
        self._wanted = wanted
        self._sets = sets
        self._lock = threading.Lock()
        self._waiting: list[Kept] = []
        self._waiting_bytes = 0
        self.reused = 0

    def known(self, sha256: bytes) -> tuple[Part, ...] | None:
        """What these bytes were reduced to before, for the same question by the same code."""
        return self._ledger.find(sha256, self._wanted)

    def add(
        self,
        row: dict[str, Any],
        sha256: bytes,
        parts: tuple[Part, ...],
        *,
        is_reused: bool = False,
    ) -> None:
        """Keep an item, if anything of it can be matched again.

        Args:
            row: of schema `ITEMS`, at least.
            sha256: of its bytes.
            parts: what it was reduced to, see `Scanner.recallable`.
            is_reused: whether that was known.

        Raises:
            OSError: it cannot be kept.
        """
        encoded = b""
        if is_worth_keeping(parts):
            encoded = record.encode_parts(parts, self._wanted)
        with self._lock:
            self.reused += is_reused
            if not encoded or len(encoded) > record.MAX_ITEM_BYTES:
                return
            self._waiting.append(Kept(row, sha256, encoded))
            self._waiting_bytes += len(encoded)
            if self._waiting_bytes >= record.MAX_RECORD_BYTES:
                self._write()

    def finish(self) -> None:
        """All of it is durable when this returns.

        Raises:
            OSError: it is not.
        """
        with self._lock:
            self._write()

    def _write(self) -> None:
        if self._waiting:
            self._ledger.keep(self._waiting, self._wanted, self._sets)
            self._waiting, self._waiting_bytes = [], 0
