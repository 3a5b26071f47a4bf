"""7z archives: py7zr reads the header and builds the decompressors, this reads the bytes.

py7zr's own extraction goes to names and holds everything until its end; here a solid block is
read once, entry by entry, and names are never looked at. No password is ever tried.
"""

from __future__ import annotations

import io
import lzma
import struct
from collections.abc import Iterator
from typing import Any, Final

import py7zr
from py7zr import archiveinfo, exceptions

from matchers import limits
from matchers.containers import streams
from matchers.containers.budget import Budget
from matchers.containers.entry import Entry, taken
from matchers.containers.reading import PIECE_BYTES, Lent, Stream, exhaust
from matchers.errors import DecodeError

# py7zr's own caps let a header of some kB become gigabytes of Python objects; they are constants
# of its module, read anew each time.
archiveinfo.MAX_NUMFILES = 2 * limits.MAX_ENTRIES
archiveinfo.MAX_HEADER_SIZE = limits.MAX_ENTRIES * 256

_LZMA, _LZMA2 = b"\x03\x01\x01", b"\x21"
_AES: Final = b"\x06\xf1\x07\x01"
_BOUNDED: Final = frozenset(
    {
        b"\x00",  # stored
        b"\x03",  # delta
        _LZMA,
        _LZMA2,
        b"\x04\x02\x02",  # bzip2
        b"\x03\x03\x01\x03",  # branch filters: x86
        b"\x03\x03\x02\x05",  # PowerPC
        b"\x03\x03\x04\x01",  # Itanium
        b"\x03\x03\x05\x01",  # ARM
        b"\x03\x03\x07\x01",  # ARM Thumb
        b"\x03\x03\x08\x05",  # SPARC
    }
)
"""Methods whose decompressor in py7zr keeps to the length it is asked for (7-Zip, Methods.txt).
Those of Deflate64, Brotli and PPMd do not, or run threads of their own."""

_OURS: Final = {b"\x04\x01\x08": streams.deflated, b"\x04\xf7\x11\x01": streams.zstd}
"""Methods that would be expanded without bound by py7zr, and are expanded by `streams` instead."""

_DAMAGE: Final = (
    exceptions.ArchiveError,
    lzma.LZMAError,
    struct.error,
    # What py7zr lets through where a header or a block is damaged.
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
)


def entries(blob: memoryview, budget: Budget) -> Iterator[Entry]:
    """The files of a 7z, in the order of its header; directories are none.

    Raises:
        DecodeError: reason `encrypted` (its header is), `corrupt`, `too_many_entries`,
            `too_much_memory` or `expands_too_much`.
    """
    archive = _opened(blob)
    places = _places(archive)
    number = 0
    folder: Any = None
    block = _Block(iter(()))
    for file in archive.files:
        if file.emptystream and file.is_directory:
            continue
        number += 1
        budget.count_entry()
        if file.emptystream:
            yield Entry(number, None, "not_visual")
            continue
        if file.folder is not folder:
            folder = file.folder
            start, end = places.get(id(folder), (0, 0))
            block = _Block(_expanded(folder, blob[start:end], budget))
        yield block.entry(number, file.uncompressed)
        if block.reason == "expands_too_much":
            raise DecodeError(block.reason)


class _Block:
    """Files that are compressed together (7-Zip calls it a folder): each lies behind the others."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._stream = Stream(pieces)
        self._unread: Iterator[bytes] = iter(())
        self.reason: str | None = None

    def entry(self, number: int, size_bytes: int) -> Entry:
        """The next file; once one could not be read, none behind it can."""
        if self.reason is not None:
            return Entry(number, None, self.reason)
        try:
            exhaust(self._unread)
            self._unread = self._stream.take(size_bytes)
            return taken(number, self._unread, declared_bytes=size_bytes)
        except DecodeError as error:
            self.reason = error.reason
            return Entry(number, None, error.reason)


def _opened(blob: memoryview) -> Any:
    """The archive with its header read."""
    try:
        return py7zr.SevenZipFile(io.BufferedReader(Lent(blob)))
    except exceptions.PasswordRequired:
        raise DecodeError("encrypted") from None
    except exceptions.UnsupportedCompressionMethodError:
        raise DecodeError("unsupported_compression") from None
    except _DAMAGE as error:
        too_many = "exceeds limit" in str(error)
        raise DecodeError("too_many_entries" if too_many else "corrupt") from None


def _expanded(folder: Any, packed: memoryview, budget: Budget) -> Iterator[bytes]:
    """The bytes of a block as they are expanded."""
    methods = [coder["method"] for coder in folder.coders]
    if _AES in methods:
        raise DecodeError("encrypted")
    if len(methods) == 1 and methods[0] in _OURS:
        yield from _OURS[methods[0]](packed, budget)
        return
    if not _BOUNDED.issuperset(methods) or any(
        coder["numinstreams"] != 1 or coder["numoutstreams"] != 1 for coder in folder.coders
    ):
        raise DecodeError("unsupported_compression")
    for coder in folder.coders:
        streams.check_window(_window_bytes(coder))
    try:
        for piece in _by_py7zr(folder, packed):
            budget.spend(len(piece))
            yield piece
    except exceptions.UnsupportedCompressionMethodError:
        raise DecodeError("unsupported_compression") from None
    except _DAMAGE:
        raise DecodeError("corrupt") from None


def _by_py7zr(folder: Any, packed: memoryview) -> Iterator[bytes]:
    file = io.BufferedReader(Lent(packed))
    decompressor = folder.get_decompressor(len(packed))
    left_bytes = folder.get_unpack_size()
    while left_bytes > 0:
        place = file.tell()
        piece = bytes(decompressor.decompress(file, min(left_bytes, PIECE_BYTES)))
        if piece:
            left_bytes -= len(piece)
            yield piece
        elif file.tell() == place:
            raise DecodeError("truncated")


def _places(archive: Any) -> dict[int, tuple[int, int]]:
    """Where the compressed bytes of each block start and end, by its `id`."""
    info = archive.header.main_streams
    if info is None or info.packinfo is None or info.unpackinfo is None:
        return {}
    places = {}
    start = archive.afterheader + info.packinfo.packpos
    positions = info.packinfo.packpositions
    first = 0
    for folder in info.unpackinfo.folders:
        if first + 1 < len(positions):
            places[id(folder)] = start + positions[first], start + positions[first + 1]
        first += len(folder.packed_indices)
    return places


def _window_bytes(coder: dict[str, Any]) -> int:
    """The dictionary a method asks for (7-Zip, lzma.txt; the xz file format, 5.3.1)."""
    properties = coder["properties"] or b""
    if coder["method"] == _LZMA and len(properties) >= 5:
        return int.from_bytes(properties[1:5], "little")
    if coder["method"] == _LZMA2 and properties:
        bits = properties[0] & 0x3F
        return (2 | bits & 1) << (bits // 2 + 11)
    return 0
