"""What one item may cost before it counts as a bomb: entries, and bytes that come out of it."""

from __future__ import annotations

from typing import Self

from matchers import limits
from matchers.errors import DecodeError


class Budget:
    """Spent as it is used, never by what a header declares. Once overdrawn, it stays so.

    Each container has a budget by its own size, and what is spent inside it is spent of those
    around it too. So a bomb among honest files ends by itself, and many of them end the item.
    """

    def __init__(self, given_bytes: int, *, around: Budget | None = None) -> None:
        """Start the budget of a container that is `given_bytes` long."""
        allowed = max(given_bytes * limits.MAX_EXPANSION_RATIO, limits.FREE_EXPANDED_BYTES)
        self._left_bytes = min(allowed, limits.MAX_EXPANDED_BYTES)
        self._left_entries = limits.MAX_ENTRIES
        self._around = around

    def inside(self, given_bytes: int) -> Self:
        """The budget of a container inside this one."""
        return type(self)(given_bytes, around=self)

    def count_entry(self) -> None:
        """Count one more entry.

        Raises:
            DecodeError: reason `too_many_entries`.
        """
        if self._around is not None:
            self._around.count_entry()
        self._left_entries -= 1
        if self._left_entries < 0:
            raise DecodeError("too_many_entries")

    def spend(self, size_bytes: int) -> None:
        """Count bytes that came out of the container.

        Raises:
            DecodeError: reason `expands_too_much`.
        """
        if self._around is not None:
            self._around.spend(size_bytes)
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise DecodeError("expands_too_much")
