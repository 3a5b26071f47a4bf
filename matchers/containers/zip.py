"""Zip archives, and the documents that are zips (docx, xlsx, pptx, odt, epub, ...).

zipfile reads the central directory, which is what every reader shows; the entries' bytes are
expanded by `streams`. Local headers and checksums are not believed: a picture behind a wrong
checksum is a picture all the same. Entries may share their bytes, as in bombs without nesting: each
is paid for by the budget.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Final

from matchers import limits
from matchers.containers import streams
from matchers.containers.budget import Budget
from matchers.containers.entry import Entry, taken
from matchers.containers.reading import Lent, Stream
from matchers.errors import DecodeError

_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")  # signature, lengths of name and extra
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_LISTED_SIGNATURE: Final = b"PK\x01\x02"
_SPLIT_SIGNATURE: Final = b"PK\x07\x08"
_ENCRYPTED: Final = 1 | 1 << 6 | 1 << 13  # traditional, strong, masked headers (APPNOTE 4.4.4)
_AES: Final = 99
_EMPTY_BYTES: Final = 2  # nothing, deflated: some tools write that for a directory

_MANIFEST: Final = "META-INF/manifest.xml"
_ENCRYPTION_DATA: Final = b"encryption-data"

_Expand = Callable[[memoryview, zipfile.ZipInfo, Budget], Iterator[bytes]]
_METHODS: Final[dict[int, _Expand]] = {
    zipfile.ZIP_STORED: lambda data, _, budget: streams.stored(data, budget),
    zipfile.ZIP_DEFLATED: lambda data, _, budget: streams.deflated(data, budget),
    zipfile.ZIP_BZIP2: lambda data, _, budget: streams.bzipped(data, budget),
    zipfile.ZIP_LZMA: lambda data, info, budget: streams.zip_lzma(data, info.file_size, budget),
    20: lambda data, _, budget: streams.zstd(data, budget),  # zstd's first number
    93: lambda data, _, budget: streams.zstd(data, budget),
    95: lambda data, _, budget: streams.xz(data, budget),
}
"""How entries are expanded, by method (APPNOTE 4.4.5)."""


def entries(blob: memoryview, budget: Budget) -> Iterator[Entry]:
    """The files of a zip, in the order of its central directory; directories are none.

    Raises:
        DecodeError: reason `corrupt`, `multi_volume`, `too_many_entries` or `expands_too_much`.
    """
    listed = _listed(blob)
    sealed = _is_sealed_document(listed, blob, budget)
    number = 0
    for info in listed:
        if info.filename.endswith("/") and info.compress_size <= _EMPTY_BYTES:
            continue
        number += 1
        budget.count_entry()
        try:
            entry = taken(number, _pieces(info, blob, budget), declared_bytes=info.file_size)
        except DecodeError as error:
            yield Entry(number, None, error.reason)
            if error.reason == "expands_too_much":
                raise
        else:
            shut = sealed and entry.reason == "not_visual"
            yield Entry(number, None, "encrypted") if shut else entry


def _listed(blob: memoryview) -> list[zipfile.ZipInfo]:
    """What the central directory lists."""
    try:
        with zipfile.ZipFile(_Watched(blob)) as archive:
            listed = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, struct.error, NotImplementedError):
        split = bytes(blob[:4]) == _SPLIT_SIGNATURE
        raise DecodeError("multi_volume" if split else "corrupt") from None
    return listed


def _span(info: zipfile.ZipInfo, blob: memoryview) -> tuple[int, int]:
    """Where an entry's bytes start and end."""
    header = bytes(blob[info.header_offset :][: _LOCAL_HEADER.size])
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        return info.header_offset, info.header_offset
    _, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(header)
    start = info.header_offset + len(header) + name_bytes + extra_bytes
    return start, start + info.compress_size


def _pieces(info: zipfile.ZipInfo, blob: memoryview, budget: Budget) -> Iterator[bytes]:
    """The bytes of one entry as they are expanded."""
    start, end = _span(info, blob)
    if info.flag_bits & _ENCRYPTED or info.compress_type == _AES:
        raise DecodeError("encrypted")
    if start == info.header_offset:
        raise DecodeError("corrupt")
    if info.volume:
        raise DecodeError("multi_volume")
    if info.compress_type not in _METHODS:
        raise DecodeError("unsupported_compression")
    if end > len(blob):
        raise DecodeError("truncated")
    yield from _METHODS[info.compress_type](blob[start:end], info, budget)


def _is_sealed_document(listed: list[zipfile.ZipInfo], blob: memoryview, budget: Budget) -> bool:
    """Whether an OpenDocument says that its entries are under a password (ODF 1.3 part 2, 4.4).

    They are no encrypted entries to a zip, and their bytes look like nothing.
    """
    for info in listed:
        if info.filename == _MANIFEST:
            try:
                head = Stream(_pieces(info, blob, budget)).ahead(limits.MAX_MANIFEST_BYTES)
            except DecodeError:
                return False
            return _ENCRYPTION_DATA in head
    return False


class _Watched(Lent):
    """A zip as zipfile reads it: whole directories at a time, each entry a Python object."""

    def read(self, size: int = -1) -> bytes:
        piece = super().read(size) or b""
        if piece.count(_LISTED_SIGNATURE) > limits.MAX_ENTRIES:
            raise DecodeError("too_many_entries")
        return piece
