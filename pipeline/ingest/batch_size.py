"""How many uploads the scan takes at once: what is there, but no more than it does in a second.

The log hands over whatever has arrived while the batch before was scanned. So batches are small
when little arrives, which is what latency wants, and grow by themselves under load, which is what
the index's bulk search wants. What is left to decide is where to stop: a batch that takes much
longer than a second delays everybody in it, and its items' bytes stay that much longer.
"""

from __future__ import annotations

from typing import Final

TARGET_SECONDS: Final = 1.0
"""What a full batch may take: the bound on latency under load."""

LEAST_ROWS: Final = 16
"""Kept even when items are slow (videos), so that all threads have work."""

MOST_ROWS: Final = 1024
"""The index's bulk search gains nothing from more (docs/index.md)."""

MOST_BYTES: Final = 64 << 20
"""Content of a batch held in memory: about 300 photographs of 0.2 MB."""

_WEIGHT: Final = 0.3
"""Of the newest batch in the running rate: some ten batches are remembered."""

_LEAST_SECONDS: Final = 1e-3


class BatchSize:
    """The largest batch worth taking, from how quick the last ones were."""

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        """Take at most `most_rows` at once."""
        self._most_rows = most_rows
        self._rows_per_second: float | None = None

    @property
    def rows(self) -> int:
        """How many rows to take at most."""
        if self._rows_per_second is None:
            return min(self._most_rows, 256)
        wanted = round(self._rows_per_second * TARGET_SECONDS)
        return min(self._most_rows, max(LEAST_ROWS, wanted))

    def took(self, rows: int, seconds: float) -> None:
        """Learn from a batch; small ones say little, since each batch has a cost of its own."""
        if rows < min(LEAST_ROWS, self._most_rows):
            return
        rate = rows / max(seconds, _LEAST_SECONDS)
        before = self._rows_per_second
        self._rows_per_second = rate if before is None else before + _WEIGHT * (rate - before)
