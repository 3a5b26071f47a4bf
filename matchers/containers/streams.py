"""Compressed bytes -> pieces of bounded size, each counted before the next one is made.

The libraries' own file objects will not do: zipfile expands a whole input block of bzip2 or LZMA
at once (4 kB of bzip2 hold 4 GB), and lzma's file object takes any dictionary.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import zstandard

from matchers import limits, media
from matchers.containers.budget import Budget
from matchers.containers.reading import PIECE_BYTES
from matchers.errors import DecodeError

_LEAST_INPUT_BYTES: Final = 1024  # the first input of a member; it doubles from there on
_MOST_INPUT_BYTES: Final = 64 * 1024
_ZSTD_INPUT_BYTES: Final = 128
"""Four bytes of zstd stand for a block of up to 128 KiB: so 4 MiB come at once at most."""


_DAMAGE: Final = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
)


class _Decompressor(Protocol):
    """What bz2 and lzma offer alike."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Inflate:
    """zlib's decompressor, in the manner of the others."""

    def __init__(self, window: int) -> None:
        self._zlib = zlib.decompressobj(window)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        piece = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = len(piece) < max_length and not self._zlib.unconsumed_tail
        return piece


class _Zstd:
    """zstd's decompressor, in the manner of the others; it gives all it can at once.

    The bound on a frame's window is checked before zstd makes room for it.
    """

    needs_input = True

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(
            max_window_size=limits.MAX_WINDOW_BYTES
        ).decompressobj()

    @property
    def eof(self) -> bool:
        return self._zstd.eof

    @property
    def unused_data(self) -> bytes:
        return self._zstd.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:  # noqa: ARG002 - not known to it
        return self._zstd.decompress(data)


def stored(blob: memoryview, budget: Budget) -> Iterator[bytes]:
    """Bytes that are not compressed."""
    yield from _counted(_slices(blob), budget)


def deflated(blob: memoryview, budget: Budget) -> Iterator[bytes]:
    """A bare deflate stream, as in a zip."""
    yield from _counted(_members(lambda: _Inflate(-zlib.MAX_WBITS), blob, most=1), budget)


def gzipped(blob: memoryview, budget: Budget) -> Iterator[bytes]:
    """A gzip file of any number of members."""
    yield from _counted(_members(lambda: _Inflate(16 + zlib.MAX_WBITS), blob), budget)


def bzipped(blob: memoryview, budget: Budget) -> Iterator[bytes]:
    """A bzip2 file of any number of streams."""
    yield from _counted(_members(bz2.BZ2Decompressor, blob), budget)


def xz(blob: memoryview, budget: Budget) -> Iterator[bytes]:
    """An xz file of any number of streams."""

    def new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=2 * limits.MAX_WINDOW_BYTES)

    yield from _counted(_members(new, blob), budget)


def zip_lzma(blob: memoryview, size_bytes: int, budget: Budget) -> Iterator[bytes]:
    """LZMA as a zip holds it (APPNOTE 5.8.8): version, length of the properties, properties.

    Args:
        blob: the compressed bytes.
        size_bytes: what is to come out; LZMA in a zip need not mark its end.
        budget: what is counted against.
    """
    head = bytes(blob[:9])
    if len(head) < 9 or head[2:4] != b"\x05\0" or head[4] >= 9 * 5 * 5:
        raise DecodeError("corrupt")
    rest, lc = divmod(head[4], 9)
    pb, lp = divmod(rest, 5)
    window = int.from_bytes(head[5:9], "little")
    check_window(window)
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": window, "lc": lc, "lp": lp, "pb": pb}]

    def new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)

    for piece in _counted(_members(new, blob[9:], most=1, marked=False), budget):
        yield piece[:size_bytes]
        size_bytes -= len(piece)
        if size_bytes <= 0:
            return


def zstd(blob: memoryview, budget: Budget) -> Iterator[bytes]:
    """A zstd file of any number of frames."""
    yield from _counted(_members(_Zstd, blob, most_input=_ZSTD_INPUT_BYTES), budget)


def check_window(size_bytes: int) -> None:
    """Refuse a dictionary that is too large.

    Raises:
        DecodeError: reason `too_much_memory`.
    """
    if size_bytes > limits.MAX_WINDOW_BYTES:
        raise DecodeError("too_much_memory")


def _counted(pieces: Iterator[bytes], budget: Budget) -> Iterator[bytes]:
    for piece in pieces:
        if piece:
            budget.spend(len(piece))
            yield piece


def _slices(blob: memoryview) -> Iterator[bytes]:
    yield bytes(blob[: media.HEAD_BYTES])
    for place in range(media.HEAD_BYTES, len(blob), PIECE_BYTES):
        yield bytes(blob[place : place + PIECE_BYTES])


def _members(
    new: Callable[[], _Decompressor],
    blob: memoryview,
    *,
    most: int | None = None,
    marked: bool = True,
    most_input: int = _MOST_INPUT_BYTES,
) -> Iterator[bytes]:
    """The pieces of compressed members that follow one another.

    Bytes behind the last member that begin no further one are passed over, as the tools do.

    Args:
        new: makes the decompressor of one member.
        blob: the members.
        most: how many there may be.
        marked: whether a member without an end mark is cut off.
        most_input: bytes given to the decompressor at once.

    Raises:
        DecodeError: reason `corrupt`, `truncated` or `too_much_memory`.
    """
    place, members = 0, 0
    while members != most:
        if members:
            place = _past_padding(blob, place)
            if media.claimed(blob[place : place + media.HEAD_BYTES]) is None:
                return
        decompressor = new()
        step, length = min(_LEAST_INPUT_BYTES, most_input), media.HEAD_BYTES
        while not decompressor.eof:
            data = b""
            if decompressor.needs_input:
                data = bytes(blob[place : place + step])
                place += len(data)
                step = min(2 * step, most_input)
                if not data:
                    if marked:
                        raise DecodeError("truncated")
                    return
            try:
                piece = decompressor.decompress(data, length)
            except _DAMAGE as error:
                raise DecodeError(_reason(error)) from None
            if piece:
                length = PIECE_BYTES
                yield piece
        place -= len(decompressor.unused_data)
        members += 1


def _past_padding(blob: memoryview, place: int) -> int:
    """The place of the next byte that is not zero."""
    while place < len(blob):
        piece = bytes(blob[place : place + _LEAST_INPUT_BYTES])
        rest = piece.lstrip(b"\0")
        place += len(piece) - len(rest)
        if rest:
            break
    return place


def _reason(error: Exception) -> str:
    too_large = "Memory usage limit" in str(error) or "too much memory" in str(error)
    return "too_much_memory" if too_large else "corrupt"
