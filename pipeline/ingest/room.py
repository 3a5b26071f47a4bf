"""How many bytes the front door holds at once, of all and of one party: more has to wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from pipeline.errors import SluisError

MOST_BYTES: Final = 128 * 1024 * 1024
"""Of all calls under way; each byte is in memory about four times until it is on disk."""
MOST_PARTY_BYTES: Final = 96 * 1024 * 1024
"""Of one party: others always find some room. One batch of the longest kind fits."""
PATIENCE_SECONDS: Final = 10.0
"""How long a batch waits for room before it is sent away."""
_ROW_BYTES: Final = 512  # what a row takes beside its content


class NoRoom(SluisError):  # noqa: N818 - reads as the outcome it is
    """The front door is busy; try again."""


class Room:
    """Bytes in flight. For one event loop."""

    def __init__(
        self, most_bytes: int = MOST_BYTES, most_party_bytes: int = MOST_PARTY_BYTES
    ) -> None:
        """Nothing is in flight."""
        self._most = most_bytes
        self._most_party = most_party_bytes
        self._held: Counter[str] = Counter()
        self._total = 0
        self._changed = asyncio.Event()

    @property
    def held_bytes(self) -> int:
        """In flight now."""
        return self._total

    async def take(self, party: str, rows: int, content_bytes: int) -> int:
        """Wait for room for a batch; its size, for `give`.

        Raises:
            NoRoom: none came in time.
        """
        size = rows * _ROW_BYTES + content_bytes
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not self._fits(party, size):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise NoRoom(f"no room came free for {PATIENCE_SECONDS:.0f} seconds") from None
        self._held[party] += size
        self._total += size
        return size

    def give(self, party: str, size: int) -> None:
        """The batch is on disk, or given up."""
        self._total -= size
        self._held[party] -= size
        if not self._held[party]:
            del self._held[party]
        self._changed.set()

    def _fits(self, party: str, size: int) -> bool:
        """Beside what is in flight; a batch that is larger than all room goes by itself."""
        return (not self._held[party] or self._held[party] + size <= self._most_party) and (
            not self._total or self._total + size <= self._most
        )
