"""Bytes as libraries want them (a file), and as archives want them (one length after another)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

from matchers.errors import DecodeError

PIECE_BYTES: Final = 256 * 1024
"""What decompressors give at a time: nothing larger is made before it is counted."""


class Lent(io.RawIOBase):
    """A file over bytes that are somewhere already, for libraries that want a file."""

    def __init__(self, blob: bytes | memoryview) -> None:
        self._bytes = memoryview(blob)
        self._place = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: len(self._bytes)}[whence]
        if start + offset < 0:
            raise OSError("before the beginning")
        self._place = start + offset
        return self._place

    def readinto(self, room: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read as much as there is room for."""
        piece = self._bytes[self._place : self._place + len(room)]
        room[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


class Stream:
    """Bytes that come in pieces, taken in lengths of one's own, from front to back."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        """Take from `pieces`, none of which is empty."""
        self._pieces = pieces
        self._held = memoryview(b"")

    def ahead(self, size_bytes: int) -> bytes:
        """The next bytes (or all that are left), which stay to be taken."""
        held = bytes(self._held)
        while len(held) < size_bytes and (piece := next(self._pieces, b"")):
            held += piece
        self._held = memoryview(held)
        return held[:size_bytes]

    def read(self, size_bytes: int) -> bytes:
        """The next few bytes; fewer, or none, at the end."""
        if len(self._held) < size_bytes:
            self.ahead(size_bytes)
        taken = bytes(self._held[:size_bytes])
        self._held = self._held[size_bytes:]
        return taken

    def take(self, size_bytes: int) -> Iterator[bytes]:
        """The next bytes in pieces.

        Raises:
            DecodeError: reason `truncated`, or `corrupt` for a length below zero.
        """
        if size_bytes < 0:
            raise DecodeError("corrupt")
        while size_bytes:
            if not self._held:
                self._held = memoryview(next(self._pieces, b""))
            if not self._held:
                raise DecodeError("truncated")
            piece = bytes(self._held[:size_bytes])
            self._held = self._held[size_bytes:]
            size_bytes -= len(piece)
            yield piece

    def rest(self) -> Iterator[bytes]:
        """All that is left."""
        if self._held:
            yield bytes(self._held)
        self._held = memoryview(b"")
        yield from self._pieces


def exhaust(pieces: Iterator[bytes]) -> None:
    """Pass over what is left."""
    for _ in pieces:
        pass
