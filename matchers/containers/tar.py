"""Tar archives, bare or behind gzip, bzip2, xz or zstd; and single files behind one of those.

Read once from front to back. tarfile reads the headers; its own way through an archive would
believe every length that stands in one.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import Final

from matchers import limits, media
from matchers.containers.budget import Budget
from matchers.containers.entry import Entry, taken
from matchers.containers.reading import Stream, exhaust
from matchers.errors import DecodeError

_BLOCK_BYTES: Final = tarfile.BLOCKSIZE
_NOT_FILES: Final = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)
_EXTENDED: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_ABOUT_THE_NEXT: Final = (
    *_EXTENDED,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_SPARSE_RECORDS: Final = {b"GNU.sparse.major", b"GNU.sparse.map", b"GNU.sparse.size"}
_SPARSE_MORE_IN_HEADER, _SPARSE_MORE_IN_BLOCK = 482, 504  # whether a block of places follows (GNU)
_RECORD_LENGTH: Final = re.compile(rb"([0-9]{1,6}) ")


def unpacked(pieces: Iterator[bytes], budget: Budget) -> Iterator[Entry]:
    """The files of a tar, or the one file that is there instead.

    Args:
        pieces: the bytes behind the compression, if there is one; counted by `budget` already.
        budget: what the entries are counted against.

    Raises:
        DecodeError: reason `corrupt`, `truncated`, `too_much_metadata`, `too_many_entries`, or what
            `pieces` raises; also midway.
    """
    stream = Stream(pieces)
    head = stream.ahead(media.HEAD_BYTES)
    if media.claimed(head) == "container" and media.container_kind(head) == "tar":
        yield from _entries(stream, budget)
    else:
        budget.count_entry()
        yield taken(1, stream.rest(), declared_bytes=0)


def _entries(stream: Stream, budget: Budget) -> Iterator[Entry]:
    """The entries of a tar in its order, directories left out."""
    number = 0
    extended: dict[bytes, bytes] = {}
    while (header := _header(stream)) is not None:
        size_bytes = _size_bytes(header, extended)
        if header.type in _EXTENDED:
            if size_bytes > limits.MAX_TAR_RECORD_BYTES:
                raise DecodeError("too_much_metadata")
            extended = dict(_records(b"".join(_body(stream, size_bytes))))
            continue
        if header.type in _ABOUT_THE_NEXT:
            exhaust(_body(stream, size_bytes))
            continue
        sparse = header.type == tarfile.GNUTYPE_SPARSE or _SPARSE_RECORDS & extended.keys()
        extended = {}
        if header.type == tarfile.DIRTYPE:
            continue
        number += 1
        budget.count_entry()
        if header.type in _NOT_FILES:
            yield Entry(number, None, "not_a_file")
            continue
        body = _body(stream, size_bytes)
        if sparse:
            yield Entry(number, None, "sparse_file")
        else:
            try:
                entry = taken(number, body, declared_bytes=size_bytes)
            except DecodeError as error:
                yield Entry(number, None, error.reason)
                raise
            yield entry
        exhaust(body)


def _header(stream: Stream) -> tarfile.TarInfo | None:
    """The next header, unless the archive ends here."""
    block = stream.read(_BLOCK_BYTES)
    if not block or block.count(0) == len(block):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise DecodeError("corrupt" if len(block) == _BLOCK_BYTES else "truncated") from None
    if header.type == tarfile.GNUTYPE_SPARSE and block[_SPARSE_MORE_IN_HEADER]:
        while stream.read(_BLOCK_BYTES)[_SPARSE_MORE_IN_BLOCK:][:1] not in (b"", b"\0"):
            pass
    return header


def _size_bytes(header: tarfile.TarInfo, extended: dict[bytes, bytes]) -> int:
    """How many bytes follow a header; an extended header says it where 8 GiB are passed."""
    size = header.size
    written = extended.get(b"size", b"")
    if header.type not in _ABOUT_THE_NEXT and written.isdigit() and len(written) <= 20:
        size = int(written)
    if size < 0:
        raise DecodeError("corrupt")
    return size


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keywords and values of an extended header: lines as "20 size=1234567890" (POSIX pax)."""
    place = 0
    while (match := _RECORD_LENGTH.match(data, place)) is not None:
        end = place + int(match[1])
        if end <= match.end():
            return
        keyword, _, value = data[match.end() : end - 1].partition(b"=")
        yield keyword, value
        place = end


def _body(stream: Stream, size_bytes: int) -> Iterator[bytes]:
    """The bytes behind a header; what fills up their last block is passed over."""
    yield from stream.take(size_bytes)
    stream.read(-size_bytes % _BLOCK_BYTES)
